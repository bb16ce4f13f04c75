//! Raft's safety properties, judged from the traces of the nodes.
//!
//! | invariant | file | rests on the events |
//! |---|---|---|
//! | Election Safety | [`election_safety`] | `leader`, `vote` |
//! | Leader Completeness | [`leader_completeness`] | `start`, `append`, `trunc`, `snap`, `synced`, `leader`, `cfg` |
//! | State Machine Safety | [`state_machine_safety`] | `start`, `apply`, `snap` |
//!
//! [`Invariants`] takes the items of all nodes as they come: in order for each node, in any
//! interleaving between nodes, since nothing orders events of different nodes (`t_ns` is never
//! looked at). The outcomes do not depend on the interleaving.
//!
//! **What holds.** A [`Outcome::Violation`] follows from events that were there, whatever is
//! missing elsewhere; no claim of a node about its commit index is needed for it. A
//! [`Outcome::Valid`] means that the traces are gapless and show no breach. Everything between is
//! [`Outcome::Unknown`] and names the gaps: a trace that stops in the middle, repeats or
//! contradicts itself, or lacks the events that an invariant rests on, proves nothing.
//!
//! **What is not checked here**: Leader Append-Only and Log Matching; that terms and commit
//! indexes never decrease; that a leader had a quorum of votes; that what is applied was committed
//! (an entry that is applied too early shows once another one is applied in its place); the hashes
//! of snapshots. Where a trace names several configurations, an entry counts as committed only
//! with a majority of each of them: a violation around a membership change can be missed, none is
//! invented. Traces of a system that may lose what it has stored (an in-memory node that is
//! killed) are judged all the same; whether that is the system's fault is the caller's question.

pub mod election_safety;
pub mod leader_completeness;
pub mod state_machine_safety;

mod entry_table;
mod finding;
mod node_log;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use finding::{Finding, Invariant, Outcome, Witness};

use protocol::NodeId;
use protocol::trace::TraceEvent;

use election_safety::ElectionSafety;
use finding::Gaps;
use leader_completeness::LeaderCompleteness;
use state_machine_safety::StateMachineSafety;
use stream::Streams;

/// Most events, entries or indexes that one invariant remembers. What lies beyond makes its
/// outcome unknown unless a violation is found in the rest.
const REMEMBERED_MAX: usize = 8_000_000;

/// Most nodes of which the traces are judged.
pub const NODES_MAX: usize = 64;

/// One thing that a reader of traces has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceItem {
    /// The node's next event. Sequence numbers and incarnations are checked here, not by the
    /// reader.
    Event(TraceEvent),
    /// Something of the node's trace is missing or cannot be read, between the items before and
    /// after.
    Gap {
        /// The node.
        node: NodeId,
        /// The incarnation whose trace has the gap.
        incarnation: u32,
        /// What is missing, in words.
        what: String,
    },
    /// This incarnation left no trace and needs none: it is known to have sent no byte.
    Silent {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
    },
}

/// Judges the traces of a run while they come in.
#[derive(Debug)]
pub struct Invariants {
    streams: Streams,
    gaps: Gaps,
    election_safety: ElectionSafety,
    leader_completeness: LeaderCompleteness,
    state_machine_safety: StateMachineSafety,
}

impl Invariants {
    /// Expects a trace of each of these nodes; one that never comes is a gap.
    pub fn expecting(nodes: impl IntoIterator<Item = NodeId>) -> Invariants {
        Invariants {
            streams: Streams::expecting(nodes),
            gaps: Gaps::default(),
            election_safety: ElectionSafety::default(),
            leader_completeness: LeaderCompleteness::default(),
            state_machine_safety: StateMachineSafety::default(),
        }
    }

    /// Takes the next item: in order for each node, in any order between nodes.
    pub fn push(&mut self, item: TraceItem) {
        let accepted = self.streams.accept(item, &mut self.gaps);
        let Some(node) = accepted.node else { return };
        if accepted.is_break {
            self.leader_completeness.break_off(node);
            self.state_machine_safety.break_off(node);
        }
        if let Some(event) = accepted.event {
            self.election_safety.push(node, &event);
            self.leader_completeness.push(node, &event);
            self.state_machine_safety.push(node, &event);
        }
    }

    /// The outcomes, one for each of [`Invariant::ALL`].
    pub fn finish(mut self) -> Vec<Finding> {
        self.streams.finish(&mut self.gaps);
        let (names, gaps) = (self.streams.names(), &self.gaps);
        vec![
            Finding {
                invariant: Invariant::ElectionSafety,
                outcome: self.election_safety.finish(names, gaps),
            },
            Finding {
                invariant: Invariant::LeaderCompleteness,
                outcome: self.leader_completeness.finish(names, gaps),
            },
            Finding {
                invariant: Invariant::StateMachineSafety,
                outcome: self.state_machine_safety.finish(names, gaps),
            },
        ]
    }

    /// What to say of a system that does not trace, or was told not to: every invariant is
    /// skipped, for this reason.
    pub fn skipped(why: &str) -> Vec<Finding> {
        let skipped =
            |invariant| Finding { invariant, outcome: Outcome::Skipped { why: why.to_string() } };
        Invariant::ALL.into_iter().map(skipped).collect()
    }
}
