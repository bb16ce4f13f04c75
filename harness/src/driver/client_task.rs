//! A client's connections: one task a client, one connection and one try at a time.
//!
//! The task alone knows whether a byte of a request may have left, so it alone says so: every try
//! ends in exactly one `Answered` or `TryEnded`.

use std::sync::Arc;

use protocol::NodeId;
use protocol::message::{Body, Envelope, Reply, Request};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::coordinator::event::{ClientIndex, Event};
use crate::net::{ClientConnection, Network, RecvError};

/// What a client is told to do.
pub enum Command {
    /// Send a request.
    Try {
        /// To whom.
        node: NodeId,
        /// Its id.
        msg_id: u64,
        /// What.
        request: Request,
    },
    /// Give up this try.
    Abandon {
        /// Its id.
        msg_id: u64,
    },
}

/// Commands that may wait for a client: it has one try at most, and may be told to give it up.
const COMMANDS_MAX: usize = 8;

/// Starts a client's task; it ends when the sender is dropped.
pub fn spawn(
    index: ClientIndex,
    network: Arc<Network>,
    events: mpsc::Sender<Event>,
) -> (mpsc::Sender<Command>, JoinHandle<()>) {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let task = ClientTask { index, name: client_name(index), network, events, connection: None };
    let handle = tokio::spawn(task.run(inbox));
    (commands, handle)
}

/// The name of a client in messages and link rules.
pub fn client_name(index: ClientIndex) -> NodeId {
    NodeId::new(format!("c{index}"))
}

struct ClientTask {
    index: ClientIndex,
    name: NodeId,
    network: Arc<Network>,
    events: mpsc::Sender<Event>,
    connection: Option<(NodeId, ClientConnection)>,
}

/// How a try ended.
enum End {
    Answered(Reply),
    Unanswered { sent: bool, why: String },
}

impl ClientTask {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            // An `Abandon` that comes when its try has ended has nothing left to do.
            let Command::Try { node, msg_id, request } = command else { continue };
            let end = self.attempt(&node, msg_id, request, &mut inbox).await;
            let client = self.index;
            let event = match end {
                End::Answered(reply) => Event::Answered { client, msg_id, reply },
                End::Unanswered { sent, why } => {
                    // Whatever still comes on this connection belongs to the past.
                    self.connection = None;
                    Event::TryEnded { client, msg_id, sent, why }
                }
            };
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }

    async fn attempt(
        &mut self,
        node: &NodeId,
        msg_id: u64,
        request: Request,
        inbox: &mut mpsc::Receiver<Command>,
    ) -> End {
        if self.connection.as_ref().is_none_or(|(connected, _)| connected != node) {
            self.connection = None;
            let dialled = tokio::select! {
                dialled = self.network.connect(&self.name, node) => dialled,
                () = abandoned(inbox, msg_id) => {
                    return End::Unanswered { sent: false, why: "timeout while dialling".into() };
                }
            };
            match dialled {
                Ok(connection) => self.connection = Some((node.clone(), connection)),
                Err(error) => return End::Unanswered { sent: false, why: error.to_string() },
            }
        }
        let Some((_, connection)) = &mut self.connection else {
            return End::Unanswered { sent: false, why: "no connection".into() };
        };
        let line = request_line(&self.name, node, msg_id, request);
        // From here on a byte may leave, unless the connection itself proves otherwise.
        let sent = tokio::select! {
            sent = connection.send(&line) => sent,
            () = abandoned(inbox, msg_id) => {
                return End::Unanswered { sent: true, why: "timeout".into() };
            }
        };
        if let Err(error) = sent {
            return End::Unanswered { sent: !error.nothing_sent(), why: error.to_string() };
        }
        loop {
            let line = tokio::select! {
                line = connection.receiver.recv() => line,
                () = abandoned(inbox, msg_id) => {
                    return End::Unanswered { sent: true, why: "timeout".into() };
                }
            };
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    if matches!(error, RecvError::NotUtf8 | RecvError::TooLong(_)) {
                        self.breach(node, &format!("no reply ({error})"), "").await;
                    }
                    return End::Unanswered { sent: true, why: error.to_string() };
                }
            };
            match serde_json::from_str::<Envelope<Body<Reply>>>(&line) {
                Ok(Envelope { body, .. }) if body.in_reply_to == Some(msg_id) => {
                    return End::Answered(body.payload);
                }
                // An answer to an earlier try, or sent twice: not a breach, only late.
                Ok(Envelope { body, .. }) if body.in_reply_to.is_some_and(|id| id < msg_id) => {}
                Ok(_) => {
                    let what = "an answer whose `in_reply_to` names no request of this client";
                    self.breach(node, what, &line).await;
                    return End::Unanswered { sent: true, why: "node-contract".into() };
                }
                Err(error) => {
                    self.breach(node, &format!("a line that is no reply ({error})"), &line).await;
                    return End::Unanswered { sent: true, why: "node-contract".into() };
                }
            }
        }
    }

    async fn breach(&self, node: &NodeId, what: &str, line: &str) {
        const SHOWN_CHARS: usize = 200;
        let shown: String = line.chars().take(SHOWN_CHARS).collect();
        let what = format!("{node} sent {what}: {shown}");
        let event = Event::Breached { node: node.clone(), what };
        // The loop that would hear it is gone only when the run is over.
        let _ = self.events.send(event).await;
    }
}

/// Returns when this try is to be given up. Never returns for another try's.
async fn abandoned(inbox: &mut mpsc::Receiver<Command>, msg_id: u64) {
    loop {
        match inbox.recv().await {
            Some(Command::Abandon { msg_id: id }) if id == msg_id => return,
            Some(Command::Abandon { .. }) => {}
            // A second try at once would be an error of the coordinator's; the end of the
            // channel means that the run is over.
            Some(Command::Try { .. }) => unreachable!("a client has one try at a time"),
            None => return,
        }
    }
}

fn request_line(client: &NodeId, node: &NodeId, msg_id: u64, request: Request) -> String {
    let envelope = Envelope {
        src: client.clone(),
        dest: node.clone(),
        body: Body { msg_id: Some(msg_id), in_reply_to: None, payload: request },
    };
    serde_json::to_string(&envelope).expect("a request is JSON")
}
