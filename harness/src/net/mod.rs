//! The network between nodes, and between clients and nodes: every byte passes through here.
//!
//! A [`Network`] claims a subnet of loopback, runs a proxy for each ordered pair of nodes, and
//! gives clients their connections. What happens to a message is decided on its link by the rules
//! of the [`LinkTable`] in force ([`rule`]); data tasks apply them and count what they did
//! ([`FaultCounters`]), which is a fault's evidence. No byte passes through the coordinator.
//!
//! Guarantees: nothing is lost, cut short or reordered that no rule asked for; a broken connection
//! is passed on as a reset, an orderly end as an orderly end; a rule on a->b leaves b->a alone; a
//! published table counts for old and new connections.
//!
//! Left out: what happens below the stream (packets, congestion), throttling, reordering within a
//! connection, and stdio, where the harness routes messages itself.

mod address;
mod client_link;
mod connection;
mod counters;
mod flow;
mod limits;
mod network;
mod proxy;
mod record;
pub mod rule;
mod shared;
mod speakers;
mod table;

pub use address::{AddressError, Addresses, NodeAddresses, Subnet};
pub use client_link::{
    ClientConnection, ConnectError, LineReceiver, LineSender, RecvError, SendError,
};
pub use counters::FaultCounters;
pub use network::{NetError, Network, NetworkConfig};
pub use record::{MessageFate, MessageRecord, message_kind};
pub use rule::{Effect, FaultId, Link};
pub use shared::FramingBreach;
pub use table::{LinkTable, TableError};
