//! Whether a run showed anything: a green run in which nothing happened must not look green.

use std::collections::BTreeMap;

use crate::{Check, CheckVerdict, FaultCount, FaultEvent, FaultOp};

/// Fewest `ok` operations for a run to mean something, unless the scenario says otherwise.
pub const MIN_OK_DEFAULT: u64 = 100;

/// What the rule looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Operations that ended with `ok`.
    pub ok: u64,
    /// Of those, the ones that were invoked after the first fault had taken effect.
    pub ok_invoked_after_first_effect: u64,
    /// What each kind of fault did.
    pub faults: Vec<FaultCount>,
}

/// Why a run was vacuous, one sentence a reason; empty when it was not.
///
/// A run is vacuous when fewer than `min_ok` operations succeeded, when a fault took effect and no
/// operation invoked after that succeeded, or when a kind of fault was injected and never took
/// effect. A run without faults is judged by the number of operations alone.
pub fn vacuous(activity: &Activity, min_ok: u64) -> Vec<String> {
    let mut reasons = Vec::new();
    if activity.ok < min_ok {
        reasons.push(format!("only {} operations succeeded, {min_ok} are needed", activity.ok));
    }
    let has_effect = activity.faults.iter().any(|fault| fault.effective > 0);
    if has_effect && activity.ok_invoked_after_first_effect == 0 {
        reasons.push("no operation invoked after the first effective fault succeeded".to_string());
    }
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for fault in &activity.faults {
        let (injected, effective) = kinds.entry(kind_of(&fault.fault)).or_default();
        *injected += fault.injected;
        *effective += fault.effective;
    }
    for (kind, (injected, effective)) in kinds {
        if injected > 0 && effective == 0 {
            reasons
                .push(format!("fault {kind} was injected {injected} times and never took effect"));
        }
    }
    reasons
}

/// The kind of a fault: its name up to the first hyphen. What follows says in which shape it came:
/// `partition-bridge` is a partition.
pub fn kind_of(fault: &str) -> &str {
    fault.split('-').next().unwrap_or(fault)
}

/// The rule as a check named `vacuity`.
pub fn check(activity: &Activity, min_ok: u64) -> Check {
    let reasons = vacuous(activity, min_ok);
    let verdict = if reasons.is_empty() { CheckVerdict::Valid } else { CheckVerdict::Unknown };
    Check::new("vacuity", verdict, reasons.join("; "))
}

/// Counts what each kind of fault did, in order of name.
///
/// An `evidence` event whose evidence is null or `{"effective": false}` proves nothing; any number
/// of them for one fault count once.
pub fn count_faults<'a>(events: impl IntoIterator<Item = &'a FaultEvent>) -> Vec<FaultCount> {
    let mut counts: BTreeMap<&str, FaultCount> = BTreeMap::new();
    let mut effective = std::collections::BTreeSet::new();
    for event in events {
        let count = counts
            .entry(&event.fault)
            .or_insert_with(|| FaultCount { fault: event.fault.clone(), ..FaultCount::default() });
        match event.op {
            FaultOp::Inject => count.injected += 1,
            FaultOp::Skip => count.skipped += 1,
            FaultOp::Evidence if event.shows_effect() && effective.insert(event.id) => {
                count.effective += 1;
            }
            FaultOp::Evidence | FaultOp::Heal => {}
        }
    }
    counts.into_values().collect()
}

/// When the first fault is known to have taken effect, in nanoseconds of the run.
pub fn first_effect_ns<'a>(events: impl IntoIterator<Item = &'a FaultEvent>) -> Option<u64> {
    events.into_iter().filter(|event| event.shows_effect()).map(|event| event.time).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(ok: u64, after: u64, faults: &[(u64, u64)]) -> Activity {
        let count = |(at, &(injected, effective)): (usize, &(u64, u64))| FaultCount {
            fault: format!("f{at}"),
            injected,
            effective,
            skipped: 0,
        };
        let faults = faults.iter().enumerate().map(count).collect();
        Activity { ok, ok_invoked_after_first_effect: after, faults }
    }

    #[test]
    fn each_reason_alone_makes_a_run_vacuous() {
        for (activity, reasons) in [
            (activity(100, 1, &[(1, 1)]), 0),
            (activity(100, 0, &[]), 0),
            (activity(99, 1, &[(1, 1)]), 1),
            (activity(100, 0, &[(1, 1)]), 1),
            (activity(100, 1, &[(1, 1), (2, 0)]), 1),
            (activity(100, 1, &[(1, 1), (0, 0)]), 0),
            (activity(0, 0, &[(1, 1), (2, 0)]), 3),
        ] {
            assert_eq!(vacuous(&activity, 100).len(), reasons, "{activity:?}");
        }
    }

    #[test]
    fn evidence_counts_once_a_fault_and_only_if_it_shows_something() {
        let event = |id, op, evidence: &str| FaultEvent {
            evidence: serde_json::from_str(evidence).unwrap(),
            time: id * 10,
            ..FaultEvent::new(id, 0, op, "kill")
        };
        let events = [
            event(1, FaultOp::Inject, "null"),
            event(1, FaultOp::Evidence, r#"{"effective":false}"#),
            event(2, FaultOp::Inject, "null"),
            event(2, FaultOp::Evidence, r#"{"signal":9}"#),
            event(2, FaultOp::Evidence, r#"{"signal":9}"#),
            event(3, FaultOp::Skip, "null"),
        ];
        let counts = count_faults(&events);
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].injected, counts[0].effective, counts[0].skipped), (2, 1, 1));
        assert_eq!(first_effect_ns(&events), Some(20));
    }
}
