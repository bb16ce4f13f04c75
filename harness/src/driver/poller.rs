//! Asks each node for its status, on a connection of its own that no fault touches.

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
        let mut ticks = interval(limits::POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for msg_id in 1.. {
            ticks.tick().await;
            let asked = incarnation.load(Ordering::Relaxed);
            let answer = timeout(limits::POLL_ANSWER, ask(&mut connection, &node, address, msg_id));
            let report = match answer.await {
                Ok(Ok(report)) => report,
                Ok(Err(_)) | Err(_) => {
                    connection = None;
                    Report::Silent
                }
            };
            let event = Event::Polled { node: node.clone(), incarnation: asked, report };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
}

async fn ask(
    connection: &mut Option<BufReader<TcpStream>>,
    node: &NodeId,
    address: SocketAddr,
    msg_id: u64,
) -> std::io::Result<Report> {
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
        line.clear();
        let read = (&mut *stream).take(ANSWER_BYTES_MAX).read_line(&mut line).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // What is no answer to this question is passed over; in the end time decides.
        match serde_json::from_str::<Envelope<Body<Reply>>>(&line) {
            Ok(answer) if answer.body.in_reply_to == Some(msg_id) => {
                return Ok(match answer.body.payload {
                    Reply::StatusOk(status) => Report::Status(status),
                    _ => Report::Unsupported,
                });
            }
            _ => {}
        }
    }
}
