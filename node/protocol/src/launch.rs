//! The file a node is launched with: `node.json` in TCP mode.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// Version of the `node.json` format.
pub const LAUNCH_FORMAT: u32 = 1;

/// Everything a node needs to know at start. Addresses are `ip:port` text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// [`LAUNCH_FORMAT`].
    pub format: u32,
    /// This node.
    pub id: NodeId,
    /// 0 at the first start of this node in a run, one more at each restart.
    pub incarnation: u32,
    /// Exists and is the node's own; survives restarts.
    pub data_dir: PathBuf,
    /// Where to listen for clients and the harness.
    pub client_addr: String,
    /// Where to listen for peers.
    pub peer_addr: String,
    /// For every other node the address to dial (a proxy's, not the peer's own).
    pub peers: BTreeMap<NodeId, String>,
    /// Where to write this incarnation's trace; `None`: do not trace.
    #[serde(default)]
    pub trace: Option<PathBuf>,
    /// Raft's timing.
    pub timing: Timing,
    /// Seed for the node's randomness; mix in `id` and `incarnation`.
    pub seed: u64,
    /// Wall-clock nanoseconds since the Unix epoch at which the run's `t_ns` is zero.
    pub epoch_ns: u64,
    /// Seeded bugs to switch on, by the names that `describe` lists.
    #[serde(default)]
    pub bugs: Vec<String>,
}

/// Raft's timing, in milliseconds. A node draws each election timeout from the half-open range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Shortest election timeout.
    pub election_timeout_ms_min: u64,
    /// End (exclusive) of the range of election timeouts.
    pub election_timeout_ms_max: u64,
    /// Interval between a leader's heartbeats.
    pub heartbeat_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { election_timeout_ms_min: 300, election_timeout_ms_max: 600, heartbeat_ms: 50 }
    }
}
