//! After the last heal: does the cluster make progress again, and was the machine fit to show it?
//!
//! Slow is not stuck: while a node that is behind catches up, the wait goes on beyond its limit
//! (up to [`limits::CATCH_UP_FACTOR`] times), and such a node is never held against the cluster.

use std::collections::BTreeMap;

use protocol::NodeId;
use protocol::launch::Timing;

use super::clients::Served;
use super::event::{Nanos, Recovery, Report};
use super::limits;
use super::nodes::{Nodes, Process, highest_commit, ms};

/// The wait for progress.
pub struct Wait {
    since: Nanos,
    limit: Nanos,
    /// A probe later than this says that the machine did not schedule normally.
    late_after: Nanos,
    /// What had been committed by the last heal must be applied everywhere.
    commit: u64,
    served: u64,
    probes: u64,
    late_probes: u64,
    /// How far each node had applied, and when that last changed for the better.
    applied: BTreeMap<NodeId, (u64, Nanos)>,
}

/// Operations that must be served after the last heal.
const SERVED: u64 = 10;

/// Conditions that do not hold yet.
struct Unmet {
    /// Without a sign that they are about to.
    stuck: Vec<String>,
    /// A node is behind, but has come nearer within the last `limit`.
    catching_up: bool,
}

impl Wait {
    /// Everything was healed just now.
    pub fn begin(now: Nanos, limit: Nanos, timing: &Timing, nodes: &Nodes) -> Self {
        let mut wait = Wait {
            since: now,
            limit,
            late_after: ms(timing.election_timeout_ms_min) / 4,
            commit: highest_commit(nodes),
            served: 0,
            probes: 0,
            late_probes: 0,
            applied: BTreeMap::new(),
        };
        // What was applied before the heal is no progress after it.
        for (node, status) in nodes.statuses() {
            wait.applied.insert(node.id.clone(), (status.applied, 0));
        }
        wait
    }

    /// When the wait is given up at the latest, or looked at again.
    pub fn until(&self, now: Nanos) -> Nanos {
        let limit = self.since.saturating_add(self.limit);
        if now < limit { limit } else { self.last() }
    }

    fn last(&self) -> Nanos {
        self.since.saturating_add(self.limit.saturating_mul(limits::CATCH_UP_FACTOR))
    }

    /// Whether there is nothing more to wait for: all conditions hold, or time is up.
    pub fn is_over(&self, now: Nanos, nodes: &Nodes) -> bool {
        let unmet = self.unmet(now, nodes);
        if unmet.catching_up {
            return now >= self.last();
        }
        unmet.stuck.is_empty() || now >= self.since.saturating_add(self.limit)
    }

    /// An operation was served.
    pub fn served(&mut self, served: Served) {
        if served.invoked_at >= self.since {
            self.served += 1;
        }
    }

    /// The machine was probed.
    pub fn probed(&mut self, late: Nanos) {
        self.probes += 1;
        if late > self.late_after {
            self.late_probes += 1;
        }
    }

    /// A node said how far it is.
    pub fn polled(&mut self, now: Nanos, node: &NodeId, report: &Report) {
        let Report::Status(status) = report else { return };
        let (applied, at) = self.applied.entry(node.clone()).or_insert((0, now));
        if status.applied > *applied {
            (*applied, *at) = (status.applied, now);
        }
    }

    fn unmet(&self, now: Nanos, nodes: &Nodes) -> Unmet {
        let mut unmet = Unmet { stuck: Vec::new(), catching_up: false };
        if self.served < SERVED {
            unmet.stuck.push(format!(
                "{} operations invoked after the last heal were served, {SERVED} are asked for",
                self.served
            ));
        }
        if nodes.iter().any(|node| matches!(node.report, Report::Plain { .. })) {
            return unmet;
        }
        if nodes.leader().is_none() {
            unmet.stuck.push("no node says that it leads".into());
        }
        // A node that ended by itself is a finding of its own.
        for node in nodes.iter().filter(|node| node.process != Process::None) {
            match &node.report {
                Report::Status(status) if status.applied >= self.commit => {}
                Report::Status(_) if self.catches_up(now, &node.id) => unmet.catching_up = true,
                Report::Status(status) => unmet.stuck.push(format!(
                    "{} has applied up to {}, but {} was committed before the last heal",
                    node.id, status.applied, self.commit
                )),
                _ => unmet.stuck.push(format!("{} does not answer `status`", node.id)),
            }
        }
        unmet
    }

    fn catches_up(&self, now: Nanos, node: &NodeId) -> bool {
        let moved = self.applied.get(node).map_or(0, |(_, at)| *at);
        moved > self.since && now.saturating_sub(moved) < self.limit
    }

    /// The wait is over.
    pub fn end(&self, now: Nanos, nodes: &Nodes) -> Recovery {
        Recovery {
            waited: now.saturating_sub(self.since),
            limit: self.limit,
            unmet: self.unmet(now, nodes).stuck,
            probes: self.probes,
            late_probes: self.late_probes,
        }
    }
}
