//! The coordinator: decides everything that happens in a run, and does none of it.
//!
//! It takes [`Event`]s with the time at which they happened and answers with [`Action`]s; a driver
//! carries them out. It has no clock, socket, file or thread, and every random choice is keyed by
//! the seed, so that the same events lead to the same actions.
//!
//! A run goes through phases: nodes start and a leader is waited for; the workload runs while
//! faults come and go; everything heals and progress is waited for, the workload still running;
//! operations under way end and every live key is read once more; nodes are stopped.

mod client;
mod clients;
pub mod event;
mod faults;
mod limits;
mod nodes;
mod phases;
mod recovery;
#[cfg(test)]
mod tests;

use std::time::Duration;

use protocol::NodeId;
use protocol::launch::Timing;
use workloads::Workload;

use crate::guardian::ExitStatus;
use crate::nemesis::FaultKind;
use crate::nemesis::schedule::Pace;
use clients::Clients;
pub use clients::Totals;
use event::{Action, Ending, Event, Nanos, Note, nanos};
use faults::Faults;
use nodes::Nodes;
use phases::Phase;

/// What fixes a run.
pub struct Plan {
    /// All nodes.
    pub nodes: Vec<NodeId>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Number of clients.
    pub clients: usize,
    /// Operations a second of all clients together; `None`: closed loop.
    pub rate: Option<f64>,
    /// After this long an operation's outcome is called unknown.
    pub op_timeout: Duration,
    /// Kinds of faults to inject.
    pub faults: Vec<&'static FaultKind>,
    /// How long the workload runs under faults, and how often they come.
    pub pace: Pace,
    /// How long the nodes may take from their first start until they serve.
    pub start_limit: Duration,
    /// How long the healed cluster may take to make progress.
    pub recovery_limit: Duration,
    /// Whether a node that ended by itself may be started again: its system promises that state
    /// survives. Where it does not, the harness would make it forget what it never vowed to keep.
    pub durable: bool,
    /// The nodes' timing.
    pub timing: Timing,
    /// What clients do.
    pub workload: Box<dyn Workload>,
}

/// Decides what happens in a run.
pub struct Coordinator {
    time_limit: Nanos,
    start_limit: Duration,
    recovery_limit: Nanos,
    durable: bool,
    timing: Timing,
    workload: Box<dyn Workload>,
    nodes: Nodes,
    clients: Clients,
    faults: Faults,
    phase: Phase,
    /// How the run will be said to have ended.
    ending: Ending,
    breaches: usize,
}

/// What a run looks like now, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The phase, in a word or two.
    pub phase: &'static str,
    /// Outcomes so far.
    pub totals: Totals,
    /// Who leads, as far as known.
    pub leader: Option<NodeId>,
    /// Nodes that run and are not stopped.
    pub nodes_awake: usize,
    /// Faults in force.
    pub faults: Vec<String>,
}

impl Coordinator {
    /// A run that has not begun.
    pub fn new(plan: Plan) -> Self {
        Coordinator {
            time_limit: nanos(plan.pace.length),
            start_limit: plan.start_limit,
            recovery_limit: nanos(plan.recovery_limit),
            durable: plan.durable,
            timing: plan.timing,
            nodes: Nodes::new(&plan.nodes),
            clients: Clients::new(plan.seed, plan.clients, plan.nodes, plan.op_timeout, plan.rate),
            faults: Faults::new(plan.seed, plan.faults, plan.pace),
            workload: plan.workload,
            phase: Phase::Finished,
            ending: Ending::Completed,
            breaches: 0,
        }
    }

    /// Begins: starts all nodes.
    pub fn begin(&mut self, now: Nanos) -> Vec<Action> {
        let mut out = Vec::new();
        self.phase = Phase::Starting { until: now.saturating_add(nanos(self.start_limit)) };
        self.nodes.start_missing(&mut out);
        out
    }

    /// Whether [`Action::Finish`] has been given.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// What the run looks like now.
    pub fn snapshot(&self) -> Snapshot {
        let view = self.nodes.view();
        Snapshot {
            phase: self.phase.name(),
            totals: self.clients.totals(),
            leader: self.nodes.leader().map(|at| view[at].id.clone()),
            nodes_awake: view.iter().filter(|node| node.up && !node.paused).count(),
            faults: self.faults.in_force(),
        }
    }

    /// Takes an event and answers with what to do.
    pub fn handle(&mut self, now: Nanos, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.is_finished() {
            // What a fault did may be counted after the last node has gone.
            if let Event::Counted { fault, counters } = event {
                self.faults.counted(fault, &counters, now, &mut out);
            }
            return out;
        }
        self.take(now, event, &mut out);
        self.advance(now, &mut out);
        out
    }

    fn take(&mut self, now: Nanos, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Wakeup => {}
            Event::Started { node, incarnation, .. } => {
                self.nodes.started(&node, incarnation);
            }
            Event::StartFailed { node, incarnation, why } => {
                self.start_failed(now, node, incarnation, why, out);
            }
            Event::Stopped { node, incarnation, state } => {
                let by = self.nodes.stopped(&node, incarnation);
                self.faults.stopped(&node, &by, state, now, out);
            }
            Event::Continued { node, incarnation } => {
                self.nodes.continued(&node, incarnation);
            }
            Event::Exited { node, incarnation, status, by_us, excuse, log_tail } => {
                self.exited(now, node, incarnation, status, by_us, excuse, log_tail, out);
            }
            Event::Answered { client, msg_id, reply } => {
                let workload = self.workload.as_mut();
                let (served, breach) =
                    self.clients.answered(client, msg_id, &reply, now, workload, out);
                if let (Some(served), Phase::Recovering(wait)) = (served, &mut self.phase) {
                    wait.served(served);
                }
                if let Some((node, what)) = breach {
                    self.breached(node, what, out);
                }
            }
            Event::Breached { node, what } => self.breached(node, what, out),
            Event::TryEnded { client, msg_id, sent, why } => {
                let workload = self.workload.as_mut();
                self.clients.try_ended(client, msg_id, sent, &why, now, workload, out);
            }
            Event::Polled { node, incarnation, report } => {
                if self.nodes.polled(&node, incarnation, &report)
                    && let Phase::Recovering(wait) = &mut self.phase
                {
                    wait.polled(now, &node, &report);
                }
            }
            Event::Counted { fault, counters } => self.faults.counted(fault, &counters, now, out),
            Event::Probed { late } => {
                if let Phase::Recovering(wait) = &mut self.phase {
                    wait.probed(late);
                }
            }
            Event::Interrupted => self.stop(now, Ending::Interrupted, out),
            Event::HarnessFailed(why) => self.stop(now, Ending::HarnessFailed(why), out),
        }
    }

    fn start_failed(
        &mut self,
        now: Nanos,
        node: NodeId,
        incarnation: u32,
        why: String,
        out: &mut Vec<Action>,
    ) {
        if self.nodes.exited(&node, incarnation).is_none() {
            return;
        }
        let why = format!("node {node} could not be started: {why}");
        let ending = match self.phase {
            Phase::Starting { .. } => Ending::NeverServed(why),
            // It did start before: something happened to the machine or the program file.
            _ => Ending::HarnessFailed(why),
        };
        self.stop(now, ending, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event, and the context")]
    fn exited(
        &mut self,
        now: Nanos,
        node: NodeId,
        incarnation: u32,
        status: ExitStatus,
        by_us: bool,
        excuse: Option<String>,
        log_tail: Vec<String>,
        out: &mut Vec<Action>,
    ) {
        let Some(struck_by) = self.nodes.exited(&node, incarnation) else { return };
        if by_us {
            self.faults.killed(&node, &struck_by, &status.to_string(), now, out);
            if !matches!(self.phase, Phase::Stopping { .. }) {
                // Its fault may have been healed before the kernel was done with the process.
                self.nodes.start_if_free(&node, out);
            }
            return;
        }
        if !self.durable {
            self.nodes.stay_down(&node);
        }
        let foreign_kill = matches!(status, ExitStatus::Signal { signal: 9, .. }).then(|| {
            "it died of a SIGKILL that the harness did not send (out of memory?)".to_owned()
        });
        let excuse = excuse.or(foreign_kill);
        if let Phase::Starting { .. } = self.phase {
            let ending = match excuse {
                Some(excuse) => Ending::HarnessFailed(format!(
                    "node {node} ended ({status}) before it ever served: {excuse}"
                )),
                None => {
                    let tail = match log_tail.is_empty() {
                        true => "; it printed nothing".to_owned(),
                        false => format!("; the end of its log:\n  {}", log_tail.join("\n  ")),
                    };
                    Ending::NeverServed(format!(
                        "node {node} ended ({status}) before it ever served{tail}"
                    ))
                }
            };
            self.stop(now, ending, out);
            return;
        }
        out.push(Action::Note(Note::UnexpectedExit {
            node,
            incarnation,
            status: status.to_string(),
            excuse,
            log_tail,
        }));
    }

    fn breached(&mut self, node: NodeId, what: String, out: &mut Vec<Action>) {
        self.breaches += 1;
        if self.breaches <= limits::BREACHES_NOTED {
            out.push(Action::Note(Note::Breach { node, what }));
        }
    }
}
