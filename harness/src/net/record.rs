//! One line of the message log: a message that reached a link, and what became of it.

use std::sync::Arc;

use protocol::NodeId;

use super::limits;
use super::rule::FaultId;

/// A message that was seen whole on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// When it reached the link, in ns of the run.
    pub time_ns: u64,
    /// When it left the link towards its receiver, in ns of the run; `None`: never.
    pub delivered_ns: Option<u64>,
    /// The endpoint that sent it.
    pub src: NodeId,
    /// The endpoint it was sent to.
    pub dest: NodeId,
    /// Its number on this link, from 0; random decisions are keyed by it.
    pub number: u64,
    /// Its length in bytes, delimiter or prefix included.
    pub bytes: usize,
    /// The `"type"` of a JSON message, as far as one was found.
    pub kind: Option<Arc<str>>,
    /// What became of it.
    pub fate: MessageFate,
    /// The fault that caused this fate.
    pub fault: Option<FaultId>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFate {
    /// Delivered at once.
    Passed,
    /// Taken by a fault.
    Dropped,
    /// Delivered after a drawn delay.
    Delayed,
    /// Delivered after a block was lifted.
    Held,
    /// Delivered twice.
    Duplicated,
    /// Still waiting when its connection ended.
    Lost,
}

impl MessageFate {
    /// The word that stands for it in the message log.
    pub fn name(self) -> &'static str {
        match self {
            MessageFate::Passed => "passed",
            MessageFate::Dropped => "dropped",
            MessageFate::Delayed => "delayed",
            MessageFate::Held => "held",
            MessageFate::Duplicated => "duplicated",
            MessageFate::Lost => "lost",
        }
    }
}

/// Finds the `"type"` of a JSON message without parsing the rest.
///
/// Looks at the members of the outermost object and of the objects directly in it, which is where
/// an envelope's body lies; deeper ones belong to payloads. A message that is no JSON has none.
pub fn message_kind(message: &[u8]) -> Option<&str> {
    let start = message.iter().position(|&byte| byte == b'{')?;
    if message[..start].iter().any(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    let text = &message[start..message.len().min(start + limits::KIND_SCAN_BYTES_MAX)];
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(text, at + 1)?;
                let inside = &text[at + 1..end];
                at = end;
                if depth <= 2 && inside == b"type" {
                    let after = skip_space(text, end + 1);
                    if text.get(after) == Some(&b':') {
                        let value = skip_space(text, after + 1);
                        if text.get(value) == Some(&b'"') {
                            let end = string_end(text, value + 1)?;
                            let kind = &text[value + 1..end];
                            let plain =
                                kind.len() <= limits::KIND_BYTES_MAX && !kind.contains(&b'\\');
                            return std::str::from_utf8(kind).ok().filter(|_| plain);
                        }
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The index of the quote that ends the string whose first character is at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_the_type_of_the_body_and_of_nothing_else() {
        let cases: &[(&str, Option<&str>)] = &[
            (r#"{"src":"c1","dest":"n1","body":{"type":"read","msg_id":1}}"#, Some("read")),
            (r#"{"body":{"value":{"type":"trap"},"type" : "write"}}"#, Some("write")),
            (r#"{"body":{"value":"\"type\":\"trap\"","type":"cas"}}"#, Some("cas")),
            (r#"{"body":{"key":"type","type":"read"}}"#, Some("read")),
            (r#"  {"type":"append_entries","term":3}"#, Some("append_entries")),
            (r#"{"type":7}"#, None),
            (r#"{"type":"un"#, None),
            (r#"{"type":"a\"b"}"#, None),
            ("no json {\"type\":\"x\"}", None),
            ("", None),
            ("{\"", None),
            ("{\"\\", None),
        ];
        for (text, expected) in cases {
            assert_eq!(message_kind(text.as_bytes()), *expected, "{text}");
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let mut framed = b"{\"type\":".to_vec();
            framed.extend(&bytes);
            let _ = message_kind(&bytes);
            let _ = message_kind(&framed);
        });
    }
}
