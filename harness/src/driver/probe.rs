//! Probes the machine: is it fit to show that a cluster makes no progress?
//!
//! A timer that fires late says that processes wait for a processor; a small fsync that takes long
//! says that they wait for the disk.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::limits;
use crate::coordinator::event::{Event, Nanos};

/// Probes until the events' receiver is dropped. `scratch` is a file of no further use on the disk
/// that nodes write to.
pub fn spawn(mut scratch: File, events: mpsc::Sender<Event>) {
    // A thread of its own: an fsync blocks.
    let (ask, asked) = std::sync::mpsc::sync_channel::<tokio::sync::oneshot::Sender<Nanos>>(1);
    std::thread::spawn(move || {
        while let Ok(answer) = asked.recv() {
            let began = Instant::now();
            let written = scratch
                .seek(SeekFrom::Start(0))
                .and_then(|_| scratch.write_all(b"probe"))
                .and_then(|()| scratch.sync_data());
            // A disk that refuses the probe is no disk to judge a cluster on.
            let took = written.map_or(Nanos::MAX, |()| began.elapsed().as_nanos() as Nanos);
            let _ = answer.send(took);
        }
    });
    tokio::spawn(async move {
        loop {
            let began = Instant::now();
            sleep(limits::PROBE).await;
            let late = began.elapsed().saturating_sub(limits::PROBE).as_nanos() as Nanos;
            let (answer, answered) = tokio::sync::oneshot::channel();
            let disk = match ask.try_send(answer) {
                Ok(()) => answered.await.unwrap_or(Nanos::MAX),
                Err(_) => 0,
            };
            if events.send(Event::Probed { late: late.max(disk) }).await.is_err() {
                return;
            }
        }
    });
}
