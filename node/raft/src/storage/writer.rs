//! The thread that writes and syncs the log while the core goes on working.
//!
//! All batches that wait when the thread is ready for the next become one frame and share one
//! fsync (group commit). The queue needs no bound of its own: what the core writes between two
//! syncs is bounded by what it accepts from clients and from a leader in that time.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::core::{Record, Ticket};

use super::wal::{Wal, WalError};

/// Records, and the ticket under which they are reported durable.
#[derive(Debug)]
pub struct Batch {
    /// What to write, in this order.
    pub records: Vec<Record>,
    /// The ticket of the last of them.
    pub ticket: Ticket,
}

/// A handle on the writing thread.
#[derive(Debug)]
pub struct Writer {
    queue: Option<mpsc::Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `report` is called on it after each sync, with the ticket up to which
    /// everything is durable, or once with the error that ended the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn start(
        wal: Wal,
        report: impl FnMut(Result<Ticket, WalError>) + Send + 'static,
    ) -> std::io::Result<Writer> {
        let (queue, batches) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || write_batches(wal, &batches, report))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread) })
    }

    /// Hands over a batch. After an error that was reported it is dropped.
    pub fn write(&self, batch: Batch) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(batch);
        }
    }
}

impl Drop for Writer {
    /// Writes what is queued, then ends the thread.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_batches(
    mut wal: Wal,
    batches: &mpsc::Receiver<Batch>,
    mut report: impl FnMut(Result<Ticket, WalError>),
) {
    while let Ok(Batch { mut records, mut ticket }) = batches.recv() {
        for more in batches.try_iter() {
            records.extend(more.records);
            ticket = more.ticket;
        }
        match wal.write(&records) {
            Ok(()) => report(Ok(ticket)),
            Err(error) => return report(Err(error)),
        }
    }
}
