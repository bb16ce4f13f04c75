//! Raft as in Figure 2 of "In Search of an Understandable Consensus Algorithm (Extended
//! Version)" (Ongaro & Ousterhout 2014), without I/O.
//!
//! [`Raft::handle`] takes the time and an input; what must be done comes out of
//! [`Raft::take_effects`], in order. The core opens no file or socket, reads no clock, starts no
//! thread and draws only from the seed it was given: equal inputs give equal effects.
//!
//! | file | what | where in the paper |
//! |---|---|---|
//! | `log.rs` | the log and its chain hashes | 5.3 |
//! | `election.rs` | terms, votes, roles | 5.1, 5.2, 5.4.1 |
//! | `replication.rs` | AppendEntries, both sides | 5.3 |
//! | `commit.rs` | the commit index, applying | 5.3, 5.4.2 |
//! | `read.rs` | reads by ReadIndex | 8; dissertation 6.4 |
//! | `durability.rs` | durable before sent | Figure 2, "persistent state" |
//! | `quorum.rs` | counting | 5.2 |
//! | `state_machine.rs` | keys and values | |
//!
//! Left out: snapshots, membership changes, leadership transfer, pre-votes, leases, client
//! sessions (a command that is delivered twice is applied twice).

mod command;
mod commit;
mod durability;
mod election;
mod log;
mod message;
mod quorum;
mod read;
mod replication;
mod state_machine;
mod types;

pub use command::{Change, Command, Entry, NotACommand, Payload};
pub use log::Log;
pub use message::{
    Answer, AppendResult, ClientRequest, Effect, Input, Message, MessageBody, Record, RequestToken,
    Timing,
};
pub use quorum::Quorum;
pub use state_machine::{Outcome, Store};
pub use types::{Index, Term, Ticket};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::NodeId;
use protocol::trace::{Start, TraceKind};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::bugs::Bugs;

use durability::Durability;
use replication::Leadership;

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This node.
    pub id: NodeId,
    /// The other voters.
    pub others: Vec<NodeId>,
    /// Timeouts and intervals.
    pub timing: Timing,
    /// Bugs to exhibit.
    pub bugs: Bugs,
    /// Seed of all random choices; differs between nodes and incarnations.
    pub seed: u64,
}

/// What stable storage held at start: the outcome of all durable records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restored {
    /// The current term.
    pub term: Term,
    /// The vote in it.
    pub vote: Option<NodeId>,
    /// The log, from index 1.
    pub entries: Vec<Entry>,
}

/// A node's view of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `leader`, `candidate` or `follower`.
    pub role: &'static str,
    /// The current term.
    pub term: Term,
    /// Who leads it, if known.
    pub leader: Option<NodeId>,
    /// The commit index.
    pub commit: Index,
    /// Index of the last entry applied.
    pub applied: Index,
}

/// One Raft node.
#[derive(Debug)]
pub struct Raft {
    id: NodeId,
    /// All voters, this node included, sorted.
    voters: Vec<NodeId>,
    quorum: Quorum,
    timing: Timing,
    bugs: Bugs,
    rng: ChaCha8Rng,
    /// The time of the input in hand.
    now: Duration,

    // Persistent state.
    term: Term,
    vote: Option<NodeId>,
    log: Log,
    durability: Durability,

    // Volatile state.
    role: Role,
    leader: Option<NodeId>,
    election_due: Duration,
    commit: Index,
    applied: Index,
    store: Store,
    /// Commands proposed here that wait to be applied, so that their clients can be answered.
    proposals: BTreeMap<Index, RequestToken>,

    effects: Vec<Effect>,
}

/// What a node is in its term (section 5.1).
#[derive(Debug)]
enum Role {
    Follower,
    Candidate { votes: BTreeSet<NodeId> },
    Leader(Leadership),
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Role::Follower => "follower",
            Role::Candidate { .. } => "candidate",
            Role::Leader(_) => "leader",
        }
    }
}

impl Raft {
    /// A node that starts with what its storage held. Its first effect is the trace's `start`.
    pub fn new(setup: Setup, restored: Restored, now: Duration) -> Raft {
        let voters: BTreeSet<NodeId> = setup.others.into_iter().chain([setup.id.clone()]).collect();
        let log = Log::new(restored.entries);
        let mut raft = Raft {
            id: setup.id,
            quorum: Quorum::majority_of(voters.len(), setup.bugs),
            voters: voters.into_iter().collect(),
            timing: setup.timing,
            bugs: setup.bugs,
            rng: ChaCha8Rng::seed_from_u64(setup.seed),
            now,
            term: restored.term,
            vote: restored.vote,
            durability: Durability::restored(log.last_index()),
            log,
            role: Role::Follower,
            leader: None,
            election_due: now,
            commit: Index(0),
            applied: Index(0),
            store: Store::default(),
            proposals: BTreeMap::new(),
            effects: Vec::new(),
        };
        raft.reset_election_timer();
        raft.trace(Start {
            vote: raft.vote.clone(),
            first: 1,
            last: raft.log.last_index().0,
            last_term: raft.log.last_term().0,
            commit: 0,
            applied: 0,
            snap_idx: 0,
            snap_term: 0,
            tail: raft.log.traced(Index(1)),
            cfg: raft.voters.clone(),
        });
        raft
    }

    /// Takes an input. `now` is the time since any fixed moment and never falls.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Message { from, message } => self.on_message(from, message),
            Input::Request { token, request: ClientRequest::Read(key) } => self.on_read(token, key),
            Input::Request { token, request: ClientRequest::Propose(command) } => {
                self.on_propose(token, command);
            }
            Input::Synced(ticket) => self.on_synced(ticket),
            Input::Tick => self.on_tick(),
        }
        self.request_sync();
    }

    /// What must be done now, in this order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn wake_at(&self) -> Duration {
        let timer = match &self.role {
            Role::Leader(leadership) => leadership.heartbeat_due,
            Role::Follower | Role::Candidate { .. } => self.election_due,
        };
        self.durability.wake_at().map_or(timer, |held| held.min(timer))
    }

    /// The node's view of itself.
    pub fn status(&self) -> Status {
        Status {
            role: self.role.name(),
            term: self.term,
            leader: self.leader.clone(),
            commit: self.commit,
            applied: self.applied,
        }
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn on_tick(&mut self) {
        if self.durability.wake_at().is_some_and(|due| due <= self.now) {
            self.write_held();
        }
        match &self.role {
            Role::Leader(leadership) if leadership.heartbeat_due <= self.now => self.heartbeat(),
            Role::Follower | Role::Candidate { .. } if self.election_due <= self.now => {
                self.start_election();
            }
            _ => {}
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        if from == self.id || self.voters.binary_search(&from).is_err() {
            return;
        }
        let Message { term, body } = message;
        if term > self.term {
            self.enter_term(term);
        }
        match body {
            MessageBody::RequestVote { last_index, last_term } => {
                self.on_request_vote(from, term, last_index, last_term);
            }
            // Figure 2, AppendEntries RPC: "reply false if term < currentTerm". The answer
            // carries our term, which is all that the deposed leader needs.
            MessageBody::AppendEntries { prev_index, round, .. } if term < self.term => {
                let result =
                    AppendResult::Conflict { prev_index, hint_index: prev_index, hint_term: None };
                self.send(from, MessageBody::AppendReply { round, result });
            }
            MessageBody::AppendEntries { prev_index, prev_term, entries, commit, round } => {
                self.on_append_entries(from, (prev_index, prev_term), entries, commit, round);
            }
            // An answer of an earlier term answers nothing that we still ask.
            MessageBody::Vote { .. } | MessageBody::AppendReply { .. } if term < self.term => {}
            MessageBody::Vote { granted } => self.on_vote(from, granted),
            MessageBody::AppendReply { round, result } => self.on_append_reply(from, round, result),
        }
    }

    fn others(&self) -> Vec<NodeId> {
        self.voters.iter().filter(|&id| *id != self.id).cloned().collect()
    }

    fn trace(&mut self, kind: impl Into<TraceKind>) {
        self.effects.push(Effect::Trace { term: self.term, kind: kind.into() });
    }

    fn random_bits(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

#[cfg(test)]
mod tests;
