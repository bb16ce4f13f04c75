//! What several unit tests need.

use results::manifest::{Formats, Manifest, RUN_FORMAT, WorkloadModel};
use results::scenario::Scenario;
use serde_json::json;

/// The manifest of a completed run with the default scenario, in which nothing happened.
pub(crate) fn manifest() -> Manifest {
    let json = json!({
        "format": RUN_FORMAT,
        "id": "test",
        "formats": Formats::default(),
        "started_at_unix_ns": 0,
        "outcome": { "state": "completed" },
        "seed": 1,
        "scenario": Scenario::default().resolve().unwrap(),
        "model": WorkloadModel { name: "cas-register".into(), init: None },
        "system_model": {
            "family": "raft",
            "durable": true,
            "retry_safe": false,
            "peer_delivery": "lossy",
        },
        "traces": true,
        "nodes": ["n1", "n2", "n3"],
    });
    serde_json::from_value(json).unwrap()
}
