//! A cluster of cores in one thread, in virtual time, with disks and a network that misbehave.
//!
//! Everything follows from a seed. A crash may come between any two effects of a step; it loses
//! what was not synced, or part of it.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::NodeId;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;
use whitewater_raft::bugs::Bugs;
use whitewater_raft::core::{
    Answer, Change, ClientRequest, Effect, Input, Message, Raft, Record, RequestToken, Restored,
    Setup, Ticket, Timing,
};

use super::oracle::{Op, Oracle, Property, command};

const TIMING: Timing = Timing {
    election_timeout_min: Duration::from_millis(150),
    election_timeout_max: Duration::from_millis(300),
    heartbeat: Duration::from_millis(50),
};

/// How badly disks, network and nodes behave; rates are in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub drop: u64,
    pub duplicate: u64,
    pub slow: u64,
    /// Chance, at each change of the weather (every 100 ms or so), of each of these:
    pub partition: u64,
    pub heal: u64,
    pub crash: u64,
    pub crash_all: u64,
    pub pause: u64,
    /// Chance that a node crashes in the middle of a step.
    pub crash_in_step: u64,
}

impl Weather {
    pub const CALM: Weather = Weather {
        drop: 0,
        duplicate: 0,
        slow: 0,
        partition: 0,
        heal: 1000,
        crash: 0,
        crash_all: 0,
        pause: 0,
        crash_in_step: 0,
    };
}

#[derive(Debug)]
enum Event {
    Deliver { from: NodeId, to: NodeId, message: Message },
    Wake { node: NodeId, incarnation: u64 },
    Synced { node: NodeId, incarnation: u64, ticket: Ticket, written: u64 },
    Restart { node: NodeId },
    Client,
    Weather,
}

#[derive(Debug, Default)]
struct Disk {
    /// What is there after a loss of power.
    durable: Restored,
    /// Number of records that are durable.
    durable_count: u64,
    /// Records written and not yet synced.
    unsynced: Vec<Record>,
    /// When the last sync that was asked for will be done.
    busy_until: Duration,
}

impl Disk {
    fn make_durable(&mut self, count: u64) {
        let new = count.saturating_sub(self.durable_count) as usize;
        for record in self.unsynced.drain(..new.min(self.unsynced.len())) {
            self.durable_count += 1;
            replay(&mut self.durable, record);
        }
    }
}

/// A disk's records, carried out.
fn replay(state: &mut Restored, record: Record) {
    match record {
        Record::HardState { term, vote } => (state.term, state.vote) = (term, vote),
        Record::Append { index, entry } => {
            assert_eq!(index.0, state.entries.len() as u64 + 1, "a log with a hole");
            state.entries.push(entry);
        }
        Record::Truncate { from } => state.entries.truncate(from.0 as usize - 1),
    }
}

#[derive(Debug)]
struct Host {
    raft: Option<Raft>,
    incarnation: u64,
    disk: Disk,
    paused_until: Duration,
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    pub oracle: Oracle,
    hosts: BTreeMap<NodeId, Host>,
    bugs: Bugs,
    /// The nodes that have the bugs; none: all.
    buggy: Vec<NodeId>,
    seed: u64,
    rng: ChaCha8Rng,
    weather: Weather,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    /// Links that lose everything.
    cut: Vec<(NodeId, NodeId)>,
    tokens: u64,
    /// The latest value proposed: what a compare-and-set is most likely to meet.
    latest: u64,
}

impl Cluster {
    pub fn new(nodes: usize, bugs: Bugs, weather: Weather, seed: u64) -> Cluster {
        Cluster::with_buggy(nodes, bugs, Vec::new(), weather, seed)
    }

    /// A cluster in which only some nodes have the bugs.
    pub fn with_buggy(
        nodes: usize,
        bugs: Bugs,
        buggy: Vec<NodeId>,
        weather: Weather,
        seed: u64,
    ) -> Cluster {
        let ids = (1..=nodes).map(|nth| NodeId::new(format!("n{nth}")));
        let host = || Host {
            raft: None,
            incarnation: 0,
            disk: Disk::default(),
            paused_until: Duration::ZERO,
        };
        let mut cluster = Cluster {
            oracle: Oracle::new(nodes),
            hosts: ids.map(|id| (id, host())).collect(),
            bugs,
            buggy,
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            weather,
            now: Duration::ZERO,
            events: BTreeMap::new(),
            sequence: 0,
            cut: Vec::new(),
            tokens: 0,
            latest: 0,
        };
        for id in cluster.ids() {
            cluster.restart(&id);
        }
        cluster.schedule(Duration::ZERO, Event::Client);
        cluster.schedule(Duration::ZERO, Event::Weather);
        cluster
    }

    /// Runs for a while.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((&at, _)) = self.events.first_key_value()
            && at.0 <= end
        {
            let event = self.events.remove(&at).expect("was just seen");
            self.now = at.0;
            self.take(event);
        }
        self.now = end;
    }

    /// Ends all faults, starts what is down, and demands that clients are served again.
    pub fn heal_and_demand_progress(&mut self) {
        self.weather = Weather::CALM;
        self.cut.clear();
        for id in self.ids() {
            self.restart(&id);
        }
        let before = self.oracle.answered_ok;
        for _ in 0..100 {
            self.run(Duration::from_millis(100));
            if self.oracle.answered_ok > before + 10 {
                return;
            }
        }
        self.oracle.breaks(Property::Liveness, "no progress in 10 s after the heal");
    }

    fn ids(&self) -> Vec<NodeId> {
        self.hosts.keys().cloned().collect()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    fn any_node(&mut self) -> NodeId {
        let ids = self.ids();
        let nth = self.below(ids.len() as u64) as usize;
        ids[nth].clone()
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn take(&mut self, event: Event) {
        let node = match &event {
            Event::Deliver { to, .. } => Some(to),
            Event::Wake { node, .. } | Event::Synced { node, .. } => Some(node),
            Event::Restart { .. } | Event::Client | Event::Weather => None,
        };
        if let Some(node) = node {
            let paused_until = self.hosts[node].paused_until;
            if paused_until > self.now {
                return self.schedule(paused_until - self.now, event);
            }
        }
        match event {
            Event::Deliver { from, to, message } => {
                self.input(&to, Input::Message { from, message });
            }
            Event::Wake { node, incarnation } => {
                let host = &self.hosts[&node];
                let due = host.raft.as_ref().is_some_and(|raft| raft.wake_at() <= self.now);
                if host.incarnation == incarnation && due {
                    self.input(&node, Input::Tick);
                }
            }
            Event::Synced { node, incarnation, ticket, written } => {
                let host = self.hosts.get_mut(&node).expect("hosts stay");
                if host.incarnation == incarnation && host.raft.is_some() {
                    host.disk.make_durable(written);
                    self.input(&node, Input::Synced(ticket));
                }
            }
            Event::Restart { node } => self.restart(&node),
            Event::Client => {
                self.ask();
                let pause = Duration::from_millis(5 + self.below(30));
                self.schedule(pause, Event::Client);
            }
            Event::Weather => {
                self.change_weather();
                let pause = Duration::from_millis(50 + self.below(100));
                self.schedule(pause, Event::Weather);
            }
        }
    }

    fn change_weather(&mut self) {
        let weather = self.weather;
        if self.chance(weather.heal) {
            self.cut.clear();
        }
        if self.chance(weather.partition) {
            let side: Vec<NodeId> = self.ids().into_iter().filter(|_| self.below(2) == 0).collect();
            let one_way = self.chance(300);
            for a in self.ids() {
                for b in self.ids() {
                    let crosses = side.contains(&a) && !side.contains(&b);
                    let back = !side.contains(&a) && side.contains(&b);
                    if crosses || (back && !one_way) {
                        self.cut.push((a.clone(), b.clone()));
                    }
                }
            }
        }
        if self.chance(weather.crash) {
            let node = self.any_node();
            self.crash(&node);
        }
        if self.chance(weather.crash_all) {
            for id in self.ids() {
                self.crash(&id);
            }
        }
        if self.chance(weather.pause) {
            let node = self.any_node();
            let until = self.now + Duration::from_millis(self.below(1500));
            self.hosts.get_mut(&node).expect("hosts stay").paused_until = until;
        }
    }

    fn ask(&mut self) {
        let node = self.any_node();
        let host = &self.hosts[&node];
        if host.raft.is_none() || host.paused_until > self.now {
            return;
        }
        self.tokens += 1;
        let token = RequestToken(self.tokens);
        let key = Json::from("k");
        let value = Json::from(self.tokens);
        let (op, request) = match self.below(4) {
            0 | 1 => (Op::Read, ClientRequest::Read(key)),
            2 => {
                let change = Change::Write { key, value };
                (Op::Change(change.clone()), ClientRequest::Propose(command(token, change)))
            }
            _ => {
                let change = Change::Cas { key, from: self.latest.into(), to: value };
                (Op::Change(change.clone()), ClientRequest::Propose(command(token, change)))
            }
        };
        if matches!(op, Op::Change(_)) {
            self.latest = self.tokens;
        }
        self.oracle.on_ask(token, op);
        self.input(&node, Input::Request { token, request });
    }

    fn restart(&mut self, node: &NodeId) {
        let others = self.ids().into_iter().filter(|id| id != node).collect();
        let has_bugs = self.buggy.is_empty() || self.buggy.contains(node);
        let host = self.hosts.get_mut(node).expect("hosts stay");
        if host.raft.is_some() {
            return;
        }
        host.incarnation += 1;
        let setup = Setup {
            id: node.clone(),
            others,
            timing: TIMING,
            bugs: if has_bugs { self.bugs } else { Bugs::NONE },
            seed: self.seed ^ self.rng.next_u64(),
        };
        host.raft = Some(Raft::new(setup, host.disk.durable.clone(), self.now));
        self.carry_out(node);
    }

    fn crash(&mut self, node: &NodeId) {
        let survive = self.rng.next_u64();
        let host = self.hosts.get_mut(node).expect("hosts stay");
        if host.raft.take().is_none() {
            return;
        }
        // Some of what was written but not synced may have reached the disk.
        let disk = &mut host.disk;
        let survivors = survive % (disk.unsynced.len() as u64 + 1);
        disk.make_durable(disk.durable_count + survivors);
        disk.unsynced.clear();
        let down = Duration::from_millis(self.below(500));
        self.schedule(down, Event::Restart { node: node.clone() });
    }

    fn input(&mut self, node: &NodeId, input: Input) {
        let now = self.now;
        if let Some(raft) = &mut self.hosts.get_mut(node).expect("hosts stay").raft {
            raft.handle(now, input);
            self.carry_out(node);
        }
    }

    fn carry_out(&mut self, node: &NodeId) {
        let host = self.hosts.get_mut(node).expect("hosts stay");
        let incarnation = host.incarnation;
        let Some(raft) = &mut host.raft else { return };
        let effects = raft.take_effects();
        let wake_at = raft.wake_at();
        for effect in effects {
            if self.chance(self.weather.crash_in_step) {
                return self.crash(node);
            }
            self.carry_out_one(node, incarnation, effect);
        }
        let after = wake_at.saturating_sub(self.now);
        self.schedule(after, Event::Wake { node: node.clone(), incarnation });
    }

    fn carry_out_one(&mut self, node: &NodeId, incarnation: u64, effect: Effect) {
        let delay = Duration::from_micros(match self.below(20) {
            0 => self.below(60_000),
            _ => self.below(2_000),
        });
        let host = self.hosts.get_mut(node).expect("hosts stay");
        match effect {
            Effect::Persist(record) => host.disk.unsynced.push(record),
            Effect::Sync(ticket) => {
                let disk = &mut host.disk;
                disk.busy_until = disk.busy_until.max(self.now + delay);
                let written = disk.durable_count + disk.unsynced.len() as u64;
                let after = disk.busy_until - self.now;
                let node = node.clone();
                self.schedule(after, Event::Synced { node, incarnation, ticket, written });
            }
            Effect::Trace { term, kind } => self.oracle.on_trace(node, term, &kind),
            Effect::Send { to, message } => {
                self.oracle.on_send(node, &to, &message, &host.disk.durable);
                self.transmit(node.clone(), to, message);
            }
            Effect::Reply { token, answer } => self.answer(token, &answer),
        }
    }

    fn answer(&mut self, token: RequestToken, answer: &Answer) {
        self.oracle.on_answer(token, answer);
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cut.contains(&(from.clone(), to.clone())) || self.chance(self.weather.drop) {
            return;
        }
        let copies = if self.chance(self.weather.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let longest = if self.chance(self.weather.slow) { 800_000 } else { 8_000 };
            let delay = Duration::from_micros(self.below(longest));
            let event =
                Event::Deliver { from: from.clone(), to: to.clone(), message: message.clone() };
            self.schedule(delay, event);
        }
    }
}
