//! The write-ahead log's file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use protocol::NodeId;

use crate::core::{Record, Restored};

use super::format::{self, Damage};

/// Name of the file in the data directory.
pub const WAL_FILE: &str = "raft.wal";

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The content is not what this program wrote.
    #[error("cannot use the write-ahead log {}: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
}

/// An open write-ahead log, positioned at its end.
#[derive(Debug)]
pub struct Wal {
    file: File,
    path: PathBuf,
    sequence: u64,
}

impl Wal {
    /// Opens the log in `dir`, or creates it; returns what it held. A torn end is cut off.
    ///
    /// # Errors
    /// What the operating system refused, or damage that a crash cannot have done.
    pub fn open(dir: &Path, owner: &NodeId) -> Result<(Wal, Restored), WalError> {
        let path = dir.join(WAL_FILE);
        let fail = |what| {
            let path = path.clone();
            move |source| WalError::Io { what, path, source }
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path, owner)?,
            Err(error) => return Err(fail("read")(error)),
        };
        let decoded = format::decode(&bytes, owner)
            .map_err(|damage| WalError::Damaged { path: path.clone(), damage })?;
        let mut file = OpenOptions::new().write(true).open(&path).map_err(fail("open"))?;
        let torn_bytes = bytes.len() - decoded.intact_bytes;
        if torn_bytes > 0 {
            tracing::warn!(
                file = %path.display(),
                offset = decoded.intact_bytes,
                torn_bytes,
                "cut off a write that a crash left unfinished"
            );
            file.set_len(decoded.intact_bytes as u64).map_err(fail("truncate"))?;
        }
        // What was read may be known to the page cache only: a predecessor that was killed
        // between write and fsync leaves such frames. They count as durable from here.
        file.sync_all().map_err(fail("fsync"))?;
        file.seek(SeekFrom::End(0)).map_err(fail("seek in"))?;
        Ok((Wal { file, path, sequence: decoded.sequence }, decoded.restored))
    }

    /// Writes records and makes them durable.
    ///
    /// # Errors
    /// The operating system refused; what of the records is on disk is unknown then, and the log
    /// must not be written any further.
    pub fn write(&mut self, records: &[Record]) -> Result<(), WalError> {
        let mut body = Vec::new();
        for record in records {
            let before = body.len();
            format::encode_record(&mut body, record);
            if body.len() > format::FRAME_BODY_BYTES_MAX && before > 0 {
                let rest = body.split_off(before);
                self.write_frame(&body)?;
                body = rest;
            }
        }
        if body.is_empty() { Ok(()) } else { self.write_frame(&body) }
    }

    /// Writes one frame and syncs it. Never is a frame written while another is not yet durable:
    /// that is what tells a torn end from damage.
    fn write_frame(&mut self, body: &[u8]) -> Result<(), WalError> {
        let frame = format::encode_frame(self.sequence + 1, body);
        self.file.write_all(&frame).map_err(|source| self.fail("write to", source))?;
        self.file.sync_data().map_err(|source| self.fail("fsync", source))?;
        self.sequence += 1;
        Ok(())
    }

    fn fail(&self, what: &'static str, source: io::Error) -> WalError {
        WalError::Io { what, path: self.path.clone(), source }
    }
}

/// Creates an empty log; returns its bytes. It appears under its name only when it is whole and
/// durable, so no crash leaves a log without a header.
fn create(dir: &Path, path: &Path, owner: &NodeId) -> Result<Vec<u8>, WalError> {
    let fail = |what, path: &Path| {
        let path = path.to_owned();
        move |source| WalError::Io { what, path, source }
    };
    let header = format::encode_header(owner);
    let new = path.with_extension("wal.new");
    let mut file = File::create(&new).map_err(fail("create", &new))?;
    file.write_all(&header).map_err(fail("write to", &new))?;
    file.sync_all().map_err(fail("fsync", &new))?;
    std::fs::rename(&new, path).map_err(fail("rename to", path))?;
    let directory = File::open(dir).map_err(fail("open", dir))?;
    directory.sync_all().map_err(fail("fsync", dir))?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Entry, Index, Payload, Term};

    fn append(index: u64) -> Record {
        let entry = Entry { term: Term(1), payload: Payload::Noop };
        Record::Append { index: Index(index), entry }
    }

    #[test]
    fn a_reopened_log_holds_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let id = NodeId::new("n1");
        let (mut wal, restored) = Wal::open(dir.path(), &id).unwrap();
        assert_eq!(restored, Restored::default());
        wal.write(&[Record::HardState { term: Term(1), vote: Some("n1".into()) }]).unwrap();
        wal.write(&[append(1), append(2)]).unwrap();
        drop(wal);
        let (mut wal, restored) = Wal::open(dir.path(), &id).unwrap();
        assert_eq!((restored.term, restored.vote), (Term(1), Some("n1".into())));
        assert_eq!(restored.entries.len(), 2);
        wal.write(&[Record::Truncate { from: Index(2) }, append(2), append(3)]).unwrap();
        drop(wal);
        let (_, restored) = Wal::open(dir.path(), &id).unwrap();
        assert_eq!(restored.entries.len(), 3);
    }

    #[test]
    fn after_a_torn_end_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let id = NodeId::new("n1");
        let (mut wal, _) = Wal::open(dir.path(), &id).unwrap();
        wal.write(&[append(1)]).unwrap();
        wal.write(&[append(2)]).unwrap();
        let path = dir.path().join(WAL_FILE);
        let length = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let (mut wal, restored) = Wal::open(dir.path(), &id).unwrap();
        assert_eq!(restored.entries.len(), 1);
        wal.write(&[append(2)]).unwrap();
        let (_, restored) = Wal::open(dir.path(), &id).unwrap();
        assert_eq!(restored.entries.len(), 2);
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = Wal::open(&missing, &"n1".into()).unwrap_err().to_string();
        assert!(error.contains("missing/raft.wal"), "{error}");
        Wal::open(dir.path(), &"n1".into()).unwrap();
        let error = Wal::open(dir.path(), &"n2".into()).unwrap_err().to_string();
        assert!(error.contains("raft.wal: it belongs to node \"n1\""), "{error}");
    }
}
