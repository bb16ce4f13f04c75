//! The clients: each has one operation under way at most, finds the leader, and knows what it may
//! claim about an operation's outcome.
//!
//! An operation is tried at a node; a definite refusal leads to another try, with a message id of
//! its own, until the operation's time is up. The first try that was sent and not answered ends
//! the operation with `info`, and the client goes on as a new process. `fail` is claimed only when
//! every try is proven to have had no effect.

use std::time::Duration;

use protocol::NodeId;
use protocol::message::Reply;
use workloads::{Meaning, Operation, Outcome, Workload};

use super::client::{Client, Current, Stage};
use super::event::{Action, ClientIndex, Complete, Invoke, Nanos, nanos};
use super::limits;
use super::nodes::ms;

/// How often a client picks any node at random instead of the one that served it last. Nodes that
/// should not serve are found by asking them.
const STRAY: f64 = 0.25;

/// All clients.
pub struct Clients {
    clients: Vec<Client>,
    nodes: Vec<NodeId>,
    timeout: Nanos,
    /// Time between two operations of one client, if the rate is limited.
    interval: Option<Nanos>,
    /// What clients do now.
    mode: Mode,
    totals: Totals,
}

/// Outcomes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Operations completed with `ok`.
    pub ok: u64,
    /// Operations completed with `fail`.
    pub fail: u64,
    /// Operations completed with `info`.
    pub info: u64,
}

impl Totals {
    /// All completed operations.
    pub fn all(self) -> u64 {
        self.ok + self.fail + self.info
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not begun.
    Quiet,
    /// Operation after operation.
    Working,
    /// What is under way ends, nothing new begins.
    Draining,
    /// The last operations are done, again where they end without an answer.
    Finishing,
}

/// An operation that ended with `ok`, for whoever waits for progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// When it was invoked.
    pub invoked_at: Nanos,
}

impl Clients {
    /// `count` clients that have not begun.
    pub fn new(
        seed: u64,
        count: usize,
        nodes: Vec<NodeId>,
        timeout: Duration,
        rate: Option<f64>,
    ) -> Self {
        let clients = (0..count).map(|client| Client::new(seed, client, nodes.len())).collect();
        let seconds = |rate: f64| Duration::try_from_secs_f64(count as f64 / rate);
        let interval = rate.map(|rate| nanos(seconds(rate).unwrap_or(Duration::MAX)));
        Clients {
            clients,
            nodes,
            timeout: nanos(timeout),
            interval,
            mode: Mode::Quiet,
            totals: Totals::default(),
        }
    }

    /// Outcomes so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether no operation is under way and none is queued.
    pub fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| client.current.is_none() && client.queued.is_empty())
    }

    /// Begins to work.
    pub fn begin(&mut self, now: Nanos) {
        self.mode = Mode::Working;
        self.take_turns(now, self.interval);
    }

    /// Clients of a limited rate take turns instead of coming all at once.
    fn take_turns(&mut self, now: Nanos, interval: Option<Nanos>) {
        let count = self.clients.len() as u128;
        for (at, client) in self.clients.iter_mut().enumerate() {
            let wait = u128::from(interval.unwrap_or(0)) * at as u128 / count;
            client.due = now.saturating_add(wait as Nanos);
        }
    }

    /// From now on operations begin at least as often as it takes to see whether the cluster
    /// serves, whatever the rate.
    pub fn hasten(&mut self, now: Nanos) {
        let most = nanos(limits::RECOVERY_INTERVAL).saturating_mul(self.clients.len() as u64);
        if self.interval.is_some_and(|interval| interval > most) {
            self.interval = Some(most);
            self.take_turns(now, self.interval);
        }
    }

    /// Lets operations under way end, for as long as `patience`, and begins no new ones.
    pub fn drain(&mut self, now: Nanos, patience: Duration) {
        self.mode = Mode::Draining;
        let last = now.saturating_add(nanos(patience));
        for current in self.clients.iter_mut().filter_map(|client| client.current.as_mut()) {
            current.deadline = current.deadline.min(last);
        }
    }

    /// Asks for the last operations, each of the client whose turn it is. One that ends without an
    /// answer is done again, until [`Clients::forget_queued`].
    pub fn finish_with(&mut self, now: Nanos, last: Vec<Operation>) {
        self.mode = Mode::Finishing;
        self.clients.iter_mut().for_each(|client| client.due = now);
        let count = self.clients.len();
        for (at, operation) in last.into_iter().enumerate() {
            self.clients[at % count].queued.push(operation);
        }
    }

    /// Drops queued operations and lets no other begin, so that [`Clients::is_idle`] comes true.
    pub fn forget_queued(&mut self) {
        self.mode = Mode::Draining;
        for client in &mut self.clients {
            client.queued.clear();
        }
    }

    /// When something is due next.
    pub fn next_wakeup(&self) -> Option<Nanos> {
        let is_working = self.mode == Mode::Working;
        self.clients.iter().filter_map(|client| client.next_wakeup(is_working)).min()
    }

    /// A client that was told to give up its try and has not said for too long that it did: an
    /// error of the harness.
    pub fn stuck(&self, now: Nanos) -> Option<ClientIndex> {
        self.clients.iter().position(|client| client.is_stuck(now))
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Nanos, workload: &mut dyn Workload, out: &mut Vec<Action>) {
        for at in 0..self.clients.len() {
            self.advance_one(at, now, workload, out);
        }
    }

    fn advance_one(
        &mut self,
        at: ClientIndex,
        now: Nanos,
        workload: &mut dyn Workload,
        out: &mut Vec<Action>,
    ) {
        let client = &mut self.clients[at];
        let Some(current) = &mut client.current else {
            if now < client.due {
                return;
            }
            let (operation, is_final) = match (client.queued.pop(), self.mode) {
                (Some(operation), _) => (operation, true),
                (None, Mode::Working) => (workload.next(at), false),
                (None, _) => return,
            };
            client.take_turn(now, self.interval.filter(|_| !is_final));
            self.invoke(at, operation, is_final, now, workload, out);
            return;
        };
        match &mut current.stage {
            Stage::Trying { abandoned } => {
                if now >= current.deadline && abandoned.is_none() {
                    *abandoned = Some(now);
                    let msg_id = *current.msg_ids.last().expect("a try has an id");
                    out.push(Action::Abandon { client: at, msg_id });
                }
            }
            Stage::Pausing { until, why } => {
                if now >= current.deadline {
                    // Each try was refused, or never sent: that is the proof.
                    let outcome = Outcome::Fail(std::mem::take(why));
                    self.complete(at, outcome, now, workload, out);
                } else if now >= *until {
                    self.next_try(at, workload, out);
                }
            }
        }
    }

    fn invoke(
        &mut self,
        at: ClientIndex,
        operation: Operation,
        is_final: bool,
        now: Nanos,
        workload: &mut dyn Workload,
        out: &mut Vec<Action>,
    ) {
        let nodes = self.nodes.len() as u64;
        let client = &mut self.clients[at];
        let mut draw = client.next_draw();
        let stray = draw.chance(STRAY);
        let any = draw.below(nodes) as usize;
        out.push(Action::Invoke(Invoke {
            client: at,
            process: client.process,
            f: operation.f,
            key: operation.key.clone(),
            value: operation.value.clone(),
            msg_id: client.next_msg_id,
        }));
        client.current = Some(Current {
            operation,
            deadline: now.saturating_add(self.timeout),
            msg_ids: Vec::new(),
            node: if stray { any } else { client.home },
            hints: 0,
            invoked_at: now,
            is_final,
            stage: Stage::Trying { abandoned: None },
        });
        self.next_try(at, workload, out);
    }

    fn next_try(&mut self, at: ClientIndex, workload: &dyn Workload, out: &mut Vec<Action>) {
        let client = &mut self.clients[at];
        let Some(current) = &mut client.current else { return };
        let msg_id = client.next_msg_id;
        client.next_msg_id += 1;
        current.msg_ids.push(msg_id);
        current.stage = Stage::Trying { abandoned: None };
        out.push(Action::Try {
            client: at,
            node: self.nodes[current.node].clone(),
            msg_id,
            request: workload.request(&current.operation),
        });
    }

    /// A node answered a try. Returns what it served, if anything, and what it did against the
    /// contract, if anything.
    pub fn answered(
        &mut self,
        at: ClientIndex,
        msg_id: u64,
        reply: &Reply,
        now: Nanos,
        workload: &mut dyn Workload,
        out: &mut Vec<Action>,
    ) -> (Option<Served>, Option<(NodeId, String)>) {
        let Some(current) = self.current_try(at, msg_id) else { return (None, None) };
        let invoked_at = current.invoked_at;
        let node = current.node;
        match workload.interpret(&current.operation, reply) {
            Meaning::Done(outcome) => {
                let served = matches!(outcome, Outcome::Ok(_)).then_some(Served { invoked_at });
                if served.is_some() {
                    self.clients[at].home = node;
                }
                self.complete(at, outcome, now, workload, out);
                (served, None)
            }
            Meaning::Retry(why) => {
                let hint = match reply {
                    Reply::Error { leader: Some(leader), .. } => {
                        self.nodes.iter().position(|id| id == leader).filter(|&hint| hint != node)
                    }
                    _ => None,
                };
                self.try_again(at, hint, why, now, workload, out);
                (None, None)
            }
            Meaning::Breach(what) => {
                let node = self.nodes[node].clone();
                let outcome = Outcome::Info(format!("node-contract: {what}"));
                self.complete(at, outcome, now, workload, out);
                (None, Some((node, what)))
            }
        }
    }

    /// A try ended without an answer.
    #[expect(clippy::too_many_arguments, reason = "the parts of one event, and the context")]
    pub fn try_ended(
        &mut self,
        at: ClientIndex,
        msg_id: u64,
        sent: bool,
        why: &str,
        now: Nanos,
        workload: &mut dyn Workload,
        out: &mut Vec<Action>,
    ) {
        if self.current_try(at, msg_id).is_none() {
            return;
        }
        if sent {
            // Nobody knows what became of it. Another node may serve the next operation better.
            let mut draw = self.clients[at].next_draw();
            self.clients[at].home = draw.below(self.nodes.len() as u64) as usize;
            self.complete(at, Outcome::Info(why.to_owned()), now, workload, out);
        } else {
            self.try_again(at, None, why.to_owned(), now, workload, out);
        }
    }

    /// The operation under way, if this is its try.
    fn current_try(&self, at: ClientIndex, msg_id: u64) -> Option<&Current> {
        self.clients.get(at)?.current.as_ref().filter(|current| {
            matches!(current.stage, Stage::Trying { .. }) && current.msg_ids.last() == Some(&msg_id)
        })
    }

    /// The last try certainly had no effect: the operation goes elsewhere, at once to a leader
    /// just named, else to any other node after a pause; or it fails if its time is up.
    fn try_again(
        &mut self,
        at: ClientIndex,
        hint: Option<usize>,
        why: String,
        now: Nanos,
        workload: &mut dyn Workload,
        out: &mut Vec<Action>,
    ) {
        let nodes = self.nodes.len() as u64;
        let client = &mut self.clients[at];
        let mut draw = client.next_draw();
        let Some(current) = &mut client.current else { return };
        if now >= current.deadline {
            self.complete(at, Outcome::Fail(why), now, workload, out);
            return;
        }
        if let Some(leader) = hint {
            current.node = leader;
            current.hints += 1;
            if current.hints <= limits::HINTS_FOLLOWED_AT_ONCE {
                self.next_try(at, workload, out);
                return;
            }
        } else if nodes > 1 {
            let step = 1 + draw.below(nodes - 1);
            current.node = ((current.node as u64 + step) % nodes) as usize;
        }
        let until = now.saturating_add(ms(draw.range(limits::RETRY_PAUSE_MS)));
        current.stage = Stage::Pausing { until, why };
    }

    fn complete(
        &mut self,
        at: ClientIndex,
        outcome: Outcome,
        now: Nanos,
        workload: &mut dyn Workload,
        out: &mut Vec<Action>,
    ) {
        let count = self.clients.len() as i64;
        let client = &mut self.clients[at];
        let Some(current) = client.current.take() else { return };
        workload.completed(&current.operation, &outcome);
        let process = client.process;
        match outcome {
            Outcome::Ok(_) => self.totals.ok += 1,
            Outcome::Fail(_) => self.totals.fail += 1,
            Outcome::Info(_) => {
                self.totals.info += 1;
                client.process += count;
            }
        }
        let is_answered = matches!(outcome, Outcome::Ok(_));
        if current.is_final && self.mode == Mode::Finishing && !is_answered {
            client.queued.push(current.operation.clone());
            let pause = client.next_draw().range(limits::RETRY_PAUSE_MS);
            client.due = now.saturating_add(ms(pause));
        }
        out.push(Action::Complete(Complete {
            process,
            f: current.operation.f,
            key: current.operation.key,
            value: current.operation.value,
            outcome,
            msg_ids: current.msg_ids,
            node: Some(self.nodes[current.node].clone()),
        }));
        self.advance_one(at, now, workload, out);
    }
}
