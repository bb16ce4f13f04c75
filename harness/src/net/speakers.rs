//! Which incarnations of which nodes have sent anything.
//!
//! A node that was killed before it sent a byte told nobody anything, so it owes no trace. The
//! incarnation is taken when a connection is made: what arrives late on an old connection is still
//! its old sender's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use protocol::NodeId;

/// The nodes' present incarnations, and those that have sent something.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    present: BTreeMap<NodeId, u32>,
    sent: BTreeSet<(NodeId, u32)>,
}

impl Speakers {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections made from now on belong to this incarnation.
    pub(super) fn set(&self, node: &NodeId, incarnation: u32) {
        self.lock().present.insert(node.clone(), incarnation);
    }

    /// The incarnation that a connection made now belongs to.
    pub(super) fn present(&self, node: &NodeId) -> u32 {
        self.lock().present.get(node).copied().unwrap_or(0)
    }

    /// This incarnation has sent something.
    pub(super) fn spoke(&self, node: &NodeId, incarnation: u32) {
        self.lock().sent.insert((node.clone(), incarnation));
    }

    /// Whether this incarnation has sent something.
    pub(super) fn has_sent(&self, node: &NodeId, incarnation: u32) -> bool {
        self.lock().sent.contains(&(node.clone(), incarnation))
    }
}
