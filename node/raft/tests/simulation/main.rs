//! The core under thousands of random schedules: drops, duplicates, delays, partitions, pauses,
//! and crashes between any two effects.

mod cluster;
mod oracle;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use whitewater_raft::bugs::{Bug, Bugs};

use cluster::{Cluster, Weather};
use oracle::Property;

/// Schedules that the correct core must survive; `SIMULATION_SCHEDULES` asks for more.
const SCHEDULES: u64 = 4_000;
/// Schedules in which a seeded bug must show itself at least once.
const SCHEDULES_PER_BUG: u64 = 300;

/// The cluster's size and weather that a seed stands for.
fn draw(seed: u64) -> (usize, Weather) {
    let nodes = [3, 5, 3, 2, 5, 1, 3, 4][seed as usize % 8];
    let weather = match seed / 8 % 5 {
        0 => Weather { drop: 100, duplicate: 100, slow: 50, ..Weather::CALM },
        1 => Weather { partition: 300, heal: 300, slow: 20, ..Weather::CALM },
        2 => Weather { crash: 300, crash_all: 30, crash_in_step: 2, ..Weather::CALM },
        3 => Weather { pause: 300, partition: 200, heal: 200, ..Weather::CALM },
        _ => Weather {
            drop: 50,
            duplicate: 50,
            slow: 50,
            partition: 200,
            heal: 300,
            crash: 150,
            crash_all: 20,
            pause: 100,
            crash_in_step: 1,
        },
    };
    (nodes, weather)
}

/// What a schedule broke, and how many requests were answered with a result.
fn run(seed: u64, bugs: Bugs) -> (BTreeMap<Property, String>, usize) {
    let (nodes, weather) = draw(seed);
    let mut cluster = Cluster::new(nodes, bugs, weather, seed);
    cluster.run(Duration::from_secs(3));
    cluster.heal_and_demand_progress();
    (cluster.oracle.broken, cluster.oracle.answered_ok)
}

#[test]
fn the_correct_core_keeps_every_promise() {
    let schedules = std::env::var("SIMULATION_SCHEDULES")
        .map_or(SCHEDULES, |count| count.parse().expect("SIMULATION_SCHEDULES is a number"));
    let threads = 2;
    let answered: usize = thread::scope(|scope| {
        let part = |first: u64| {
            let mut answered = 0;
            for seed in (first..schedules).step_by(threads) {
                let (broken, ok) = run(seed, Bugs::NONE);
                assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
                answered += ok;
            }
            answered
        };
        let parts: Vec<_> =
            (0..threads as u64).map(|first| scope.spawn(move || part(first))).collect();
        parts.into_iter().map(|part| part.join().expect("a schedule failed")).sum()
    });
    // A cluster that never serves keeps every promise, too.
    assert!(answered as u64 > schedules * 20, "only {answered} requests were answered");
}

/// The buggy core breaks `property` in some schedule; the correct one breaks nothing in it.
fn shows(bug: Bug, property: Property) {
    let found =
        (0..SCHEDULES_PER_BUG).find(|&seed| run(seed, Bugs::only(bug)).0.contains_key(&property));
    let seed = found.unwrap_or_else(|| panic!("no schedule shows {} by {property:?}", bug.name()));
    let (broken, _) = run(seed, Bugs::NONE);
    assert!(broken.is_empty(), "seed {seed} without the bug: {broken:#?}");
}

#[test]
fn forget_term_and_vote_breaks_election_safety() {
    shows(Bug::ForgetTermAndVote, Property::ElectionSafety);
}

#[test]
fn vote_without_log_check_breaks_leader_completeness() {
    shows(Bug::VoteWithoutLogCheck, Property::LeaderCompleteness);
}

#[test]
fn quorum_one_short_breaks_election_safety_and_state_machine_safety() {
    shows(Bug::QuorumOneShort, Property::ElectionSafety);
    shows(Bug::QuorumOneShort, Property::StateMachineSafety);
}

#[test]
fn ack_before_write_breaks_linearizability() {
    shows(Bug::AckBeforeWrite, Property::DurableBeforeSent);
    shows(Bug::AckBeforeWrite, Property::Linearizable);
}

#[test]
fn read_without_quorum_breaks_linearizability() {
    shows(Bug::ReadWithoutQuorum, Property::Linearizable);
}

#[test]
fn apply_on_append_breaks_state_machine_safety() {
    shows(Bug::ApplyOnAppend, Property::StateMachineSafety);
}

/// A finding must come from what a bug breaks, not from a node that stumbles over it: neither
/// buggy nodes nor correct ones among them panic, whatever state they get into.
#[test]
fn no_bug_makes_a_node_panic() {
    for seed in 0..100 {
        let (nodes, weather) = draw(seed);
        for bug in Bug::ALL {
            for buggy in [vec![], vec!["n1".into()], vec!["n1".into(), "n2".into()]] {
                let bugs = Bugs::only(bug);
                let mut cluster = Cluster::with_buggy(nodes, bugs, buggy, weather, seed);
                cluster.run(Duration::from_secs(3));
                cluster.heal_and_demand_progress();
            }
        }
    }
}

#[test]
fn a_schedule_follows_from_its_seed() {
    for seed in [4, 12] {
        assert_eq!(run(seed, Bugs::NONE), run(seed, Bugs::NONE));
    }
}
