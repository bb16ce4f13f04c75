//! Where clients try, how often, and what they claim.

use std::time::Duration;

use protocol::NodeId;
use protocol::error_code;
use protocol::message::Reply;
use workloads::{Outcome, Settings, Workload};

use super::world::MS;
use crate::coordinator::clients::Clients;
use crate::coordinator::event::{Action, Nanos};
use crate::coordinator::limits;

const TIMEOUT: Nanos = 500 * MS;

/// One client of three nodes.
struct Bench {
    clients: Clients,
    workload: Box<dyn Workload>,
    now: Nanos,
    out: Vec<Action>,
}

impl Bench {
    fn new(rate: Option<f64>) -> Bench {
        let settings =
            Settings { seed: 1, clients: 1, keys: 2, ops_per_key: 1_000, unknowns_per_key: 9 };
        let nodes = (1..=3).map(|n| NodeId::new(format!("n{n}"))).collect();
        let timeout = Duration::from_nanos(TIMEOUT);
        let mut bench = Bench {
            clients: Clients::new(1, 1, nodes, timeout, rate),
            workload: workloads::by_name("register", settings).unwrap(),
            now: MS,
            out: Vec::new(),
        };
        bench.clients.begin(bench.now);
        bench.advance();
        bench
    }

    fn advance(&mut self) {
        self.clients.advance(self.now, self.workload.as_mut(), &mut self.out);
    }

    /// The last try and its node.
    fn last_try(&self) -> (u64, NodeId) {
        let tries = self.out.iter().rev().find_map(|action| match action {
            Action::Try { msg_id, node, .. } => Some((*msg_id, node.clone())),
            _ => None,
        });
        tries.expect("there was a try")
    }

    fn tries(&self) -> usize {
        self.out.iter().filter(|action| matches!(action, Action::Try { .. })).count()
    }

    fn outcomes(&self) -> Vec<&Outcome> {
        let outcomes = self.out.iter().filter_map(|action| match action {
            Action::Complete(complete) => Some(&complete.outcome),
            _ => None,
        });
        outcomes.collect()
    }

    fn answer(&mut self, msg_id: u64, reply: &Reply) {
        let workload = self.workload.as_mut();
        self.clients.answered(0, msg_id, reply, self.now, workload, &mut self.out);
    }

    fn refuse(&mut self, leader: Option<&str>) {
        let reply = Reply::Error {
            code: error_code::TEMPORARILY_UNAVAILABLE,
            text: String::new(),
            leader: leader.map(NodeId::new),
        };
        let (msg_id, _) = self.last_try();
        self.answer(msg_id, &reply);
    }

    fn end(&mut self, sent: bool) {
        let (msg_id, _) = self.last_try();
        let workload = self.workload.as_mut();
        self.clients.try_ended(0, msg_id, sent, "x", self.now, workload, &mut self.out);
    }

    fn wake(&mut self) {
        self.now = self.clients.next_wakeup().expect("something is due").max(self.now);
        self.advance();
    }
}

#[test]
fn hints_that_lead_in_circles_are_followed_at_a_walk_and_end_in_a_proven_fail() {
    let mut bench = Bench::new(None);
    let at_once = |bench: &mut Bench| {
        let before = bench.tries();
        let (_, node) = bench.last_try();
        bench.refuse(Some(if node.as_str() == "n1" { "n2" } else { "n1" }));
        bench.tries() > before
    };
    assert!(at_once(&mut bench));
    assert!(at_once(&mut bench));
    assert!(!at_once(&mut bench), "the third hint waits");
    for _ in 0..1_000 {
        bench.wake();
        if !bench.outcomes().is_empty() {
            break;
        }
        if bench.last_try().0 as usize == bench.tries() {
            at_once(&mut bench);
        }
    }
    assert!(matches!(bench.outcomes()[0], Outcome::Fail(_)), "{:?}", bench.outcomes());
    assert!(bench.tries() < 3 + (TIMEOUT / (5 * MS)) as usize + 2, "{}", bench.tries());
}

#[test]
fn a_hint_at_itself_or_at_nobody_is_no_hint() {
    for hint in ["self", "n99"] {
        let mut bench = Bench::new(None);
        let (_, node) = bench.last_try();
        bench.refuse(Some(if hint == "self" { node.as_str() } else { hint }));
        assert_eq!(bench.tries(), 1);
        bench.wake();
        assert_eq!(bench.tries(), 2);
        assert_ne!(bench.last_try().1, node, "another node is tried");
    }
}

#[test]
fn one_try_that_was_sent_ends_the_operation_as_unknown_and_is_never_repeated() {
    let mut bench = Bench::new(None);
    bench.end(false);
    assert!(bench.outcomes().is_empty(), "nothing was sent: another try");
    bench.wake();
    let process = |bench: &Bench| match bench.out.iter().rev().find_map(|action| match action {
        Action::Invoke(invoke) => Some(invoke.process),
        _ => None,
    }) {
        Some(process) => process,
        None => panic!("nothing was invoked"),
    };
    let before = process(&bench);
    bench.end(true);
    assert!(matches!(bench.outcomes()[..], [Outcome::Info(_)]));
    assert_ne!(process(&bench), before, "a process is not used after an unknown outcome");
    // The late answer to the try that was given up changes nothing.
    let tries = bench.tries();
    bench.answer(2, &Reply::WriteOk {});
    assert_eq!((bench.outcomes().len(), bench.tries()), (1, tries));
}

#[test]
fn a_try_that_outlives_its_time_is_given_up_once_and_what_comes_decides() {
    for sent in [true, false] {
        let mut bench = Bench::new(None);
        bench.wake();
        bench.advance();
        let abandons = bench.out.iter().filter(|a| matches!(a, Action::Abandon { .. })).count();
        assert_eq!(abandons, 1);
        assert!(bench.outcomes().is_empty());
        bench.end(sent);
        match (sent, bench.outcomes()[0]) {
            (true, Outcome::Info(_)) | (false, Outcome::Fail(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_of_a_limited_rate_does_not_catch_up() {
    let mut bench = Bench::new(Some(10.0));
    // The first operation takes four turns and a half.
    bench.now += 450 * MS;
    bench.end(true);
    assert_eq!(bench.tries(), 2, "one turn has come, and is taken");
    bench.end(true);
    assert_eq!(bench.tries(), 2, "the turns missed are lost");
    let before = bench.now;
    bench.wake();
    assert_eq!((bench.tries(), bench.now - before), (3, 50 * MS));
    bench.end(true);
    bench.wake();
    assert_eq!(bench.now - before, 150 * MS);
}

#[test]
fn last_operations_are_done_again_until_they_are_answered_or_forgotten() {
    let mut bench = Bench::new(None);
    bench.clients.drain(bench.now, Duration::from_secs(1));
    bench.end(true);
    assert!(bench.clients.is_idle());
    let last = bench.workload.final_operations();
    let count = last.len();
    bench.clients.finish_with(bench.now, last);
    bench.advance();
    bench.end(true);
    assert!(!bench.clients.is_idle(), "it is done again");
    let answer = |bench: &mut Bench| {
        bench.wake();
        let (msg_id, _) = bench.last_try();
        bench.answer(msg_id, &Reply::ReadOk { value: serde_json::json!(1) });
    };
    for _ in 0..count {
        answer(&mut bench);
    }
    assert!(bench.clients.is_idle());
    bench.clients.finish_with(bench.now, bench.workload.final_operations());
    bench.advance();
    bench.clients.forget_queued();
    bench.end(true);
    assert!(bench.clients.is_idle());
}

#[test]
fn a_client_that_does_not_say_that_it_gave_up_is_noticed_in_time() {
    let mut bench = Bench::new(None);
    bench.wake();
    assert_eq!(bench.clients.stuck(bench.now), None);
    let given_up = bench.now;
    bench.wake();
    assert_eq!(bench.clients.stuck(bench.now), Some(0));
    assert_eq!(bench.now - given_up, limits::ABANDON.as_nanos() as Nanos);
    assert_eq!(bench.clients.stuck(bench.now - 1), None);
}
