//! Watches a simulated cluster and notes which of Raft's promises it breaks.
//!
//! It believes the disks, the messages and the content of entries, not what a node concludes: an
//! entry counts as committed once a true majority has it durably in the entry's own term.

use std::collections::{BTreeMap, BTreeSet};

use protocol::NodeId;
use protocol::trace::{ChainHash, TraceKind};
use whitewater_raft::core::{
    Answer, AppendResult, Change, Command, Message, MessageBody, Outcome, RequestToken, Restored,
    Store, Term,
};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    ElectionSafety,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    /// Answers to clients are those of one sequence of operations that respects real time.
    Linearizable,
    /// Nothing leaves a node that stands on something not yet durable.
    DurableBeforeSent,
    /// Term and commit index do not fall within an incarnation.
    Monotonic,
    /// A healed cluster serves.
    Liveness,
}

/// An operation of a client, by its token.
#[derive(Clone, Debug)]
pub enum Op {
    Read,
    Change(Change),
}

#[derive(Debug, Default)]
struct View {
    /// The node's log as its trace tells it.
    log: Vec<(u64, ChainHash)>,
    term: u64,
    commit: u64,
    applied: u64,
}

#[derive(Debug)]
struct Asked {
    op: Op,
    /// The highest log index that any answer given before this operation began stands on.
    floor: u64,
}

/// The watcher of one cluster.
#[derive(Debug)]
pub struct Oracle {
    majority: usize,
    pub broken: BTreeMap<Property, String>,
    views: BTreeMap<NodeId, View>,
    /// Who leads a term, and the log with which it began.
    leaders: BTreeMap<u64, (NodeId, Vec<(u64, ChainHash)>)>,
    votes: BTreeMap<(NodeId, u64), NodeId>,
    hashes: BTreeMap<(u64, u64), ChainHash>,
    /// By term and node: the last index of an entry of that term that it had durably then.
    durable: BTreeMap<u64, BTreeMap<NodeId, u64>>,
    /// Committed entries, and the term in which they were committed.
    committed: Vec<(u64, ChainHash, u64)>,
    /// What was applied at each index, from 1.
    applied: Vec<(ChainHash, Option<u64>)>,
    asked: BTreeMap<u64, Asked>,
    refused: BTreeSet<u64>,
    /// Index and outcome of each applied command, by token.
    outcomes: BTreeMap<u64, (u64, Outcome)>,
    /// Indexes of changes that took effect, with the value that they left.
    changes: BTreeMap<u64, serde_json::Value>,
    model: Store,
    floor: u64,
    pub answered_ok: usize,
}

impl Oracle {
    pub fn new(nodes: usize) -> Oracle {
        Oracle {
            majority: nodes / 2 + 1,
            broken: BTreeMap::new(),
            views: BTreeMap::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            hashes: BTreeMap::new(),
            durable: BTreeMap::new(),
            committed: Vec::new(),
            applied: Vec::new(),
            asked: BTreeMap::new(),
            refused: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            changes: BTreeMap::new(),
            model: Store::default(),
            floor: 0,
            answered_ok: 0,
        }
    }

    pub fn breaks(&mut self, property: Property, what: impl Into<String>) {
        self.broken.entry(property).or_insert_with(|| what.into());
    }

    /// A trace event of a node.
    pub fn on_trace(&mut self, node: &NodeId, term: Term, kind: &TraceKind) {
        let term = term.0;
        let view = self.views.entry(node.clone()).or_default();
        if let TraceKind::Start(start) = kind {
            let log = start.tail.iter().map(|entry| (entry.1, entry.3)).collect();
            *view = View { log, term, ..View::default() };
            return;
        }
        if term < view.term {
            let what = format!("{node}: term {term} after {}", view.term);
            return self.breaks(Property::Monotonic, what);
        }
        view.term = term;
        match kind {
            TraceKind::Vote(vote) if vote.granted => {
                let first = self.votes.entry((node.clone(), term)).or_insert(vote.cand.clone());
                if *first != vote.cand {
                    let what = format!("{node} votes for {first} and {} in {term}", vote.cand);
                    self.breaks(Property::ElectionSafety, what);
                }
            }
            TraceKind::Leader(_) => self.on_leader(node, term),
            TraceKind::Append(append) => {
                for entry in &append.ents {
                    let view = self.views.get_mut(node).expect("was entered above");
                    view.log.push((entry.1, entry.3));
                    assert_eq!(view.log.len() as u64, entry.0, "{node} appends with a hole");
                    let hash = *self.hashes.entry((entry.0, entry.1)).or_insert(entry.3);
                    if hash != entry.3 {
                        let what = format!("two entries {} of term {}", entry.0, entry.1);
                        self.breaks(Property::LogMatching, what);
                    }
                }
            }
            TraceKind::Trunc(trunc) => view.log.truncate(trunc.from_idx as usize - 1),
            TraceKind::Synced(synced) => self.on_synced(node, term, synced.idx),
            TraceKind::Commit(commit) => {
                if commit.idx <= view.commit {
                    let what = format!("{node}: commit {} after {}", commit.idx, view.commit);
                    self.breaks(Property::Monotonic, what);
                } else {
                    view.commit = commit.idx;
                }
            }
            TraceKind::Apply(apply) => {
                let token = apply.req.as_ref().map(|req| req.msg_id);
                self.on_apply(node, apply.idx, apply.ch, token);
            }
            _ => {}
        }
    }

    fn on_leader(&mut self, node: &NodeId, term: u64) {
        let log = self.views[node].log.clone();
        let (first, _) = self.leaders.entry(term).or_insert((node.clone(), log.clone()));
        if first != node {
            let what = format!("{first} and {node} both lead term {term}");
            self.breaks(Property::ElectionSafety, what);
        }
        self.check_completeness(0);
    }

    /// Counts what is durable in its own term, and so what is committed (section 5.4.2).
    fn on_synced(&mut self, node: &NodeId, term: u64, idx: u64) {
        let log = &self.views[node].log;
        let Some(last) = log[..idx as usize].iter().rposition(|entry| entry.0 == term) else {
            return;
        };
        let holders = self.durable.entry(term).or_default();
        holders.insert(node.clone(), last as u64 + 1);
        let mut matched: Vec<u64> = holders.values().copied().collect();
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let Some(&shared) = matched.get(self.majority - 1) else { return };
        let from = self.committed.len();
        let new = log.iter().take(shared as usize).skip(from);
        self.committed.extend(new.map(|&(entry_term, hash)| (entry_term, hash, term)));
        self.check_completeness(from);
    }

    /// Every leader of a term after the one in which an entry was committed holds it.
    fn check_completeness(&mut self, from: usize) {
        let mut missing = None;
        for (index, (_, hash, term)) in self.committed.iter().enumerate().skip(from) {
            for (leader_term, (leader, log)) in self.leaders.range(term + 1..) {
                if log.get(index).is_none_or(|entry| entry.1 != *hash) {
                    missing = Some(format!(
                        "{leader}, leader of {leader_term}, lacks entry {} committed in {term}",
                        index + 1
                    ));
                }
            }
        }
        if let Some(missing) = missing {
            self.breaks(Property::LeaderCompleteness, missing);
        }
    }

    fn on_apply(&mut self, node: &NodeId, index: u64, hash: ChainHash, token: Option<u64>) {
        let view = self.views.get_mut(node).expect("was entered above");
        let before = std::mem::replace(&mut view.applied, index);
        if index != before + 1 {
            self.breaks(Property::StateMachineSafety, format!("{node}: {index} after {before}"));
        }
        match self.applied.get(index as usize - 1) {
            Some((first, _)) if *first != hash => {
                let what = format!("{node} applies another entry at {index}");
                self.breaks(Property::StateMachineSafety, what);
            }
            Some(_) => {}
            None => {
                self.applied.push((hash, token));
                let Some(token) = token else { return };
                if self.refused.contains(&token) {
                    let what = format!("request {token} was refused and then applied");
                    self.breaks(Property::Linearizable, what);
                }
                if let Op::Change(change) = self.asked[&token].op.clone() {
                    let outcome = self.model.apply(&change);
                    if matches!(outcome, Outcome::Written | Outcome::Swapped) {
                        let (Change::Write { value, .. } | Change::Cas { to: value, .. }) = change;
                        self.changes.insert(index, value);
                    }
                    self.outcomes.insert(token, (index, outcome));
                }
            }
        }
    }

    /// A client asks.
    pub fn on_ask(&mut self, token: RequestToken, op: Op) {
        self.asked.insert(token.0, Asked { op, floor: self.floor });
    }

    /// A node answers. Commands have a place in the log, which must lie behind everything that
    /// was answered before they began; reads must see all that was.
    pub fn on_answer(&mut self, token: RequestToken, answer: &Answer) {
        let floor = self.asked[&token.0].floor;
        match answer {
            Answer::NotLeader { .. } | Answer::Overloaded => {
                self.refused.insert(token.0);
                if self.outcomes.contains_key(&token.0) {
                    let what = format!("request {} was applied and then refused", token.0);
                    self.breaks(Property::Linearizable, what);
                }
            }
            Answer::Lost => {}
            Answer::Applied(outcome) => {
                self.answered_ok += 1;
                match self.outcomes.get(&token.0) {
                    Some((index, expected)) if expected == outcome && *index > floor => {
                        self.floor = self.floor.max(*index);
                    }
                    other => {
                        let what = format!("{token:?}: {outcome:?}, not {other:?} after {floor}");
                        self.breaks(Property::Linearizable, what);
                    }
                }
            }
            Answer::Read(value) => {
                self.answered_ok += 1;
                let newest = self.changes.range(..=floor).next_back();
                let newest = newest.map(|(index, _)| *index).unwrap_or(0);
                let seen = match value {
                    None => Some(0),
                    Some(value) => {
                        let mut changes = self.changes.iter();
                        changes.find(|(_, left)| *left == value).map(|(index, _)| *index)
                    }
                };
                match seen {
                    Some(seen) if seen >= newest => self.floor = self.floor.max(seen),
                    seen => {
                        let what = format!("a read saw {seen:?}, older than change {newest}");
                        self.breaks(Property::Linearizable, what);
                    }
                }
            }
        }
    }

    /// A message leaves `node`, whose disk holds `disk` if it loses power now.
    pub fn on_send(&mut self, node: &NodeId, to: &NodeId, message: &Message, disk: &Restored) {
        let mut stands = disk.term == message.term;
        stands &= match &message.body {
            MessageBody::RequestVote { .. } => disk.vote.as_ref() == Some(node),
            MessageBody::Vote { granted: true } => disk.vote.as_ref() == Some(to),
            MessageBody::AppendReply { result: AppendResult::Matched(index), .. } => {
                disk.entries.len() as u64 >= index.0
            }
            _ => true,
        };
        if !stands {
            let what = format!("{node} sends {message:?} with term {} on disk", disk.term);
            self.breaks(Property::DurableBeforeSent, what);
        }
    }
}

/// A command whose `msg_id` is its token, so that applied entries can be told apart.
pub fn command(token: RequestToken, change: Change) -> Command {
    Command::new("c1".into(), token.0, change)
}
