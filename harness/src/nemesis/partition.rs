//! `partition`: links between nodes deliver nothing until the fault is healed.
//!
//! It comes in two ways: messages vanish while connections seem to live, as in a network that
//! loses packets; or connections are reset and new ones refused, as behind a firewall that rejects.
//! Clients keep reaching every node: a node cut off from its peers that still answers clients is
//! what a partition test is after.

use serde_json::json;
use workloads::random::Draw;

use super::targets::{choose, minority, names};
use super::{Deed, FaultKind, Plan, Skip, View};
use crate::net::Effect;

/// Share of two-way partitions that reset connections instead of losing messages.
const CUT_SHARE: f64 = 0.3;

/// The shapes of a partition.
pub const KINDS: &[&FaultKind] = &[
    &FaultKind {
        name: "partition-one",
        group: "partition",
        summary: "cut one random node off from all others",
        breaks: None,
        plan: |view, draw| {
            let nodes = peers(view, 2)?;
            let alone = choose(view, draw, nodes, 1);
            Ok(split(view, draw, &alone))
        },
    },
    &FaultKind {
        name: "partition-leader",
        group: "partition",
        summary: "cut the leader off from all others",
        breaks: None,
        plan: |view, draw| {
            peers(view, 2)?;
            let leader = view.leader.ok_or_else(|| Skip("no leader is known".into()))?;
            Ok(split(view, draw, &[leader]))
        },
    },
    &FaultKind {
        name: "partition-halves",
        group: "partition",
        summary: "split the nodes at random into two parts as even as possible",
        breaks: None,
        plan: |view, draw| {
            let mut nodes = peers(view, 2)?;
            draw.shuffle(&mut nodes);
            nodes.truncate(view.nodes.len() / 2);
            Ok(split(view, draw, &nodes))
        },
    },
    &FaultKind {
        name: "partition-minority",
        group: "partition",
        summary: "split off the largest minority, the leader in it where one is known",
        breaks: None,
        plan: |view, draw| {
            let mut nodes = peers(view, 3)?;
            draw.shuffle(&mut nodes);
            if let Some(at) = nodes.iter().position(|&node| Some(node) == view.leader) {
                nodes.swap(0, at);
            }
            nodes.truncate(minority(view.nodes.len()));
            Ok(split(view, draw, &nodes))
        },
    },
    &FaultKind {
        name: "partition-bridge",
        group: "partition",
        summary: "two parts that cannot reach each other, and one node that reaches both",
        breaks: None,
        plan: bridge,
    },
    &FaultKind {
        name: "partition-one-way",
        group: "partition",
        summary: "one node is no longer heard, or no longer hears, while the other way works",
        breaks: None,
        plan: one_way,
    },
];

/// All nodes, if there are at least `least` and two of them are awake to talk to each other.
fn peers(view: &View<'_>, least: usize) -> Result<Vec<usize>, Skip> {
    if view.nodes.len() < least {
        return Err(Skip(format!("needs at least {least} nodes")));
    }
    if view.nodes.iter().filter(|node| node.up && !node.paused).count() < 2 {
        return Err(Skip("fewer than two nodes are up and awake".into()));
    }
    Ok((0..view.nodes.len()).collect())
}

/// Separates `side` from the rest, both ways.
fn split(view: &View<'_>, draw: &mut Draw, side: &[usize]) -> Plan {
    let mut side = side.to_vec();
    side.sort_unstable();
    let other: Vec<usize> = (0..view.nodes.len()).filter(|node| !side.contains(node)).collect();
    let sides = json!([names(view, &side), names(view, &other)]);
    let way = way(draw);
    Plan {
        targets: names(view, &side),
        params: json!({ "sides": sides, "way": way.name() }),
        deed: sever(view, &both_ways(&side, &other), way),
    }
}

fn bridge(view: &View<'_>, draw: &mut Draw) -> Result<Plan, Skip> {
    let mut nodes = peers(view, 3)?;
    draw.shuffle(&mut nodes);
    // A leader as the bridge reaches everyone as before: in a star nobody else need talk.
    if let Some(at) = nodes.iter().position(|&node| Some(node) != view.leader) {
        nodes.swap(0, at);
    }
    let bridge = nodes.remove(0);
    let mut left = nodes.split_off(nodes.len() / 2);
    nodes.sort_unstable();
    left.sort_unstable();
    let way = way(draw);
    Ok(Plan {
        targets: names(view, &[bridge]),
        params: json!({
            "bridge": view.nodes[bridge].id,
            "sides": [names(view, &nodes), names(view, &left)],
            "way": way.name(),
        }),
        deed: sever(view, &both_ways(&nodes, &left), way),
    })
}

fn one_way(view: &View<'_>, draw: &mut Draw) -> Result<Plan, Skip> {
    let nodes = peers(view, 2)?;
    let deaf = draw.chance(0.5);
    let chosen = choose(view, draw, nodes, 1)[0];
    let links: Vec<(usize, usize)> = (0..view.nodes.len())
        .filter(|&other| other != chosen)
        .map(|other| if deaf { (other, chosen) } else { (chosen, other) })
        .collect();
    Ok(Plan {
        targets: names(view, &[chosen]),
        params: json!({ "blocked": if deaf { "inbound" } else { "outbound" } }),
        // A connection cannot be reset one way.
        deed: sever(view, &links, Effect::Block),
    })
}

fn both_ways(left: &[usize], right: &[usize]) -> Vec<(usize, usize)> {
    left.iter().flat_map(|&a| right.iter().flat_map(move |&b| [(a, b), (b, a)])).collect()
}

fn sever(view: &View<'_>, links: &[(usize, usize)], way: Effect) -> Deed {
    let id = |node: usize| view.nodes[node].id.clone();
    Deed::Links(links.iter().map(|&(from, to)| (id(from), id(to), way)).collect())
}

/// In which way links are severed.
fn way(draw: &mut Draw) -> Effect {
    if draw.chance(CUT_SHARE) { Effect::Cut } else { Effect::Block }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use workloads::random::Stream;

    use super::super::tests::nodes;
    use super::*;

    fn blocked(name: &str, counter: u64) -> (Plan, HashSet<(String, String)>) {
        let nodes = nodes(5);
        let view = View { nodes: &nodes, leader: Some(2) };
        let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
        let plan = (kind.plan)(&view, &mut Stream::new(3, name).at(counter)).unwrap();
        let Deed::Links(links) = plan.deed.clone() else { panic!("{plan:?}") };
        let links = links.iter().map(|(a, b, _)| (a.to_string(), b.to_string())).collect();
        (plan, links)
    }

    #[test]
    fn the_leader_alone_loses_all_its_links() {
        let (_, links) = blocked("partition-leader", 0);
        assert_eq!(links.len(), 8);
        assert!(links.iter().all(|(a, b)| a == "n3" || b == "n3"));
    }

    #[test]
    fn a_minority_holds_the_leader_and_is_one() {
        for counter in 0..20 {
            let (plan, links) = blocked("partition-minority", counter);
            assert_eq!(plan.targets.len(), 2);
            assert!(plan.targets.contains(&"n3".into()));
            assert_eq!(links.len(), 2 * 2 * 3);
        }
    }

    #[test]
    fn a_bridge_reaches_everyone() {
        for counter in 0..20 {
            let (plan, links) = blocked("partition-bridge", counter);
            assert_eq!(links.len(), 2 * 2 * 2);
            let bridge = plan.targets[0].as_str();
            assert!(links.iter().all(|(a, b)| a != bridge && b != bridge));
        }
    }

    #[test]
    fn one_way_leaves_the_other_way() {
        let ways: HashSet<String> = (0..20)
            .map(|counter| {
                let (plan, links) = blocked("partition-one-way", counter);
                assert!(links.iter().all(|(a, b)| !links.contains(&(b.clone(), a.clone()))));
                plan.params["blocked"].to_string()
            })
            .collect();
        assert_eq!(ways.len(), 2);
    }
}
