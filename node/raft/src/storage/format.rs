//! The write-ahead log's bytes.
//!
//! ```text
//! header  magic "wwraft" 0 0 | version u32 | length of the node's id u32 | id | crc u32
//! frame   length of the body u32 | crc u32 | sequence number u64 | body: records
//! record  1 term u64, 0 or 1, length u32, vote     term and vote
//!         2 index u64, term u64                    a no-op appended
//!         3 index u64, term u64, length u32, text  a command appended
//!         4 index u64                              the log cut before this index
//! ```
//!
//! Numbers are little-endian. A frame's checksum covers its length, its sequence number and its
//! body; frames are numbered 1, 2, 3, ….
//!
//! A frame is what one fsync makes durable, and the next is written only after that. So at most
//! the last frame can be incomplete after a crash: [`decode`] cuts off a damaged frame with
//! nothing valid behind it, and refuses one that has a valid frame behind it, for a crash cannot
//! have done that. (A last frame whose bits were flipped looks like a torn one and is cut, too.)

use std::sync::Arc;

use protocol::NodeId;

use crate::core::{Command, Entry, Index, Payload, Record, Restored, Term};

/// Version of this format.
pub const WAL_FORMAT: u32 = 1;
/// Longest body of a frame, in bytes; longer batches are written as several frames.
pub const FRAME_BODY_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"wwraft\0\0";
const FRAME_HEAD_BYTES: usize = 4 + 4 + 8;

/// Why a file's content is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The header is short, or its checksum does not fit.
    #[error("its header is damaged; it was not written by a crash, so the file is not used")]
    Header,
    /// Not a write-ahead log of ours.
    #[error("it does not begin with {:?}: not a write-ahead log of this program", "wwraft")]
    Magic,
    /// Another version.
    #[error("its format is version {found}; this program reads version {WAL_FORMAT}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Another node's.
    #[error("it belongs to node {found:?}, not to {expected:?}")]
    Owner {
        /// The id in the header.
        found: String,
        /// This node's id.
        expected: String,
    },
    /// A frame fails its checksum and has valid frames behind it.
    #[error(
        "damaged at offset {offset}: the frame there is not intact, but the one at offset {valid} \
         is; a crash cannot do this, so the log is not used"
    )]
    Frame {
        /// Where the damaged frame begins.
        offset: usize,
        /// Where the next valid frame begins.
        valid: usize,
    },
    /// An intact frame holds something impossible.
    #[error("impossible content at offset {offset}: {what}; the log is not used")]
    Content {
        /// Where the frame begins.
        offset: usize,
        /// What is wrong.
        what: String,
    },
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    /// The state that its records lead to.
    pub restored: Restored,
    /// Length of the intact part, in bytes; what follows is torn.
    pub intact_bytes: usize,
    /// The sequence number of the last intact frame, 0 if there is none.
    pub sequence: u64,
}

/// The header of a file that belongs to `owner`.
pub fn encode_header(owner: &NodeId) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(WAL_FORMAT.to_le_bytes());
    put_text(&mut bytes, owner.as_str());
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Appends a record to a frame's body.
pub fn encode_record(body: &mut Vec<u8>, record: &Record) {
    match record {
        Record::HardState { term, vote } => {
            body.push(1);
            body.extend(term.0.to_le_bytes());
            body.push(u8::from(vote.is_some()));
            put_text(body, vote.as_ref().map_or("", NodeId::as_str));
        }
        Record::Append { index, entry } => {
            body.push(match entry.payload {
                Payload::Noop => 2,
                Payload::Command(_) => 3,
            });
            body.extend(index.0.to_le_bytes());
            body.extend(entry.term.0.to_le_bytes());
            if let Payload::Command(command) = &entry.payload {
                put_text(body, command.as_text());
            }
        }
        Record::Truncate { from } => {
            body.push(4);
            body.extend(from.0.to_le_bytes());
        }
    }
}

/// A frame around a body.
pub fn encode_frame(sequence: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("bodies are limited to FRAME_BODY_BYTES_MAX");
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + body.len());
    frame.extend(length.to_le_bytes());
    frame.extend(frame_crc(length, sequence, body).to_le_bytes());
    frame.extend(sequence.to_le_bytes());
    frame.extend(body);
    frame
}

/// Reads a whole file that belongs to `owner`.
///
/// # Errors
/// Damage that a crash cannot have done.
pub fn decode(bytes: &[u8], owner: &NodeId) -> Result<Decoded, Damage> {
    let mut offset = decode_header(bytes, owner)?;
    let mut restored = Restored::default();
    let mut sequence = 0;
    while offset < bytes.len() {
        let Some(frame) = frame_at(bytes, offset, |found| found > sequence) else {
            let Some(valid) = valid_frame_after(bytes, offset, sequence) else { break };
            return Err(Damage::Frame { offset, valid });
        };
        if frame.sequence != sequence + 1 {
            let what =
                format!("frame {} follows frame {sequence}, frames are missing", frame.sequence);
            return Err(Damage::Content { offset, what });
        }
        replay(&mut restored, frame.body).map_err(|what| Damage::Content { offset, what })?;
        sequence = frame.sequence;
        offset += FRAME_HEAD_BYTES + frame.body.len();
    }
    Ok(Decoded { restored, intact_bytes: offset, sequence })
}

fn decode_header(bytes: &[u8], owner: &NodeId) -> Result<usize, Damage> {
    let mut reader = Reader { bytes };
    let magic = reader.take(MAGIC.len()).ok_or(Damage::Header)?;
    if magic != MAGIC {
        return Err(Damage::Magic);
    }
    let found = reader.u32().ok_or(Damage::Header)?;
    if found != WAL_FORMAT {
        return Err(Damage::Version { found });
    }
    let id = reader.text().ok_or(Damage::Header)?;
    let covered = bytes.len() - reader.bytes.len();
    let crc = reader.u32().ok_or(Damage::Header)?;
    if crc != crc32fast::hash(&bytes[..covered]) {
        return Err(Damage::Header);
    }
    if id != owner.as_str() {
        return Err(Damage::Owner { found: id.to_owned(), expected: owner.as_str().to_owned() });
    }
    Ok(covered + 4)
}

struct Frame<'a> {
    sequence: u64,
    body: &'a [u8],
}

fn frame_crc(length: u32, sequence: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The intact frame that begins at `offset`, if there is one and its number is plausible. The
/// number is looked at first: it spares most checksums when a damaged file is searched.
fn frame_at(bytes: &[u8], offset: usize, plausible: impl Fn(u64) -> bool) -> Option<Frame<'_>> {
    let mut reader = Reader { bytes: bytes.get(offset..)? };
    let length = reader.u32()?;
    let crc = reader.u32()?;
    let sequence = reader.u64()?;
    // An empty frame is never written; taking zeros for one would be a mistake.
    if length == 0 || length as usize > FRAME_BODY_BYTES_MAX || !plausible(sequence) {
        return None;
    }
    let body = reader.take(length as usize)?;
    (frame_crc(length, sequence, body) == crc).then_some(Frame { sequence, body })
}

/// Where the next intact frame begins behind the damaged one at `damaged`. Its length may be what
/// is damaged, so every byte is tried.
fn valid_frame_after(bytes: &[u8], damaged: usize, sequence: u64) -> Option<usize> {
    let frames_max = (bytes.len() - damaged) as u64;
    let plausible = |found: u64| found > sequence && found - sequence <= frames_max;
    (damaged + 1..bytes.len()).find(|&offset| frame_at(bytes, offset, plausible).is_some())
}

/// Carries out a frame's records. Terms of entries are not compared: a leader that forgot its
/// term may have sent any, and this node stored what it was told.
fn replay(state: &mut Restored, body: &[u8]) -> Result<(), String> {
    let mut reader = Reader { bytes: body };
    while !reader.bytes.is_empty() {
        let record = reader.record()?;
        let last = state.entries.len() as u64;
        match record {
            Record::HardState { term, vote } => {
                let changed_vote = term == state.term && state.vote.is_some() && vote != state.vote;
                if term < state.term || changed_vote {
                    return Err(format!(
                        "term {term} with vote {vote:?} follows term {} with vote {:?}",
                        state.term, state.vote
                    ));
                }
                (state.term, state.vote) = (term, vote);
            }
            Record::Append { index, entry } => {
                if index.0 != last + 1 {
                    return Err(format!("entry {index} is appended to a log of {last} entries"));
                }
                state.entries.push(entry);
            }
            Record::Truncate { from } => {
                if from.0 == 0 || from.0 > last {
                    return Err(format!("a log of {last} entries is cut before entry {from}"));
                }
                state.entries.truncate(from.prev().0 as usize);
            }
        }
    }
    Ok(())
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("texts are limited by the length of a message");
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Takes values off the front of a slice.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        std::str::from_utf8(self.take(length as usize)?).ok()
    }

    fn record(&mut self) -> Result<Record, String> {
        let short = || "a record ends early".to_owned();
        let kind = self.array::<1>().ok_or_else(short)?[0];
        let number = self.u64().ok_or_else(short)?;
        match kind {
            1 => {
                let has_vote = self.array::<1>().ok_or_else(short)?[0] == 1;
                let vote = self.text().ok_or_else(short)?;
                let vote = has_vote.then(|| NodeId::new(vote));
                Ok(Record::HardState { term: Term(number), vote })
            }
            2 | 3 => {
                let term = Term(self.u64().ok_or_else(short)?);
                let payload = match kind {
                    2 => Payload::Noop,
                    _ => {
                        let text = self.text().ok_or_else(short)?;
                        let command = Command::parse(text).map_err(|error| error.to_string())?;
                        Payload::Command(Arc::new(command))
                    }
                };
                Ok(Record::Append { index: Index(number), entry: Entry { term, payload } })
            }
            4 => Ok(Record::Truncate { from: Index(number) }),
            other => Err(format!("unknown kind of record {other}")),
        }
    }
}

#[cfg(test)]
mod tests;
