//! A run on disk: where its files lie, what they hold, how they are written and read.
//!
//! - [`RunDir`]: the layout; [`Manifest`]: `run.json`; [`scenario`]: what a run should do.
//! - [`history`]: what clients saw, also in files of other tools; [`fault_log`], [`message_log`]:
//!   what was done to the cluster and its messages; [`trace_file`]: what the nodes say they did.
//! - [`verdict`]: `verdict.json` and the exit codes; [`vacuity`]: whether a run showed anything.
//!
//! Everything that is appended is readable up to its last whole line whatever kills the writer;
//! everything else is replaced as a whole. No clock is read and no random number drawn here, and
//! no verdict is found: that is the checker's.

pub mod fault_log;
pub mod history;
pub mod json_log;
pub mod manifest;
pub mod message_log;
pub mod run_dir;
pub mod run_id;
pub mod scenario;
pub mod trace_file;
pub mod units;
pub mod vacuity;
pub mod verdict;

mod error;
mod lines;

pub use error::Error;
pub use fault_log::{FaultEvent, FaultOp};
pub use lines::LINE_BYTES_MAX;
pub use manifest::Manifest;
pub use run_dir::{DEFAULT_OUT, RunDir, write_atomically};
pub use run_id::RunId;
pub use scenario::{Resolved, Scenario};
pub use units::{BudgetLimits, Span};
pub use verdict::{
    Check, CheckVerdict, FaultCount, HarnessFailure, Overall, RunVerdict, exit_code,
};
