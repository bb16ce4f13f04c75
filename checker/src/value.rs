//! The values of a history: what operations were given and what they answered.
//!
//! Values compare by content, so that a checker may intern, hash and order them. Integers, text,
//! lists, booleans and null are kept apart; whatever else JSON can say (floats, integers beyond
//! 64 bits, objects) is kept as its canonical text, which is enough to compare it. No arithmetic
//! and no parsing lives here: readers of files make these.

use std::fmt;
use std::sync::Arc;

/// One value of a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// JSON's `null`: nothing given, nothing there.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A string.
    Text(Arc<str>),
    /// A list of values.
    List(Arc<[Value]>),
    /// Anything else, as canonical JSON text (object keys sorted, no white space): equal values
    /// must be given equal text.
    Other(Arc<str>),
}

impl Value {
    /// A text value.
    pub fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// A list value.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(items.into_iter().collect())
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Bytes that this value occupies beyond its own size, for budgets. Shared text is counted
    /// every time it is met, so this is an upper bound.
    pub fn heap_bytes(&self) -> u64 {
        match self {
            Value::Null | Value::Bool(_) | Value::Int(_) => 0,
            Value::Text(text) | Value::Other(text) => text.len() as u64 + 16,
            Value::List(items) => {
                16 + items
                    .iter()
                    .map(|item| size_of::<Value>() as u64 + item.heap_bytes())
                    .sum::<u64>()
            }
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::text(text)
    }
}

impl fmt::Display for Value {
    /// Writes the value as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(truth) => write!(f, "{truth}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Text(text) => write_json_text(f, text),
            Value::List(items) => {
                f.write_str("[")?;
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Value::Other(json) => f.write_str(json),
        }
    }
}

fn write_json_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write as _;
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_json() {
        let value = Value::list([
            Value::Null,
            true.into(),
            (-3).into(),
            "a\"b\\\n\u{1}é".into(),
            Value::list([]),
            Value::Other("{\"a\":1.5}".into()),
        ]);
        assert_eq!(value.to_string(), "[null,true,-3,\"a\\\"b\\\\\\n\\u0001é\",[],{\"a\":1.5}]");
    }
}
