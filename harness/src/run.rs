//! Carries one run through: prepares the system, drives the cluster, judges what was recorded.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::NodeId;
use protocol::describe::Describe;
use results::manifest::{
    Formats, Manifest, RUN_FORMAT, RunOutcome, TimeMarks, Versions, WorkloadModel, file_digest,
};
use results::scenario::Mode;
use results::{HarnessFailure, Resolved, RunDir, RunVerdict};
use tokio::sync::mpsc;
use workloads::{Settings, Workload};

use crate::coordinator::Plan;
use crate::coordinator::event::Ending;
use crate::driver::{Launcher, RealTime, Recorder, Setup, Watcher};
use crate::judge::{self, JudgeError};
use crate::nemesis::schedule::Pace;
use crate::nemesis::{self, Assumption, FaultKind};
use crate::net::Subnet;
use crate::system::{self, Places, System};
use crate::{logging, machine};

/// A run cannot begin as asked for; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A scenario whose system is built and whose every name is known.
pub struct Prepared {
    scenario: Resolved,
    system: System,
    places: Places,
    describe: Option<Describe>,
    faults: Vec<&'static FaultKind>,
    outside_model: Vec<String>,
    left_out: Vec<String>,
}

/// What came of a run.
pub struct Finished {
    /// Where it is recorded.
    pub run_dir: RunDir,
    /// What to make of it.
    pub result: RunResult,
}

/// What to make of a run.
pub enum RunResult {
    /// It was judged.
    Judged(Box<RunVerdict>),
    /// The nodes never served: nothing was tested. A sentence for the user; exit code 2.
    NeverServed(String),
}

impl Prepared {
    /// Loads and builds the system and checks every name of the scenario.
    ///
    /// # Errors
    /// [`UsageError`] says what is wrong and what would be right.
    pub fn new(scenario: Resolved) -> Result<Prepared, UsageError> {
        let usage = |error: &dyn std::fmt::Display| UsageError(error.to_string());
        let system = System::load(&scenario.system).map_err(|e| usage(&e))?;
        check_mode(&scenario, &system)?;
        let places = Places::of_this_binary()
            .map_err(|e| UsageError(format!("cannot find this program's own folder: {e}")))?;
        if !workloads::ALL.iter().any(|workload| workload.name == scenario.workload) {
            let known: Vec<&str> = workloads::ALL.iter().map(|workload| workload.name).collect();
            return Err(UsageError(format!(
                "no workload called `{}`: there are {}",
                scenario.workload,
                known.join(", ")
            )));
        }
        let Faults { chosen: faults, outside: outside_model, left_out } =
            choose_faults(&scenario, &system)?;
        places.with_a_node().fill_all(&system.command).map_err(|e| usage(&e))?;
        system::build(&system, &places).map_err(|e| usage(&e))?;
        let describe = system.describe(&places).map_err(|e| usage(&e))?;
        check_bugs(&scenario, &system, describe.as_ref())?;
        Ok(Prepared { scenario, system, places, describe, faults, outside_model, left_out })
    }

    /// Faults that were asked for by group and are not fair to the system, and why.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Runs with this seed, records under `out`, and judges.
    ///
    /// # Errors
    /// [`UsageError`] if the run directory cannot be made.
    pub async fn run(
        &self,
        seed: u64,
        out: &Path,
        interrupts: mpsc::Receiver<()>,
        watcher: &mut dyn Watcher,
    ) -> Result<Finished, UsageError> {
        let epoch_ns = machine::unix_ns();
        let began = Instant::now();
        let run_dir = RunDir::create(out, epoch_ns / 1_000_000, || machine::entropy() as u32)
            .map_err(|error| UsageError(format!("cannot make a run directory: {error}")))?;
        let log = logging::into_file(&run_dir.harness_log());
        let driven = self.drive(seed, &run_dir, epoch_ns, began, interrupts, watcher).await;
        drop(log);
        let result = match driven {
            Ok(Ending::NeverServed(why)) => RunResult::NeverServed(why),
            Ok(_) => RunResult::Judged(Box::new(judge_and_keep(&run_dir, None))),
            Err(why) => {
                let untold = keep_failure(&run_dir, why).err();
                RunResult::Judged(Box::new(judge_and_keep(&run_dir, untold)))
            }
        };
        Ok(Finished { run_dir, result })
    }

    async fn drive(
        &self,
        seed: u64,
        run_dir: &RunDir,
        epoch_ns: u64,
        began: Instant,
        interrupts: mpsc::Receiver<()>,
        watcher: &mut dyn Watcher,
    ) -> Result<Ending, String> {
        let fail = |error: &dyn std::fmt::Display| error.to_string();
        let scenario = &self.scenario;
        let nodes: Vec<NodeId> =
            (1..=scenario.nodes).map(|node| NodeId::new(format!("n{node}"))).collect();
        for node in &nodes {
            run_dir.create_node_dir(node).map_err(|e| fail(&e))?;
        }
        let subnet = Subnet::claim(machine::entropy()).map_err(|e| fail(&e))?;
        let workload = self.workload(seed);
        let manifest = self.manifest(seed, run_dir, epoch_ns, &nodes, &subnet, workload.as_ref());
        let recorder = Recorder::create(run_dir.clone(), manifest).map_err(|e| fail(&e))?;
        let setup = Setup {
            plan: self.plan(seed, nodes, workload),
            launcher: Launcher {
                run_dir: run_dir.clone(),
                system: self.system.clone(),
                places: self.places.clone(),
                timing: scenario.timing,
                seed,
                epoch_ns,
                bugs: scenario.bug.clone(),
                trace: scenario.trace,
            },
            recorder,
            subnet,
            began,
        };
        let (ending, mut recorder) =
            RealTime::run(setup, interrupts, watcher).await.map_err(|e| fail(&e))?;
        let end = began.elapsed().as_nanos() as u64;
        recorder
            .update(|manifest| {
                manifest.times.end = Some(end);
                manifest.outcome = outcome(&ending);
            })
            .map_err(|e| fail(&e))?;
        Ok(ending)
    }

    fn workload(&self, seed: u64) -> Box<dyn Workload> {
        let settings = Settings {
            seed,
            clients: self.scenario.clients as usize,
            keys: self.scenario.keys as usize,
            ops_per_key: u64::from(self.scenario.ops_per_key),
            unknowns_per_key: u64::from(self.scenario.unknowns_per_key),
        };
        workloads::by_name(&self.scenario.workload, settings).expect("the name was checked")
    }

    fn plan(&self, seed: u64, nodes: Vec<NodeId>, workload: Box<dyn Workload>) -> Plan {
        let scenario = &self.scenario;
        Plan {
            nodes,
            seed,
            clients: scenario.clients as usize,
            rate: scenario.rate,
            op_timeout: scenario.op_timeout.0,
            faults: self.faults.clone(),
            pace: Pace {
                length: scenario.time_limit.0,
                interval: scenario.fault_interval.0,
                duration: scenario.fault_duration.0,
            },
            start_limit: scenario.start_limit.0,
            recovery_limit: scenario.recovery_limit.0,
            durable: self.system.model.durable,
            timing: scenario.timing,
            workload,
        }
    }

    fn manifest(
        &self,
        seed: u64,
        run_dir: &RunDir,
        epoch_ns: u64,
        nodes: &[NodeId],
        subnet: &Subnet,
        workload: &dyn Workload,
    ) -> Manifest {
        let spec = workload.model();
        let traces = self.scenario.trace
            && self
                .describe
                .as_ref()
                .is_none_or(|describe| describe.features.iter().any(|name| name == "trace"));
        Manifest {
            format: RUN_FORMAT,
            id: run_dir.id().to_owned(),
            formats: Formats::default(),
            started_at_unix_ns: epoch_ns,
            outcome: RunOutcome::Running,
            seed,
            scenario: Resolved { seed: Some(seed), ..self.scenario.clone() },
            model: WorkloadModel { name: spec.kind.name().to_owned(), init: None },
            system_model: self.system.model.clone(),
            traces,
            nodes: nodes.to_vec(),
            incarnations: Default::default(),
            subnet: Some(format!("{}/24", subnet.ip(0))),
            versions: Versions {
                whitewater: env!("CARGO_PKG_VERSION").to_owned(),
                system: self.describe.as_ref().map(|describe| describe.version.clone()),
                protocol: self.describe.as_ref().map(|describe| describe.protocol),
            },
            binaries: self.digests(),
            argv: std::env::args().collect(),
            environment: machine::environment(),
            machine: machine::describe(),
            times: TimeMarks::default(),
            exits: Vec::new(),
            breaches: Vec::new(),
            recovery: None,
            outside_model: self.outside_model.clone(),
            more: Default::default(),
        }
    }

    /// Digests of the programs that take part, as far as they are files.
    fn digests(&self) -> std::collections::BTreeMap<String, String> {
        let mut programs: Vec<(&str, PathBuf)> = Vec::new();
        if let Ok(exe) = std::env::current_exe() {
            programs.push(("whitewater", exe));
        }
        let command = self.system.command.first();
        if let Some(Ok(program)) = command.map(|part| system::fill(part, &self.places)) {
            programs.push(("node", program.into()));
        }
        programs
            .into_iter()
            .filter_map(|(role, path)| Some((role.to_owned(), file_digest(&path).ok()?)))
            .collect()
    }
}

fn check_mode(scenario: &Resolved, system: &System) -> Result<(), UsageError> {
    let mode = scenario.mode.to_string();
    if !system.modes.contains(&mode) {
        return Err(UsageError(format!(
            "system {} does not offer mode {mode}: it offers {}",
            system.name,
            system.modes.join(", ")
        )));
    }
    match scenario.mode {
        Mode::Tcp => Ok(()),
        Mode::Stdio | Mode::Lockstep => Err(UsageError(format!(
            "this version of whitewater drives systems in mode tcp only, not in mode {mode}"
        ))),
    }
}

fn check_bugs(
    scenario: &Resolved,
    system: &System,
    describe: Option<&Describe>,
) -> Result<(), UsageError> {
    let known: Vec<&str> =
        describe.map(|d| d.bugs.iter().map(|bug| bug.name.as_str()).collect()).unwrap_or_default();
    match scenario.bug.iter().find(|bug| !known.contains(&bug.as_str())) {
        None => Ok(()),
        Some(unknown) if known.is_empty() => Err(UsageError(format!(
            "no bug called `{unknown}`: system {} has no seeded bugs",
            system.name
        ))),
        Some(unknown) => Err(UsageError(format!(
            "no bug called `{unknown}`: system {} has {}",
            system.name,
            known.join(", ")
        ))),
    }
}

/// The faults of a run.
struct Faults {
    chosen: Vec<&'static FaultKind>,
    /// Promises of the system's model that they go beyond.
    outside: Vec<String>,
    /// Faults that were asked for by group and are not fair to the system, and why.
    left_out: Vec<String>,
}

/// The kinds of faults of a run, and which promises of the system's model they go beyond. Groups
/// stay inside the model; a fault asked for by its own name is injected all the same.
fn choose_faults(scenario: &Resolved, system: &System) -> Result<Faults, UsageError> {
    let kinds = nemesis::select(&scenario.faults).map_err(UsageError)?;
    let mut left_out = Vec::new();
    let mut outside = Vec::new();
    let mut chosen = Vec::new();
    for kind in kinds {
        let broken = kind.breaks.filter(|assumption| match assumption {
            Assumption::Durable => !system.model.durable,
            Assumption::LossyPeers => !system.is_lossy(),
        });
        let by_name = scenario.faults.iter().any(|name| name == kind.name);
        match broken {
            None => chosen.push(kind),
            // Without whole messages on the wire there is nothing that could be dropped.
            Some(Assumption::LossyPeers) if by_name => {
                return Err(UsageError(format!(
                    "fault {} needs peers that bear the loss of single messages: system {} does \
                     not declare `peer_delivery = \"lossy\"` and a `peer_framing`",
                    kind.name, system.name
                )));
            }
            Some(assumption) if by_name => {
                outside.push(assumption.name().to_owned());
                chosen.push(kind);
            }
            Some(assumption) => {
                left_out.push(format!("{} (needs `{}`)", kind.name, assumption.name()));
            }
        }
    }
    if chosen.is_empty() && !left_out.is_empty() {
        return Err(UsageError(format!(
            "none of the faults asked for is fair to system {}: {}; a fault asked for by its own \
             name goes beyond what the system promises",
            system.name,
            left_out.join(", ")
        )));
    }
    outside.sort_unstable();
    outside.dedup();
    Ok(Faults { chosen, outside, left_out })
}

fn outcome(ending: &Ending) -> RunOutcome {
    match ending {
        Ending::Completed => RunOutcome::Completed,
        Ending::Interrupted => RunOutcome::Interrupted,
        Ending::NeverServed(reason) => RunOutcome::NeverServed { reason: reason.clone() },
        Ending::HarnessFailed(reason) => RunOutcome::Failed { reason: reason.clone() },
    }
}

/// Notes in the manifest why the run could not be carried through, so that judging it again says
/// the same. The reason comes back if it cannot be noted.
fn keep_failure(run_dir: &RunDir, reason: String) -> Result<(), String> {
    let path = run_dir.manifest();
    let Ok(mut manifest) = Manifest::read(&path) else { return Err(reason) };
    manifest.outcome = RunOutcome::Failed { reason: reason.clone() };
    manifest.write(&path).map_err(|_| reason)
}

/// Judges a run from its files and writes `verdict.json`. Whatever goes wrong with that is a
/// failure of the harness that stands beside what was found.
fn judge_and_keep(run_dir: &RunDir, failed: Option<String>) -> RunVerdict {
    let mut failures: Vec<HarnessFailure> = Vec::new();
    if let Some(reason) = failed {
        failures.push(HarnessFailure { during: "driving the run".to_owned(), reason });
    }
    let verdict = match judge::run_dir(run_dir, judge::Options::default()) {
        Ok(verdict) => verdict,
        Err(JudgeError::NeverServed(reason)) => {
            RunVerdict::new(run_dir.id(), Vec::new(), vec![failure("starting the nodes", reason)])
        }
        Err(error) => RunVerdict::new(
            run_dir.id(),
            Vec::new(),
            vec![failure("judging the run", error.to_string())],
        ),
    };
    let mut verdict = judge::with_failures(verdict, failures);
    if let Err(error) = verdict.write(&run_dir.verdict()) {
        let failure = failure("writing the verdict", error.to_string());
        verdict = judge::with_failures(verdict, vec![failure]);
    }
    verdict
}

fn failure(during: &str, reason: String) -> HarnessFailure {
    HarnessFailure { during: during.to_owned(), reason }
}

/// The time a run with this scenario takes if all goes well, for progress display.
pub fn expected_length(scenario: &Resolved) -> Duration {
    scenario.time_limit.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_run_could_not_be_driven_is_told_by_its_files_or_beside_them() {
        let out = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(out.path(), 0, || 7).unwrap();
        let why = || "no address is free".to_owned();
        assert_eq!(keep_failure(&run_dir, why()), Err(why()));
        let running = Manifest { outcome: RunOutcome::Running, ..crate::testing::manifest() };
        running.write(&run_dir.manifest()).unwrap();
        assert_eq!(keep_failure(&run_dir, why()), Ok(()));
        let kept = Manifest::read(&run_dir.manifest()).unwrap().outcome;
        assert_eq!(kept, RunOutcome::Failed { reason: why() });
    }
}
