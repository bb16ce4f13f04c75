//! The sequential objects that histories are judged against, by name.

use std::fmt;
use std::str::FromStr;

use crate::value::Value;

/// A model of the standard set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelKind {
    /// `read`, `write` and `cas` on one register a key.
    CasRegister,
    /// `txn` of reads and writes on several registers at one instant.
    MultiRegister,
    /// `get`, `put` and `append` of strings, by key.
    KvAppend,
    /// `acquire` and `release` of one lock.
    Mutex,
    /// `add`, `remove`, `contains` and `read` on a set.
    Set,
    /// `add` and `read` on a counter.
    Counter,
    /// `enqueue` and `dequeue` on a FIFO queue.
    Queue,
    /// `append` and `read` on a log.
    Log,
}

impl ModelKind {
    /// Every model, in the order in which lists show them.
    pub const ALL: [ModelKind; 8] = [
        ModelKind::CasRegister,
        ModelKind::MultiRegister,
        ModelKind::KvAppend,
        ModelKind::Mutex,
        ModelKind::Set,
        ModelKind::Counter,
        ModelKind::Queue,
        ModelKind::Log,
    ];

    /// The name that flags and files use.
    pub fn name(self) -> &'static str {
        match self {
            ModelKind::CasRegister => "cas-register",
            ModelKind::MultiRegister => "multi-register",
            ModelKind::KvAppend => "kv-append",
            ModelKind::Mutex => "mutex",
            ModelKind::Set => "set",
            ModelKind::Counter => "counter",
            ModelKind::Queue => "queue",
            ModelKind::Log => "log",
        }
    }

    /// One line for lists: the operations it knows.
    pub fn summary(self) -> &'static str {
        match self {
            ModelKind::CasRegister => "read, write and cas on one register a key",
            ModelKind::MultiRegister => "txn of reads and writes on several registers at once",
            ModelKind::KvAppend => "get, put and append of strings, by key",
            ModelKind::Mutex => "acquire and release of one lock",
            ModelKind::Set => "add, remove, contains and read of a set",
            ModelKind::Counter => "add and read of a counter",
            ModelKind::Queue => "enqueue and dequeue of a FIFO queue",
            ModelKind::Log => "append and read of a log",
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no model's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model {name:?}; there are {}", all_names())]
pub struct UnknownModel {
    /// The name that was asked for.
    pub name: String,
}

fn all_names() -> String {
    ModelKind::ALL.map(ModelKind::name).join(", ")
}

impl FromStr for ModelKind {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<ModelKind, UnknownModel> {
        ModelKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownModel { name: name.to_owned() })
    }
}

/// A model and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// The model.
    pub kind: ModelKind,
    /// The initial state, or the model's natural one. For `cas-register` any value (of every
    /// key); for `multi-register` a list of `[key, value]` pairs, or the canonical JSON of an
    /// object of them; for `kv-append` the string that every key holds; for `mutex` `true` (held)
    /// or `false` (free), or the words `"held"` and `"free"`; for `set`, `queue` and `log` a list;
    /// for `counter` an integer.
    pub init: Option<Value>,
}

impl ModelSpec {
    /// A model that begins in its natural state.
    pub fn natural(kind: ModelKind) -> ModelSpec {
        ModelSpec { kind, init: None }
    }
}

/// Why a history is none of the model's. The text fits after "failed to judge the history: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The model has no such operation.
    #[error("line {line}: {model} has no operation {f:?}; it has {known}")]
    UnknownOperation {
        /// The invocation's line.
        line: u64,
        /// The model's name.
        model: &'static str,
        /// The operation's name.
        f: String,
        /// The operations that it has.
        known: &'static str,
    },
    /// A value has the wrong shape.
    #[error("line {line}: {f} {what} {found}, but {expected}")]
    WrongShape {
        /// The line of the event that carries it.
        line: u64,
        /// The operation's name.
        f: String,
        /// Which value: `is invoked with`, or `answers`.
        what: &'static str,
        /// The value found.
        found: Value,
        /// What would be right.
        expected: &'static str,
    },
    /// The initial state has the wrong shape.
    #[error("the initial state {found} is none of {model}: {expected}")]
    WrongInit {
        /// The model's name.
        model: &'static str,
        /// The initial state given.
        found: Value,
        /// What would be right.
        expected: &'static str,
    },
}

impl ModelError {
    /// The line of the history that it is about; 0 for an initial state.
    pub fn line(&self) -> u64 {
        match self {
            ModelError::UnknownOperation { line, .. } | ModelError::WrongShape { line, .. } => {
                *line
            }
            ModelError::WrongInit { .. } => 0,
        }
    }
}
