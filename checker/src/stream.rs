//! Judging a history while it is read or recorded.
//!
//! A [`StreamChecker`] takes events one by one. When the caller says that a key is retired, and the
//! key's last operation has ended, the key is judged and its operations are forgotten; what
//! remains of it is its name. So memory follows the keys that are in use, each as long as it is,
//! and not the length of the history. The verdict is that of [`crate::check`] on the whole.
//!
//! A key that is never retired is judged at the end, and a model that does not split by key is one
//! key.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::budget::Budget;
use crate::check::{check, first_of};
use crate::history::{Event, EventKind, HistoryBuilder, HistoryError};
use crate::model::{ModelError, ModelKind, ModelSpec};
use crate::value::Value;
use crate::verdict::{Stats, Unknown, Verdict, Violation};

/// Why an event was refused. The text fits after "failed to judge the history: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It does not fit the events before it.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An operation is none of the model's.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An operation on a key that was retired.
    #[error("line {line}: process {process} invokes {f} on key {key}, which was retired before")]
    Retired {
        /// The invocation's line.
        line: u64,
        /// The process.
        process: i64,
        /// The operation's name.
        f: String,
        /// The key.
        key: Value,
    },
}

/// Judges events as they come.
pub struct StreamChecker<'a> {
    spec: ModelSpec,
    budget: Budget<'a>,
    live: FxHashMap<Option<Value>, LiveKey>,
    retired: FxHashSet<Option<Value>>,
    /// The key and the line of each process's open operation.
    open: FxHashMap<i64, (Option<Value>, u64)>,
    judged: Option<Verdict>,
}

#[derive(Default)]
struct LiveKey {
    builder: HistoryBuilder,
    open: usize,
    retiring: bool,
    /// Keys are judged in the order of their first appearance, as far as that can be told.
    first_line: u64,
}

impl<'a> StreamChecker<'a> {
    /// A checker that has seen nothing.
    pub fn new(spec: ModelSpec, budget: Budget<'a>) -> StreamChecker<'a> {
        StreamChecker {
            spec,
            budget,
            live: FxHashMap::default(),
            retired: FxHashSet::default(),
            open: FxHashMap::default(),
            judged: None,
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// When it does not fit what was before, or the key that it ends has an operation that the
    /// model does not know.
    pub fn push(&mut self, mut event: Event) -> Result<(), StreamError> {
        if self.spec.kind == ModelKind::MultiRegister {
            event.key = None;
        }
        let (process, line) = (event.process, event.line);
        let invokes = event.kind == EventKind::Invoke;
        // A completion belongs to the key of its invocation, whether it names it or not.
        let key = match self.open.get(&process) {
            Some((_, open_line)) if invokes => {
                let (open_line, f) = (*open_line, event.f);
                return Err(HistoryError::TwoAtOnce { line, open_line, process, f }.into());
            }
            Some((key, _)) => key.clone(),
            None => event.key.clone(),
        };
        if invokes && self.retired.contains(&key) {
            let (f, key) = (event.f.to_string(), key.unwrap_or(Value::Null));
            return Err(StreamError::Retired { line, process, f, key });
        }
        let live = self
            .live
            .entry(key.clone())
            .or_insert_with(|| LiveKey { first_line: line, ..LiveKey::default() });
        live.builder.push(event)?;
        if invokes {
            live.open += 1;
            self.open.insert(process, (key, line));
        } else {
            live.open -= 1;
            self.open.remove(&process);
            if live.retiring && live.open == 0 {
                self.judge(&key)?;
            }
        }
        Ok(())
    }

    /// Says that no further operation on a key will be invoked. It is judged as soon as none is
    /// open.
    ///
    /// # Errors
    ///
    /// When the key has an operation that the model does not know.
    pub fn retire(&mut self, key: &Option<Value>) -> Result<(), ModelError> {
        self.retired.insert(key.clone());
        if let Some(live) = self.live.get_mut(key) {
            live.retiring = true;
            if live.open == 0 {
                self.judge(key)?;
            }
        }
        Ok(())
    }

    /// The violation found so far, if there is one.
    pub fn violation(&self) -> Option<&Violation> {
        match &self.judged {
            Some(Verdict::Violation(violation)) => Some(violation),
            _ => None,
        }
    }

    /// Keys that are held: not judged yet.
    pub fn live_keys(&self) -> usize {
        self.live.len()
    }

    /// Judges what is left.
    ///
    /// # Errors
    ///
    /// When a key has an operation that the model does not know.
    pub fn finish(mut self) -> Result<Verdict, ModelError> {
        let mut keys: Vec<(u64, Option<Value>)> =
            self.live.iter().map(|(key, live)| (live.first_line, key.clone())).collect();
        keys.sort();
        for (_, key) in keys {
            self.judge(&key)?;
        }
        let nothing = Verdict::Valid(Stats {
            operations: 0,
            keys: 0,
            methods: std::collections::BTreeMap::new(),
        });
        Ok(self.judged.unwrap_or(nothing))
    }

    fn judge(&mut self, key: &Option<Value>) -> Result<(), ModelError> {
        let Some(live) = self.live.remove(key) else { return Ok(()) };
        let verdict = check(&live.builder.finish(), &self.spec, &self.budget)?;
        self.judged = Some(match self.judged.take() {
            Some(before) => join(before, verdict),
            None => verdict,
        });
        Ok(())
    }
}

/// The verdict on two sets of keys together.
fn join(one: Verdict, two: Verdict) -> Verdict {
    let stats = sum(stats_of(&one), stats_of(&two));
    match (one, two) {
        (Verdict::Violation(one), Verdict::Violation(two)) => {
            let mut violation = first_of(one, two);
            violation.stats = stats;
            Verdict::Violation(violation)
        }
        (Verdict::Violation(mut violation), _) | (_, Verdict::Violation(mut violation)) => {
            violation.stats = stats;
            Verdict::Violation(violation)
        }
        (Verdict::Unknown(one), Verdict::Unknown(two)) => {
            let mut undecided = one.undecided;
            undecided.extend(two.undecided);
            undecided.truncate(crate::verdict::UNDECIDED_KEYS_MAX);
            Verdict::Unknown(Unknown {
                exhausted: one.exhausted,
                decided: stats,
                undecided,
                undecided_keys: one.undecided_keys + two.undecided_keys,
            })
        }
        (Verdict::Unknown(unknown), _) | (_, Verdict::Unknown(unknown)) => {
            Verdict::Unknown(Unknown { decided: stats, ..unknown })
        }
        (Verdict::Valid(_), Verdict::Valid(_)) => Verdict::Valid(stats),
    }
}

fn stats_of(verdict: &Verdict) -> Stats {
    match verdict {
        Verdict::Valid(stats) => stats.clone(),
        Verdict::Violation(violation) => violation.stats.clone(),
        Verdict::Unknown(unknown) => unknown.decided.clone(),
    }
}

fn sum(one: Stats, two: Stats) -> Stats {
    let mut methods = one.methods;
    for (method, keys) in two.methods {
        *methods.entry(method).or_default() += keys;
    }
    Stats { operations: one.operations + two.operations, keys: one.keys + two.keys, methods }
}
