//! The network of a run: started once, ruled by tables, read by counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::NodeId;
use protocol::framing::Framing;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::address::{AddressError, Addresses, Subnet, lay_out};
use super::client_link::{self, ClientConnection, ConnectError};
use super::counters::{CounterBook, FaultCounters, LiveCounters};
use super::proxy::Proxy;
use super::record::MessageRecord;
use super::rule::{CompiledRules, Delivery, FaultId, Link};
use super::shared::{FramingBreach, LinkState, OpenConnections, Published, Shared};
use super::table::{LinkTable, TableError};

/// What a network is made of.
#[derive(Debug)]
pub struct NetworkConfig {
    /// The nodes; each pair of them gets two proxies.
    pub nodes: Vec<NodeId>,
    /// Everyone who connects to nodes from within the harness: clients, probes.
    pub clients: Vec<NodeId>,
    /// How messages lie in peer streams. Client links carry lines.
    pub framing: Framing,
    /// Whether peers bear the loss of single messages (`peer_delivery = "lossy"`). Without a
    /// framing this has no meaning and peer flows are streams.
    pub lossy: bool,
    /// The run's seed.
    pub seed: u64,
    /// Where the run lives; held until the network is dropped.
    pub subnet: Subnet,
}

/// The network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No addresses could be had.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A listener could not be handed to the runtime.
    #[error("the proxy listener for {link} cannot be used: {source}")]
    Listener {
        /// The link.
        link: Link,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A client has a node's name, or a name comes twice.
    #[error("{0} is named twice among nodes and clients")]
    TwiceNamed(NodeId),
}

/// A running network. Dropping it ends all connections.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    addresses: Addresses,
    seed: u64,
    acceptors: Vec<JoinHandle<()>>,
    alive: Option<mpsc::Sender<()>>,
    all_gone: mpsc::Receiver<()>,
    /// Orders publications, so that the table and the cuts that it asks for stay together.
    publishing: Mutex<()>,
    _subnet: Subnet,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl Network {
    /// Sets up all links and starts the proxies. Nothing is dialled yet, so nodes may start later.
    /// `clock` gives the run's time in ns. Every message that is seen whole is sent to `sink`; when
    /// that is full the network waits for it.
    ///
    /// Must be called within a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// See [`NetError`].
    pub fn start(
        config: NetworkConfig,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
        sink: Option<mpsc::Sender<MessageRecord>>,
    ) -> Result<Network, NetError> {
        let NetworkConfig { nodes, clients, framing, lossy, seed, subnet } = config;
        let mut names = BTreeSet::new();
        for name in nodes.iter().chain(&clients) {
            if !names.insert(name) {
                return Err(NetError::TwiceNamed(name.clone()));
            }
        }
        let (addresses, listeners) = lay_out(&subnet, &nodes)?;
        let links = all_links(&nodes, &clients, framing, lossy);
        let published = compile(&links, &LinkTable::new(), seed);
        let shared = Arc::new(Shared {
            clock: Box::new(clock),
            sink,
            table: watch::Sender::new(Arc::new(published)),
            links,
            open: OpenConnections::default(),
            counters: CounterBook::default(),
            breaches: Mutex::new(Vec::new()),
            speakers: Default::default(),
        });
        let (alive, all_gone) = mpsc::channel(1);
        let mut network = Network {
            shared,
            addresses,
            seed,
            acceptors: Vec::new(),
            alive: Some(alive.clone()),
            all_gone,
            publishing: Mutex::new(()),
            _subnet: subnet,
        };
        for (from, to, listener) in listeners {
            network.start_proxy(from, to, listener, alive.clone())?;
        }
        Ok(network)
    }

    fn start_proxy(
        &mut self,
        from: NodeId,
        to: NodeId,
        listener: std::net::TcpListener,
        alive: mpsc::Sender<()>,
    ) -> Result<(), NetError> {
        let link = Link { from, to };
        let (Some((forth, back)), Some(target)) =
            (self.shared.pair(&link.from, &link.to), self.addresses.node(&link.to))
        else {
            unreachable!("the layout and the links come from the same nodes");
        };
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener))
            .map_err(|source| NetError::Listener { link, source })?;
        let shared = Arc::clone(&self.shared);
        let proxy = Proxy { shared, forth, back, target: target.peer, alive };
        self.acceptors.push(tokio::spawn(proxy.accept(listener)));
        Ok(())
    }

    /// Who listens where.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Puts a table in force, in place of the last. When this returns, every message decided from
    /// now on is judged by it, what waits was woken, and connections that it cuts are cut.
    ///
    /// # Errors
    /// See [`TableError`]; the last table then stays in force.
    pub fn publish(&self, table: &LinkTable) -> Result<(), TableError> {
        for (link, rules) in table.iter() {
            for rule in rules {
                let fault = rule.fault;
                let Some(state) = self.shared.links.get(link) else {
                    return Err(TableError::UnknownLink { fault, link: link.clone() });
                };
                if let Some(reason) = rule.effect.refusal(state.delivery) {
                    let (link, effect) = (link.clone(), rule.effect.name());
                    return Err(TableError::Refused { fault, link, effect, reason });
                }
            }
        }
        let _order = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let published = Arc::new(compile(&self.shared.links, table, self.seed));
        self.shared.table.send_replace(Arc::clone(&published));
        let cuts: BTreeMap<usize, FaultId> = published
            .links
            .iter()
            .enumerate()
            .filter_map(|(link, rules)| Some((link, rules.cut_by()?)))
            .collect();
        let faults: BTreeSet<FaultId> = cuts.values().copied().collect();
        for fault in faults {
            let by = |link: &LinkState| cuts.get(&link.index) == Some(&fault);
            let count = self.shared.open.cut(|forth, back| by(forth) || by(back));
            self.count_cut(fault, count);
        }
        Ok(())
    }

    /// Resets the connections that are open now between the two endpoints of any of these pairs,
    /// whoever dialled, and counts them for `fault`. Returns how many.
    pub fn cut(&self, pairs: &[(NodeId, NodeId)], fault: FaultId) -> usize {
        let named: BTreeSet<(&NodeId, &NodeId)> =
            pairs.iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        let count =
            self.shared.open.cut(|forth, _| named.contains(&(&forth.link.from, &forth.link.to)));
        self.count_cut(fault, count);
        count
    }

    fn count_cut(&self, fault: FaultId, count: usize) {
        LiveCounters::add(&self.shared.counters.of(fault).connections_cut, count as u64);
    }

    /// What a fault did so far.
    pub fn counters(&self, fault: FaultId) -> FaultCounters {
        self.shared.counters.snapshot(fault)
    }

    /// Connects a client to a node. The node is dialled here, and waits while one of the two links
    /// is blocked, so bound it by a timeout; dropping the future gives up, and nothing was sent.
    ///
    /// # Errors
    /// Every [`ConnectError`] proves that nothing was sent.
    pub async fn connect(
        &self,
        client: &NodeId,
        node: &NodeId,
    ) -> Result<ClientConnection, ConnectError> {
        let Some(alive) = &self.alive else { return Err(ConnectError::ShutDown) };
        let (Some((forth, back)), Some(at)) =
            (self.shared.pair(client, node), self.addresses.node(node))
        else {
            let link = Link { from: client.clone(), to: node.clone() };
            return Err(ConnectError::UnknownLink(link));
        };
        client_link::connect(&self.shared, (&forth, &back), at.client, alive).await
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.open.len()
    }

    /// Breaches of the declared peer framing, the first few.
    pub fn breaches(&self) -> Vec<FramingBreach> {
        self.shared.breaches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections made from now on belong to this incarnation of the node. To be called before
    /// it is started.
    pub fn set_incarnation(&self, node: &NodeId, incarnation: u32) {
        self.shared.speakers.set(node, incarnation);
    }

    /// Whether this incarnation of the node has sent a byte to a peer or a client.
    pub fn has_sent(&self, node: &NodeId, incarnation: u32) -> bool {
        self.shared.speakers.has_sent(node, incarnation)
    }

    /// Ends all connections, stops all tasks and waits until they are gone.
    pub async fn shutdown(mut self) {
        self.stop();
        // No task ever sends: this resolves once the last has dropped its sender.
        let _ = self.all_gone.recv().await;
    }

    fn stop(&mut self) {
        for acceptor in self.acceptors.drain(..) {
            acceptor.abort();
        }
        self.shared.open.close();
        self.alive = None;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

/// All links: between any two nodes, and between any client and any node.
fn all_links(
    nodes: &[NodeId],
    clients: &[NodeId],
    framing: Framing,
    lossy: bool,
) -> BTreeMap<Link, Arc<LinkState>> {
    let delivery =
        if lossy && framing != Framing::Opaque { Delivery::Lossy } else { Delivery::Stream };
    let mut links = BTreeMap::new();
    let mut add = |from: &NodeId, to: &NodeId, framing, delivery| {
        let link = Link { from: from.clone(), to: to.clone() };
        let state = LinkState {
            index: links.len(),
            link: link.clone(),
            framing,
            delivery,
            messages: AtomicU64::new(0),
        };
        links.insert(link, Arc::new(state));
    };
    for to in nodes {
        for from in nodes.iter().filter(|&from| from != to) {
            add(from, to, framing, delivery);
        }
        for client in clients {
            add(client, to, Framing::Lines, Delivery::Stream);
            add(to, client, Framing::Lines, Delivery::Stream);
        }
    }
    links
}

fn compile(links: &BTreeMap<Link, Arc<LinkState>>, table: &LinkTable, seed: u64) -> Published {
    let mut states: Vec<&LinkState> = links.values().map(Arc::as_ref).collect();
    states.sort_unstable_by_key(|state| state.index);
    let links = states
        .into_iter()
        .map(|state| CompiledRules::new(table.of(&state.link), &state.link, state.delivery, seed))
        .collect();
    Published { links }
}
