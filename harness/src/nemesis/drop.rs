//! `drop`: each message on a set of links between nodes is lost with a probability.

use protocol::NodeId;
use serde_json::json;
use workloads::random::Draw;

use super::targets::names;
use super::{Assumption, Deed, FaultKind, Plan, Skip, View};
use crate::net::Effect;

/// The probabilities that are drawn from, in percent.
const PERCENT: std::ops::Range<u64> = 5..60;

/// Which links lose messages differs from time to time.
pub const KINDS: &[&FaultKind] = &[&FaultKind {
    name: "drop",
    group: "drop",
    summary: "lose messages with a probability, on all links, on one node's, or on a random half",
    breaks: Some(Assumption::LossyPeers),
    plan,
}];

fn plan(view: &View<'_>, draw: &mut Draw) -> Result<Plan, Skip> {
    let n = view.nodes.len();
    if n < 2 || view.nodes.iter().filter(|node| node.up && !node.paused).count() < 2 {
        return Err(Skip("fewer than two nodes are up and awake".into()));
    }
    let percent = draw.range(PERCENT);
    let mut links: Vec<(usize, usize)> =
        (0..n).flat_map(|a| (0..n).filter(move |&b| a != b).map(move |b| (a, b))).collect();
    let (scope, targets) = match draw.below(3) {
        0 => ("all", (0..n).collect::<Vec<_>>()),
        1 => {
            let node = draw.below(n as u64) as usize;
            links.retain(|&(a, b)| a == node || b == node);
            ("node", vec![node])
        }
        _ => {
            draw.shuffle(&mut links);
            links.truncate(n * (n - 1) / 2);
            links.sort_unstable();
            ("half", (0..n).collect())
        }
    };
    let id = |node: usize| -> NodeId { view.nodes[node].id.clone() };
    let probability = percent as f64 / 100.0;
    Ok(Plan {
        targets: names(view, &targets),
        params: json!({
            "scope": scope,
            "probability": probability,
            "links": links.iter().map(|&(a, b)| format!("{}->{}", id(a), id(b))).collect::<Vec<_>>(),
        }),
        deed: Deed::Links(
            links.iter().map(|&(a, b)| (id(a), id(b), Effect::Drop { probability })).collect(),
        ),
    })
}
