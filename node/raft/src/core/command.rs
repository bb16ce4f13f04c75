//! What a log entry carries: a client's command, or nothing.

use std::sync::Arc;

use protocol::NodeId;
use protocol::trace::ChainHash;
use serde_json::{Value as Json, json};

use super::types::Term;

/// A change of the state machine that a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Who asked: the `src` of the request.
    pub client: NodeId,
    /// The request's `msg_id`.
    pub msg_id: u64,
    /// What is to be done.
    pub change: Change,
    /// The command as JSON text, made once: the log's bytes and what the chain hash covers.
    text: String,
}

/// The changes that the state machine knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Set a key.
    Write {
        /// The key.
        key: Json,
        /// Its new value.
        value: Json,
    },
    /// Set a key if it has a certain value.
    Cas {
        /// The key.
        key: Json,
        /// The value that must be there.
        from: Json,
        /// The value to put in its place.
        to: Json,
    },
}

/// Bytes or JSON that are not a command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a command: {text:.200}; expected [\"write\",client,msg_id,key,value] or \
     [\"cas\",client,msg_id,key,from,to]"
)]
pub struct NotACommand {
    text: String,
}

impl Command {
    /// A command of this client.
    pub fn new(client: NodeId, msg_id: u64, change: Change) -> Command {
        let text = match &change {
            Change::Write { key, value } => json!(["write", client, msg_id, key, value]),
            Change::Cas { key, from, to } => json!(["cas", client, msg_id, key, from, to]),
        }
        .to_string();
        Command { client, msg_id, change, text }
    }

    /// The command as a JSON array in one line of text.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Reads what [`Command::as_text`] gave.
    ///
    /// # Errors
    /// The text is no command.
    pub fn parse(text: &str) -> Result<Command, NotACommand> {
        let json: Json =
            serde_json::from_str(text).map_err(|_| NotACommand { text: text.to_owned() })?;
        Command::from_json(&json)
    }

    /// Reads a command from its JSON array.
    ///
    /// # Errors
    /// The JSON is no command.
    pub fn from_json(json: &Json) -> Result<Command, NotACommand> {
        let refuse = || NotACommand { text: json.to_string() };
        let parts = json.as_array().map_or(&[][..], Vec::as_slice);
        let ([kind, client, msg_id, key], values) =
            parts.split_first_chunk::<4>().ok_or_else(refuse)?;
        let client = NodeId::new(client.as_str().ok_or_else(refuse)?);
        let msg_id = msg_id.as_u64().ok_or_else(refuse)?;
        let change = match (kind.as_str(), values) {
            (Some("write"), [value]) => Change::Write { key: key.clone(), value: value.clone() },
            (Some("cas"), [from, to]) => {
                Change::Cas { key: key.clone(), from: from.clone(), to: to.clone() }
            }
            _ => return Err(refuse()),
        };
        Ok(Command::new(client, msg_id, change))
    }
}

/// What an entry is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Nothing: a new leader's first entry, with which it commits what came before (section 8).
    Noop,
    /// A client's command.
    Command(Arc<Command>),
}

impl Payload {
    /// The word that traces use.
    pub fn kind(&self) -> &'static str {
        match self {
            Payload::Noop => "noop",
            Payload::Command(_) => "cmd",
        }
    }

    /// The payload's text, empty for a no-op.
    pub fn text(&self) -> &str {
        match self {
            Payload::Noop => "",
            Payload::Command(command) => command.as_text(),
        }
    }
}

/// A log entry (Figure 2: "command for state machine, and term when entry was received").
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The term of the leader that created it.
    pub term: Term,
    /// What it is for.
    pub payload: Payload,
}

impl Entry {
    /// The chain hash of this entry when the entry before it has the hash `before`.
    ///
    /// FNV-1a over the fields, lengths included, finished with the mixer of splitmix64 (Steele,
    /// Lea & Flood 2014) so that all bits depend on all fields. Not meant to resist forgery.
    pub fn chain_hash(&self, before: ChainHash) -> ChainHash {
        const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
        let fold = |hash: u64, bytes: &[u8]| {
            bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
        };
        let text = self.payload.text();
        let mut hash = fold(FNV_OFFSET, &before.0.to_le_bytes());
        hash = fold(hash, &self.term.0.to_le_bytes());
        hash = fold(hash, self.payload.kind().as_bytes());
        hash = fold(hash, &(text.len() as u64).to_le_bytes());
        hash = fold(hash, text.as_bytes());
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ChainHash(hash ^ (hash >> 31))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            ".{0,8}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Followers and restarted nodes compute the hash from text that was parsed again, so
        /// parsing and printing must be each other's inverse, for every float too.
        #[test]
        fn text_and_hash_survive_parsing(key in json(), from in json(), to in json()) {
            let command = Command::new("c1".into(), 7, Change::Cas { key, from, to });
            let again = Command::parse(command.as_text()).unwrap();
            prop_assert_eq!(&again, &command);
            let hash = |command: Command| {
                Entry { term: Term(3), payload: Payload::Command(Arc::new(command)) }
                    .chain_hash(ChainHash(9))
            };
            prop_assert_eq!(hash(again), hash(command));
        }
    }

    #[test]
    fn the_chain_hash_depends_on_everything() {
        let write = |value: u64| {
            let change = Change::Write { key: "k".into(), value: value.into() };
            Payload::Command(Arc::new(Command::new("c1".into(), 1, change)))
        };
        let entry = Entry { term: Term(1), payload: write(1) };
        let hash = entry.chain_hash(ChainHash(0));
        assert_ne!(entry.chain_hash(ChainHash(1)), hash);
        assert_ne!(Entry { term: Term(2), ..entry.clone() }.chain_hash(ChainHash(0)), hash);
        assert_ne!(Entry { payload: write(2), ..entry.clone() }.chain_hash(ChainHash(0)), hash);
        assert_ne!(Entry { payload: Payload::Noop, ..entry }.chain_hash(ChainHash(0)), hash);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for text in ["", "{}", "[]", r#"["write","c",1,"k"]"#, r#"["cas","c",-1,"k",1,2]"#] {
            assert!(Command::parse(text).is_err(), "{text}");
        }
    }
}
