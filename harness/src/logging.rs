//! The harness's own log: into the run's directory while there is one, else to standard error.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static RUN_LOG: Mutex<Option<Arc<File>>> = Mutex::new(None);

/// Environment variable with a filter in `tracing`'s syntax; `info` by default.
pub const FILTER_VARIABLE: &str = "WHITEWATER_LOG";

/// Starts logging.
pub fn start() {
    let filter =
        EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Switch).init();
}

/// Logs into this file from now on, until the guard is dropped.
///
/// # Errors
/// The file cannot be created.
pub fn into_file(path: &Path) -> io::Result<RunLog> {
    let file = File::create(path)?;
    *RUN_LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(file));
    Ok(RunLog)
}

/// While it lives, the log goes into a run's directory.
pub struct RunLog;

impl Drop for RunLog {
    fn drop(&mut self) {
        *RUN_LOG.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct Switch;

enum Sink {
    Run(Arc<File>),
    Stderr(io::Stderr),
}

impl MakeWriter<'_> for Switch {
    type Writer = Sink;

    fn make_writer(&self) -> Sink {
        match &*RUN_LOG.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => Sink::Run(Arc::clone(file)),
            None => Sink::Stderr(io::stderr()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Run(file) => file.as_ref().write(bytes),
            Sink::Stderr(stderr) => stderr.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
