//! The fields of an event, as JSON Lines and (after conversion) EDN have them.

use std::borrow::Cow;
use std::sync::Arc;

use checker::history::{Event, EventKind, Failure};
use serde::Deserialize;
use serde_json::Value as Json;

use super::value::json_to_value;

/// An event as it stands on a line. Unknown fields are left where they are.
#[derive(Debug, Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(default)]
    pub process: Json,
    #[serde(default, borrow)]
    pub r#type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub f: Option<Cow<'a, str>>,
    #[serde(default)]
    pub time: Json,
    #[serde(default)]
    pub key: Json,
    #[serde(default)]
    pub value: Json,
    #[serde(default)]
    pub error: Json,
}

/// Keeps one copy of each operation's name.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Arc<str>>);

/// Names beyond this many are not shared; histories have a handful.
const NAMES_MAX: usize = 64;

impl Names {
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| &***known == name) {
            return known.clone();
        }
        let fresh: Arc<str> = name.into();
        if self.0.len() < NAMES_MAX {
            self.0.push(fresh.clone());
        }
        fresh
    }
}

impl Fields<'_> {
    /// The client's process; `None` for events that are not judged (a process by name).
    pub fn process(&self) -> Result<Option<i64>, String> {
        match &self.process {
            Json::String(_) => Ok(None),
            Json::Number(number) => match number.as_i64() {
                Some(process) => Ok(Some(process)),
                None => Err(format!("`process` is {number}, not a 64-bit integer")),
            },
            Json::Null => {
                Err("`process` is missing; it is an integer, or a name such as \"nemesis\""
                    .to_string())
            }
            other => Err(format!("`process` is {other}, neither an integer nor a name")),
        }
    }

    /// Whether the value is one of `independent`'s `[key, value]` tuples, as far as can be told.
    pub fn has_tuple(&self) -> bool {
        let Json::Array(items) = &self.value else { return false };
        let [key, value] = items.as_slice() else { return false };
        if key.is_null() || key.is_array() || key.is_object() {
            return false;
        }
        match self.f.as_deref() {
            Some("cas") => value.as_array().is_some_and(|pair| pair.len() == 2),
            Some("txn") => value.is_array(),
            _ => true,
        }
    }

    /// The event, with the tuple taken apart if the history has them.
    pub fn into_event(
        mut self,
        line: u64,
        process: i64,
        has_tuples: bool,
        names: &mut Names,
    ) -> Result<Event, String> {
        let kind = match self.r#type.as_deref() {
            Some("invoke") => EventKind::Invoke,
            Some("ok") => EventKind::Ok,
            Some("fail") => EventKind::Fail,
            Some("info") => EventKind::Info,
            Some(other) => {
                return Err(format!("`type` is {other:?}, not one of invoke, ok, fail, info"));
            }
            None => return Err("`type` is missing: invoke, ok, fail or info".to_string()),
        };
        let Some(f) = self.f.as_deref() else {
            return Err("`f` is missing: the operation's name, such as read".to_string());
        };
        let f = names.intern(f);
        if has_tuples
            && self.has_tuple()
            && let Json::Array(items) = &mut self.value
        {
            let value = items.pop().unwrap_or_default();
            self.key = items.pop().unwrap_or_default();
            self.value = value;
        }
        let is_failed_cas = kind == EventKind::Fail && &*f == "cas";
        Ok(Event {
            line,
            process,
            kind,
            f,
            key: (!self.key.is_null()).then(|| json_to_value(&self.key)),
            value: json_to_value(&self.value),
            failure: if is_failed_cas { failure(&self.error) } else { None },
        })
    }
}

/// What a failed compare-and-set saw, by its error: the error's name, or a list that begins with
/// it. Whatever else an error says is no observation.
fn failure(error: &Json) -> Option<Failure> {
    let name = match error {
        Json::String(name) => name,
        Json::Array(items) => items.first()?.as_str()?,
        _ => return None,
    };
    [Failure::PreconditionFailed, Failure::KeyDoesNotExist]
        .into_iter()
        .find(|failure| failure.name() == name.strip_prefix(':').unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_failure_of_a_cas_is_an_observation() {
        for (f, kind, error, expected) in [
            ("cas", "fail", r#""precondition-failed""#, Some(Failure::PreconditionFailed)),
            (
                "cas",
                "fail",
                r#"["precondition-failed","had 3"]"#,
                Some(Failure::PreconditionFailed),
            ),
            ("cas", "fail", r#"["key-does-not-exist"]"#, Some(Failure::KeyDoesNotExist)),
            ("cas", "fail", r#""temporarily-unavailable""#, None),
            ("cas", "fail", "null", None),
            ("cas", "fail", "22", None),
            ("cas", "fail", "[]", None),
            ("cas", "fail", r#""the precondition-failed""#, None),
            ("cas", "info", r#""precondition-failed""#, None),
            ("read", "fail", r#""key-does-not-exist""#, None),
        ] {
            let line = format!(
                r#"{{"process":1,"type":"{kind}","f":"{f}","value":[1,2],"error":{error}}}"#
            );
            let fields: Fields<'_> = serde_json::from_str(&line).unwrap();
            let event = fields.into_event(1, 1, false, &mut Names::default()).unwrap();
            assert_eq!(event.failure, expected, "{line}");
        }
    }
}
