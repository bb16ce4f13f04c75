//! A plain reader of JSON Lines histories for tests. The real one lives in `results`.

use std::path::Path;

use checker::history::{Event, EventKind, Failure, History, HistoryBuilder};
use checker::value::Value;

pub fn read(path: &Path) -> History {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut builder = HistoryBuilder::new();
    for (line, text) in text.lines().enumerate() {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let Some(process) = json["process"].as_i64() else { continue };
        let kind = match json["type"].as_str().unwrap() {
            "invoke" => EventKind::Invoke,
            "ok" => EventKind::Ok,
            "fail" => EventKind::Fail,
            "info" => EventKind::Info,
            other => panic!("{path:?}: type {other}"),
        };
        let failure = match (kind, json["error"].as_str()) {
            (EventKind::Fail, Some("precondition-failed")) => Some(Failure::PreconditionFailed),
            (EventKind::Fail, Some("key-does-not-exist")) => Some(Failure::KeyDoesNotExist),
            _ => None,
        };
        let event = Event {
            line: line as u64 + 1,
            process,
            kind,
            f: json["f"].as_str().unwrap().into(),
            key: json.get("key").filter(|key| !key.is_null()).map(value),
            value: value(&json["value"]),
            failure,
        };
        builder.push(event).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }
    builder.finish()
}

pub fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Other(number.to_string().into()), Value::Int)
        }
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Array(items) => Value::list(items.iter().map(value)),
        serde_json::Value::Object(_) => Value::Other(json.to_string().into()),
    }
}
