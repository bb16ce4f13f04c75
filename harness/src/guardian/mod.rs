//! The guardian: one small process under which all nodes of a run live and die.
//!
//! It is the harness's own binary, executed again as a child in a session of its own, single
//! threaded, with one end of a socket pair in hand. It starts nodes, signals them, reports what
//! the kernel says became of them, and when the other end of the socket closes, for whatever
//! reason, kills everything below it until the kernel says that nothing is left.
//!
//! Guarantees:
//! - **Evidence is the kernel's.** `Stopped`, `Continued` and `Exited` are sent only after
//!   `waitid` or `/proc/<pid>/stat` said so.
//! - **No stranger is signalled.** A node's own pid cannot be reused before the guardian reaps it;
//!   any other process is signalled through a pidfd whose start time was compared first.
//! - **Nothing of an incarnation survives its `Exited`**, the next start therefore finds no port
//!   taken by a grandchild (an exception is counted in `descendants_lingering`).
//! - **Nothing outlives the harness.** In [`Mode::Namespace`] the guardian is init of its own pid
//!   namespace and the kernel itself kills what is inside. In [`Mode::Subreaper`] every orphan
//!   becomes the guardian's child and is killed by it; if the guardian is killed, nodes die of
//!   their parent-death signal and the harness, a subreaper too, sweeps the rest.
//!
//! Left out: in [`Mode::Subreaper`], a node's descendant that called `setsid` survives if harness
//! *and* guardian are killed with SIGKILL in the same instant; and a descendant that forked twice,
//! called `setsid` *and* cleared its environment cannot be told from other nodes' orphans, so it
//! is killed at the end of the run, not with its node.
//!
//! Environment: [`MODE_VARIABLE`] set to `namespace` or `subreaper` forces a mode; by default the
//! namespace is tried first.

mod family;
mod handle;
mod init;
mod message;
mod process;
mod spawn;
mod supervise;
mod sweep;

pub use handle::{Guardian, GuardianError, Options};
pub use init::{SUBCOMMAND, main, run_if_asked};
pub use message::{
    ExitStatus, Exited, GuardianCommand, GuardianEvent, Mode, NodeSignal, StartNode,
};
pub use process::{Process, process_table};
pub use sweep::{SweepReport, become_subreaper};

/// Environment variable that forces the guardian's [`Mode`].
pub const MODE_VARIABLE: &str = "WHITEWATER_GUARDIAN";

/// Environment variable that marks a node's processes; its value names run, node and incarnation.
pub const NODE_VARIABLE: &str = "WHITEWATER_NODE";
