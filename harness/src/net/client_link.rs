//! A client's connection to a node: lines out, lines in, under the same rules as peers.
//!
//! The node is dialled before anything is sent, and every [`ConnectError`] proves that nothing
//! was. Afterwards a sent line waits where its link is blocked, and may still reach the node after
//! the client gave up, as with any real connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::NodeId;
use protocol::framing::{FrameDecoder, Framing};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::connection::{Broken, ClientSide, carry};
use super::counters::LiveCounters;
use super::limits;
use super::proxy::dial_over_loopback;
use super::rule::{FaultId, Link};
use super::shared::{LinkState, Registration, Shared};

/// There is no connection, and nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The node does not listen, or did not take the connection in time.
    #[error("node {node} at {address} refuses connections: {source}")]
    Refused {
        /// The node.
        node: NodeId,
        /// Its client address.
        address: std::net::SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A fault refuses connections between the two.
    #[error("fault {fault} refuses connections between {client} and {node}")]
    Cut {
        /// The fault.
        fault: FaultId,
        /// The client.
        client: NodeId,
        /// The node.
        node: NodeId,
    },
    /// A connection was cut while it was being made.
    #[error("the connection from {client} to {node} was cut while it was being made")]
    Broken {
        /// The client.
        client: NodeId,
        /// The node.
        node: NodeId,
    },
    /// The client or the node is not part of this network.
    #[error("there is no link {0} in this network")]
    UnknownLink(Link),
    /// The network has shut down.
    #[error("the network has shut down")]
    ShutDown,
}

/// A line was not sent, or not surely.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The line contains a line break. Nothing of it was sent.
    #[error("a message must be one line, but this one contains a line break")]
    NotALine,
    /// The connection had ended before. Nothing of the line was sent.
    #[error("the connection had ended before this line was sent")]
    Ended,
    /// The connection broke while the line was being sent; a part of it may have arrived.
    #[error("the connection broke while this line was being sent")]
    Torn,
}

impl SendError {
    /// Whether it is certain that nothing of the line was sent.
    pub fn nothing_sent(&self) -> bool {
        match self {
            SendError::NotALine | SendError::Ended => true,
            SendError::Torn => false,
        }
    }
}

/// No further line will come. Whatever was asked and not answered may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The node ended the connection in order.
    #[error("the node closed the connection")]
    Closed,
    /// The node ended the connection in order, but within a line.
    #[error("the node closed the connection within a line, after {bytes} bytes of it")]
    TornLine {
        /// Length of the piece.
        bytes: usize,
    },
    /// The connection was reset.
    #[error("the connection was reset")]
    Reset,
    /// The harness cut the connection.
    #[error("the connection was cut")]
    Cut,
    /// The node sent a line that is no UTF-8.
    #[error("the node sent a line that is not UTF-8")]
    NotUtf8,
    /// The node sent a line beyond all measure.
    #[error("the node sent {0}")]
    TooLong(protocol::framing::FrameTooLong),
}

/// A client's open connection to a node. Dropping it closes the connection in order.
#[derive(Debug)]
pub struct ClientConnection {
    /// Sends lines.
    pub sender: LineSender,
    /// Receives lines.
    pub receiver: LineReceiver,
}

impl ClientConnection {
    /// See [`LineSender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, line: &str) -> Result<(), SendError> {
        self.sender.send(line).await
    }

    /// See [`LineReceiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<String, RecvError> {
        self.receiver.recv().await
    }
}

/// The sending half of a [`ClientConnection`].
#[derive(Debug)]
pub struct LineSender {
    pipe: DuplexStream,
    /// An earlier line may have been sent in part, so no line can follow it.
    torn: bool,
}

impl LineSender {
    /// Hands a line, without its line break, to the link. `Ok` means that it is on its way.
    ///
    /// If the future is dropped before it is done, a part of the line may have been sent; every
    /// later line is then refused.
    ///
    /// # Errors
    /// [`SendError::nothing_sent`] tells those that prove that the node will never see the line.
    pub async fn send(&mut self, line: &str) -> Result<(), SendError> {
        if line.contains('\n') {
            return Err(SendError::NotALine);
        }
        if self.torn {
            return Err(SendError::Ended);
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.torn = true;
        let mut sent = 0;
        while sent < bytes.len() {
            match self.pipe.write(&bytes[sent..]).await {
                Ok(0) | Err(_) if sent == 0 => return Err(SendError::Ended),
                Ok(0) | Err(_) => return Err(SendError::Torn),
                Ok(len) => sent += len,
            }
        }
        self.torn = false;
        Ok(())
    }
}

/// The receiving half of a [`ClientConnection`].
#[derive(Debug)]
pub struct LineReceiver {
    pipe: DuplexStream,
    decoder: FrameDecoder,
    buffer: Vec<u8>,
    broken: Arc<Mutex<Option<Broken>>>,
}

impl LineReceiver {
    /// The next line, without its line break. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`RecvError`]; none of them says anything about what was asked before.
    pub async fn recv(&mut self) -> Result<String, RecvError> {
        loop {
            if let Some(line) = self.decoder.next_frame().map_err(RecvError::TooLong)? {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                return match std::str::from_utf8(line) {
                    Ok(line) => Ok(line.to_owned()),
                    Err(_) => Err(RecvError::NotUtf8),
                };
            }
            match self.pipe.read(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(self.end()),
                Ok(len) => self.decoder.push(&self.buffer[..len]),
            }
        }
    }

    fn end(&self) -> RecvError {
        let broken = *self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        match (broken, self.decoder.pending_bytes()) {
            (Some(Broken::Cut), _) => RecvError::Cut,
            (Some(Broken::Peer), _) => RecvError::Reset,
            (None, 0) => RecvError::Closed,
            (None, bytes) => RecvError::TornLine { bytes },
        }
    }
}

/// Dials a node's client address under the rules of the two links between them.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    (forth, back): (&Arc<LinkState>, &Arc<LinkState>),
    address: std::net::SocketAddr,
    alive: &mpsc::Sender<()>,
) -> Result<ClientConnection, ConnectError> {
    let (client, node) = (forth.link.from.clone(), forth.link.to.clone());
    let Some(mut registration) = Registration::new(shared, forth, back) else {
        return Err(ConnectError::ShutDown);
    };
    if let Some(fault) = shared.cut_by(forth, back) {
        if registration.withdraw() {
            LiveCounters::add(&shared.counters.of(fault).connections_refused, 1);
        }
        return Err(ConnectError::Cut { fault, client, node });
    }
    let dial = async {
        let count = |fault: FaultId| {
            LiveCounters::add(&shared.counters.of(fault).dials_held, 1);
        };
        shared.unblocked(&[forth, back], count).await;
        dial_over_loopback(address).await
    };
    let far = tokio::select! {
        biased;
        _ = &mut registration.cut => return Err(ConnectError::Broken { client, node }),
        dialled = dial => match dialled {
            Ok(far) => far,
            Err(source) => return Err(ConnectError::Refused { node, address, source }),
        },
    };
    let (sender, from_client) = tokio::io::duplex(limits::CLIENT_PIPE_BYTES);
    let (receiver, to_client) = tokio::io::duplex(limits::CLIENT_PIPE_BYTES);
    let broken = Arc::new(Mutex::new(None));
    let near = ClientSide::new(from_client, to_client, Arc::clone(&broken));
    let (shared, forth, back) = (Arc::clone(shared), Arc::clone(forth), Arc::clone(back));
    let alive = alive.clone();
    tokio::spawn(async move {
        carry(&shared, (&forth, &back), near, far, &mut registration.cut).await;
        drop(registration);
        drop(alive);
    });
    Ok(ClientConnection {
        sender: LineSender { pipe: sender, torn: false },
        receiver: LineReceiver {
            pipe: receiver,
            decoder: FrameDecoder::new(Framing::Lines),
            buffer: vec![0; limits::READ_BYTES],
            broken,
        },
    })
}
