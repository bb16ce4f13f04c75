//! What clients do, and which model judges it.
//!
//! A [`Workload`] generates operations lazily, turns each into a request of the node contract,
//! and says what a reply means for the history. It knows neither time nor sockets; its
//! randomness is keyed ([`random`]), so the same seed asks for the same operations, as far as
//! they do not depend on what came back.

pub mod random;
mod register;

use checker::model::ModelSpec;
use protocol::message::{Reply, Request};
use serde_json::Value as Json;

pub use register::Register;

/// One operation of a client, as the history records it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The function's name: `read`, `write`, `cas`, …
    pub f: &'static str,
    /// The key, where the model has keys.
    pub key: Option<Json>,
    /// The argument; null for a read.
    pub value: Json,
}

/// How an operation ended, as the history records it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It happened, and this is the value of the completion.
    Ok(Json),
    /// It certainly did not happen. The text is a history's `error`; `precondition-failed` and
    /// `key-does-not-exist` of a CAS are observations, everything else observes nothing.
    Fail(String),
    /// It may have happened, may happen later, or never.
    Info(String),
}

/// What a reply means to the client that waits for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// The operation is over.
    Done(Outcome),
    /// Certainly not done here and now; another node, or a later moment, may do it.
    Retry(String),
    /// Not an answer to this request: the node breaches its contract. The outcome is unknown.
    Breach(String),
}

/// Settings that every workload understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Seed of the run.
    pub seed: u64,
    /// Number of clients.
    pub clients: usize,
    /// How many keys live at once.
    pub keys: usize,
    /// A key retires after this many operations.
    pub ops_per_key: u64,
    /// A key retires after this many operations of unknown outcome.
    pub unknowns_per_key: u64,
}

/// A kind of client behaviour.
pub trait Workload: Send {
    /// The model that judges its histories.
    fn model(&self) -> ModelSpec;

    /// The next operation of this client, counted from 0.
    fn next(&mut self, client: usize) -> Operation;

    /// The request that asks a node for the operation.
    fn request(&self, operation: &Operation) -> Request;

    /// What a reply to that request means.
    fn interpret(&self, operation: &Operation, reply: &Reply) -> Meaning;

    /// The operation ended so; called once for each.
    fn completed(&mut self, operation: &Operation, outcome: &Outcome);

    /// Operations that look once more at everything alive, for after the last heal.
    fn final_operations(&self) -> Vec<Operation>;
}

/// What a workload is called and does, for `list workloads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// As `--workload` takes it.
    pub name: &'static str,
    /// In a sentence.
    pub summary: &'static str,
    /// The model that judges it.
    pub model: &'static str,
}

/// All workloads.
pub const ALL: [Description; 1] = [Description {
    name: "register",
    summary: "reads, writes and compare-and-sets of unique values on a few keys at once",
    model: "cas-register",
}];

/// The workload of this name, if there is one.
pub fn by_name(name: &str, settings: Settings) -> Option<Box<dyn Workload>> {
    match name {
        "register" => Some(Box::new(Register::new(settings))),
        _ => None,
    }
}
