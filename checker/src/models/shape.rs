//! Reading the values of operations, and saying what is wrong with them.

use rustc_hash::FxHashMap;

use crate::history::Operation;
use crate::model::ModelError;
use crate::value::Value;

pub(super) fn unknown_operation(
    operation: &Operation,
    model: &'static str,
    known: &'static str,
) -> ModelError {
    ModelError::UnknownOperation {
        line: operation.invoked.line,
        model,
        f: operation.f.to_string(),
        known,
    }
}

/// The invocation's value is wrong.
pub(super) fn wrong_input(operation: &Operation, expected: &'static str) -> ModelError {
    ModelError::WrongShape {
        line: operation.invoked.line,
        f: operation.f.to_string(),
        what: "is invoked with",
        found: operation.input.clone(),
        expected,
    }
}

/// The answer is wrong.
pub(super) fn wrong_answer(
    operation: &Operation,
    found: &Value,
    expected: &'static str,
) -> ModelError {
    ModelError::WrongShape {
        line: operation.completed.unwrap_or(operation.invoked).line,
        f: operation.f.to_string(),
        what: "answers",
        found: found.clone(),
        expected,
    }
}

/// Values by small numbers, in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Interner {
    values: Vec<Value>,
    numbers: FxHashMap<Value, u32>,
}

impl Interner {
    pub(super) fn number(&mut self, value: &Value) -> u32 {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        let number = u32::try_from(self.values.len()).expect("fewer values than positions");
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }

    pub(super) fn value(&self, number: u32) -> Option<&Value> {
        self.values.get(number as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}
