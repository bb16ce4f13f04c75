//! When the wait for progress is over, and with which result.

use protocol::NodeId;
use protocol::launch::Timing;
use protocol::message::Status;

use super::world::MS;
use crate::coordinator::clients::Served;
use crate::coordinator::event::{Nanos, Report};
use crate::coordinator::nodes::Nodes;
use crate::coordinator::recovery::Wait;

const LIMIT: Nanos = 10_000 * MS;
const BEGAN: Nanos = 5_000 * MS;

fn id(n: usize) -> NodeId {
    NodeId::new(format!("n{n}"))
}

fn status(role: &str, applied: u64) -> Report {
    let (role, leader) = (role.to_owned(), Some(id(1)));
    Report::Status(Status { role, term: 3, leader, commit: 40, applied })
}

/// Three nodes that run and say this.
fn nodes(reports: [Report; 3]) -> Nodes {
    let mut nodes = Nodes::new(&[id(1), id(2), id(3)]);
    nodes.start_missing(&mut Vec::new());
    for (n, report) in reports.iter().enumerate() {
        nodes.started(&id(n + 1), 0);
        nodes.polled(&id(n + 1), 0, report);
    }
    nodes
}

fn begin(nodes: &Nodes) -> Wait {
    Wait::begin(BEGAN, LIMIT, &Timing::default(), nodes)
}

fn serve(wait: &mut Wait, count: u64, invoked_at: Nanos) {
    (0..count).for_each(|_| wait.served(Served { invoked_at }));
}

#[test]
fn progress_is_served_operations_a_leader_and_everyone_caught_up() {
    let good = || [status("leader", 40), status("follower", 40), status("follower", 41)];
    let all = nodes(good());
    let mut wait = begin(&all);
    serve(&mut wait, 9, BEGAN);
    serve(&mut wait, 50, BEGAN - 1);
    assert!(!wait.is_over(BEGAN, &all), "operations from before the heal do not count");
    serve(&mut wait, 1, BEGAN);
    assert!(wait.is_over(BEGAN, &all));
    assert!(wait.end(BEGAN + MS, &all).unmet.is_empty());

    let [leader, one, other] = good();
    let cases = [
        ([status("follower", 40), one.clone(), other.clone()], "leads"),
        ([leader.clone(), status("follower", 39), other.clone()], "n2 has applied up to 39"),
        ([leader.clone(), one.clone(), Report::Silent], "n3 does not answer"),
    ];
    for (reports, why) in cases {
        let lacking = nodes(reports);
        assert!(!wait.is_over(BEGAN + LIMIT - 1, &lacking), "{why}");
        assert!(wait.is_over(BEGAN + LIMIT, &lacking), "{why}");
        let unmet = wait.end(BEGAN + LIMIT, &lacking).unmet;
        assert!(unmet.len() == 1 && unmet[0].contains(why), "{unmet:?}");
    }
}

#[test]
fn a_node_that_ended_is_not_waited_for_and_one_without_status_is_not_asked() {
    let mut all = nodes([status("leader", 40), status("follower", 40), status("follower", 2)]);
    let mut wait = begin(&all);
    serve(&mut wait, 10, BEGAN);
    assert!(!wait.is_over(BEGAN, &all));
    all.exited(&id(3), 0);
    assert!(wait.is_over(BEGAN, &all));

    let plain = nodes([
        Report::Plain { serves: true },
        Report::Plain { serves: true },
        Report::Plain { serves: true },
    ]);
    let mut wait = begin(&plain);
    assert!(!wait.is_over(BEGAN, &plain));
    serve(&mut wait, 10, BEGAN);
    assert!(wait.is_over(BEGAN, &plain));
}

#[test]
fn a_node_that_catches_up_slowly_is_waited_for_and_one_that_is_stuck_is_told() {
    let at = |applied| [status("leader", 40), status("follower", 40), status("follower", applied)];
    let mut wait = begin(&nodes(at(2)));
    serve(&mut wait, 10, BEGAN);
    let mut now = BEGAN;
    for applied in 3..10 {
        now += LIMIT / 3;
        wait.polled(now, &id(3), &status("follower", applied));
        assert!(!wait.is_over(now, &nodes(at(applied))), "it has just moved");
    }
    assert!(wait.end(now, &nodes(at(9))).unmet.is_empty(), "slow is not stuck");
    // It answers, and moves no more.
    now += LIMIT;
    wait.polled(now, &id(3), &status("follower", 9));
    assert!(wait.is_over(now, &nodes(at(9))));
    assert!(wait.end(now, &nodes(at(9))).unmet[0].contains("n3 has applied up to 9"));
    // One that moves for ever is left alone at last.
    let last = BEGAN + 4 * LIMIT;
    wait.polled(last, &id(3), &status("follower", 10));
    assert!(wait.is_over(last, &nodes(at(10))));
    assert_eq!(wait.until(BEGAN + LIMIT), last);
}

#[test]
fn probes_are_late_beyond_a_quarter_of_the_shortest_election_timeout() {
    let all = nodes([Report::Silent, Report::Silent, Report::Silent]);
    let mut wait = begin(&all);
    for late in [0, 75 * MS, 75 * MS + 1, Nanos::MAX] {
        wait.probed(late);
    }
    let recovery = wait.end(BEGAN + LIMIT, &all);
    assert_eq!((recovery.probes, recovery.late_probes), (4, 2));
    assert_eq!((recovery.waited, recovery.limit), (LIMIT, LIMIT));
}
