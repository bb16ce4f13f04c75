//! The network layer on real sockets: what rules do to flows, and how ends are passed on.
//!
//! Every wait is for a condition. [`PATIENCE`] only turns a hang into a failure.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::NodeId;
use protocol::framing::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use whitewater::net::rule::CompiledRules;
use whitewater::net::{
    ConnectError, Effect, FaultCounters, FaultId, Link, LinkTable, MessageFate, MessageRecord,
    Network, NetworkConfig, RecvError, SendError, Subnet, TableError,
};

const PATIENCE: Duration = Duration::from_secs(120);
const F1: FaultId = FaultId(1);
const F2: FaultId = FaultId(2);
const SEED: u64 = 42;

fn id(name: &str) -> NodeId {
    NodeId::new(name)
}

fn link(from: &str, to: &str) -> Link {
    Link::new(from, to)
}

fn table(rules: &[(&str, &str, FaultId, Effect)]) -> LinkTable {
    let mut table = LinkTable::new();
    for &(from, to, fault, effect) in rules {
        table.add(link(from, to), fault, effect);
    }
    table
}

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("gave up waiting for {what}"),
    }
}

/// A network of nodes n1, n2, n3 and clients c1, c2, with n2's peer and n1's client listener open.
struct Bench {
    network: Network,
    n2_peers: TcpListener,
    n1_clients: TcpListener,
    log: mpsc::UnboundedReceiver<MessageRecord>,
}

fn entropy() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn bench(framing: Framing, lossy: bool) -> Bench {
    let config = NetworkConfig {
        nodes: ["n1", "n2", "n3"].map(id).to_vec(),
        clients: ["c1", "c2"].map(id).to_vec(),
        framing,
        lossy,
        seed: SEED,
        subnet: Subnet::claim(entropy()).unwrap(),
    };
    let began = Instant::now();
    let (sink, mut records) = mpsc::channel(16);
    let clock = move || began.elapsed().as_nanos() as u64;
    let network = Network::start(config, clock, Some(sink)).unwrap();
    let n2 = network.addresses().node(&id("n2")).unwrap();
    let n1 = network.addresses().node(&id("n1")).unwrap();
    let n2_peers = TcpListener::bind(n2.peer).await.unwrap();
    let n1_clients = TcpListener::bind(n1.client).await.unwrap();
    let (copy, log) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(record) = records.recv().await {
            let _ = copy.send(record);
        }
    });
    Bench { network, n2_peers, n1_clients, log }
}

impl Bench {
    /// n1 dials n2.
    async fn dial(&self) -> TcpStream {
        let address = self.network.addresses().dial(&id("n1"), &id("n2")).unwrap();
        TcpStream::connect(address).await.unwrap()
    }

    /// Both ends of a connection that n1 dials to n2.
    async fn joined(&self) -> (TcpStream, TcpStream) {
        let near = self.dial().await;
        let (far, _) = patiently("the proxy's dial", self.n2_peers.accept()).await.unwrap();
        (near, far)
    }

    fn publish(&self, rules: &[(&str, &str, FaultId, Effect)]) {
        self.network.publish(&table(rules)).unwrap();
    }

    async fn until(&self, what: &str, met: impl Fn(FaultCounters) -> bool) -> FaultCounters {
        patiently(what, async {
            loop {
                let counters = self.network.counters(F1);
                if met(counters) {
                    return counters;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    }

    async fn logged(&mut self) -> MessageRecord {
        patiently("a line of the message log", self.log.recv()).await.unwrap()
    }
}

async fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).await.unwrap();
}

/// Expects exactly these bytes next.
async fn expect(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let mut got = vec![0; bytes.as_ref().len()];
    patiently("bytes", stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes.as_ref()));
}

/// The stream's end: `None` in order, else the error.
async fn end_of(stream: &mut TcpStream) -> Option<std::io::ErrorKind> {
    let mut rest = Vec::new();
    let end = patiently("the end of a stream", stream.read_to_end(&mut rest)).await;
    end.err().map(|error| error.kind())
}

const RESET: Option<std::io::ErrorKind> = Some(std::io::ErrorKind::ConnectionReset);

#[tokio::test]
async fn without_rules_everything_passes_and_is_logged() {
    let mut bench = bench(Framing::Lines, true).await;
    let (mut near, mut far) = bench.joined().await;
    send(&mut near, "{\"type\":\"vote\"}\nno json\n").await;
    expect(&mut far, "{\"type\":\"vote\"}\nno json\n").await;
    send(&mut far, "{\"type\":\"vote_ok\"}\n").await;
    expect(&mut near, "{\"type\":\"vote_ok\"}\n").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let record = bench.logged().await;
        assert!(record.delivered_ns.is_some());
        assert_eq!((record.fate, record.fault), (MessageFate::Passed, None));
        let kind = record.kind.map(|kind| kind.to_string());
        seen.push((record.src.to_string(), record.number, kind));
    }
    let expected = [
        ("n1".to_owned(), 0, Some("vote".to_owned())),
        ("n1".to_owned(), 1, None),
        ("n2".to_owned(), 0, Some("vote_ok".to_owned())),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_one_way_block_loses_one_direction_of_old_and_new_connections() {
    let bench = bench(Framing::Lines, true).await;
    let mut pairs = vec![bench.joined().await];
    bench.publish(&[("n1", "n2", F1, Effect::Block)]);
    pairs.push(bench.joined().await);
    for (near, far) in &mut pairs {
        send(near, "lost\n").await;
        send(far, "gets through\n").await;
        expect(near, "gets through\n").await;
    }
    bench.until("both losses", |counters| counters.messages_dropped == 2).await;
    bench.publish(&[]);
    for (near, far) in &mut pairs {
        send(near, "after\n").await;
        expect(far, "after\n").await;
    }
}

#[tokio::test]
async fn a_two_way_block_loses_both_directions() {
    let bench = bench(Framing::LengthPrefix, true).await;
    let (mut near, mut far) = bench.joined().await;
    bench.publish(&[("n1", "n2", F1, Effect::Block), ("n2", "n1", F1, Effect::Block)]);
    send(&mut near, b"\0\0\0\x03abc").await;
    send(&mut far, b"\0\0\0\x03def").await;
    bench.until("both losses", |counters| counters.messages_dropped == 2).await;
    bench.publish(&[]);
    send(&mut near, b"\0\0\0\x01x").await;
    expect(&mut far, b"\0\0\0\x01x").await;
    send(&mut far, b"\0\0\0\x01y").await;
    expect(&mut near, b"\0\0\0\x01y").await;
}

#[tokio::test]
async fn an_opaque_stream_stalls_and_goes_on_where_it_was() {
    let bench = bench(Framing::Opaque, true).await;
    let (mut near, mut far) = bench.joined().await;
    send(&mut near, "one").await;
    expect(&mut far, "one").await;
    bench.publish(&[("n1", "n2", F1, Effect::Block)]);
    send(&mut near, "two").await;
    let held = bench.until("held bytes", |counters| counters.bytes_held > 0).await;
    assert_eq!((held.bytes_held, held.messages_dropped), (3, 0));
    // While the piece is held, the other direction flows and more is sent.
    send(&mut far, "back").await;
    expect(&mut near, "back").await;
    send(&mut near, "three").await;
    let mut nothing = [0; 1];
    assert_eq!(far.try_read(&mut nothing).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    bench.publish(&[]);
    expect(&mut far, "twothree").await;
    bench.until("the stall's length", |counters| counters.stall_ns > 0).await;
}

#[tokio::test]
async fn a_streams_dial_waits_for_both_directions() {
    for blocked in [("n1", "n2"), ("n2", "n1")] {
        let bench = bench(Framing::Opaque, false).await;
        bench.publish(&[(blocked.0, blocked.1, F1, Effect::Block)]);
        let mut near = bench.dial().await;
        send(&mut near, "hello").await;
        bench.until("a held dial", |counters| counters.dials_held == 1).await;
        let mut quitter = bench.dial().await;
        send(&mut quitter, "never mind").await;
        bench.until("another", |counters| counters.dials_held == 2).await;
        drop(quitter);
        bench.publish(&[]);
        let (mut far, _) = patiently("the dial", bench.n2_peers.accept()).await.unwrap();
        expect(&mut far, "hello").await;
        // The one that gave up while its dial was held was never heard of: the next connection
        // is a new one.
        let (mut near, mut far) = bench.joined().await;
        send(&mut near, "next").await;
        expect(&mut far, "next").await;
    }
}

#[tokio::test]
async fn drop_takes_all_or_nothing_at_its_extremes() {
    let bench = bench(Framing::Lines, true).await;
    let (mut near, mut far) = bench.joined().await;
    bench.publish(&[
        ("n1", "n2", F1, Effect::Drop { probability: 1.0 }),
        ("n2", "n1", F2, Effect::Drop { probability: 0.0 }),
    ]);
    for _ in 0..50 {
        send(&mut near, "x\n").await;
        send(&mut far, "y\n").await;
        expect(&mut near, "y\n").await;
    }
    bench.until("fifty losses", |counters| counters.messages_dropped == 50).await;
    assert_eq!(bench.network.counters(F2), FaultCounters::default());
}

#[tokio::test]
async fn the_messages_that_drop_takes_are_those_that_the_rules_name() {
    let effect = Effect::Drop { probability: 0.4 };
    let rules = [whitewater::net::rule::LinkRule { fault: F1, effect }];
    let delivery = whitewater::net::rule::Delivery::Lossy;
    let engine = CompiledRules::new(&rules, &link("n1", "n2"), delivery, SEED);
    let survivors: String = (0..200)
        .filter(|&number| engine.decide(number, 0) == whitewater::net::rule::Fate::PASS)
        .map(|number| format!("m{number}\n"))
        .collect();
    for _ in 0..2 {
        let bench = bench(Framing::Lines, true).await;
        bench.publish(&[("n1", "n2", F1, effect)]);
        let (mut near, mut far) = bench.joined().await;
        let all: String = (0..200).map(|number| format!("m{number}\n")).collect();
        send(&mut near, all).await;
        expect(&mut far, &survivors).await;
    }
}

#[tokio::test]
async fn delayed_messages_keep_their_order_and_lifting_the_rule_releases_them() {
    let mut bench = bench(Framing::Lines, true).await;
    let (mut near, mut far) = bench.joined().await;
    let hour = Duration::from_secs(3600);
    bench.publish(&[("n1", "n2", F1, Effect::Delay { min: hour, max: 2 * hour })]);
    send(&mut near, "1\n2\n").await;
    bench.until("two delays", |counters| counters.messages_delayed == 2).await;
    bench.publish(&[]);
    expect(&mut far, "1\n2\n").await;
    let short = Effect::Delay { min: Duration::ZERO, max: Duration::from_millis(3) };
    bench.publish(&[("n1", "n2", F1, short)]);
    let all: String = (0..50).map(|number| format!("{number}\n")).collect();
    send(&mut near, &all).await;
    expect(&mut far, &all).await;
    assert_eq!(bench.logged().await.fate, MessageFate::Delayed);
}

#[tokio::test]
async fn a_block_takes_what_was_delayed_on_a_lossy_link() {
    let bench = bench(Framing::Lines, true).await;
    let (mut near, _far) = bench.joined().await;
    let hour = Duration::from_secs(3600);
    let delay = ("n1", "n2", F2, Effect::Delay { min: hour, max: hour });
    bench.publish(&[delay]);
    send(&mut near, "1\n").await;
    patiently("the delay", async {
        while bench.network.counters(F2).messages_delayed == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    bench.publish(&[delay, ("n1", "n2", F1, Effect::Block)]);
    bench.until("its loss", |counters| counters.messages_dropped == 1).await;
}

#[tokio::test]
async fn duplicates_arrive_twice_and_next_to_each_other() {
    let bench = bench(Framing::Lines, true).await;
    let (mut near, mut far) = bench.joined().await;
    bench.publish(&[("n1", "n2", F1, Effect::Duplicate { probability: 1.0 })]);
    send(&mut near, "1\n2\n").await;
    expect(&mut far, "1\n1\n2\n2\n").await;
    assert_eq!(bench.network.counters(F1).messages_duplicated, 2);
}

#[tokio::test]
async fn an_orderly_end_stays_orderly_and_a_half_close_half() {
    for framing in [Framing::Opaque, Framing::Lines] {
        let bench = bench(framing, true).await;
        let (mut near, mut far) = bench.joined().await;
        send(&mut near, "whole\ntorn").await;
        near.shutdown().await.unwrap();
        let mut got = String::new();
        patiently("the end", far.read_to_string(&mut got)).await.unwrap();
        assert_eq!(got, "whole\ntorn");
        send(&mut far, "answer\n").await;
        expect(&mut near, "answer\n").await;
        drop(far);
        assert_eq!(end_of(&mut near).await, None);
    }
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let bench = bench(Framing::Lines, true).await;
    let (near, mut far) = bench.joined().await;
    near.set_zero_linger().unwrap();
    drop(near);
    assert_eq!(end_of(&mut far).await, RESET);
    let (mut near, far) = bench.joined().await;
    far.set_zero_linger().unwrap();
    drop(far);
    assert_eq!(end_of(&mut near).await, RESET);
}

#[tokio::test]
async fn ends_do_not_pass_a_block() {
    let bench = bench(Framing::Lines, true).await;
    let (mut closing, mut far_of_closing) = bench.joined().await;
    let (resetting, mut far_of_resetting) = bench.joined().await;
    bench.publish(&[("n1", "n2", F1, Effect::Block)]);
    send(&mut closing, "lost\n").await;
    drop(closing);
    resetting.set_zero_linger().unwrap();
    drop(resetting);
    bench.until("the loss", |counters| counters.messages_dropped == 1).await;
    let mut nothing = [0; 1];
    for far in [&mut far_of_closing, &mut far_of_resetting] {
        assert_eq!(far.try_read(&mut nothing).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    bench.publish(&[]);
    assert_eq!(end_of(&mut far_of_closing).await, None);
    assert_eq!(end_of(&mut far_of_resetting).await, RESET);
}

#[tokio::test]
async fn a_refused_dial_resets_the_one_who_dialled() {
    let bench = bench(Framing::Opaque, false).await;
    let address = bench.network.addresses().dial(&id("n1"), &id("n3")).unwrap();
    let mut near = TcpStream::connect(address).await.unwrap();
    assert_eq!(end_of(&mut near).await, RESET);
}

#[tokio::test]
async fn a_cut_resets_old_connections_and_refuses_new_ones_while_in_force() {
    let bench = bench(Framing::Lines, true).await;
    let (mut near, mut far) = bench.joined().await;
    // A rule on the reverse link cuts as well: a connection carries both.
    bench.publish(&[("n2", "n1", F1, Effect::Cut)]);
    assert_eq!(end_of(&mut near).await, RESET);
    assert_eq!(end_of(&mut far).await, RESET);
    let mut refused = bench.dial().await;
    assert_eq!(end_of(&mut refused).await, RESET);
    let counters = bench.network.counters(F1);
    assert_eq!((counters.connections_cut, counters.connections_refused), (1, 1));
    bench.publish(&[]);
    let (mut near, mut far) = bench.joined().await;
    send(&mut near, "again\n").await;
    expect(&mut far, "again\n").await;
    assert_eq!(bench.network.cut(&[(id("n2"), id("n1")), (id("n1"), id("n3"))], F1), 1);
    assert_eq!(end_of(&mut near).await, RESET);
    assert_eq!(end_of(&mut far).await, RESET);
    assert_eq!(bench.network.counters(F1).connections_cut, 2);
}

#[tokio::test]
async fn a_cut_reaches_a_flow_that_stalls() {
    let bench = bench(Framing::Opaque, false).await;
    let (mut near, mut far) = bench.joined().await;
    bench.publish(&[("n1", "n2", F1, Effect::Block)]);
    send(&mut near, "held").await;
    bench.until("held bytes", |counters| counters.bytes_held > 0).await;
    assert_eq!(bench.network.cut(&[(id("n1"), id("n2"))], F2), 1);
    assert_eq!(end_of(&mut far).await, RESET);
    assert_eq!(end_of(&mut near).await, RESET);
}

#[tokio::test]
async fn what_still_waits_when_its_connection_ends_is_logged_as_lost() {
    let mut bench = bench(Framing::Lines, true).await;
    let (mut near, _far) = bench.joined().await;
    let hour = Duration::from_secs(3600);
    bench.publish(&[("n1", "n2", F1, Effect::Delay { min: hour, max: hour })]);
    send(&mut near, "1\n").await;
    bench.until("the delay", |counters| counters.messages_delayed == 1).await;
    assert_eq!(bench.network.cut(&[(id("n1"), id("n2"))], F2), 1);
    let record = bench.logged().await;
    assert_eq!((record.fate, record.fault), (MessageFate::Lost, Some(F1)));
    assert_eq!(record.delivered_ns, None);
}

#[tokio::test]
async fn a_breach_of_the_declared_framing_is_told() {
    let bench = bench(Framing::LengthPrefix, true).await;
    let (mut near, mut far) = bench.joined().await;
    send(&mut near, "GET / HTTP/1.1\r\n").await;
    assert_eq!(end_of(&mut far).await, RESET);
    let breaches = bench.network.breaches();
    assert_eq!(breaches.len(), 1);
    assert_eq!(breaches[0].link, link("n1", "n2"));
}

#[tokio::test]
async fn tables_that_cannot_be_had_are_refused_whole() {
    let bench = bench(Framing::Opaque, true).await;
    let cases = [
        ("n1", "n2", Effect::Drop { probability: 0.5 }),
        ("n1", "n2", Effect::Duplicate { probability: 0.5 }),
        ("c1", "n2", Effect::Drop { probability: 0.5 }),
        ("n1", "n2", Effect::Drop { probability: 1.5 }),
        ("n1", "n2", Effect::Delay { min: Duration::from_secs(2), max: Duration::from_secs(1) }),
    ];
    for (from, to, effect) in cases {
        let error = bench.network.publish(&table(&[(from, to, F1, effect)])).unwrap_err();
        assert!(matches!(error, TableError::Refused { .. }), "{error}");
    }
    for (from, to) in [("n1", "n9"), ("n1", "n1"), ("c1", "c2")] {
        let error = bench.network.publish(&table(&[(from, to, F1, Effect::Block)])).unwrap_err();
        assert_eq!(error, TableError::UnknownLink { fault: F1, link: link(from, to) });
    }
}

#[tokio::test]
async fn a_client_speaks_lines_and_is_logged() {
    let mut bench = bench(Framing::Opaque, false).await;
    let mut client = bench.network.connect(&id("c1"), &id("n1")).await.unwrap();
    let (mut node, _) = patiently("the client", bench.n1_clients.accept()).await.unwrap();
    client.send(r#"{"body":{"type":"read"}}"#).await.unwrap();
    expect(&mut node, "{\"body\":{\"type\":\"read\"}}\n").await;
    let record = bench.logged().await;
    assert_eq!((record.src, record.dest), (id("c1"), id("n1")));
    assert_eq!(record.kind.as_deref(), Some("read"));
    send(&mut node, "first\nsecond\nto").await;
    assert_eq!(client.recv().await.unwrap(), "first");
    assert_eq!(client.recv().await.unwrap(), "second");
    drop(node);
    assert_eq!(patiently("the end", client.recv()).await, Err(RecvError::TornLine { bytes: 2 }));
    let error = client.send("two\nlines").await.unwrap_err();
    assert!(error == SendError::NotALine && error.nothing_sent());
}

#[tokio::test]
async fn a_client_can_tell_a_reset_from_an_end_and_from_a_cut() {
    let bench = bench(Framing::Opaque, false).await;
    for expected in [RecvError::Closed, RecvError::Reset, RecvError::Cut] {
        let mut client = bench.network.connect(&id("c1"), &id("n1")).await.unwrap();
        let (node, _) = patiently("the client", bench.n1_clients.accept()).await.unwrap();
        if expected == RecvError::Reset {
            node.set_zero_linger().unwrap();
        }
        let _kept = if expected == RecvError::Cut {
            assert_eq!(bench.network.cut(&[(id("c1"), id("n1"))], F1), 1);
            Some(node)
        } else {
            drop(node);
            None
        };
        assert_eq!(patiently("the end", client.recv()).await, Err(expected.clone()));
        if expected != RecvError::Closed {
            let error = client.send("too late").await.unwrap_err();
            assert!(error.nothing_sent(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_client_is_refused_before_anything_is_sent() {
    let bench = bench(Framing::Opaque, false).await;
    let error = bench.network.connect(&id("c1"), &id("n3")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    bench.publish(&[("c1", "n1", F1, Effect::Cut)]);
    let error = bench.network.connect(&id("c1"), &id("n1")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Cut { fault: F1, .. }), "{error}");
    assert_eq!(bench.network.counters(F1).connections_refused, 1);
    let error = bench.network.connect(&id("c9"), &id("n1")).await.unwrap_err();
    assert!(matches!(error, ConnectError::UnknownLink(_)), "{error}");
}

#[tokio::test]
async fn a_clients_dial_and_its_lines_wait_while_blocked() {
    let bench = Arc::new(bench(Framing::Opaque, false).await);
    let mut early = bench.network.connect(&id("c2"), &id("n1")).await.unwrap();
    let (mut node, _) = patiently("c2", bench.n1_clients.accept()).await.unwrap();
    bench.publish(&[("c1", "n1", F1, Effect::Block), ("c2", "n1", F1, Effect::Block)]);
    early.send("late write").await.unwrap();
    bench.until("the held line", |counters| counters.messages_held == 1).await;
    // The client gives up, but what it sent is on its way, as in any network.
    drop(early);
    let late = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.network.connect(&id("c1"), &id("n1")).await.map(|_| ()) }
    });
    bench.until("the held dial", |counters| counters.dials_held == 1).await;
    assert!(!late.is_finished());
    bench.publish(&[]);
    expect(&mut node, "late write\n").await;
    assert_eq!(end_of(&mut node).await, None);
    patiently("the dial", late).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_networks_stand_side_by_side() {
    let (one, two) = (bench(Framing::Lines, true).await, bench(Framing::Lines, true).await);
    let (mut near_one, mut far_one) = one.joined().await;
    let (mut near_two, mut far_two) = two.joined().await;
    one.publish(&[("n1", "n2", F1, Effect::Block)]);
    send(&mut near_one, "lost\n").await;
    send(&mut near_two, "passes\n").await;
    expect(&mut far_two, "passes\n").await;
    one.until("the loss", |counters| counters.messages_dropped == 1).await;
    assert_eq!(two.network.counters(F1), FaultCounters::default());
    patiently("shutdown", one.network.shutdown()).await;
    assert_eq!(end_of(&mut far_one).await, RESET);
    send(&mut near_two, "still\n").await;
    expect(&mut far_two, "still\n").await;
}

#[tokio::test]
async fn a_shut_down_network_holds_nothing() {
    let bench = bench(Framing::Lines, true).await;
    let (mut near, _far) = bench.joined().await;
    let proxy = bench.network.addresses().dial(&id("n1"), &id("n2")).unwrap();
    bench.publish(&[("n1", "n2", F1, Effect::Block)]);
    patiently("shutdown", bench.network.shutdown()).await;
    assert_eq!(end_of(&mut near).await, RESET);
    TcpListener::bind(proxy).await.unwrap();
}
