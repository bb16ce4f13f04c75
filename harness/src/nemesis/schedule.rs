//! When which fault is due: fixed by the seed, whatever the cluster does.
//!
//! Faults begin at random intervals and last a random time, so that they overlap and the cluster
//! also sees quiet moments. Kinds are dealt from a shuffled deck that is shuffled anew when it is
//! empty: a run of some length sees each.

use std::time::Duration;

use workloads::random::{Draw, Stream};

/// Intervals and durations are drawn evenly between these multiples, in percent, of their mean.
const SPREAD_PERCENT: std::ops::Range<u64> = 25..176;
/// A fault that would last less than this before the end of the run is left out: it could not
/// show that it took effect.
const SHORTEST: Duration = Duration::from_millis(400);

/// How often faults come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long the workload runs under faults.
    pub length: Duration,
    /// Mean time between the beginnings of two faults.
    pub interval: Duration,
    /// Mean time that a fault lasts.
    pub duration: Duration,
}

/// A fault that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number in the run, from 0, in order of `at`. Its choices are keyed by it.
    pub id: u64,
    /// Since the workload began.
    pub at: Duration,
    /// Until it is healed.
    pub lasts: Duration,
    /// Index into the kinds the schedule was made for.
    pub kind: usize,
}

/// The faults of a run, in order; none if there are no kinds.
pub fn schedule(seed: u64, kinds: usize, pace: Pace) -> Vec<Due> {
    if kinds == 0 {
        return Vec::new();
    }
    let times = Stream::new(seed, "nemesis-times");
    let shuffles = Stream::new(seed, "nemesis-deck");
    let mut deck: Vec<usize> = Vec::new();
    let mut due = Vec::new();
    let mut at = Duration::ZERO;
    for id in 0.. {
        let mut draw = times.at(id);
        at += around(pace.interval, &mut draw);
        let lasts = around(pace.duration, &mut draw).max(SHORTEST);
        if at + SHORTEST > pace.length {
            break;
        }
        if deck.is_empty() {
            deck = (0..kinds).collect();
            shuffles.at(id).shuffle(&mut deck);
        }
        let kind = deck.pop().expect("a deck was just filled");
        due.push(Due { id, at, lasts: lasts.min(pace.length - at), kind });
    }
    due
}

/// A time around this mean, in whole milliseconds, at least one.
fn around(mean: Duration, draw: &mut Draw) -> Duration {
    let percent = draw.range(SPREAD_PERCENT);
    let ms = (mean.as_millis() as u64).saturating_mul(percent) / 100;
    Duration::from_millis(ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(length_s: u64) -> Pace {
        let interval = Duration::from_millis(1_500);
        let duration = Duration::from_secs(2);
        Pace { length: Duration::from_secs(length_s), interval, duration }
    }

    #[test]
    fn the_seed_fixes_it_and_faults_lie_within_the_run() {
        let one = schedule(5, 14, pace(60));
        assert_eq!(one, schedule(5, 14, pace(60)));
        assert_ne!(one, schedule(6, 14, pace(60)));
        assert!(one.iter().all(|due| due.at + due.lasts <= Duration::from_secs(60)));
        assert!(one.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(one.windows(2).any(|pair| pair[0].at + pair[0].lasts > pair[1].at), "no overlap");
    }

    #[test]
    fn a_minute_sees_every_kind() {
        for seed in 0..20 {
            let due = schedule(seed, 16, pace(60));
            for kind in 0..16 {
                assert!(due.iter().any(|due| due.kind == kind), "seed {seed}, kind {kind}");
            }
        }
    }

    #[test]
    fn a_longer_run_begins_like_a_shorter_one() {
        let short = schedule(1, 14, pace(30));
        let long = schedule(1, 14, pace(60));
        let same = short.iter().zip(&long).filter(|(a, b)| a.at == b.at && a.kind == b.kind);
        assert_eq!(same.count(), short.len());
    }

    #[test]
    fn no_kinds_no_faults() {
        assert!(schedule(1, 0, pace(60)).is_empty());
        assert!(schedule(1, 3, pace(0)).is_empty());
    }
}
