//! Limits of the real-time driver, named.

use std::time::Duration;

/// Events that may wait for the coordinator.
pub const EVENTS_MAX: usize = 4_096;

/// Messages that may wait to be recorded; beyond them links wait.
pub const MESSAGES_MAX: usize = 16_384;

/// Records reach the operating system at least this often.
pub const FLUSH: Duration = Duration::from_millis(100);

/// A guardian that was told to end and says nothing for this long is killed.
pub const GUARDIAN_END: Duration = Duration::from_secs(30);

/// Nodes are asked for their status this often.
pub const POLL: Duration = Duration::from_millis(100);

/// A node that takes longer to say its status is taken for silent.
pub const POLL_ANSWER: Duration = Duration::from_millis(1_000);

/// The machine is probed this often.
pub const PROBE: Duration = Duration::from_millis(50);

/// People are shown the state of the run this often.
pub const SHOW: Duration = Duration::from_millis(250);

/// Lines of a node's log that are kept with a finding.
pub const LOG_TAIL_LINES: usize = 20;

/// Bytes read from the end of a node's log for those lines.
pub const LOG_TAIL_BYTES: u64 = 16 << 10;

/// Less free space than this under the run directory excuses a node that exits.
pub const DISK_FREE_BYTES_MIN: u64 = 1 << 20;
