//! Connections between nodes.
//!
//! A node sends on the connections that it dials and receives on those that it accepts. Nothing
//! is promised about a message: when the queue to a peer is full or the connection breaks, it is
//! gone, and Raft repeats what matters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::NodeId;
use protocol::framing::{FrameDecoder, Framing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::core::Message;

use super::node::Event;
use super::peer_codec;

/// Messages that wait for a connection or for a slow peer; further ones are dropped.
const QUEUE_MESSAGES_MAX: usize = 64;
/// First and longest pause between attempts to dial.
const REDIAL_AFTER_MIN: Duration = Duration::from_millis(10);
const REDIAL_AFTER_MAX: Duration = Duration::from_millis(200);
/// A connection that lasted this long was a good one: the next pause is the shortest again.
const GOOD_CONNECTION: Duration = Duration::from_secs(1);
/// How long an attempt to dial may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed accept (too many open files), so that it is not tried in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The ways out to all peers.
#[derive(Debug)]
pub struct Peers {
    node: NodeId,
    queues: BTreeMap<NodeId, mpsc::Sender<String>>,
}

impl Peers {
    /// Starts dialling every peer.
    pub fn dial(node: NodeId, addresses: &BTreeMap<NodeId, String>) -> Peers {
        let mut queues = BTreeMap::new();
        for (peer, address) in addresses {
            let (queue, messages) = mpsc::channel(QUEUE_MESSAGES_MAX);
            tokio::spawn(keep_sending(peer.clone(), address.clone(), messages));
            queues.insert(peer.clone(), queue);
        }
        Peers { node, queues }
    }

    /// Sends a message, or drops it if too many wait already.
    pub fn send(&self, to: &NodeId, message: &Message) {
        if let Some(queue) = self.queues.get(to)
            && queue.capacity() > 0
        {
            let _ = queue.try_send(peer_codec::encode(&self.node, to, message));
        }
    }
}

/// Dials, sends until the connection breaks, dials again.
async fn keep_sending(peer: NodeId, address: String, mut messages: mpsc::Receiver<String>) {
    let mut pause = REDIAL_AFTER_MIN;
    loop {
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(&address)).await;
        if let Ok(Ok(stream)) = dialled {
            let since = Instant::now();
            let _ = stream.set_nodelay(true);
            if send_until_broken(stream, &mut messages).await.is_none() {
                return;
            }
            tracing::debug!(%peer, %address, "lost the connection");
            if since.elapsed() >= GOOD_CONNECTION {
                pause = REDIAL_AFTER_MIN;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REDIAL_AFTER_MAX);
    }
}

/// Sends until the connection breaks; `None` when there will be no more messages.
async fn send_until_broken(stream: TcpStream, messages: &mut mpsc::Receiver<String>) -> Option<()> {
    let (mut reader, mut writer) = stream.into_split();
    // A peer never answers on this connection; reading shows at once that it is gone.
    let mut unexpected = [0; 64];
    loop {
        tokio::select! {
            message = messages.recv() => {
                if writer.write_all(message?.as_bytes()).await.is_err() {
                    return Some(());
                }
            }
            read = reader.read(&mut unexpected) => {
                if !matches!(read, Ok(1..)) {
                    return Some(());
                }
            }
        }
    }
}

/// Accepts connections of peers for ever.
pub async fn serve(
    listener: TcpListener,
    node: NodeId,
    peers: Vec<NodeId>,
    events: mpsc::Sender<Event>,
) {
    let peers: Arc<[NodeId]> = peers.into();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (node, peers, events) = (node.clone(), peers.clone(), events.clone());
                tokio::spawn(async move {
                    if let Err(reason) = receive(stream, &node, &peers, events).await {
                        tracing::warn!(%reason, "closed a peer's connection");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Receives until the connection ends; an error says why this node ends it.
async fn receive(
    mut stream: TcpStream,
    node: &NodeId,
    peers: &[NodeId],
    events: mpsc::Sender<Event>,
) -> Result<(), String> {
    let mut decoder = FrameDecoder::new(Framing::Lines);
    let mut chunk = vec![0; 64 << 10];
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => decoder.push(&chunk[..count]),
        }
        while let Some(line) = decoder.next_frame().map_err(|error| error.to_string())? {
            let message = peer_codec::decode(line).map_err(|error| error.to_string())?;
            if !peers.contains(&message.src) {
                return Err(format!("{} is not a peer of this node", message.src));
            }
            if message.dest != *node {
                return Err(format!("a message for {} came to {node}", message.dest));
            }
            let event = Event::Peer { from: message.src, message: message.body };
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
    }
}
