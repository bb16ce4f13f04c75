//! `pause`: SIGSTOP to nodes, SIGCONT when the fault is healed.
//!
//! A paused node keeps its connections and its belief that it leads, which is what makes it
//! dangerous when it wakes.

use serde_json::json;
use workloads::random::Draw;

use super::targets::{choose, majority, minority, names};
use super::{Deed, FaultKind, Plan, Skip, View};

/// One node, the largest minority, the smallest majority.
pub const KINDS: &[&FaultKind] = &[
    &FaultKind {
        name: "pause-one",
        group: "pause",
        summary: "SIGSTOP one node, SIGCONT it later",
        breaks: None,
        plan: |view, draw| plan(view, draw, 1),
    },
    &FaultKind {
        name: "pause-minority",
        group: "pause",
        summary: "SIGSTOP the largest minority, SIGCONT them later",
        breaks: None,
        plan: |view, draw| plan(view, draw, minority(view.nodes.len()).max(1)),
    },
    &FaultKind {
        name: "pause-majority",
        group: "pause",
        summary: "SIGSTOP the smallest majority, SIGCONT them later",
        breaks: None,
        plan: |view, draw| plan(view, draw, majority(view.nodes.len())),
    },
];

fn plan(view: &View<'_>, draw: &mut Draw, count: usize) -> Result<Plan, Skip> {
    let awake: Vec<usize> = (0..view.nodes.len())
        .filter(|&node| view.nodes[node].up && !view.nodes[node].paused)
        .collect();
    if awake.is_empty() {
        return Err(Skip("no node is up and awake".into()));
    }
    let chosen = choose(view, draw, awake, count);
    Ok(Plan {
        targets: names(view, &chosen),
        params: json!({}),
        deed: Deed::Pause(chosen.iter().map(|&node| view.nodes[node].id.clone()).collect()),
    })
}
