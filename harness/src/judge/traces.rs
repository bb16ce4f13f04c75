//! The invariants, judged on the nodes' traces.

use checker::invariants::{Finding, Invariant, Outcome, Witness};
use results::manifest::Manifest;
use results::{Check, CheckVerdict, RunDir, trace_file};
use serde_json::json;

/// A check for each invariant of the system's family.
pub fn check(run: &RunDir, manifest: &Manifest) -> Vec<Check> {
    match trace_file::judge(run, manifest) {
        Ok(findings) => findings.iter().map(of_finding).collect(),
        // A trace that cannot be read at all is a gap as wide as the run.
        Err(error) => Invariant::ALL
            .iter()
            .map(|invariant| Check::new(invariant.name(), CheckVerdict::Unknown, error.to_string()))
            .collect(),
    }
}

fn of_finding(finding: &Finding) -> Check {
    let name = finding.invariant.name();
    match &finding.outcome {
        Outcome::Valid => Check::new(name, CheckVerdict::Valid, ""),
        Outcome::Violation { why, events } => {
            let events: Vec<String> = events.iter().map(Witness::to_string).collect();
            Check::new(name, CheckVerdict::Violation, why.clone())
                .with_evidence(json!({ "events": events }))
        }
        Outcome::Unknown { gaps } => {
            let reason = gaps.first().cloned().unwrap_or_default();
            Check::new(name, CheckVerdict::Unknown, reason).with_evidence(json!({ "gaps": gaps }))
        }
        Outcome::Skipped { why } => Check::new(name, CheckVerdict::Skipped, why.clone()),
    }
}
