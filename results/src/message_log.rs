//! `messages.jsonl.zst`: every message that the harness could see, and what became of it.
//!
//! Each flush ends a compressed block, so that a file cut by a kill reads up to the last flush.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::json_log::{JsonLog, read_json_log};

/// Version of the `messages.jsonl.zst` format; it stands in `run.json`.
pub const MESSAGES_FORMAT: u32 = 1;

/// Fast: the harness must not slow down what it watches.
const COMPRESSION_LEVEL: i32 = 1;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Passed on unchanged.
    Delivered,
    /// Not passed on.
    Dropped,
    /// Passed on later than it came.
    Delayed,
    /// Passed on more than once.
    Duplicated,
    /// Passed on when a block was lifted.
    Held,
    /// Still waiting when its connection ended.
    Lost,
}

/// One line of `messages.jsonl.zst`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Nanoseconds since the run began.
    pub time: u64,
    /// The sender: a node or a client.
    pub src: String,
    /// The addressee.
    pub dest: String,
    /// The message's type where it is known, such as `append_entries`; else `frame`.
    pub kind: String,
    /// What became of it.
    pub fate: Fate,
    /// The fault that decided it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
    /// Its size.
    #[serde(default)]
    pub bytes: u64,
}

/// Writes `messages.jsonl.zst`.
pub struct MessageLogWriter {
    encoder: zstd::stream::write::Encoder<'static, File>,
    path: PathBuf,
}

impl std::fmt::Debug for MessageLogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageLogWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MessageLogWriter {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create_new(path).map_err(Error::io("create", path))?;
        let encoder = zstd::stream::write::Encoder::new(file, COMPRESSION_LEVEL)
            .map_err(Error::io("compress", path))?;
        Ok(MessageLogWriter { encoder, path: path.to_path_buf() })
    }

    /// Adds a message to the buffer.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, message: &MessageRecord) -> Result<(), Error> {
        let mut line = serde_json::to_vec(message).expect("records have string keys");
        line.push(b'\n');
        self.encoder.write_all(&line).map_err(Error::io("write", &self.path))
    }

    /// Ends the current block and hands it to the operating system.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.encoder.flush().map_err(Error::io("write", &self.path))
    }

    /// Ends the file, so that any tool takes it for whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<(), Error> {
        self.encoder.finish().map(drop).map_err(Error::io("write", &self.path))
    }
}

/// Reads `messages.jsonl.zst`, cut or whole.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for a line that is no message record.
pub fn read_message_log(path: &Path) -> Result<JsonLog<MessageRecord>, Error> {
    read_json_log(path, "a message record {time, src, dest, kind, fate}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(time: u64) -> MessageRecord {
        MessageRecord {
            time,
            src: "n1".into(),
            dest: "n2".into(),
            kind: "append_entries".into(),
            fate: Fate::Dropped,
            fault: Some(time % 7),
            bytes: time * 31,
        }
    }

    #[test]
    fn a_golden_line() {
        assert_eq!(
            serde_json::to_string(&message(9)).unwrap(),
            r#"{"time":9,"src":"n1","dest":"n2","kind":"append_entries","fate":"dropped","fault":2,"bytes":279}"#
        );
    }

    #[test]
    fn a_killed_writer_loses_nothing_that_was_flushed_and_a_cut_file_gives_a_prefix() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("messages.jsonl.zst");
        let mut writer = MessageLogWriter::create(&path).unwrap();
        let messages: Vec<_> = (0..60).map(message).collect();
        for (at, message) in messages.iter().enumerate() {
            writer.write(message).unwrap();
            if at % 20 == 19 {
                writer.flush().unwrap();
            }
        }
        // The writer is not finished: this is what a kill leaves.
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(read_message_log(&path).unwrap().records, messages);
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let log = read_message_log(&path).unwrap();
            assert!(messages.starts_with(&log.records), "cut at {cut}");
        }
        writer.finish().unwrap();
    }
}
