//! The coordinator: decides everything that happens in a run, and does none of it.
//!
//! It takes [`Event`]s with the time at which they happened and answers with [`Action`]s; a driver
//! carries them out. It has no clock, socket, file or thread, and every random choice is keyed by
//! the seed, so that the same events lead to the same actions.
//!
//! A run goes through phases: nodes start and a leader is waited for; the workload runs while
//! faults come and go; everything heals and progress is waited for, the workload still running;
//! operations under way end and every live key is read once more; nodes are stopped.

mod clients;
pub mod event;
mod faults;
mod limits;
mod nodes;
mod recovery;

use std::time::Duration;

use protocol::NodeId;
use protocol::launch::Timing;
use workloads::Workload;

use crate::guardian::{ExitStatus, NodeSignal};
use crate::nemesis::FaultKind;
use crate::nemesis::schedule::Pace;
use crate::net::FaultId;
use clients::Clients;
pub use clients::Totals;
use event::{Action, Ending, Event, Nanos, Note, Report};
use faults::Faults;
use nodes::Nodes;
use recovery::Wait;

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

enum Phase {
    Starting {
        until: Nanos,
    },
    Running {
        until: Nanos,
    },
    /// Nodes held down by faults come back.
    Healing {
        until: Nanos,
    },
    Recovering(Wait),
    /// Operations under way end, then each live key is read.
    LastOperations {
        final_reads: bool,
        until: Nanos,
    },
    Stopping {
        until: Nanos,
        killing: bool,
    },
    Finished,
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
            time_limit: plan.pace.length.as_nanos() as Nanos,
            start_limit: plan.start_limit,
            recovery_limit: plan.recovery_limit.as_nanos() as Nanos,
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
        self.phase = Phase::Starting { until: now + self.start_limit.as_nanos() as Nanos };
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
            phase: match self.phase {
                Phase::Starting { .. } => "starting",
                Phase::Running { .. } => "running",
                Phase::Healing { .. } => "healing",
                Phase::Recovering(_) => "recovering",
                Phase::LastOperations { .. } => "last reads",
                Phase::Stopping { .. } => "stopping",
                Phase::Finished => "finished",
            },
            totals: self.clients.totals(),
            leader: self.nodes.leader().map(|at| view[at].id.clone()),
            nodes_awake: view.iter().filter(|node| node.up && !node.paused).count(),
            faults: self.faults.in_force(),
        }
    }

    /// When [`Event::Wakeup`] is wanted, at the latest.
    pub fn next_wakeup(&self) -> Option<Nanos> {
        let phase = match &self.phase {
            Phase::Starting { until }
            | Phase::Running { until }
            | Phase::Healing { until }
            | Phase::LastOperations { until, .. }
            | Phase::Stopping { until, .. } => Some(*until),
            Phase::Recovering(wait) => Some(wait.until()),
            Phase::Finished => None,
        };
        let faults = match self.phase {
            Phase::Running { .. } => self.faults.next_wakeup(),
            _ => None,
        };
        [phase, faults, self.clients.next_wakeup()].into_iter().flatten().min()
    }

    /// Takes an event and answers with what to do.
    pub fn handle(&mut self, now: Nanos, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.is_finished() {
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
                // It may have been asked for just before the run was stopped.
                if matches!(self.phase, Phase::Stopping { .. }) {
                    self.nodes.stop_all(NodeSignal::Kill, out);
                }
            }
            Event::StartFailed { node, incarnation, why } => {
                self.start_failed(now, node, incarnation, why, out);
            }
            Event::Stopped { node, incarnation, state } => {
                self.nodes.set_paused(&node, incarnation, true);
                if let Some(present) = self.nodes.get(&node)
                    && present.incarnation == incarnation
                {
                    let by: Vec<FaultId> = present.paused_by.iter().copied().collect();
                    self.faults.stopped(&node, &by, state, now, out);
                }
            }
            Event::Continued { node, incarnation } => {
                self.nodes.set_paused(&node, incarnation, false);
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
                self.nodes.polled(&node, incarnation, report);
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
        self.nodes.exited(&node, incarnation);
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
        let by: Vec<FaultId> = self
            .nodes
            .get(&node)
            .map(|node| node.killed_by.iter().copied().collect())
            .unwrap_or_default();
        if !self.nodes.exited(&node, incarnation) {
            return;
        }
        if by_us {
            self.faults.killed(&node, &by, &status.to_string(), now, out);
            if !matches!(self.phase, Phase::Stopping { .. }) {
                // A fault may have been healed before the kernel was done with the process.
                self.nodes.start_missing(out);
            }
            return;
        }
        if let Phase::Starting { .. } = self.phase {
            let tail = match log_tail.is_empty() {
                true => "; it printed nothing".to_owned(),
                false => format!("; the end of its log:\n  {}", log_tail.join("\n  ")),
            };
            let why = format!("node {node} ended ({status}) before it ever served{tail}");
            self.stop(now, Ending::NeverServed(why), out);
            return;
        }
        if !self.durable {
            self.nodes.stay_down(&node);
        }
        let foreign_kill = matches!(status, ExitStatus::Signal { signal: 9, .. }).then(|| {
            "it died of a SIGKILL that the harness did not send (out of memory?)".to_owned()
        });
        out.push(Action::Note(Note::UnexpectedExit {
            node,
            incarnation,
            status: status.to_string(),
            excuse: excuse.or(foreign_kill),
            log_tail,
        }));
    }

    fn breached(&mut self, node: NodeId, what: String, out: &mut Vec<Action>) {
        self.breaches += 1;
        if self.breaches <= limits::BREACHES_NOTED {
            out.push(Action::Note(Note::Breach { node, what }));
        }
    }

    /// Does what is due, and goes on to the next phase when its time has come.
    fn advance(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if let Phase::Running { .. } = self.phase {
            self.faults.advance(now, &mut self.nodes, out);
        }
        self.clients.advance(now, self.workload.as_mut(), out);
        match &self.phase {
            Phase::Starting { until } => {
                if self.serves() {
                    out.push(Action::Note(Note::WorkloadBegan));
                    self.faults.begin(now);
                    self.clients.begin(now);
                    self.phase = Phase::Running { until: now + self.time_limit };
                    self.clients.advance(now, self.workload.as_mut(), out);
                } else if now >= *until {
                    let why = format!(
                        "the cluster did not serve within {:?} of its first start: {}",
                        self.start_limit,
                        self.why_not_serving()
                    );
                    self.stop(now, Ending::NeverServed(why), out);
                }
            }
            Phase::Running { until } if now >= *until => {
                self.faults.heal_all(now, &mut self.nodes, out);
                // A node that ended by itself gets another chance, like one that was killed.
                self.nodes.start_missing(out);
                self.phase = Phase::Healing { until: now + limits::KILL.as_nanos() as Nanos };
            }
            Phase::Healing { until } => {
                if self.nodes.are_settled() || now >= *until {
                    out.push(Action::Note(Note::Healed));
                    let wait = Wait::begin(now, self.recovery_limit, &self.timing, &self.nodes);
                    self.phase = Phase::Recovering(wait);
                }
            }
            Phase::Recovering(wait) => {
                if now >= wait.until() || wait.unmet(&self.nodes).is_empty() {
                    out.push(Action::Note(Note::Recovery(wait.end(now, &self.nodes))));
                    self.clients.drain(Vec::new());
                    self.phase = Phase::LastOperations {
                        final_reads: false,
                        until: now + limits::FINAL_READS.as_nanos() as Nanos,
                    };
                }
            }
            Phase::LastOperations { final_reads, until } => {
                let (reading, until) = (*final_reads, *until);
                if self.clients.is_idle() && !reading {
                    // Reads that follow all else see what was lost even if nobody asked since.
                    self.clients.drain(self.workload.final_operations());
                    self.clients.advance(now, self.workload.as_mut(), out);
                    self.phase = Phase::LastOperations { final_reads: true, until };
                } else if self.clients.is_idle() {
                    self.stop(now, Ending::Completed, out);
                } else if now >= until {
                    self.clients.forget_queued();
                    self.phase = Phase::LastOperations { final_reads: true, until: Nanos::MAX };
                }
            }
            Phase::Stopping { until, killing } => {
                let (until, killing) = (*until, *killing);
                if self.nodes.none_left() {
                    out.push(Action::Flush);
                    out.push(Action::Finish(self.ending.clone()));
                    self.phase = Phase::Finished;
                } else if now >= until && !killing {
                    self.nodes.stop_all(NodeSignal::Kill, out);
                    let until = now + limits::KILL.as_nanos() as Nanos;
                    self.phase = Phase::Stopping { until, killing: true };
                } else if now >= until {
                    let why = "nodes did not end after SIGKILL".to_owned();
                    out.push(Action::Finish(Ending::HarnessFailed(why)));
                    self.phase = Phase::Finished;
                }
            }
            _ => {}
        }
    }

    /// Whether a leader is known, or, where nodes offer no status, all of them answer.
    fn serves(&self) -> bool {
        let reports = || self.nodes.iter().map(|node| &node.report);
        if reports().any(|report| *report == Report::Silent) {
            return false;
        }
        let leader = self.nodes.leader().map(|at| self.nodes.view()[at].id.clone());
        let offers_status = reports().any(|report| matches!(report, Report::Status(_)));
        let followers = self.nodes.statuses().filter(|(_, status)| status.leader == leader).count();
        !offers_status || (leader.is_some() && followers * 2 > self.nodes.iter().count())
    }

    fn why_not_serving(&self) -> String {
        let silent: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.report == Report::Silent)
            .map(|node| node.id.to_string())
            .collect();
        match silent.is_empty() {
            true => "no leader was elected".to_owned(),
            false => format!("no answer at the client address of {}", silent.join(", ")),
        }
    }

    /// Ends the run: orderly where it has gone as planned, at once where it has not.
    fn stop(&mut self, now: Nanos, ending: Ending, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Stopping { .. } | Phase::Finished) {
            // The first failure is the one to tell; but a failure outranks an orderly end.
            if matches!(ending, Ending::HarnessFailed(_)) && self.ending == Ending::Completed {
                self.ending = ending;
            }
            return;
        }
        let orderly = ending == Ending::Completed;
        self.ending = ending;
        self.clients.drain(Vec::new());
        self.clients.forget_queued();
        self.faults.forget();
        let signal = if orderly { NodeSignal::Terminate } else { NodeSignal::Kill };
        self.nodes.stop_all(signal, out);
        let wait = if orderly { limits::ORDERLY_STOP } else { limits::KILL };
        self.phase = Phase::Stopping { until: now + wait.as_nanos() as Nanos, killing: !orderly };
    }
}
