//! Carries out what the coordinator decides, in real time, on real processes.
//!
//! One loop owns everything: it takes events from nodes, clients, pollers and probes, hands them
//! to the coordinator with the time, and carries out its actions in order. Clients, pollers and
//! the message recorder are tasks of their own behind bounded channels.

mod client_task;
mod limits;
mod node_files;
mod poller;
mod probe;
mod real_time;
mod recorder;

pub use node_files::Launcher;
pub use real_time::{RealTime, Setup, Watcher};
pub use recorder::Recorder;
