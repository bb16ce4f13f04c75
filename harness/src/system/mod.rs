//! Systems under test: what a system file says, and how to start a node of it.
//!
//! A system file is a few lines of TOML: a command with placeholders, how its peers frame their
//! messages, and the model inside which faults must stay. Unknown keys are refused with file and
//! line. The built-in system `raft` is such a file, too.

mod build;
mod placeholder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::describe::Describe;
use protocol::framing::Framing;
use results::manifest::{PeerDelivery, SystemModel};
use serde::{Deserialize, Serialize};

pub use build::build;
pub use placeholder::{Places, fill};

/// The built-in systems: name and text of the file.
const BUILT_IN: [(&str, &str); 1] = [("raft", include_str!("../../systems/raft.toml"))];

/// A system file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// What it is called in run records.
    pub name: String,
    /// Starts a node: program and arguments, with placeholders (see [`fill`]).
    pub command: Vec<String>,
    /// Brings the program up to date before a run.
    #[serde(default)]
    pub build: Vec<String>,
    /// Prints a [`Describe`] object.
    #[serde(default)]
    pub describe: Vec<String>,
    /// Transports that nodes can be run with.
    #[serde(default = "tcp_only")]
    pub modes: Vec<String>,
    /// How peers frame their messages on TCP.
    #[serde(default)]
    pub peer_framing: Framing,
    /// Environment variables of nodes, beside `PATH`, `HOME` and `TMPDIR`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the system promises.
    pub model: SystemModel,
}

fn tcp_only() -> Vec<String> {
    vec!["tcp".to_owned()]
}

/// Why a system cannot be used. All of these are configuration errors (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// Neither built in nor a file.
    #[error(
        "no system called `{name}`: the built-in ones are {built_in}; \
         for one of your own give the path of its system file, such as `./{name}.toml`"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names of the built-in systems.
        built_in: String,
    },
    /// The file cannot be read.
    #[error("cannot read the system file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file's content is wrong. The text names file, line and column.
    #[error("{0}")]
    Malformed(String),
    /// A placeholder that does not exist.
    #[error("unknown placeholder `{{{name}}}` in `{text}`: there are {known}")]
    Placeholder {
        /// Its name.
        name: String,
        /// Where it stands.
        text: String,
        /// Those that exist.
        known: String,
    },
    /// A command of the system file could not be run, or failed.
    #[error("the `{role}` command of system `{system}` failed: `{command}`: {why}")]
    Command {
        /// `build`, `describe`, `command`.
        role: &'static str,
        /// The system.
        system: String,
        /// The command line.
        command: String,
        /// What happened.
        why: String,
    },
}

/// Names of the built-in systems.
pub fn built_in_names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

impl System {
    /// The built-in system of this name, or the one in the file at this path.
    ///
    /// # Errors
    /// [`SystemError`], each with what would be right.
    pub fn load(name_or_path: &str) -> Result<System, SystemError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return System::parse(text, &format!("built-in system {name}"));
        }
        let path = Path::new(name_or_path);
        if !path.exists() && !name_or_path.contains('/') && !name_or_path.ends_with(".toml") {
            return Err(SystemError::Unknown {
                name: name_or_path.to_owned(),
                built_in: built_in_names().join(", "),
            });
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| SystemError::Unreadable { path: path.to_owned(), source })?;
        System::parse(&text, &path.display().to_string())
    }

    /// Reads a system file's text; `origin` names it in errors.
    ///
    /// # Errors
    /// [`SystemError::Malformed`] with line and column.
    pub fn parse(text: &str, origin: &str) -> Result<System, SystemError> {
        let system: System = toml::from_str(text).map_err(|error| {
            let (line, column) = error.span().map_or((1, 1), |span| position(text, span.start));
            SystemError::Malformed(format!("{origin}:{line}:{column}: {}", error.message()))
        })?;
        if system.command.is_empty() {
            return Err(SystemError::Malformed(format!(
                "{origin}: `command` is empty: give the program and its arguments, such as \
                 [\"./my-node\", \"--config\", \"{{config}}\"]"
            )));
        }
        Ok(system)
    }

    /// Whether single messages between peers are visible and may be lost.
    pub fn is_lossy(&self) -> bool {
        self.model.peer_delivery == PeerDelivery::Lossy && self.peer_framing != Framing::Opaque
    }

    /// What the system says of itself; `None` if it has no `describe` command.
    ///
    /// # Errors
    /// The command cannot be run, fails, or prints something else.
    pub fn describe(&self, places: &Places) -> Result<Option<Describe>, SystemError> {
        if self.describe.is_empty() {
            return Ok(None);
        }
        let argv = places.fill_all(&self.describe)?;
        let failed = |why: String| SystemError::Command {
            role: "describe",
            system: self.name.clone(),
            command: argv.join(" "),
            why,
        };
        let output = std::process::Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(std::process::Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("{}: {}", output.status, stderr.trim())));
        }
        let describe = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("it did not print a describe object: {error}")))?;
        Ok(Some(describe))
    }
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_systems_parse() {
        for name in built_in_names() {
            let system = System::load(name).unwrap();
            assert_eq!(system.name, name);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = "name = \"x\"\ncommand = [\"./x\"]\ncolour = 1\n[model]\n";
        let error = System::parse(text, "x.toml").unwrap_err().to_string();
        assert!(error.starts_with("x.toml:3:1: ") && error.contains("colour"), "{error}");
    }

    #[test]
    fn an_unknown_name_says_what_there_is() {
        let error = System::load("rafd").unwrap_err().to_string();
        assert!(error.contains("raft") && error.contains("./rafd.toml"), "{error}");
    }

    #[test]
    fn a_promise_left_out_is_asked_for() {
        let text = "name = \"x\"\ncommand = [\"x\"]\n[model]\nfamily = \"raft\"\n";
        let error = System::parse(text, "x.toml").unwrap_err().to_string();
        assert!(error.contains("x.toml:3") && error.contains("durable"), "{error}");
    }
}
