//! `queue`: `enqueue` puts a value at the end, `dequeue` takes the first or finds none.
//!
//! Values that no `dequeue` answered are all alike: nobody can tell where they stand. And where
//! each value comes and goes once, a state in which one stands before another that was certainly
//! taken earlier has no future.

use std::sync::Arc;

use super::shape::{Interner, unknown_operation};
use crate::history::{Operation, Outcome};
use crate::model::{Call, Effect, Model, ModelError};
use crate::value::Value;

/// The first-in-first-out queue of one key; values are numbered.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    values: Interner,
    initial: Vec<u32>,
    /// When each value was taken, as far as that is certain.
    taken: Vec<Taken>,
    /// Whether there are dequeues that nobody saw the answer of.
    some_unseen: bool,
}

/// When a value was taken.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// Nothing is certain.
    AtSomeTime,
    /// After the first position and before the second.
    Between(u32, u32),
    /// Never.
    Never,
}

/// Stands for all values that no `dequeue` answered.
const UNSEEN: u32 = u32::MAX;

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
        Ok(Queue { values, initial, taken: Vec::new(), some_unseen: false })
    }
}

impl Model for Queue {
    type State = Arc<[u32]>;
    type Op = QueueOp;

    fn name(&self) -> &'static str {
        "queue"
    }

    fn initial(&self) -> Arc<[u32]> {
        // Before refining nothing is known of any value.
        let seen = |value: &u32| match self.taken.get(*value as usize) {
            Some(Taken::Never) => UNSEEN,
            _ => *value,
        };
        self.initial.iter().map(seen).collect()
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

    fn viable(&self, state: &Arc<[u32]>, _position: u32) -> bool {
        // Whatever stood before was viable before the last value came.
        let Some((last, before)) = state.split_last() else { return true };
        let Some(Taken::Between(_, gone)) = self.taken.get(*last as usize) else { return true };
        if *gone == u32::MAX {
            return true;
        }
        before.iter().all(|value| match self.taken.get(*value as usize) {
            Some(Taken::Between(since, _)) => since < gone,
            Some(Taken::AtSomeTime | Taken::Never) => true,
            // A value that was never taken blocks all behind it, unless it was taken unseen.
            None => self.some_unseen,
        })
    }

    fn refine(&mut self, calls: &mut Vec<Call<QueueOp>>) {
        let mut comes = vec![0_u32; self.values.len()];
        let mut goes: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.values.len()];
        for &value in &self.initial {
            comes[value as usize] += 1;
        }
        let mut some_unseen = false;
        for call in calls.iter() {
            match call.op {
                QueueOp::Enqueue(value) => comes[value as usize] += 1,
                QueueOp::Dequeue(value) => {
                    goes[value as usize].push((call.invoked, call.until));
                }
                QueueOp::DequeueUnseen => some_unseen = true,
                QueueOp::Empty => {}
            }
        }
        self.taken = comes
            .iter()
            .zip(&goes)
            .map(|(&comes, goes)| match goes[..] {
                [] => Taken::Never,
                [(since, gone)] if comes == 1 => Taken::Between(since, gone),
                _ => Taken::AtSomeTime,
            })
            .collect();
        self.some_unseen = some_unseen;
        let last_gone = |value: u32| goes[value as usize].iter().map(|(_, gone)| *gone).max();
        calls.retain_mut(|call| {
            let QueueOp::Enqueue(value) = &mut call.op else { return true };
            let gone = last_gone(*value);
            if gone.is_none() {
                *value = UNSEEN;
            }
            // One of unknown outcome can be left out where nobody took its value, together with
            // the unseen dequeue that may have.
            if !call.required {
                call.until = gone.unwrap_or(0);
            }
            call.until > call.invoked
        });
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
