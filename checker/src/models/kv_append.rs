//! `kv-append`: `get`, `put` and `append` of strings.

use std::sync::Arc;

use super::shape::{unknown_operation, wrong_answer, wrong_input};
use crate::history::{Operation, Outcome};
use crate::model::{Effect, Model, ModelError};
use crate::value::Value;

/// The string of one key.
#[derive(Clone, Debug)]
pub(crate) struct KvAppend {
    initial: Arc<str>,
}

/// One operation with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KvOp {
    Get(Arc<str>),
    Put(Arc<str>),
    Append(Arc<str>),
}

impl KvAppend {
    pub(crate) fn new(init: Option<&Value>) -> Result<KvAppend, ModelError> {
        match init {
            None | Some(Value::Null) => Ok(KvAppend { initial: "".into() }),
            Some(Value::Text(text)) => Ok(KvAppend { initial: text.clone() }),
            Some(other) => Err(ModelError::WrongInit {
                model: "kv-append",
                found: other.clone(),
                expected: "it is the string that every key holds",
            }),
        }
    }
}

impl Model for KvAppend {
    type State = Arc<str>;
    type Op = KvOp;

    fn name(&self) -> &'static str {
        "kv-append"
    }

    fn initial(&self) -> Arc<str> {
        self.initial.clone()
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<KvOp>, ModelError> {
        let given = || match &operation.input {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(wrong_input(operation, "it takes a string")),
        };
        match (&*operation.f, &operation.outcome) {
            ("get" | "put" | "append", Outcome::Failed(_)) | ("get", Outcome::Unknown) => Ok(None),
            ("get", Outcome::Ok(value)) => match value {
                Value::Text(text) => Ok(Some(KvOp::Get(text.clone()))),
                // A key that is not there holds the empty string.
                Value::Null => Ok(Some(KvOp::Get("".into()))),
                other => Err(wrong_answer(operation, other, "a get answers a string")),
            },
            ("put", Outcome::Ok(_) | Outcome::Unknown) => Ok(Some(KvOp::Put(given()?))),
            ("append", Outcome::Ok(_) | Outcome::Unknown) => Ok(Some(KvOp::Append(given()?))),
            _ => Err(unknown_operation(operation, self.name(), "get, put, append")),
        }
    }

    fn step(&self, state: &Arc<str>, op: &KvOp) -> Option<Arc<str>> {
        match op {
            KvOp::Get(text) => (state == text).then(|| state.clone()),
            KvOp::Put(text) => Some(text.clone()),
            KvOp::Append(text) => {
                let mut whole = String::with_capacity(state.len() + text.len());
                whole.push_str(state);
                whole.push_str(text);
                Some(whole.into())
            }
        }
    }

    fn effect(&self, op: &KvOp) -> Effect {
        match op {
            KvOp::Get(_) => Effect::Observe,
            KvOp::Put(_) => Effect::Overwrite,
            KvOp::Append(text) if text.is_empty() => Effect::Observe,
            KvOp::Append(_) => Effect::Blind,
        }
    }

    fn describe(&self, state: &Arc<str>) -> String {
        Value::Text(state.clone()).to_string()
    }
}
