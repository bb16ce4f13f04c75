//! Placeholders in the commands of system files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SystemError;

/// Placeholders that stand for something of a node.
const NODE_PLACES: [&str; 6] = ["config", "id", "data_dir", "node_dir", "client_addr", "peer_addr"];

/// What placeholders stand for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    values: BTreeMap<&'static str, String>,
}

impl Places {
    /// The places that hold for a whole run: `{bin_dir}`, the folder of the harness's binary, and,
    /// where that lies in the target folder of its source tree, what building needs.
    pub fn of_this_binary() -> std::io::Result<Places> {
        let exe = std::env::current_exe()?;
        Ok(Places::of_binary(&exe, Path::new(env!("CARGO_MANIFEST_DIR"))))
    }

    fn of_binary(exe: &Path, manifest_dir: &Path) -> Places {
        let mut places = Places::default();
        let bin_dir = exe.parent().unwrap_or(Path::new("/")).to_owned();
        places.set("bin_dir", bin_dir.display().to_string());
        if let Some(tree) = SourceTree::find(&bin_dir, manifest_dir) {
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
            places.set("cargo", cargo);
            places.set("source_dir", tree.source_dir.display().to_string());
            places.set("target_dir", tree.target_dir.display().to_string());
            places.set("profile", tree.profile);
        }
        places
    }

    /// These places and those of a node, empty: to see whether a command's placeholders exist
    /// before a node is there.
    pub fn with_a_node(&self) -> Places {
        let mut places = self.clone();
        for name in NODE_PLACES {
            places.set(name, "");
        }
        places
    }

    /// Adds or replaces a place.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.values.insert(name, value.into());
    }

    /// Whether this binary lies in the target folder of its own source tree.
    pub fn has_source(&self) -> bool {
        self.values.contains_key("source_dir")
    }

    /// Fills all parts of a command.
    ///
    /// # Errors
    /// A placeholder that does not exist here.
    pub fn fill_all(&self, command: &[String]) -> Result<Vec<String>, SystemError> {
        command.iter().map(|part| fill(part, self)).collect()
    }
}

/// Where this binary was built from.
struct SourceTree {
    source_dir: PathBuf,
    target_dir: PathBuf,
    profile: String,
}

impl SourceTree {
    /// Cargo marks target folders with a `CACHEDIR.TAG`; the binary lies one level below, in a
    /// folder called after its profile. A copy installed elsewhere fits neither.
    fn find(bin_dir: &Path, manifest_dir: &Path) -> Option<SourceTree> {
        let source_dir = manifest_dir.parent()?;
        let target_dir = bin_dir.parent()?;
        let is_ours = target_dir.join("CACHEDIR.TAG").is_file()
            && source_dir.join("node/raft/Cargo.toml").is_file();
        if !is_ours {
            return None;
        }
        let profile = match bin_dir.file_name()?.to_str()? {
            "debug" => "dev",
            other => other,
        };
        Some(SourceTree {
            source_dir: source_dir.to_owned(),
            target_dir: target_dir.to_owned(),
            profile: profile.to_owned(),
        })
    }
}

/// Replaces every `{name}` in `text`. There are: `{config}` (path of `node.json`), `{id}`,
/// `{data_dir}`, `{node_dir}`, `{client_addr}`, `{peer_addr}`, `{bin_dir}`, and inside the source
/// tree `{cargo}`, `{source_dir}`, `{target_dir}`, `{profile}`.
///
/// # Errors
/// A placeholder that does not exist here.
pub fn fill(text: &str, places: &Places) -> Result<String, SystemError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else { break };
        let name = &rest[open + 1..open + length];
        let Some(value) = places.values.get(name) else {
            return Err(SystemError::Placeholder {
                name: name.to_owned(),
                text: text.to_owned(),
                known: places
                    .values
                    .keys()
                    .map(|k| format!("{{{k}}}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        };
        out.push_str(&rest[..open]);
        out.push_str(value);
        rest = &rest[open + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_unknown_ones_named() {
        let mut places = Places::default();
        places.set("config", "/a b/node.json");
        assert_eq!(fill("--config={config}!", &places).unwrap(), "--config=/a b/node.json!");
        assert_eq!(fill("{", &places).unwrap(), "{");
        let error = fill("{confg}", &places).unwrap_err().to_string();
        assert!(error.contains("{confg}") && error.contains("{config}"), "{error}");
    }

    #[test]
    fn a_binary_outside_a_target_folder_has_no_source() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let exe = dir.path().join("release/whitewater");
        assert!(!Places::of_binary(&exe, manifest).has_source());
        std::fs::write(dir.path().join("CACHEDIR.TAG"), "").unwrap();
        let places = Places::of_binary(&exe, manifest);
        assert!(places.has_source());
        assert_eq!(fill("{profile}", &places).unwrap(), "release");
        assert!(!Places::of_binary(&exe, &dir.path().join("gone/harness")).has_source());
    }
}
