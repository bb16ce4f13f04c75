//! `set`: `add`, `remove` (was it there?), `contains` and `read` of the whole.

use std::sync::Arc;

use super::shape::{Interner, unknown_operation, wrong_answer};
use crate::history::{Operation, Outcome};
use crate::model::{Effect, Model, ModelError};
use crate::value::Value;

/// The set of one key; values are numbered, a state has a bit for each.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    values: Interner,
    initial: Vec<u32>,
}

/// One operation with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SetOp {
    Add(u32),
    /// It found the value there, or not.
    Remove(u32, bool),
    /// A removal that nobody saw the answer of.
    RemoveUnseen(u32),
    Contains(u32, bool),
    /// Sorted. `None` is an answer that no set can give, as it names a value twice.
    Read(Option<Arc<[u32]>>),
}

impl Set {
    pub(crate) fn new(init: Option<&Value>) -> Result<Set, ModelError> {
        let mut values = Interner::default();
        let initial = match init {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::List(items)) => items.iter().map(|item| values.number(item)).collect(),
            Some(other) => {
                return Err(ModelError::WrongInit {
                    model: "set",
                    found: other.clone(),
                    expected: "it is a list of the values in it",
                });
            }
        };
        Ok(Set { values, initial })
    }
}

fn has(state: &[u64], value: u32) -> bool {
    state[value as usize / 64] >> (value % 64) & 1 == 1
}

fn with(state: &Arc<[u64]>, value: u32, there: bool) -> Arc<[u64]> {
    if has(state, value) == there {
        return state.clone();
    }
    let mut changed: Arc<[u64]> = state[..].into();
    if let Some(words) = Arc::get_mut(&mut changed) {
        words[value as usize / 64] ^= 1 << (value % 64);
    }
    changed
}

impl Model for Set {
    type State = Arc<[u64]>;
    type Op = SetOp;

    fn name(&self) -> &'static str {
        "set"
    }

    fn initial(&self) -> Arc<[u64]> {
        let mut words = vec![0_u64; self.values.len().div_ceil(64)];
        for &value in &self.initial {
            words[value as usize / 64] |= 1 << (value % 64);
        }
        words.into()
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<SetOp>, ModelError> {
        let truth = |value: &Value, expected: &'static str| match value {
            Value::Bool(truth) => Ok(*truth),
            other => Err(wrong_answer(operation, other, expected)),
        };
        Ok(match (&*operation.f, &operation.outcome) {
            ("add" | "remove" | "contains" | "read", Outcome::Failed(_))
            | ("contains" | "read", Outcome::Unknown) => None,
            ("add", _) => Some(SetOp::Add(self.values.number(&operation.input))),
            ("remove", Outcome::Unknown) => {
                Some(SetOp::RemoveUnseen(self.values.number(&operation.input)))
            }
            ("remove", Outcome::Ok(value)) => {
                let there = truth(value, "a remove answers whether the value was there")?;
                Some(SetOp::Remove(self.values.number(&operation.input), there))
            }
            ("contains", Outcome::Ok(value)) => {
                let there = truth(value, "a contains answers true or false")?;
                Some(SetOp::Contains(self.values.number(&operation.input), there))
            }
            ("read", Outcome::Ok(value)) => {
                let items = value
                    .as_list()
                    .ok_or_else(|| wrong_answer(operation, value, "a read answers a list"))?;
                let mut numbers: Vec<u32> =
                    items.iter().map(|item| self.values.number(item)).collect();
                numbers.sort_unstable();
                let twice = numbers.windows(2).any(|pair| pair[0] == pair[1]);
                Some(SetOp::Read((!twice).then(|| numbers.into())))
            }
            _ => {
                let known = "add, remove, contains, read";
                return Err(unknown_operation(operation, self.name(), known));
            }
        })
    }

    fn step(&self, state: &Arc<[u64]>, op: &SetOp) -> Option<Arc<[u64]>> {
        match op {
            SetOp::Add(value) => Some(with(state, *value, true)),
            SetOp::Remove(value, there) => {
                (has(state, *value) == *there).then(|| with(state, *value, false))
            }
            SetOp::RemoveUnseen(value) => Some(with(state, *value, false)),
            SetOp::Contains(value, there) => (has(state, *value) == *there).then(|| state.clone()),
            SetOp::Read(None) => None,
            SetOp::Read(Some(items)) => {
                let size: u32 = state.iter().map(|word| word.count_ones()).sum();
                (size as usize == items.len() && items.iter().all(|&item| has(state, item)))
                    .then(|| state.clone())
            }
        }
    }

    fn effect(&self, op: &SetOp) -> Effect {
        match op {
            SetOp::Add(_) | SetOp::RemoveUnseen(_) => Effect::Blind,
            SetOp::Remove(_, true) => Effect::Conditional,
            // A removal that found nothing changed nothing.
            SetOp::Remove(_, false) | SetOp::Contains(..) | SetOp::Read(_) => Effect::Observe,
        }
    }

    fn some_commute(&self) -> bool {
        true
    }

    fn commutes(&self, one: &SetOp, other: &SetOp) -> bool {
        let about = |op: &SetOp| match op {
            SetOp::Add(value)
            | SetOp::Remove(value, _)
            | SetOp::RemoveUnseen(value)
            | SetOp::Contains(value, _) => Some(*value),
            SetOp::Read(_) => None,
        };
        if self.effect(one) == Effect::Observe && self.effect(other) == Effect::Observe {
            return true;
        }
        match (about(one), about(other)) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        }
    }

    fn describe(&self, state: &Arc<[u64]>) -> String {
        const ITEMS_SHOWN: usize = 8;
        let there = (0..self.values.len() as u32).filter(|&value| has(state, value));
        let mut text = "{".to_owned();
        for (place, item) in there.enumerate() {
            if place > 0 {
                text.push(',');
            }
            if place == ITEMS_SHOWN {
                text.push('…');
                break;
            }
            text.push_str(
                &self.values.value(item).map_or(String::new(), |value| value.to_string()),
            );
        }
        text.push('}');
        text
    }
}
