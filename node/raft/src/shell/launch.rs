//! Reads and checks `node.json`.

use std::path::Path;
use std::time::Duration;

use protocol::launch::{LAUNCH_FORMAT, NodeConfig};

use crate::bugs::{Bugs, UnknownBug};
use crate::core::Timing;

/// A `node.json` that makes sense.
#[derive(Clone, Debug)]
pub struct NodeLaunch {
    /// The file's content.
    pub config: NodeConfig,
    /// Its timing.
    pub timing: Timing,
    /// Its bugs.
    pub bugs: Bugs,
}

/// Why a `node.json` cannot be used. A mistake of whoever wrote it.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// It is not JSON, or a field is missing or of the wrong type.
    #[error("not a launch file: {0}")]
    Parse(#[from] serde_json::Error),
    /// A bug that does not exist.
    #[error(transparent)]
    Bug(#[from] UnknownBug),
    /// Its values do not go together.
    #[error("{0}")]
    Value(String),
}

impl NodeLaunch {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it; the caller knows its path.
    pub fn read(path: &Path) -> Result<NodeLaunch, LaunchError> {
        NodeLaunch::parse(&std::fs::read(path)?)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<NodeLaunch, LaunchError> {
        let config: NodeConfig = serde_json::from_slice(json)?;
        let bugs = Bugs::from_names(&config.bugs)?;
        let wrong = |text: String| Err(LaunchError::Value(text));
        if config.format != LAUNCH_FORMAT {
            return wrong(format!("format is {}; this node reads {LAUNCH_FORMAT}", config.format));
        }
        if config.peers.contains_key(&config.id) {
            return wrong(format!("peers names {} itself; it must name the others", config.id));
        }
        let times = config.timing;
        if times.heartbeat_ms == 0
            || times.heartbeat_ms >= times.election_timeout_ms_min
            || times.election_timeout_ms_min >= times.election_timeout_ms_max
        {
            return wrong(format!(
                "timing must have 0 < heartbeat_ms < election_timeout_ms_min < \
                 election_timeout_ms_max, not {}, {}, {}",
                times.heartbeat_ms, times.election_timeout_ms_min, times.election_timeout_ms_max
            ));
        }
        let timing = Timing {
            election_timeout_min: Duration::from_millis(times.election_timeout_ms_min),
            election_timeout_max: Duration::from_millis(times.election_timeout_ms_max),
            heartbeat: Duration::from_millis(times.heartbeat_ms),
        };
        Ok(NodeLaunch { config, timing, bugs })
    }

    /// The core's seed: the run's, mixed with the node and its incarnation.
    pub fn core_seed(&self) -> u64 {
        let config = &self.config;
        let id = config.id.as_str().bytes().fold(config.seed, |seed, byte| mix(seed, byte.into()));
        mix(id, u64::from(config.incarnation))
    }
}

/// The mixer of splitmix64 (Steele, Lea & Flood 2014) over a running seed.
fn mix(seed: u64, value: u64) -> u64 {
    let mut hash = seed.wrapping_add(value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn launch(change: impl FnOnce(&mut Json)) -> Result<NodeLaunch, LaunchError> {
        let mut config = json!({
            "format": 1, "id": "n1", "incarnation": 0, "data_dir": "/tmp/n1",
            "client_addr": "127.0.0.1:7001", "peer_addr": "127.0.0.1:7002",
            "peers": {"n2": "127.0.0.1:7003"}, "trace": null,
            "timing": {"election_timeout_ms_min": 300, "election_timeout_ms_max": 600,
                       "heartbeat_ms": 50},
            "seed": 1, "epoch_ns": 0, "bugs": [],
        });
        change(&mut config);
        NodeLaunch::parse(config.to_string().as_bytes())
    }

    #[test]
    fn seeds_differ_between_nodes_and_incarnations() {
        let seed = |id: &str, incarnation: u32| {
            launch(|config| {
                config["id"] = id.into();
                config["incarnation"] = incarnation.into();
            })
            .unwrap()
            .core_seed()
        };
        assert_eq!(seed("n1", 0), seed("n1", 0));
        assert_ne!(seed("n1", 0), seed("n1", 1));
        assert_ne!(seed("n1", 0), seed("n3", 0));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |change: fn(&mut Json)| launch(change).unwrap_err().to_string();
        assert!(wrong(|c| c["format"] = 9.into()).contains("format is 9"));
        assert!(wrong(|c| c["peers"]["n1"] = "127.0.0.1:1".into()).contains("n1 itself"));
        assert!(wrong(|c| c["timing"]["heartbeat_ms"] = 400.into()).contains("400, 300, 600"));
        assert!(wrong(|c| c["bugs"] = json!(["nope"])).contains("known bugs: forget-term"));
        assert!(wrong(|c| c["id"] = 7.into()).contains("expected a string"));
    }
}
