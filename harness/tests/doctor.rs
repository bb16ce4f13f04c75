//! The doctor's answers against what this process can see for itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use whitewater::doctor::{Capability, Options, examine};

fn examine_with(program: &str) -> Vec<Capability> {
    let dir = std::env::temp_dir().join("whitewater-absent/results/runs");
    let found = examine(&Options { program: Some(PathBuf::from(program)), dir: dir.clone() });
    assert!(!dir.exists(), "the doctor makes no directory");
    found
}

fn find<'a>(found: &'a [Capability], name: &str) -> &'a Capability {
    found.iter().find(|capability| capability.name == name).expect(name)
}

#[test]
fn what_tests_need_is_there_and_everything_is_explained() {
    let found = examine_with(env!("CARGO_BIN_EXE_whitewater"));
    let names: BTreeSet<&str> = found.iter().map(|capability| capability.name).collect();
    assert_eq!(names.len(), found.len(), "names are unique");
    for capability in &found {
        assert!(!capability.detail.is_empty() && !capability.unlocks.is_empty(), "{capability:?}");
    }
    // These tests themselves could not run without them.
    for name in ["signals", "subreaper", "proc", "loopback"] {
        assert!(find(&found, name).available, "{:?}", find(&found, name));
    }
    assert_eq!(
        find(&found, "fuse").available,
        std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok()
    );
}

#[test]
fn a_probe_that_fails_is_no_capability() {
    // Exits with 1 and says nothing, so every probe run with it has failed.
    let found = examine_with("/bin/false");
    let signals = find(&found, "signals");
    assert!(!signals.available && signals.detail.contains("exit status: 1"), "{signals:?}");
    let found = examine_with("/absent/whitewater");
    assert!(find(&found, "subreaper").detail.contains("/absent/whitewater"));
    assert!(find(&found, "proc").available, "probes without a child go on");
}

#[test]
fn no_group_is_left_behind() {
    let found = examine_with(env!("CARGO_BIN_EXE_whitewater"));
    if !find(&found, "cgroup2-freeze").available {
        return;
    }
    for dir in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new) {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix("whitewater-probe-") else { continue };
            // A probe of another test may be running.
            assert!(Path::new("/proc").join(pid).exists(), "{name} is left in {}", dir.display());
        }
    }
}
