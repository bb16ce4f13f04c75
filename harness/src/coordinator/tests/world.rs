//! A simulated world: a driver in virtual time that plays nodes, their processes, and a store that
//! is linearizable whatever goes wrong. Everything it does is drawn from a seed.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use protocol::NodeId;
use protocol::error_code;
use protocol::launch::Timing;
use protocol::message::{Reply, Request, Status};
use serde_json::Value as Json;
use workloads::Settings;
use workloads::random::{Draw, Stream};

use super::judge::Judge;
use crate::coordinator::event::{Action, Ending, Event, Nanos, Note, Report};
use crate::coordinator::{Coordinator, Plan};
use crate::guardian::{ExitStatus, NodeSignal};
use crate::nemesis;
use crate::nemesis::schedule::Pace;
use crate::net::FaultCounters;

pub const MS: Nanos = 1_000_000;
const NODES: usize = 5;
const CLIENTS: usize = 4;

/// What goes wrong beyond faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mishaps {
    /// The user stops the run then.
    pub interrupt_at: Option<Nanos>,
    /// The harness fails then.
    pub harness_fails_at: Option<Nanos>,
    /// A client no longer reports the ends of its tries from then on.
    pub client_wedged_at: Option<Nanos>,
    /// Starts are no longer reported from then on.
    pub starts_lost_at: Option<Nanos>,
    /// No process ends from then on, whatever it is sent.
    pub immortal_at: Option<Nanos>,
    /// SIGCONT does nothing from then on.
    pub continue_lost_at: Option<Nanos>,
    /// A node ends by itself then.
    pub node_exits_at: Option<Nanos>,
    /// Nodes that were restarted are never heard of again.
    pub never_recovers: bool,
    /// Whether actions are kept as text.
    pub keep_log: bool,
    /// Rate of all clients together.
    pub rate: Option<f64>,
}

/// A process as it is, not as the coordinator knows it.
#[derive(Clone, Debug)]
pub struct Process {
    pub incarnation: u32,
    pub stopped: bool,
    /// Dead; the coordinator has not been told yet.
    pub dead: bool,
}

#[derive(Debug)]
enum Due {
    Coordinator(Event),
    /// A request takes effect in the store, and is answered (if its try is still waited for).
    Serve {
        client: usize,
        msg_id: u64,
        request: Request,
        answer_after: Option<Nanos>,
    },
    /// A try ends so, if it is still waited for.
    End(usize, u64, Event),
    Die {
        node: NodeId,
        incarnation: u32,
        status: ExitStatus,
        by_us: bool,
    },
    Freeze {
        node: NodeId,
        incarnation: u32,
    },
    Poll(NodeId),
    Probe,
}

struct Entry(Nanos, u64, Due);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

/// What came of a simulated run.
pub struct Done {
    pub ending: Ending,
    pub at: Nanos,
    pub judge: Judge,
    /// Every action with its time, as text, if it was asked for.
    pub log: Vec<String>,
}

pub struct World {
    pub coordinator: Coordinator,
    now: Nanos,
    seq: u64,
    queue: BinaryHeap<Entry>,
    random: Stream,
    draws: u64,
    mishaps: Mishaps,
    pub processes: BTreeMap<NodeId, Process>,
    waiting: HashMap<usize, u64>,
    store: BTreeMap<String, Json>,
    applied: u64,
    healed: bool,
    judge: Judge,
    log: Vec<String>,
    ending: Option<Ending>,
}

pub fn plan(seed: u64, length_s: u64, rate: Option<f64>) -> Plan {
    let settings =
        Settings { seed, clients: CLIENTS, keys: 3, ops_per_key: 60, unknowns_per_key: 3 };
    let seconds = std::time::Duration::from_secs;
    Plan {
        nodes: (1..=NODES).map(|n| NodeId::new(format!("n{n}"))).collect(),
        seed,
        clients: CLIENTS,
        rate,
        op_timeout: std::time::Duration::from_millis(300),
        faults: nemesis::all(),
        pace: Pace {
            length: seconds(length_s),
            interval: std::time::Duration::from_millis(400),
            duration: std::time::Duration::from_millis(900),
        },
        start_limit: seconds(60),
        recovery_limit: seconds(20),
        durable: true,
        timing: Timing::default(),
        workload: workloads::by_name("register", settings).unwrap(),
    }
}

impl World {
    pub fn run(seed: u64, length_s: u64, mishaps: Mishaps) -> Done {
        let world = World {
            coordinator: Coordinator::new(plan(seed, length_s, mishaps.rate)),
            now: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            random: Stream::new(seed, "world"),
            draws: 0,
            mishaps,
            processes: BTreeMap::new(),
            waiting: HashMap::new(),
            store: BTreeMap::new(),
            applied: 0,
            healed: false,
            judge: Judge::default(),
            log: Vec::new(),
            ending: None,
        };
        world.go()
    }

    fn go(mut self) -> Done {
        for node in 1..=NODES {
            let node = NodeId::new(format!("n{node}"));
            self.later(node.as_str().len() as Nanos, Due::Poll(node));
        }
        if let Some(at) = self.mishaps.interrupt_at {
            self.later(at, Due::Coordinator(Event::Interrupted));
        }
        if let Some(at) = self.mishaps.harness_fails_at {
            self.later(at, Due::Coordinator(Event::HarnessFailed("a test".into())));
        }
        if let Some(at) = self.mishaps.node_exits_at {
            let (node, status) = (NodeId::new("n2"), ExitStatus::Code { code: 101 });
            let die = Due::Die { node, incarnation: u32::MAX, status, by_us: false };
            self.later(at, die);
        }
        let first = self.coordinator.begin(0);
        self.carry_out(first);
        while self.ending.is_none() {
            let wakeup = self.coordinator.next_wakeup(self.now);
            let next = self.queue.peek().map(|entry| entry.0);
            match (wakeup, next) {
                (Some(wakeup), next) if next.is_none_or(|next| wakeup <= next) => {
                    assert!(wakeup > self.now, "a wakeup in the past: the driver would spin");
                    self.now = wakeup;
                    self.hand_over(Event::Wakeup);
                }
                (_, Some(_)) => {
                    let Entry(at, _, due) = self.queue.pop().unwrap();
                    self.now = at;
                    self.happen(due);
                }
                (_, None) => panic!("nothing is due: the run hangs"),
            }
            assert!(self.now < 1_000_000 * MS, "the run does not end");
        }
        self.judge.finish(self.ending.as_ref().unwrap());
        Done { ending: self.ending.unwrap(), at: self.now, judge: self.judge, log: self.log }
    }

    fn draw(&mut self) -> Draw {
        self.draws += 1;
        self.random.at(self.draws)
    }

    fn later(&mut self, after: Nanos, due: Due) {
        self.seq += 1;
        self.queue.push(Entry(self.now + after, self.seq, due));
    }

    fn is_past(&self, at: Option<Nanos>) -> bool {
        at.is_some_and(|at| self.now >= at)
    }

    fn hand_over(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.judge.event(&event);
            let actions = self.coordinator.handle(self.now, event);
            for action in &actions {
                if let Action::Count(fault) = action {
                    let messages_held = self.draw().below(2);
                    let counters = FaultCounters { messages_held, ..FaultCounters::default() };
                    events.push_back(Event::Counted { fault: *fault, counters });
                }
            }
            self.carry_out(actions);
            if self.ending.is_none() {
                let wakeup = self.coordinator.next_wakeup(self.now);
                assert!(wakeup.is_none_or(|at| at > self.now), "something due was not done");
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            if self.mishaps.keep_log {
                self.log.push(format!("{} {action:?}", self.now));
            }
            self.judge.action(&action, &self.processes, self.now);
            match action {
                Action::Start { node, incarnation } => self.start(node, incarnation),
                Action::Signal { node, incarnation, signal } => {
                    self.signal(node, incarnation, signal);
                }
                Action::Try { client, node, msg_id, request } => {
                    self.waiting.insert(client, msg_id);
                    self.attempt(client, node, msg_id, request);
                }
                Action::Abandon { client, msg_id } => {
                    let why = "timeout".to_owned();
                    let sent = self.judge.was_sent(client, msg_id);
                    let ended = Event::TryEnded { client, msg_id, sent, why };
                    let after = self.draw().below(2) * MS / 10;
                    self.later(after, Due::End(client, msg_id, ended));
                }
                Action::Note(Note::Healed) => {
                    self.healed = true;
                    self.later(50 * MS, Due::Probe);
                }
                Action::Finish(ending) => {
                    assert!(self.ending.is_none(), "finished twice");
                    self.ending = Some(ending);
                }
                _ => {}
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Coordinator(event) => {
                if let Event::Exited { node, .. } = &event {
                    self.processes.remove(node);
                }
                self.hand_over(event);
            }
            Due::Serve { client, msg_id, request, answer_after } => {
                let reply = self.serve(&request);
                if let Some(after) = answer_after {
                    let answer = Event::Answered { client, msg_id, reply };
                    self.later(after, Due::End(client, msg_id, answer));
                }
            }
            Due::End(client, msg_id, event) => {
                let is_wedged = client == 0 && self.is_past(self.mishaps.client_wedged_at);
                if self.waiting.get(&client) == Some(&msg_id) && !is_wedged {
                    self.waiting.remove(&client);
                    self.hand_over(event);
                }
            }
            Due::Die { node, incarnation, status, by_us } => {
                self.die(node, incarnation, status, by_us);
            }
            Due::Freeze { node, incarnation } => {
                if let Some(process) = self.alive(&node, incarnation)
                    && process.stopped
                {
                    self.hand_over(Event::Stopped { node, incarnation, state: 'T' });
                }
            }
            Due::Poll(node) => {
                self.later(100 * MS, Due::Poll(node.clone()));
                let report = self.report(&node);
                let incarnation = self.processes.get(&node).map_or(0, |p| p.incarnation);
                self.hand_over(Event::Polled { node, incarnation, report });
            }
            Due::Probe => {
                self.later(50 * MS, Due::Probe);
                self.hand_over(Event::Probed { late: MS });
            }
        }
    }

    fn alive(&mut self, node: &NodeId, incarnation: u32) -> Option<&mut Process> {
        let process = self.processes.get_mut(node)?;
        (process.incarnation == incarnation && !process.dead).then_some(process)
    }

    fn start(&mut self, node: NodeId, incarnation: u32) {
        let process = Process { incarnation, stopped: false, dead: false };
        self.processes.insert(node.clone(), process);
        if !self.is_past(self.mishaps.starts_lost_at) {
            // The process is there before the coordinator hears of it.
            let after = self.draw().range(1..40) * MS;
            let pid = Some(1);
            self.later(after, Due::Coordinator(Event::Started { node, incarnation, pid }));
        }
    }

    fn die(&mut self, node: NodeId, incarnation: u32, status: ExitStatus, by_us: bool) {
        let Some(process) = self.processes.get_mut(&node) else { return };
        let any = incarnation == u32::MAX;
        if process.dead || process.stopped && !by_us || !any && process.incarnation != incarnation {
            return;
        }
        process.dead = true;
        let incarnation = process.incarnation;
        // Never before its start has been reported; now and then the kernel takes its time.
        let draw = &mut self.draw();
        let after = if draw.chance(0.05) { 2_500 * MS } else { draw.range(41..60) * MS };
        let (excuse, log_tail) = (None, Vec::new());
        let exited = Event::Exited { node, incarnation, status, by_us, excuse, log_tail };
        self.later(after, Due::Coordinator(exited));
    }

    fn signal(&mut self, node: NodeId, incarnation: u32, signal: NodeSignal) {
        let is_immortal = self.is_past(self.mishaps.immortal_at);
        let mut draw = self.draw();
        let cont_lost = self.is_past(self.mishaps.continue_lost_at);
        let Some(process) = self.alive(&node, incarnation) else { return };
        match signal {
            NodeSignal::Kill | NodeSignal::Terminate if is_immortal => {}
            NodeSignal::Kill => {
                process.stopped = false;
                self.die(node, incarnation, ExitStatus::Signal { signal: 9, core: false }, true);
            }
            NodeSignal::Terminate if draw.chance(0.2) => {}
            NodeSignal::Terminate => {
                let status = ExitStatus::Code { code: 0 };
                let die = Due::Die { node, incarnation, status, by_us: true };
                self.later(draw.range(1..100) * MS, die);
            }
            NodeSignal::Stop => {
                process.stopped = true;
                let after = if draw.chance(0.1) { 700 * MS } else { draw.range(1..5) * MS };
                self.later(after, Due::Freeze { node, incarnation });
            }
            NodeSignal::Continue if cont_lost => {}
            NodeSignal::Continue => {
                process.stopped = false;
                let continued = Event::Continued { node, incarnation };
                self.later(MS, Due::Coordinator(continued));
            }
        }
    }

    fn is_awake(&self, node: &NodeId) -> bool {
        self.processes.get(node).is_some_and(|process| {
            let is_lost = self.mishaps.never_recovers && process.incarnation > 0;
            !process.dead && !process.stopped && !is_lost
        })
    }

    fn report(&self, node: &NodeId) -> Report {
        let awake: Vec<&NodeId> =
            self.processes.keys().filter(|&node| self.is_awake(node)).collect();
        if !awake.contains(&node) {
            return Report::Silent;
        }
        let leader = awake.first().filter(|_| awake.len() * 2 > NODES).map(|&id| id.clone());
        let role = if leader.as_ref() == Some(node) { "leader" } else { "follower" };
        let (commit, applied) = (self.applied, self.applied);
        Report::Status(Status { role: role.into(), term: 1, leader, commit, applied })
    }

    /// A request takes effect, all at once.
    fn serve(&mut self, request: &Request) -> Reply {
        let absent = || Reply::Error {
            code: error_code::KEY_DOES_NOT_EXIST,
            text: String::new(),
            leader: None,
        };
        self.applied += 1;
        match request {
            Request::Read { key } => match self.store.get(&key.to_string()) {
                Some(value) => Reply::ReadOk { value: value.clone() },
                None => absent(),
            },
            Request::Write { key, value } => {
                self.store.insert(key.to_string(), value.clone());
                Reply::WriteOk {}
            }
            Request::Cas { key, from, to } => match self.store.get_mut(&key.to_string()) {
                None => absent(),
                Some(value) if value == from => {
                    *value = to.clone();
                    Reply::CasOk {}
                }
                Some(_) => Reply::Error {
                    code: error_code::PRECONDITION_FAILED,
                    text: String::new(),
                    leader: None,
                },
            },
            other => panic!("no client asks {other:?}"),
        }
    }

    /// One try, with everything that can happen to it.
    fn attempt(&mut self, client: usize, node: NodeId, msg_id: u64, request: Request) {
        let mut draw = self.draw();
        let latency = draw.range(1..20) * MS;
        let ended = |sent| {
            let why = "broken".to_owned();
            Due::End(client, msg_id, Event::TryEnded { client, msg_id, sent, why })
        };
        let error = |code, leader| {
            let reply = Reply::Error { code, text: String::new(), leader };
            Due::End(client, msg_id, Event::Answered { client, msg_id, reply })
        };
        if self.processes.get(&node).is_none_or(|process| process.dead) {
            self.judge.not_sent(client, msg_id);
            return self.later(MS / 5, ended(false));
        }
        let has_majority = self.processes.keys().filter(|&n| self.is_awake(n)).count() * 2 > NODES;
        let fate = if self.is_awake(&node) && has_majority { draw.below(100) } else { 99 };
        let serve =
            |answer_after| Due::Serve { client, msg_id, request: request.clone(), answer_after };
        match fate {
            0..70 => self.later(latency, serve(Some(latency))),
            70..82 => {
                // A hint may be right, wrong, or name nobody.
                let hint = draw.below(NODES as u64 + 2);
                let leader = (hint > 0).then(|| NodeId::new(format!("n{hint}")));
                self.judge.refused(client, msg_id);
                self.later(latency, error(error_code::TEMPORARILY_UNAVAILABLE, leader));
            }
            82..84 => {
                self.judge.refused(client, msg_id);
                self.later(latency, error(error_code::ABORT, None));
            }
            84..86 => {
                self.later(latency * 3, serve(None));
                self.later(latency, error(error_code::CRASH, None));
            }
            86..88 => {
                self.judge.not_sent(client, msg_id);
                self.later(latency, ended(false));
            }
            88..90 => self.later(latency, ended(true)),
            90..92 => {
                // Lost to the client, and done all the same: now, or much later.
                self.later(latency, ended(true));
                let after = if draw.chance(0.5) { latency / 2 } else { 700 * MS };
                self.later(after, serve(None));
            }
            92..93 => {
                let reply = Reply::InitOk {};
                let answer = Event::Answered { client, msg_id, reply };
                self.later(latency, Due::End(client, msg_id, answer));
            }
            93..94 => {
                let what = "nonsense".to_owned();
                let breached = Event::Breached { node, what };
                self.later(latency, Due::Coordinator(breached));
                self.later(latency, ended(true));
            }
            // An answer in a race with the client's patience.
            94..96 => self.later(150 * MS, serve(Some(150 * MS))),
            // No answer: done at some time, or never.
            _ if draw.chance(0.5) => self.later(draw.range(100..2_000) * MS, serve(None)),
            _ => {}
        }
    }
}
