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
///
/// Histories mostly count their values up from nothing, so small integers go by index and only
/// the rest by hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    /// The number of each small integer, or `NONE`.
    small: Vec<u32>,
    integers: FxHashMap<i64, u32>,
    others: FxHashMap<Value, u32>,
    count: u32,
}

const NONE: u32 = u32::MAX;
/// Integers below this go by index in any case, larger ones if there are about as many values.
const SMALL_ALWAYS: usize = 1 << 12;

impl Interner {
    pub(crate) fn number(&mut self, value: &Value) -> u32 {
        let &Value::Int(integer) = value else {
            if let Some(&number) = self.others.get(value) {
                return number;
            }
            let number = self.next();
            self.others.insert(value.clone(), number);
            return number;
        };
        let index = usize::try_from(integer).unwrap_or(usize::MAX);
        if let Some(&number) = self.small.get(index)
            && number != NONE
        {
            return number;
        }
        if let Some(&number) = self.integers.get(&integer) {
            return number;
        }
        let number = self.next();
        let small_end = SMALL_ALWAYS.max(2 * self.count as usize);
        if index < small_end {
            if self.small.len() <= index {
                self.small.resize(small_end, NONE);
            }
            self.small[index] = number;
        } else {
            self.integers.insert(integer, number);
        }
        number
    }

    fn next(&mut self) -> u32 {
        assert!(self.count < NONE, "there are fewer values than positions");
        self.count += 1;
        self.count - 1
    }

    /// The value with a number. It is searched for, as only messages ask.
    pub(crate) fn value(&self, number: u32) -> Option<Value> {
        let small = self.small.iter().position(|&known| known == number && known != NONE);
        if let Some(integer) = small {
            return Some(Value::Int(integer as i64));
        }
        let integer = self.integers.iter().find(|(_, known)| **known == number);
        if let Some((&integer, _)) = integer {
            return Some(Value::Int(integer));
        }
        self.others.iter().find(|(_, known)| **known == number).map(|(value, _)| value.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_once_wherever_they_are_kept() {
        let mut interner = Interner::default();
        let far = SMALL_ALWAYS as i64 * 2;
        let values: Vec<Value> = [0, 5, -1, far, i64::MAX]
            .map(Value::Int)
            .into_iter()
            .chain([Value::Null, "5".into()])
            .collect();
        for (number, value) in values.iter().enumerate() {
            assert_eq!(interner.number(value), number as u32);
        }
        // The table of small integers grows past one that is kept elsewhere.
        for integer in 0..far {
            interner.number(&Value::Int(integer));
        }
        for (number, value) in values.iter().enumerate() {
            assert_eq!(interner.number(value), number as u32);
            assert_eq!(interner.value(number as u32).as_ref(), Some(value));
        }
        assert_eq!(interner.value(interner.len() as u32), None);
    }
}
