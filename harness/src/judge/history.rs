//! The client history: reads it, counts it, judges it.

use std::collections::HashSet;
use std::path::Path;

use checker::budget::{Budget, Exhausted};
use checker::history::{EventKind, History, HistoryBuilder, Operation};
use checker::model::{ModelKind, ModelSpec};
use checker::verdict::{Method, Stats, Unknown, Verdict, Violation};
use checker::verify::{Opinion, verify_linearization, verify_violation};
use results::history::HistoryReader;
use results::{Check, CheckVerdict, HarnessFailure};
use serde_json::{Map, Value as Json, json};

use super::JudgeError;

/// Name of the check.
const CHECK: &str = "linearizable";

/// A history, and what was counted while it was read.
pub struct Read {
    /// The operations.
    pub history: History,
    /// The counts.
    pub tally: Tally,
}

/// Counts of a history's operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations invoked.
    pub invoked: u64,
    /// Completed with `ok`.
    pub ok: u64,
    /// Completed with `fail`.
    pub fail: u64,
    /// Completed with `info`.
    pub info: u64,
    /// Completed with `ok` and invoked after the first fault had taken effect.
    pub ok_invoked_after_first_effect: u64,
    /// The line that was cut, if the last one was.
    pub torn_line: Option<u64>,
    /// A compressed file is cut: more than its last line is missing.
    pub is_cut: bool,
}

impl Tally {
    /// As a verdict's stats show them.
    pub fn stats(&self) -> Map<String, Json> {
        let pending = self.invoked - (self.ok + self.fail + self.info).min(self.invoked);
        let counts = [
            ("operations", self.invoked),
            ("ok", self.ok),
            ("fail", self.fail),
            ("info", self.info),
            ("pending", pending),
        ];
        let mut stats: Map<String, Json> =
            counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        if let Some(line) = self.torn_line {
            stats.insert("torn_line".to_owned(), line.into());
        }
        stats
    }
}

/// Reads a history. `first_effect_ns` is when the first fault took effect.
///
/// # Errors
/// A line that is no event, or events that contradict each other; both with file and line.
pub fn read(path: &Path, first_effect_ns: Option<u64>) -> Result<Read, JudgeError> {
    let mut reader = HistoryReader::open(path)?;
    let mut builder = HistoryBuilder::new();
    let mut tally = Tally::default();
    // Processes whose operation under way was invoked after the first effect.
    let mut after = HashSet::new();
    while let Some(event) = reader.next() {
        let event = event?;
        match event.kind {
            EventKind::Invoke => {
                tally.invoked += 1;
                if matches!((reader.time_ns(), first_effect_ns), (Some(t), Some(e)) if t > e) {
                    after.insert(event.process);
                }
            }
            EventKind::Ok => {
                tally.ok += 1;
                tally.ok_invoked_after_first_effect += u64::from(after.remove(&event.process));
            }
            EventKind::Fail => {
                tally.fail += 1;
                after.remove(&event.process);
            }
            EventKind::Info => {
                tally.info += 1;
                after.remove(&event.process);
            }
        }
        builder.push(event).map_err(|error| refused(path, &error))?;
    }
    tally.torn_line = reader.torn().map(|torn| torn.line);
    tally.is_cut = reader.is_cut();
    Ok(Read { history: builder.finish(), tally })
}

/// The model whose operations these are.
///
/// # Errors
/// The names of the operations fit no model, or more than one.
pub fn guess_model(path: &Path, history: &History) -> Result<ModelKind, JudgeError> {
    let mut names: Vec<&str> = history.operations().iter().map(|op| &*op.f).collect();
    names.sort_unstable();
    names.dedup();
    let models: [(ModelKind, &[&str]); 8] = [
        (ModelKind::CasRegister, &["cas", "read", "write"]),
        (ModelKind::MultiRegister, &["txn"]),
        (ModelKind::KvAppend, &["append", "get", "put"]),
        (ModelKind::Mutex, &["acquire", "release"]),
        (ModelKind::Set, &["add", "contains", "read", "remove"]),
        (ModelKind::Counter, &["add", "read"]),
        (ModelKind::Queue, &["dequeue", "enqueue"]),
        (ModelKind::Log, &["append", "read"]),
    ];
    let fitting: Vec<ModelKind> = models
        .into_iter()
        .filter(|(_, known)| names.iter().all(|name| known.contains(name)))
        .map(|(kind, _)| kind)
        .collect();
    if let [only] = fitting.as_slice() {
        return Ok(*only);
    }
    if names.is_empty() {
        // Nothing was done: valid by any model.
        return Ok(ModelKind::CasRegister);
    }
    let candidates = if fitting.is_empty() { ModelKind::ALL.to_vec() } else { fitting };
    let candidates: Vec<&str> = candidates.into_iter().map(ModelKind::name).collect();
    Err(JudgeError::History {
        path: path.to_owned(),
        problem: format!(
            "its operations ({}) do not tell the model: name it with --model, one of {}",
            names.join(", "),
            candidates.join(", ")
        ),
    })
}

/// Judges a history by a model.
///
/// # Errors
/// An operation that the model does not know, with file and line.
pub fn judge(
    path: &Path,
    history: &History,
    spec: &ModelSpec,
    budget: &Budget<'_>,
) -> Result<Check, JudgeError> {
    let verdict = checker::check(history, spec, budget).map_err(|error| refused(path, &error))?;
    Ok(of_verdict(&verdict))
}

/// Judges a history and has the answer checked by the independent verifier. The second part is the
/// check `verified`, or a failure of ours: the verifier contradicts the checker.
///
/// # Errors
/// As for [`judge`].
pub fn judge_twice(
    path: &Path,
    history: &History,
    spec: &ModelSpec,
    budget: &Budget<'_>,
) -> Result<(Check, Result<Check, HarnessFailure>), JudgeError> {
    let mut orders = Vec::new();
    let verdict =
        checker::linearize(history, spec, &Method::ALL, budget, &mut |order| orders.push(order))
            .map_err(|error| refused(path, &error))?;
    let opinion = match &verdict {
        Verdict::Valid(_) => verify_linearization(history, spec, &orders).map(|()| {
            let reason = format!("the orders found for {} keys were replayed", orders.len());
            (CheckVerdict::Valid, reason)
        }),
        Verdict::Violation(violation) => {
            verify_violation(history, spec, violation).map(|opinion| match opinion {
                Opinion::Confirmed => {
                    (CheckVerdict::Valid, "no order of the counterexample exists".to_owned())
                }
                Opinion::TooWide => (
                    CheckVerdict::Skipped,
                    "the counterexample has too many orders to be re-checked".to_owned(),
                ),
            })
        }
        Verdict::Unknown(_) => Ok((CheckVerdict::Skipped, "nothing was decided".to_owned())),
    };
    let second = opinion.map(|(verdict, reason)| Check::new("verified", verdict, reason)).map_err(
        |mistrust| HarnessFailure {
            during: "verifying the checker's answer".to_owned(),
            reason: mistrust.to_string(),
        },
    );
    Ok((of_verdict(&verdict), second))
}

fn of_verdict(verdict: &Verdict) -> Check {
    match verdict {
        Verdict::Valid(stats) => Check::new(CHECK, CheckVerdict::Valid, decided(stats)),
        Verdict::Violation(violation) => of_violation(violation),
        Verdict::Unknown(unknown) => of_unknown(unknown),
    }
}

fn refused(path: &Path, error: &dyn std::fmt::Display) -> JudgeError {
    JudgeError::History { path: path.to_owned(), problem: error.to_string() }
}

fn decided(stats: &Stats) -> String {
    let methods: Vec<String> =
        stats.methods.iter().map(|(method, keys)| format!("{keys} by {method}")).collect();
    let keys = if stats.keys == 1 { "key" } else { "keys" };
    let how = if methods.is_empty() { "none decided".to_owned() } else { methods.join(", ") };
    format!("{} operations on {} {keys} ({how})", stats.operations, stats.keys)
}

fn of_violation(violation: &Violation) -> Check {
    let key = violation.key.as_ref().map(|key| format!("key {key}: ")).unwrap_or_default();
    let reason = format!("{key}{}", violation.why);
    Check::new(CHECK, CheckVerdict::Violation, reason).with_evidence(json!({
        "key": violation.key.as_ref().map(ToString::to_string),
        "operations": violation.operations.iter().map(Operation::to_string).collect::<Vec<_>>(),
        "why": violation.why,
        "implies": violation.implies,
        "method": violation.method.name(),
    }))
}

fn of_unknown(unknown: &Unknown) -> Check {
    let budget = match unknown.exhausted {
        Exhausted::Stopped => "the time budget ended",
        Exhausted::Bytes => "the memory budget ended",
        Exhausted::Methods => "no method that was allowed decides it",
    };
    let reason = format!(
        "{budget} with {} keys undecided; decided: {}",
        unknown.undecided_keys,
        decided(&unknown.decided)
    );
    let undecided: Vec<String> = unknown
        .undecided
        .iter()
        .map(|key| key.as_ref().map_or("(no key)".to_owned(), ToString::to_string))
        .collect();
    Check::new(CHECK, CheckVerdict::Unknown, reason)
        .with_evidence(json!({ "undecided_keys": undecided }))
}
