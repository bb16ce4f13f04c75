//! The core and its storage as a process: clients, peers, disk, clock and signals.
//!
//! | file | what |
//! |---|---|
//! | `launch.rs` | `node.json`, checked |
//! | `node.rs` | the loop that feeds the core and carries out its effects |
//! | `clients.rs`, `client_codec.rs` | connections of clients and the harness, and their messages |
//! | `peers.rs`, `peer_codec.rs` | connections to and from other nodes, and their messages |
//! | `trace_file.rs` | the trace |
//!
//! One thread runs the loop and all connections, another writes the log. Every queue is bounded:
//! what does not fit is dropped (messages to peers), pushed back (what connections read), or ends
//! its connection (replies to a client that does not read).

mod client_codec;
mod clients;
mod launch;
mod node;
mod peer_codec;
mod peers;
mod trace_file;

pub use launch::{LaunchError, NodeLaunch};
pub use node::{NodeError, run};

use protocol::describe::Describe;

use crate::bugs::Bug;

/// Optional parts of the node contract that this node offers.
pub const FEATURES: [&str; 4] = ["hello", "status", "leader-hint", "trace"];

/// What `describe` prints.
pub fn describe() -> Describe {
    Describe {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: protocol::PROTOCOL_VERSION,
        family: "raft".to_owned(),
        modes: vec!["tcp".to_owned()],
        features: FEATURES.map(str::to_owned).to_vec(),
        bugs: Bug::ALL.map(Bug::describe).to_vec(),
    }
}
