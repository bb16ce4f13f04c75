//! Messages of clients and the harness: what they ask, and how they are answered.

use protocol::NodeId;
use protocol::error_code as code;
use protocol::message::{Body, Envelope, Reply, Request};
use serde_json::Value as Json;

use crate::core::{Answer, Outcome};

/// Deepest nesting of a key or value. A message to a peer wraps it once more in an entry and an
/// envelope, and the JSON reader there gives up at 128 levels.
const JSON_DEPTH_MAX: usize = 64;

/// A request that makes sense as a message.
#[derive(Debug)]
pub struct ClientMessage {
    /// Who asks.
    pub client: NodeId,
    /// Under what number.
    pub msg_id: u64,
    /// What.
    pub request: Request,
}

/// An answer to a line that is no request; ready to be sent.
#[derive(Debug)]
pub struct Refusal(pub Envelope<Body<Reply>>);

/// Reads a line that a client sent to `node`.
///
/// # Errors
/// The error reply for it: 12 malformed, 10 unknown type, 1 meant for another node.
pub fn decode(line: &[u8], node: &NodeId) -> Result<ClientMessage, Box<Refusal>> {
    let json: Json = serde_json::from_slice(line).map_err(|error| {
        let text = format!("not a JSON object: {error}");
        refusal(node, &Json::Null, code::MALFORMED_REQUEST, text)
    })?;
    let refuse = |code, text: String| refusal(node, &json, code, text);
    let malformed = |text: &str| refuse(code::MALFORMED_REQUEST, text.to_owned());
    let kind = json.pointer("/body/type").and_then(Json::as_str);
    let kind = kind.ok_or_else(|| malformed("body.type is missing or no string"))?;
    if json["dest"] != node.as_str() {
        let text = format!("this is node {node}, not {}", json["dest"]);
        return Err(refuse(code::NODE_NOT_FOUND, text));
    }
    if !["init", "read", "write", "cas", "hello", "status"].contains(&kind) {
        return Err(refuse(code::NOT_SUPPORTED, format!("unknown type {kind:?}")));
    }
    let message: Envelope<Body<Request>> = serde_json::from_value(json.clone())
        .map_err(|error| malformed(&format!("not a {kind} request: {error}")))?;
    let msg_id = message.body.msg_id.ok_or_else(|| malformed("body.msg_id is missing"))?;
    let request = message.body.payload;
    let too_deep = match &request {
        Request::Read { key } => is_too_deep(key),
        Request::Write { key, value } => is_too_deep(key) || is_too_deep(value),
        Request::Cas { key, from, to } => [key, from, to].into_iter().any(is_too_deep),
        Request::Init { .. } | Request::Hello { .. } | Request::Status {} => false,
    };
    if too_deep {
        let text = format!("a key or value is nested more than {JSON_DEPTH_MAX} levels deep");
        return Err(malformed(&text));
    }
    Ok(ClientMessage { client: message.src, msg_id, request })
}

fn refusal(node: &NodeId, request: &Json, code: u32, text: String) -> Box<Refusal> {
    let client = request.get("src").and_then(Json::as_str).unwrap_or("unknown");
    let in_reply_to = request.pointer("/body/msg_id").and_then(Json::as_u64);
    let payload = Reply::Error { code, text, leader: None };
    let body = Body { msg_id: None, in_reply_to, payload };
    Box::new(Refusal(Envelope { src: node.clone(), dest: NodeId::new(client), body }))
}

fn is_too_deep(json: &Json) -> bool {
    fn depth(json: &Json) -> usize {
        match json {
            Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Json::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    depth(json) > JSON_DEPTH_MAX
}

/// A reply as a line, newline included.
pub fn encode(reply: &Envelope<Body<Reply>>) -> String {
    let mut line = serde_json::to_string(reply).expect("replies have string keys");
    line.push('\n');
    line
}

/// The reply for an answer of the core.
pub fn reply_to(answer: Answer) -> Reply {
    let error = |code, text: &str| Reply::Error { code, text: text.to_owned(), leader: None };
    match answer {
        Answer::Read(Some(value)) => Reply::ReadOk { value },
        Answer::Read(None) | Answer::Applied(Outcome::Absent) => {
            error(code::KEY_DOES_NOT_EXIST, "no such key")
        }
        Answer::Applied(Outcome::Written) => Reply::WriteOk {},
        Answer::Applied(Outcome::Swapped) => Reply::CasOk {},
        Answer::Applied(Outcome::Mismatch { found }) => {
            error(code::PRECONDITION_FAILED, &format!("the value is {found:.200}"))
        }
        Answer::NotLeader { leader } => Reply::Error {
            code: code::TEMPORARILY_UNAVAILABLE,
            text: "not the leader".to_owned(),
            leader,
        },
        Answer::Overloaded => {
            error(code::TEMPORARILY_UNAVAILABLE, "too many requests are in flight")
        }
        Answer::Lost => error(code::CRASH, "the log entry was replaced; the outcome is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (u32, Option<u64>) {
        let Refusal(envelope) = *decode(line.as_bytes(), &"n1".into()).unwrap_err();
        let Reply::Error { code, .. } = envelope.body.payload else { panic!("no error") };
        (code, envelope.body.in_reply_to)
    }

    #[test]
    fn requests_are_read() {
        let line =
            br#"{"src":"c1","dest":"n1","body":{"type":"write","msg_id":3,"key":1,"value":null}}"#;
        let message = decode(line, &"n1".into()).unwrap();
        assert_eq!((message.client, message.msg_id), ("c1".into(), 3));
        assert_eq!(message.request, Request::Write { key: 1.into(), value: Json::Null });
    }

    #[test]
    fn what_is_no_request_is_answered_with_its_code_and_id() {
        let body = |body: &str| format!(r#"{{"src":"c1","dest":"n1","body":{body}}}"#);
        let deep = "[".repeat(65) + &"]".repeat(65);
        let cases = [
            ("no json".to_owned(), (12, None)),
            ("[1,2]".to_owned(), (12, None)),
            (body(r#"{"msg_id":4}"#), (12, Some(4))),
            (body(r#"{"type":"fly","msg_id":4}"#), (10, Some(4))),
            (body(r#"{"type":"write","msg_id":4,"key":"k"}"#), (12, Some(4))),
            (body(r#"{"type":"read","key":"k"}"#), (12, None)),
            (body(r#"{"type":"read","msg_id":-4,"key":"k"}"#), (12, None)),
            (body(&format!(r#"{{"type":"read","msg_id":4,"key":{deep}}}"#)), (12, Some(4))),
            (
                r#"{"src":"c1","dest":"n2","body":{"type":"status","msg_id":4}}"#.to_owned(),
                (1, Some(4)),
            ),
            (r#"{"dest":"n1","body":{"type":"status","msg_id":4}}"#.to_owned(), (12, Some(4))),
        ];
        for (line, expected) in cases {
            assert_eq!(refused(&line), expected, "{line}");
        }
    }

    #[test]
    fn only_a_proposed_command_gets_an_indefinite_error() {
        let code_of = |answer| match reply_to(answer) {
            Reply::Error { code, .. } => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code_of(Answer::NotLeader { leader: Some("n2".into()) }), 11);
        assert_eq!(code_of(Answer::Overloaded), 11);
        assert_eq!(code_of(Answer::Read(None)), 20);
        assert_eq!(code_of(Answer::Applied(Outcome::Absent)), 20);
        assert_eq!(code_of(Answer::Applied(Outcome::Mismatch { found: 1.into() })), 22);
        assert!(!code::is_definite(code_of(Answer::Lost)));
    }
}
