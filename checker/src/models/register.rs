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
pub(crate) const UNSEEN: u32 = u32::MAX;

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

/// Calls of unknown outcome that nothing but a failed cas could need, as it must have seen some
/// other value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helpers {
    /// They are left out: there are far fewer open calls, and `valid` is still right, as nothing
    /// says that they happened.
    LeftOut,
    /// Those stay whose value nobody saw, which are all alike; `valid` is still right.
    Unseen,
    /// All stay: what is found is exact.
    Kept,
}

impl Register {
    /// What [`Model::refine`] does, with a choice.
    pub(crate) fn refine_for(calls: &mut Vec<Call<RegisterOp>>, initial: u32, helpers: Helpers) {
        limit_usefulness(calls, helpers);
        merge_unseen(calls, initial);
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
        Register::refine_for(calls, self.initial, Helpers::Kept);
    }

    fn describe(&self, state: &u32) -> String {
        self.value_text(*state)
    }
}

/// Closes calls of unknown outcome after the last observation that could need them.
///
/// Take a linearization in which such a call puts value v in place of u. If nothing between it and
/// the next change agrees with v but not with u, it can be left out. Reads of v and cas from v
/// do agree with v alone; and a failed cas does whose expected value is u, which for a cas of
/// unknown outcome is what that cas expects, and for a write may be anything but v.
fn limit_usefulness(calls: &mut Vec<Call<RegisterOp>>, helpers: Helpers) {
    if calls.iter().all(|call| call.required) {
        return;
    }
    let failed = match helpers {
        Helpers::Unseen | Helpers::Kept => FailedCas::gather(calls),
        Helpers::LeftOut => FailedCas::default(),
    };
    // The last position at which an observation may need each value. Completions count, not
    // invocations, as an observation takes effect at any time before its completion.
    let mut seen_until: FxHashMap<u32, u32> = FxHashMap::default();
    for call in calls.iter().filter(|call| call.required) {
        if let RegisterOp::Read(value) | RegisterOp::Cas(value, _) = call.op {
            let until = seen_until.entry(value).or_default();
            *until = call.until.max(*until);
        }
    }
    let last_need = |seen_until: &FxHashMap<u32, u32>, op: RegisterOp| {
        let (value, failed) = match op {
            RegisterOp::Write(value) => (value, failed.last_on_other_than(value)),
            RegisterOp::Cas(expected, value) => (value, failed.last_on(expected)),
            RegisterOp::Read(_) | RegisterOp::NotEqual(_) => return 0,
        };
        match seen_until.get(&value) {
            Some(&seen) if helpers == Helpers::Unseen => seen,
            Some(&seen) => seen.max(failed),
            None => failed,
        }
    };
    // A cas of unknown outcome needs its expected value for as long as it may be needed itself.
    loop {
        let mut changed = false;
        for call in calls.iter().filter(|call| !call.required) {
            if let RegisterOp::Cas(expected, _) = call.op {
                let need = last_need(&seen_until, call.op);
                let until = seen_until.entry(expected).or_default();
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
        if !call.required {
            call.until = last_need(&seen_until, call.op);
        }
        call.until > call.invoked
    });
}

/// The last completions of failed cas.
#[derive(Default)]
struct FailedCas {
    /// By the value that was not there.
    last: FxHashMap<u32, u32>,
    /// The last of all and its value.
    latest: (u32, u32),
    /// The last on any other value than that one's.
    latest_other: u32,
}

impl FailedCas {
    fn gather(calls: &[Call<RegisterOp>]) -> FailedCas {
        let mut failed = FailedCas::default();
        for call in calls {
            if let RegisterOp::NotEqual(value) = call.op {
                let last = failed.last.entry(value).or_default();
                *last = call.until.max(*last);
            }
        }
        let latest = failed.last.iter().map(|(&value, &until)| (until, value)).max();
        failed.latest = latest.unwrap_or_default();
        let others = failed.last.iter().filter(|(value, _)| **value != failed.latest.1);
        failed.latest_other = others.map(|(_, &until)| until).max().unwrap_or(0);
        failed
    }

    fn last_on(&self, value: u32) -> u32 {
        self.last.get(&value).copied().unwrap_or(0)
    }

    fn last_on_other_than(&self, value: u32) -> u32 {
        if self.latest.1 == value { self.latest_other } else { self.latest.0 }
    }
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
