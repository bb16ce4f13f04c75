//! From a history to a verdict: split by key, judge each key, put the answers together.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::budget::{Account, Budget, Exhausted, Meter};
use crate::counterexample;
use crate::history::{History, Operation, Outcome};
use crate::minimize::{Reduction, minimize};
use crate::model::{Call, Effect, Model, ModelError, ModelKind, ModelSpec};
use crate::models::{self, Helpers, RegisterOp};
use crate::search::{Found, Options, search};
use crate::unique::{self, Answer};
use crate::value::Value;
use crate::verdict::{
    Linearization, Method, Stats, UNDECIDED_KEYS_MAX, Unknown, Verdict, Violation,
};

/// Judges a history by one of the standard models, each key by the first method that can.
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
    check_with(history, spec, &Method::ALL, budget)
}

/// Like [`check`], with certain methods only. A key that none of them decides makes the verdict
/// unknown. Tests and measurements force a method so.
///
/// # Errors
///
/// As [`check`].
pub fn check_with(
    history: &History,
    spec: &ModelSpec,
    methods: &[Method],
    budget: &Budget<'_>,
) -> Result<Verdict, ModelError> {
    Job { history, methods, budget, orders: None }.run_standard(spec)
}

/// Like [`check_with`], and gives the linearization of every key to `sink` if the history is valid,
/// keys in the order of their first appearance.
///
/// # Errors
///
/// As [`check`].
pub fn linearize(
    history: &History,
    spec: &ModelSpec,
    methods: &[Method],
    budget: &Budget<'_>,
    sink: &mut dyn FnMut(Linearization),
) -> Result<Verdict, ModelError> {
    let orders = Mutex::new(Vec::new());
    let verdict = Job { history, methods, budget, orders: Some(&orders) }.run_standard(spec)?;
    if matches!(verdict, Verdict::Valid(_)) {
        let mut orders = orders.into_inner().unwrap_or_else(PoisonError::into_inner);
        orders.sort_by_key(|(place, _)| *place);
        orders.into_iter().for_each(|(_, linearization)| sink(linearization));
    }
    Ok(verdict)
}

/// Judges a history by a model of the caller's own, by search.
///
/// # Errors
///
/// What the model's [`Model::encode`] answers; of several the first in the history.
pub fn check_model<M: Model>(
    history: &History,
    model: &M,
    budget: &Budget<'_>,
) -> Result<Verdict, ModelError> {
    Job { history, methods: &Method::ALL, budget, orders: None }.run(model, judge_by_search)
}

/// One check.
#[derive(Clone, Copy)]
struct Job<'a> {
    history: &'a History,
    methods: &'a [Method],
    budget: &'a Budget<'a>,
    /// Where linearizations go, each with the place of its key, if they are wanted.
    orders: Option<&'a Mutex<Vec<(usize, Linearization)>>>,
}

impl Job<'_> {
    fn run_standard(self, spec: &ModelSpec) -> Result<Verdict, ModelError> {
        let init = spec.init.as_ref();
        match spec.kind {
            ModelKind::CasRegister => {
                let initial = init.cloned().unwrap_or(Value::Null);
                self.run(&models::Register::new(&initial), judge_register)
            }
            ModelKind::MultiRegister => {
                self.run(&models::MultiRegister::new(init)?, judge_by_search)
            }
            ModelKind::KvAppend => self.run(&models::KvAppend::new(init)?, judge_by_search),
            ModelKind::Mutex => self.run(&models::Mutex::new(init)?, judge_by_search),
            ModelKind::Set => self.run(&models::Set::new(init)?, judge_by_search),
            ModelKind::Counter => self.run(&models::Counter::new(init)?, judge_by_search),
            ModelKind::Queue => self.run(&models::Queue::new(init)?, judge_by_search),
            ModelKind::Log => self.run(&models::Log::new(init)?, judge_by_search),
        }
    }

    /// Judges every key by itself.
    fn run<M: Model>(self, model: &M, judge: JudgeKey<M>) -> Result<Verdict, ModelError> {
        let account = Account::default();
        let keys = split(self.history, model);
        let judge_one = |(place, (key, indexes)): (usize, (Option<Value>, Vec<u32>))| {
            let operations = self.history.operations();
            let mut model = model.clone();
            let verdict = encode(operations, &indexes, &mut model).map(|calls| {
                let mut meter = Meter::new(self.budget, &account);
                let key = Key { operations, model, calls, with_order: self.orders.is_some() };
                judge(key, self.methods, &mut meter).unwrap_or_else(KeyVerdict::Unknown)
            });
            if let (Some(orders), Ok(KeyVerdict::Valid(_, Some(order)))) = (self.orders, &verdict) {
                let linearization = Linearization { key: key.clone(), order: order.clone() };
                orders.lock().unwrap_or_else(PoisonError::into_inner).push((place, linearization));
            }
            (key, verdict)
        };
        // Threads would take longer to start than a single key to judge.
        let judged: Vec<(Option<Value>, Result<KeyVerdict, ModelError>)> = if keys.len() == 1 {
            keys.into_iter().enumerate().map(judge_one).collect()
        } else {
            keys.into_par_iter().enumerate().map(judge_one).collect()
        };
        combine(self.history, judged)
    }
}

/// One key, ready to be judged.
struct Key<'a, M: Model> {
    operations: &'a [Operation],
    model: M,
    calls: Vec<Call<M::Op>>,
    with_order: bool,
}

type JudgeKey<M> = fn(Key<'_, M>, &[Method], &mut Meter<'_>) -> Result<KeyVerdict, Exhausted>;

/// What became of one key.
enum KeyVerdict {
    /// Decided how, and the operations in order if that was asked for.
    Valid(Method, Option<Vec<u32>>),
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

/// A register: by its unique values, else by search.
fn judge_register(
    key: Key<'_, models::Register>,
    methods: &[Method],
    meter: &mut Meter<'_>,
) -> Result<KeyVerdict, Exhausted> {
    if methods.contains(&Method::UniqueValues) {
        meter.step()?;
        let Key { operations, ref model, ref calls, with_order, .. } = key;
        match unique::judge(calls, model.values(), model.initial_number(), with_order) {
            Answer::Valid(order) => {
                let order = order.map(|order| sources(calls, &order));
                return Ok(KeyVerdict::Valid(Method::UniqueValues, order));
            }
            Answer::Violation(evidence) => {
                let violation = counterexample::of_evidence(operations, calls, &evidence, model);
                return Ok(KeyVerdict::Violation(Box::new(violation)));
            }
            Answer::Undecided => {}
        }
    }
    if methods.contains(&Method::Search)
        && key.calls.iter().any(|call| !call.required)
        && key.calls.iter().any(|call| matches!(call.op, RegisterOp::NotEqual(_)))
    {
        // Most histories need no helpers, and with all of them many calls stay open to the end.
        for helpers in [Helpers::LeftOut, Helpers::Unseen] {
            let mut calls = key.calls.clone();
            models::Register::refine_for(&mut calls, key.model.initial_number(), helpers);
            let options = Options::decide(key.with_order);
            if let Found::Valid(order) = search(&key.model, &calls, options, meter)? {
                let order = order.map(|order| sources(&calls, &order));
                return Ok(KeyVerdict::Valid(Method::Search, order));
            }
        }
    }
    search_key(key, methods, &Reduction::values(), meter)
}

fn judge_by_search<M: Model>(
    key: Key<'_, M>,
    methods: &[Method],
    meter: &mut Meter<'_>,
) -> Result<KeyVerdict, Exhausted> {
    search_key(key, methods, &Reduction::none(), meter)
}

/// How many placements the search for an explanation may take where the decision took foresight.
const EXPLAIN_STEPS_MAX: u64 = 5_000_000;

fn search_key<M: Model>(
    key: Key<'_, M>,
    methods: &[Method],
    reduction: &Reduction<M::Op>,
    meter: &mut Meter<'_>,
) -> Result<KeyVerdict, Exhausted> {
    if !methods.contains(&Method::Search) {
        return Err(Exhausted::Methods);
    }
    let Key { operations, model: unrefined, calls: all, with_order } = key;
    let (mut model, mut calls) = (unrefined.clone(), all.clone());
    model.refine(&mut calls);
    let options = Options::decide(with_order);
    let mut stuck = match search(&model, &calls, options, meter)? {
        Found::Valid(order) => {
            let order = order.map(|order| sources(&calls, &order));
            return Ok(KeyVerdict::Valid(Method::Search, order));
        }
        Found::Stuck(stuck) => stuck,
    };
    if stuck.foresaw {
        stuck = match search(&model, &calls, Options::explain(EXPLAIN_STEPS_MAX), meter) {
            Ok(Found::Stuck(stuck)) => stuck,
            Ok(Found::Valid(_)) => panic!("foresight refused a history that has a linearization"),
            Err(_) => {
                let violation = counterexample::of_all(operations, &all);
                return Ok(KeyVerdict::Violation(Box::new(violation)));
            }
        };
    }
    // Refining may have left calls out, so the place of the last one is looked up.
    let culprit = calls[stuck.call as usize].source;
    stuck.call = all.iter().position(|call| call.source == culprit).map_or(0, |at| at as u32);
    let (kept, stuck) = minimize(&unrefined, &all, stuck, reduction, meter);
    let violation = counterexample::of_stuck(operations, &all, &kept, &stuck);
    Ok(KeyVerdict::Violation(Box::new(violation)))
}

/// The operations of calls.
fn sources<Op>(calls: &[Call<Op>], order: &[u32]) -> Vec<u32> {
    order.iter().map(|&call| calls[call as usize].source).collect()
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
            Ok(KeyVerdict::Valid(method, _)) => *stats.methods.entry(method).or_default() += 1,
            Ok(KeyVerdict::Violation(mut found)) => {
                *stats.methods.entry(found.method).or_default() += 1;
                found.key = key;
                violation = Some(match violation {
                    Some(known) => first_of(known, found),
                    None => found,
                });
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

/// Of two violations the one that shows first.
pub(crate) fn first_of(one: Box<Violation>, two: Box<Violation>) -> Box<Violation> {
    if two.cut.line < one.cut.line { two } else { one }
}
