//! From what was recorded to a verdict, from the files alone: the same at the end of a run and
//! years later.
//!
//! Each check lies in a function of its own and sees only the records it needs. A check that
//! cannot be made says so; none masks another.

mod history;
mod run_checks;
mod traces;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use checker::budget::Budget;
use checker::history::History;
use checker::model::{ModelKind, ModelSpec};
use checker::value::Value;
use results::manifest::{Manifest, RunOutcome};
use results::{BudgetLimits, Check, CheckVerdict, HarnessFailure, RunDir, RunVerdict};

/// Why something cannot be judged at all.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A file is missing or not what it should be; the text names file and line.
    #[error(transparent)]
    Results(#[from] results::Error),
    /// A history contradicts itself; the text names file and lines.
    #[error("{}: {problem}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The run's nodes never served: there is nothing to judge.
    #[error("this run never began: {0}")]
    NeverServed(String),
}

/// Set by Ctrl-C while judging.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes checks that are under way answer `unknown` as soon as they can.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// What a history file that belongs to no run is judged by.
#[derive(Clone, Debug, Default)]
pub struct HistoryRules {
    /// The model; `None`: told by the operations' names.
    pub model: Option<ModelKind>,
    /// The initial state; `None`: the model's natural one.
    pub init: Option<Value>,
}

/// How something is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the checks may use; `None`: the run's own limits, or the default.
    pub limits: Option<BudgetLimits>,
    /// Have the checker's answers checked by the independent verifier.
    pub verify: bool,
}

impl Options {
    /// The checks of a history, and what failed of ours.
    fn judge(
        self,
        path: &Path,
        history: &History,
        spec: &ModelSpec,
        limits: BudgetLimits,
    ) -> Result<(Vec<Check>, Vec<HarnessFailure>), JudgeError> {
        with_budget(limits, |budget| {
            if !self.verify {
                return Ok((vec![history::judge(path, history, spec, budget)?], Vec::new()));
            }
            Ok(match history::judge_twice(path, history, spec, budget)? {
                (check, Ok(second)) => (vec![check, second], Vec::new()),
                (check, Err(failure)) => (vec![check], vec![failure]),
            })
        })
    }
}

/// Judges a history file that belongs to no run.
///
/// # Errors
/// [`JudgeError`].
pub fn history_file(
    path: &Path,
    rules: &HistoryRules,
    options: Options,
) -> Result<RunVerdict, JudgeError> {
    let began = Instant::now();
    let read = history::read(path, None)?;
    let kind = match rules.model {
        Some(kind) => kind,
        None => history::guess_model(path, &read.history)?,
    };
    let spec = ModelSpec { kind, init: rules.init.clone() };
    let limits = options.limits.unwrap_or_default();
    let (mut checks, failures) = options.judge(path, &read.history, &spec, limits)?;
    if read.tally.is_cut {
        let reason = "the compressed file is cut: only what it still holds was judged";
        checks.push(Check::new("completed", CheckVerdict::Unknown, reason));
    }
    let mut verdict = RunVerdict::new(&path.display().to_string(), checks, failures);
    verdict.stats = read.tally.stats();
    verdict.stats.insert("model".to_owned(), kind.name().into());
    add_duration(&mut verdict, began.elapsed());
    Ok(verdict)
}

/// Judges a run from its directory; without limits of their own with those of its scenario.
///
/// # Errors
/// [`JudgeError`] if the manifest or the fault log cannot be read. A check that cannot be made is
/// no error: it says so, or is a failure of the harness, beside the checks that can.
pub fn run_dir(run: &RunDir, options: Options) -> Result<RunVerdict, JudgeError> {
    let began = Instant::now();
    let manifest = Manifest::read(&run.manifest())?;
    if let RunOutcome::NeverServed { reason } = &manifest.outcome {
        return Err(JudgeError::NeverServed(reason.clone()));
    }
    let limits = options.limits.unwrap_or(manifest.scenario.budget);
    let faults = run_checks::faults(run)?;
    let mut failures = run_checks::harness_failures(&manifest);
    let mut checks = Vec::new();
    let mut stats = Default::default();
    let mut vacuity = None;
    let path = run.history();
    let judged =
        history::read(&path, results::vacuity::first_effect_ns(&faults)).and_then(|read| {
            stats = read.tally.stats();
            vacuity = Some(run_checks::vacuity(&manifest, &faults, &read.tally));
            let spec = run_checks::model(run, &manifest)?;
            options.judge(&path, &read.history, &spec, limits)
        });
    match judged {
        Ok((made, failed)) => {
            checks.extend(made);
            failures.extend(failed);
        }
        // What we wrote ourselves and cannot read is our failure, not the system's.
        Err(error) => failures.push(HarnessFailure {
            during: "judging the run's history".to_owned(),
            reason: error.to_string(),
        }),
    }
    checks.extend(traces::check(run, &manifest));
    checks.push(run_checks::unexpected_exits(&manifest));
    checks.push(run_checks::liveness(&manifest));
    checks.push(run_checks::node_contract(&manifest));
    checks.push(run_checks::completed(&manifest));
    checks.extend(vacuity);
    mark_outside_model(&manifest, &mut checks);
    let mut verdict = RunVerdict::new(run.id(), checks, failures);
    verdict.stats = stats;
    verdict.stats.insert("seed".to_owned(), manifest.seed.into());
    verdict.stats.insert("directory".to_owned(), run.path().display().to_string().into());
    verdict.faults = results::vacuity::count_faults(&faults);
    add_duration(&mut verdict, began.elapsed());
    Ok(verdict)
}

/// The same verdict with failures of the harness beside it, first.
pub fn with_failures(verdict: RunVerdict, mut failures: Vec<HarnessFailure>) -> RunVerdict {
    if failures.is_empty() {
        return verdict;
    }
    failures.extend(verdict.harness_failures);
    RunVerdict {
        stats: verdict.stats,
        faults: verdict.faults,
        ..RunVerdict::new(&verdict.subject, verdict.checks, failures)
    }
}

/// Calls `judge` with a budget of these limits, from now on.
fn with_budget<T>(limits: BudgetLimits, judge: impl FnOnce(&Budget<'_>) -> T) -> T {
    let deadline = Instant::now().checked_add(limits.time);
    let should_stop = || {
        INTERRUPTED.load(Ordering::Relaxed)
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
    };
    judge(&Budget { should_stop: &should_stop, bytes_max: limits.bytes })
}

/// Findings of a run whose faults went beyond the system's model say so.
fn mark_outside_model(manifest: &Manifest, checks: &mut [Check]) {
    if manifest.outside_model.is_empty() {
        return;
    }
    for check in checks.iter_mut().filter(|check| check.verdict == CheckVerdict::Violation) {
        check.outside_model = true;
        let promises = manifest.outside_model.join(", ");
        check.reason = format!("outside the system's model ({promises}): {}", check.reason);
    }
}

fn add_duration(verdict: &mut RunVerdict, duration: Duration) {
    let seconds = (duration.as_secs_f64() * 1_000.0).round() / 1_000.0;
    verdict.stats.insert("check_seconds".to_owned(), seconds.into());
}
