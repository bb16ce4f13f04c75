//! `counter`: `add` changes it, `read` tells it.

use super::shape::{unknown_operation, wrong_answer, wrong_input};
use crate::history::{Operation, Outcome};
use crate::model::{Effect, Model, ModelError};
use crate::value::Value;

/// The counter of one key. Sums are taken in 128 bits, which no history can overflow.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    initial: i128,
}

/// One operation with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CounterOp {
    Add(i64),
    Read(i64),
}

impl Counter {
    pub(crate) fn new(init: Option<&Value>) -> Result<Counter, ModelError> {
        match init {
            None => Ok(Counter { initial: 0 }),
            Some(Value::Int(number)) => Ok(Counter { initial: i128::from(*number) }),
            Some(other) => Err(ModelError::WrongInit {
                model: "counter",
                found: other.clone(),
                expected: "it is an integer",
            }),
        }
    }
}

impl Model for Counter {
    type State = i128;
    type Op = CounterOp;

    fn name(&self) -> &'static str {
        "counter"
    }

    fn initial(&self) -> i128 {
        self.initial
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<CounterOp>, ModelError> {
        match (&*operation.f, &operation.outcome) {
            ("add" | "read", Outcome::Failed(_)) | ("read", Outcome::Unknown) => Ok(None),
            ("add", Outcome::Ok(_) | Outcome::Unknown) => {
                let expected = "a counter is given an integer";
                let number =
                    operation.input.as_int().ok_or_else(|| wrong_input(operation, expected))?;
                Ok(Some(CounterOp::Add(number)))
            }
            ("read", Outcome::Ok(value)) => {
                let expected = "a counter holds an integer";
                let number =
                    value.as_int().ok_or_else(|| wrong_answer(operation, value, expected))?;
                Ok(Some(CounterOp::Read(number)))
            }
            _ => Err(unknown_operation(operation, self.name(), "add, read")),
        }
    }

    fn step(&self, state: &i128, op: &CounterOp) -> Option<i128> {
        match op {
            CounterOp::Add(number) => Some(state + i128::from(*number)),
            CounterOp::Read(number) => (*state == i128::from(*number)).then_some(*state),
        }
    }

    fn effect(&self, op: &CounterOp) -> Effect {
        match op {
            // Adding nothing changes nothing.
            CounterOp::Read(_) | CounterOp::Add(0) => Effect::Observe,
            CounterOp::Add(_) => Effect::Blind,
        }
    }

    fn some_commute(&self) -> bool {
        true
    }

    fn commutes(&self, one: &CounterOp, other: &CounterOp) -> bool {
        match (one, other) {
            (CounterOp::Add(_), CounterOp::Add(_)) | (CounterOp::Read(_), CounterOp::Read(_)) => {
                true
            }
            (CounterOp::Add(number), CounterOp::Read(_))
            | (CounterOp::Read(_), CounterOp::Add(number)) => *number == 0,
        }
    }

    fn describe(&self, state: &i128) -> String {
        state.to_string()
    }
}
