//! The whole program, from its command line to what it leaves behind: real processes, real faults,
//! real files. One binary, because each links the whole harness.

#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod command_line;
mod detection;
mod ended_early;
mod full_disk;
mod histories;
mod verdicts;
mod workspace;
