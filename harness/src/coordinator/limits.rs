//! Limits of the coordinator, named.

use std::time::Duration;

/// Pause of a client before it tries again where it was refused, at least and (exclusive) at most.
pub const RETRY_PAUSE_MS: std::ops::Range<u64> = 5..25;

/// Hints followed at once within one operation; later ones are followed after a pause, because
/// nodes may point at each other.
pub const HINTS_FOLLOWED_AT_ONCE: u32 = 2;

/// A node that was asked to stop and has not is killed after this long.
pub const ORDERLY_STOP: Duration = Duration::from_secs(5);

/// After a kill, the kernel may take this long to end the process before the harness gives up.
pub const KILL: Duration = Duration::from_secs(30);

/// How long the last reads may be retried.
pub const FINAL_READS: Duration = Duration::from_secs(10);

/// Contract breaches noted of a run; more are of no further use.
pub const BREACHES_NOTED: usize = 20;
