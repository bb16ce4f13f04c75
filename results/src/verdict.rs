//! `verdict.json`: what the checks of a run said, and what follows from them together.
//!
//! A check says one of four things. The run's verdict is the first that applies: a violation, a
//! failure of the harness itself, an unknown, and only then valid. A harness failure stands beside
//! the checks and never in place of one, so a violation that was proven stays proven.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{Error, write_atomically};

/// Version of the `verdict.json` format.
pub const VERDICT_FORMAT: u32 = 1;

/// Exit codes of the `whitewater` program.
pub mod exit_code {
    /// Every check that could be made held.
    pub const VALID: u8 = 0;
    /// A check found a violation.
    pub const VIOLATION: u8 = 1;
    /// Usage or configuration is wrong, or the system's nodes never served at first start.
    pub const USAGE: u8 = 2;
    /// No violation, and at least one check could not tell.
    pub const UNKNOWN: u8 = 3;
    /// The harness itself failed.
    pub const HARNESS_FAILURE: u8 = 4;
}

/// What one check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    /// The property held.
    Valid,
    /// The property was broken; the evidence shows how.
    Violation,
    /// It could not be told: a budget ran out, a trace has a gap, the run was vacuous.
    Unknown,
    /// The system does not offer what the check needs.
    Skipped,
}

/// The verdict of a run, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overall {
    /// At least one check found a violation.
    Violation,
    /// No violation, but the harness failed.
    HarnessFailure,
    /// Neither, but at least one check could not tell, or none was made.
    Unknown,
    /// Everything that was checked held.
    Valid,
}

impl Overall {
    /// The exit code that says this.
    pub const fn exit_code(self) -> u8 {
        match self {
            Overall::Violation => exit_code::VIOLATION,
            Overall::HarnessFailure => exit_code::HARNESS_FAILURE,
            Overall::Unknown => exit_code::UNKNOWN,
            Overall::Valid => exit_code::VALID,
        }
    }

    /// As it stands in `verdict.json` and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Overall::Violation => "violation",
            Overall::HarnessFailure => "harness-failure",
            Overall::Unknown => "unknown",
            Overall::Valid => "valid",
        }
    }

    const fn severity(self) -> u8 {
        match self {
            Overall::Violation => 3,
            Overall::HarnessFailure => 2,
            Overall::Unknown => 1,
            Overall::Valid => 0,
        }
    }

    /// What checks and harness failures say together. Checks that were all skipped, or none at
    /// all, have shown nothing: that is unknown.
    pub fn of(
        checks: impl IntoIterator<Item = CheckVerdict>,
        has_harness_failure: bool,
    ) -> Overall {
        let (mut valid, mut violation, mut unknown) = (false, false, false);
        for check in checks {
            match check {
                CheckVerdict::Valid => valid = true,
                CheckVerdict::Violation => violation = true,
                CheckVerdict::Unknown => unknown = true,
                CheckVerdict::Skipped => {}
            }
        }
        if violation {
            Overall::Violation
        } else if has_harness_failure {
            Overall::HarnessFailure
        } else if unknown || !valid {
            Overall::Unknown
        } else {
            Overall::Valid
        }
    }

    /// The worst of several runs or files; `None` when there are none.
    pub fn worst(verdicts: impl IntoIterator<Item = Overall>) -> Option<Overall> {
        verdicts.into_iter().max_by_key(|verdict| verdict.severity())
    }
}

impl CheckVerdict {
    /// As it stands in `verdict.json` and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckVerdict::Valid => "valid",
            CheckVerdict::Violation => "violation",
            CheckVerdict::Unknown => "unknown",
            CheckVerdict::Skipped => "skipped",
        }
    }
}

/// One check of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Kebab-case name, such as `linearizable`.
    pub name: String,
    /// What it says.
    pub verdict: CheckVerdict,
    /// Why, in a sentence; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// The operations or events that show it, as the check gives them; null when there are none.
    #[serde(default)]
    pub evidence: Json,
    /// The finding rests on a fault that breaks an assumption of the system's model.
    #[serde(default, rename = "outside-model", skip_serializing_if = "std::ops::Not::not")]
    pub outside_model: bool,
}

impl Check {
    /// A check without evidence.
    pub fn new(name: &str, verdict: CheckVerdict, reason: impl Into<String>) -> Check {
        Check {
            name: name.to_string(),
            verdict,
            reason: reason.into(),
            evidence: Json::Null,
            outside_model: false,
        }
    }

    /// The same check with evidence.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Json) -> Check {
        self.evidence = evidence;
        self
    }
}

/// Something that the harness itself did wrong, or that the machine did to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HarnessFailure {
    /// What it was doing, such as `injecting kill on n3`.
    pub during: String,
    /// What went wrong.
    pub reason: String,
}

/// What a kind of fault did in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// The fault's name, such as `kill` or `partition-bridge`.
    pub fault: String,
    /// How often it was injected.
    pub injected: u64,
    /// How often there is evidence that it took effect.
    pub effective: u64,
    /// How often it was skipped because it could not apply.
    #[serde(default)]
    pub skipped: u64,
}

/// The content of `verdict.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunVerdict {
    /// [`VERDICT_FORMAT`].
    pub format: u32,
    /// The run's id, or the path of the file that was judged.
    pub subject: String,
    /// What follows from everything below.
    pub verdict: Overall,
    /// Every check, also those skipped.
    pub checks: Vec<Check>,
    /// Failures of the harness, first one first.
    #[serde(default)]
    pub harness_failures: Vec<HarnessFailure>,
    /// Numbers about the run: operations, their outcomes, rates, latencies.
    #[serde(default)]
    pub stats: Map<String, Json>,
    /// What each kind of fault did.
    #[serde(default)]
    pub faults: Vec<FaultCount>,
}

impl RunVerdict {
    /// Puts checks and failures together; [`RunVerdict::verdict`] follows from them.
    pub fn new(subject: &str, checks: Vec<Check>, harness_failures: Vec<HarnessFailure>) -> Self {
        let verdicts = checks.iter().map(|check| check.verdict);
        RunVerdict {
            format: VERDICT_FORMAT,
            subject: subject.to_string(),
            verdict: Overall::of(verdicts, !harness_failures.is_empty()),
            checks,
            harness_failures,
            stats: Map::new(),
            faults: Vec::new(),
        }
    }

    /// The exit code that says this verdict.
    pub fn exit_code(&self) -> u8 {
        self.verdict.exit_code()
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a verdict has string keys and plain values");
        text.push('\n');
        text
    }

    /// Writes the file as a whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_atomically(path, self.to_json().as_bytes())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] when it is no verdict; [`Error::Format`] when it is newer.
    pub fn read(path: &Path) -> Result<RunVerdict, Error> {
        crate::manifest::read_json(path, "verdict", VERDICT_FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_table() {
        use CheckVerdict::{Skipped, Unknown, Valid, Violation};
        let rows: [(&[CheckVerdict], bool, u8); 11] = [
            (&[Valid], false, 0),
            (&[Valid, Skipped], false, 0),
            (&[Skipped], false, 3),
            (&[], false, 3),
            (&[Valid, Unknown], false, 3),
            (&[Valid], true, 4),
            (&[Unknown, Valid], true, 4),
            (&[], true, 4),
            (&[Violation, Unknown, Valid], false, 1),
            (&[Violation], true, 1),
            (&[Unknown, Skipped, Violation], true, 1),
        ];
        for (checks, has_harness_failure, code) in rows {
            let overall = Overall::of(checks.iter().copied(), has_harness_failure);
            assert_eq!(overall.exit_code(), code, "{checks:?} {has_harness_failure}");
        }
        let codes = [
            exit_code::VALID,
            exit_code::VIOLATION,
            exit_code::USAGE,
            exit_code::UNKNOWN,
            exit_code::HARNESS_FAILURE,
        ];
        assert_eq!(codes, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_worst_of_several() {
        use Overall::{HarnessFailure, Unknown, Valid, Violation};
        let order = [Valid, Unknown, HarnessFailure, Violation];
        for (i, a) in order.into_iter().enumerate() {
            for (j, b) in order.into_iter().enumerate() {
                assert_eq!(Overall::worst([a, b]), Some(order[i.max(j)]));
            }
        }
        assert_eq!(Overall::worst([]), None);
    }

    #[test]
    fn a_verdict_round_trips_with_the_names_of_the_contract() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("verdict.json");
        let failure = HarnessFailure { during: "healing".into(), reason: "no space".into() };
        let mut verdict = RunVerdict::new(
            "20261122T142501.123Z-9f3a2c41",
            vec![
                Check::new("linearizable", CheckVerdict::Valid, ""),
                Check::new("election-safety", CheckVerdict::Skipped, "no trace"),
            ],
            vec![failure],
        );
        verdict.faults.push(FaultCount {
            fault: "kill".into(),
            injected: 2,
            effective: 1,
            skipped: 0,
        });
        verdict.write(&path).unwrap();
        assert_eq!(RunVerdict::read(&path).unwrap(), verdict);
        let json: Json = serde_json::from_str(&verdict.to_json()).unwrap();
        assert_eq!(json["verdict"], "harness-failure");
        assert_eq!(json["checks"][1]["verdict"], "skipped");
        assert!(json["stats"].is_object());
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("verdict.json");
        std::fs::write(&path, r#"{"format":99,"shape":"unheard of"}"#).unwrap();
        let error = RunVerdict::read(&path).unwrap_err().to_string();
        assert!(error.contains("verdict format 99") && error.contains("reads format 1"), "{error}");
    }
}
