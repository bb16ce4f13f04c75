//! `log`: `append` puts a value at the end and may tell its index; `read` tells the whole list.

use std::sync::Arc;

use super::chain::{Chain, hash_of};
use super::shape::{Interner, unknown_operation, wrong_answer};
use crate::history::{Operation, Outcome};
use crate::model::{Call, Effect, Model, ModelError};
use crate::value::Value;

/// The log of one key; values are numbered.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    values: Interner,
    initial: Vec<u32>,
    /// The list that the read invoked last saw, and where it was invoked: whatever the log holds
    /// before that is a beginning of it.
    last_read: Option<(u32, Arc<[u32]>)>,
}

/// One operation with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LogOp {
    /// At an index, or anywhere.
    Append(u32, Option<i64>),
    Read(Arc<[u32]>, u64),
}

impl Log {
    pub(crate) fn new(init: Option<&Value>) -> Result<Log, ModelError> {
        let mut values = Interner::default();
        let initial = match init {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::List(items)) => items.iter().map(|item| values.number(item)).collect(),
            Some(other) => {
                return Err(ModelError::WrongInit {
                    model: "log",
                    found: other.clone(),
                    expected: "it is a list",
                });
            }
        };
        Ok(Log { values, initial, last_read: None })
    }
}

impl Model for Log {
    type State = Chain;
    type Op = LogOp;

    fn name(&self) -> &'static str {
        "log"
    }

    fn initial(&self) -> Chain {
        Chain::of(&self.initial)
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<LogOp>, ModelError> {
        match (&*operation.f, &operation.outcome) {
            ("append" | "read", Outcome::Failed(_)) | ("read", Outcome::Unknown) => Ok(None),
            ("append", outcome) => {
                let index = match outcome {
                    Outcome::Ok(Value::Int(index)) => Some(*index),
                    Outcome::Ok(value) if *value != Value::Null && *value != operation.input => {
                        let expected = "an append answers an index or null";
                        return Err(wrong_answer(operation, value, expected));
                    }
                    _ => None,
                };
                Ok(Some(LogOp::Append(self.values.number(&operation.input), index)))
            }
            ("read", Outcome::Ok(value)) => {
                let items = value
                    .as_list()
                    .ok_or_else(|| wrong_answer(operation, value, "a read answers a list"))?;
                let items: Arc<[u32]> = items.iter().map(|item| self.values.number(item)).collect();
                let hash = hash_of(&items);
                Ok(Some(LogOp::Read(items, hash)))
            }
            _ => Err(unknown_operation(operation, self.name(), "append, read")),
        }
    }

    fn step(&self, state: &Chain, op: &LogOp) -> Option<Chain> {
        match op {
            LogOp::Append(value, index) => match index {
                Some(index) if *index != state.len() as i64 => None,
                _ => Some(state.with(*value)),
            },
            LogOp::Read(items, hash) => state.is(items, *hash).then(|| state.clone()),
        }
    }

    fn effect(&self, op: &LogOp) -> Effect {
        match op {
            LogOp::Append(_, None) => Effect::Blind,
            LogOp::Append(_, Some(_)) => Effect::Conditional,
            LogOp::Read(..) => Effect::Observe,
        }
    }

    fn viable(&self, state: &Chain, position: u32) -> bool {
        match &self.last_read {
            // A state was viable before its last item was added, so that one alone is compared.
            Some((invoked, items)) if position < *invoked => match state.backwards().next() {
                Some(item) => items.get(state.len() - 1) == Some(&item),
                None => true,
            },
            _ => true,
        }
    }

    fn refine(&mut self, calls: &mut Vec<Call<LogOp>>) {
        self.last_read = calls.iter().rev().find_map(|call| match &call.op {
            LogOp::Read(items, _) => Some((call.invoked, items.clone())),
            LogOp::Append(..) => None,
        });
    }

    fn describe(&self, state: &Chain) -> String {
        const ITEMS_SHOWN: usize = 8;
        let last: Vec<u32> = state.backwards().take(ITEMS_SHOWN).collect();
        let mut text = if state.len() > last.len() {
            format!("[… {} more", state.len() - last.len())
        } else {
            "[".to_owned()
        };
        for item in last.iter().rev() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(
                &self.values.value(*item).map_or(String::new(), |value| value.to_string()),
            );
        }
        text.push(']');
        text
    }
}
