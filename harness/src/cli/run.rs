//! `whitewater run`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anstream::println;
use clap::Args;
use results::scenario::{Mode, Seeds, TimingKeys};
use results::{BudgetLimits, DEFAULT_OUT, RunVerdict, Scenario, Span, exit_code};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Format, output, progress, usage_error};
use crate::run::{Finished, Prepared, RunResult};
use crate::{judge, machine};

/// Flags of `run`. Each key of a scenario file has one; flags win.
#[derive(Args)]
pub struct Arguments {
    /// A scenario file (TOML).
    scenario: Option<PathBuf>,
    /// The system under test: a built-in name or the path of a system file [default: raft].
    #[arg(long)]
    system: Option<String>,
    /// Nodes of the cluster [default: 5].
    #[arg(long)]
    nodes: Option<u32>,
    /// What clients do [default: register].
    #[arg(long)]
    workload: Option<String>,
    /// Clients at once [default: 10].
    #[arg(long)]
    clients: Option<u32>,
    /// Operations a second of all clients together [default: as fast as answers come].
    #[arg(long)]
    rate: Option<f64>,
    /// Keys that are live at once [default: 5].
    #[arg(long)]
    keys: Option<u32>,
    /// Operations after which a key is retired.
    #[arg(long)]
    ops_per_key: Option<u32>,
    /// Unknown outcomes after which a key is retired.
    #[arg(long)]
    unknowns_per_key: Option<u32>,
    /// How long a client waits for an answer [default: 1s].
    #[arg(long)]
    op_timeout: Option<Span>,
    /// Faults and groups of faults, separated by commas; `none` for none [default: all].
    #[arg(long, value_delimiter = ',')]
    faults: Option<Vec<String>>,
    /// Mean time between the beginnings of two faults.
    #[arg(long)]
    fault_interval: Option<Span>,
    /// Mean time that a fault stays in force.
    #[arg(long)]
    fault_duration: Option<Span>,
    /// How long the workload runs under faults [default: 60s].
    #[arg(long)]
    time_limit: Option<Span>,
    /// How long the nodes may take from their first start until they serve [default: 60s].
    #[arg(long)]
    start_limit: Option<Span>,
    /// How long the healed cluster may take to make progress [default: 30s].
    #[arg(long)]
    recovery_limit: Option<Span>,
    /// Seed of every random choice, or seeds `A..B`, a run each [default: drawn].
    #[arg(long)]
    seed: Option<Seeds>,
    /// How harness and nodes are joined [default: tcp].
    #[arg(long)]
    mode: Option<Mode>,
    /// Seeded bugs to switch on (`list bugs` names them).
    #[arg(long, value_delimiter = ',')]
    bug: Option<Vec<String>>,
    /// Do not let nodes trace; the invariants are then skipped.
    #[arg(long)]
    no_trace: bool,
    /// What checks may use, such as `60s,4GiB`.
    #[arg(long)]
    budget: Option<BudgetLimits>,
    /// Fewest successful operations for a run to mean something [default: 100].
    #[arg(long)]
    min_ok: Option<u64>,
    /// Shortest election timeout of the nodes, in milliseconds.
    #[arg(long)]
    election_timeout_ms_min: Option<u64>,
    /// Longest election timeout of the nodes, in milliseconds.
    #[arg(long)]
    election_timeout_ms_max: Option<u64>,
    /// Heartbeat interval of the nodes, in milliseconds.
    #[arg(long)]
    heartbeat_ms: Option<u64>,
    /// Where run directories are made.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Arguments {
    /// The flags as a scenario; the seed is not part of it.
    fn scenario(&self) -> Scenario {
        Scenario {
            system: self.system.clone(),
            nodes: self.nodes,
            workload: self.workload.clone(),
            clients: self.clients,
            rate: self.rate,
            keys: self.keys,
            ops_per_key: self.ops_per_key,
            unknowns_per_key: self.unknowns_per_key,
            op_timeout: self.op_timeout,
            faults: self.faults.clone(),
            fault_interval: self.fault_interval,
            fault_duration: self.fault_duration,
            time_limit: self.time_limit,
            start_limit: self.start_limit,
            recovery_limit: self.recovery_limit,
            mode: self.mode,
            bug: self.bug.clone(),
            trace: self.no_trace.then_some(false),
            budget: self.budget,
            min_ok: self.min_ok,
            seed: None,
            timing: TimingKeys {
                election_timeout_ms_min: self.election_timeout_ms_min,
                election_timeout_ms_max: self.election_timeout_ms_max,
                heartbeat_ms: self.heartbeat_ms,
            },
        }
    }
}

/// Runs, judges, prints; gives the exit code.
pub fn main(arguments: &Arguments) -> u8 {
    let file = match &arguments.scenario {
        Some(path) => match Scenario::read(path) {
            Ok(scenario) => scenario,
            Err(error) => return usage_error(&error),
        },
        None => Scenario::default(),
    };
    let scenario = match file.overlaid_by(arguments.scenario()).resolve() {
        Ok(scenario) => scenario,
        Err(error) => return usage_error(&error),
    };
    let seeds = match (&arguments.seed, scenario.seed) {
        (Some(seeds), _) => seeds.0.clone(),
        (None, Some(seed)) => seed..seed.saturating_add(1),
        // Small enough to be typed again without a slip.
        (None, None) => {
            let seed = machine::entropy() % 1_000_000_000;
            seed..seed + 1
        }
    };
    let length = scenario.time_limit.0;
    output::print_step(&format!("preparing system {}", scenario.system));
    let prepared = match Prepared::new(scenario) {
        Ok(prepared) => prepared,
        Err(error) => return usage_error(&error),
    };
    if !prepared.left_out().is_empty() {
        let list = prepared.left_out().join(", ");
        output::print_note(&format!("left out, as the system does not promise to bear it: {list}"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::print_error(&format!("cannot start the runtime: {error}"));
            return exit_code::HARNESS_FAILURE;
        }
    };
    runtime.block_on(async {
        let interrupts = Interrupts::listen();
        let mut verdicts = Vec::new();
        let mut code = exit_code::VALID;
        let several = seeds.end - seeds.start > 1;
        for seed in seeds {
            let quiet = arguments.format == Format::Json;
            let mut watcher = progress::watcher(length, quiet);
            let run = prepared.run(seed, &arguments.out, interrupts.receiver(), watcher.as_mut());
            let finished = run.await;
            drop(watcher);
            let finished = match finished {
                Ok(finished) => finished,
                Err(error) => return usage_error(&error),
            };
            code = worst(code, report(seed, finished, arguments.format, several, &mut verdicts));
            if interrupts.came() {
                break;
            }
        }
        if arguments.format == Format::Json {
            match verdicts.as_slice() {
                [only] if !several => output::print_json(only),
                all => output::print_json(&all),
            }
        }
        code
    })
}

/// Prints one run's result and gives its exit code.
fn report(
    seed: u64,
    finished: Finished,
    format: Format,
    several: bool,
    verdicts: &mut Vec<RunVerdict>,
) -> u8 {
    // Short where it can be: this is what people type next.
    let here = std::env::current_dir().unwrap_or_default();
    let path = finished.run_dir.path();
    let path = path.strip_prefix(&here).unwrap_or(path).display();
    match finished.result {
        RunResult::NeverServed(why) => {
            usage_error(&format!("{why}\n(seed {seed}, recorded in {path})"))
        }
        RunResult::Judged(verdict) => {
            if format == Format::Text {
                println!("run {} (seed {seed})", finished.run_dir.id());
                output::print_verdict(&verdict);
                println!("recorded in {path}");
                if several {
                    println!();
                }
            }
            let code = verdict.exit_code();
            verdicts.push(*verdict);
            code
        }
    }
}

/// The worse of two exit codes. A usage error ends everything else, so it outranks it.
fn worst(one: u8, other: u8) -> u8 {
    let rank = |code: u8| match code {
        exit_code::USAGE => 4,
        exit_code::VIOLATION => 3,
        exit_code::HARNESS_FAILURE => 2,
        exit_code::UNKNOWN => 1,
        _ => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// Ctrl-C and its like: the first ends the run in order, the second ends the harness at once (the
/// guardian then kills the nodes).
struct Interrupts {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    came: bool,
    listener: Option<mpsc::Sender<()>>,
}

impl Interrupts {
    fn listen() -> Interrupts {
        let state: Arc<Mutex<State>> = Arc::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            // Where a signal cannot be listened for, it ends the harness as it always would.
            let Ok(mut signals) = signal(kind) else { continue };
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    Interrupts::on_signal(&state);
                }
            });
        }
        Interrupts { state }
    }

    fn on_signal(state: &Mutex<State>) {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.came {
            output::print_error(&"interrupted twice: the run was not judged");
            std::process::exit(exit_code::HARNESS_FAILURE.into());
        }
        state.came = true;
        // A run that goes on is stopped and then judged in full; only judging itself is cut short.
        let is_told = state.listener.as_ref().is_some_and(|run| run.try_send(()).is_ok());
        if !is_told {
            judge::interrupt();
        }
    }

    fn receiver(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).listener = Some(sender);
        receiver
    }

    fn came(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).came
    }
}

#[cfg(test)]
mod tests {
    use results::Overall;

    use super::*;

    #[test]
    fn the_worst_of_several_runs_is_told() {
        let codes = [Overall::Valid, Overall::Unknown, Overall::HarnessFailure, Overall::Violation];
        for (at, better) in codes.iter().enumerate() {
            for worse in &codes[at..] {
                let (one, other) = (better.exit_code(), worse.exit_code());
                assert_eq!(worst(one, other), other);
                assert_eq!(worst(other, one), other);
            }
        }
    }

    #[test]
    fn every_key_of_a_scenario_has_a_flag() {
        let command = <Arguments as clap::Args>::augment_args(clap::Command::new("run"));
        let flags: Vec<String> = command
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .map(|flag| flag.replace('-', "_"))
            .collect();
        for key in results::scenario::KEYS {
            let known = flags.iter().any(|flag| flag == key)
                || (*key == "trace" && flags.contains(&"no_trace".to_owned()))
                || (*key == "timing" && flags.contains(&"heartbeat_ms".to_owned()));
            assert!(known, "no flag for {key}");
        }
    }
}
