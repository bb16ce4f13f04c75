//! The loop that feeds the core and carries out its effects.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::NodeId;
use protocol::message::{Body, Envelope, Reply, Request, Status};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::core::{
    Change, ClientRequest, Command, Effect, Input, Message, Raft, Record, RequestToken, Setup,
    Ticket,
};
use crate::storage::wal::{Wal, WalError};
use crate::storage::writer::{Batch, Writer};

use super::clients::{self, ReplyTo};
use super::launch::NodeLaunch;
use super::peers::{self, Peers};
use super::trace_file::TraceFile;
use super::{FEATURES, client_codec};

/// Events that wait for the loop; connections that have more stop reading.
const EVENTS_MAX: usize = 1024;
/// Most inputs that the core takes before their effects are carried out.
const INPUTS_PER_TURN_MAX: usize = 256;
/// A timer this late was late because the process did not run.
const LATE: Duration = Duration::from_millis(20);
/// Time for connections to hand over what has arrived.
const GRACE: Duration = Duration::from_millis(2);

/// What comes in from connections.
#[derive(Debug)]
pub enum Event {
    /// A message from another node.
    Peer {
        /// The sender.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// A request from a client.
    Client {
        /// The client.
        client: NodeId,
        /// The request's number.
        msg_id: u64,
        /// The request.
        request: Request,
        /// Where the answer goes.
        reply_to: ReplyTo,
    },
}

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The log cannot be used or written.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {whom}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Clients or peers.
        whom: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// The trace cannot be written.
    #[error("cannot write the trace {}: {source}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A thread or signal handler is refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The refusal.
        source: io::Error,
    },
}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// Why it cannot start or go on.
pub async fn run(launch: NodeLaunch) -> Result<(), NodeError> {
    let system = |what| move |source| NodeError::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("handle SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("handle SIGINT"))?;
    let config = &launch.config;
    let (wal, restored) = Wal::open(&config.data_dir, &config.id)?;
    let clients = listen(&config.client_addr, "clients").await?;
    let peers = listen(&config.peer_addr, "peers").await?;
    tracing::info!(
        node = %config.id,
        incarnation = config.incarnation,
        term = restored.term.0,
        entries = restored.entries.len(),
        bugs = ?config.bugs,
        "started"
    );

    let started = Instant::now();
    let setup = Setup {
        id: config.id.clone(),
        others: config.peers.keys().cloned().collect(),
        timing: launch.timing,
        bugs: launch.bugs,
        seed: launch.core_seed(),
    };
    let raft = Raft::new(setup, restored, Duration::ZERO);
    let (report, mut synced) = mpsc::unbounded_channel();
    let writer = Writer::start(wal, move |result| {
        let _ = report.send(result);
    })
    .map_err(system("start a thread"))?;
    let mut node = Node::new(&launch, raft, writer)?;
    node.carry_out()?;

    let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
    let others = config.peers.keys().cloned().collect();
    tokio::spawn(clients::serve(clients, config.id.clone(), events.clone()));
    tokio::spawn(peers::serve(peers, config.id.clone(), others, events));

    loop {
        let wake_at = started + node.raft.wake_at();
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(result) = synced.recv() => node.on_synced(started.elapsed(), result?),
            Some(event) = inbox.recv() => node.on_event(started.elapsed(), event),
            () = tokio::time::sleep_until(wake_at.into()) => {}
        }
        if wake_at.elapsed() > LATE {
            // This process did not run for a while: it was paused, or the machine is busy. What
            // arrived meanwhile is let in before the timers judge that nothing did.
            tokio::time::sleep(GRACE).await;
        }
        for _ in 0..INPUTS_PER_TURN_MAX {
            if let Ok(result) = synced.try_recv() {
                node.on_synced(started.elapsed(), result?);
            } else if let Ok(event) = inbox.try_recv() {
                node.on_event(started.elapsed(), event);
            } else {
                break;
            }
        }
        // The timers come last: a heartbeat that is here already must count.
        let now = started.elapsed();
        if now >= node.raft.wake_at() {
            node.raft.handle(now, Input::Tick);
        }
        node.carry_out()?;
    }
    tracing::info!(node = %config.id, "told to stop");
    Ok(())
}

async fn listen(address: &str, whom: &'static str) -> Result<TcpListener, NodeError> {
    let fail = |source| NodeError::Listen { address: address.to_owned(), whom, source };
    TcpListener::bind(address).await.map_err(fail)
}

/// The core and what carries out its effects.
struct Node {
    id: NodeId,
    all: Vec<NodeId>,
    raft: Raft,
    writer: Writer,
    peers: Peers,
    trace: Option<TraceFile>,
    trace_path: PathBuf,
    epoch_ns: u64,
    /// Requests that the core has not yet answered.
    asked: HashMap<RequestToken, Asked>,
    tokens: u64,
    /// Records of the effects in hand, to be written together.
    records: Vec<Record>,
    /// Role and term as last logged.
    logged: (&'static str, u64),
}

struct Asked {
    client: NodeId,
    msg_id: u64,
    reply_to: ReplyTo,
}

impl Node {
    fn new(launch: &NodeLaunch, raft: Raft, writer: Writer) -> Result<Node, NodeError> {
        let config = &launch.config;
        let trace_path = config.trace.clone().unwrap_or_default();
        let trace = match &config.trace {
            None => None,
            Some(path) => {
                let trace = TraceFile::create(path, config.id.clone(), config.incarnation);
                let fail = |source| NodeError::Trace { path: path.clone(), source };
                Some(trace.map_err(fail)?)
            }
        };
        let mut all: Vec<NodeId> = config.peers.keys().cloned().collect();
        all.push(config.id.clone());
        all.sort();
        Ok(Node {
            id: config.id.clone(),
            all,
            raft,
            writer,
            peers: Peers::dial(config.id.clone(), &config.peers),
            trace,
            trace_path,
            epoch_ns: config.epoch_ns,
            asked: HashMap::new(),
            tokens: 0,
            records: Vec::new(),
            logged: ("follower", 0),
        })
    }

    fn on_synced(&mut self, now: Duration, ticket: Ticket) {
        self.raft.handle(now, Input::Synced(ticket));
    }

    fn on_event(&mut self, now: Duration, event: Event) {
        match event {
            Event::Peer { from, message } => {
                self.raft.handle(now, Input::Message { from, message });
            }
            Event::Client { client, msg_id, request, reply_to } => {
                let request = match request {
                    Request::Read { key } => ClientRequest::Read(key),
                    Request::Write { key, value } => {
                        let change = Change::Write { key, value };
                        ClientRequest::Propose(Command::new(client.clone(), msg_id, change))
                    }
                    Request::Cas { key, from, to } => {
                        let change = Change::Cas { key, from, to };
                        ClientRequest::Propose(Command::new(client.clone(), msg_id, change))
                    }
                    local => {
                        let reply = self.answer_locally(local);
                        return self.reply(Asked { client, msg_id, reply_to }, reply);
                    }
                };
                self.tokens += 1;
                let token = RequestToken(self.tokens);
                self.asked.insert(token, Asked { client, msg_id, reply_to });
                self.raft.handle(now, Input::Request { token, request });
            }
        }
    }

    /// What is answered without the core's log, also when there is no leader.
    fn answer_locally(&self, request: Request) -> Reply {
        match request {
            Request::Hello { .. } => Reply::HelloOk {
                version: protocol::PROTOCOL_VERSION,
                features: FEATURES.map(str::to_owned).to_vec(),
            },
            Request::Status {} => {
                let status = self.raft.status();
                Reply::StatusOk(Status {
                    role: status.role.to_owned(),
                    term: status.term.0,
                    leader: status.leader,
                    commit: status.commit.0,
                    applied: status.applied.0,
                })
            }
            Request::Init { node_id, mut node_ids } => {
                node_ids.sort();
                if node_id == self.id && node_ids == self.all {
                    return Reply::InitOk {};
                }
                Reply::Error {
                    code: protocol::error_code::MALFORMED_REQUEST,
                    text: format!("this is {} of {:?}, as launched", self.id, self.all),
                    leader: None,
                }
            }
            Request::Read { .. } | Request::Write { .. } | Request::Cas { .. } => {
                unreachable!("the caller gives these to the core")
            }
        }
    }

    fn reply(&self, asked: Asked, payload: Reply) {
        let body = Body { msg_id: None, in_reply_to: Some(asked.msg_id), payload };
        asked.reply_to.send(&Envelope { src: self.id.clone(), dest: asked.client, body });
    }

    /// Carries out the core's effects: the trace first, in one write, then what leaves the node.
    /// That keeps the core's order where it matters, for no message overtakes an event.
    fn carry_out(&mut self) -> Result<(), NodeError> {
        let effects = self.raft.take_effects();
        let t_ns = self.t_ns();
        let mut leaving = Vec::new();
        let mut ticket = None;
        for effect in effects {
            match effect {
                Effect::Persist(record) => self.records.push(record),
                Effect::Sync(latest) => ticket = Some(latest),
                Effect::Trace { term, kind } => {
                    if let Some(trace) = &mut self.trace {
                        trace.add(t_ns, term, kind);
                    }
                }
                Effect::Send { .. } | Effect::Reply { .. } => leaving.push(effect),
            }
        }
        if let Some(ticket) = ticket {
            self.writer.write(Batch { records: std::mem::take(&mut self.records), ticket });
        }
        if let Some(trace) = &mut self.trace {
            let fail = |source| NodeError::Trace { path: self.trace_path.clone(), source };
            trace.flush().map_err(fail)?;
        }
        for effect in leaving {
            match effect {
                Effect::Send { to, message } => self.peers.send(&to, &message),
                Effect::Reply { token, answer } => {
                    if let Some(asked) = self.asked.remove(&token) {
                        self.reply(asked, client_codec::reply_to(answer));
                    }
                }
                Effect::Persist(_) | Effect::Sync(_) | Effect::Trace { .. } => {}
            }
        }
        self.log_role();
        Ok(())
    }

    fn log_role(&mut self) {
        let status = self.raft.status();
        if self.logged != (status.role, status.term.0) {
            self.logged = (status.role, status.term.0);
            tracing::info!(node = %self.id, term = status.term.0, "is {}", status.role);
        }
    }

    fn t_ns(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        i64::try_from(now).unwrap_or(i64::MAX).saturating_sub_unsigned(self.epoch_ns)
    }
}
