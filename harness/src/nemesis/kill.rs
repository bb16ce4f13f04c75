//! `kill`: SIGKILL to nodes, and a restart when the fault is healed.

use serde_json::json;
use workloads::random::Draw;

use super::targets::{choose, majority, minority, names};
use super::{Assumption, Deed, FaultKind, Plan, Skip, View};

/// One node, the largest minority, the smallest majority, all.
pub const KINDS: &[&FaultKind] = &[
    &FaultKind {
        name: "kill-one",
        group: "kill",
        summary: "SIGKILL one node, restart it later",
        breaks: Some(Assumption::Durable),
        plan: |view, draw| plan(view, draw, 1),
    },
    &FaultKind {
        name: "kill-minority",
        group: "kill",
        summary: "SIGKILL the largest minority at once, restart them later",
        breaks: Some(Assumption::Durable),
        plan: |view, draw| plan(view, draw, minority(view.nodes.len()).max(1)),
    },
    &FaultKind {
        name: "kill-majority",
        group: "kill",
        summary: "SIGKILL the smallest majority at once, restart them later",
        breaks: Some(Assumption::Durable),
        plan: |view, draw| plan(view, draw, majority(view.nodes.len())),
    },
    &FaultKind {
        name: "kill-all",
        group: "kill",
        summary: "SIGKILL every node at once, restart them later",
        breaks: Some(Assumption::Durable),
        plan: |view, draw| plan(view, draw, view.nodes.len()),
    },
];

fn plan(view: &View<'_>, draw: &mut Draw, count: usize) -> Result<Plan, Skip> {
    let up: Vec<usize> = (0..view.nodes.len()).filter(|&node| view.nodes[node].up).collect();
    if up.is_empty() {
        return Err(Skip("no node is up".into()));
    }
    let chosen = choose(view, draw, up, count);
    Ok(Plan {
        targets: names(view, &chosen),
        params: json!({}),
        deed: Deed::Kill(chosen.iter().map(|&node| view.nodes[node].id.clone()).collect()),
    })
}
