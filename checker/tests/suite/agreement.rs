//! The checker agrees with an oracle that tries every order, on many random small histories.
//!
//! `WHITEWATER_HISTORIES` sets how many are tried of each kind.

use crate::support::generate::{Shape, linearizable, mutate};
use crate::support::oracle;
use crate::support::random::Random;
use checker::budget::Budget;
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
