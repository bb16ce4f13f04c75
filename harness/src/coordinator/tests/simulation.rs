//! Hundreds of runs in a simulated world: no seed and no mishap leads to a wrong record.

use super::world::{Done, MS, Mishaps, World};
use crate::coordinator::event::Ending;
use crate::coordinator::limits;

const SECOND: u64 = 1_000 * MS;

fn plain(seed: u64) -> Done {
    World::run(seed, 6, Mishaps::default())
}

fn logged(seed: u64) -> Vec<String> {
    World::run(seed, 6, Mishaps { keep_log: true, ..Mishaps::default() }).log
}

#[test]
fn a_correct_cluster_is_never_accused() {
    let mut seen = std::collections::BTreeMap::new();
    let mut ok = 0;
    for seed in 0..60 {
        let done = plain(seed);
        assert_eq!(done.ending, Ending::Completed, "seed {seed}");
        let recovery = done.judge.recovery.as_ref().expect("it was waited for");
        assert!(recovery.unmet.is_empty(), "seed {seed}: {recovery:?}");
        assert!(done.judge.exits.is_empty(), "seed {seed}: {:?}", done.judge.exits);
        ok += done.judge.totals["ok"];
        for (kind, count) in &done.judge.effective {
            *seen.entry(kind.clone()).or_insert(0) += count;
        }
    }
    assert!(ok > 10_000, "{ok}");
    for kind in crate::nemesis::all() {
        assert!(seen.contains_key(kind.name), "{} never took effect: {seen:?}", kind.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    for seed in 0..5 {
        assert!(logged(seed) == logged(seed), "seed {seed}");
    }
    assert!(logged(0) != logged(1));
}

#[test]
fn an_interrupt_ends_every_phase_at_once() {
    for step in 0..60 {
        let at = step * 150 * MS;
        let done = World::run(step, 4, Mishaps { interrupt_at: Some(at), ..Mishaps::default() });
        if done.ending != Ending::Completed {
            assert_eq!(done.ending, Ending::Interrupted);
            assert!(done.at <= at + 3 * SECOND, "{step}: {}", done.at - at);
        }
    }
}

#[test]
fn the_first_failure_of_the_harness_is_told_from_every_phase() {
    for step in 0..40 {
        let at = step * 220 * MS;
        let mishaps = Mishaps { harness_fails_at: Some(at), ..Mishaps::default() };
        let done = World::run(step, 4, mishaps);
        assert!(
            matches!(&done.ending, Ending::HarnessFailed(why) if why == "a test")
                || done.ending == Ending::Completed && done.at <= at,
            "{step}: {:?}",
            done.ending
        );
    }
}

#[test]
fn whatever_never_comes_ends_as_a_failure_of_the_harness() {
    for seed in 0..4 {
        let at = Some(1_500 * MS + seed * 400 * MS);
        let none = Mishaps::default();
        for mishaps in [
            Mishaps { client_wedged_at: at, ..none },
            Mishaps { starts_lost_at: at, ..none },
            Mishaps { immortal_at: at, ..none },
            Mishaps { continue_lost_at: at, ..none },
        ] {
            let done = World::run(seed, 5, mishaps);
            let unharmed = done.ending == Ending::Completed && mishaps.client_wedged_at.is_none();
            assert!(
                unharmed || matches!(done.ending, Ending::HarnessFailed(_)),
                "{seed} {mishaps:?}: {:?}",
                done.ending
            );
            let waits = limits::SETTLE + limits::ABANDON + 2 * limits::KILL;
            let recovery = 20 * SECOND * limits::CATCH_UP_FACTOR;
            // The start limit and the length of the run come first.
            let limit = 65 * SECOND + waits.as_nanos() as u64 + recovery;
            assert!(done.at < limit, "{seed} {mishaps:?}: {}", done.at);
            // The harness's failure is not held against the cluster.
            assert!(done.judge.recovery.is_none_or(|r| r.unmet.is_empty()), "{mishaps:?}");
        }
    }
}

#[test]
fn a_client_that_does_not_answer_while_the_cluster_starts_no_run() {
    let mishaps = Mishaps { starts_lost_at: Some(0), immortal_at: Some(0), ..Mishaps::default() };
    let done = World::run(1, 5, mishaps);
    assert!(matches!(done.ending, Ending::HarnessFailed(_)), "{:?}", done.ending);
    assert_eq!(done.judge.invoked, 0);
}

#[test]
fn a_node_that_ends_by_itself_is_noted_once() {
    let mut noted = 0;
    for seed in 0..30 {
        let mishaps = Mishaps { node_exits_at: Some(2 * SECOND), ..Mishaps::default() };
        let done = World::run(seed, 5, mishaps);
        assert_eq!(done.ending, Ending::Completed);
        assert!(done.judge.exits.len() <= 1);
        assert!(done.judge.exits.iter().all(|(node, why)| node.as_str() == "n2" && why.is_none()));
        noted += done.judge.exits.len();
    }
    assert!(noted > 10, "{noted}");
}

#[test]
fn a_cluster_that_does_not_come_back_is_told() {
    let mut told = 0;
    for seed in 0..10 {
        let mishaps = Mishaps { never_recovers: true, ..Mishaps::default() };
        let done = World::run(seed, 5, mishaps);
        assert_eq!(done.ending, Ending::Completed);
        let recovery = done.judge.recovery.as_ref().unwrap();
        told += usize::from(!recovery.unmet.is_empty());
        assert!(recovery.unmet.is_empty() || recovery.probes > 100);
    }
    assert!(told > 5, "{told}");
}

#[test]
fn a_limited_rate_is_kept_and_still_shows_that_the_cluster_recovers() {
    for seed in 0..10 {
        let done = World::run(seed, 10, Mishaps { rate: Some(20.0), ..Mishaps::default() });
        let begin = done.judge.invokes_at[0];
        let under_faults = |at: &&u64| **at >= begin && **at < begin + 10 * SECOND;
        let count = done.judge.invokes_at.iter().filter(under_faults).count();
        assert!((100..=204).contains(&count), "{count}");
        let slow = World::run(seed, 5, Mishaps { rate: Some(0.05), ..Mishaps::default() });
        assert!(slow.judge.recovery.unwrap().unmet.is_empty(), "seed {seed}");
    }
}
