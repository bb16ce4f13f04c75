//! What a check concludes.
//!
//! There is no default verdict and none converts to a boolean: whoever reads one says what they do
//! with each case. A violation of one key outranks an unknown of another, and an unknown outranks
//! valid.

use std::collections::BTreeMap;
use std::fmt;

use crate::budget::Exhausted;
use crate::history::{Operation, Point};
use crate::value::Value;

/// The conclusion of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The history is linearizable.
    Valid(Stats),
    /// It is not, and this is why.
    Violation(Box<Violation>),
    /// A budget ended before it was decided.
    Unknown(Unknown),
}

/// An order of one key's operations that explains every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linearization {
    /// The key; `None` where operations have none.
    pub key: Option<Value>,
    /// Indexes into [`crate::history::History::operations`], in the order in which the operations
    /// took effect. What is not named did not happen, or says nothing.
    pub order: Vec<u32>,
}

/// How much was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Operations of the history, failed ones included.
    pub operations: u64,
    /// Keys, each judged by itself (1 for a model that does not split by key).
    pub keys: u64,
    /// How many keys each method decided.
    pub methods: BTreeMap<Method, u64>,
}

/// How a key was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// The near-linear algorithm for registers whose written values are all different.
    UniqueValues,
    /// The search in a window of concurrent operations.
    Search,
}

impl Method {
    /// Every method, the cheapest first.
    pub const ALL: [Method; 2] = [Method::UniqueValues, Method::Search];

    /// A kebab-case name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::UniqueValues => "unique-values",
            Method::Search => "search",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of the history that has no linearization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key it is about; `None` where operations have none.
    pub key: Option<Value>,
    /// Operations of the history, in the order of their invocations, that no order explains.
    pub operations: Vec<Operation>,
    /// The completion up to which they must be explained: an operation that completed later, or
    /// not at all, may have taken effect by then (with the answer it gave) or not.
    pub cut: Point,
    /// Why they cannot be ordered, in words.
    pub why: String,
    /// Why their failure implies the whole history's, in words.
    pub implies: String,
    /// How it was found.
    pub method: Method,
    /// How much had been judged when it was found.
    pub stats: Stats,
}

/// What was decided before a budget ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The budget that ended.
    pub exhausted: Exhausted,
    /// Keys that were found valid, and how.
    pub decided: Stats,
    /// The keys that were not decided (`None` where operations have none), in the order of their
    /// first appearance; at most [`UNDECIDED_KEYS_MAX`] of them.
    pub undecided: Vec<Option<Value>>,
    /// How many keys were not decided.
    pub undecided_keys: u64,
}

/// How many undecided keys an [`Unknown`] names.
pub const UNDECIDED_KEYS_MAX: usize = 100;
