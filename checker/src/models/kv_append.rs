//! `kv-append`: `get`, `put` and `append` of strings.
//!
//! A state matters only as far as some `get` can still tell it from others. All strings that gets
//! answered are kept in one tree of their beginnings; a string in the tree is a state by its place
//! in it, and all strings outside are one state: no `get` saw them, and whatever is appended, none
//! sees what comes of it. That is exact, and states are small however long the strings.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::shape::{unknown_operation, wrong_answer, wrong_input};
use crate::history::{Operation, Outcome};
use crate::model::{Call, Effect, Model, ModelError};
use crate::value::Value;

/// The string of one key.
#[derive(Clone, Debug)]
pub(crate) struct KvAppend {
    initial: Arc<str>,
    seen: Beginnings,
}

/// One operation with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KvOp {
    /// It saw the string at this place of the tree.
    Get(u32),
    Put(Arc<str>),
    Append(Arc<str>),
}

/// The empty string's place.
const EMPTY: u32 = 0;
/// Any string that is no beginning of one that was seen.
const UNSEEN: u32 = u32::MAX;

/// All beginnings of some strings, as a tree with a byte on each edge.
#[derive(Clone, Debug)]
struct Beginnings {
    /// The place before and the byte that leads from it; the root's own is never looked at.
    from: Vec<(u32, u8)>,
    to: FxHashMap<(u32, u8), u32>,
}

impl Beginnings {
    fn add(&mut self, text: &str) -> u32 {
        text.bytes().fold(EMPTY, |place, byte| {
            let next = self.from.len() as u32;
            let next = *self.to.entry((place, byte)).or_insert(next);
            if next as usize == self.from.len() {
                self.from.push((place, byte));
            }
            next
        })
    }

    fn follow(&self, mut place: u32, text: &str) -> u32 {
        for byte in text.bytes() {
            match self.to.get(&(place, byte)) {
                Some(&next) => place = next,
                None => return UNSEEN,
            }
        }
        place
    }

    fn text(&self, mut place: u32) -> String {
        let mut bytes = Vec::new();
        while place != EMPTY {
            let (before, byte) = self.from[place as usize];
            bytes.push(byte);
            place = before;
        }
        bytes.reverse();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl KvAppend {
    pub(crate) fn new(init: Option<&Value>) -> Result<KvAppend, ModelError> {
        let initial = match init {
            None | Some(Value::Null) => "".into(),
            Some(Value::Text(text)) => text.clone(),
            Some(other) => {
                return Err(ModelError::WrongInit {
                    model: "kv-append",
                    found: other.clone(),
                    expected: "it is the string that every key holds",
                });
            }
        };
        let seen = Beginnings { from: vec![(EMPTY, 0)], to: FxHashMap::default() };
        Ok(KvAppend { initial, seen })
    }
}

impl Model for KvAppend {
    type State = u32;
    type Op = KvOp;

    fn name(&self) -> &'static str {
        "kv-append"
    }

    fn initial(&self) -> u32 {
        self.seen.follow(EMPTY, &self.initial)
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<KvOp>, ModelError> {
        let given = || match &operation.input {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(wrong_input(operation, "it takes a string")),
        };
        match (&*operation.f, &operation.outcome) {
            ("get" | "put" | "append", Outcome::Failed(_)) | ("get", Outcome::Unknown) => Ok(None),
            ("get", Outcome::Ok(value)) => match value {
                Value::Text(text) => Ok(Some(KvOp::Get(self.seen.add(text)))),
                // A key that is not there holds the empty string.
                Value::Null => Ok(Some(KvOp::Get(EMPTY))),
                other => Err(wrong_answer(operation, other, "a get answers a string")),
            },
            ("put", Outcome::Ok(_) | Outcome::Unknown) => Ok(Some(KvOp::Put(given()?))),
            ("append", Outcome::Ok(_) | Outcome::Unknown) => Ok(Some(KvOp::Append(given()?))),
            _ => Err(unknown_operation(operation, self.name(), "get, put, append")),
        }
    }

    fn step(&self, state: &u32, op: &KvOp) -> Option<u32> {
        match op {
            KvOp::Get(place) => (state == place).then_some(*state),
            KvOp::Put(text) => Some(self.seen.follow(EMPTY, text)),
            KvOp::Append(text) if *state == UNSEEN && !text.is_empty() => Some(UNSEEN),
            KvOp::Append(text) => Some(self.seen.follow(*state, text)),
        }
    }

    fn effect(&self, op: &KvOp) -> Effect {
        match op {
            KvOp::Get(_) => Effect::Observe,
            KvOp::Put(_) => Effect::Overwrite,
            KvOp::Append(text) if text.is_empty() => Effect::Observe,
            KvOp::Append(_) => Effect::Blind,
        }
    }

    /// A call of unknown outcome can be left out after the last `get` that may have seen it: what
    /// is there until the next `put` is not seen with it, nor, if it is left out, without it.
    fn refine(&mut self, calls: &mut Vec<Call<KvOp>>) {
        if calls.iter().all(|call| call.required) {
            return;
        }
        let gets: Vec<(u32, String)> = calls
            .iter()
            .filter_map(|call| match call.op {
                KvOp::Get(place) => Some((call.until, self.seen.text(place))),
                _ => None,
            })
            .collect();
        calls.retain_mut(|call| {
            if !call.required {
                let shows = |seen: &String| match &call.op {
                    KvOp::Put(text) => seen.starts_with(&**text),
                    KvOp::Append(text) => seen.contains(&**text),
                    KvOp::Get(_) => false,
                };
                let until = gets.iter().filter(|(_, seen)| shows(seen)).map(|(until, _)| *until);
                call.until = until.max().unwrap_or(0);
            }
            call.until > call.invoked
        });
    }

    fn describe(&self, state: &u32) -> String {
        if *state == UNSEEN {
            return "a string that no get saw".to_owned();
        }
        Value::text(&self.seen.text(*state)).to_string()
    }
}
