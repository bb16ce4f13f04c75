//! State Machine Safety: an index is applied with one entry, everywhere.
//!
//! Source: "In Search of an Understandable Raft Consensus Algorithm" (extended version, 2014), Figure 3
//! and section 5.4.3. Entries are told apart by their chain hash, which stands for an entry and
//! all before it. Within an incarnation, indexes are applied in order and without holes, beginning
//! after `start.applied` (or after the snapshot that the incarnation began with or installed).
//!
//! False alarms: a restart may begin again anywhere that its `start` says; after a gap the next
//! index is taken as it comes; an entry that is applied again after a restart, with the same hash,
//! is the same entry. Hashes of snapshots are not compared, for not every system knows them.

use std::collections::BTreeMap;

use protocol::NodeId;
use protocol::trace::{Apply, ChainHash, Head, TraceEvent, TraceKind};
use rustc_hash::FxHashMap;

use super::finding::{Gaps, Outcome, Witness};
use super::stream::NodeIndex;
use super::{NODES_MAX, REMEMBERED_MAX};

/// An entry that was applied at an index, and where that was said first.
#[derive(Clone, Copy, Debug)]
struct Applied {
    ch: ChainHash,
    entry_term: u64,
    node: NodeIndex,
    incarnation: u32,
    seq: u64,
    term: u64,
}

#[derive(Debug, Default)]
pub(super) struct StateMachineSafety {
    by_index: FxHashMap<u64, Applied>,
    /// By index, applications whose entry differs from the one in `by_index`.
    conflicts: BTreeMap<u64, Vec<Applied>>,
    /// By node, its first application out of order: the index that was due, and what came.
    out_of_order: BTreeMap<NodeIndex, (Due, u64, Applied)>,
    due: Vec<Due>,
    has_applied: bool,
    contradictions: Gaps,
    is_full: bool,
}

/// Which indexes a node may apply next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    /// Any: what it applied last is not known.
    #[default]
    Any,
    /// The one after this. Two where `start` names a snapshot beyond `applied`: a state machine
    /// may or may not have been brought up to it.
    After(u64, u64),
}

impl Due {
    fn allows(self, idx: u64) -> bool {
        match self {
            Due::Any => true,
            Due::After(a, b) => [a, b].iter().any(|last| last.checked_add(1) == Some(idx)),
        }
    }
}

impl StateMachineSafety {
    /// What `node` applied last is not known any more.
    pub fn break_off(&mut self, node: NodeIndex) {
        self.set_due(node, Due::Any);
    }

    fn set_due(&mut self, node: NodeIndex, due: Due) {
        if self.due.len() <= node {
            self.due.resize(NODES_MAX, Due::Any);
        }
        self.due[node] = due;
    }

    pub fn push(&mut self, node: NodeIndex, event: &TraceEvent) {
        match &event.kind {
            TraceKind::Start(start) if start.applied > start.last.max(start.snap_idx) => {
                self.contradictions.add(format!(
                    "{}, incarnation {}: `start` says that {} is applied, beyond its log and \
                     snapshot",
                    event.head.node, event.head.inc, start.applied
                ));
                self.set_due(node, Due::Any);
            }
            TraceKind::Start(start) => {
                self.set_due(node, Due::After(start.applied, start.snap_idx.max(start.applied)));
            }
            TraceKind::Snap(snap) if snap.op == "install" => {
                // A snapshot that is older than the state need not change it.
                let due = match self.due.get(node) {
                    Some(&Due::After(a, b)) => Due::After(a.max(snap.idx), b.max(snap.idx)),
                    _ => Due::Any,
                };
                self.set_due(node, due);
            }
            TraceKind::Apply(apply) => self.apply(node, &event.head, apply),
            _ => {}
        }
    }

    fn apply(&mut self, node: NodeIndex, head: &Head, apply: &Apply) {
        self.has_applied = true;
        let applied = Applied {
            ch: apply.ch,
            entry_term: apply.entry_term,
            node,
            incarnation: head.inc,
            seq: head.seq,
            term: head.term,
        };
        let due = self.due.get(node).copied().unwrap_or_default();
        if !due.allows(apply.idx) {
            self.out_of_order.entry(node).or_insert((due, apply.idx, applied));
        }
        self.set_due(node, Due::After(apply.idx, apply.idx));
        let is_full = self.by_index.len() >= REMEMBERED_MAX;
        match self.by_index.get(&apply.idx) {
            None if is_full => self.is_full = true,
            None => {
                self.by_index.insert(apply.idx, applied);
            }
            Some(first) if first.ch == apply.ch => {}
            Some(_) => {
                let conflicts = self.conflicts.entry(apply.idx).or_default();
                if conflicts.len() < NODES_MAX {
                    conflicts.push(applied);
                }
            }
        }
    }

    pub fn finish(&self, names: &[NodeId], gaps: &Gaps) -> Outcome {
        // The lowest index shows where the histories part; what follows is a consequence.
        if let Some((&idx, conflicts)) = self.conflicts.first_key_value() {
            return self.two_entries(idx, conflicts, names);
        }
        let first = self.out_of_order.iter().min_by_key(|&(&node, _)| &names[node]);
        if let Some((&node, &(due, idx, applied))) = first {
            return out_of_order(&names[node], due, idx, applied);
        }
        let mut gaps = gaps.clone();
        gaps.extend(&self.contradictions);
        if !self.has_applied {
            gaps.add("no `apply` event was traced".to_string());
        }
        if self.is_full {
            gaps.add(format!("more than {REMEMBERED_MAX} applied indexes to remember"));
        }
        gaps.into_outcome()
    }

    fn two_entries(&self, idx: u64, conflicts: &[Applied], names: &[NodeId]) -> Outcome {
        let mut events: Vec<(ChainHash, Witness)> = self
            .by_index
            .get(&idx)
            .into_iter()
            .chain(conflicts)
            .map(|applied| (applied.ch, witness(&names[applied.node], idx, *applied)))
            .collect();
        events.sort_by(|a, b| a.1.cmp(&b.1));
        // One event for each entry is enough.
        let mut shown: Vec<ChainHash> = Vec::new();
        events.retain(|(ch, _)| {
            let is_new = !shown.contains(ch);
            shown.push(*ch);
            is_new
        });
        let events: Vec<Witness> = events.into_iter().map(|(_, event)| event).collect();
        let who: Vec<String> = events
            .iter()
            .map(|event| format!("{} (incarnation {})", event.node, event.incarnation))
            .collect();
        let why = format!(
            "index {idx} was applied with different entries by {}",
            super::finding::list(who)
        );
        Outcome::Violation { why, events }
    }
}

fn witness(node: &NodeId, idx: u64, applied: Applied) -> Witness {
    Witness {
        node: node.clone(),
        incarnation: applied.incarnation,
        seq: applied.seq,
        term: applied.term,
        what: format!(
            "applies index {idx}: the entry of term {} with chain hash {}",
            applied.entry_term, applied.ch
        ),
    }
}

fn out_of_order(node: &NodeId, due: Due, idx: u64, applied: Applied) -> Outcome {
    let last = match due {
        Due::After(_, last) => last,
        Due::Any => 0,
    };
    let how = if idx <= last { "applied again or out of order" } else { "applied after a hole" };
    let why = format!(
        "{node} (incarnation {}) had applied everything up to index {last}; index {idx} is {how}",
        applied.incarnation
    );
    Outcome::Violation { why, events: vec![witness(node, idx, applied)] }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Nodes, outcome};
    use super::super::{Invariant::StateMachineSafety, Outcome};

    fn judge(nodes: &Nodes) -> Outcome {
        outcome(nodes, StateMachineSafety)
    }

    fn silent() -> Nodes {
        let mut nodes = Nodes::new(3);
        nodes.start_all();
        nodes.apply(1, 1, 7).apply(1, 2, 8).apply(2, 1, 7).apply(3, 1, 7).apply(3, 2, 8);
        nodes
    }

    fn why(nodes: &Nodes) -> String {
        match judge(nodes) {
            Outcome::Violation { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equal_entries_in_order_are_valid() {
        assert_eq!(judge(&silent()), Outcome::Valid);
    }

    #[test]
    fn two_entries_at_an_index_are_named() {
        let mut nodes = silent();
        nodes.apply(2, 2, 9);
        assert_eq!(
            why(&nodes),
            "index 2 was applied with different entries by n1 (incarnation 0) and n2 \
             (incarnation 0)"
        );
    }

    #[test]
    fn a_node_may_contradict_itself_after_a_restart() {
        let mut nodes = silent();
        nodes.restart(1).apply(1, 1, 6);
        assert!(why(&nodes).contains("n1 (incarnation 0) and n1 (incarnation 1)"));
    }

    #[test]
    fn holes_and_repetitions_are_violations() {
        let mut nodes = silent();
        nodes.apply(1, 4, 1);
        assert!(why(&nodes).contains("up to index 2; index 4 is applied after a hole"));
        let mut nodes = silent();
        nodes.apply(1, 2, 8);
        assert!(why(&nodes).contains("index 2 is applied again"));
    }

    #[test]
    fn near_misses_are_silent() {
        let mut nodes = silent();
        // Again from the beginning after a restart; from where `start` says; after a snapshot.
        nodes.restart(1).apply(1, 1, 7).apply(1, 2, 8);
        nodes.restart_applied(2, 1).apply(2, 2, 8);
        nodes.install(3, 10).apply(3, 11, 4);
        assert_eq!(judge(&nodes), Outcome::Valid);
    }

    #[test]
    fn a_gap_hides_what_was_applied_last_but_not_a_proven_violation() {
        let mut nodes = silent();
        nodes.skip_seq(1);
        nodes.apply(1, 9, 3);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
        nodes.apply(2, 2, 9);
        assert!(matches!(judge(&nodes), Outcome::Violation { .. }));
    }
}
