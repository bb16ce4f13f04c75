//! Messages between clients (and the harness) and nodes: Maelstrom's envelope and lin-kv bodies.
//!
//! One JSON object a line, `{"src":"c1","dest":"n1","body":{"type":"read","msg_id":1,"key":"k"}}`.
//! Keys and values are any JSON. Unknown fields are ignored; an unknown `type` is answered with
//! error 10. `hello`, `status`, the `leader` hint in error 11 are additions of this contract, all
//! optional: a node that answers `hello` with error 10 is a plain Maelstrom node.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::NodeId;

/// A message: who sent it, to whom, and what it says. `B` is [`Body`] of a request or a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<B> {
    /// The sender: a node (`n1`) or a client (`c1`).
    pub src: NodeId,
    /// The addressee.
    pub dest: NodeId,
    /// The body.
    pub body: B,
}

/// A body: ids that tie a reply to its request, and the payload selected by `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body<P> {
    /// Unique per sender; a reply to this message carries it in `in_reply_to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<u64>,
    /// In a reply: the `msg_id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<u64>,
    /// What is asked or answered.
    #[serde(flatten)]
    pub payload: P,
}

/// What a client or the harness asks of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Maelstrom's first message on stdio: the node's id and all node ids.
    Init {
        /// The receiving node's id.
        node_id: NodeId,
        /// All nodes, the receiver among them.
        node_ids: Vec<NodeId>,
    },
    /// Linearizable read of a key. Answered with `read_ok`, or error 20 if it was never written.
    Read {
        /// The key.
        key: Json,
    },
    /// Write of a key. Answered with `write_ok`.
    Write {
        /// The key.
        key: Json,
        /// The new value.
        value: Json,
    },
    /// Compare and set. Answered with `cas_ok`, error 20 (no such key) or 22 (another value).
    Cas {
        /// The key.
        key: Json,
        /// The value that must be there.
        from: Json,
        /// The value to put in its place.
        to: Json,
    },
    /// Asks for the contract's version and the node's features. Optional.
    Hello {
        /// The harness's [`crate::PROTOCOL_VERSION`].
        version: u32,
    },
    /// Asks for the node's view of itself. Optional; answered from local state, no quorum.
    Status {},
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The node is initialised.
    InitOk {},
    /// The value read.
    ReadOk {
        /// The key's value.
        value: Json,
    },
    /// Written.
    WriteOk {},
    /// Compared and set.
    CasOk {},
    /// The node's version and features.
    HelloOk {
        /// The [`crate::PROTOCOL_VERSION`] the node speaks.
        version: u32,
        /// Optional parts of the contract that the node offers: `status`, `trace`, …
        #[serde(default)]
        features: Vec<String>,
    },
    /// The node's view of itself.
    StatusOk(Status),
    /// The request was refused or its outcome is unknown; see [`crate::error_code`].
    Error {
        /// One of [`crate::error_code::ALL`], or a code of the system's own (then indefinite).
        code: u32,
        /// For people.
        #[serde(default)]
        text: String,
        /// With code 11: who leads, as far as the node knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leader: Option<NodeId>,
    },
}

/// A node's own view, for progress display, leader-aimed faults and the liveness check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `leader`, `follower`, `candidate` or a word of the system's own.
    pub role: String,
    /// Current term.
    pub term: u64,
    /// Who leads this term, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeId>,
    /// Commit index.
    #[serde(default)]
    pub commit: u64,
    /// Index of the last entry applied.
    #[serde(default)]
    pub applied: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_maelstroms_read() {
        let line = r#"{"src":"c1","dest":"n1","body":{"type":"read","msg_id":7,"key":"k","x":1}}"#;
        let message: Envelope<Body<Request>> = serde_json::from_str(line).unwrap();
        assert_eq!(message.body.msg_id, Some(7));
        assert_eq!(message.body.payload, Request::Read { key: "k".into() });
    }

    #[test]
    fn an_error_carries_its_hint() {
        let body = Body {
            msg_id: None,
            in_reply_to: Some(7),
            payload: Reply::Error {
                code: 11,
                text: "not the leader".into(),
                leader: Some("n2".into()),
            },
        };
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"in_reply_to":7,"type":"error","code":11,"text":"not the leader","leader":"n2"}"#
        );
    }
}
