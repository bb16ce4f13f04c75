//! The standard models, one a file, and how they are made from a [`ModelSpec`].

mod chain;
mod counter;
mod json;
mod kv_append;
mod log;
mod multi_register;
mod mutex;
mod queue;
mod register;
mod set;
mod shape;

pub(crate) use counter::Counter;
pub(crate) use json::object_entries;
pub(crate) use kv_append::KvAppend;
pub(crate) use log::Log;
pub(crate) use multi_register::MultiRegister;
pub(crate) use mutex::Mutex;
pub(crate) use queue::Queue;
pub(crate) use register::{Helpers, Register, RegisterOp, UNSEEN};
pub(crate) use set::Set;
