//! Real nodes: the protocol, kill -9, restarts, traces, refusals.

mod cluster;

use std::collections::BTreeMap;
use std::process::Command;

use protocol::NodeId;
use protocol::describe::Describe;
use protocol::trace::{TraceEvent, TraceKind};
use serde_json::{Value as Json, json};

use cluster::{BINARY, Cluster, wait_for};

fn read(key: &str) -> Json {
    json!({"type": "read", "key": key})
}

fn write(key: &str, value: u64) -> Json {
    json!({"type": "write", "key": key, "value": value})
}

fn cas(key: &str, from: u64, to: u64) -> Json {
    json!({"type": "cas", "key": key, "from": from, "to": to})
}

#[test]
fn clients_are_served_as_the_protocol_says() {
    let cluster = Cluster::start(3);
    let mut leader = cluster.leader();
    let mut ask = |body: Json| leader.ask(body).unwrap();
    assert_eq!(ask(read("k"))["code"], 20);
    assert_eq!(ask(cas("k", 1, 2))["code"], 20);
    assert_eq!(ask(write("k", 1))["type"], "write_ok");
    assert_eq!(ask(cas("k", 7, 2))["code"], 22);
    assert_eq!(ask(cas("k", 1, 2))["type"], "cas_ok");
    assert_eq!(ask(read("k"))["value"], 2);
    assert_eq!(ask(json!({"type": "hello", "version": 1}))["version"], 1);
    assert_eq!(ask(json!({"type": "fly"}))["code"], 10);
    assert_eq!(ask(json!({"type": "write", "key": "k"}))["code"], 12);
    assert_eq!(leader.ask_line("what?").unwrap()["code"], 12);

    let follower = cluster.ids().into_iter().find(|id| *id != leader.node).unwrap();
    let mut client = cluster.client(&follower).unwrap();
    let hint = wait_for("the follower to know its leader", || {
        let answer = client.ask(write("k", 9)).unwrap();
        assert_eq!(answer["code"], 11);
        answer["leader"].as_str().map(NodeId::new)
    });
    assert_eq!(hint, leader.node);
    assert_eq!(leader.ask(read("k")).unwrap()["value"], 2);
}

#[test]
fn what_was_acknowledged_survives_kills_of_the_leader_and_of_all() {
    let mut cluster = Cluster::start(3);
    let mut value = 0;
    for _ in 0..3 {
        for _ in 0..20 {
            value += 1;
            assert_eq!(cluster.ask(&write("k", value))["type"], "write_ok");
        }
        let leader = cluster.leader().node;
        cluster.kill(&leader);
        assert_eq!(cluster.ask(&read("k"))["value"], value);
        cluster.launch(&leader);
    }
    for id in cluster.ids() {
        cluster.kill(&id);
    }
    for id in cluster.ids() {
        cluster.launch(&id);
    }
    assert_eq!(cluster.ask(&read("k"))["value"], value);
    let commit = cluster.leader().ask(json!({"type": "status"})).unwrap()["commit"].as_u64();
    for id in cluster.ids() {
        wait_for("every node to catch up", || {
            let status = cluster.client(&id)?.ask(json!({"type": "status"}))?;
            (status["applied"].as_u64() >= commit).then_some(())
        });
    }
    // Only now: the last ones could not catch up alone.
    for id in cluster.ids() {
        assert_eq!(cluster.terminate(&id).code(), Some(0), "{id} after SIGTERM");
    }
    check_traces(&cluster);
}

/// Every line is an event, numbered without gaps, and equal entries have equal hashes everywhere.
fn check_traces(cluster: &Cluster) {
    let mut hashes = BTreeMap::new();
    for id in cluster.ids() {
        for incarnation in 0..cluster.incarnations(&id) {
            // One that was killed before it could write anything has no trace.
            let text = std::fs::read(cluster.trace_path(&id, incarnation)).unwrap_or_default();
            let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
            for (nth, line) in lines.iter().enumerate() {
                if nth + 1 == lines.len() && !line.ends_with(b"\n") {
                    break;
                }
                let event = TraceEvent::parse(line).unwrap();
                assert_eq!((event.head.node, event.head.inc), (id.clone(), incarnation));
                assert_eq!(event.head.seq, nth as u64);
                assert_eq!(nth == 0, matches!(event.kind, TraceKind::Start(_)));
                let entries = match event.kind {
                    TraceKind::Start(start) => start.tail,
                    TraceKind::Append(append) => append.ents,
                    _ => continue,
                };
                for entry in entries {
                    let hash = *hashes.entry((entry.0, entry.1)).or_insert(entry.3);
                    assert_eq!(hash, entry.3, "entry {} of term {}", entry.0, entry.1);
                }
            }
        }
    }
    assert!(hashes.len() > 60, "every write is an entry");
}

#[test]
fn a_cluster_of_one_serves() {
    let cluster = Cluster::start(1);
    assert_eq!(cluster.ask(&write("k", 1))["type"], "write_ok");
    assert_eq!(cluster.ask(&read("k"))["value"], 1);
}

#[test]
fn a_damaged_log_is_refused_in_one_sentence() {
    let mut cluster = Cluster::start(1);
    let id = cluster.ids().remove(0);
    for value in 0..5 {
        cluster.ask(&write("k", value));
    }
    cluster.kill(&id);
    let path = cluster.data_dir(&id).join("raft.wal");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    cluster.launch(&id);
    let (status, log) = cluster.wait_for_exit(&id);
    assert_eq!(status.code(), Some(1));
    let last = log.lines().last().unwrap();
    assert!(last.contains("raft.wal: damaged at offset"), "{last}");
}

#[test]
fn mistakes_in_node_json_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.json");
    let run = || {
        let output = Command::new(BINARY).arg("--config").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run().contains("node.json: cannot read it"));
    std::fs::write(&path, "{").unwrap();
    assert!(run().contains("node.json: not a launch file"));
    let config = json!({
        "format": 1, "id": "n1", "incarnation": 0, "data_dir": dir.path(),
        "client_addr": "127.0.0.1:1", "peer_addr": "127.0.0.1:2", "peers": {},
        "timing": {"election_timeout_ms_min": 300, "election_timeout_ms_max": 600,
                   "heartbeat_ms": 50},
        "seed": 0, "epoch_ns": 0, "bugs": ["vote-thrice"],
    });
    std::fs::write(&path, config.to_string()).unwrap();
    assert!(run().contains("unknown bug \"vote-thrice\"; known bugs: forget-term-and-vote"));
}

#[test]
fn describe_is_one_json_object() {
    let output = Command::new(BINARY).arg("describe").output().unwrap();
    assert!(output.status.success());
    let described: Describe = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((described.family.as_str(), described.bugs.len()), ("raft", 6));
}
