//! `faults.jsonl`: what was done to the cluster, and what proves that it took effect.
//!
//! A fault has one `inject`, any number of `evidence` events while it is in force, and a `heal`;
//! one that could not be applied has a `skip` instead.

use std::path::Path;

use protocol::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::Error;
use crate::json_log::{JsonLog, JsonLogWriter, read_json_log};

/// Version of the `faults.jsonl` format; it stands in `run.json`.
pub const FAULTS_FORMAT: u32 = 1;

/// What an event of a fault says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultOp {
    /// The fault begins.
    Inject,
    /// The fault was seen to take effect.
    Evidence,
    /// The fault ends.
    Heal,
    /// The fault was due but could not be applied; `evidence` says why.
    Skip,
}

/// One line of `faults.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// The same for all events of one fault; unique within a run.
    pub id: u64,
    /// Nanoseconds since the run began.
    pub time: u64,
    /// What happened to the fault.
    pub op: FaultOp,
    /// The kind of fault, such as `kill` or `partition-bridge`.
    pub fault: String,
    /// The nodes that it was aimed at.
    #[serde(default)]
    pub targets: Vec<NodeId>,
    /// The fault's own parameters, such as a probability or the sides of a partition.
    #[serde(default)]
    pub params: Map<String, Json>,
    /// What set it off: `schedule`, or a description of the event that did.
    #[serde(default)]
    pub trigger: Json,
    /// What was seen: exit status, process state, connections cut, messages dropped; null if
    /// nothing. An object with `"effective": false` says that nothing changed.
    #[serde(default)]
    pub evidence: Json,
}

impl FaultEvent {
    /// An event with nothing but what every event has.
    pub fn new(id: u64, time: u64, op: FaultOp, fault: &str) -> FaultEvent {
        FaultEvent {
            id,
            time,
            op,
            fault: fault.to_string(),
            targets: Vec::new(),
            params: Map::new(),
            trigger: Json::Null,
            evidence: Json::Null,
        }
    }

    /// Whether this event proves that its fault changed something.
    pub fn shows_effect(&self) -> bool {
        self.op == FaultOp::Evidence
            && !self.evidence.is_null()
            && self.evidence.get("effective") != Some(&Json::Bool(false))
    }
}

/// Writes `faults.jsonl`.
pub type FaultLogWriter = JsonLogWriter<FaultEvent>;

/// Reads `faults.jsonl`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for a line that is no fault event (a cut last line is left out).
pub fn read_fault_log(path: &Path) -> Result<JsonLog<FaultEvent>, Error> {
    read_json_log(path, "a fault event {id, time, op, fault, targets, params, trigger, evidence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FaultEvent {
        FaultEvent {
            targets: vec!["n3".into()],
            trigger: "schedule".into(),
            evidence: serde_json::from_str(r#"{"signal":9}"#).unwrap(),
            ..FaultEvent::new(4, 1_500, FaultOp::Evidence, "kill")
        }
    }

    #[test]
    fn a_golden_line() {
        assert_eq!(
            serde_json::to_string(&sample()).unwrap(),
            r#"{"id":4,"time":1500,"op":"evidence","fault":"kill","targets":["n3"],"params":{},"trigger":"schedule","evidence":{"signal":9}}"#
        );
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_its_whole_lines() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("faults.jsonl");
        let events = [sample(), FaultEvent::new(5, 2_000, FaultOp::Heal, "pause"), sample()];
        let mut writer = FaultLogWriter::create(&path).unwrap();
        for event in &events {
            writer.write(event).unwrap();
        }
        writer.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let log = read_fault_log(&path).unwrap();
            let ends = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count();
            // A line that lacks only its newline is whole.
            let is_cut_before_newline = bytes.get(cut) == Some(&b'\n');
            let whole = ends + usize::from(is_cut_before_newline);
            assert_eq!(log.records, events[..whole], "cut at {cut}");
            let line_begun = cut > 0 && bytes[cut - 1] != b'\n' && !is_cut_before_newline;
            assert_eq!(log.torn_line.is_some(), line_begun, "cut at {cut}");
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("faults.jsonl");
        std::fs::write(&path, "{\"id\":1}\n{}\n").unwrap();
        let error = read_fault_log(&path).unwrap_err().to_string();
        assert!(error.contains("faults.jsonl:1: not a fault event"), "{error}");
        assert!(error.contains("missing field `time`"), "{error}");
    }
}
