//! The traces of a run, as the invariants take them.
//!
//! Each incarnation of a node has a file of its own, `nodes/<node>/trace.<incarnation>.jsonl`.
//! What does not stand there as it should becomes an explicit gap, with three exceptions: the cut
//! last line of an incarnation that was killed did not happen; an incarnation that is known to
//! have sent no byte needs no trace; and nothing is missing behind the last whole line of an
//! incarnation, since an event is written before any message that depends on it. Sequence numbers
//! and missing incarnations are looked at by the invariants themselves.
//!
//! Files are read line by line, one node after the other: the invariants do not care in which
//! order nodes come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use checker::invariants::{Finding, Invariants, TraceItem};
use protocol::NodeId;
use protocol::trace::TraceEvent;

use crate::json_log::describe_json_error;
use crate::lines::{self, Lines};
use crate::manifest::{Incarnation, Manifest};
use crate::{Error, RunDir};

/// Longest line of a trace, in bytes. A `start` lists every entry that a node has kept.
pub const TRACE_LINE_BYTES_MAX: usize = 1 << 30;

/// What the traces of a run say of the invariants: skipped if the run has none.
///
/// # Errors
/// [`Error::Io`] when a file that is there cannot be read.
pub fn judge(run: &RunDir, manifest: &Manifest) -> Result<Vec<Finding>, Error> {
    if !manifest.traces {
        return Ok(Invariants::skipped("the nodes do not trace"));
    }
    // A system without a `describe` command has promised no trace: nothing is missing.
    if manifest.versions.protocol.is_none() && has_no_traces(run, &manifest.nodes)? {
        return Ok(Invariants::skipped("the nodes left no traces"));
    }
    let mut invariants = Invariants::expecting(manifest.nodes.iter().cloned());
    read_traces(run, &manifest.nodes, &manifest.incarnations, &mut |item| invariants.push(item))?;
    Ok(invariants.finish())
}

/// Hands every item of the traces of `nodes` to `push`; how many events there were.
///
/// `incarnations` is what the harness knows of each node's incarnations; whatever it does not
/// know counts against the trace.
///
/// # Errors
/// [`Error::Io`] when a file that is there cannot be read.
pub fn read_traces(
    run: &RunDir,
    nodes: &[NodeId],
    incarnations: &BTreeMap<NodeId, Vec<Incarnation>>,
    push: &mut dyn FnMut(TraceItem),
) -> Result<u64, Error> {
    let mut events = 0;
    for node in nodes {
        let known = incarnations.get(node).map_or(&[][..], Vec::as_slice);
        let mut numbers = traced_incarnations(&run.node_dir(node))?;
        numbers.extend((0..).take(known.len()));
        for incarnation in numbers {
            let facts = usize::try_from(incarnation).ok().and_then(|at| known.get(at)).copied();
            let mut file = TraceFile {
                node,
                incarnation,
                facts: facts.unwrap_or_default(),
                events: 0,
                has_gap: false,
                push: &mut *push,
            };
            file.read(&run.node_trace(node, incarnation))?;
            events += file.events;
        }
    }
    Ok(events)
}

fn has_no_traces(run: &RunDir, nodes: &[NodeId]) -> Result<bool, Error> {
    for node in nodes {
        if !traced_incarnations(&run.node_dir(node))?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The incarnations of a node that have a trace file.
fn traced_incarnations(dir: &Path) -> Result<BTreeSet<u32>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(Error::io("read the directory", dir))?,
    };
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(Error::io("read the directory", dir))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("trace."))
            .and_then(|name| name.strip_suffix(".jsonl"));
        // `trace.01.jsonl` is nobody's.
        let number = number.filter(|text| *text == "0" || !text.starts_with(['0', '+']));
        numbers.extend(number.and_then(|text| text.parse::<u32>().ok()));
    }
    Ok(numbers)
}

/// One file while it is read.
struct TraceFile<'a> {
    node: &'a NodeId,
    incarnation: u32,
    facts: Incarnation,
    events: u64,
    has_gap: bool,
    push: &'a mut dyn FnMut(TraceItem),
}

impl TraceFile<'_> {
    fn gap(&mut self, what: String) {
        self.has_gap = true;
        let (node, incarnation) = (self.node.clone(), self.incarnation);
        (self.push)(TraceItem::Gap { node, incarnation, what });
    }

    fn read(&mut self, path: &Path) -> Result<(), Error> {
        match lines::open(path) {
            Ok(opened) => {
                let mut lines = Lines::with_limit(opened.source, TRACE_LINE_BYTES_MAX);
                self.read_lines(&mut lines, path)?;
            }
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if self.events == 0 && !self.has_gap {
            match self.facts.sent {
                Some(false) => (self.push)(TraceItem::Silent {
                    node: self.node.clone(),
                    incarnation: self.incarnation,
                }),
                Some(true) => self.gap("it sent messages but traced nothing".to_string()),
                None => {
                    self.gap("it traced nothing, and may have sent messages".to_string());
                }
            }
        }
        Ok(())
    }

    fn read_lines<R: std::io::BufRead>(
        &mut self,
        lines: &mut Lines<R>,
        path: &Path,
    ) -> Result<(), Error> {
        loop {
            let line = match lines.next(path) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(Error::Line { line, problem, .. }) => {
                    self.gap(format!("line {line} is {problem}"));
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let number = line.number;
            match TraceEvent::parse(line.bytes) {
                Ok(event) if event.head.node != *self.node => {
                    self.gap(format!("line {number} is of another node, {}", event.head.node));
                }
                Ok(event) if event.head.inc != self.incarnation => {
                    self.gap(format!("line {number} is of incarnation {}", event.head.inc));
                }
                Ok(event) => {
                    self.events += 1;
                    (self.push)(TraceItem::Event(event));
                }
                Err(error) if !line.is_whole && error.is_eof() => {
                    if self.facts.killed == Some(false) {
                        self.gap(format!(
                            "line {number}, the last one, is cut, but the node was not killed"
                        ));
                    }
                }
                Err(error) => {
                    let problem = describe_json_error(&error);
                    self.gap(format!("line {number} is no trace event: {problem}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use checker::invariants::Outcome;
    use protocol::trace::{Head, Leader, Start, TRACE_FORMAT, TraceKind};

    use super::*;

    fn line(inc: u32, seq: u64, kind: TraceKind) -> String {
        let head = Head { v: TRACE_FORMAT, node: "n1".into(), inc, seq, t_ns: 0, term: 1 };
        TraceEvent { head, kind }.to_line()
    }

    fn start(inc: u32) -> String {
        let start = Start {
            vote: None,
            first: 1,
            last: 0,
            last_term: 0,
            commit: 0,
            applied: 0,
            snap_idx: 0,
            snap_term: 0,
            tail: Vec::new(),
            cfg: vec!["n1".into()],
        };
        line(inc, 0, start.into())
    }

    fn leads(inc: u32, seq: u64) -> String {
        line(inc, seq, Leader { last: 0, last_term: 0, granted_by: vec!["n1".into()] }.into())
    }

    /// What the reader makes of these files of n1 (by incarnation), in words.
    fn items(files: &[Option<&str>], facts: &[Incarnation]) -> Vec<String> {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(temp.path(), 0, || 1).unwrap();
        let node = NodeId::new("n1");
        run.create_node_dir(&node).unwrap();
        for (incarnation, file) in (0..).zip(files) {
            if let Some(text) = file {
                fs::write(run.node_trace(&node, incarnation), text).unwrap();
            }
        }
        let facts = BTreeMap::from([(node.clone(), facts.to_vec())]);
        let mut words = Vec::new();
        read_traces(&run, &[node], &facts, &mut |item| {
            words.push(match item {
                TraceItem::Event(event) => format!("{}.{}", event.head.inc, event.head.seq),
                TraceItem::Gap { incarnation, what, .. } => format!("gap {incarnation}: {what}"),
                TraceItem::Silent { incarnation, .. } => format!("silent {incarnation}"),
            });
        })
        .unwrap();
        words
    }

    fn facts(sent: Option<bool>, killed: Option<bool>) -> Incarnation {
        Incarnation { sent, killed }
    }

    #[test]
    fn what_is_a_gap_and_what_is_none() {
        let whole = start(0) + &leads(0, 1);
        let torn = whole.trim_end()[..whole.len() - 9].to_string();
        let known = facts(Some(true), Some(true));
        let unknown = Incarnation::default();
        for (files, facts, expected) in [
            (vec![Some(whole.as_str())], vec![known], vec!["0.0", "0.1"]),
            // Without its newline a line is whole all the same.
            (vec![Some(whole.trim_end())], vec![known], vec!["0.0", "0.1"]),
            (vec![Some(torn.as_str())], vec![known], vec!["0.0"]),
            (vec![Some(torn.as_str())], vec![unknown], vec!["0.0"]),
            (
                vec![Some(torn.as_str())],
                vec![facts(Some(true), Some(false))],
                vec!["0.0", "gap 0: line 2, the last one, is cut"],
            ),
            (vec![Some("")], vec![facts(Some(false), Some(true))], vec!["silent 0"]),
            (vec![Some("{\"v\":1,")], vec![facts(Some(false), Some(true))], vec!["silent 0"]),
            (vec![None], vec![facts(Some(false), Some(true))], vec!["silent 0"]),
            (vec![None], vec![known], vec!["gap 0: it sent messages but traced nothing"]),
            (vec![Some("")], vec![unknown], vec!["gap 0: it traced nothing, and may have sent"]),
            (vec![Some("")], vec![], vec!["gap 0: it traced nothing, and may have sent"]),
            (
                vec![Some("x\n"), Some(whole.as_str())],
                vec![],
                vec![
                    "gap 0: line 1 is no trace event: expected value at column 1",
                    "gap 1: line 1 is of incarnation 0",
                    "gap 1: line 2 is of incarnation 0",
                ],
            ),
        ] {
            let found = items(&files, &facts);
            assert_eq!(found.len(), expected.len(), "{files:?} {facts:?}: {found:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found.starts_with(expected), "{files:?} {facts:?}: {found}");
            }
        }
        let other = whole.replace("\"node\":\"n1\"", "\"node\":\"n2\"");
        assert!(items(&[Some(&other)], &[known])[0].contains("of another node, n2"));
    }

    #[test]
    fn a_trace_cut_at_any_byte_has_no_gap_behind_its_start() {
        let text = start(0) + &leads(0, 1) + &leads(0, 2);
        let first = start(0).len();
        for cut in 0..=text.len() {
            let found = items(&[Some(&text[..cut])], &[facts(Some(true), Some(true))]);
            let has_gap = found.iter().any(|item| item.starts_with("gap"));
            assert_eq!(has_gap, cut < first - 1, "cut at {cut}: {found:?}");
        }
    }

    #[test]
    fn a_run_without_traces_is_skipped() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(temp.path(), 0, || 1).unwrap();
        let mut manifest = crate::manifest::tests::sample();
        // Where the system has said of itself what it offers, a trace that is missing is a gap.
        for (traces, protocol, skipped) in
            [(false, Some(1), true), (true, Some(1), false), (true, None, true)]
        {
            manifest.traces = traces;
            manifest.versions.protocol = protocol;
            for finding in judge(&run, &manifest).unwrap() {
                let is_skipped = matches!(finding.outcome, Outcome::Skipped { .. });
                assert_eq!(is_skipped, skipped);
                assert_ne!(finding.outcome, Outcome::Valid);
            }
        }
        // One trace among the nodes shows that they trace: the others' are missed.
        let node = &manifest.nodes[0];
        fs::create_dir_all(run.node_dir(node)).unwrap();
        fs::write(run.node_trace(node, 0), "").unwrap();
        for finding in judge(&run, &manifest).unwrap() {
            assert!(!matches!(finding.outcome, Outcome::Skipped { .. }), "{finding:?}");
        }
    }
}
