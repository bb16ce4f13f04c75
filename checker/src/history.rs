//! Histories: what clients did, in the order in which it was seen.
//!
//! A [`HistoryBuilder`] takes the events of a file one by one and pairs each completion with its
//! invocation. It guarantees that every [`Operation`] of a [`History`] has exactly one invocation
//! and at most one completion after it, and that no process had two operations at once. Order is
//! the order of the events; no clock is read. What an operation means is the model's business.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::value::Value;

/// What an event says of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A process begins an operation.
    Invoke,
    /// The operation happened, and this is its result.
    Ok,
    /// The operation certainly did not happen and never will.
    Fail,
    /// Nobody knows: it may have happened at any time since its invocation, may yet, or never.
    Info,
}

impl EventKind {
    /// The word that history files use.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Invoke => "invoke",
            EventKind::Ok => "ok",
            EventKind::Fail => "fail",
            EventKind::Info => "info",
        }
    }
}

/// What a failed compare-and-set saw. Only these failures observe the state; any other says
/// nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// The value was not the expected one.
    PreconditionFailed,
    /// There was no value.
    KeyDoesNotExist,
}

impl Failure {
    /// The word that history files use in `error`.
    pub fn name(self) -> &'static str {
        match self {
            Failure::PreconditionFailed => "precondition-failed",
            Failure::KeyDoesNotExist => "key-does-not-exist",
        }
    }
}

/// One event of a history file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The line it stands on, from 1; lines never decrease (several events may share one).
    pub line: u64,
    /// The process that did it.
    pub process: i64,
    /// What it says.
    pub kind: EventKind,
    /// The operation's name, such as `write`. Readers intern it.
    pub f: Arc<str>,
    /// The key it is about, if histories of this kind have keys.
    pub key: Option<Value>,
    /// What was given (invoke) or answered (ok). The value of an `info` is not read.
    pub value: Value,
    /// On a `fail` that observed the state: what it saw. Absent from everything else.
    pub failure: Option<Failure>,
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// Its place in the order of events, from 0 and without gaps.
    pub position: u32,
    /// Its line in the file, from 1.
    pub line: u64,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened and answered this.
    Ok(Value),
    /// It did not happen, and says nothing of the state unless a failure is named.
    Failed(Option<Failure>),
    /// It may have happened at any time after its invocation, or never.
    Unknown,
}

/// One operation: an invocation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The process that did it.
    pub process: i64,
    /// Its name.
    pub f: Arc<str>,
    /// The key it is about, if any.
    pub key: Option<Value>,
    /// The invocation's value.
    pub input: Value,
    /// How it ended.
    pub outcome: Outcome,
    /// Where it was invoked.
    pub invoked: Point,
    /// Where it was completed (also by `info`), if the history says so.
    pub completed: Option<Point>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.invoked.line)?;
        if let Some(completed) = self.completed {
            write!(f, "-{}", completed.line)?;
        }
        write!(f, ": process {} {}", self.process, self.f)?;
        if let Some(key) = &self.key {
            write!(f, " key {key}")?;
        }
        if self.input != Value::Null {
            write!(f, " {}", self.input)?;
        }
        match &self.outcome {
            // An observation of nothing is an answer, not an acknowledgement.
            Outcome::Ok(value)
                if *value == self.input && !matches!(&*self.f, "read" | "get" | "dequeue") =>
            {
                f.write_str(" -> ok")
            }
            Outcome::Ok(value) => write!(f, " -> {value}"),
            Outcome::Failed(None) => f.write_str(" -> failed"),
            Outcome::Failed(Some(failure)) => write!(f, " -> {}", failure.name()),
            Outcome::Unknown => f.write_str(" -> unknown"),
        }
    }
}

/// A whole history: operations in the order of their invocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// The operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// A history of the given operations, as a counterexample is one. They must be in the order
    /// of their invocations.
    pub fn from_operations(operations: Vec<Operation>) -> History {
        assert!(
            operations.is_sorted_by_key(|operation| operation.invoked.position),
            "operations of a history stand in the order of their invocations"
        );
        History { operations }
    }
}

/// Why events do not make a history. The text fits after "failed to read the history: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A process began an operation before its last one ended.
    #[error(
        "line {line}: process {process} invokes {f} while its operation of line {open_line} is \
         still open (a process does one operation at a time)"
    )]
    TwoAtOnce {
        /// The line of the second invocation.
        line: u64,
        /// The line of the invocation that is still open.
        open_line: u64,
        /// The process.
        process: i64,
        /// The second operation's name.
        f: Arc<str>,
    },
    /// A completion of something that was never invoked.
    #[error(
        "line {line}: process {process} completes {f} ({kind}) without an open invocation{last}",
        kind = .kind.name(),
        last = last_line_words(*.last_line)
    )]
    NotInvoked {
        /// The completion's line.
        line: u64,
        /// The process.
        process: i64,
        /// The completion's operation name.
        f: Arc<str>,
        /// What the completion says.
        kind: EventKind,
        /// The line of the process's last completion, if it had one.
        last_line: Option<u64>,
    },
    /// A completion that names another operation than was invoked.
    #[error(
        "line {line}: process {process} completes {f}, but on line {open_line} it invoked {open_f}"
    )]
    OtherOperation {
        /// The completion's line.
        line: u64,
        /// The invocation's line.
        open_line: u64,
        /// The process.
        process: i64,
        /// The completion's operation name.
        f: Arc<str>,
        /// The invocation's operation name.
        open_f: Arc<str>,
    },
    /// A completion that names another key than was invoked.
    #[error(
        "line {line}: process {process} completes {f} on key {key}, but on line {open_line} it \
         invoked it on key {open_key}"
    )]
    OtherKey {
        /// The completion's line.
        line: u64,
        /// The invocation's line.
        open_line: u64,
        /// The process.
        process: i64,
        /// The operation's name.
        f: Arc<str>,
        /// The completion's key.
        key: Value,
        /// The invocation's key, or null where it had none.
        open_key: Value,
    },
    /// More events than positions can number.
    #[error("line {line}: a history of more than 4,294,967,294 events cannot be held at once")]
    TooLong {
        /// The line of the first event that does not fit.
        line: u64,
    },
}

fn last_line_words(line: Option<u64>) -> String {
    line.map_or(String::new(), |line| format!(" (its last operation ended on line {line})"))
}

/// Pairs events into operations.
#[derive(Debug, Default)]
pub struct HistoryBuilder {
    operations: Vec<Operation>,
    /// What each process did last.
    processes: FxHashMap<i64, Last>,
    next_position: u32,
}

#[derive(Debug)]
enum Last {
    Open { index: usize },
    Done { line: u64 },
}

impl HistoryBuilder {
    /// A builder without events.
    pub fn new() -> HistoryBuilder {
        HistoryBuilder::default()
    }

    /// Takes the next event of the file.
    ///
    /// # Errors
    ///
    /// When the event does not fit what its process did before; the builder is then as it was.
    pub fn push(&mut self, event: Event) -> Result<(), HistoryError> {
        if self.next_position == u32::MAX {
            return Err(HistoryError::TooLong { line: event.line });
        }
        let point = Point { position: self.next_position, line: event.line };
        match event.kind {
            EventKind::Invoke => self.invoke(event, point)?,
            EventKind::Ok | EventKind::Fail | EventKind::Info => self.complete(event, point)?,
        }
        self.next_position += 1;
        Ok(())
    }

    /// The history: operations that are still open may have happened or not.
    pub fn finish(self) -> History {
        History { operations: self.operations }
    }

    fn invoke(&mut self, event: Event, invoked: Point) -> Result<(), HistoryError> {
        let Event { line, process, f, key, value, .. } = event;
        match self.processes.get(&process) {
            Some(Last::Open { index }) => {
                let open_line = self.operations[*index].invoked.line;
                return Err(HistoryError::TwoAtOnce { line, open_line, process, f });
            }
            // A process that goes on after an `info` breaks the convention, but an unknown outcome
            // is judged the same whoever runs beside it.
            Some(Last::Done { .. }) | None => {}
        }
        self.processes.insert(process, Last::Open { index: self.operations.len() });
        self.operations.push(Operation {
            process,
            f,
            key,
            input: value,
            outcome: Outcome::Unknown,
            invoked,
            completed: None,
        });
        Ok(())
    }

    fn complete(&mut self, event: Event, completed: Point) -> Result<(), HistoryError> {
        let Event { line, process, kind, f, key, value, failure } = event;
        let index = match self.processes.get(&process) {
            Some(Last::Open { index }) => *index,
            Some(Last::Done { line: last }) => {
                let last_line = Some(*last);
                return Err(HistoryError::NotInvoked { line, process, f, kind, last_line });
            }
            None => {
                return Err(HistoryError::NotInvoked { line, process, f, kind, last_line: None });
            }
        };
        let operation = &mut self.operations[index];
        let open_line = operation.invoked.line;
        if operation.f != f {
            let open_f = operation.f.clone();
            return Err(HistoryError::OtherOperation { line, open_line, process, f, open_f });
        }
        if let Some(key) = key
            && operation.key.as_ref() != Some(&key)
        {
            let open_key = operation.key.clone().unwrap_or(Value::Null);
            return Err(HistoryError::OtherKey { line, open_line, process, f, key, open_key });
        }
        operation.completed = Some(completed);
        operation.outcome = match kind {
            EventKind::Ok => Outcome::Ok(value),
            EventKind::Fail => Outcome::Failed(failure),
            EventKind::Info | EventKind::Invoke => Outcome::Unknown,
        };
        self.processes.insert(process, Last::Done { line });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: u64, process: i64, kind: EventKind, f: &str, value: Value) -> Event {
        Event { line, process, kind, f: f.into(), key: None, value, failure: None }
    }

    fn build(events: &[Event]) -> Result<History, HistoryError> {
        let mut builder = HistoryBuilder::new();
        for event in events {
            builder.push(event.clone())?;
        }
        Ok(builder.finish())
    }

    #[test]
    fn completions_find_their_invocations() {
        let history = build(&[
            event(1, 0, EventKind::Invoke, "read", Value::Null),
            event(2, 1, EventKind::Invoke, "write", 5.into()),
            event(3, 0, EventKind::Ok, "read", 7.into()),
            event(4, 1, EventKind::Info, "write", "timed out".into()),
            event(5, 2, EventKind::Invoke, "write", 6.into()),
        ])
        .unwrap();
        let operations = history.operations();
        assert_eq!(operations.len(), 3);
        assert_eq!(operations[0].outcome, Outcome::Ok(7.into()));
        assert_eq!(operations[0].completed, Some(Point { position: 2, line: 3 }));
        assert_eq!(operations[1].outcome, Outcome::Unknown);
        assert_eq!(operations[1].input, 5.into());
        assert_eq!(operations[2].completed, None);
        assert_eq!(operations[1].to_string(), "line 2-4: process 1 write 5 -> unknown");
    }

    #[test]
    fn events_that_cannot_be_are_refused_with_both_lines() {
        let cases: &[(&[Event], &str)] = &[
            (
                &[
                    event(3, 0, EventKind::Invoke, "read", Value::Null),
                    event(9, 0, EventKind::Invoke, "write", 1.into()),
                ],
                "line 9: process 0 invokes write while its operation of line 3 is still open \
                 (a process does one operation at a time)",
            ),
            (
                &[event(1, 4, EventKind::Ok, "read", Value::Null)],
                "line 1: process 4 completes read (ok) without an open invocation",
            ),
            (
                &[
                    event(1, 4, EventKind::Invoke, "read", Value::Null),
                    event(2, 4, EventKind::Info, "read", Value::Null),
                    event(3, 4, EventKind::Ok, "read", Value::Null),
                ],
                "line 3: process 4 completes read (ok) without an open invocation \
                 (its last operation ended on line 2)",
            ),
            (
                &[
                    event(1, 4, EventKind::Invoke, "read", Value::Null),
                    event(2, 4, EventKind::Ok, "write", Value::Null),
                ],
                "line 2: process 4 completes write, but on line 1 it invoked read",
            ),
        ];
        for (events, message) in cases {
            assert_eq!(build(events).unwrap_err().to_string(), *message);
        }
    }
}
