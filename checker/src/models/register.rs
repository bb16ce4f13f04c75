//! `cas-register`: `read`, `write` and `cas` on one value.
//!
//! Absence is the value null: a read answered null observes it, and so does a `cas` that failed
//! because the key does not exist. A `cas` that failed on its precondition observes that the value
//! is not the expected one. Every other failure says nothing.

use rustc_hash::{FxHashMap, FxHashSet};

use super::shape::{Interner, unknown_operation, wrong_input};
use crate::history::{Failure, Operation, Outcome};
use crate::model::{Call, Effect, Model, ModelError};
use crate::value::Value;

/// The register of one key; values are numbered.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    values: Interner,
    initial: u32,
}

/// One operation with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RegisterOp {
    /// It saw this value.
    Read(u32),
    /// It saw some other value.
    NotEqual(u32),
    /// It put this value there.
    Write(u32),
    /// It put the second value where the first one was.
    Cas(u32, u32),
}

/// Stands for all values that no observation names: they cannot be told apart.
const UNSEEN: u32 = u32::MAX;

const CAS_SHAPE: &str = "a cas takes a list of two values: [expected, new]";

impl Register {
    pub(crate) fn new(initial: &Value) -> Register {
        let mut values = Interner::default();
        let initial = values.number(initial);
        Register { values, initial }
    }

    /// The number of the initial value.
    pub(crate) fn initial_number(&self) -> u32 {
        self.initial
    }

    /// How many values have numbers.
    pub(crate) fn values(&self) -> usize {
        self.values.len()
    }

    /// The value with this number, in words.
    pub(crate) fn value_text(&self, number: u32) -> String {
        self.values
            .value(number)
            .map_or_else(|| "a value that nobody observed".to_owned(), |value| value.to_string())
    }
}

impl Model for Register {
    type State = u32;
    type Op = RegisterOp;

    fn name(&self) -> &'static str {
        "cas-register"
    }

    fn initial(&self) -> u32 {
        self.initial
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<RegisterOp>, ModelError> {
        match &*operation.f {
            "read" => Ok(match &operation.outcome {
                Outcome::Ok(value) => Some(RegisterOp::Read(self.values.number(value))),
                Outcome::Failed(_) | Outcome::Unknown => None,
            }),
            "write" => Ok(match &operation.outcome {
                Outcome::Failed(_) => None,
                Outcome::Ok(_) | Outcome::Unknown => {
                    Some(RegisterOp::Write(self.values.number(&operation.input)))
                }
            }),
            "cas" => {
                let Some([expected, new]) = operation.input.as_list() else {
                    return Err(wrong_input(operation, CAS_SHAPE));
                };
                let (expected, new) = match &operation.outcome {
                    Outcome::Failed(None) => return Ok(None),
                    Outcome::Failed(Some(Failure::PreconditionFailed)) => {
                        return Ok(Some(RegisterOp::NotEqual(self.values.number(expected))));
                    }
                    Outcome::Failed(Some(Failure::KeyDoesNotExist)) => {
                        return Ok(Some(RegisterOp::Read(self.values.number(&Value::Null))));
                    }
                    Outcome::Ok(_) | Outcome::Unknown => {
                        (self.values.number(expected), self.values.number(new))
                    }
                };
                Ok(match (expected == new, &operation.outcome) {
                    // Nothing changes, so it is as if it had only been read.
                    (true, Outcome::Ok(_)) => Some(RegisterOp::Read(expected)),
                    (true, _) => None,
                    (false, _) => Some(RegisterOp::Cas(expected, new)),
                })
            }
            _ => Err(unknown_operation(operation, self.name(), "read, write, cas")),
        }
    }

    fn step(&self, state: &u32, op: &RegisterOp) -> Option<u32> {
        match *op {
            RegisterOp::Read(value) => (*state == value).then_some(value),
            RegisterOp::NotEqual(value) => (*state != value).then_some(*state),
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Cas(expected, new) => (*state == expected).then_some(new),
        }
    }

    fn effect(&self, op: &RegisterOp) -> Effect {
        match op {
            RegisterOp::Read(_) | RegisterOp::NotEqual(_) => Effect::Observe,
            RegisterOp::Write(_) => Effect::Overwrite,
            RegisterOp::Cas(..) => Effect::Conditional,
        }
    }

    fn refine(&mut self, calls: &mut Vec<Call<RegisterOp>>) {
        limit_usefulness(calls);
        merge_unseen(calls, self.initial);
    }

    fn describe(&self, state: &u32) -> String {
        self.value_text(*state)
    }
}

/// Closes calls of unknown outcome after the last observation that could need them.
///
/// Take a linearization in which such a call puts value v in place. If nothing after it until the
/// next change agrees with v alone, it can be left out: reads of v and `cas` from v do; and a
/// failed `cas` on w ≠ v may, as it needs a value that is not w.
fn limit_usefulness(calls: &mut Vec<Call<RegisterOp>>) {
    if calls.iter().all(|call| call.required) {
        return;
    }
    // The last position at which an observation may need each value. Closings count, not
    // invocations, as an observation takes effect at any time before its closing.
    let mut needed_until: FxHashMap<u32, u32> = FxHashMap::default();
    // The last failed cas, and the last on another value than that one's.
    let (mut failed_last, mut failed_other) = ((None, 0), 0);
    let mut failed: Vec<(u32, u32)> = Vec::new();
    for call in calls.iter().filter(|call| call.required) {
        match call.op {
            RegisterOp::Read(value) | RegisterOp::Cas(value, _) => {
                let until = needed_until.entry(value).or_default();
                *until = call.until.max(*until);
            }
            RegisterOp::NotEqual(value) => failed.push((call.until, value)),
            RegisterOp::Write(_) => {}
        }
    }
    if let Some(&(until, value)) = failed.iter().max() {
        failed_last = (Some(value), until);
        failed_other = failed
            .iter()
            .filter(|(_, other)| *other != value)
            .map(|(until, _)| *until)
            .max()
            .unwrap_or(0);
    }
    let last_need = |needed: &FxHashMap<u32, u32>, value: u32| {
        let by_failed = if failed_last.0 == Some(value) { failed_other } else { failed_last.1 };
        needed.get(&value).copied().unwrap_or(0).max(by_failed)
    };
    // A cas of unknown outcome needs its expected value for as long as its new one is needed.
    loop {
        let mut changed = false;
        for call in calls.iter().filter(|call| !call.required) {
            if let RegisterOp::Cas(expected, new) = call.op {
                let need = last_need(&needed_until, new);
                let until = needed_until.entry(expected).or_default();
                if need > call.invoked && need > *until {
                    *until = need;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    calls.retain_mut(|call| {
        if let (false, RegisterOp::Write(value) | RegisterOp::Cas(_, value)) =
            (call.required, call.op)
        {
            call.until = last_need(&needed_until, value);
            return call.until > call.invoked;
        }
        true
    });
}

/// Puts one value for all that no call left observes, so that their writes are equal calls.
fn merge_unseen(calls: &mut [Call<RegisterOp>], initial: u32) {
    let mut seen: FxHashSet<u32> = FxHashSet::default();
    seen.insert(initial);
    for call in calls.iter() {
        match call.op {
            RegisterOp::Read(value) | RegisterOp::NotEqual(value) | RegisterOp::Cas(value, _) => {
                seen.insert(value);
            }
            RegisterOp::Write(_) => {}
        }
    }
    for call in calls {
        if let RegisterOp::Write(value) | RegisterOp::Cas(_, value) = &mut call.op
            && !seen.contains(value)
        {
            *value = UNSEEN;
        }
    }
}
