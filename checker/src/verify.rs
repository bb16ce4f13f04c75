//! An independent second opinion, small enough to be read at one sitting.
//!
//! It shares nothing with the checker but the types of histories: operations are replayed one by
//! one on plain values. [`verify_linearization`] replays an order that a check gave;
//! [`verify_violation`] checks that a counterexample is a part of the history from which nothing
//! was left out that could have explained it, and then tries every order. Where there are too
//! many orders to try, it says so.

use std::collections::{HashMap, HashSet};

use crate::history::{Failure, History, Operation, Outcome};
use crate::model::{ModelKind, ModelSpec};
use crate::value::Value;
use crate::verdict::{Linearization, Violation};

/// What the second opinion on a counterexample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It shows a violation.
    Confirmed,
    /// It is a sound part of the history, but there were too many orders to try.
    TooWide,
}

/// Why the second opinion differs. Each is a bug in the checker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// The order names an operation twice, or one that is not in the history.
    #[error("the order has no place for operation {0}, or two")]
    NotOnce(u32),
    /// An operation that happened is missing.
    #[error("{0} happened, but the order leaves it out")]
    LeftOut(String),
    /// Two operations stand against real time.
    #[error("{0} stands too late in the order: it had completed before an earlier one began")]
    TooLate(String),
    /// An answer does not fit.
    #[error("{0} does not fit the state that the order puts it in")]
    DoesNotFit(String),
    /// The counterexample is not a part of the history.
    #[error("{0} is in the counterexample, but not in the history")]
    Foreign(String),
    /// Something that may have played a part is missing from the counterexample.
    #[error("{0} may have played a part, but the counterexample leaves it out")]
    MayMatter(String),
    /// The counterexample can be ordered after all.
    #[error("the counterexample has a linearization")]
    Linearizable,
}

/// Replays the linearizations of all keys.
///
/// # Errors
///
/// When an order is not a linearization, or a key has none.
pub fn verify_linearization(
    history: &History,
    spec: &ModelSpec,
    orders: &[Linearization],
) -> Result<(), Mistrust> {
    let operations = history.operations();
    let mut placed = vec![false; operations.len()];
    for Linearization { order, .. } in orders {
        let mut state = initial(spec);
        let mut begun_last = 0;
        for &index in order {
            let fresh = placed.get_mut(index as usize).filter(|placed| !**placed);
            *fresh.ok_or(Mistrust::NotOnce(index))? = true;
            let operation = &operations[index as usize];
            let done = operation.completed.filter(|_| operation.outcome != Outcome::Unknown);
            if done.is_some_and(|point| point.position < begun_last) {
                return Err(Mistrust::TooLate(operation.to_string()));
            }
            begun_last = begun_last.max(operation.invoked.position);
            state = apply(&state, operation, spec.kind)
                .ok_or_else(|| Mistrust::DoesNotFit(operation.to_string()))?;
        }
        let key = order.first().map(|&index| &operations[index as usize].key);
        let split = spec.kind != ModelKind::MultiRegister;
        if order.iter().any(|&index| split && Some(&operations[index as usize].key) != key) {
            return Err(Mistrust::NotOnce(order[0]));
        }
    }
    match operations.iter().zip(placed).find(|(operation, placed)| !placed && says(operation)) {
        Some((operation, _)) => Err(Mistrust::LeftOut(operation.to_string())),
        None => Ok(()),
    }
}

/// Checks a counterexample.
///
/// # Errors
///
/// When it does not show what it claims.
pub fn verify_violation(
    history: &History,
    spec: &ModelSpec,
    violation: &Violation,
) -> Result<Opinion, Mistrust> {
    let chosen: HashMap<u32, &Operation> =
        violation.operations.iter().map(|op| (op.invoked.position, op)).collect();
    let known: HashMap<u32, &Operation> =
        history.operations().iter().map(|op| (op.invoked.position, op)).collect();
    for (position, operation) in &chosen {
        if known.get(position) != Some(operation) {
            return Err(Mistrust::Foreign(operation.to_string()));
        }
    }
    // What was left out must not have mattered: it began after the cut, it changes nothing, or
    // (registers) it put a value there that no chosen operation is about. The last kind is stood
    // for by a nameless value that may be put there at any time.
    let register = spec.kind == ModelKind::CasRegister;
    let mut left_out = false;
    let about: HashSet<&Value> = violation.operations.iter().flat_map(values_of).collect();
    for operation in history.operations() {
        let of_key = spec.kind == ModelKind::MultiRegister || operation.key == violation.key;
        let early = operation.invoked.position < violation.cut.position;
        if !of_key || !early || chosen.contains_key(&operation.invoked.position) {
            continue;
        }
        let Some(put) = changes(operation, spec.kind) else { continue };
        if !register || about.contains(put) {
            return Err(Mistrust::MayMatter(operation.to_string()));
        }
        left_out = true;
    }
    let mut attempt = Attempt {
        operations: violation.operations.iter().filter(|op| says_anything(op)).collect(),
        kind: spec.kind,
        cut: violation.cut.position,
        nameless: left_out,
        seen: HashSet::new(),
        steps_left: STEPS_MAX,
    };
    let left = vec![true; attempt.operations.len()];
    match attempt.explains(left, initial(spec)) {
        Some(true) => Err(Mistrust::Linearizable),
        Some(false) => Ok(Opinion::Confirmed),
        None => Ok(Opinion::TooWide),
    }
}

/// How many placements are tried before a counterexample counts as too wide.
const STEPS_MAX: u32 = 400_000;

/// Stands for every value that the counterexample is not about; no file holds such text.
fn nameless() -> Value {
    Value::Other("\0".into())
}

struct Attempt<'a> {
    operations: Vec<&'a Operation>,
    kind: ModelKind,
    cut: u32,
    nameless: bool,
    seen: HashSet<(Vec<bool>, Vec<Value>)>,
    steps_left: u32,
}

impl Attempt<'_> {
    fn must(&self, operation: &Operation) -> bool {
        says(operation) && operation.completed.is_some_and(|point| point.position <= self.cut)
    }

    /// Whether what is left can take effect in some order. `None` if there are too many.
    fn explains(&mut self, left: Vec<bool>, state: Vec<Value>) -> Option<bool> {
        let mut stack = vec![(left, state)];
        while let Some((left, state)) = stack.pop() {
            if !self.seen.insert((left.clone(), state.clone())) {
                continue;
            }
            self.steps_left = self.steps_left.checked_sub(1)?;
            let waiting = || self.operations.iter().zip(&left).filter(|(_, left)| **left);
            if !waiting().any(|(operation, _)| self.must(operation)) {
                return Some(true);
            }
            let first_done = waiting()
                .filter(|(operation, _)| self.must(operation))
                .filter_map(|(operation, _)| operation.completed)
                .min()?;
            for (place, operation) in self.operations.iter().enumerate() {
                let in_time = operation.invoked.position < first_done.position;
                if let (true, true, Some(after)) =
                    (left[place], in_time, apply(&state, operation, self.kind))
                {
                    let mut left = left.clone();
                    left[place] = false;
                    stack.push((left, after));
                }
            }
            if self.nameless {
                stack.push((left, vec![nameless()]));
            }
        }
        Some(false)
    }
}

/// Whether an operation certainly took part: it happened, or failed in a way that tells.
fn says(operation: &Operation) -> bool {
    match &operation.outcome {
        Outcome::Ok(_) => true,
        Outcome::Failed(failure) => failure.is_some() && &*operation.f == "cas",
        Outcome::Unknown => false,
    }
}

fn says_anything(operation: &Operation) -> bool {
    says(operation) || operation.outcome == Outcome::Unknown
}

/// What an operation puts there, if it may change the state.
fn changes(operation: &Operation, kind: ModelKind) -> Option<&Value> {
    let observes = matches!(&*operation.f, "read" | "get" | "contains");
    if observes || matches!(operation.outcome, Outcome::Failed(_)) {
        return None;
    }
    let answer = match &operation.outcome {
        Outcome::Ok(value) => Some(value),
        _ => None,
    };
    let idle = match (kind, &*operation.f) {
        (ModelKind::Counter, "add") => operation.input == Value::Int(0),
        (ModelKind::KvAppend, "append") => operation.input == Value::text(""),
        (ModelKind::Set, "remove") => answer == Some(&Value::Bool(false)),
        (ModelKind::Queue, "dequeue") => answer == Some(&Value::Null),
        _ => false,
    };
    if idle {
        return None;
    }
    if kind == ModelKind::CasRegister && &*operation.f == "cas" {
        let [expected, new] = operation.input.as_list()? else { return None };
        return (expected != new).then_some(new);
    }
    if kind == ModelKind::MultiRegister {
        let steps = operation.input.as_list()?;
        let writes = steps.iter().any(|step| {
            step.as_list().is_some_and(|step| matches!(step[0].as_text(), Some("write" | "w")))
        });
        return writes.then_some(&operation.input);
    }
    Some(&operation.input)
}

/// The values that an operation on a register is about.
fn values_of(operation: &Operation) -> Vec<&Value> {
    match (&*operation.f, &operation.outcome) {
        ("read", Outcome::Ok(value)) => vec![value],
        ("write", _) => vec![&operation.input],
        ("cas", Outcome::Failed(Some(Failure::KeyDoesNotExist))) => vec![&Value::Null],
        ("cas", Outcome::Failed(None)) => vec![],
        ("cas", Outcome::Failed(Some(Failure::PreconditionFailed))) => {
            operation.input.as_list().unwrap_or_default().iter().take(1).collect()
        }
        ("cas", _) => operation.input.as_list().unwrap_or_default().iter().collect(),
        _ => vec![],
    }
}

/// States are lists: of one value, of pairs, or of all values there are.
fn initial(spec: &ModelSpec) -> Vec<Value> {
    let one = |natural: Value| vec![spec.init.clone().unwrap_or(natural)];
    match spec.kind {
        ModelKind::CasRegister => one(Value::Null),
        ModelKind::KvAppend => one("".into()),
        ModelKind::Counter => one(0.into()),
        ModelKind::Mutex => match &spec.init {
            Some(Value::Bool(true)) => vec![true.into()],
            Some(Value::Text(word)) if &**word == "held" => vec![true.into()],
            _ => vec![false.into()],
        },
        ModelKind::MultiRegister => match &spec.init {
            Some(Value::Other(json)) => crate::models::object_entries(json)
                .unwrap_or_default()
                .into_iter()
                .map(|(register, value)| Value::list([register, value]))
                .collect(),
            init => init.as_ref().and_then(Value::as_list).unwrap_or_default().to_vec(),
        },
        ModelKind::Set | ModelKind::Queue | ModelKind::Log => {
            spec.init.as_ref().and_then(Value::as_list).unwrap_or_default().to_vec()
        }
    }
}

/// The state after an operation, or `None` where its answer does not fit.
fn apply(state: &[Value], operation: &Operation, kind: ModelKind) -> Option<Vec<Value>> {
    let input = &operation.input;
    let same = |fits: bool| fits.then(|| state.to_vec());
    let answer = match &operation.outcome {
        Outcome::Ok(value) => Some(value),
        Outcome::Unknown => None,
        Outcome::Failed(Some(Failure::PreconditionFailed)) => {
            return same(input.as_list()?.first()? != &state[0]);
        }
        Outcome::Failed(Some(Failure::KeyDoesNotExist)) => return same(state[0] == Value::Null),
        Outcome::Failed(None) => return None,
    };
    let fits = |value: &Value| answer.is_none_or(|answer| answer == value);
    let place = state.iter().position(|item| item == input);
    match (kind, &*operation.f) {
        (ModelKind::Set, "read") => {
            let sorted = |list: &[Value]| {
                let mut list = list.to_vec();
                list.sort();
                list
            };
            same(answer.is_none_or(|answer| {
                answer.as_list().is_some_and(|seen| sorted(seen) == sorted(state))
            }))
        }
        (ModelKind::Log, "read") => same(fits(&Value::list(state.to_vec()))),
        (ModelKind::KvAppend, "get") if answer == Some(&Value::Null) => same(state[0] == "".into()),
        (_, "read" | "get") => same(fits(&state[0])),
        (_, "write" | "put") => Some(vec![input.clone()]),
        (_, "cas") => {
            let [expected, new] = input.as_list()? else { return None };
            (*expected == state[0]).then(|| vec![new.clone()])
        }
        (ModelKind::KvAppend, "append") => {
            let whole = format!("{}{}", state[0].as_text()?, input.as_text()?);
            Some(vec![Value::text(&whole)])
        }
        (_, "acquire") => (state[0] == false.into()).then(|| vec![true.into()]),
        (_, "release") => (state[0] == true.into()).then(|| vec![false.into()]),
        (ModelKind::Counter, "add") => {
            Some(vec![Value::Int(state[0].as_int()?.checked_add(input.as_int()?)?)])
        }
        (ModelKind::Set, "add") if place.is_some() => same(true),
        (ModelKind::Set, "contains") => same(fits(&place.is_some().into())),
        (ModelKind::Set, "remove") => fits(&place.is_some().into()).then(|| {
            let mut after = state.to_vec();
            place.map(|place| after.remove(place));
            after
        }),
        (ModelKind::Log, "append")
            if matches!(answer, Some(Value::Int(_)))
                && !fits(&Value::Int(i64::try_from(state.len()).ok()?)) =>
        {
            None
        }
        (_, "add" | "enqueue" | "append") => Some([state, std::slice::from_ref(input)].concat()),
        (_, "dequeue") => match state.split_first() {
            None => same(fits(&Value::Null)),
            Some((first, rest)) => fits(first).then(|| rest.to_vec()),
        },
        (_, "txn") => transact(state, input.as_list()?, answer),
        _ => None,
    }
}

fn transact(state: &[Value], steps: &[Value], answer: Option<&Value>) -> Option<Vec<Value>> {
    let mut after = state.to_vec();
    for (place, step) in steps.iter().enumerate() {
        let [kind, register, value] = step.as_list()? else { return None };
        let of_register = |pair: &Value| pair.as_list().is_some_and(|pair| pair[0] == *register);
        let found = after.iter().position(of_register);
        if matches!(kind.as_text(), Some("write" | "w")) {
            let pair = Value::list([register.clone(), value.clone()]);
            match found {
                Some(found) => after[found] = pair,
                None => after.push(pair),
            }
        } else if let Some(answer) = answer {
            let seen = answer.as_list()?.get(place)?.as_list()?.get(2)?;
            let now = match found {
                Some(found) => after[found].as_list()?[1].clone(),
                None => Value::Null,
            };
            if *seen != now {
                return None;
            }
        }
    }
    // The order in which registers were first written tells nothing.
    after.sort();
    Some(after)
}
