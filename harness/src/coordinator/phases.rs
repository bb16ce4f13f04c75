//! The phases of a run, and when one gives way to the next.
//!
//! Every phase ends: by what it waits for, or by a limit. An end that only an error of the harness
//! explains (a process that is neither started nor ended, a client that does not answer) is a
//! failure of the harness and never held against the cluster.

use super::Coordinator;
use super::event::{Action, Ending, Nanos, Note, Report, nanos};
use super::limits;
use super::recovery::Wait;
use crate::guardian::NodeSignal;

/// Where a run stands.
pub(super) enum Phase {
    /// Nodes start; a leader is waited for.
    Starting { until: Nanos },
    /// Workload and faults.
    Running { until: Nanos },
    /// Everything is healed; nodes held down by faults come back.
    Healing { until: Nanos },
    /// Progress is waited for, the workload goes on.
    Recovering(Wait),
    /// Operations under way end.
    Draining,
    /// Each live key is read.
    LastReads { until: Nanos },
    /// Nodes end.
    Stopping { until: Nanos, killing: bool },
    /// It is over, or has not begun.
    Finished,
}

impl Phase {
    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Starting { .. } => "starting",
            Phase::Running { .. } => "running",
            Phase::Healing { .. } => "healing",
            Phase::Recovering(_) => "recovering",
            Phase::Draining => "draining",
            Phase::LastReads { .. } => "last reads",
            Phase::Stopping { .. } => "stopping",
            Phase::Finished => "finished",
        }
    }
}

impl Coordinator {
    /// When [`super::Event::Wakeup`] is wanted, at the latest, given the time.
    pub fn next_wakeup(&self, now: Nanos) -> Option<Nanos> {
        let phase = match &self.phase {
            Phase::Starting { until }
            | Phase::Running { until }
            | Phase::Healing { until }
            | Phase::Stopping { until, .. } => Some(*until),
            // Once its time is up nothing is begun, and what is under way has its own limits.
            Phase::LastReads { until } => Some(*until).filter(|until| *until > now),
            Phase::Recovering(wait) => Some(wait.until(now)),
            Phase::Draining | Phase::Finished => None,
        };
        let faults = match self.phase {
            Phase::Running { .. } => self.faults.next_wakeup(),
            _ => None,
        };
        let clients = match self.phase {
            Phase::Stopping { .. } | Phase::Finished => None,
            _ => self.clients.next_wakeup(),
        };
        [phase, faults, clients].into_iter().flatten().min()
    }

    /// Does what is due, and goes on to the next phase, or several, when its time has come.
    pub(super) fn advance(&mut self, now: Nanos, out: &mut Vec<Action>) {
        loop {
            // A fault that would be healed at once is not injected.
            if let Phase::Running { until } = self.phase
                && now < until
            {
                self.faults.advance(now, &mut self.nodes, out);
            }
            if !matches!(self.phase, Phase::Stopping { .. } | Phase::Finished) {
                self.clients.advance(now, self.workload.as_mut(), out);
                if let Some(client) = self.clients.stuck(now) {
                    let why = format!(
                        "client {client} gave up a try and did not report its end within {} s",
                        limits::ABANDON.as_secs()
                    );
                    self.stop(now, Ending::HarnessFailed(why), out);
                }
            }
            match self.next_phase(now, out) {
                Some(next) => self.phase = next,
                None => return,
            }
        }
    }

    /// What follows the present phase, if its end has come, and what is to be done on the way.
    fn next_phase(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Phase> {
        match &self.phase {
            Phase::Starting { until } => {
                if let Some(why) = self.speaks_otherwise() {
                    return Some(self.begin_stop(now, Ending::NeverServed(why), out));
                }
                if self.serves() {
                    out.push(Action::Note(Note::WorkloadBegan));
                    self.faults.begin(now);
                    self.clients.begin(now);
                    return Some(Phase::Running { until: now.saturating_add(self.time_limit) });
                }
                (now >= *until).then(|| {
                    let why = format!(
                        "the cluster did not serve within {:?} of its first start: {}",
                        self.start_limit,
                        self.why_not_serving()
                    );
                    self.begin_stop(now, Ending::NeverServed(why), out)
                })
            }
            Phase::Running { until } => (now >= *until).then(|| {
                self.faults.heal_all(now, &mut self.nodes, out);
                // A node that ended by itself gets another chance, like one that was killed; one
                // that somebody else stopped is let go on.
                self.nodes.start_missing(out);
                self.nodes.continue_all(out);
                Phase::Healing { until: now.saturating_add(nanos(limits::SETTLE)) }
            }),
            Phase::Healing { until } => {
                let unsettled = self.nodes.unsettled();
                if unsettled.is_empty() {
                    out.push(Action::Note(Note::Healed));
                    self.clients.hasten(now);
                    let wait = Wait::begin(now, self.recovery_limit, &self.timing, &self.nodes);
                    return Some(Phase::Recovering(wait));
                }
                (now >= *until).then(|| {
                    let why = format!(
                        "the cluster could not be healed within {} s: {}",
                        limits::SETTLE.as_secs(),
                        unsettled.join(", ")
                    );
                    self.begin_stop(now, Ending::HarnessFailed(why), out)
                })
            }
            Phase::Recovering(wait) => wait.is_over(now, &self.nodes).then(|| {
                out.push(Action::Note(Note::Recovery(wait.end(now, &self.nodes))));
                self.clients.drain(now, limits::FINAL_READS);
                Phase::Draining
            }),
            Phase::Draining => self.clients.is_idle().then(|| {
                // Reads that follow all else see what was lost even if nobody asked since.
                self.clients.finish_with(now, self.workload.final_operations());
                Phase::LastReads { until: now.saturating_add(nanos(limits::FINAL_READS)) }
            }),
            Phase::LastReads { until } => {
                if now >= *until {
                    self.clients.drain(now, limits::FINAL_READS);
                    self.clients.forget_queued();
                }
                let is_idle = self.clients.is_idle();
                is_idle.then(|| self.begin_stop(now, Ending::Completed, out))
            }
            Phase::Stopping { until, killing } => {
                let killing = *killing;
                if self.nodes.none_left() {
                    return Some(self.finish(self.ending.clone(), out));
                }
                (now >= *until).then(|| match killing {
                    false => {
                        self.nodes.stop_all(NodeSignal::Kill, out);
                        let until = now.saturating_add(nanos(limits::KILL));
                        Phase::Stopping { until, killing: true }
                    }
                    true => {
                        let why = "nodes did not end after SIGKILL".to_owned();
                        let ending = match self.ending.clone() {
                            // The first failure is the one to tell.
                            first @ Ending::HarnessFailed(_) => first,
                            _ => Ending::HarnessFailed(why),
                        };
                        self.finish(ending, out)
                    }
                })
            }
            Phase::Finished => None,
        }
    }

    fn finish(&self, ending: Ending, out: &mut Vec<Action>) -> Phase {
        out.push(Action::Flush);
        out.push(Action::Finish(ending));
        Phase::Finished
    }

    /// Whether a leader is known to most, or, where nodes offer no status, all of them are there and
    /// one has served a read.
    fn serves(&self) -> bool {
        let reports = || self.nodes.iter().map(|node| &node.report);
        if reports().any(|report| *report == Report::Silent) {
            return false;
        }
        let offers_status = reports().any(|report| matches!(report, Report::Status(_)));
        let Some(at) = self.nodes.leader() else {
            return !offers_status && reports().any(|r| *r == Report::Plain { serves: true });
        };
        let leader = self.nodes.iter().nth(at).map(|node| &node.id);
        let named = || self.nodes.statuses().filter_map(|(_, status)| status.leader.as_ref());
        // To name the leader is optional; nodes that never do are taken by its word.
        let followers = named().filter(|&named| Some(named) == leader).count();
        named().next().is_none() || followers * 2 > self.nodes.statuses().count()
    }

    /// A node that speaks another version of the contract, in a sentence.
    fn speaks_otherwise(&self) -> Option<String> {
        self.nodes.iter().find_map(|node| match node.report {
            Report::OtherVersion(version) => Some(format!(
                "node {} speaks version {version} of the node contract, this program version {}",
                node.id,
                protocol::PROTOCOL_VERSION
            )),
            _ => None,
        })
    }

    fn why_not_serving(&self) -> String {
        let silent: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.report == Report::Silent)
            .map(|node| node.id.to_string())
            .collect();
        match silent.is_empty() {
            true => "all nodes answer, but none says that it leads, or serves a read".to_owned(),
            false => format!("no answer at the client address of {}", silent.join(", ")),
        }
    }

    /// Ends the run: orderly where it has gone as planned, at once where it has not.
    pub(super) fn stop(&mut self, now: Nanos, ending: Ending, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Stopping { .. } | Phase::Finished) {
            // The first failure is the one to tell; but a failure outranks what is none.
            if matches!(ending, Ending::HarnessFailed(_))
                && matches!(self.ending, Ending::Completed | Ending::Interrupted)
            {
                self.ending = ending;
            }
            return;
        }
        self.phase = self.begin_stop(now, ending, out);
    }

    fn begin_stop(&mut self, now: Nanos, ending: Ending, out: &mut Vec<Action>) -> Phase {
        let orderly = ending == Ending::Completed;
        self.ending = ending;
        self.clients.forget_queued();
        self.faults.end_all(now, out);
        let signal = if orderly { NodeSignal::Terminate } else { NodeSignal::Kill };
        self.nodes.stop_all(signal, out);
        let wait = if orderly { limits::ORDERLY_STOP } else { limits::KILL };
        Phase::Stopping { until: now.saturating_add(nanos(wait)), killing: !orderly }
    }
}
