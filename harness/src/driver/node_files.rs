//! What a node is given on disk, and what it leaves there.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use protocol::NodeId;
use protocol::launch::{LAUNCH_FORMAT, NodeConfig, Timing};
use results::RunDir;

use super::limits;
use crate::guardian::StartNode;
use crate::net::Addresses;
use crate::system::{Places, System, SystemError};

/// What is the same for all nodes of a run.
pub struct Launcher {
    /// Where the run is recorded.
    pub run_dir: RunDir,
    /// The system under test.
    pub system: System,
    /// Placeholders that hold for all nodes.
    pub places: Places,
    /// Nodes' timing.
    pub timing: Timing,
    /// The run's seed.
    pub seed: u64,
    /// Unix time in ns at which the run's time is zero.
    pub epoch_ns: u64,
    /// Seeded bugs.
    pub bugs: Vec<String>,
    /// Whether nodes trace.
    pub trace: bool,
}

/// A node cannot be prepared; always the harness's own failure or a bad system file.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The system file's command.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The run directory.
    #[error(transparent)]
    Results(#[from] results::Error),
}

impl Launcher {
    /// Writes `node.json` for an incarnation and says how to start it.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(
        &self,
        node: &NodeId,
        incarnation: u32,
        addresses: &Addresses,
    ) -> Result<StartNode, PrepareError> {
        let own = addresses.node(node).expect("every node of the run has addresses");
        let trace = self.trace.then(|| self.run_dir.node_trace(node, incarnation));
        let data_dir = self.run_dir.node_data(node);
        let config = NodeConfig {
            format: LAUNCH_FORMAT,
            id: node.clone(),
            incarnation,
            data_dir: data_dir.clone(),
            client_addr: own.client.to_string(),
            peer_addr: own.peer.to_string(),
            peers: addresses
                .peers(node)
                .into_iter()
                .map(|(peer, address)| (peer, address.to_string()))
                .collect(),
            trace,
            timing: self.timing,
            seed: self.seed,
            epoch_ns: self.epoch_ns,
            bugs: self.bugs.clone(),
        };
        let path = self.run_dir.node_config(node);
        let text = serde_json::to_vec_pretty(&config).expect("a node's configuration is JSON");
        results::write_atomically(&path, &text)?;
        let argv = self.node_places(&config, &path).fill_all(&self.system.command)?;
        Ok(StartNode {
            node: node.clone(),
            incarnation,
            program: argv[0].clone().into(),
            args: argv[1..].to_vec(),
            env: self.environment(),
            cwd: self.run_dir.node_dir(node),
            log_path: self.run_dir.node_log(node),
        })
    }

    fn node_places(&self, config: &NodeConfig, path: &Path) -> Places {
        let mut places = self.places.clone();
        places.set("config", path.display().to_string());
        places.set("id", config.id.as_str());
        places.set("data_dir", config.data_dir.display().to_string());
        places.set("node_dir", self.run_dir.node_dir(&config.id).display().to_string());
        places.set("client_addr", config.client_addr.as_str());
        places.set("peer_addr", config.peer_addr.as_str());
        places
    }

    fn environment(&self) -> BTreeMap<String, String> {
        self.system.env.clone()
    }
}

/// The last lines of a log; empty if it cannot be read.
pub fn log_tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limits::LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(limits::LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(limits::LOG_TAIL_LINES);
    lines[from..].iter().map(|line| (*line).to_owned()).collect()
}

/// Why a node that exits under this directory may not be to blame; `None`: nothing known.
pub fn disk_excuse(path: &Path) -> Option<String> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    (free < limits::DISK_FREE_BYTES_MIN)
        .then(|| format!("the disk under {} is full ({free} bytes are free)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(log_tail(&path).is_empty());
        let text: String = (0..5_000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let tail = log_tail(&path);
        assert_eq!(tail.len(), limits::LOG_TAIL_LINES);
        assert_eq!(tail.last().unwrap(), "line 4999");
    }
}
