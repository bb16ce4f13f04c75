//! `queue`: `enqueue` puts a value at the end, `dequeue` takes the first or finds none.

use std::sync::Arc;

use super::shape::{Interner, unknown_operation};
use crate::history::{Operation, Outcome};
use crate::model::{Effect, Model, ModelError};
use crate::value::Value;

/// The first-in-first-out queue of one key; values are numbered.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    values: Interner,
    initial: Vec<u32>,
}

/// One operation with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueueOp {
    Enqueue(u32),
    Dequeue(u32),
    /// A dequeue that found nothing.
    Empty,
    /// A dequeue that nobody saw the answer of: it takes the first value, if there is one.
    DequeueUnseen,
}

impl Queue {
    pub(crate) fn new(init: Option<&Value>) -> Result<Queue, ModelError> {
        let mut values = Interner::default();
        let initial = match init {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::List(items)) => items.iter().map(|item| values.number(item)).collect(),
            Some(other) => {
                return Err(ModelError::WrongInit {
                    model: "queue",
                    found: other.clone(),
                    expected: "it is a list, the value that leaves first standing first",
                });
            }
        };
        Ok(Queue { values, initial })
    }
}

impl Model for Queue {
    type State = Arc<[u32]>;
    type Op = QueueOp;

    fn name(&self) -> &'static str {
        "queue"
    }

    fn initial(&self) -> Arc<[u32]> {
        self.initial.clone().into()
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<QueueOp>, ModelError> {
        Ok(match (&*operation.f, &operation.outcome) {
            ("enqueue" | "dequeue", Outcome::Failed(_)) => None,
            ("enqueue", _) => Some(QueueOp::Enqueue(self.values.number(&operation.input))),
            ("dequeue", Outcome::Unknown) => Some(QueueOp::DequeueUnseen),
            ("dequeue", Outcome::Ok(Value::Null)) => Some(QueueOp::Empty),
            ("dequeue", Outcome::Ok(value)) => Some(QueueOp::Dequeue(self.values.number(value))),
            _ => return Err(unknown_operation(operation, self.name(), "enqueue, dequeue")),
        })
    }

    fn step(&self, state: &Arc<[u32]>, op: &QueueOp) -> Option<Arc<[u32]>> {
        match op {
            QueueOp::Enqueue(value) => Some(state.iter().copied().chain([*value]).collect()),
            QueueOp::Dequeue(value) => match state.split_first() {
                Some((first, rest)) if first == value => Some(rest.into()),
                _ => None,
            },
            QueueOp::Empty => state.is_empty().then(|| state.clone()),
            QueueOp::DequeueUnseen => {
                Some(state.split_first().map_or_else(|| state.clone(), |(_, rest)| rest.into()))
            }
        }
    }

    fn effect(&self, op: &QueueOp) -> Effect {
        match op {
            QueueOp::Enqueue(_) | QueueOp::DequeueUnseen => Effect::Blind,
            QueueOp::Dequeue(_) => Effect::Conditional,
            QueueOp::Empty => Effect::Observe,
        }
    }

    fn describe(&self, state: &Arc<[u32]>) -> String {
        const ITEMS_SHOWN: usize = 8;
        let mut text = "[".to_owned();
        for (place, item) in state.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            if place == ITEMS_SHOWN {
                text.push_str(&format!("… {} more", state.len() - place));
                break;
            }
            text.push_str(
                &self.values.value(*item).map_or(String::new(), |value| value.to_string()),
            );
        }
        text.push(']');
        text
    }
}
