//! The contract that a node under test meets.
//!
//! Types and codecs only: messages between clients and nodes ([`message`]), the file a node is
//! launched with ([`launch`]), what `describe` prints ([`describe`]), the events a node may trace
//! ([`trace`]) and how lines are cut out of a byte stream ([`framing`]). Nothing here does I/O,
//! reads a clock or draws a random number. The prose, with a worked conversation, is
//! `PROTOCOL.md` beside this crate; where the two differ, that page is right and this is a bug.

pub mod describe;
pub mod error_code;
pub mod framing;
pub mod launch;
pub mod message;
pub mod trace;

mod node_id;
pub use node_id::NodeId;

/// Version of the node contract that this crate describes; `hello_ok` and `describe` carry it.
pub const PROTOCOL_VERSION: u32 = 1;
