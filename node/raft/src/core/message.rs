//! What nodes say to each other, and what goes into and comes out of the core.

use std::time::Duration;

use protocol::NodeId;
use protocol::trace::TraceKind;
use serde_json::Value as Json;

use super::command::{Command, Entry};
use super::state_machine::Outcome;
use super::types::{Index, Term, Ticket};

/// A message between nodes (Figure 2's two RPCs, as four messages).
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The sender's term when it sent this.
    pub term: Term,
    /// What it says.
    pub body: MessageBody,
}

/// The four kinds of messages.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageBody {
    /// RequestVote: the sender is a candidate.
    RequestVote {
        /// Index of the candidate's last entry.
        last_index: Index,
        /// Term of that entry.
        last_term: Term,
    },
    /// The answer to RequestVote.
    Vote {
        /// Whether the sender votes for the addressee in `term`.
        granted: bool,
    },
    /// AppendEntries: the sender leads `term`.
    AppendEntries {
        /// Index of the entry before `entries`.
        prev_index: Index,
        /// Term of that entry.
        prev_term: Term,
        /// Entries to store; empty in a heartbeat.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
        /// The leader's latest round of asking who still follows it; to be echoed.
        round: u64,
    },
    /// The answer to AppendEntries.
    AppendReply {
        /// The round that the request named.
        round: u64,
        /// Whether the logs matched.
        result: AppendResult,
    },
}

/// A follower's answer to AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The logs agree up to here, and the follower's is durable up to here.
    Matched(Index),
    /// The follower has no entry that matches `prev_index` and `prev_term`.
    Conflict {
        /// The request's `prev_index`.
        prev_index: Index,
        /// Where to try next: the first index of the conflicting term, or the log's end.
        hint_index: Index,
        /// The term that the follower has at `prev_index`, if any.
        hint_term: Option<Term>,
    },
}

/// Names a client's request until it is answered. The shell chooses them; the core only hands
/// them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientRequest {
    /// A linearizable read of a key.
    Read(Json),
    /// A command for the log.
    Propose(Command),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A read's result; `None`: never written.
    Read(Option<Json>),
    /// A command's result, decided when it was applied.
    Applied(Outcome),
    /// Not the leader; nothing was proposed.
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The leader has too much in flight; nothing was proposed.
    Overloaded,
    /// The command was proposed, but its entry was replaced in this node's log; other nodes may
    /// still hold and commit it, so the outcome is unknown.
    Lost,
}

/// An input to the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A message from another node.
    Message {
        /// The sender.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// A client's request.
    Request {
        /// Comes back with the answer.
        token: RequestToken,
        /// What is asked.
        request: ClientRequest,
    },
    /// All that was written under this ticket or an earlier one is durable.
    Synced(Ticket),
    /// Time has passed; look at the timers.
    Tick,
}

/// A record for the write-ahead log. Replaying them in order gives back term, vote and log.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The current term and the vote in it.
    HardState {
        /// The term.
        term: Term,
        /// The candidate voted for in that term.
        vote: Option<NodeId>,
    },
    /// An entry at the end of the log.
    Append {
        /// Its index.
        index: Index,
        /// The entry.
        entry: Entry,
    },
    /// The log ends before this index.
    Truncate {
        /// First index removed.
        from: Index,
    },
}

/// What the core wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write a record; it need not be durable yet.
    Persist(Record),
    /// Make all records so far durable, then say [`Input::Synced`] with this ticket. Other inputs
    /// may be given meanwhile.
    Sync(Ticket),
    /// Write a trace event, before any later `Send` or `Reply`.
    Trace {
        /// The node's term when it happened.
        term: Term,
        /// The event.
        kind: TraceKind,
    },
    /// Send a message. It may be lost.
    Send {
        /// The addressee.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Answer a client's request.
    Reply {
        /// The request.
        token: RequestToken,
        /// The answer.
        answer: Answer,
    },
}

/// Raft's timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Shortest election timeout.
    pub election_timeout_min: Duration,
    /// End (exclusive) of the range of election timeouts.
    pub election_timeout_max: Duration,
    /// Interval between a leader's heartbeats.
    pub heartbeat: Duration,
}
