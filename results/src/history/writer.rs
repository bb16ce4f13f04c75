use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use checker::history::EventKind;
use protocol::NodeId;
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::Value as Json;

use crate::Error;

/// Who did something: a client's process, or somebody by name whose events are kept and not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Process<'a> {
    /// A client's process; it gets a new number after every `info`.
    Client(i64),
    /// Such as `nemesis`.
    Named(&'a str),
}

/// One event to be written.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Nanoseconds since the run began.
    pub time: u64,
    /// Who.
    pub process: Process<'a>,
    /// What the event says of the operation.
    pub kind: EventKind,
    /// The operation.
    pub f: &'a str,
    /// Its key, if it has one.
    pub key: Option<&'a Json>,
    /// What was given or answered.
    pub value: &'a Json,
    /// Why it did not end with `ok`.
    pub error: Option<&'a Json>,
    /// On an invoke: the client's id in messages.
    pub client: Option<&'a NodeId>,
    /// The message ids tried: on an invoke the first, on a completion all of them.
    pub msg_ids: &'a [u64],
    /// On a completion: the node that answered, or that was asked last.
    pub node: Option<&'a NodeId>,
}

#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    time: u64,
    process: Process<'a>,
    r#type: &'a str,
    f: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a Json>,
    value: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a NodeId>,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    msg_ids: &'a [u64],
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a NodeId>,
}

/// Writes `history.jsonl`. The order of the calls is the order of the events.
#[derive(Debug)]
pub struct HistoryWriter {
    out: BufWriter<File>,
    path: PathBuf,
    next_index: u64,
    /// Operations that have begun and not ended, by process.
    open: FxHashMap<i64, String>,
    /// Processes whose last operation ended with `info`: they may never do another one. Each
    /// costs some 16 bytes; there are as many as unknown outcomes.
    retired: rustc_hash::FxHashSet<i64>,
}

impl HistoryWriter {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<HistoryWriter, Error> {
        let file = File::create_new(path).map_err(Error::io("create", path))?;
        Ok(HistoryWriter {
            out: BufWriter::new(file),
            path: path.to_path_buf(),
            next_index: 0,
            open: FxHashMap::default(),
            retired: rustc_hash::FxHashSet::default(),
        })
    }

    /// Adds an event to the buffer and gives its index.
    ///
    /// # Errors
    /// [`Error::Io`]; the run is then void, for an event is missing.
    ///
    /// # Panics
    /// When the event cannot follow those before it: a second operation of a process, a
    /// completion without invocation or of another `f`, a process going on after `info`. That is
    /// an error of the caller and must not become a wrong history.
    pub fn write(&mut self, record: &Record<'_>) -> Result<u64, Error> {
        self.assert_follows(record);
        let index = self.next_index;
        let line = Line {
            index,
            time: record.time,
            process: record.process,
            r#type: record.kind.name(),
            f: record.f,
            key: record.key,
            value: record.value,
            error: record.error,
            client: record.client,
            msg_ids: record.msg_ids,
            node: record.node,
        };
        let mut bytes = serde_json::to_vec(&line).expect("a line has string keys");
        bytes.push(b'\n');
        self.out.write_all(&bytes).map_err(Error::io("write", &self.path))?;
        self.next_index += 1;
        Ok(index)
    }

    /// Hands everything to the operating system: a killed harness loses nothing of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::io("write", &self.path))
    }

    /// How many events were written.
    pub fn events(&self) -> u64 {
        self.next_index
    }

    fn assert_follows(&mut self, record: &Record<'_>) {
        let Process::Client(process) = record.process else { return };
        assert!(!self.retired.contains(&process), "process {process} goes on after an `info`");
        if record.kind == EventKind::Invoke {
            let open = self.open.insert(process, record.f.to_string());
            assert!(open.is_none(), "process {process} does two operations at once");
        } else {
            let open = self.open.remove(&process);
            assert!(
                open.as_deref() == Some(record.f),
                "process {process} completes {} but has {open:?} open",
                record.f
            );
            if record.kind == EventKind::Info {
                self.retired.insert(process);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(process: i64, kind: EventKind, f: &'a str, value: &'a Json) -> Record<'a> {
        Record {
            time: 5,
            process: Process::Client(process),
            kind,
            f,
            key: None,
            value,
            error: None,
            client: None,
            msg_ids: &[],
            node: None,
        }
    }

    #[test]
    fn golden_lines() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("history.jsonl");
        let mut writer = HistoryWriter::create(&path).unwrap();
        let (key, value, error) = (Json::from("k1"), Json::from(7), Json::from("timeout"));
        let (client, node) = (NodeId::new("c3"), NodeId::new("n2"));
        let full = Record {
            key: Some(&key),
            client: Some(&client),
            msg_ids: &[41],
            ..record(3, EventKind::Invoke, "write", &value)
        };
        assert_eq!(writer.write(&full).unwrap(), 0);
        let nemesis = Record {
            process: Process::Named("nemesis"),
            ..record(0, EventKind::Info, "kill", &Json::Null)
        };
        writer.write(&nemesis).unwrap();
        let end = Record {
            kind: EventKind::Info,
            error: Some(&error),
            client: None,
            msg_ids: &[41, 42],
            node: Some(&node),
            ..full.clone()
        };
        writer.write(&end).unwrap();
        writer.flush().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            concat!(
                r#"{"index":0,"time":5,"process":3,"type":"invoke","f":"write","key":"k1","value":7,"client":"c3","msg_ids":[41]}"#,
                "\n",
                r#"{"index":1,"time":5,"process":"nemesis","type":"info","f":"kill","value":null}"#,
                "\n",
                r#"{"index":2,"time":5,"process":3,"type":"info","f":"write","key":"k1","value":7,"error":"timeout","msg_ids":[41,42],"node":"n2"}"#,
                "\n",
            )
        );
        assert_eq!(writer.events(), 3);
    }

    #[test]
    fn what_cannot_follow_is_an_error_of_the_caller() {
        use EventKind::{Info, Invoke, Ok};
        let sequences: [&[(i64, EventKind, &str)]; 4] = [
            &[(1, Invoke, "read"), (1, Invoke, "read")],
            &[(1, Ok, "read")],
            &[(1, Invoke, "read"), (1, Ok, "write")],
            &[(1, Invoke, "read"), (1, Info, "read"), (1, Invoke, "read")],
        ];
        for sequence in sequences {
            let temp = tempfile::tempdir().unwrap();
            let mut writer = HistoryWriter::create(&temp.path().join("h")).unwrap();
            let (last, before) = sequence.split_last().unwrap();
            for &(process, kind, f) in before {
                writer.write(&record(process, kind, f, &Json::Null)).unwrap();
            }
            let last = record(last.0, last.1, last.2, &Json::Null);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                writer.write(&last).map(drop)
            }));
            assert!(outcome.is_err(), "{sequence:?}");
        }
    }
}
