//! Linearizability and Raft invariants: histories in, verdicts out.

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
