//! A disk that fills up while a run is recorded.

use std::io::Write as _;
use std::process::Command;

use results::exit_code::{HARNESS_FAILURE, UNKNOWN};

use crate::scene::Scene;
use crate::support::whitewater;

/// Small enough to fill up in seconds, large enough for a run to begin.
const DISK_BYTES: u64 = 768 << 10;

/// Puts `body` under a private mount of a tiny disk at `disk`; nobody else sees it.
fn on_a_tiny_disk(body: &str) -> Command {
    let mut command = Command::new("unshare");
    let script =
        format!("mkdir disk && mount -t tmpfs -o size={DISK_BYTES} none disk || exit 99\n{body}");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command
}

#[test]
fn a_full_disk_is_the_harnesss_failure_and_what_was_recorded_is_readable() {
    let scene = Scene::new("full-disk");
    let probe = on_a_tiny_disk("exit 0").current_dir(scene.path("")).output();
    if !probe.is_ok_and(|done| done.status.success()) {
        // Not a print macro: those are swallowed when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED full disk: this machine does not allow a tmpfs in a mount namespace"
        );
        return;
    }
    std::fs::remove_dir(scene.path("disk")).unwrap();
    let system = scene.misbehaving("well");
    let program = whitewater().display();
    let body = format!(
        "'{program}' run --system '{system}' --nodes 1 --seed 1 --faults none --time-limit 1h \
         --start-limit 10m --out disk; echo run $?\n\
         '{program}' check disk/latest; echo check $?"
    );
    let done = scene.spawn(on_a_tiny_disk(&body), "run, on a tiny disk", &[]).finish();
    assert!(done.stdout.contains(&format!("run {HARNESS_FAILURE}\n")), "{done}");
    assert!(done.stdout.contains(&format!("check {UNKNOWN}\n")), "{done}");
    let failure = done.stdout.lines().find(|line| line.contains("No space left on device"));
    assert!(failure.is_some_and(|line| line.contains("harness failure while")), "{done}");
    assert!(!done.stdout.contains("violation"), "{done}");
    assert!(!done.stderr.contains("panicked"), "{done}");
    scene.wait_nothing_left();
}
