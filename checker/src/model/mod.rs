//! The sequential objects that histories are judged against.
//!
//! A [`Model`] says which operations there are, what each does to a state and what it may answer.
//! The standard models are named by [`ModelKind`]; a user's own needs nothing but an
//! implementation of the trait, and is judged with [`crate::check_model`]:
//!
//! ```
//! use checker::history::{Operation, Outcome};
//! use checker::model::{Effect, Model, ModelError};
//! use checker::value::Value;
//!
//! /// A register that remembers the largest number it was ever given.
//! #[derive(Clone)]
//! struct MaxRegister;
//!
//! #[derive(Clone, PartialEq, Eq, Hash)]
//! enum Op {
//!     Raise(i64),
//!     Read(i64),
//! }
//!
//! impl Model for MaxRegister {
//!     type State = i64;
//!     type Op = Op;
//!
//!     fn name(&self) -> &'static str {
//!         "max-register"
//!     }
//!
//!     fn initial(&self) -> i64 {
//!         0
//!     }
//!
//!     fn encode(&mut self, operation: &Operation) -> Result<Option<Op>, ModelError> {
//!         let number = |value: &Value| {
//!             let wrong = || ModelError::WrongShape {
//!                 line: operation.invoked.line,
//!                 f: operation.f.to_string(),
//!                 what: "is about",
//!                 found: value.clone(),
//!                 expected: "an integer is needed",
//!             };
//!             value.as_int().ok_or_else(wrong)
//!         };
//!         Ok(match (&*operation.f, &operation.outcome) {
//!             // It did not happen, and says nothing of the state.
//!             (_, Outcome::Failed(_)) => None,
//!             ("raise", _) => Some(Op::Raise(number(&operation.input)?)),
//!             ("read", Outcome::Ok(value)) => Some(Op::Read(number(value)?)),
//!             // A read that nobody saw the result of says nothing either.
//!             ("read", Outcome::Unknown) => None,
//!             (f, _) => {
//!                 return Err(ModelError::UnknownOperation {
//!                     line: operation.invoked.line,
//!                     model: "max-register",
//!                     f: f.to_owned(),
//!                     known: "raise, read",
//!                 });
//!             }
//!         })
//!     }
//!
//!     fn step(&self, state: &i64, op: &Op) -> Option<i64> {
//!         match op {
//!             Op::Raise(number) => Some(*state.max(number)),
//!             Op::Read(number) => (state == number).then_some(*state),
//!         }
//!     }
//!
//!     fn effect(&self, op: &Op) -> Effect {
//!         match op {
//!             Op::Raise(_) => Effect::Blind,
//!             Op::Read(_) => Effect::Observe,
//!         }
//!     }
//! }
//!
//! # use checker::budget::Budget;
//! # use checker::history::{Event, EventKind, HistoryBuilder};
//! # use checker::verdict::Verdict;
//! let mut builder = HistoryBuilder::new();
//! for (line, process, kind, f, value) in [
//!     (1, 0, EventKind::Invoke, "raise", Value::Int(5)),
//!     (2, 0, EventKind::Ok, "raise", Value::Int(5)),
//!     (3, 1, EventKind::Invoke, "read", Value::Null),
//!     (4, 1, EventKind::Ok, "read", Value::Int(3)),
//! ] {
//!     let event = Event { line, process, kind, f: f.into(), key: None, value, failure: None };
//!     builder.push(event).unwrap();
//! }
//! let history = builder.finish();
//! let verdict = checker::check_model(&history, &MaxRegister, &Budget::unlimited()).unwrap();
//! assert!(matches!(verdict, Verdict::Violation(_)));
//! ```

mod kind;

use std::fmt;
use std::hash::Hash;

use crate::history::Operation;

pub use kind::{ModelError, ModelKind, ModelSpec, UnknownModel};

/// What a call can do to a state, whatever the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// It never changes the state; it only agrees with it or not.
    Observe,
    /// It applies in every state and tells nothing of it; what comes of it depends on the state.
    Blind,
    /// It applies in every state, and the state after it is the same whatever was before.
    Overwrite,
    /// Anything else: it applies in some states only, or its answer tells of the state.
    Conditional,
}

/// A sequential object, with the operations that clients do on it.
///
/// An instance judges one key. The checker clones the given one for each key, lets the clone
/// encode the key's operations in the order of their invocations, and only then asks for the
/// initial state and steps.
pub trait Model: Clone + Send + Sync {
    /// A state. Two equal states must have the same future.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// What the checker needs to know of an operation, its answer included.
    type Op: Clone + PartialEq + Send + Sync;

    /// The name in messages.
    fn name(&self) -> &'static str;

    /// Whether each key is an object of its own. If not, keys are ignored.
    fn splits_by_key(&self) -> bool {
        true
    }

    /// The state at the beginning.
    fn initial(&self) -> Self::State;

    /// What an operation says. `None` says nothing: it did not happen, or nobody saw the answer
    /// of something that changes nothing. An operation of unknown outcome is encoded as its effect
    /// would be; the checker lets it happen or not.
    ///
    /// # Errors
    ///
    /// When the model does not know the operation or one of its values has the wrong shape.
    fn encode(&mut self, operation: &Operation) -> Result<Option<Self::Op>, ModelError>;

    /// The state after `op` took effect in `state`, or `None` where it cannot, as its answer does
    /// not agree with the state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// What `op` can do. [`Effect::Conditional`] is always right; the others are faster, and
    /// wrong verdicts come of claiming them wrongly.
    fn effect(&self, op: &Self::Op) -> Effect;

    /// Whether any two calls ever commute, so that asking is worth the time.
    fn some_commute(&self) -> bool {
        false
    }

    /// Whether two calls commute in every state: each applies before the other just if it
    /// applies after it, and the state after both is the same. Must be symmetric.
    fn commutes(&self, _one: &Self::Op, _other: &Self::Op) -> bool {
        false
    }

    /// Whether a state that is possible at `position` may still agree with all that was observed
    /// later. `true` is always right. Knowledge of the future comes from [`Model::refine`].
    fn viable(&self, _state: &Self::State, _position: u32) -> bool {
        true
    }

    /// Sees all calls of the key, in the order of their invocations, before the search begins. It
    /// may take out calls that are not required and that no observation can need, may shorten the
    /// time in which such a call is of use, and may put equal calls for equivalent ones.
    fn refine(&mut self, _calls: &mut Vec<Call<Self::Op>>) {}

    /// A state in words, for messages.
    fn describe(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}

/// One encoded operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<Op> {
    /// What it says.
    pub op: Op,
    /// The position of its invocation.
    pub invoked: u32,
    /// Of a call that must happen, the position of its completion; of another, the position
    /// from which on it is of no use, or `u32::MAX`.
    pub until: u32,
    /// Whether it must happen.
    pub required: bool,
    /// The operation's index in the history.
    pub source: u32,
}
