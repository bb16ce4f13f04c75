//! What this machine allows, and what a missing permission would unlock.
//!
//! Every answer comes from trying the thing itself, never from a version number: containers
//! refuse what their kernel can do. What changes a process for good (namespaces, mounts,
//! parent-death signals) is tried in a child that ends right after ([`probe`]); the rest is tried
//! here and undone. Nothing is left behind, and nothing outside of a temporary directory written.

mod local;
mod probe;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use probe::{PROBE_SUBCOMMAND, run_probe_if_asked};

/// One thing that a machine may or may not allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Kebab-case name; scripts may rely on it.
    pub name: &'static str,
    /// Whether it works here, for this user.
    pub available: bool,
    /// Whether whitewater cannot do its main job without it.
    pub required: bool,
    /// What was found: a figure, or what was refused and how to allow it.
    pub detail: String,
    /// What it is good for, and so what is missing without it.
    pub unlocks: &'static str,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A `whitewater` binary to run probes with. `None`: the one that is running.
    pub program: Option<PathBuf>,
    /// Directory that runs would be written to, or its nearest existing parent; its file system is
    /// the one that is measured.
    pub dir: PathBuf,
}

/// Tries everything; takes a fraction of a second. The order is fixed.
pub fn examine(options: &Options) -> Vec<Capability> {
    let program = options.program.as_deref().unwrap_or(Path::new("/proc/self/exe"));
    let dir = existing(&options.dir);
    let mut found: Vec<Capability> = probe::PROBES
        .iter()
        .map(|probe| {
            capability(probe.name, probe.required, probe.unlocks, probe::run(program, probe.name))
        })
        .collect();
    found.extend([
        capability(
            "proc",
            true,
            "evidence for pauses and exits; finding a node's descendants",
            local::proc_files(),
        ),
        capability(
            "loopback",
            true,
            "an address of its own for every node and link of a run, so that runs do not meet",
            local::loopback(),
        ),
        capability(
            "ports",
            false,
            "ports for nodes that no outgoing connection can take (they lie below the ephemeral \
             range)",
            local::ports(),
        ),
        capability(
            "open-files",
            true,
            "connections of many clients and nodes through the harness's proxies",
            local::open_files(),
        ),
        capability("disk-space", true, "room for histories, traces and data", local::space(&dir)),
        capability(
            "fsync",
            true,
            "nodes that keep what they promised; slow ones need longer election timeouts",
            local::fsync(&dir),
        ),
        capability(
            "fuse",
            false,
            "storage faults: lost unsynced writes, torn writes, full disks, I/O errors",
            local::fuse(),
        ),
        capability("cpus", false, "nodes that really run at the same time", local::cpus()),
    ]);
    found
}

fn capability(
    name: &'static str,
    required: bool,
    unlocks: &'static str,
    tried: Result<String, String>,
) -> Capability {
    let available = tried.is_ok();
    Capability { name, available, required, detail: tried.unwrap_or_else(|why| why), unlocks }
}

/// The directory itself, or the nearest one above it that exists.
fn existing(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}
