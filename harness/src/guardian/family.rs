//! Which processes belong to a node, and signals for all of them.
//!
//! A descendant is found by any of: its chain of parents, its session or process group (the node
//! leads both), or, when its parents have gone and it left both, the mark in its environment.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::NODE_VARIABLE;
use super::process::{Process, close_over_children, process_table};

/// A process for all time: its pid, and its start in clock ticks since boot.
pub(super) type ProcessId = (i32, u64);

/// How often the descendants are listed again after a signal, to find those that were forked
/// meanwhile. A killed or stopped process cannot fork, so two or three rounds do in practice.
const ROUNDS_MAX: usize = 100;

/// What is known of a node, to find its descendants by.
pub(super) struct Family<'a> {
    /// The node's main process.
    pub(super) main: i32,
    /// Whether it has not been reaped. Once it has been, its pid says nothing about parents any
    /// more; as a session or group it stays reserved for as long as one member lives.
    pub(super) main_is_here: bool,
    /// The node's value of [`NODE_VARIABLE`].
    pub(super) tag: &'a str,
    /// The guardian, to which orphans fall.
    pub(super) guardian: i32,
    /// The main processes of all nodes, which are nobody's descendants.
    pub(super) mains: &'a BTreeSet<i32>,
}

impl Family<'_> {
    /// Sends a signal to all living descendants; which got it.
    pub(super) fn signal(&self, signal: Signal) -> BTreeSet<ProcessId> {
        let mut sent = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let mut is_new = false;
            for process in self.descendants() {
                let id = (process.pid, process.start_ticks);
                // One that refuses is found again when it is looked at for evidence.
                if !sent.contains(&id) && process.signal(signal).unwrap_or(false) {
                    is_new |= sent.insert(id);
                }
            }
            if !is_new {
                break;
            }
        }
        sent
    }

    fn descendants(&self) -> Vec<Process> {
        let table = process_table();
        let mut found: Vec<usize> =
            (0..table.len()).filter(|&index| self.is_root(&table[index])).collect();
        close_over_children(&table, &mut found);
        found
            .into_iter()
            .map(|index| &table[index])
            .filter(|process| process.is_alive() && !self.mains.contains(&process.pid))
            .cloned()
            .collect()
    }

    fn is_root(&self, process: &Process) -> bool {
        if self.mains.contains(&process.pid) {
            return false;
        }
        let is_member = process.session == self.main || process.group == self.main;
        let is_child = self.main_is_here && process.parent == self.main;
        // Only an orphan has lost the chain of parents and needs the slow look.
        let is_orphan = process.parent == self.guardian && process.is_alive();
        is_member
            || is_child
            || (is_orphan && process.variable(NODE_VARIABLE).is_some_and(|tag| tag == self.tag))
    }
}
