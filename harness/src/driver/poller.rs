//! Asks each node for its status, on a connection of its own that no fault touches.
//!
//! A node that answers with what is no reply does listen and answer: it is told apart from a
//! silent one, so that its breach of the contract is what the user hears of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::NodeId;
use protocol::message::{Body, Envelope, Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::limits;
use crate::coordinator::event::{Event, Report};

/// Longest answer to `status` that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Polls a node until the events' receiver is dropped.
pub fn spawn(
    node: NodeId,
    address: SocketAddr,
    incarnation: Arc<AtomicU32>,
    events: mpsc::Sender<Event>,
) {
    tokio::spawn(async move {
        let mut connection = None;
        let mut is_told = false;
        let mut ticks = interval(limits::POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for msg_id in 1.. {
            ticks.tick().await;
            let asked = incarnation.load(Ordering::Relaxed);
            let answer = timeout(limits::POLL_ANSWER, ask(&mut connection, &node, address, msg_id));
            let answer = match answer.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => {
                    connection = None;
                    Answer::Report(Report::Silent)
                }
            };
            let report = match answer {
                Answer::Report(report) => report,
                Answer::Breach(what) => {
                    // Told once: the next poll would only say it again.
                    if !std::mem::replace(&mut is_told, true) {
                        let event = Event::Breached { node: node.clone(), what };
                        if events.send(event).await.is_err() {
                            return;
                        }
                    }
                    Report::Unsupported
                }
            };
            let event = Event::Polled { node: node.clone(), incarnation: asked, report };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
}

/// What came back.
enum Answer {
    Report(Report),
    /// Something that the contract does not know; what, in a sentence.
    Breach(String),
}

async fn ask(
    connection: &mut Option<BufReader<TcpStream>>,
    node: &NodeId,
    address: SocketAddr,
    msg_id: u64,
) -> std::io::Result<Answer> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(BufReader::new(TcpStream::connect(address).await?)),
    };
    let request = Envelope {
        src: NodeId::new("whitewater"),
        dest: node.clone(),
        body: Body { msg_id: Some(msg_id), in_reply_to: None, payload: Request::Status {} },
    };
    let mut line = serde_json::to_string(&request).expect("a request is JSON");
    line.push('\n');
    stream.get_mut().write_all(line.as_bytes()).await?;
    loop {
        // Bytes, because what a node sends may be no UTF-8.
        let mut bytes = Vec::new();
        let read = (&mut *stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut bytes).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_slice::<Envelope<Body<Reply>>>(&bytes) {
            Ok(answer) if answer.body.in_reply_to == Some(msg_id) => {
                return Ok(Answer::Report(match answer.body.payload {
                    Reply::StatusOk(status) => Report::Status(status),
                    _ => Report::Unsupported,
                }));
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
    format!("{node} answered `status` with a line that is no reply ({error}): {shown}")
}
