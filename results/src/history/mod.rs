//! Histories as files: what clients saw, an event a line.
//!
//! [`HistoryWriter`] makes a run's `history.jsonl`; [`HistoryReader`] takes any history that
//! follows Jepsen's fields, JSON Lines or EDN, compressed or not, and gives the checker's events.
//! Whether the events make a history (pairs, one operation a process) is the checker's question.
//!
//! A line of `history.jsonl`:
//! `{"index":0,"time":12,"process":3,"type":"invoke","f":"write","key":"k1","value":7,
//! "client":"c3","msg_ids":[41]}`; `key` and `error` are absent where there is none; completions
//! carry the message ids that were tried and the node that answered last.

mod edn;
mod jsonl;
mod reader;
mod value;
mod writer;

pub use reader::{HistoryReader, Torn};
pub use value::json_to_value;
pub use writer::{HistoryWriter, Process, Record};

/// Version of the `history.jsonl` format; it stands in `run.json`.
pub const HISTORY_FORMAT: u32 = 1;
