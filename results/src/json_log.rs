//! An append-only file of JSON lines: what is flushed is there, a line cut by a kill is not.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::lines::{self, Lines};

/// Writes records of one type, a line each.
#[derive(Debug)]
pub struct JsonLogWriter<T> {
    out: BufWriter<File>,
    path: PathBuf,
    records: PhantomData<fn(&T)>,
}

impl<T: Serialize> JsonLogWriter<T> {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create_new(path).map_err(Error::io("create", path))?;
        Ok(JsonLogWriter {
            out: BufWriter::new(file),
            path: path.to_path_buf(),
            records: PhantomData,
        })
    }

    /// Adds a record to the buffer.
    ///
    /// # Errors
    /// [`Error::Io`]; what had been flushed before stays readable.
    pub fn write(&mut self, record: &T) -> Result<(), Error> {
        let mut line = serde_json::to_vec(record).expect("records have string keys");
        line.push(b'\n');
        self.out.write_all(&line).map_err(Error::io("write", &self.path))
    }

    /// Hands everything to the operating system: a killed process loses nothing of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::io("write", &self.path))
    }
}

/// The records of a file, and whether its last line was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonLog<T> {
    /// Every whole record.
    pub records: Vec<T>,
    /// The number of a last line that was cut and left out.
    pub torn_line: Option<u64>,
}

/// Reads a file of JSON lines, compressed or not. Empty lines are skipped.
///
/// # Errors
/// [`Error::Io`], and [`Error::Line`] for a line that is not what `what` names. A last line
/// without a newline that cannot be read was cut and is left out.
pub fn read_json_log<T: DeserializeOwned>(path: &Path, what: &str) -> Result<JsonLog<T>, Error> {
    let mut lines = Lines::new(lines::open(path)?.source);
    let mut log = JsonLog { records: Vec::new(), torn_line: None };
    while let Some(line) = lines.next(path)? {
        if line.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(line.bytes) {
            Ok(record) => log.records.push(record),
            Err(error) if !line.is_whole && error.is_eof() => log.torn_line = Some(line.number),
            Err(error) => {
                let problem = format!("not {what}: {}", describe_json_error(&error));
                return Err(Error::line(path, line.number, problem));
            }
        }
    }
    Ok(log)
}

/// A JSON error of a single line: its text without the line number, which would always be 1.
pub(crate) fn describe_json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("{} at column {}", &text[..at], error.column()),
        None => text,
    }
}
