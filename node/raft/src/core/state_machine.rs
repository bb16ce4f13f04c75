//! The replicated state machine: a map from JSON keys to JSON values.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::command::Change;

/// The answer of a state machine to a command, decided when it is applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The value was written.
    Written,
    /// The comparison held and the value was written.
    Swapped,
    /// A compare-and-set found no such key.
    Absent,
    /// A compare-and-set found another value.
    Mismatch {
        /// What it found.
        found: Json,
    },
}

/// Keys and values. A key is known by its JSON text.
#[derive(Clone, Debug, Default)]
pub struct Store {
    values: BTreeMap<String, Json>,
}

impl Store {
    /// Carries out a committed change.
    pub fn apply(&mut self, change: &Change) -> Outcome {
        match change {
            Change::Write { key, value } => {
                self.values.insert(key.to_string(), value.clone());
                Outcome::Written
            }
            Change::Cas { key, from, to } => match self.values.get_mut(&key.to_string()) {
                None => Outcome::Absent,
                Some(found) if found == from => {
                    *found = to.clone();
                    Outcome::Swapped
                }
                Some(found) => Outcome::Mismatch { found: found.clone() },
            },
        }
    }

    /// The value of a key, `None` if it was never written.
    pub fn read(&self, key: &Json) -> Option<&Json> {
        self.values.get(&key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cas_tells_absent_from_another_value() {
        let mut store = Store::default();
        let cas =
            |from: u64, to: u64| Change::Cas { key: "k".into(), from: from.into(), to: to.into() };
        assert_eq!(store.apply(&cas(1, 2)), Outcome::Absent);
        assert_eq!(store.read(&"k".into()), None);
        let write = Change::Write { key: "k".into(), value: 1.into() };
        assert_eq!(store.apply(&write), Outcome::Written);
        assert_eq!(store.apply(&cas(2, 3)), Outcome::Mismatch { found: 1.into() });
        assert_eq!(store.apply(&cas(1, 2)), Outcome::Swapped);
        assert_eq!(store.read(&"k".into()), Some(&2.into()));
    }

    #[test]
    fn keys_of_different_types_are_different() {
        let mut store = Store::default();
        store.apply(&Change::Write { key: 1.into(), value: "number".into() });
        assert_eq!(store.read(&"1".into()), None);
    }
}
