//! The command line: one file a command, one place for what all of them share.

mod check;
mod doctor;
mod list;
mod output;
mod progress;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use results::exit_code;

use crate::{logging, panics};

/// Breaks Raft clusters on purpose and proves whether they held.
#[derive(Parser)]
#[command(name = "whitewater", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a cluster under faults, then judge what happened.
    Run(Box<run::Arguments>),
    /// Judge run directories and history files (JSON Lines, also .zst; EDN).
    Check(check::Arguments),
    /// List what there is: systems, workloads, faults, invariants, models, bugs.
    List(list::Arguments),
    /// Show what this machine allows, and what a missing permission would unlock.
    Doctor(doctor::Arguments),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    panics::remember();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap prints them to standard output.
            let code = if error.use_stderr() { exit_code::USAGE } else { exit_code::VALID };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    logging::start();
    let done = std::panic::catch_unwind(move || match arguments.command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Check(arguments) => check::main(&arguments),
        Command::List(arguments) => list::main(&arguments),
        Command::Doctor(arguments) => doctor::main(&arguments),
    });
    // A panic has been printed by then.
    ExitCode::from(done.unwrap_or(exit_code::HARNESS_FAILURE))
}

/// Prints a usage or configuration error and gives its exit code.
fn usage_error(error: &dyn std::fmt::Display) -> u8 {
    output::print_error(error);
    exit_code::USAGE
}
