//! The checker agrees with an oracle that tries every order, on many random small histories.
//!
//! `WHITEWATER_HISTORIES` sets how many are tried of each kind.

use crate::support::generate::{Shape, linearizable, mutate};
use crate::support::oracle;
use crate::support::random::Random;
use std::sync::atomic::{AtomicUsize, Ordering};

use checker::budget::{Budget, Exhausted};
use checker::history::{Event, EventKind, History, HistoryBuilder};
use checker::model::{ModelKind, ModelSpec};
use checker::stream::StreamChecker;
use checker::value::Value;
use checker::verdict::{Method, Verdict};
use checker::verify::{Opinion, verify_linearization, verify_violation};

fn build(events: &[Event]) -> History {
    let mut builder = HistoryBuilder::new();
    for event in events {
        builder.push(event.clone()).expect("generated histories are well-formed");
    }
    builder.finish()
}

fn histories_wanted() -> usize {
    std::env::var("WHITEWATER_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

fn show(events: &[Event]) -> String {
    events
        .iter()
        .map(|event| {
            format!(
                "{} p{} {} {} {:?} {} {:?}\n",
                event.line,
                event.process,
                event.kind.name(),
                event.f,
                event.key.as_ref().map(ToString::to_string),
                event.value,
                event.failure
            )
        })
        .collect()
}

/// Random histories of one model against the oracle. Both verdicts must be met often enough for
/// the agreement to mean something.
fn agree(kind: ModelKind, methods: &[Method]) {
    let spec = ModelSpec::natural(kind);
    let (mut valid, mut invalid, mut undecided) = (0, 0, 0);
    for seed in 0..histories_wanted() as u64 {
        let mut random = Random::new(seed.wrapping_mul(8).wrapping_add(kind as u64));
        let shape = Shape {
            kind,
            operations: 2 + random.below(6),
            processes: 1 + random.below(5),
            values: if methods == [Method::UniqueValues] { 0 } else { random.below(4) },
            keys: random.below(3),
            unknown: [0, 15, 50][random.below(3)],
            failed: [0, 20][random.below(2)],
        };
        let mut events = linearizable(shape, &mut random);
        let mutations = random.below(12);
        for _ in 0..mutations {
            mutate(&mut events, &mut random);
        }
        let history = build(&events);
        let expected = oracle::linearizable(history.operations(), &spec);
        assert!(
            expected || mutations > 0,
            "seed {seed}: the simulation is wrong\n{}",
            show(&events)
        );
        let mut orders = Vec::new();
        let mut sink = |linearization| orders.push(linearization);
        let budget = Budget::unlimited();
        let verdict = checker::linearize(&history, &spec, methods, &budget, &mut sink)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", show(&events)));
        match (&verdict, expected) {
            (Verdict::Valid(_), true) => {
                valid += 1;
                verify_linearization(&history, &spec, &orders).unwrap_or_else(|mistrust| {
                    panic!("seed {seed}: {mistrust}\n{}{orders:?}", show(&events))
                });
            }
            (Verdict::Unknown(_), _) if !methods.contains(&Method::Search) => undecided += 1,
            (Verdict::Violation(violation), false) => {
                invalid += 1;
                let opinion = verify_violation(&history, &spec, violation);
                assert_eq!(
                    opinion,
                    Ok(Opinion::Confirmed),
                    "seed {seed}\n{}{violation:#?}",
                    show(&events)
                );
                assert!(
                    !oracle::linearizable_until(
                        &violation.operations,
                        &spec,
                        violation.cut.position
                    ),
                    "seed {seed}: the counterexample is linearizable\n{}{violation:#?}",
                    show(&events)
                );
            }
            _ => panic!(
                "seed {seed}: {verdict:?}, but linearizable is {expected}\n{}",
                show(&events)
            ),
        }
    }
    println!("{kind} {methods:?}: {valid} valid, {invalid} not, {undecided} undecided");
    let least = histories_wanted() / 20;
    assert!(valid > least && invalid > least, "{valid} valid, {invalid} not: too one-sided");
}

#[test]
fn cas_register() {
    agree(ModelKind::CasRegister, &Method::ALL);
}

#[test]
fn multi_register() {
    agree(ModelKind::MultiRegister, &Method::ALL);
}

#[test]
fn kv_append() {
    agree(ModelKind::KvAppend, &Method::ALL);
}

#[test]
fn mutex() {
    agree(ModelKind::Mutex, &Method::ALL);
}

#[test]
fn set() {
    agree(ModelKind::Set, &Method::ALL);
}

#[test]
fn counter() {
    agree(ModelKind::Counter, &Method::ALL);
}

#[test]
fn queue() {
    agree(ModelKind::Queue, &Method::ALL);
}

#[test]
fn log() {
    agree(ModelKind::Log, &Method::ALL);
}

#[test]
fn cas_register_by_search_alone() {
    agree(ModelKind::CasRegister, &[Method::Search]);
}

#[test]
fn cas_register_by_unique_values_alone() {
    agree(ModelKind::CasRegister, &[Method::UniqueValues]);
}

/// Judging key by key while reading gives what judging the whole gives.
#[test]
fn streams() {
    for seed in 0..histories_wanted() as u64 / 4 {
        let mut random = Random::new(seed ^ 0x5eed);
        let shape = Shape {
            kind: ModelKind::CasRegister,
            operations: 12,
            processes: 4,
            values: 3,
            keys: 4,
            unknown: 10,
            failed: 10,
        };
        let mut events = linearizable(shape, &mut random);
        for _ in 0..random.below(4) {
            mutate(&mut events, &mut random);
        }
        let spec = ModelSpec::natural(ModelKind::CasRegister);
        let whole = checker::check(&build(&events), &spec, &Budget::unlimited()).unwrap();
        let mut stream = StreamChecker::new(spec, Budget::unlimited());
        for (place, event) in events.iter().enumerate() {
            stream.push(event.clone()).unwrap();
            let later = &events[place + 1..];
            if !later.iter().any(|other| other.kind == EventKind::Invoke && other.key == event.key)
            {
                stream.retire(&event.key).unwrap();
            }
        }
        let found = stream.finish().unwrap();
        match (&whole, &found) {
            (Verdict::Valid(one), Verdict::Valid(two)) => assert_eq!(one, two),
            (Verdict::Violation(one), Verdict::Violation(two)) => {
                assert_eq!((&one.key, one.cut.line), (&two.key, two.cut.line), "seed {seed}");
                assert_eq!(one.stats, two.stats);
            }
            _ => panic!("seed {seed}: {whole:?} against {found:?}"),
        }
    }
}

#[test]
fn a_retired_key_is_forgotten_and_stays_closed() {
    let event = |line, process, kind, value: Value| Event {
        line,
        process,
        kind,
        f: "write".into(),
        key: Some("k".into()),
        value,
        failure: None,
    };
    let spec = ModelSpec::natural(ModelKind::CasRegister);
    let mut stream = StreamChecker::new(spec, Budget::unlimited());
    stream.push(event(1, 0, EventKind::Invoke, 1.into())).unwrap();
    stream.retire(&Some("k".into())).unwrap();
    assert_eq!(stream.live_keys(), 1, "an operation is open");
    stream.push(event(2, 0, EventKind::Ok, 1.into())).unwrap();
    assert_eq!(stream.live_keys(), 0);
    let error = stream.push(event(3, 0, EventKind::Invoke, 2.into())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3: process 0 invokes write on key \"k\", which was retired before"
    );
}

/// A history that takes the search far too long: many values in a queue at once, which concurrent
/// processes put there and take in any order.
fn hard() -> History {
    let shape = Shape {
        kind: ModelKind::Queue,
        operations: 2_000,
        processes: 10,
        values: 0,
        keys: 2,
        unknown: 0,
        failed: 0,
    };
    build(&linearizable(shape, &mut Random::new(7)))
}

#[test]
fn a_budget_that_ends_is_unknown_and_says_which() {
    let history = hard();
    let spec = ModelSpec::natural(ModelKind::Queue);
    let questions = AtomicUsize::new(0);
    let stop = || questions.fetch_add(1, Ordering::Relaxed) > 20;
    let by_time = Budget { should_stop: &stop, bytes_max: u64::MAX };
    let by_bytes = Budget { should_stop: &|| false, bytes_max: 1 << 20 };
    for (budget, expected) in [(by_time, Exhausted::Stopped), (by_bytes, Exhausted::Bytes)] {
        match checker::check(&history, &spec, &budget).unwrap() {
            Verdict::Unknown(unknown) => {
                assert_eq!(unknown.exhausted, expected);
                assert_eq!(unknown.undecided_keys + unknown.decided.keys, 2);
                assert_eq!(unknown.undecided.len() as u64, unknown.undecided_keys);
            }
            other => panic!("{other:?} within {expected:?}"),
        }
    }
}

/// A violation of one key outranks the unknown of another.
#[test]
fn violation_outranks_unknown() {
    let mut events = linearizable(
        Shape {
            kind: ModelKind::Queue,
            operations: 2_000,
            processes: 10,
            values: 0,
            keys: 1,
            unknown: 0,
            failed: 0,
        },
        &mut Random::new(7),
    );
    // It stands first, so that it is judged even where there is one thread for both.
    for (place, kind, value) in [(0, EventKind::Invoke, Value::Null), (1, EventKind::Ok, 5.into())]
    {
        let event = Event {
            line: 1,
            process: 1_000_000,
            kind,
            f: "dequeue".into(),
            key: Some("other".into()),
            value,
            failure: None,
        };
        events.insert(place, event);
    }
    let questions = AtomicUsize::new(0);
    let stop = || questions.fetch_add(1, Ordering::Relaxed) > 50;
    let budget = Budget { should_stop: &stop, bytes_max: u64::MAX };
    let spec = ModelSpec::natural(ModelKind::Queue);
    match checker::check(&build(&events), &spec, &budget).unwrap() {
        Verdict::Violation(violation) => assert_eq!(violation.key, Some("other".into())),
        other => panic!("{other:?}"),
    }
}
