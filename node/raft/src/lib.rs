//! The reference Raft: a core without I/O, a storage, and a thin shell around them.
//!
//! [`core`] is the algorithm, [`storage`] its write-ahead log, [`shell`] runs both over TCP.
//! [`bugs`] are deliberate mistakes that can be switched on to see whether a harness finds them.

pub mod bugs;
pub mod core;
pub mod shell;
pub mod storage;
