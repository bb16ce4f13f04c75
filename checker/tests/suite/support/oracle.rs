//! The oracle: tries every order.
//!
//! It shares no code with the crate but the history types: values are compared as they are, states
//! are plain lists, and nothing is remembered between orders.

use checker::history::{Failure, Operation, Outcome};
use checker::model::{ModelKind, ModelSpec};
use checker::value::Value;

/// Whether some order explains the operations of every key.
pub fn linearizable(operations: &[Operation], spec: &ModelSpec) -> bool {
    linearizable_until(operations, spec, u32::MAX)
}

/// Whether some order explains the operations of every key that completed up to a position; those
/// that completed later may take part.
pub fn linearizable_until(operations: &[Operation], spec: &ModelSpec, cut: u32) -> bool {
    if spec.kind == ModelKind::MultiRegister {
        return key_linearizable(&operations.iter().collect::<Vec<_>>(), spec, cut);
    }
    let mut keys: Vec<&Option<Value>> = operations.iter().map(|op| &op.key).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().all(|key| {
        let of_key: Vec<&Operation> = operations.iter().filter(|op| &op.key == key).collect();
        key_linearizable(&of_key, spec, cut)
    })
}

fn key_linearizable(operations: &[&Operation], spec: &ModelSpec, cut: u32) -> bool {
    let mut left: Vec<bool> = vec![true; operations.len()];
    explore(operations, &mut left, &initial(spec), spec.kind, cut)
}

/// Whether what is left can take effect, in some order, from `state`.
fn explore(
    operations: &[&Operation],
    left: &mut [bool],
    state: &[Value],
    kind: ModelKind,
    cut: u32,
) -> bool {
    let must = |op: &Operation| {
        op.outcome != Outcome::Unknown && op.completed.is_some_and(|point| point.position <= cut)
    };
    if operations.iter().zip(&*left).all(|(op, left)| !left || !must(op)) {
        return true;
    }
    for next in 0..operations.len() {
        if !left[next] {
            continue;
        }
        // Everything that completed before this was invoked comes first.
        let too_early = operations.iter().zip(&*left).any(|(other, left)| {
            *left
                && must(other)
                && other.completed.unwrap().position < operations[next].invoked.position
        });
        if too_early {
            continue;
        }
        if let Some(after) = apply(state, operations[next], kind) {
            left[next] = false;
            let found = explore(operations, left, &after, kind, cut);
            left[next] = true;
            if found {
                return true;
            }
        }
    }
    false
}

/// A state is a list: one value for registers, counters, strings and locks; all values for a set
/// (sorted), a queue and a log; pairs for several registers.
fn initial(spec: &ModelSpec) -> Vec<Value> {
    let natural = match spec.kind {
        ModelKind::CasRegister => Value::Null,
        ModelKind::KvAppend => "".into(),
        ModelKind::Mutex => false.into(),
        ModelKind::Counter => 0.into(),
        ModelKind::MultiRegister | ModelKind::Set | ModelKind::Queue | ModelKind::Log => {
            Value::list([])
        }
    };
    let init = spec.init.clone().unwrap_or(natural);
    match spec.kind {
        ModelKind::MultiRegister | ModelKind::Set | ModelKind::Queue | ModelKind::Log => {
            init.as_list().unwrap().to_vec()
        }
        _ => vec![init],
    }
}

/// The state after an operation, or `None` where it does not fit.
fn apply(state: &[Value], op: &Operation, kind: ModelKind) -> Option<Vec<Value>> {
    let answer = match &op.outcome {
        Outcome::Ok(value) => Some(value),
        _ => None,
    };
    // An answer that nobody saw agrees with everything.
    let agrees = |value: &Value| answer.is_none_or(|answer| answer == value);
    let same = Some(state.to_vec());
    if let Outcome::Failed(failure) = &op.outcome {
        let fits = match failure {
            Some(Failure::PreconditionFailed) if &*op.f == "cas" => {
                state[0] != op.input.as_list().unwrap()[0]
            }
            Some(Failure::KeyDoesNotExist) if &*op.f == "cas" => state[0] == Value::Null,
            _ => true,
        };
        return if fits { same } else { None };
    }
    let position = |value: &Value| state.iter().position(|item| item == value);
    match (kind, &*op.f) {
        (ModelKind::CasRegister, "read") => {
            if agrees(&state[0]) {
                same
            } else {
                None
            }
        }
        (ModelKind::CasRegister, "write") => Some(vec![op.input.clone()]),
        (ModelKind::CasRegister, "cas") => {
            let pair = op.input.as_list().unwrap();
            (pair[0] == state[0]).then(|| vec![pair[1].clone()])
        }
        (ModelKind::MultiRegister, "txn") => transaction(state, op, answer),
        (ModelKind::KvAppend, "get") => {
            if agrees(&state[0]) {
                same
            } else {
                None
            }
        }
        (ModelKind::KvAppend, "put") => Some(vec![op.input.clone()]),
        (ModelKind::KvAppend, "append") => {
            let whole = format!("{}{}", state[0].as_text().unwrap(), op.input.as_text().unwrap());
            Some(vec![Value::text(&whole)])
        }
        (ModelKind::Mutex, "acquire") => (state[0] == false.into()).then(|| vec![true.into()]),
        (ModelKind::Mutex, "release") => (state[0] == true.into()).then(|| vec![false.into()]),
        (ModelKind::Set, "add") => {
            let mut after = state.to_vec();
            if position(&op.input).is_none() {
                after.push(op.input.clone());
                after.sort();
            }
            Some(after)
        }
        (ModelKind::Set, "remove") => {
            let there = position(&op.input);
            let mut after = state.to_vec();
            if let Some(place) = there {
                after.remove(place);
            }
            agrees(&there.is_some().into()).then_some(after)
        }
        (ModelKind::Set, "contains") => {
            if agrees(&position(&op.input).is_some().into()) {
                same
            } else {
                None
            }
        }
        (ModelKind::Set, "read") => {
            let mut seen =
                answer.map_or_else(|| state.to_vec(), |list| list.as_list().unwrap().to_vec());
            seen.sort();
            if seen == state { same } else { None }
        }
        (ModelKind::Counter, "add") => {
            Some(vec![(state[0].as_int().unwrap() + op.input.as_int().unwrap()).into()])
        }
        (ModelKind::Counter, "read") => {
            if agrees(&state[0]) {
                same
            } else {
                None
            }
        }
        (ModelKind::Queue, "enqueue") | (ModelKind::Log, "append") => {
            let index = Value::Int(state.len() as i64);
            let told =
                kind == ModelKind::Log && answer.is_some_and(|answer| *answer != Value::Null);
            if told && !agrees(&index) {
                return None;
            }
            let mut after = state.to_vec();
            after.push(op.input.clone());
            Some(after)
        }
        (ModelKind::Queue, "dequeue") => match state.split_first() {
            None => {
                if agrees(&Value::Null) {
                    same
                } else {
                    None
                }
            }
            Some((first, rest)) => agrees(first).then(|| rest.to_vec()),
        },
        (ModelKind::Log, "read") => {
            if agrees(&Value::list(state.to_vec())) {
                same
            } else {
                None
            }
        }
        (kind, f) => panic!("the oracle knows no {f} of {kind}"),
    }
}

fn transaction(state: &[Value], op: &Operation, answer: Option<&Value>) -> Option<Vec<Value>> {
    let mut pairs: Vec<(Value, Value)> = state
        .iter()
        .map(|pair| (pair.as_list().unwrap()[0].clone(), pair.as_list().unwrap()[1].clone()))
        .collect();
    for (place, step) in op.input.as_list().unwrap().iter().enumerate() {
        let step = step.as_list().unwrap();
        let found = pairs.iter().position(|(register, _)| *register == step[1]);
        if step[0] == "write".into() {
            match found {
                Some(found) => pairs[found].1 = step[2].clone(),
                None => pairs.push((step[1].clone(), step[2].clone())),
            }
        } else if let Some(answer) = answer {
            let seen = &answer.as_list().unwrap()[place].as_list().unwrap()[2];
            let now = found.map_or(Value::Null, |found| pairs[found].1.clone());
            if *seen != now {
                return None;
            }
        }
    }
    Some(pairs.into_iter().map(|(register, value)| Value::list([register, value])).collect())
}
