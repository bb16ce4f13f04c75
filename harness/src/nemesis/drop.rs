//! `drop`: each message on a set of links between nodes is lost with a probability.

use serde_json::json;
use workloads::random::Draw;

use super::targets::{choose, names};
use super::{Assumption, Deed, FaultKind, Plan, Skip, View};
use crate::net::Effect;

/// The probabilities that are drawn from, in percent.
const PERCENT: std::ops::Range<u64> = 10..60;

/// All links, those of one node, a random half.
pub const KINDS: &[&FaultKind] = &[
    &FaultKind {
        name: "drop-all",
        group: "drop",
        summary: "lose messages with a probability on all links between nodes",
        breaks: Some(Assumption::LossyPeers),
        plan: |view, draw| {
            let links = links(view)?;
            let everyone: Vec<usize> = (0..view.nodes.len()).collect();
            Ok(plan(view, draw, &everyone, &links))
        },
    },
    &FaultKind {
        name: "drop-node",
        group: "drop",
        summary: "lose messages with a probability on the links of one node",
        breaks: Some(Assumption::LossyPeers),
        plan: |view, draw| {
            let mut links = links(view)?;
            let awake = (0..view.nodes.len()).filter(|&node| is_awake(view, node)).collect();
            let node = choose(view, draw, awake, 1)[0];
            links.retain(|&(a, b)| a == node || b == node);
            Ok(plan(view, draw, &[node], &links))
        },
    },
    &FaultKind {
        name: "drop-half",
        group: "drop",
        summary: "lose messages with a probability on a random half of all directed links",
        breaks: Some(Assumption::LossyPeers),
        plan: |view, draw| {
            let mut links = links(view)?;
            draw.shuffle(&mut links);
            links.truncate(links.len().div_ceil(2));
            links.sort_unstable();
            let everyone: Vec<usize> = (0..view.nodes.len()).collect();
            Ok(plan(view, draw, &everyone, &links))
        },
    },
];

/// All directed links, if two nodes are awake to use one.
fn links(view: &View<'_>) -> Result<Vec<(usize, usize)>, Skip> {
    let n = view.nodes.len();
    if (0..n).filter(|&node| is_awake(view, node)).count() < 2 {
        return Err(Skip("fewer than two nodes are up and awake".into()));
    }
    Ok((0..n).flat_map(|a| (0..n).filter(move |&b| a != b).map(move |b| (a, b))).collect())
}

fn is_awake(view: &View<'_>, node: usize) -> bool {
    view.nodes[node].up && !view.nodes[node].paused
}

fn plan(view: &View<'_>, draw: &mut Draw, targets: &[usize], links: &[(usize, usize)]) -> Plan {
    let probability = draw.range(PERCENT) as f64 / 100.0;
    let id = |node: usize| view.nodes[node].id.clone();
    Plan {
        targets: names(view, targets),
        params: json!({
            "probability": probability,
            "links": links.iter().map(|&(a, b)| format!("{}->{}", id(a), id(b))).collect::<Vec<_>>(),
        }),
        deed: Deed::Links(
            links.iter().map(|&(a, b)| (id(a), id(b), Effect::Drop { probability })).collect(),
        ),
    }
}
