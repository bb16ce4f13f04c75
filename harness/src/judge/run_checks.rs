//! Checks of a run that rest on its manifest and fault log.

use std::time::Duration;

use checker::model::{ModelKind, ModelSpec};
use results::fault_log::read_fault_log;
use results::manifest::{Manifest, Recovery, RunOutcome};
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

/// Fewest of the longest election timeouts that a wait for progress must span to accuse anyone.
const ELECTIONS_MIN: u32 = 20;

/// Fewest operation timeouts that it must span: clients may be held that long by what they asked
/// before the heal.
const OP_TIMEOUTS_MIN: u32 = 2;

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
    let what = format!("no progress within {waited_s:.1} s of the last heal");
    let (verdict, reason) = match why_not_told(manifest, recovery) {
        None => {
            let probes = format!("{} probes of the machine were in time", recovery.probes);
            (CheckVerdict::Violation, format!("{what}: {unmet} ({probes})"))
        }
        Some(why) => (CheckVerdict::Unknown, format!("{what}, but {why}: {unmet}")),
    };
    Check::new("liveness", verdict, reason).with_evidence(json!(recovery))
}

/// Why missing progress cannot be held against the cluster, if it cannot.
fn why_not_told(manifest: &Manifest, recovery: &Recovery) -> Option<String> {
    if let Some(exit) = manifest.exits.iter().find(|exit| exit.excuse.is_some()) {
        return Some(format!("node {} was missing through no fault of its own", exit.node));
    }
    if let Some(breach) = manifest.breaches.first() {
        return Some(format!(
            "answers of node {} could not be understood: see node-contract",
            breach.node
        ));
    }
    let scenario = &manifest.scenario;
    let timeout = Duration::from_millis(scenario.timing.election_timeout_ms_max);
    let least = timeout
        .saturating_mul(ELECTIONS_MIN)
        .max(scenario.op_timeout.0.saturating_mul(OP_TIMEOUTS_MIN));
    if Duration::from_nanos(recovery.waited_ns) < least {
        return Some(format!(
            "a wait of less than {:.1} s ({ELECTIONS_MIN} election timeouts, {OP_TIMEOUTS_MIN} \
             operation timeouts) tells nothing",
            least.as_secs_f64()
        ));
    }
    let is_fit = recovery.probes >= PROBES_MIN
        && recovery.late_probes.saturating_mul(100)
            <= recovery.probes.saturating_mul(LATE_PERCENT_MAX);
    (!is_fit).then(|| {
        format!(
            "the machine was not fit to show it ({} of {} probes were late, {PROBES_MIN} in time \
             are needed)",
            recovery.late_probes, recovery.probes
        )
    })
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

#[cfg(test)]
mod tests {
    use protocol::NodeId;
    use results::manifest::UnexpectedExit;

    use super::*;
    use crate::testing::manifest;

    fn exit(excuse: Option<&str>) -> UnexpectedExit {
        UnexpectedExit {
            time: 1_500_000_000,
            node: NodeId::new("n2"),
            incarnation: 1,
            status: "exit code 101".into(),
            excuse: excuse.map(str::to_owned),
            log_tail: vec!["first".into(), "panicked".into()],
        }
    }

    fn recovery(unmet: &[&str], waited_s: u64, probes: u64, late_probes: u64) -> Recovery {
        let unmet = unmet.iter().map(|&why| why.to_owned()).collect();
        let limit_ns = 30_000_000_000;
        let waited_ns = waited_s * 1_000_000_000;
        Recovery { waited_ns, limit_ns, unmet, probes, late_probes }
    }

    #[test]
    fn missing_progress_is_held_against_a_cluster_only_on_a_fit_machine() {
        use CheckVerdict::{Skipped, Unknown, Valid, Violation};
        assert_eq!(liveness(&manifest()).verdict, Skipped);
        let stuck: &[&str] = &["no node says that it leads"];
        for (recovery, verdict, why) in [
            (recovery(&[], 2, 0, 0), Valid, "progress 2.00 s"),
            (recovery(stuck, 30, 600, 0), Violation, "no node says"),
            // 5 % of late probes are borne.
            (recovery(stuck, 30, 600, 30), Violation, "no node says"),
            (recovery(stuck, 30, 600, 31), Unknown, "31 of 600 probes"),
            (recovery(stuck, 30, 19, 0), Unknown, "0 of 19 probes"),
            (recovery(stuck, 30, 0, 0), Unknown, "0 of 0 probes"),
            // Twenty of the longest election timeouts are 12 s.
            (recovery(stuck, 12, 600, 0), Violation, "no node says"),
            (recovery(stuck, 11, 600, 0), Unknown, "12.0 s"),
        ] {
            let manifest = Manifest { recovery: Some(recovery.clone()), ..manifest() };
            let check = liveness(&manifest);
            assert_eq!(check.verdict, verdict, "{recovery:?}");
            assert!(check.reason.contains(why), "{}", check.reason);
        }
    }

    #[test]
    fn a_node_missing_through_no_fault_of_its_own_excuses_the_cluster() {
        let recovery = Some(recovery(&["nothing was served"], 30, 600, 0));
        let excused = vec![exit(Some("out of memory"))];
        let manifest = Manifest { recovery, exits: excused, ..manifest() };
        assert_eq!(liveness(&manifest).verdict, CheckVerdict::Unknown);
        let manifest = Manifest { exits: vec![exit(None)], ..manifest };
        assert_eq!(liveness(&manifest).verdict, CheckVerdict::Violation);
    }

    #[test]
    fn clients_held_by_old_requests_excuse_the_cluster() {
        let mut manifest = manifest();
        manifest.recovery = Some(recovery(&["nothing was served"], 30, 600, 0));
        manifest.scenario.op_timeout.0 = Duration::from_secs(20);
        assert_eq!(liveness(&manifest).verdict, CheckVerdict::Unknown);
    }

    #[test]
    fn an_exit_is_a_finding_unless_it_is_excused() {
        let with = |exits| Manifest { exits, ..manifest() };
        assert_eq!(unexpected_exits(&with(vec![])).verdict, CheckVerdict::Valid);

        let excused = with(vec![exit(Some("the disk is full"))]);
        assert_eq!(unexpected_exits(&excused).verdict, CheckVerdict::Valid);
        let failures = harness_failures(&excused);
        assert!(failures.len() == 1 && failures[0].reason.contains("the disk is full"));

        // An excuse of one node is none of another.
        let both = with(vec![exit(Some("the disk is full")), exit(None)]);
        let check = unexpected_exits(&both);
        assert_eq!(check.verdict, CheckVerdict::Violation);
        assert!(check.reason.contains("node n2 (incarnation 1)"), "{}", check.reason);
        assert!(check.reason.contains("1.500 s") && check.reason.ends_with(": panicked"));
        assert_eq!(check.evidence.as_array().map(Vec::len), Some(1));
        assert_eq!(harness_failures(&both).len(), 1);
    }

    #[test]
    fn only_a_completed_run_is_judged_as_a_whole() {
        let reason = String::new;
        for (outcome, verdict, failures) in [
            (RunOutcome::Completed, CheckVerdict::Valid, 0),
            (RunOutcome::Interrupted, CheckVerdict::Unknown, 0),
            (RunOutcome::Running, CheckVerdict::Unknown, 0),
            (RunOutcome::Failed { reason: reason() }, CheckVerdict::Unknown, 1),
            (RunOutcome::NeverServed { reason: reason() }, CheckVerdict::Unknown, 0),
        ] {
            let manifest = Manifest { outcome, ..manifest() };
            assert_eq!(completed(&manifest).verdict, verdict, "{:?}", manifest.outcome);
            assert_eq!(harness_failures(&manifest).len(), failures, "{:?}", manifest.outcome);
        }
    }

    #[test]
    fn a_breach_of_the_contract_leaves_the_verdict_open() {
        let mut manifest = manifest();
        assert_eq!(node_contract(&manifest).verdict, CheckVerdict::Valid);
        let (node, what) = (NodeId::new("n1"), "n1 sent nonsense".to_owned());
        manifest.breaches.push(results::manifest::Breach { time: 0, node, what });
        let check = node_contract(&manifest);
        assert_eq!(check.verdict, CheckVerdict::Unknown);
        assert_eq!(check.reason, "n1 sent nonsense");
    }
}
