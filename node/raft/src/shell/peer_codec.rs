//! Messages between nodes as lines of JSON, in the envelope that clients use, too.

use std::fmt::Write as _;
use std::sync::Arc;

use protocol::NodeId;
use protocol::message::Envelope;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::core::{
    AppendResult, Command, Entry, Index, Message, MessageBody, NotACommand, Payload, Term,
};

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
pub enum PeerLineError {
    /// Not JSON of the right shape.
    #[error("not a peer message: {0}")]
    Json(#[from] serde_json::Error),
    /// An entry that makes no sense.
    #[error("not an entry: expected [term, \"noop\"] or [term, command]: {0:.200}")]
    Entry(String),
    /// An entry whose command makes no sense.
    #[error(transparent)]
    Command(#[from] NotACommand),
}

#[derive(Deserialize)]
struct Body {
    term: u64,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind {
    RequestVote {
        last_index: u64,
        last_term: u64,
    },
    Vote {
        granted: bool,
    },
    AppendEntries {
        prev_index: u64,
        prev_term: u64,
        entries: Vec<(u64, Json)>,
        commit: u64,
        round: u64,
    },
    AppendOk {
        round: u64,
        matched: u64,
    },
    AppendConflict {
        round: u64,
        prev_index: u64,
        hint_index: u64,
        hint_term: Option<u64>,
    },
}

/// Reads a line; the sender and the addressee come with the message.
///
/// # Errors
/// Why it is no message.
pub fn decode(line: &[u8]) -> Result<Envelope<Message>, PeerLineError> {
    let Envelope { src, dest, body: Body { term, kind } } = serde_json::from_slice(line)?;
    let body = match kind {
        Kind::RequestVote { last_index, last_term } => {
            MessageBody::RequestVote { last_index: Index(last_index), last_term: Term(last_term) }
        }
        Kind::Vote { granted } => MessageBody::Vote { granted },
        Kind::AppendEntries { prev_index, prev_term, entries, commit, round } => {
            MessageBody::AppendEntries {
                prev_index: Index(prev_index),
                prev_term: Term(prev_term),
                entries: entries.iter().map(decode_entry).collect::<Result<_, _>>()?,
                commit: Index(commit),
                round,
            }
        }
        Kind::AppendOk { round, matched } => {
            MessageBody::AppendReply { round, result: AppendResult::Matched(Index(matched)) }
        }
        Kind::AppendConflict { round, prev_index, hint_index, hint_term } => {
            let result = AppendResult::Conflict {
                prev_index: Index(prev_index),
                hint_index: Index(hint_index),
                hint_term: hint_term.map(Term),
            };
            MessageBody::AppendReply { round, result }
        }
    };
    Ok(Envelope { src, dest, body: Message { term: Term(term), body } })
}

fn decode_entry((term, payload): &(u64, Json)) -> Result<Entry, PeerLineError> {
    let payload = match payload {
        Json::String(word) if word == "noop" => Payload::Noop,
        Json::Array(_) => Payload::Command(Arc::new(Command::from_json(payload)?)),
        other => return Err(PeerLineError::Entry(other.to_string())),
    };
    Ok(Entry { term: Term(*term), payload })
}

/// The message as a line, newline included. Commands are JSON text already, so the line is put
/// together from text.
pub fn encode(src: &NodeId, dest: &NodeId, message: &Message) -> String {
    let quoted = |id: &NodeId| Json::from(id.as_str()).to_string();
    let mut line = format!(
        r#"{{"src":{},"dest":{},"body":{{"term":{},"#,
        quoted(src),
        quoted(dest),
        message.term
    );
    let _ = match &message.body {
        MessageBody::RequestVote { last_index, last_term } => write!(
            line,
            r#""type":"request_vote","last_index":{last_index},"last_term":{last_term}"#
        ),
        MessageBody::Vote { granted } => write!(line, r#""type":"vote","granted":{granted}"#),
        MessageBody::AppendEntries { prev_index, prev_term, entries, commit, round } => {
            let _ = write!(
                line,
                r#""type":"append_entries","prev_index":{prev_index},"prev_term":{prev_term},"#
            );
            let _ = write!(line, r#""commit":{commit},"round":{round},"entries":["#);
            encode_entries(&mut line, entries);
            write!(line, "]")
        }
        MessageBody::AppendReply { round, result: AppendResult::Matched(index) } => {
            write!(line, r#""type":"append_ok","round":{round},"matched":{index}"#)
        }
        MessageBody::AppendReply {
            round,
            result: AppendResult::Conflict { prev_index, hint_index, hint_term },
        } => {
            let _ = write!(line, r#""type":"append_conflict","round":{round},"#);
            let _ = write!(line, r#""prev_index":{prev_index},"hint_index":{hint_index},"#);
            match hint_term {
                Some(term) => write!(line, r#""hint_term":{term}"#),
                None => write!(line, r#""hint_term":null"#),
            }
        }
    };
    line.push_str("}}\n");
    line
}

fn encode_entries(line: &mut String, entries: &[Entry]) {
    for (nth, entry) in entries.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        let payload = match &entry.payload {
            Payload::Noop => "\"noop\"",
            Payload::Command(command) => command.as_text(),
        };
        let _ = write!(line, "{comma}[{},{payload}]", entry.term);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::Change;

    #[test]
    fn every_message_survives_the_wire() {
        let change = Change::Cas { key: "k\"\n".into(), from: json!([1, 0.1]), to: json!(null) };
        let command = Payload::Command(Arc::new(Command::new("c\"1".into(), u64::MAX, change)));
        let entries = vec![
            Entry { term: Term(1), payload: Payload::Noop },
            Entry { term: Term(u64::MAX), payload: command },
        ];
        let bodies = [
            MessageBody::RequestVote { last_index: Index(3), last_term: Term(2) },
            MessageBody::Vote { granted: true },
            MessageBody::AppendEntries {
                prev_index: Index(1),
                prev_term: Term(1),
                entries,
                commit: Index(1),
                round: 9,
            },
            MessageBody::AppendReply { round: 9, result: AppendResult::Matched(Index(4)) },
            MessageBody::AppendReply {
                round: 9,
                result: AppendResult::Conflict {
                    prev_index: Index(3),
                    hint_index: Index(2),
                    hint_term: Some(Term(1)),
                },
            },
            MessageBody::AppendReply {
                round: 0,
                result: AppendResult::Conflict {
                    prev_index: Index(3),
                    hint_index: Index(2),
                    hint_term: None,
                },
            },
        ];
        for body in bodies {
            let message = Message { term: Term(7), body };
            let line = encode(&"n1".into(), &"n\"2".into(), &message);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            let decoded = decode(line.as_bytes()).unwrap();
            assert_eq!((decoded.src, decoded.dest), ("n1".into(), "n\"2".into()));
            assert_eq!(decoded.body, message);
        }
    }

    #[test]
    fn garbage_is_refused() {
        let cases: [&[u8]; 5] = [
            b"",
            b"\xff\xfe",
            br#"{"src":"n1","dest":"n2","body":{"type":"vote","term":-1,"granted":true}}"#,
            br#"{"src":"n1","dest":"n2","body":{"type":"snapshot","term":1}}"#,
            br#"{"src":"n1","dest":"n2","body":{"type":"append_entries","term":1,"prev_index":0,
                "prev_term":0,"commit":0,"round":0,"entries":[[1,"cfg"]]}}"#,
        ];
        for line in cases {
            assert!(decode(line).is_err());
        }
    }
}
