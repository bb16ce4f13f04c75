//! Linearizability and Raft invariants: histories in, verdicts out.

pub mod budget;
pub mod history;
pub mod model;
pub mod value;
pub mod verdict;
