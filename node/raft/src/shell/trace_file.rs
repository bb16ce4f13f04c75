//! Writes the trace: straight to the file, nothing left in the process's own buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use protocol::NodeId;
use protocol::trace::{Head, TRACE_FORMAT, TraceEvent, TraceKind};

use crate::core::Term;

/// An incarnation's trace.
#[derive(Debug)]
pub struct TraceFile {
    file: File,
    node: NodeId,
    incarnation: u32,
    sequence: u64,
    lines: String,
}

impl TraceFile {
    /// Begins the trace of an incarnation.
    ///
    /// # Errors
    /// The file cannot be created, or holds another incarnation's trace.
    pub fn create(path: &Path, node: NodeId, incarnation: u32) -> io::Result<TraceFile> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::Error::other("it is not empty, and each incarnation needs its own"));
        }
        Ok(TraceFile { file, node, incarnation, sequence: 0, lines: String::new() })
    }

    /// Adds an event to what the next [`TraceFile::flush`] writes.
    pub fn add(&mut self, t_ns: i64, term: Term, kind: TraceKind) {
        let head = Head {
            v: TRACE_FORMAT,
            node: self.node.clone(),
            inc: self.incarnation,
            seq: self.sequence,
            t_ns,
            term: term.0,
        };
        self.sequence += 1;
        self.lines.push_str(&TraceEvent { head, kind }.to_line());
    }

    /// Hands all events so far to the operating system: they survive the process.
    ///
    /// # Errors
    /// The write failed.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.file.write_all(self.lines.as_bytes())?;
            self.lines.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::trace::Synced;

    use super::*;

    #[test]
    fn flushed_events_are_in_the_file_and_numbered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.0.jsonl");
        let mut trace = TraceFile::create(&path, "n1".into(), 0).unwrap();
        for idx in [4, 5] {
            trace.add(-1, Term(2), Synced { idx }.into());
            trace.flush().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let sequence: Vec<u64> =
            text.lines().map(|line| TraceEvent::parse(line.as_bytes()).unwrap().head.seq).collect();
        assert_eq!(sequence, [0, 1]);
        assert!(TraceFile::create(&path, "n1".into(), 1).is_err());
    }
}
