//! One client: its operation under way, and when something is due for it.

use workloads::Operation;
use workloads::random::{Draw, Stream};

use super::event::{Nanos, nanos};
use super::limits;

/// A client.
pub struct Client {
    /// The process it is now.
    pub process: i64,
    /// The node that served last.
    pub home: usize,
    routing: Stream,
    routings: u64,
    /// Never used before.
    pub next_msg_id: u64,
    /// When the next operation is due.
    pub due: Nanos,
    /// Final operations given to this client, last one first.
    pub queued: Vec<Operation>,
    /// The operation under way.
    pub current: Option<Current>,
}

/// The operation under way.
pub struct Current {
    /// What.
    pub operation: Operation,
    /// When it is given up.
    pub deadline: Nanos,
    /// Ids of its tries so far.
    pub msg_ids: Vec<u64>,
    /// Where the last try went, or the next one goes.
    pub node: usize,
    /// Leader hints followed so far.
    pub hints: u32,
    /// When it was invoked.
    pub invoked_at: Nanos,
    /// Whether it is one of the last operations, which are done again until they are answered.
    pub is_final: bool,
    /// Where it stands.
    pub stage: Stage,
}

/// Where an operation stands.
pub enum Stage {
    /// A try is under way.
    Trying {
        /// When it was given up, if it was; its end is awaited.
        abandoned: Option<Nanos>,
    },
    /// The next try, at `node`, is due then.
    Pausing {
        /// When.
        until: Nanos,
        /// Why the last try was refused.
        why: String,
    },
}

impl Client {
    /// The client of this number, which has not begun.
    pub fn new(seed: u64, number: usize, nodes: usize) -> Self {
        Client {
            process: number as i64,
            home: number % nodes,
            routing: Stream::new(seed, &format!("routing-{number}")),
            routings: 0,
            next_msg_id: 1,
            due: 0,
            queued: Vec::new(),
            current: None,
        }
    }

    /// Randomness for the next choice of a node or a pause.
    pub fn next_draw(&mut self) -> Draw {
        self.routings += 1;
        self.routing.at(self.routings)
    }

    /// An operation begins now: sets when the next one is due. At a limited rate that is the next
    /// of the client's turns to come: turns that were missed are not caught up with.
    pub fn take_turn(&mut self, now: Nanos, interval: Option<Nanos>) {
        self.due = match interval.map(|interval| interval.max(1)) {
            None => now,
            Some(interval) => {
                let missed = now.saturating_sub(self.due) / interval;
                self.due.saturating_add(interval.saturating_mul(missed + 1))
            }
        };
    }

    /// When something is due, if anything; `is_working` says whether new operations begin.
    pub fn next_wakeup(&self, is_working: bool) -> Option<Nanos> {
        let Some(current) = &self.current else {
            return (is_working || !self.queued.is_empty()).then_some(self.due);
        };
        Some(match &current.stage {
            Stage::Trying { abandoned: None } => current.deadline,
            Stage::Trying { abandoned: Some(at) } => at.saturating_add(nanos(limits::ABANDON)),
            Stage::Pausing { until, .. } => (*until).min(current.deadline),
        })
    }

    /// Whether the end of a try that was given up is long overdue.
    pub fn is_stuck(&self, now: Nanos) -> bool {
        match &self.current {
            Some(Current { stage: Stage::Trying { abandoned: Some(at) }, .. }) => {
                now >= at.saturating_add(nanos(limits::ABANDON))
            }
            _ => false,
        }
    }
}
