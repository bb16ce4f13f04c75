//! What the process tests share: where the fixtures are, and what is left of a test's processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use whitewater::guardian::{Process, process_table};

/// Longest wait for anything; generous, because it only matters when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Environment variable that marks the processes of one test.
pub const MARK: &str = "WHITEWATER_TEST_MARK";

/// The `whitewater` binary under test.
pub fn whitewater() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_whitewater"))
}

/// An example of this package, built if need be: `cargo test --test NAME` does not build them.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let profile_dir = whitewater().parent().expect("binaries lie in a folder");
        let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(other) => other,
            None => panic!("the profile's folder has no name: {}", profile_dir.display()),
        };
        let target_dir = profile_dir.parent().expect("the profile's folder lies in another");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "whitewater", "--examples"])
            .args(["--profile", profile, "--target-dir"])
            .arg(target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo can be run");
        assert!(status.success(), "the examples could not be built");
        profile_dir.join("examples")
    });
    dir.join(name)
}

/// The living processes that carry a test's mark in their environment.
pub fn marked(mark: &str) -> Vec<Process> {
    process_table()
        .into_iter()
        .filter(|process| {
            process.is_alive() && process.variable(MARK).is_some_and(|value| value == mark)
        })
        .collect()
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
