//! The `whitewater` program: breaks clusters on purpose and judges whether they held.
//!
//! `docs/ARCHITECTURE.md` draws the way of the data. In this crate: [`cli`] reads the command
//! line; [`run`] carries one run through; the [`coordinator`] decides what happens in it, with
//! faults from the [`nemesis`]; a [`driver`] does it, with processes under the [`guardian`], on
//! links of the [`net`]; [`judge`] reads what was recorded and gives the verdict.

pub mod cli;
pub mod coordinator;
pub mod doctor;
pub mod driver;
pub mod guardian;
pub mod judge;
pub mod logging;
pub mod machine;
pub mod nemesis;
pub mod net;
pub mod panics;
pub mod run;
pub mod system;

#[cfg(test)]
mod testing;
