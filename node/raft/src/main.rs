//! `whitewater-raft`: one node of the reference Raft, as a process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use whitewater_raft::shell::{self, NodeLaunch};

/// Exit code when a node cannot go on: a damaged log, a failed write, an address in use.
const EXIT_FAILED: u8 = 1;
/// Exit code for mistakes in the command line or in node.json.
const EXIT_USAGE: u8 = 2;

/// One node of the reference Raft.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// The launch file, node.json.
    #[arg(long, value_name = "PATH", required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<CliCommand>,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Print what this node offers, as one JSON object.
    Describe,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match (cli.command, cli.config) {
        (Some(CliCommand::Describe), _) => {
            let json = serde_json::to_string_pretty(&shell::describe());
            println!("{}", json.expect("a description has string keys"));
            ExitCode::SUCCESS
        }
        (None, Some(path)) => match NodeLaunch::read(&path) {
            Ok(launch) => run(launch),
            Err(error) => {
                eprintln!("error: {}: {error}", path.display());
                ExitCode::from(EXIT_USAGE)
            }
        },
        (None, None) => unreachable!("clap demands --config without a command"),
    }
}

fn run(launch: NodeLaunch) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(shell::run(launch)).map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot start the asynchronous runtime: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
