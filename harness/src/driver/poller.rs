//! Asks each node how it is, on a connection of its own that no fault touches.
//!
//! Greets it with `hello` once an incarnation, then asks for its `status` again and again. Both are
//! optional. A node that does not offer `status` is asked for a read until it has served one, so
//! that a run begins only when the cluster serves; from then on it counts as there while it takes
//! connections. A node that answers with what is no reply does listen and answer: its breach of
//! the contract is what the user hears of.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::message::{Body, Envelope, Reply, Request};
use protocol::{NodeId, PROTOCOL_VERSION, error_code};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::limits;
use crate::coordinator::event::{Event, Report};

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The key that is read to see whether a node serves; no workload writes it.
const PROBE_KEY: &str = "whitewater-probe";

/// Polls a node until the events' receiver is dropped.
pub fn spawn(
    node: NodeId,
    address: SocketAddr,
    incarnation: Arc<AtomicU32>,
    events: mpsc::Sender<Event>,
) {
    let poller = Poller {
        node,
        address,
        events,
        connection: None,
        next_msg_id: 1,
        greeted: None,
        manner: Manner::Unknown,
        is_told: false,
    };
    tokio::spawn(poller.run(incarnation));
}

struct Poller {
    node: NodeId,
    address: SocketAddr,
    events: mpsc::Sender<Event>,
    connection: Option<BufReader<TcpStream>>,
    next_msg_id: u64,
    /// The incarnation that was greeted last.
    greeted: Option<u32>,
    manner: Manner,
    /// Whether its breach of the contract has been told: the next one would only say it again.
    is_told: bool,
}

/// How a node can be asked; it stays the same over its incarnations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Unknown,
    /// It offers `status`.
    Status,
    /// It does not, and has served a read.
    Plain,
}

/// What came back.
enum Answer {
    Reply(Reply),
    /// Nobody listens, or nothing came in time; which of the two.
    Nothing {
        connected: bool,
    },
    /// Something that the contract does not know; what, in a sentence.
    Breach(String),
}

impl Poller {
    async fn run(mut self, incarnation: Arc<AtomicU32>) {
        let mut ticks = interval(limits::POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = incarnation.load(Ordering::Relaxed);
            let report = match self.poll(asked).await {
                Ok(report) => report,
                Err(what) => {
                    if !std::mem::replace(&mut self.is_told, true) {
                        let event = Event::Breached { node: self.node.clone(), what };
                        if self.events.send(event).await.is_err() {
                            return;
                        }
                    }
                    Report::Plain { serves: true }
                }
            };
            let event = Event::Polled { node: self.node.clone(), incarnation: asked, report };
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Asks once. An error is a breach of the contract, in a sentence.
    async fn poll(&mut self, incarnation: u32) -> Result<Report, String> {
        if self.manner == Manner::Plain {
            return Ok(match self.connect().await {
                Ok(()) => Report::Plain { serves: true },
                Err(_) => Report::Silent,
            });
        }
        if self.greeted != Some(incarnation) {
            match self.ask(Request::Hello { version: PROTOCOL_VERSION }).await {
                Answer::Reply(Reply::HelloOk { version, .. }) if version != PROTOCOL_VERSION => {
                    return Ok(Report::OtherVersion(version));
                }
                Answer::Nothing { connected: false } => return Ok(Report::Silent),
                Answer::Breach(what) => return Err(what),
                Answer::Reply(_) | Answer::Nothing { connected: true } => {}
            }
            self.greeted = Some(incarnation);
        }
        match self.ask(Request::Status {}).await {
            Answer::Reply(Reply::StatusOk(status)) => {
                self.manner = Manner::Status;
                return Ok(Report::Status(status));
            }
            Answer::Breach(what) => return Err(what),
            Answer::Nothing { connected: false } => return Ok(Report::Silent),
            Answer::Nothing { connected: true } | Answer::Reply(_)
                if self.manner == Manner::Status =>
            {
                return Ok(Report::Silent);
            }
            Answer::Nothing { connected: true } | Answer::Reply(_) => {}
        }
        match self.ask(Request::Read { key: PROBE_KEY.into() }).await {
            Answer::Breach(what) => Err(what),
            Answer::Nothing { .. } => Ok(Report::Silent),
            Answer::Reply(
                Reply::ReadOk { .. } | Reply::Error { code: error_code::KEY_DOES_NOT_EXIST, .. },
            ) => {
                self.manner = Manner::Plain;
                Ok(Report::Plain { serves: true })
            }
            Answer::Reply(_) => Ok(Report::Plain { serves: false }),
        }
    }

    async fn connect(&mut self) -> io::Result<()> {
        // A connection that has ended tells so when it is asked; an old one proves nothing.
        self.connection = None;
        let stream = timeout(limits::POLL_ANSWER, TcpStream::connect(self.address)).await??;
        self.connection = Some(BufReader::new(stream));
        Ok(())
    }

    async fn ask(&mut self, request: Request) -> Answer {
        if self.connection.is_none() && self.connect().await.is_err() {
            return Answer::Nothing { connected: false };
        }
        let answer = match &mut self.connection {
            Some(stream) => {
                let msg_id = self.next_msg_id;
                self.next_msg_id += 1;
                timeout(limits::POLL_ANSWER, converse(stream, &self.node, msg_id, request)).await
            }
            None => return Answer::Nothing { connected: false },
        };
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                self.connection = None;
                Answer::Nothing { connected: true }
            }
        }
    }
}

async fn converse(
    stream: &mut BufReader<TcpStream>,
    node: &NodeId,
    msg_id: u64,
    request: Request,
) -> io::Result<Answer> {
    let request = Envelope {
        src: NodeId::new("whitewater"),
        dest: node.clone(),
        body: Body { msg_id: Some(msg_id), in_reply_to: None, payload: request },
    };
    let mut line = serde_json::to_string(&request).expect("a request is JSON");
    line.push('\n');
    stream.get_mut().write_all(line.as_bytes()).await?;
    loop {
        // Bytes, because what a node sends may be no UTF-8.
        let mut bytes = Vec::new();
        let read = (&mut *stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut bytes).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_slice::<Envelope<Body<Reply>>>(&bytes) {
            Ok(answer) if answer.body.in_reply_to == Some(msg_id) => {
                return Ok(Answer::Reply(answer.body.payload));
            }
            // An answer to another question is passed over; in the end time decides.
            Ok(_) => {}
            Err(error) => return Ok(Answer::Breach(breach(node, &bytes, &error))),
        }
    }
}

fn breach(node: &NodeId, bytes: &[u8], error: &serde_json::Error) -> String {
    const SHOWN_CHARS: usize = 200;
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.trim_end().chars().take(SHOWN_CHARS).collect();
    format!("{node} answered with a line that is no reply ({error}): {shown}")
}
