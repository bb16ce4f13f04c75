//! The checker agrees with an oracle that tries every order, on many random small histories.
//!
//! `WHITEWATER_HISTORIES` sets how many are tried of each kind.

mod support;

use checker::budget::Budget;
use checker::history::{Event, History, HistoryBuilder};
use checker::model::{ModelKind, ModelSpec};
use checker::verdict::Verdict;
use support::generate::{Shape, linearizable, mutate};
use support::oracle;
use support::random::Random;

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
fn agree(kind: ModelKind) {
    let spec = ModelSpec::natural(kind);
    let (mut valid, mut invalid) = (0, 0);
    for seed in 0..histories_wanted() as u64 {
        let mut random = Random::new(seed.wrapping_mul(8).wrapping_add(kind as u64));
        let shape = Shape {
            kind,
            operations: 2 + random.below(6),
            processes: 1 + random.below(5),
            values: random.below(4),
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
        let verdict = checker::check(&history, &spec, &Budget::unlimited())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", show(&events)));
        match (&verdict, expected) {
            (Verdict::Valid(_), true) => valid += 1,
            (Verdict::Violation(violation), false) => {
                invalid += 1;
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
    println!("{kind}: {valid} valid, {invalid} not");
    let least = histories_wanted() / 20;
    assert!(valid > least && invalid > least, "{valid} valid, {invalid} not: too one-sided");
}

#[test]
fn cas_register() {
    agree(ModelKind::CasRegister);
}

#[test]
fn multi_register() {
    agree(ModelKind::MultiRegister);
}

#[test]
fn kv_append() {
    agree(ModelKind::KvAppend);
}

#[test]
fn mutex() {
    agree(ModelKind::Mutex);
}

#[test]
fn set() {
    agree(ModelKind::Set);
}

#[test]
fn counter() {
    agree(ModelKind::Counter);
}

#[test]
fn queue() {
    agree(ModelKind::Queue);
}

#[test]
fn log() {
    agree(ModelKind::Log);
}
