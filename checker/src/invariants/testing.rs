//! Traces written by hand, for tests: a small cluster whose nodes are told what to trace.

use protocol::NodeId;
use protocol::trace::{
    Append, Apply, ChainHash, Entry, Head, Leader, Snap, Start, Synced, TRACE_FORMAT, TraceEvent,
    TraceKind, Trunc, Vote,
};

use super::{Invariant, Invariants, Outcome, TraceItem};

/// Nodes `n1`, `n2`, …; each method appends an event to a node's trace. Nodes are named by number.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pub nodes: Vec<Node>,
    payload: u64,
    voters: Vec<NodeId>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub items: Vec<TraceItem>,
    incarnation: u32,
    seq: u64,
    pub term: u64,
    applied: u64,
    base: (u64, u64),
    pub log: Vec<(u64, ChainHash)>,
}

impl Node {
    pub fn last(&self) -> u64 {
        self.base.0 + self.log.len() as u64
    }
}

/// A chain hash that depends on everything that it should.
pub(super) fn chain(previous: ChainHash, term: u64, payload: u64) -> ChainHash {
    ChainHash(
        (previous.0 ^ term.wrapping_mul(31) ^ payload.wrapping_mul(0x1000_0000_01b3))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23),
    )
}

pub(super) fn name(node: usize) -> NodeId {
    NodeId::new(format!("n{node}"))
}

impl Nodes {
    pub fn new(count: usize) -> Nodes {
        let voters = (1..=count).map(name).collect();
        Nodes { nodes: vec![Node::default(); count], payload: 0, voters }
    }

    pub fn without_voters(&mut self) -> &mut Nodes {
        self.voters.clear();
        self
    }

    /// What later entries carry.
    pub fn payload(&mut self, payload: u64) -> &mut Nodes {
        self.payload = payload;
        self
    }

    pub fn event(&mut self, node: usize, term: u64, kind: impl Into<TraceKind>) -> &mut Nodes {
        let state = &mut self.nodes[node - 1];
        state.term = term;
        let head = Head {
            v: TRACE_FORMAT,
            node: name(node),
            inc: state.incarnation,
            seq: state.seq,
            t_ns: 0,
            term,
        };
        state.seq += 1;
        state.items.push(TraceItem::Event(TraceEvent { head, kind: kind.into() }));
        self
    }

    fn start(&mut self, node: usize) -> &mut Nodes {
        let state = &self.nodes[node - 1];
        let (base_idx, base_term) = state.base;
        let tail: Vec<Entry> = (base_idx + 1..)
            .zip(&state.log)
            .map(|(idx, &(term, ch))| Entry(idx, term, "cmd".into(), ch))
            .collect();
        let start = Start {
            vote: None,
            first: base_idx + 1,
            last: tail.last().map_or(0, |entry| entry.0),
            last_term: tail.last().map_or(0, |entry| entry.1),
            commit: 0,
            applied: state.applied,
            snap_idx: base_idx,
            snap_term: base_term,
            tail,
            cfg: self.voters.clone(),
        };
        let term = state.term;
        self.event(node, term, start)
    }

    pub fn start_all(&mut self) -> &mut Nodes {
        for node in 1..=self.nodes.len() {
            self.start(node);
        }
        self
    }

    pub fn restart(&mut self, node: usize) -> &mut Nodes {
        self.restart_applied(node, 0)
    }

    pub fn restart_applied(&mut self, node: usize, applied: u64) -> &mut Nodes {
        let state = &mut self.nodes[node - 1];
        state.incarnation += 1;
        state.seq = 0;
        state.applied = applied.max(state.base.0);
        // The state machine is only ever as far as the log.
        while state.last() < state.applied {
            let before = state.log.last().map_or(ChainHash(0), |&(_, ch)| ch);
            state.log.push((0, chain(before, 0, 0)));
        }
        self.start(node)
    }

    /// One event is missing from the trace.
    pub fn skip_seq(&mut self, node: usize) -> &mut Nodes {
        self.nodes[node - 1].seq += 1;
        self
    }

    pub fn vote(&mut self, node: usize, term: u64, cand: usize, granted: bool) -> &mut Nodes {
        let vote =
            Vote { cand: name(cand), granted, pre: false, cand_last_term: 0, cand_last_idx: 0 };
        self.event(node, term, vote)
    }

    pub fn pre_vote(&mut self, node: usize, term: u64, cand: usize) -> &mut Nodes {
        let vote = Vote {
            cand: name(cand),
            granted: true,
            pre: true,
            cand_last_term: 0,
            cand_last_idx: 0,
        };
        self.event(node, term, vote)
    }

    pub fn leader(&mut self, node: usize, term: u64) -> &mut Nodes {
        let state = &self.nodes[node - 1];
        let leader = Leader {
            last: state.last(),
            last_term: state.log.last().map_or(state.base.1, |&(term, _)| term),
            granted_by: vec![name(node)],
        };
        self.event(node, term, leader)
    }

    /// Appends entries of these terms at the end.
    pub fn append(&mut self, node: usize, term: u64, terms: &[u64]) -> &mut Nodes {
        let from = self.nodes[node - 1].last() + 1;
        self.overwrite(node, term, from, terms)
    }

    /// Appends entries of these terms from an index on, which removes what was there.
    pub fn overwrite(&mut self, node: usize, term: u64, from: u64, terms: &[u64]) -> &mut Nodes {
        let payload = self.payload;
        let state = &mut self.nodes[node - 1];
        state.log.truncate(usize::try_from(from - state.base.0 - 1).unwrap());
        let mut ents = Vec::new();
        for (idx, &entry_term) in (from..).zip(terms) {
            let before = state.log.last().map_or(ChainHash(0), |&(_, ch)| ch);
            let ch = chain(before, entry_term, payload);
            state.log.push((entry_term, ch));
            ents.push(Entry(idx, entry_term, "cmd".into(), ch));
        }
        self.event(node, term, Append { src: name(node), ents })
    }

    pub fn trunc(&mut self, node: usize, term: u64, from_idx: u64) -> &mut Nodes {
        let state = &mut self.nodes[node - 1];
        state.log.truncate(usize::try_from(from_idx - state.base.0 - 1).unwrap());
        self.event(node, term, Trunc { from_idx, reason: String::new() })
    }

    /// Removes entries without a word: the next `start` or `leader` will not have them.
    pub fn lose(&mut self, node: usize, from_idx: u64) -> &mut Nodes {
        let state = &mut self.nodes[node - 1];
        state.log.truncate(usize::try_from(from_idx - state.base.0 - 1).unwrap());
        self
    }

    /// The same, for tests in which that is a lie.
    pub fn forget(&mut self, node: usize, from_idx: u64) -> &mut Nodes {
        self.lose(node, from_idx)
    }

    /// Moves entries up to `idx` into a snapshot, without a word until the next `start`.
    pub fn compact(&mut self, node: usize, idx: u64) -> &mut Nodes {
        let state = &mut self.nodes[node - 1];
        let count = usize::try_from(idx - state.base.0).unwrap();
        state.base = (idx, state.log[count - 1].0);
        state.log.drain(..count);
        self
    }

    /// All of the log is durable.
    pub fn synced(&mut self, node: usize, term: u64) -> &mut Nodes {
        let idx = self.nodes[node - 1].last();
        self.event(node, term, Synced { idx })
    }

    pub fn apply(&mut self, node: usize, idx: u64, ch: u64) -> &mut Nodes {
        let term = self.nodes[node - 1].term;
        let apply =
            Apply { idx, entry_term: 1, ch: ChainHash(ch), req: None, result: Default::default() };
        self.event(node, term, apply)
    }

    pub fn install(&mut self, node: usize, idx: u64) -> &mut Nodes {
        let term = self.nodes[node - 1].term;
        let snap = Snap {
            op: "install".into(),
            idx,
            snap_term: 1,
            ch: ChainHash(1),
            sm_hash: Default::default(),
            cfg: Vec::new(),
        };
        self.event(node, term, snap)
    }
}

/// What the items say, pushed in the given order.
pub(super) fn judge(items: impl IntoIterator<Item = TraceItem>, count: usize) -> Vec<Outcome> {
    let mut invariants = Invariants::expecting((1..=count).map(name));
    for item in items {
        invariants.push(item);
    }
    invariants.finish().into_iter().map(|finding| finding.outcome).collect()
}

/// Node after node.
pub(super) fn in_turn(nodes: &Nodes) -> Vec<TraceItem> {
    nodes.nodes.iter().flat_map(|node| node.items.iter().cloned()).collect()
}

/// What one invariant says.
pub(super) fn outcome(nodes: &Nodes, invariant: Invariant) -> Outcome {
    let outcomes = judge(in_turn(nodes), nodes.nodes.len());
    let at = Invariant::ALL.iter().position(|&known| known == invariant).unwrap();
    outcomes[at].clone()
}
