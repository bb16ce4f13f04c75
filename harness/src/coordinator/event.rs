//! What the coordinator is told, and what it asks for.
//!
//! Both are plain data: a driver turns what happens into [`Event`]s and carries [`Action`]s out.
//! Real time and virtual time are two drivers of the same coordinator.

use std::time::Duration;

use protocol::NodeId;
use protocol::message::{Reply, Request, Status};
use results::fault_log::FaultEvent;
use serde_json::Value as Json;

use crate::guardian::{ExitStatus, NodeSignal};
use crate::net::{FaultCounters, FaultId, LinkTable};

/// Nanoseconds since the run began.
pub type Nanos = u64;

/// A duration in nanoseconds; one of centuries is cut short, so that sums do not overflow.
pub fn nanos(duration: Duration) -> Nanos {
    const LONGEST: Nanos = Nanos::MAX / 16;
    Nanos::try_from(duration.as_nanos()).unwrap_or(LONGEST).min(LONGEST)
}

/// Number of a client, from 0.
pub type ClientIndex = usize;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The time that [`super::Coordinator::next_wakeup`] asked for has come.
    Wakeup,
    /// A node's process runs.
    Started {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// Its pid, as people see it.
        pid: Option<i32>,
    },
    /// A node could not be started.
    StartFailed {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// Why.
        why: String,
    },
    /// A node's process was seen stopped.
    Stopped {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// Its state in `/proc`, `T`.
        state: char,
    },
    /// A node's process was seen running again.
    Continued {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
    },
    /// A node's process is gone.
    Exited {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// How it ended.
        status: ExitStatus,
        /// Whether it ended as the harness asked.
        by_us: bool,
        /// Whether something of the harness's own making explains it (a full disk).
        excuse: Option<String>,
        /// The last lines of its log.
        log_tail: Vec<String>,
    },
    /// A node answered a client's try.
    Answered {
        /// The client.
        client: ClientIndex,
        /// The try.
        msg_id: u64,
        /// What it said.
        reply: Reply,
    },
    /// A node sent something that is no answer of the contract.
    Breached {
        /// The node.
        node: NodeId,
        /// What came, and what would be right.
        what: String,
    },
    /// A client's try ended without an answer.
    TryEnded {
        /// The client.
        client: ClientIndex,
        /// The try.
        msg_id: u64,
        /// Whether a byte of the request may have left.
        sent: bool,
        /// Why, in a few words.
        why: String,
    },
    /// A node was asked for its status.
    Polled {
        /// The node.
        node: NodeId,
        /// Its incarnation when it was asked.
        incarnation: u32,
        /// What came of it.
        report: Report,
    },
    /// What a fault did to messages and connections so far, as asked for.
    Counted {
        /// The fault.
        fault: FaultId,
        /// The counters.
        counters: FaultCounters,
    },
    /// A probe of the machine: how late a timer of the harness fired, or how long a small fsync
    /// took, whichever is longer.
    Probed {
        /// In nanoseconds.
        late: Nanos,
    },
    /// The user asked to stop.
    Interrupted,
    /// The harness itself cannot go on: the run is void, what was recorded stays.
    HarnessFailed(String),
}

/// What came of asking a node for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nobody listens, or no answer.
    Silent,
    /// It is there, but offers no `status`.
    Plain {
        /// Whether it has served a read.
        serves: bool,
    },
    /// It speaks this other version of the node contract.
    OtherVersion(u32),
    /// Its view of itself.
    Status(Status),
}

/// Something is to be done. Actions are carried out in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Start a node.
    Start {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
    },
    /// Signal a node.
    Signal {
        /// The node.
        node: NodeId,
        /// The incarnation meant.
        incarnation: u32,
        /// What to do.
        signal: NodeSignal,
    },
    /// Send a client's request to a node; ends in `Answered` or `TryEnded`, exactly one of them.
    Try {
        /// The client; it has no other try under way.
        client: ClientIndex,
        /// The node.
        node: NodeId,
        /// Unique for this client.
        msg_id: u64,
        /// The request.
        request: Request,
    },
    /// Give up a client's try; `TryEnded` says whether it had been sent, unless `Answered` came
    /// first.
    Abandon {
        /// The client.
        client: ClientIndex,
        /// The try.
        msg_id: u64,
    },
    /// These link rules hold from now on.
    PublishLinks(LinkTable),
    /// Report what a fault did to messages and connections, in a `Counted` that is handed over
    /// after the actions that stand beside this one have been carried out.
    Count(FaultId),
    /// Write to the history.
    Invoke(Invoke),
    /// Write to the history.
    Complete(Complete),
    /// Write to the fault log.
    Fault(FaultEvent),
    /// Bring everything recorded so far to the operating system.
    Flush,
    /// Note something about the run in its manifest, at once.
    Note(Note),
    /// The run is over.
    Finish(Ending),
}

/// An operation begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoke {
    /// The client.
    pub client: ClientIndex,
    /// The process.
    pub process: i64,
    /// The function.
    pub f: &'static str,
    /// The key.
    pub key: Option<Json>,
    /// The argument.
    pub value: Json,
    /// Message id of the first try.
    pub msg_id: u64,
}

/// An operation ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Complete {
    /// The process.
    pub process: i64,
    /// The function.
    pub f: &'static str,
    /// The key.
    pub key: Option<Json>,
    /// The argument, for an outcome that carries no value of its own.
    pub value: Json,
    /// How it ended.
    pub outcome: workloads::Outcome,
    /// All message ids tried.
    pub msg_ids: Vec<u64>,
    /// The node of the last try.
    pub node: Option<NodeId>,
}

/// A fact for the manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// The cluster serves; the workload begins.
    WorkloadBegan,
    /// A node ended unprompted.
    UnexpectedExit {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// How, in words.
        status: String,
        /// Whether it is held against the harness (out of memory, full disk) and why.
        excuse: Option<String>,
        /// The last lines of its log.
        log_tail: Vec<String>,
    },
    /// A node broke the contract.
    Breach {
        /// The node.
        node: NodeId,
        /// What it did.
        what: String,
    },
    /// Everything is healed; progress is waited for.
    Healed,
    /// The wait for progress is over.
    Recovery(Recovery),
}

/// Whether the cluster made progress after the last heal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// From the last heal until all conditions held, or the wait was given up.
    pub waited: Nanos,
    /// How long was allowed.
    pub limit: Nanos,
    /// Conditions that did not come true; empty if all did.
    pub unmet: Vec<String>,
    /// Probes of the machine during the wait, and how many of them were late.
    pub probes: u64,
    /// Probes that were later than a quarter of the shortest election timeout.
    pub late_probes: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Completed,
    /// The user stopped it.
    Interrupted,
    /// Nodes never served at first start; a sentence for the user.
    NeverServed(String),
    /// The harness failed; why.
    HarnessFailed(String),
}
