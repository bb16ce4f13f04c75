//! The invariants, judged on the nodes' traces.

use results::manifest::Manifest;
use results::{Check, RunDir};

/// A check for each invariant of the system's family.
pub fn check(_run: &RunDir, _manifest: &Manifest) -> Vec<Check> {
    Vec::new()
}
