//! Connections of clients and the harness.

use std::sync::Arc;
use std::time::Duration;

use protocol::NodeId;
use protocol::framing::{FrameDecoder, Framing};
use protocol::message::{Body, Envelope, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::client_codec::{self, ClientMessage, Refusal};
use super::node::Event;

/// Longest line from a client, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Replies that wait to be written to one connection; with more the connection is closed.
const REPLIES_MAX: usize = 4096;
/// How long a connection whose client sends no more is kept for replies still to come.
const LINGER: Duration = Duration::from_secs(5);
/// Pause after a failed accept (too many open files), so that it is not tried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The way back to a client.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    lines: mpsc::Sender<String>,
    close: Arc<Notify>,
}

impl ReplyTo {
    /// Sends a reply, if the client still listens.
    pub fn send(&self, reply: &Envelope<Body<Reply>>) {
        let line = client_codec::encode(reply);
        if let Err(mpsc::error::TrySendError::Full(_)) = self.lines.try_send(line) {
            self.close.notify_one();
        }
    }
}

/// Accepts connections for ever.
pub async fn serve(listener: TcpListener, node: NodeId, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, node.clone(), events.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, node: NodeId, events: mpsc::Sender<Event>) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (lines, replies) = mpsc::channel(REPLIES_MAX);
    let close = Arc::new(Notify::new());
    let reply_to = ReplyTo { lines, close: close.clone() };
    let write = write_replies(writer, replies);
    let read = async {
        read_requests(reader, &node, reply_to, events).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
        () = close.notified() => {
            tracing::warn!("closed the connection of a client that does not read its replies");
        }
    }
}

/// Reads requests until the client closes its side or sends a line that is too long.
async fn read_requests(
    mut reader: OwnedReadHalf,
    node: &NodeId,
    reply_to: ReplyTo,
    events: mpsc::Sender<Event>,
) {
    let mut decoder = FrameDecoder::new(Framing::Lines);
    let mut chunk = vec![0; 16 << 10];
    loop {
        match reader.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => decoder.push(&chunk[..count]),
        }
        while let Ok(Some(line)) = decoder.next_frame() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match client_codec::decode(line, node) {
                Ok(ClientMessage { client, msg_id, request }) => {
                    let reply_to = reply_to.clone();
                    let event = Event::Client { client, msg_id, request, reply_to };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                Err(refusal) => {
                    let Refusal(reply) = *refusal;
                    reply_to.send(&reply);
                }
            }
        }
        if decoder.pending_bytes() > LINE_BYTES_MAX {
            tracing::warn!("closed the connection of a client that sent a line of over 1 MiB");
            return reply_to.close.notify_one();
        }
    }
}

async fn write_replies(mut writer: OwnedWriteHalf, mut replies: mpsc::Receiver<String>) {
    while let Some(mut lines) = replies.recv().await {
        while let Ok(more) = replies.try_recv() {
            lines.push_str(&more);
        }
        if writer.write_all(lines.as_bytes()).await.is_err() {
            return;
        }
    }
}
