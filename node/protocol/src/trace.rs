//! The events a node may trace, one JSON object a line.
//!
//! A trace is optional; it unlocks the invariants. An event is written *after* what it claims is
//! durable and *before* any message that depends on it is sent. `seq` counts from 0 without gaps
//! within an incarnation. Nothing orders events of different nodes by `t_ns`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::NodeId;

/// Version of the trace format; field `v` of every event.
pub const TRACE_FORMAT: u32 = 1;

/// One event of one incarnation of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceEvent {
    /// What all events carry.
    pub head: Head,
    /// What happened.
    pub kind: TraceKind,
}

/// The fields that every event carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// [`TRACE_FORMAT`].
    pub v: u32,
    /// The node.
    pub node: NodeId,
    /// Its incarnation: how often it had been started before in this run.
    pub inc: u32,
    /// 0, 1, 2, … within the incarnation.
    pub seq: u64,
    /// Nanoseconds of the node's clock since `epoch_ns`; may be negative if that clock errs.
    pub t_ns: i64,
    /// The node's current term.
    pub term: u64,
}

/// The chain hash of an entry: hash(chain hash before it, term, kind, payload).
///
/// Equal (index, term) must mean equal chain hash. On the wire a string: up to 16 hex digits are
/// the value itself, any other text (or a JSON integer) is folded into 64 bits; only equality
/// matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainHash(pub u64);

/// An entry as `append` names it: `[idx, term, kind, ch]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry(
    /// Log index, from 1.
    pub u64,
    /// Term in which it was created.
    pub u64,
    /// `cmd`, `noop`, `cfg` or a word of the system's own.
    pub String,
    /// Chain hash.
    pub ChainHash,
);

/// Which client request an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// The client, as in the request's `src`.
    pub client: NodeId,
    /// The request's `msg_id`.
    pub msg_id: u64,
}

macro_rules! trace_kinds {
    ($($(#[$doc:meta])* $kind:ident = $ev:literal {
        $($(#[$fattr:meta])* $field:ident: $ty:ty,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $kind { $($(#[$fattr])* pub $field: $ty,)* }
        )*

        /// What happened, by the event's `ev`.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is documented on the struct it holds")]
        pub enum TraceKind {
            $($kind($kind),)*
            /// An event this version does not know: kept in the file, not judged.
            Other(String),
        }

        $(impl From<$kind> for TraceKind {
            fn from(kind: $kind) -> Self { TraceKind::$kind(kind) }
        })*

        impl TraceEvent {
            /// Reads an event from a line of a trace. Unknown fields are ignored.
            ///
            /// # Errors
            /// What is missing or of the wrong type, with its column.
            pub fn parse(line: &[u8]) -> Result<TraceEvent, serde_json::Error> {
                #[derive(Deserialize)]
                struct Ev { ev: String }
                // Two passes over a short line: the tag selects a struct that can then be read
                // without the buffering that `flatten` and `tag` cost.
                let head: Head = serde_json::from_slice(line)?;
                let Ev { ev } = serde_json::from_slice(line)?;
                let kind = match ev.as_str() {
                    $($ev => TraceKind::$kind(serde_json::from_slice(line)?),)*
                    _ => TraceKind::Other(ev),
                };
                Ok(TraceEvent { head, kind })
            }

            /// The event as a line of a trace, newline included.
            pub fn to_line(&self) -> String {
                #[derive(Serialize)]
                struct Line<'a, K> {
                    #[serde(flatten)]
                    head: &'a Head,
                    ev: &'a str,
                    #[serde(flatten)]
                    kind: K,
                }
                #[derive(Serialize)]
                struct Nothing {}
                let head = &self.head;
                let line = match &self.kind {
                    $(TraceKind::$kind(kind) => serde_json::to_string(&Line { head, ev: $ev, kind }),)*
                    TraceKind::Other(ev) =>
                        serde_json::to_string(&Line { head, ev, kind: Nothing {} }),
                };
                let mut line = line.expect("trace events have string keys and plain values");
                line.push('\n');
                line
            }
        }
    };
}

trace_kinds! {
    /// The incarnation begins, with the state it found on disk.
    Start = "start" {
        /// The vote found for the term found.
        vote: Option<NodeId>,
        /// First log index still held (1 if nothing was compacted).
        first: u64,
        /// Last log index held, 0 if none.
        last: u64,
        /// Term of the entry at `last`, 0 if none.
        last_term: u64,
        /// Commit index known at start.
        #[serde(default)]
        commit: u64,
        /// Index up to which the state machine is already applied at start.
        #[serde(default)]
        applied: u64,
        /// Index covered by the snapshot, 0 if none.
        #[serde(default)]
        snap_idx: u64,
        /// Term of the entry at `snap_idx`.
        #[serde(default)]
        snap_term: u64,
        /// The entries kept, `[idx, term, kind, ch]`, from `first` to `last`.
        #[serde(default)]
        tail: Vec<Entry>,
        /// Voters of the configuration in force.
        #[serde(default)]
        cfg: Vec<NodeId>,
    }
    /// `term` and `vote` are durable from here.
    HardState = "hard" {
        /// Candidate voted for in `term`.
        vote: Option<NodeId>,
    }
    /// A vote was asked for and answered.
    Vote = "vote" {
        /// The candidate that asked.
        cand: NodeId,
        /// Whether it got the vote.
        granted: bool,
        /// A pre-vote, which binds nobody.
        #[serde(default)]
        pre: bool,
        /// Term of the candidate's last entry.
        cand_last_term: u64,
        /// Index of the candidate's last entry.
        cand_last_idx: u64,
    }
    /// The node leads `term` from here.
    Leader = "leader" {
        /// Its last log index at that moment, before any entry of the new term.
        last: u64,
        /// Term of that entry.
        last_term: u64,
        /// Who voted for it, itself included.
        granted_by: Vec<NodeId>,
    }
    /// The node enters a role.
    Step = "step" {
        /// `follower`, `candidate`, `leader`.
        role: String,
        /// Why, in a few words.
        #[serde(default)]
        reason: String,
    }
    /// Entries were added at the end of the log (not yet durable).
    Append = "append" {
        /// The leader they came from; the node itself if it leads.
        src: NodeId,
        /// Entries in index order.
        ents: Vec<Entry>,
    }
    /// Entries were removed from the end of the log.
    Trunc = "trunc" {
        /// First index removed.
        from_idx: u64,
        /// Why, in a few words.
        #[serde(default)]
        reason: String,
    }
    /// The log is durable up to `idx`.
    Synced = "synced" {
        /// Last durable index.
        idx: u64,
    }
    /// The commit index moved.
    Commit = "commit" {
        /// The new commit index.
        idx: u64,
        /// The leader that said so; the node itself if it leads.
        src: NodeId,
        /// On a leader: the matched index of each voter.
        #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
        matched: BTreeMap<NodeId, u64>,
    }
    /// An entry was applied to the state machine.
    Apply = "apply" {
        /// Its index.
        idx: u64,
        /// Its term.
        entry_term: u64,
        /// Its chain hash.
        ch: ChainHash,
        /// The client request it carries, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        req: Option<RequestId>,
        /// What the state machine answered.
        #[serde(default, skip_serializing_if = "Json::is_null")]
        result: Json,
    }
    /// A snapshot was taken, sent or installed.
    Snap = "snap" {
        /// `take`, `send` or `install`.
        op: String,
        /// Last index it covers.
        idx: u64,
        /// Term of the entry there.
        snap_term: u64,
        /// Chain hash of the entry there.
        ch: ChainHash,
        /// Hash of the state machine's content.
        #[serde(default)]
        sm_hash: Json,
        /// Voters of the configuration it holds.
        #[serde(default)]
        cfg: Vec<NodeId>,
    }
    /// A configuration is in force from here.
    Cfg = "cfg" {
        /// Index of its entry.
        idx: u64,
        /// Voters.
        voters: Vec<NodeId>,
        /// In joint consensus: the old voters.
        #[serde(default)]
        voters_old: Vec<NodeId>,
        /// Learners.
        #[serde(default)]
        learners: Vec<NodeId>,
    }
    /// A linearizable read was released.
    Read = "read" {
        /// `index`, `lease` or `log`.
        mode: String,
        /// The read's context.
        #[serde(default)]
        ctx: Json,
        /// The read index.
        idx: u64,
        /// Who confirmed the leadership, the leader included.
        #[serde(default)]
        acks: Vec<NodeId>,
    }
}

impl ChainHash {
    fn from_text(text: &str) -> Self {
        let is_hex = !text.is_empty() && text.len() <= 16;
        match u64::from_str_radix(text, 16) {
            Ok(value) if is_hex => ChainHash(value),
            // FNV-1a: the text is opaque to us, equality is all that is asked of it.
            _ => ChainHash(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })),
        }
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for ChainHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChainHashVisitor;
        impl Visitor<'_> for ChainHashVisitor {
            type Value = ChainHash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a chain hash: a string, best of 16 hex digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ChainHash, E> {
                Ok(ChainHash::from_text(text))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ChainHash, E> {
                Ok(ChainHash(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ChainHash, E> {
                Ok(ChainHash(value.cast_unsigned()))
            }
        }
        deserializer.deserialize_any(ChainHashVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { v: TRACE_FORMAT, node: "n1".into(), inc: 0, seq: 3, t_ns: 12, term: 2 }
    }

    #[test]
    fn events_round_trip() {
        let kinds: Vec<TraceKind> = vec![
            HardState { vote: Some("n2".into()) }.into(),
            Append {
                src: "n2".into(),
                ents: vec![Entry(1, 2, "noop".into(), ChainHash(u64::MAX))],
            }
            .into(),
            Apply { idx: 1, entry_term: 2, ch: ChainHash(7), req: None, result: Json::Null }.into(),
            TraceKind::Other("gossip".into()),
        ];
        for kind in kinds {
            let event = TraceEvent { head: head(), kind };
            let line = event.to_line();
            assert_eq!(TraceEvent::parse(line.trim_end().as_bytes()).unwrap(), event, "{line}");
        }
    }

    #[test]
    fn a_line_looks_as_protocol_md_says() {
        let event = TraceEvent { head: head(), kind: Synced { idx: 9 }.into() };
        assert_eq!(
            event.to_line(),
            "{\"v\":1,\"node\":\"n1\",\"inc\":0,\"seq\":3,\"t_ns\":12,\"term\":2,\"ev\":\"synced\",\"idx\":9}\n"
        );
    }

    #[test]
    fn foreign_chain_hashes_are_told_apart() {
        let parse = |text: &str| serde_json::from_str::<ChainHash>(text).unwrap();
        assert_eq!(parse("\"00000000000000ff\""), ChainHash(255));
        assert_eq!(parse("255"), ChainHash(255));
        let long = |tail: &str| parse(&format!("\"sha256:{tail}\""));
        assert_ne!(long("aa"), long("ab"));
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = TraceEvent::parse(
            br#"{"v":1,"node":"n1","inc":0,"seq":0,"t_ns":0,"term":0,"ev":"synced"}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("idx"), "{error}");
    }
}
