//! Where the files of a run lie.
//!
//! ```text
//! <out>/latest -> <id>            the newest run, a relative link
//! <out>/<id>/run.json             the manifest
//!            history.jsonl        what clients saw
//!            faults.jsonl         what was done to the cluster
//!            messages.jsonl.zst   messages, wherever they are visible
//!            verdict.json         what was judged
//!            nodes/<node>/node.json, log, trace.<incarnation>.jsonl, data/
//! ```
//!
//! Directories are created exclusively and `latest` is replaced by a rename, so that runs side by
//! side in one `<out>` do not disturb each other. Nothing is ever removed here.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use protocol::NodeId;

use crate::{Error, RunId};

/// Where runs go unless told otherwise, relative to the working directory.
pub const DEFAULT_OUT: &str = "results/runs";

/// Attempts to find an id that is not taken; each draws new random bits.
const CREATE_ATTEMPTS_MAX: u32 = 64;

/// The directory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
    id: String,
}

impl RunDir {
    /// Makes a new, empty run directory under `out` (which is created if it is missing) and points
    /// `latest` to it. `unix_ms` is the time at which the run begins; `random` gives the id's
    /// random bits and is called again when an id is taken.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory or the link cannot be made.
    pub fn create(
        out: &Path,
        unix_ms: u64,
        mut random: impl FnMut() -> u32,
    ) -> Result<RunDir, Error> {
        fs::create_dir_all(out).map_err(Error::io("create the directory", out))?;
        // An absolute path still holds when somebody changes the working directory.
        let out = fs::canonicalize(out).map_err(Error::io("find the directory", out))?;
        let mut attempts = 0;
        loop {
            let id = RunId::new(unix_ms, random());
            let path = out.join(id.as_str());
            attempts += 1;
            match fs::create_dir(&path) {
                Ok(()) => {
                    let run = RunDir { path, id: id.to_string() };
                    let nodes = run.nodes_dir();
                    fs::create_dir(&nodes).map_err(Error::io("create the directory", &nodes))?;
                    run.link_as_latest(&out)?;
                    return Ok(run);
                }
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists
                        && attempts < CREATE_ATTEMPTS_MAX => {}
                Err(error) => return Err(Error::io("create the directory", &path)(error)),
            }
        }
    }

    /// Opens a run: its directory, or a link to it such as `latest`.
    ///
    /// # Errors
    /// [`Error::NotARun`] when there is no `run.json`, [`Error::Io`] when the path does not exist.
    pub fn open(path: &Path) -> Result<RunDir, Error> {
        let real = fs::canonicalize(path).map_err(Error::io("open", path))?;
        let not_a_run = |problem: String| Error::NotARun { path: path.to_path_buf(), problem };
        if !real.is_dir() {
            return Err(not_a_run("it is a file".to_string()));
        }
        let id = real.file_name().map(|name| name.to_string_lossy().into_owned());
        let run = RunDir { id: id.unwrap_or_default(), path: real };
        if !run.manifest().is_file() {
            let hint = if run.path.join("latest").exists() {
                format!("; did you mean {}?", path.join("latest").display())
            } else {
                String::new()
            };
            return Err(not_a_run(format!("it holds no `run.json`{hint}")));
        }
        Ok(run)
    }

    /// Makes `latest` point here, unless it points to a run that is newer.
    fn link_as_latest(&self, out: &Path) -> Result<(), Error> {
        let latest = out.join("latest");
        let current = fs::read_link(&latest).ok();
        let current = current.as_deref().and_then(Path::to_str).and_then(|id| id.parse().ok());
        if current.is_some_and(|id: RunId| id.as_str() > self.id.as_str()) {
            return Ok(());
        }
        // The name is this run's own, so that no other run renames or removes it.
        let fresh = out.join(format!(".latest-{}", self.id));
        symlink(&self.id, &fresh).map_err(Error::io("create the link", &fresh))?;
        fs::rename(&fresh, &latest).map_err(|error| {
            let _ = fs::remove_file(&fresh);
            Error::io("replace the link", &latest)(error)
        })
    }

    /// The run's id: its directory's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `run.json`, a [`crate::Manifest`].
    pub fn manifest(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// `history.jsonl`.
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// `faults.jsonl`.
    pub fn faults(&self) -> PathBuf {
        self.path.join("faults.jsonl")
    }

    /// `messages.jsonl.zst`.
    pub fn messages(&self) -> PathBuf {
        self.path.join("messages.jsonl.zst")
    }

    /// `verdict.json`, a [`crate::RunVerdict`].
    pub fn verdict(&self) -> PathBuf {
        self.path.join("verdict.json")
    }

    /// `harness.log`: the harness's own log of this run.
    pub fn harness_log(&self) -> PathBuf {
        self.path.join("harness.log")
    }

    /// `nodes/`.
    pub fn nodes_dir(&self) -> PathBuf {
        self.path.join("nodes")
    }

    /// A node's directory; a name that does not serve as a file name is percent-encoded.
    pub fn node_dir(&self, node: &NodeId) -> PathBuf {
        self.nodes_dir().join(file_name(node.as_str()))
    }

    /// Makes a node's directory and its `data/`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_node_dir(&self, node: &NodeId) -> Result<(), Error> {
        let data = self.node_data(node);
        fs::create_dir_all(&data).map_err(Error::io("create the directory", &data))
    }

    /// A node's `node.json`: what its newest incarnation was launched with.
    pub fn node_config(&self, node: &NodeId) -> PathBuf {
        self.node_dir(node).join("node.json")
    }

    /// A node's `log`: standard output and error of all its incarnations.
    pub fn node_log(&self, node: &NodeId) -> PathBuf {
        self.node_dir(node).join("log")
    }

    /// A node's `data/`, its own.
    pub fn node_data(&self, node: &NodeId) -> PathBuf {
        self.node_dir(node).join("data")
    }

    /// Where an incarnation of a node writes its trace.
    pub fn node_trace(&self, node: &NodeId, incarnation: u32) -> PathBuf {
        self.node_dir(node).join(format!("trace.{incarnation}.jsonl"))
    }
}

/// `name` with every byte but letters, digits, `-`, `_` and inner dots percent-encoded.
fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    if out.is_empty() { "%".to_string() } else { out }
}

/// Replaces a file as a whole: whoever reads it sees the old content or the new one, never a part,
/// also when the writer is killed in between. (A loss of power may lose both.)
///
/// # Errors
/// [`Error::Io`]; the old file then still stands.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(Error::io("create a file beside", path))?;
    file.write_all(content).map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::io("replace", path)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: u64 = 1_795_348_800_000;

    fn bits(values: &[u32]) -> impl FnMut() -> u32 {
        let mut values = values.iter();
        move || *values.next().unwrap()
    }

    #[test]
    fn a_taken_id_is_drawn_again_and_latest_follows() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("deep/runs");
        let first = RunDir::create(&out, NOON_MS, bits(&[7])).unwrap();
        let second = RunDir::create(&out, NOON_MS, bits(&[7, 7, 8])).unwrap();
        assert_ne!(first.id(), second.id());
        write_atomically(&first.manifest(), b"{}").unwrap();
        write_atomically(&second.manifest(), b"{}").unwrap();
        assert_eq!(fs::read_link(out.join("latest")).unwrap(), Path::new(second.id()));
        assert_eq!(RunDir::open(&out.join("latest")).unwrap(), second);

        // A run that began earlier but was created later does not hide the newer one.
        RunDir::create(&out, NOON_MS - 1, bits(&[9])).unwrap();
        assert_eq!(RunDir::open(&out.join("latest")).unwrap(), second);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 4, "no link is left behind");
    }

    #[test]
    fn what_is_no_run_is_refused_with_a_hint() {
        let temp = tempfile::tempdir().unwrap();
        RunDir::create(temp.path(), NOON_MS, bits(&[7])).unwrap();
        let error = RunDir::open(temp.path()).unwrap_err().to_string();
        assert!(error.contains("no `run.json`") && error.contains("latest?"), "{error}");
        let error = RunDir::open(&temp.path().join("nothing")).unwrap_err().to_string();
        assert!(error.contains("nothing: cannot open"), "{error}");
    }

    #[test]
    fn a_node_name_cannot_leave_the_run() {
        for (name, expected) in
            [("n1", "n1"), ("..", "%2e."), ("a/b", "a%2fb"), ("", "%"), ("n.1", "n.1")]
        {
            assert_eq!(file_name(name), expected);
        }
    }

    #[test]
    fn a_replaced_file_keeps_its_name_and_leaves_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("verdict.json");
        write_atomically(&path, b"1").unwrap();
        write_atomically(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
