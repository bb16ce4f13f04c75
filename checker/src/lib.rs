//! Linearizability and Raft invariants: histories in, verdicts out.
//!
//! This crate decides whether what clients saw of a concurrent system could have come from one
//! object that does one operation at a time, each between its invocation and its completion. It is
//! pure: no files, no clock, no threads of its own beyond a parallel loop over keys, no randomness.
//!
//! # How to use it
//!
//! ```
//! use checker::budget::Budget;
//! use checker::history::{Event, EventKind, HistoryBuilder};
//! use checker::model::{ModelKind, ModelSpec};
//! use checker::value::Value;
//! use checker::verdict::Verdict;
//!
//! let mut builder = HistoryBuilder::new();
//! for (line, process, kind, f, value) in [
//!     (1, 0, EventKind::Invoke, "write", Value::Int(1)),
//!     (2, 0, EventKind::Ok, "write", Value::Int(1)),
//!     (3, 1, EventKind::Invoke, "read", Value::Null),
//!     (4, 1, EventKind::Ok, "read", Value::Null),
//! ] {
//!     builder.push(Event { line, process, kind, f: f.into(), key: None, value, failure: None })?;
//! }
//! let spec = ModelSpec::natural(ModelKind::CasRegister);
//! match checker::check(&builder.finish(), &spec, &Budget::unlimited())? {
//!     Verdict::Violation(violation) => assert_eq!(violation.operations.len(), 2),
//!     other => panic!("the read missed a write that was done: {other:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`check`] judges a whole [`history::History`] by a standard model, [`check_model`] by one of the
//! caller's own ([`model::Model`], with a worked example). [`linearize`] gives the order it found
//! as well, [`verify`] checks orders and counterexamples without trust in the checker, and
//! [`stream::StreamChecker`] judges while a history is still being recorded. [`invariants`] judge
//! what the nodes themselves traced.
//!
//! # What outcomes mean
//!
//! | outcome | what follows |
//! |---|---|
//! | `ok` | it happened, between its invocation and its completion, and answered so |
//! | `fail` | it did not happen; it says nothing of the state |
//! | `fail` of a `cas` with `precondition-failed` | it did not happen, and the value was not the expected one at some moment in between |
//! | `fail` of a `cas` with `key-does-not-exist` | it did not happen, and there was no value at some moment in between |
//! | `info`, or no completion | it happened at some moment after its invocation, or not at all |
//!
//! # Verdicts
//!
//! [`verdict::Verdict::Valid`] and [`verdict::Verdict::Violation`] are exact: no method answers
//! where it is not. A violation shows operations that no order explains, why, and why that shows
//! the whole to be inexplicable. [`verdict::Verdict::Unknown`] is given only when a
//! [`budget::Budget`] ended.
//!
//! # How it decides
//!
//! Keys are judged by themselves, in parallel (linearizability is local: M. Herlihy and J. Wing,
//! *Linearizability*, 1990, theorem 1). For each the first method that applies answers:
//!
//! | method | applies to | cost | source |
//! |---|---|---|---|
//! | [`verdict::Method::UniqueValues`] | registers on which no value is written twice | n log n | Gibbons and Korach 1997 |
//! | [`verdict::Method::Search`] | everything | linear in the length, exponential in what is concurrent at worst | Lowe 2017; Wing and Gong 1993 |
//!
//! Failed `cas` that observe make unique values hard in general; then the first method answers
//! `valid` where it finds an order into which they fit and a violation where one of them cannot
//! fit into any, and otherwise leaves the key to the search. The modules `unique` and `search`
//! state why each answer is right.

pub mod budget;
mod check;
mod counterexample;
pub mod history;
pub mod invariants;
mod minimize;
pub mod model;
mod models;
mod search;
pub mod stream;
mod unique;
pub mod value;
pub mod verdict;
pub mod verify;

pub use check::{check, check_model, check_with, linearize};
