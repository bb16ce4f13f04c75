//! From a history to a verdict: split by key, judge each key, put the answers together.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::budget::{Account, Budget, Exhausted, Meter};
use crate::counterexample;
use crate::history::{History, Operation, Outcome};
use crate::model::{Call, Effect, Model, ModelError, ModelKind, ModelSpec};
use crate::models;
use crate::search::{Found, Options, search};
use crate::value::Value;
use crate::verdict::{Method, Stats, UNDECIDED_KEYS_MAX, Unknown, Verdict, Violation};

/// Judges a history by one of the standard models.
///
/// # Errors
///
/// When an operation is none of the model's, or a value has the wrong shape; the error names the
/// line. The first one in the history is reported.
pub fn check(
    history: &History,
    spec: &ModelSpec,
    budget: &Budget<'_>,
) -> Result<Verdict, ModelError> {
    let init = spec.init.as_ref();
    match spec.kind {
        ModelKind::CasRegister => {
            let initial = init.cloned().unwrap_or(Value::Null);
            check_model(history, &models::Register::new(&initial), budget)
        }
        ModelKind::MultiRegister => {
            check_model(history, &models::MultiRegister::new(init)?, budget)
        }
        ModelKind::KvAppend => check_model(history, &models::KvAppend::new(init)?, budget),
        ModelKind::Mutex => check_model(history, &models::Mutex::new(init)?, budget),
        ModelKind::Set => check_model(history, &models::Set::new(init)?, budget),
        ModelKind::Counter => check_model(history, &models::Counter::new(init)?, budget),
        ModelKind::Queue => check_model(history, &models::Queue::new(init)?, budget),
        ModelKind::Log => check_model(history, &models::Log::new(init)?, budget),
    }
}

/// Judges a history by a model of the caller's own.
///
/// # Errors
///
/// What the model's [`Model::encode`] answers; of several the first in the history.
pub fn check_model<M: Model>(
    history: &History,
    model: &M,
    budget: &Budget<'_>,
) -> Result<Verdict, ModelError> {
    let account = Account::default();
    let keys = split(history, model);
    let judged: Vec<(Option<Value>, Result<KeyVerdict, ModelError>)> = keys
        .into_par_iter()
        .map(|(key, indexes)| {
            let mut meter = Meter::new(budget, &account);
            let verdict = judge_key(history, &indexes, model.clone(), &mut meter);
            (key, verdict)
        })
        .collect();
    combine(history, judged)
}

/// What became of one key.
enum KeyVerdict {
    Valid(Method),
    Violation(Box<Violation>),
    Unknown(Exhausted),
}

/// The operations of each key, keys in the order of their first appearance.
fn split<M: Model>(history: &History, model: &M) -> Vec<(Option<Value>, Vec<u32>)> {
    let operations = history.operations();
    if !model.splits_by_key() || operations.iter().all(|operation| operation.key.is_none()) {
        return vec![(None, (0..operations.len() as u32).collect())];
    }
    let mut places: FxHashMap<&Option<Value>, usize> = FxHashMap::default();
    let mut keys: Vec<(Option<Value>, Vec<u32>)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let place = *places.entry(&operation.key).or_insert_with(|| {
            keys.push((operation.key.clone(), Vec::new()));
            keys.len() - 1
        });
        keys[place].1.push(index as u32);
    }
    keys
}

/// Encodes the operations of one key. Calls that cannot matter are left out.
fn encode<M: Model>(
    operations: &[Operation],
    indexes: &[u32],
    model: &mut M,
) -> Result<Vec<Call<M::Op>>, ModelError> {
    let mut calls = Vec::with_capacity(indexes.len());
    for &source in indexes {
        let operation = &operations[source as usize];
        let Some(op) = model.encode(operation)? else { continue };
        let required = operation.outcome != Outcome::Unknown;
        if !required && model.effect(&op) == Effect::Observe {
            continue;
        }
        let until = match operation.completed {
            Some(point) if required => point.position,
            _ => u32::MAX,
        };
        calls.push(Call { op, invoked: operation.invoked.position, until, required, source });
    }
    Ok(calls)
}

fn judge_key<M: Model>(
    history: &History,
    indexes: &[u32],
    mut model: M,
    meter: &mut Meter<'_>,
) -> Result<KeyVerdict, ModelError> {
    let operations = history.operations();
    let mut calls = encode(operations, indexes, &mut model)?;
    model.refine(&mut calls);
    let mut options = Options { with_order: false, foresight: true };
    let stuck = match search(&model, &calls, options, meter) {
        Ok(Found::Valid(_)) => return Ok(KeyVerdict::Valid(Method::Search)),
        Ok(Found::Stuck(stuck)) => stuck,
        Err(exhausted) => return Ok(KeyVerdict::Unknown(exhausted)),
    };
    options.foresight = false;
    let stuck = if stuck.foresaw {
        search(&model, &calls, options, meter)
    } else {
        Ok(Found::Stuck(stuck))
    };
    Ok(KeyVerdict::Violation(Box::new(match stuck {
        Ok(Found::Stuck(stuck)) => counterexample::of_stuck(operations, indexes, &calls, &stuck),
        Ok(Found::Valid(_)) => panic!("foresight refused a history that has a linearization"),
        Err(_) => counterexample::of_all(operations, indexes),
    })))
}

/// A violation of one key outranks the unknown of another, and that outranks valid.
fn combine(
    history: &History,
    judged: Vec<(Option<Value>, Result<KeyVerdict, ModelError>)>,
) -> Result<Verdict, ModelError> {
    let mut stats = Stats {
        operations: history.operations().len() as u64,
        keys: judged.len() as u64,
        methods: BTreeMap::new(),
    };
    let mut violation: Option<Box<Violation>> = None;
    let mut exhausted = None;
    let mut undecided = Vec::new();
    let mut undecided_keys = 0;
    let mut error: Option<ModelError> = None;
    for (key, verdict) in judged {
        match verdict {
            Ok(KeyVerdict::Valid(method)) => *stats.methods.entry(method).or_default() += 1,
            Ok(KeyVerdict::Violation(mut found)) => {
                *stats.methods.entry(found.method).or_default() += 1;
                found.key = key;
                violation.get_or_insert(found);
            }
            Ok(KeyVerdict::Unknown(why)) => {
                exhausted.get_or_insert(why);
                undecided_keys += 1;
                if undecided.len() < UNDECIDED_KEYS_MAX {
                    undecided.push(key);
                }
            }
            Err(found) => {
                if error.as_ref().is_none_or(|known| found.line() < known.line()) {
                    error = Some(found);
                }
            }
        }
    }
    if let Some(error) = error {
        return Err(error);
    }
    if let Some(mut violation) = violation {
        violation.stats = stats;
        return Ok(Verdict::Violation(violation));
    }
    Ok(match exhausted {
        Some(exhausted) => {
            stats.keys -= undecided_keys;
            Verdict::Unknown(Unknown { exhausted, decided: stats, undecided, undecided_keys })
        }
        None => Verdict::Valid(stats),
    })
}
