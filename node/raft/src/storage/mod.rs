//! Term, vote and log on disk: one write-ahead log, checksummed.
//!
//! [`format`] turns records into bytes and back and decides what a damaged file means, without
//! I/O; [`wal`] reads and writes the file; [`writer`] is the thread that writes and syncs while
//! the core goes on.

pub mod format;
pub mod wal;
pub mod writer;
