//! What a node's `describe` command prints: one JSON object about the system.

use serde::{Deserialize, Serialize};

/// A system's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Describe {
    /// The system's own version.
    pub version: String,
    /// The [`crate::PROTOCOL_VERSION`] it speaks.
    pub protocol: u32,
    /// The protocol family, `raft`; it decides which trace events and invariants apply.
    pub family: String,
    /// Transports it can be run with: `tcp`, `stdio`, `lockstep`.
    pub modes: Vec<String>,
    /// Optional parts of the contract that it offers.
    #[serde(default)]
    pub features: Vec<String>,
    /// Seeded bugs that can be switched on.
    #[serde(default)]
    pub bugs: Vec<Bug>,
}

/// A seeded bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bug {
    /// Kebab-case name, as `--bug` takes it.
    pub name: String,
    /// What is wrong, in a sentence.
    pub summary: String,
    /// The check that it breaks, such as `election-safety`.
    pub property: String,
    /// Fault groups that provoke it, such as `kill`.
    #[serde(default)]
    pub faults: Vec<String>,
}
