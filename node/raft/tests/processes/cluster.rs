//! Real nodes on loopback, started and killed by a test, and a client that speaks to them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use protocol::NodeId;
use protocol::launch::{LAUNCH_FORMAT, NodeConfig, Timing};
use serde_json::{Value as Json, json};

/// How long a condition may take before the test fails: far longer than on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

pub const BINARY: &str = env!("CARGO_BIN_EXE_whitewater-raft");

/// Asks again until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        thread::sleep(POLL);
    }
}

/// A cluster in a temporary directory; its processes end with it.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    configs: BTreeMap<NodeId, NodeConfig>,
    running: BTreeMap<NodeId, Child>,
}

impl Cluster {
    /// Starts this many nodes.
    pub fn start(nodes: usize) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        // A network of its own on loopback, so that tests of other processes do not meet it; the
        // listeners are held until all addresses are drawn, so that they differ.
        let network = format!("127.{}.{}", 16 + pid % 200, pid / 200 % 250);
        let mut held = Vec::new();
        let mut address = |nth: usize| {
            let listener = TcpListener::bind(format!("{network}.{nth}:0")).unwrap();
            let address = listener.local_addr().unwrap().to_string();
            held.push(listener);
            address
        };
        let drawn: Vec<(NodeId, String, String)> = (1..=nodes)
            .map(|nth| (NodeId::new(format!("n{nth}")), address(nth), address(nth)))
            .collect();
        let mut configs = BTreeMap::new();
        for (id, client_addr, peer_addr) in &drawn {
            let peers = drawn.iter().filter(|(other, _, _)| other != id);
            let data_dir = dir.path().join(id.as_str());
            std::fs::create_dir(&data_dir).unwrap();
            let config = NodeConfig {
                format: LAUNCH_FORMAT,
                id: id.clone(),
                incarnation: 0,
                data_dir,
                client_addr: client_addr.clone(),
                peer_addr: peer_addr.clone(),
                peers: peers.map(|(other, _, address)| (other.clone(), address.clone())).collect(),
                trace: None,
                timing: Timing::default(),
                seed: 1,
                epoch_ns: 0,
                bugs: Vec::new(),
            };
            configs.insert(id.clone(), config);
        }
        drop(held);
        let mut cluster = Cluster { dir, configs, running: BTreeMap::new() };
        for id in cluster.ids() {
            cluster.launch(&id);
        }
        cluster
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.configs.keys().cloned().collect()
    }

    pub fn data_dir(&self, node: &NodeId) -> PathBuf {
        self.configs[node].data_dir.clone()
    }

    pub fn trace_path(&self, node: &NodeId, incarnation: u32) -> PathBuf {
        self.dir.path().join(format!("{node}.trace.{incarnation}.jsonl"))
    }

    /// How often a node was started.
    pub fn incarnations(&self, node: &NodeId) -> u32 {
        self.configs[node].incarnation
    }

    /// Starts a node that does not run.
    pub fn launch(&mut self, node: &NodeId) {
        let trace = self.trace_path(node, self.configs[node].incarnation);
        let config = self.configs.get_mut(node).unwrap();
        config.trace = Some(trace);
        let path = self.dir.path().join(format!("{node}.json"));
        std::fs::write(&path, serde_json::to_vec(config).unwrap()).unwrap();
        config.incarnation += 1;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{node}.log")))
            .unwrap();
        let child = Command::new(BINARY)
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.insert(node.clone(), child);
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, node: &NodeId) {
        let mut child = self.running.remove(node).expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks a node to stop, and waits for its end.
    pub fn terminate(&mut self, node: &NodeId) -> ExitStatus {
        let mut child = self.running.remove(node).expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        wait_for("the node to stop", || child.try_wait().unwrap())
    }

    /// Waits for the end of a node that cannot start; returns its status and its log.
    pub fn wait_for_exit(&mut self, node: &NodeId) -> (ExitStatus, String) {
        let mut child = self.running.remove(node).expect("it runs");
        let status = wait_for("the node to exit", || child.try_wait().unwrap());
        let log = std::fs::read_to_string(self.dir.path().join(format!("{node}.log"))).unwrap();
        (status, log)
    }

    /// A connection to a node, if it listens.
    pub fn client(&self, node: &NodeId) -> Option<Client> {
        let stream = TcpStream::connect(&self.configs[node].client_addr).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Some(Client { node: node.clone(), stream, reader, msg_id: 0 })
    }

    /// Waits until a node leads; returns a connection to it.
    pub fn leader(&self) -> Client {
        wait_for("a leader", || {
            self.running.keys().find_map(|node| {
                let mut client = self.client(node)?;
                let status = client.ask(json!({"type": "status"}))?;
                (status["role"] == "leader").then_some(client)
            })
        })
    }

    /// Asks the leader, whoever it is, until the answer is no error 11. Only for requests that
    /// may be carried out twice.
    pub fn ask(&self, body: &Json) -> Json {
        wait_for("an answer", || {
            let answer = self.leader().ask(body.clone())?;
            (answer["code"] != 11).then_some(answer)
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            for id in self.configs.keys() {
                let log = std::fs::read_to_string(self.dir.path().join(format!("{id}.log")));
                eprintln!("--- {id}\n{}", log.unwrap_or_default());
            }
        }
    }
}

/// A connection to one node.
pub struct Client {
    pub node: NodeId,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    msg_id: u64,
}

impl Client {
    /// Asks and waits for the answer's body; `None` if the connection breaks.
    pub fn ask(&mut self, mut body: Json) -> Option<Json> {
        self.msg_id += 1;
        body["msg_id"] = self.msg_id.into();
        let line = json!({"src": "c1", "dest": self.node, "body": body}).to_string();
        let answer = self.ask_line(&line)?;
        assert_eq!(answer["in_reply_to"], self.msg_id, "{answer}");
        Some(answer)
    }

    /// Sends a line as it is and waits for the next answer's body.
    pub fn ask_line(&mut self, line: &str) -> Option<Json> {
        self.stream.write_all(format!("{line}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        if self.reader.read_line(&mut answer).ok()? == 0 {
            return None;
        }
        let answer: Json = serde_json::from_str(&answer).ok()?;
        assert_eq!(answer["src"], self.node.as_str());
        Some(answer["body"].clone())
    }
}
