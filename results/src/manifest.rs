//! `run.json`: everything that a run was, except what happened in it.
//!
//! Written when the run begins and again as it ends. A run that was cut short keeps the outcome
//! `running` and can be judged all the same.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::fault_log::FAULTS_FORMAT;
use crate::history::HISTORY_FORMAT;
use crate::message_log::MESSAGES_FORMAT;
use crate::scenario::Resolved;
use crate::verdict::VERDICT_FORMAT;
use crate::{Error, write_atomically};

/// Version of the `run.json` format.
pub const RUN_FORMAT: u32 = 1;

/// Versions of the formats of a run's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    /// `history.jsonl`.
    pub history: u32,
    /// `faults.jsonl`.
    pub faults: u32,
    /// `messages.jsonl.zst`.
    pub messages: u32,
    /// `nodes/*/trace.*.jsonl`.
    pub trace: u32,
    /// `verdict.json`.
    pub verdict: u32,
}

impl Default for Formats {
    fn default() -> Self {
        Formats {
            history: HISTORY_FORMAT,
            faults: FAULTS_FORMAT,
            messages: MESSAGES_FORMAT,
            trace: protocol::trace::TRACE_FORMAT,
            verdict: VERDICT_FORMAT,
        }
    }
}

/// What ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// The harness.
    pub whitewater: String,
    /// The system under test, as its `describe` says; null if it says nothing.
    pub system: Option<String>,
    /// The node contract that the system speaks.
    pub protocol: Option<u32>,
}

/// The machine that it ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// `uname -srm`.
    pub kernel: String,
    /// Processors that the harness may use.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// What the system promises, as its system file declares it. What is not promised is not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemModel {
    /// The protocol family, `raft`.
    pub family: String,
    /// State survives a kill.
    pub durable: bool,
    /// A client request that is delivered twice is applied once.
    pub retry_safe: bool,
    /// What the system makes of its peer links.
    pub peer_delivery: PeerDelivery,
    /// Largest clock error that leases allow for, as text such as `100ms`; null: no leases.
    #[serde(default)]
    pub clock_bound: Option<crate::Span>,
    /// How many nodes may fail, as a formula of n.
    #[serde(default = "minority")]
    pub tolerates: String,
}

fn minority() -> String {
    "(n-1)/2".to_string()
}

/// Whether the system's peer protocol survives the loss of single messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerDelivery {
    /// It relies on an ordered stream; only whole connections may break.
    Fifo,
    /// Messages may be lost, repeated and reordered.
    Lossy,
}

/// How a history of this run is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadModel {
    /// A model's name, such as `cas-register`.
    pub name: String,
    /// Its initial state; absent: the model's natural one (`Some(null)` is a value).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub init: Option<Json>,
}

/// Keeps an explicit null apart from an absent field.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value as Json;

    pub fn serialize<S: Serializer>(value: &Option<Json>, to: S) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Json>, D::Error> {
        Json::deserialize(from).map(Some)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunOutcome {
    /// It has not ended; or the harness was killed.
    Running,
    /// It went through all its phases.
    Completed,
    /// The user stopped it; it was healed and judged all the same.
    Interrupted,
    /// Its nodes never served at their first start: nothing was tested.
    NeverServed {
        /// What was seen.
        reason: String,
    },
    /// It could not be carried through.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Moments of a run, in nanoseconds since it began; null until they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeMarks {
    /// The cluster served its first request.
    pub ready: Option<u64>,
    /// The first fault was injected.
    pub first_fault: Option<u64>,
    /// The last fault was healed.
    pub healed_at: Option<u64>,
    /// The run ended.
    pub end: Option<u64>,
}

/// One incarnation of a node: what the harness knows of it without asking it.
///
/// The traces are judged by this: an incarnation that sent no byte needs no trace, and the torn
/// last line of one that was killed did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incarnation {
    /// Whether it sent any byte to a peer or a client; null: not known, then a missing trace is a
    /// gap.
    pub sent: Option<bool>,
    /// Whether the harness killed it, or it was still running at the end. Only an incarnation
    /// that ended by itself is `false`.
    pub killed: Option<bool>,
}

/// A node that ended unprompted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnexpectedExit {
    /// When, in ns of the run.
    pub time: u64,
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: u32,
    /// How, in words: `exit code 3`, `SIGSEGV`.
    pub status: String,
    /// Why the harness or the machine may be to blame instead of the node; null: nothing known.
    pub excuse: Option<String>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
}

/// Something that a node did against the node contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// When, in ns of the run.
    pub time: u64,
    /// The node.
    pub node: NodeId,
    /// What it did, and what would be right.
    pub what: String,
}

/// The wait for progress after the last heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// From the last heal until all conditions held, or the wait was given up.
    pub waited_ns: u64,
    /// How long was allowed.
    pub limit_ns: u64,
    /// Conditions that did not come true; empty if all did.
    pub unmet: Vec<String>,
    /// Probes of the machine during the wait.
    pub probes: u64,
    /// Probes that were late: the machine did not schedule, or its disk did not write, normally.
    pub late_probes: u64,
}

/// The content of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`RUN_FORMAT`].
    pub format: u32,
    /// The run's id.
    pub id: String,
    /// Versions of the other files' formats.
    pub formats: Formats,
    /// When it began: nanoseconds since the Unix epoch. All other times count from here.
    pub started_at_unix_ns: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The seed of every random choice of workload and schedule.
    pub seed: u64,
    /// The scenario with every default filled in.
    pub scenario: Resolved,
    /// How the history is judged.
    pub model: WorkloadModel,
    /// What the system promises.
    pub system_model: SystemModel,
    /// Whether the system traces; if it does not, the invariants are skipped.
    pub traces: bool,
    /// The nodes.
    pub nodes: Vec<NodeId>,
    /// Every incarnation of each node by its number; filled in as the run goes on.
    #[serde(default)]
    pub incarnations: BTreeMap<NodeId, Vec<Incarnation>>,
    /// The loopback network that the run holds, such as `127.14.3.0/24`; null without one.
    #[serde(default)]
    pub subnet: Option<String>,
    /// What ran.
    #[serde(default)]
    pub versions: Versions,
    /// Digests (BLAKE3, hexadecimal) of the programs that ran, by path.
    #[serde(default)]
    pub binaries: BTreeMap<String, String>,
    /// The harness's command line.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Those environment variables that change what a run does, by name.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
    /// When things happened.
    #[serde(default)]
    pub times: TimeMarks,
    /// Nodes that ended unprompted.
    #[serde(default)]
    pub exits: Vec<UnexpectedExit>,
    /// What nodes did against the node contract, the first few.
    #[serde(default)]
    pub breaches: Vec<Breach>,
    /// Whether the cluster made progress after the last heal; null: it was never waited for.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// Promises of the system's model that faults of this run went beyond, because they were asked
    /// for by name.
    #[serde(default)]
    pub outside_model: Vec<String>,
    /// Whatever a newer writer adds.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

impl Manifest {
    /// Writes the file as a whole.
    ///
    /// # Errors
    /// [`Error::Io`]; the former content then still stands.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has string keys only");
        text.push('\n');
        write_atomically(path, text.as_bytes())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] when it, or a file that it speaks for, is of a newer
    /// format; [`Error::Line`] when it is no manifest.
    pub fn read(path: &Path) -> Result<Manifest, Error> {
        let manifest: Manifest = read_json(path, "run", RUN_FORMAT)?;
        let (found, known) = (manifest.formats, Formats::default());
        for (what, found, supported) in [
            ("history", found.history, known.history),
            ("faults", found.faults, known.faults),
            ("messages", found.messages, known.messages),
            ("trace", found.trace, known.trace),
        ] {
            if found > supported {
                return Err(Error::Format { path: path.to_path_buf(), what, found, supported });
            }
        }
        Ok(manifest)
    }
}

/// The digest of a file as `binaries` has it.
///
/// # Errors
/// [`Error::Io`].
pub fn file_digest(path: &Path) -> Result<String, Error> {
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher).map_err(Error::io("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Reads a JSON file that has a `format` field; the format is looked at first, since a newer file
/// may have any other shape.
pub(crate) fn read_json<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
    supported: u32,
) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let bad = |error: serde_json::Error| {
        let problem = format!("not a {what} file: {error}");
        Error::line(path, error.line() as u64, problem)
    };
    let Versioned { format: found } = serde_json::from_slice(&bytes).map_err(bad)?;
    if found > supported {
        return Err(Error::Format { path: path.to_path_buf(), what, found, supported });
    }
    serde_json::from_slice(&bytes).map_err(bad)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest with something in most fields.
    pub(crate) fn sample() -> Manifest {
        Manifest {
            format: RUN_FORMAT,
            id: "20261122T142501.123Z-9f3a2c41".into(),
            formats: Formats::default(),
            started_at_unix_ns: 1_795_357_501_123_000_000,
            outcome: RunOutcome::Running,
            seed: u64::MAX,
            scenario: Resolved::default(),
            model: WorkloadModel { name: "cas-register".into(), init: Some(Json::Null) },
            system_model: SystemModel {
                family: "raft".into(),
                durable: true,
                retry_safe: true,
                peer_delivery: PeerDelivery::Lossy,
                clock_bound: None,
                tolerates: minority(),
            },
            traces: true,
            nodes: vec!["n1".into(), "n2".into()],
            incarnations: BTreeMap::from([(
                "n1".into(),
                vec![Incarnation { sent: Some(true), killed: None }],
            )]),
            subnet: Some("127.14.3.0/24".into()),
            versions: Versions::default(),
            binaries: BTreeMap::new(),
            argv: vec!["whitewater".into(), "run".into()],
            environment: BTreeMap::new(),
            machine: Machine::default(),
            times: TimeMarks { first_fault: Some(5), ..TimeMarks::default() },
            exits: Vec::new(),
            breaches: Vec::new(),
            recovery: None,
            outside_model: Vec::new(),
            more: Map::new(),
        }
    }

    #[test]
    fn a_manifest_round_trips_with_every_outcome() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run.json");
        for outcome in [
            RunOutcome::Running,
            RunOutcome::Completed,
            RunOutcome::Interrupted,
            RunOutcome::Failed { reason: "no space left".into() },
        ] {
            let mut manifest = Manifest { outcome, ..sample() };
            manifest.write(&path).unwrap();
            assert_eq!(Manifest::read(&path).unwrap(), manifest);
            manifest.model.init = None;
            manifest.more.insert("later".into(), Json::Bool(true));
            manifest.write(&path).unwrap();
            assert_eq!(Manifest::read(&path).unwrap(), manifest);
        }
    }

    #[test]
    fn a_file_of_a_newer_format_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("run.json");
        let mut manifest = sample();
        manifest.formats.history = 7;
        manifest.write(&path).unwrap();
        let error = Manifest::read(&path).unwrap_err().to_string();
        assert!(error.contains("history format 7"), "{error}");
        std::fs::write(&path, "{\"format\": 1,\n \"id\": 3}").unwrap();
        let error = Manifest::read(&path).unwrap_err().to_string();
        assert!(error.contains("run.json:2: not a run file"), "{error}");
    }

    #[test]
    fn a_digest_depends_on_the_content() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node");
        std::fs::write(&path, "a").unwrap();
        let first = file_digest(&path).unwrap();
        assert_eq!(first.len(), 64);
        std::fs::write(&path, "b").unwrap();
        assert_ne!(file_digest(&path).unwrap(), first);
    }
}
