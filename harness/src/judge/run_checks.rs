//! Checks of a run that rest on its manifest and fault log.

use checker::model::{ModelKind, ModelSpec};
use results::fault_log::read_fault_log;
use results::manifest::{Manifest, RunOutcome};
use results::vacuity::{self, Activity};
use results::{Check, CheckVerdict, FaultEvent, HarnessFailure, RunDir};
use serde_json::json;

use super::JudgeError;
use super::history::Tally;

/// Share of late probes, in percent, above which the machine is not fit to show that a cluster
/// makes no progress.
const LATE_PERCENT_MAX: u64 = 5;

/// Fewest probes that say anything of the machine.
const PROBES_MIN: u64 = 20;

/// The run's fault log; empty if the run ended before it was created.
///
/// # Errors
/// A line that is no fault event.
pub fn faults(run: &RunDir) -> Result<Vec<FaultEvent>, JudgeError> {
    match run.faults().exists() {
        true => Ok(read_fault_log(&run.faults())?.records),
        false => Ok(Vec::new()),
    }
}

/// The model that the manifest names.
///
/// # Errors
/// A name that this version does not know.
pub fn model(run: &RunDir, manifest: &Manifest) -> Result<ModelSpec, JudgeError> {
    let kind: ModelKind = manifest.model.name.parse().map_err(|_| JudgeError::History {
        path: run.manifest(),
        problem: format!("this version knows no model called `{}`", manifest.model.name),
    })?;
    let init = manifest.model.init.as_ref().map(results::history::json_to_value);
    Ok(ModelSpec { kind, init })
}

/// What the harness or the machine did wrong.
pub fn harness_failures(manifest: &Manifest) -> Vec<HarnessFailure> {
    let mut failures = Vec::new();
    if let RunOutcome::Failed { reason } = &manifest.outcome {
        failures.push(HarnessFailure { during: "driving the run".into(), reason: reason.clone() });
    }
    for exit in &manifest.exits {
        if let Some(excuse) = &exit.excuse {
            failures.push(HarnessFailure {
                during: format!("running node {}", exit.node),
                reason: format!("it ended ({}): {excuse}", exit.status),
            });
        }
    }
    failures
}

/// `vacuity`: whether the run showed anything.
pub fn vacuity(manifest: &Manifest, faults: &[FaultEvent], tally: &Tally) -> Check {
    let activity = Activity {
        ok: tally.ok,
        ok_invoked_after_first_effect: tally.ok_invoked_after_first_effect,
        faults: vacuity::count_faults(faults),
    };
    vacuity::check(&activity, manifest.scenario.min_ok)
}

/// `unexpected-exit`: no node ended unprompted.
pub fn unexpected_exits(manifest: &Manifest) -> Check {
    let exits: Vec<_> = manifest.exits.iter().filter(|exit| exit.excuse.is_none()).collect();
    let Some(first) = exits.first() else {
        return Check::new("unexpected-exit", CheckVerdict::Valid, "");
    };
    let tail = first.log_tail.last().map(|line| format!(": {line}")).unwrap_or_default();
    let reason = format!(
        "node {} (incarnation {}) ended unprompted {:.3} s into the run: {}{tail}",
        first.node,
        first.incarnation,
        first.time as f64 / 1e9,
        first.status,
    );
    Check::new("unexpected-exit", CheckVerdict::Violation, reason).with_evidence(json!(exits))
}

/// `liveness`: after the last heal the cluster made progress.
pub fn liveness(manifest: &Manifest) -> Check {
    let Some(recovery) = &manifest.recovery else {
        let reason = "the run ended before progress after the last heal was waited for";
        return Check::new("liveness", CheckVerdict::Skipped, reason);
    };
    let waited_s = recovery.waited_ns as f64 / 1e9;
    if recovery.unmet.is_empty() {
        let reason = format!("progress {waited_s:.2} s after the last heal");
        return Check::new("liveness", CheckVerdict::Valid, reason);
    }
    let unmet = recovery.unmet.join("; ");
    let is_fit = recovery.probes >= PROBES_MIN
        && recovery.late_probes * 100 <= recovery.probes * LATE_PERCENT_MAX;
    let machine =
        format!("{} of {} probes of the machine were late", recovery.late_probes, recovery.probes);
    // What else may have kept the cluster from serving, or the harness from seeing that it did.
    let excused = manifest.exits.iter().find_map(|exit| {
        let why = exit.excuse.as_ref()?;
        Some(format!("node {} ended by no fault of its own: {why}", exit.node))
    });
    let breached = manifest.breaches.first().map(|breach| {
        format!("answers of node {} could not be understood: see node-contract", breach.node)
    });
    if let Some(doubt) = excused.or(breached) {
        let reason =
            format!("no progress within {waited_s:.1} s of the last heal: {unmet}; but {doubt}");
        return Check::new("liveness", CheckVerdict::Unknown, reason)
            .with_evidence(json!(recovery));
    }
    let (verdict, reason) = match is_fit {
        true => (
            CheckVerdict::Violation,
            format!("no progress within {waited_s:.1} s of the last heal: {unmet} ({machine})"),
        ),
        false => (
            CheckVerdict::Unknown,
            format!(
                "no progress within {waited_s:.1} s of the last heal, but the machine was not fit \
                 to show it ({machine}): {unmet}"
            ),
        ),
    };
    Check::new("liveness", verdict, reason).with_evidence(json!(recovery))
}

/// `node-contract`: nodes answered as the contract asks.
pub fn node_contract(manifest: &Manifest) -> Check {
    let Some(first) = manifest.breaches.first() else {
        return Check::new("node-contract", CheckVerdict::Valid, "");
    };
    Check::new("node-contract", CheckVerdict::Unknown, first.what.clone())
        .with_evidence(json!(manifest.breaches))
}

/// `completed`: the run went through all its phases.
pub fn completed(manifest: &Manifest) -> Check {
    let (verdict, reason) = match &manifest.outcome {
        RunOutcome::Completed => (CheckVerdict::Valid, ""),
        RunOutcome::Interrupted => {
            (CheckVerdict::Unknown, "the run was interrupted: only its beginning was judged")
        }
        RunOutcome::Running => (
            CheckVerdict::Unknown,
            "the record ends in the middle of the run (the harness was killed, or still runs): \
             only what was recorded was judged",
        ),
        RunOutcome::Failed { .. } | RunOutcome::NeverServed { .. } => {
            (CheckVerdict::Unknown, "the run could not be carried through")
        }
    };
    Check::new("completed", verdict, reason)
}
