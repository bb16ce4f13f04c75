//! Addresses of a run: a subnet of loopback of its own, and who listens where in it.
//!
//! Two runs never share a subnet: a run holds a majority of three fixed ports on the subnet's `.1`
//! by open listeners, so two claims of one subnet cannot both succeed, and a stranger that sits on
//! one of those ports with a wildcard listener does no harm. Ports lie below the ephemeral range,
//! so no outgoing connection can take one. A node's own addresses are probed, not held: the node
//! has to bind them itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use protocol::NodeId;
use workloads::random::{Draw, Stream};

use super::limits;

/// A run holds a majority of these on its subnet's `.1`.
const GUARD_PORTS: [u16; 3] = [9_471, 9_472, 9_473];
/// Begin of the ephemeral range when the kernel does not say.
const EPHEMERAL_MIN_DEFAULT: u16 = 32_768;

/// No addresses could be had.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Every subnet that was drawn is held by someone.
    #[error("no free 127.x.y.0/24 in {draws} draws; last refusal: {last}")]
    NoSubnet {
        /// Subnets tried.
        draws: u64,
        /// Why the last bind failed.
        last: std::io::Error,
    },
    /// Every port that was tried for a node is taken.
    #[error(
        "no free port below {ephemeral_min} for node {node} on {ip} in {draws} draws; \
         last refusal: {last}"
    )]
    NoPort {
        /// The node.
        node: NodeId,
        /// The address that refused.
        ip: Ipv4Addr,
        /// Begin of the ephemeral range.
        ephemeral_min: u16,
        /// Ports tried.
        draws: u64,
        /// Why the last bind failed.
        last: std::io::Error,
    },
    /// The ephemeral range leaves no ports below it.
    #[error(
        "net.ipv4.ip_local_port_range begins at {ephemeral_min}, which leaves no ports for nodes; \
         let it begin at 32768"
    )]
    NoPortsBelow {
        /// Begin of the ephemeral range.
        ephemeral_min: u16,
    },
    /// More nodes than a /24 has room for.
    #[error("{nodes} nodes do not fit into one 127.x.y.0/24; at most {} do", limits::NODES_MAX)]
    TooManyNodes {
        /// Nodes asked for.
        nodes: usize,
    },
    /// The same node twice.
    #[error("node {node} is named twice")]
    TwiceNamed {
        /// The node.
        node: NodeId,
    },
}

/// A 127.x.y.0/24 that no other run uses for as long as this value lives.
#[derive(Debug)]
pub struct Subnet {
    x: u8,
    y: u8,
    ports: Stream,
    _guards: Vec<TcpListener>,
}

impl Subnet {
    /// Claims a subnet; `entropy` should differ between runs (it is no seed of the run: two runs
    /// of one seed get different subnets).
    ///
    /// # Errors
    /// [`AddressError::NoSubnet`].
    pub fn claim(entropy: u64) -> Result<Subnet, AddressError> {
        let subnets = Stream::new(entropy, "subnet");
        let mut last = None;
        for draw in 0..limits::SUBNET_DRAWS_MAX {
            // Numbers from 1 to 65535, so never x = y = 0, where 127.0.0.1 lives.
            let number = subnets.at(draw).range(1..1 << 16) as u16;
            let [x, y] = number.to_be_bytes();
            match guard(Ipv4Addr::new(127, x, y, 1)) {
                Ok(guards) => {
                    let ports = Stream::new(entropy, "port");
                    return Ok(Subnet { x, y, ports, _guards: guards });
                }
                Err(error) => last = Some(error),
            }
        }
        let last = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
        Err(AddressError::NoSubnet { draws: limits::SUBNET_DRAWS_MAX, last })
    }

    /// The address with this last byte.
    pub fn ip(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.x, self.y, host)
    }
}

/// Listeners on a majority of the guard ports.
fn guard(ip: Ipv4Addr) -> std::io::Result<Vec<TcpListener>> {
    let mut held = Vec::new();
    let mut refusal = None;
    for port in GUARD_PORTS {
        match TcpListener::bind((ip, port)) {
            Ok(listener) => held.push(listener),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if held.len() * 2 <= GUARD_PORTS.len() => Err(error),
        _ => Ok(held),
    }
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    /// For clients and the harness; they come through the harness's client links.
    pub client: SocketAddr,
    /// For peers; they come through the harness's proxies.
    pub peer: SocketAddr,
}

/// Who listens where in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    nodes: BTreeMap<NodeId, NodeAddresses>,
    proxies: BTreeMap<NodeId, BTreeMap<NodeId, SocketAddr>>,
}

impl Addresses {
    /// Where a node listens; `None` if there is no such node.
    pub fn node(&self, node: &NodeId) -> Option<NodeAddresses> {
        self.nodes.get(node).copied()
    }

    /// What node `from` dials to reach node `to`: the proxy between the two.
    pub fn dial(&self, from: &NodeId, to: &NodeId) -> Option<SocketAddr> {
        self.proxies.get(from)?.get(to).copied()
    }

    /// What node `from` dials to reach each other node: the `peers` of its launch file.
    pub fn peers(&self, from: &NodeId) -> BTreeMap<NodeId, SocketAddr> {
        self.proxies.get(from).cloned().unwrap_or_default()
    }
}

/// The proxies' open listeners: who dials, whom it means to reach, and where.
pub(super) type ProxyListeners = Vec<(NodeId, NodeId, TcpListener)>;

/// Lays out the addresses of a run, and opens the listeners of its peer proxies.
///
/// Node number i listens on host 2i + 2 of the subnet, the proxies that it dials listen on host
/// 2i + 3. The proxy towards a node has the port of that node's peer listener.
///
/// # Errors
/// See [`AddressError`].
pub(super) fn lay_out(
    subnet: &Subnet,
    nodes: &[NodeId],
) -> Result<(Addresses, ProxyListeners), AddressError> {
    if nodes.len() > limits::NODES_MAX {
        return Err(AddressError::TooManyNodes { nodes: nodes.len() });
    }
    let ephemeral_min = ephemeral_min();
    if ephemeral_min < limits::PORT_MIN + 1_000 {
        return Err(AddressError::NoPortsBelow { ephemeral_min });
    }
    let mut picker = PortPicker { draw: subnet.ports.at(0), ephemeral_min, given: Vec::new() };
    let mut addresses = Addresses { nodes: BTreeMap::new(), proxies: BTreeMap::new() };
    let mut listeners = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let own = subnet.ip(2 * index as u8 + 2);
        let (client, _) = picker.pick(node, &[own])?;
        let dialled_from: Vec<(&NodeId, Ipv4Addr)> = nodes
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != index)
            .map(|(other, id)| (id, subnet.ip(2 * other as u8 + 3)))
            .collect();
        let mut ips = vec![own];
        ips.extend(dialled_from.iter().map(|&(_, ip)| ip));
        let (peer, mut opened) = picker.pick(node, &ips)?;
        // The first is the node's own address, which the node will bind.
        drop(opened.remove(0));
        for ((from, ip), listener) in dialled_from.into_iter().zip(opened) {
            let address = SocketAddr::from((ip, peer));
            addresses.proxies.entry(from.clone()).or_default().insert(node.clone(), address);
            listeners.push((from.clone(), node.clone(), listener));
        }
        let own =
            NodeAddresses { client: (own, client).into(), peer: SocketAddr::from((own, peer)) };
        if addresses.nodes.insert(node.clone(), own).is_some() {
            return Err(AddressError::TwiceNamed { node: node.clone() });
        }
    }
    Ok((addresses, listeners))
}

struct PortPicker {
    draw: Draw,
    ephemeral_min: u16,
    given: Vec<u16>,
}

impl PortPicker {
    /// A port never given before that can be bound on all `ips`, with the listeners that show it.
    fn pick(
        &mut self,
        node: &NodeId,
        ips: &[Ipv4Addr],
    ) -> Result<(u16, Vec<TcpListener>), AddressError> {
        let mut last = (Ipv4Addr::LOCALHOST, std::io::ErrorKind::AddrInUse.into());
        for _ in 0..limits::PORT_DRAWS_MAX {
            let range = u64::from(limits::PORT_MIN)..u64::from(self.ephemeral_min);
            let port = self.draw.range(range) as u16;
            if self.given.contains(&port) {
                continue;
            }
            let opened: Result<Vec<_>, _> = ips
                .iter()
                .map(|&ip| TcpListener::bind((ip, port)).map_err(|error| (ip, error)))
                .collect();
            match opened {
                Ok(listeners) => {
                    self.given.push(port);
                    return Ok((port, listeners));
                }
                Err(refusal) => last = refusal,
            }
        }
        Err(AddressError::NoPort {
            node: node.clone(),
            ip: last.0,
            ephemeral_min: self.ephemeral_min,
            draws: limits::PORT_DRAWS_MAX,
            last: last.1,
        })
    }
}

/// Where the range of ports for outgoing connections begins.
fn ephemeral_min() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_MIN_DEFAULT)
        .min(EPHEMERAL_MIN_DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nodes(count: usize) -> Vec<NodeId> {
        (1..=count).map(|i| NodeId::new(format!("n{i}"))).collect()
    }

    /// Differs between processes, so that test runs side by side do not meet.
    fn entropy(number: u64) -> u64 {
        u64::from(std::process::id()) << 32 | number
    }

    #[test]
    fn a_subnet_is_given_once_even_to_the_same_draws() {
        let first = Subnet::claim(entropy(7)).unwrap();
        let second = Subnet::claim(entropy(7)).unwrap();
        assert_ne!(first.ip(1), second.ip(1));
        let ip = first.ip(1);
        assert!(guard(ip).is_err());
        drop(first);
        assert!(guard(ip).is_ok());
    }

    #[test]
    fn a_stranger_on_one_guard_port_does_no_harm() {
        // An address that no subnet's guard uses; the listener stands in for a wildcard one.
        let subnet = Subnet::claim(entropy(3)).unwrap();
        let ip = subnet.ip(77);
        let stranger = TcpListener::bind((ip, GUARD_PORTS[1])).unwrap();
        let held = guard(ip).unwrap();
        assert_eq!(held.len(), 2);
        assert!(guard(ip).is_err());
        // The port that the stranger leaves behind is no majority.
        drop(stranger);
        assert!(guard(ip).is_err());
    }

    #[test]
    fn ports_are_distinct_below_the_ephemeral_range_and_bindable() {
        let subnet = Subnet::claim(entropy(11)).unwrap();
        let nodes = nodes(5);
        let (addresses, listeners) = lay_out(&subnet, &nodes).unwrap();
        assert_eq!(listeners.len(), 20);
        let mut ports = BTreeSet::new();
        for node in &nodes {
            let at = addresses.node(node).unwrap();
            for address in [at.client, at.peer] {
                assert!(ports.insert(address.port()), "{address}");
                assert!(address.port() < 32_768);
                TcpListener::bind(address).unwrap();
            }
            let peers = addresses.peers(node);
            assert_eq!(peers.len(), 4);
            assert!(!peers.contains_key(node));
        }
        for (from, to, listener) in &listeners {
            assert_eq!(addresses.dial(from, to), Some(listener.local_addr().unwrap()));
        }
    }

    #[test]
    fn an_occupied_port_is_passed_over() {
        let subnet = Subnet::claim(entropy(13)).unwrap();
        let first = lay_out(&subnet, &nodes(1)).unwrap().0.node(&"n1".into()).unwrap();
        let _occupied = TcpListener::bind(first.client).unwrap();
        let second = lay_out(&subnet, &nodes(1)).unwrap().0.node(&"n1".into()).unwrap();
        assert_ne!(second.client, first.client);
    }

    #[test]
    fn too_many_nodes_and_twins_are_refused() {
        let subnet = Subnet::claim(entropy(17)).unwrap();
        let error = lay_out(&subnet, &nodes(121)).unwrap_err();
        assert!(matches!(error, AddressError::TooManyNodes { nodes: 121 }));
        let error = lay_out(&subnet, &["n1".into(), "n1".into()]).unwrap_err();
        assert!(matches!(error, AddressError::TwiceNamed { .. }), "{error}");
    }
}
