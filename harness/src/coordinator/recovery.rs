//! After the last heal: does the cluster make progress again, and was the machine fit to show it?

use protocol::launch::Timing;

use super::clients::Served;
use super::event::{Nanos, Recovery, Report};
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
}

/// Operations that must be served after the last heal.
const SERVED: u64 = 10;

impl Wait {
    /// Everything was healed just now.
    pub fn begin(now: Nanos, limit: Nanos, timing: &Timing, nodes: &Nodes) -> Self {
        Wait {
            since: now,
            limit,
            late_after: ms(timing.election_timeout_ms_min) / 4,
            commit: highest_commit(nodes),
            served: 0,
            probes: 0,
            late_probes: 0,
        }
    }

    /// When the wait is given up.
    pub fn until(&self) -> Nanos {
        self.since + self.limit
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

    /// Conditions that do not hold yet.
    pub fn unmet(&self, nodes: &Nodes) -> Vec<String> {
        let mut unmet = Vec::new();
        if self.served < SERVED {
            unmet.push(format!(
                "{} operations invoked after the last heal were served, {SERVED} are asked for",
                self.served
            ));
        }
        let offers_status = nodes.iter().all(|node| !matches!(node.report, Report::Unsupported));
        if offers_status {
            if nodes.leader().is_none() {
                unmet.push("no node says that it leads".into());
            }
            // A node that ended by itself is a finding of its own.
            for node in nodes.iter().filter(|node| node.process != Process::None) {
                match &node.report {
                    Report::Status(status) if status.applied >= self.commit => {}
                    Report::Status(status) => unmet.push(format!(
                        "{} has applied up to {}, but {} was committed before the last heal",
                        node.id, status.applied, self.commit
                    )),
                    _ => unmet.push(format!("{} does not answer `status`", node.id)),
                }
            }
        }
        unmet
    }

    /// The wait is over.
    pub fn end(&self, now: Nanos, nodes: &Nodes) -> Recovery {
        Recovery {
            waited: now.saturating_sub(self.since),
            limit: self.limit,
            unmet: self.unmet(nodes),
            probes: self.probes,
            late_probes: self.late_probes,
        }
    }
}
