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

/// Processes that were told to start, to end or to go on may take this long, all in all, when
/// everything is healed; after that the harness gives up.
pub const SETTLE: Duration = Duration::from_secs(60);

/// The end of a try that was given up may take this long to be reported before the harness gives
/// itself up: only an error of its own explains it.
pub const ABANDON: Duration = Duration::from_secs(30);

/// A wait for progress is extended while nodes that are behind catch up, up to this many times
/// its limit.
pub const CATCH_UP_FACTOR: u64 = 4;

/// While progress is waited for, clients of a limited rate begin operations at least this often,
/// all together.
pub const RECOVERY_INTERVAL: Duration = Duration::from_millis(100);

/// Healed faults whose late evidence is still taken.
pub const HEALED_KEPT: usize = 64;

/// How long operations under way may take to end before the last reads, and how long the last
/// reads may be retried.
pub const FINAL_READS: Duration = Duration::from_secs(10);

/// Contract breaches noted of a run; more are of no further use.
pub const BREACHES_NOTED: usize = 20;
