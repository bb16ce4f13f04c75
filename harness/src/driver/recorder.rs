//! Writes down what happens: history, faults, messages, manifest.
//!
//! Everything reaches the operating system within [`super::limits::FLUSH`], all but messages before
//! a fault is injected, and at the end, so that a killed harness loses no more. An error of recording voids
//! the run; what was written stays readable.

use std::thread::JoinHandle;
use std::time::Instant;

use checker::history::EventKind;
use protocol::NodeId;
use results::fault_log::{FaultEvent, FaultLogWriter, FaultOp};
use results::history::{HistoryWriter, Process, Record};
use results::manifest::Manifest;
use results::message_log::{self, MessageLogWriter};
use results::{Error, RunDir};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;
use workloads::Outcome;

use super::client_task::client_name;
use super::limits;
use crate::coordinator::event::{Complete, Invoke, Nanos, Note};
use crate::net::{MessageFate, MessageRecord};

/// The records of a run.
pub struct Recorder {
    run_dir: RunDir,
    history: HistoryWriter,
    faults: FaultLogWriter,
    manifest: Manifest,
    /// The manifest has changed since it was written.
    manifest_is_old: bool,
    messages: Option<JoinHandle<Result<(), Error>>>,
}

impl Recorder {
    /// Creates the files and writes the manifest for the first time.
    ///
    /// # Errors
    /// A file cannot be created or written.
    pub fn create(run_dir: RunDir, manifest: Manifest) -> Result<Self, Error> {
        manifest.write(&run_dir.manifest())?;
        Ok(Recorder {
            history: HistoryWriter::create(&run_dir.history())?,
            faults: FaultLogWriter::create(&run_dir.faults())?,
            run_dir,
            manifest,
            manifest_is_old: false,
            messages: None,
        })
    }

    /// Starts the message log; messages are to be sent to the channel returned. `failed` is called
    /// once if it cannot be written any further. Must be called within a tokio runtime with time.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn start_messages(
        &mut self,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> Result<mpsc::Sender<MessageRecord>, Error> {
        let log = MessageLogWriter::create(&self.run_dir.messages())?;
        let (sender, receiver) = mpsc::channel(limits::MESSAGES_MAX);
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("message-log".into());
        let handle = thread
            .spawn(move || {
                let result = write_messages(log, receiver, &runtime);
                if let Err(error) = &result {
                    failed(error.to_string());
                }
                result
            })
            .map_err(|source| Error::Io {
                doing: "start a thread for",
                path: self.run_dir.messages(),
                source,
            })?;
        self.messages = Some(handle);
        Ok(sender)
    }

    /// An operation begins.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn invoke(&mut self, time: Nanos, invoke: &Invoke) -> Result<(), Error> {
        let client = client_name(invoke.client);
        self.history.write(&Record {
            time,
            process: Process::Client(invoke.process),
            kind: EventKind::Invoke,
            f: invoke.f,
            key: invoke.key.as_ref(),
            value: &invoke.value,
            error: None,
            client: Some(&client),
            msg_ids: &[invoke.msg_id],
            node: None,
        })?;
        Ok(())
    }

    /// An operation ends.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn complete(&mut self, time: Nanos, complete: &Complete) -> Result<(), Error> {
        let (kind, value, error) = match &complete.outcome {
            Outcome::Ok(value) => (EventKind::Ok, value, None),
            Outcome::Fail(error) => (EventKind::Fail, &complete.value, Some(json!(error))),
            Outcome::Info(error) => (EventKind::Info, &complete.value, Some(json!(error))),
        };
        self.history.write(&Record {
            time,
            process: Process::Client(complete.process),
            kind,
            f: complete.f,
            key: complete.key.as_ref(),
            value,
            error: error.as_ref(),
            client: None,
            msg_ids: &complete.msg_ids,
            node: complete.node.as_ref(),
        })?;
        Ok(())
    }

    /// A fault was injected, healed, skipped, or showed its effect. It stands in the fault log, and
    /// as an event of `nemesis` in the history, where people look for it.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn fault(&mut self, event: &FaultEvent) -> Result<(), Error> {
        self.faults.write(event)?;
        if event.op == FaultOp::Inject && self.manifest.times.first_fault.is_none() {
            self.manifest.times.first_fault = Some(event.time);
            self.manifest_is_old = true;
        }
        let value = json!({ "id": event.id, "op": event.op, "targets": event.targets });
        self.history.write(&Record {
            time: event.time,
            process: Process::Named("nemesis"),
            kind: EventKind::Info,
            f: &event.fault,
            key: None,
            value: &value,
            error: None,
            client: None,
            msg_ids: &[],
            node: None,
        })?;
        Ok(())
    }

    /// Notes a fact in the manifest.
    ///
    /// # Errors
    /// The manifest cannot be written; the old one is then still in place.
    pub fn note(&mut self, time: Nanos, note: Note) -> Result<(), Error> {
        let manifest = &mut self.manifest;
        match note {
            Note::WorkloadBegan => manifest.times.ready = Some(time),
            Note::Healed => manifest.times.healed_at = Some(time),
            Note::UnexpectedExit { node, incarnation, status, excuse, log_tail } => {
                manifest.exits.push(results::manifest::UnexpectedExit {
                    time,
                    node,
                    incarnation,
                    status,
                    excuse,
                    log_tail,
                });
            }
            Note::Breach { node, what } => {
                manifest.breaches.push(results::manifest::Breach { time, node, what });
            }
            Note::Recovery(recovery) => {
                manifest.recovery = Some(results::manifest::Recovery {
                    waited_ns: recovery.waited,
                    limit_ns: recovery.limit,
                    unmet: recovery.unmet,
                    probes: recovery.probes,
                    late_probes: recovery.late_probes,
                });
            }
        }
        self.write_manifest()
    }

    /// An incarnation of a node ended, or the run did.
    pub fn incarnation(&mut self, node: &NodeId, incarnation: u32, sent: bool, killed: bool) {
        let list = self.manifest.incarnations.entry(node.clone()).or_default();
        let at = incarnation as usize;
        if list.len() <= at {
            list.resize_with(at + 1, Default::default);
        }
        list[at].sent = Some(sent);
        list[at].killed = Some(killed);
        self.manifest_is_old = true;
    }

    /// Takes in who else has sent something, as `has_sent` knows by now.
    pub fn add_senders(&mut self, has_sent: impl Fn(&NodeId, u32) -> bool) {
        for (node, incarnations) in &mut self.manifest.incarnations {
            for (number, facts) in (0..).zip(incarnations) {
                if facts.sent == Some(false) && has_sent(node, number) {
                    facts.sent = Some(true);
                    self.manifest_is_old = true;
                }
            }
        }
    }

    /// A node broke the contract; noted with the next flush.
    pub fn breach(&mut self, time: Nanos, node: NodeId, what: String) {
        self.manifest.breaches.push(results::manifest::Breach { time, node, what });
        self.manifest_is_old = true;
    }

    /// Changes the manifest and writes it.
    ///
    /// # Errors
    /// The manifest cannot be written; the old one is then still in place.
    pub fn update(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<(), Error> {
        change(&mut self.manifest);
        self.write_manifest()
    }

    fn write_manifest(&mut self) -> Result<(), Error> {
        self.manifest.write(&self.run_dir.manifest())?;
        self.manifest_is_old = false;
        Ok(())
    }

    /// Brings history, fault log and manifest to the operating system.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.history.flush()?;
        self.faults.flush()?;
        if self.manifest_is_old {
            self.write_manifest()?;
        }
        Ok(())
    }

    /// Brings everything to the operating system. All senders of messages must be gone.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.flush()?;
        match self.messages.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

/// Writes messages until all senders are gone. What was written reaches the operating system in
/// time also when no further message comes.
fn write_messages(
    mut log: MessageLogWriter,
    mut messages: mpsc::Receiver<MessageRecord>,
    runtime: &Handle,
) -> Result<(), Error> {
    let mut flushed = Instant::now();
    let mut is_flushed = true;
    loop {
        let message = match messages.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) if is_flushed => match messages.blocking_recv() {
                Some(message) => Some(message),
                None => break,
            },
            Err(TryRecvError::Empty) => {
                let rest = limits::FLUSH.saturating_sub(flushed.elapsed());
                let next = async { timeout(rest, messages.recv()).await };
                // Time is up, or all senders are gone, which the next turn sees.
                runtime.block_on(next).ok().flatten()
            }
        };
        if let Some(message) = message {
            log.write(&record_of(&message))?;
            if std::mem::replace(&mut is_flushed, false) {
                flushed = Instant::now();
            }
        }
        if !is_flushed && flushed.elapsed() >= limits::FLUSH {
            log.flush()?;
            is_flushed = true;
        }
    }
    log.finish()
}

fn record_of(message: &MessageRecord) -> message_log::MessageRecord {
    message_log::MessageRecord {
        time: message.time_ns,
        src: message.src.to_string(),
        dest: message.dest.to_string(),
        kind: message.kind.as_deref().unwrap_or("frame").to_owned(),
        fate: match message.fate {
            MessageFate::Passed => message_log::Fate::Delivered,
            MessageFate::Dropped => message_log::Fate::Dropped,
            MessageFate::Delayed => message_log::Fate::Delayed,
            MessageFate::Held => message_log::Fate::Held,
            MessageFate::Duplicated => message_log::Fate::Duplicated,
            MessageFate::Lost => message_log::Fate::Lost,
        },
        fault: message.fault.map(|fault| u64::from(fault.0)),
        bytes: message.bytes as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use results::message_log::read_message_log;

    use super::*;
    use crate::testing::manifest;

    fn recorder(out: &std::path::Path) -> Recorder {
        let run_dir = RunDir::create(out, 0, || 7).unwrap();
        Recorder::create(run_dir, manifest()).unwrap()
    }

    fn saved(recorder: &Recorder) -> Manifest {
        Manifest::read(&recorder.run_dir.manifest()).unwrap()
    }

    #[test]
    fn what_is_known_of_incarnations_is_on_disk_after_a_flush() {
        let out = tempfile::tempdir().unwrap();
        let mut recorder = recorder(out.path());
        let node = NodeId::new("n1");
        recorder.incarnation(&node, 1, false, true);
        recorder.breach(5, node.clone(), "a frame of 9 GiB".into());
        assert!(saved(&recorder).incarnations.is_empty());
        recorder.flush().unwrap();
        let manifest = saved(&recorder);
        assert_eq!(manifest.breaches[0].what, "a frame of 9 GiB");
        let known = &manifest.incarnations[&node];
        assert_eq!((known[0].sent, known[0].killed), (None, None), "nobody said anything of it");
        assert_eq!((known[1].sent, known[1].killed), (Some(false), Some(true)));
        // A byte that was under way when its sender ended.
        recorder.add_senders(|_, incarnation| incarnation == 1);
        recorder.flush().unwrap();
        assert_eq!(saved(&recorder).incarnations[&node][1].sent, Some(true));
    }

    #[test]
    fn the_first_fault_and_its_moment_are_noted() {
        let out = tempfile::tempdir().unwrap();
        let mut recorder = recorder(out.path());
        for (id, time, op) in
            [(0, 3, FaultOp::Skip), (1, 5, FaultOp::Inject), (2, 9, FaultOp::Inject)]
        {
            recorder.fault(&FaultEvent::new(id, time, op, "kill-one")).unwrap();
        }
        recorder.flush().unwrap();
        assert_eq!(saved(&recorder).times.first_fault, Some(5));
    }

    #[test]
    fn a_message_reaches_the_disk_though_none_follows_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let out = tempfile::tempdir().unwrap();
        let mut recorder = recorder(out.path());
        let _inside = runtime.enter();
        let messages = recorder.start_messages(|why| panic!("{why}")).unwrap();
        let message = MessageRecord {
            time_ns: 1,
            delivered_ns: Some(2),
            number: 0,
            src: NodeId::new("n1"),
            dest: NodeId::new("n2"),
            kind: None,
            fate: MessageFate::Passed,
            fault: None,
            bytes: 10,
        };
        messages.blocking_send(message).unwrap();
        let path = recorder.run_dir.messages();
        let began = Instant::now();
        while read_message_log(&path).map_or(0, |log| log.records.len()) < 1 {
            assert!(began.elapsed() < Duration::from_secs(60), "it never reached the disk");
            std::thread::yield_now();
        }
        drop(messages);
        recorder.finish().unwrap();
    }
}
