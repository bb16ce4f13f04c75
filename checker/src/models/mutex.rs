//! `mutex`: `acquire` needs it free, `release` needs it held; by whom does not matter.

use super::shape::unknown_operation;
use crate::history::{Operation, Outcome};
use crate::model::{Effect, Model, ModelError};
use crate::value::Value;

/// One lock. The state is whether it is held.
#[derive(Clone, Debug)]
pub(crate) struct Mutex {
    held: bool,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MutexOp {
    Acquire,
    Release,
}

impl Mutex {
    pub(crate) fn new(init: Option<&Value>) -> Result<Mutex, ModelError> {
        let held = match init {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(Value::Text(text)) if &**text == "free" => false,
            Some(Value::Text(text)) if &**text == "held" => true,
            Some(other) => {
                return Err(ModelError::WrongInit {
                    model: "mutex",
                    found: other.clone(),
                    expected: "it is \"free\" or \"held\"",
                });
            }
        };
        Ok(Mutex { held })
    }
}

impl Model for Mutex {
    type State = bool;
    type Op = MutexOp;

    fn name(&self) -> &'static str {
        "mutex"
    }

    fn initial(&self) -> bool {
        self.held
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<MutexOp>, ModelError> {
        let op = match &*operation.f {
            "acquire" => MutexOp::Acquire,
            "release" => MutexOp::Release,
            _ => return Err(unknown_operation(operation, self.name(), "acquire, release")),
        };
        Ok(match operation.outcome {
            Outcome::Failed(_) => None,
            Outcome::Ok(_) | Outcome::Unknown => Some(op),
        })
    }

    fn step(&self, held: &bool, op: &MutexOp) -> Option<bool> {
        match op {
            MutexOp::Acquire => (!held).then_some(true),
            MutexOp::Release => held.then_some(false),
        }
    }

    fn effect(&self, _op: &MutexOp) -> Effect {
        Effect::Conditional
    }

    fn describe(&self, held: &bool) -> String {
        if *held { "held".to_owned() } else { "free".to_owned() }
    }
}
