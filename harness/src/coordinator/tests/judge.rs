//! Looks at everything the coordinator asks for, and knows what is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use checker::budget::Budget;
use checker::history::{Event as HistoryEvent, EventKind, Failure, HistoryBuilder};
use checker::model::{ModelKind, ModelSpec};
use checker::verdict::Verdict;
use protocol::NodeId;
use results::fault_log::{FaultEvent, FaultOp};
use results::history::json_to_value;
use workloads::Outcome;

use super::world::Process;
use crate::coordinator::event::{Action, Complete, Ending, Event, Invoke, Nanos, Note, Recovery};
use crate::guardian::NodeSignal;

/// What became of a try, as the world knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It may have had an effect.
    Open,
    Refused,
    NotSent,
}

#[derive(Default)]
pub struct Judge {
    history: HistoryBuilder,
    line: u64,
    pub invoked: u64,
    pub completed: u64,
    pub totals: BTreeMap<&'static str, u64>,
    /// The operation open at each client: its process and tries.
    open: HashMap<usize, (i64, Vec<u64>)>,
    /// The try under way at each client.
    under_way: HashMap<usize, u64>,
    last_msg_id: HashMap<usize, u64>,
    /// Processes that ended with an unknown outcome.
    retired: BTreeSet<i64>,
    fates: HashMap<(usize, u64), Fate>,
    incarnations: HashMap<NodeId, u32>,
    in_force: BTreeSet<u64>,
    links: BTreeSet<u64>,
    /// The fault whose actions come now, and whether a flush has come since it was recorded.
    acting: Option<(u64, bool)>,
    /// Who was signalled for which fault, and has not shown it.
    struck: BTreeMap<NodeId, BTreeSet<u64>>,
    frozen: BTreeMap<NodeId, BTreeSet<u64>>,
    /// Evidence that must come with the actions that follow an event.
    owed: BTreeSet<(u64, NodeId)>,
    pub effective: BTreeMap<String, u64>,
    pub invokes_at: Vec<Nanos>,
    pub recovery: Option<Recovery>,
    pub healed: bool,
    pub exits: Vec<(NodeId, Option<String>)>,
}

impl Judge {
    pub fn not_sent(&mut self, client: usize, msg_id: u64) {
        self.fates.insert((client, msg_id), Fate::NotSent);
    }

    pub fn refused(&mut self, client: usize, msg_id: u64) {
        self.fates.insert((client, msg_id), Fate::Refused);
    }

    pub fn was_sent(&self, client: usize, msg_id: u64) -> bool {
        self.fates.get(&(client, msg_id)) != Some(&Fate::NotSent)
    }

    pub fn event(&mut self, event: &Event) {
        assert!(self.owed.is_empty(), "evidence never recorded: {:?}", self.owed);
        match event {
            Event::Answered { client, msg_id, .. } | Event::TryEnded { client, msg_id, .. } => {
                assert_eq!(self.under_way.remove(client), Some(*msg_id));
                // A refusal that a timeout overtook proves nothing to the client.
                if matches!(event, Event::TryEnded { sent: true, .. }) {
                    self.fates.insert((*client, *msg_id), Fate::Open);
                }
            }
            Event::Exited { node, by_us, .. } => {
                let struck = self.struck.remove(node).unwrap_or_default();
                self.frozen.remove(node);
                if *by_us {
                    self.owed.extend(struck.into_iter().map(|id| (id, node.clone())));
                }
            }
            Event::Stopped { node, .. } => {
                let frozen = self.frozen.remove(node).unwrap_or_default();
                self.owed.extend(frozen.into_iter().map(|id| (id, node.clone())));
            }
            Event::Continued { node, .. } => {
                self.frozen.remove(node);
            }
            _ => {}
        }
    }

    pub fn action(&mut self, action: &Action, processes: &BTreeMap<NodeId, Process>, now: Nanos) {
        match action {
            Action::Start { node, incarnation } => {
                assert!(!processes.contains_key(node), "{node} is there");
                let next = self.incarnations.get(node).map_or(0, |last| last + 1);
                assert_eq!(*incarnation, next, "{node}");
                self.incarnations.insert(node.clone(), next);
            }
            Action::Signal { node, incarnation, signal } => {
                let process = processes.get(node).unwrap_or_else(|| panic!("no process {node}"));
                assert_eq!(process.incarnation, *incarnation);
                self.signalled(node, *signal);
            }
            Action::Try { client, msg_id, .. } => {
                let (_, tries) = self.open.get_mut(client).expect("a try belongs to an operation");
                tries.push(*msg_id);
                assert!(self.under_way.insert(*client, *msg_id).is_none(), "two tries at once");
                let last = self.last_msg_id.insert(*client, *msg_id);
                assert!(last.is_none_or(|last| last < *msg_id), "a message id was used again");
                self.fates.insert((*client, *msg_id), Fate::Open);
            }
            Action::PublishLinks(table) => {
                let rules = table.iter().flat_map(|(_, rules)| rules);
                self.links = rules.map(|rule| u64::from(rule.fault.0)).collect();
                assert!(self.links.is_subset(&self.in_force), "rules of a healed fault");
                if let Some((fault, flushed)) = self.acting {
                    assert!(flushed || !self.links.contains(&fault), "fault before its record");
                }
            }
            Action::Invoke(invoke) => self.invoke(invoke, now),
            Action::Complete(complete) => self.complete(complete),
            Action::Fault(event) => self.fault(event),
            Action::Flush => {
                if let Some((_, flushed)) = &mut self.acting {
                    *flushed = true;
                }
            }
            Action::Note(note) => self.note(note, processes),
            Action::Abandon { client, .. } => {
                assert!(self.open.contains_key(client));
            }
            Action::Count(_) | Action::Finish(_) => {}
        }
    }

    fn signalled(&mut self, node: &NodeId, signal: NodeSignal) {
        let Some((fault, flushed)) = self.acting else { return };
        match signal {
            NodeSignal::Kill | NodeSignal::Stop => {
                assert!(flushed, "fault {fault} before its record");
                let hit =
                    if signal == NodeSignal::Kill { &mut self.struck } else { &mut self.frozen };
                hit.entry(node.clone()).or_default().insert(fault);
            }
            NodeSignal::Continue | NodeSignal::Terminate => {}
        }
    }

    fn fault(&mut self, event: &FaultEvent) {
        self.acting = None;
        match event.op {
            FaultOp::Inject => {
                assert!(self.in_force.insert(event.id));
                self.acting = Some((event.id, false));
            }
            FaultOp::Heal => {
                assert!(self.in_force.remove(&event.id), "healed and not in force");
                assert!(!self.links.contains(&event.id), "healed with rules in force");
            }
            FaultOp::Evidence => {
                if let Some(node) = event.evidence.get("node") {
                    let node = NodeId::new(node.as_str().unwrap());
                    assert!(self.owed.remove(&(event.id, node)), "it did not do that: {event:?}");
                }
                if event.shows_effect() {
                    *self.effective.entry(event.fault.clone()).or_default() += 1;
                }
            }
            FaultOp::Skip => {}
        }
    }

    fn note(&mut self, note: &Note, processes: &BTreeMap<NodeId, Process>) {
        match note {
            Note::Healed => {
                self.healed = true;
                assert!(self.in_force.is_empty() && self.links.is_empty());
                assert!(self.struck.values().all(BTreeSet::is_empty), "{:?}", self.struck);
                for (node, process) in processes {
                    assert!(!process.stopped, "{node} is stopped");
                }
                assert_eq!(
                    processes.len(),
                    self.incarnations.len() - self.down_by_itself(processes)
                );
            }
            Note::Recovery(recovery) => self.recovery = Some(recovery.clone()),
            Note::UnexpectedExit { node, excuse, .. } => {
                self.exits.push((node.clone(), excuse.clone()));
            }
            _ => {}
        }
    }

    fn down_by_itself(&self, processes: &BTreeMap<NodeId, Process>) -> usize {
        self.exits.iter().filter(|(node, _)| !processes.contains_key(node)).count()
    }

    fn push(
        &mut self,
        kind: EventKind,
        process: i64,
        f: &str,
        key: Option<&serde_json::Value>,
        value: &serde_json::Value,
        failure: Option<Failure>,
    ) {
        self.line += 1;
        let event = HistoryEvent {
            line: self.line,
            process,
            kind,
            f: Arc::from(f),
            key: key.map(json_to_value),
            value: json_to_value(value),
            failure,
        };
        self.history.push(event).unwrap_or_else(|error| panic!("{error}"));
    }

    fn invoke(&mut self, invoke: &Invoke, now: Nanos) {
        self.invoked += 1;
        self.invokes_at.push(now);
        assert!(!self.retired.contains(&invoke.process), "a process after an unknown outcome");
        let before = self.open.insert(invoke.client, (invoke.process, Vec::new()));
        assert!(before.is_none(), "two operations at once");
        let Invoke { process, f, key, value, .. } = invoke;
        self.push(EventKind::Invoke, *process, f, key.as_ref(), value, None);
    }

    fn complete(&mut self, complete: &Complete) {
        self.completed += 1;
        let client = *self
            .open
            .iter()
            .find(|(_, (process, _))| *process == complete.process)
            .expect("the operation is open")
            .0;
        let (_, tries) = self.open.remove(&client).unwrap();
        assert!(!self.under_way.contains_key(&client), "ended with a try under way");
        assert_eq!(tries, complete.msg_ids);
        let Complete { process, f, key, value, outcome, .. } = complete;
        let (kind, value, failure) = match outcome {
            Outcome::Ok(value) => (EventKind::Ok, value, None),
            Outcome::Info(_) => {
                self.retired.insert(*process);
                (EventKind::Info, value, None)
            }
            Outcome::Fail(why) => {
                let failure = match why.as_str() {
                    "precondition-failed" => Some(Failure::PreconditionFailed),
                    "key-does-not-exist" => Some(Failure::KeyDoesNotExist),
                    _ => None,
                };
                let open = |id: &&u64| self.fates[&(client, **id)] == Fate::Open;
                // The try that an observation answered is the one that may look open.
                let allowed = usize::from(failure.is_some());
                assert!(tries.iter().filter(open).count() <= allowed, "fail without proof");
                (EventKind::Fail, value, failure)
            }
        };
        *self.totals.entry(kind.name()).or_default() += 1;
        self.push(kind, *process, f, key.as_ref(), value, failure);
    }

    /// The run is over.
    pub fn finish(&mut self, ending: &Ending) {
        let history = std::mem::take(&mut self.history).finish();
        let budget = Budget { should_stop: &|| false, bytes_max: 1 << 30 };
        let spec = ModelSpec { kind: ModelKind::CasRegister, init: None };
        match checker::check(&history, &spec, &budget).unwrap() {
            Verdict::Valid(_) => {}
            other => panic!("a linearizable store is accused: {other:?}"),
        }
        if *ending == Ending::Completed {
            assert_eq!(self.invoked, self.completed, "an operation never ended");
            assert!(self.in_force.is_empty());
        }
    }
}
