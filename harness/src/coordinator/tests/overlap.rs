//! Faults that overlap on one node.

use std::collections::BTreeSet;

use protocol::NodeId;

use crate::coordinator::event::{Action, Report};
use crate::coordinator::nodes::Nodes;
use crate::guardian::NodeSignal::{self, Continue, Kill, Stop};
use crate::net::FaultId;

const A: FaultId = FaultId(1);
const B: FaultId = FaultId(2);

fn n1() -> NodeId {
    NodeId::new("n1")
}

/// A node that runs.
fn running() -> Nodes {
    let mut nodes = Nodes::new(&[n1()]);
    nodes.start_missing(&mut Vec::new());
    nodes.started(&n1(), 0);
    nodes
}

/// The signals among the actions that `act` leads to, and the incarnations started.
fn done(act: impl FnOnce(&mut Vec<Action>)) -> (Vec<NodeSignal>, Vec<u32>) {
    let mut out = Vec::new();
    act(&mut out);
    let signals = out.iter().filter_map(|action| match action {
        Action::Signal { signal, .. } => Some(*signal),
        _ => None,
    });
    let starts = out.iter().filter_map(|action| match action {
        Action::Start { incarnation, .. } => Some(*incarnation),
        _ => None,
    });
    (signals.collect(), starts.collect())
}

fn ids(ids: &[FaultId]) -> BTreeSet<FaultId> {
    ids.iter().copied().collect()
}

#[test]
fn a_node_killed_while_paused_owes_nothing_to_the_pause() {
    let mut nodes = running();
    assert_eq!(done(|out| nodes.pause(&n1(), A, out)).0, [Stop]);
    assert_eq!(nodes.stopped(&n1(), 0), ids(&[A]));
    assert_eq!(done(|out| nodes.kill(&n1(), B, out)).0, [Kill]);
    // The pause ends before the kernel is done: nothing to continue, and no restart.
    assert_eq!(done(|out| drop(nodes.release(A, out))), (vec![], vec![]));
    assert_eq!(nodes.exited(&n1(), 0), Some(ids(&[B])));
    assert_eq!(done(|out| drop(nodes.release(B, out))).1, [1]);
    assert!(nodes.unsettled()[0].contains("has not started"));
    nodes.started(&n1(), 1);
    assert!(nodes.unsettled().is_empty());
}

#[test]
fn a_node_that_is_down_cannot_be_paused_and_is_not_told_to_go_on() {
    let mut nodes = running();
    nodes.kill(&n1(), A, &mut Vec::new());
    assert!(!nodes.view()[0].up, "what is about to end is no target");
    nodes.exited(&n1(), 0);
    assert!(done(|out| nodes.pause(&n1(), B, out)).0.is_empty());
    assert_eq!(done(|out| drop(nodes.release(B, out))), (vec![], vec![]));
    assert_eq!(done(|out| drop(nodes.release(A, out))).1, [1]);
}

#[test]
fn a_node_held_down_twice_starts_when_the_last_hold_ends() {
    let mut nodes = running();
    nodes.kill(&n1(), A, &mut Vec::new());
    nodes.exited(&n1(), 0);
    // The second finds nobody to kill: it holds the node down and owes no evidence.
    assert!(done(|out| nodes.kill(&n1(), B, out)).0.is_empty());
    assert!(done(|out| drop(nodes.release(A, out))).1.is_empty());
    assert!(done(|out| nodes.start_missing(out)).1.is_empty());
    assert_eq!(done(|out| drop(nodes.release(B, out))).1, [1]);
    nodes.started(&n1(), 1);
    assert_eq!(nodes.exited(&n1(), 1), Some(ids(&[])));
}

#[test]
fn a_fault_healed_before_its_process_has_ended_keeps_its_evidence() {
    let mut nodes = running();
    nodes.kill(&n1(), A, &mut Vec::new());
    assert!(done(|out| drop(nodes.release(A, out))).1.is_empty(), "one still ends");
    assert!(nodes.unsettled()[0].contains("has not ended"));
    assert_eq!(nodes.exited(&n1(), 0), Some(ids(&[A])));
    assert_eq!(done(|out| nodes.start_if_free(&n1(), out)).1, [1]);
}

#[test]
fn a_pause_is_confirmed_once_and_only_for_those_who_asked() {
    let mut nodes = running();
    assert_eq!(nodes.stopped(&n1(), 0), ids(&[]), "somebody else stopped it");
    assert_eq!(done(|out| nodes.continue_all(out)).0, [Continue]);
    assert!(nodes.unsettled()[0].contains("SIGCONT"));
    nodes.continued(&n1(), 0);
    nodes.pause(&n1(), A, &mut Vec::new());
    assert_eq!(nodes.stopped(&n1(), 0), ids(&[A]));
    assert_eq!(nodes.stopped(&n1(), 0), ids(&[]));
    assert_eq!(done(|out| drop(nodes.release(A, out))).0, [Continue]);
    assert!(!nodes.unsettled().is_empty(), "nobody has seen it go on");
    nodes.continued(&n1(), 0);
    assert!(nodes.unsettled().is_empty());
    // A stop that a continue overtook shows nothing.
    nodes.pause(&n1(), B, &mut Vec::new());
    nodes.release(B, &mut Vec::new());
    nodes.continued(&n1(), 0);
    assert_eq!(nodes.stopped(&n1(), 0), ids(&[]));
}

#[test]
fn news_of_an_incarnation_that_is_over_changes_nothing() {
    let mut nodes = running();
    assert_eq!(nodes.exited(&n1(), 0), Some(ids(&[])));
    assert_eq!(nodes.exited(&n1(), 0), None);
    nodes.start_missing(&mut Vec::new());
    nodes.started(&n1(), 0);
    assert!(!nodes.unsettled().is_empty(), "incarnation 1 has not started");
    assert!(!nodes.polled(&n1(), 0, &Report::Plain { serves: true }));
    assert_eq!(nodes.exited(&n1(), 0), None);
    nodes.started(&n1(), 1);
    assert!(nodes.polled(&n1(), 1, &Report::Plain { serves: true }));
}
