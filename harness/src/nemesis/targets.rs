//! Choosing whom to hit.

use protocol::NodeId;
use workloads::random::Draw;

use super::View;

/// How often a choice of nodes is made to include the leader where one is known: what happens to
/// a leader shows more than what happens to a follower.
const LEADER_BIAS: f64 = 0.5;

/// `count` nodes out of `candidates` (all of them if there are fewer), in ascending order.
pub fn choose(
    view: &View<'_>,
    draw: &mut Draw,
    mut candidates: Vec<usize>,
    count: usize,
) -> Vec<usize> {
    draw.shuffle(&mut candidates);
    let wants_leader = draw.chance(LEADER_BIAS);
    if let Some(leader) = view.leader.filter(|_| wants_leader)
        && let Some(at) = candidates.iter().position(|&node| node == leader)
    {
        candidates.swap(0, at);
    }
    candidates.truncate(count);
    candidates.sort_unstable();
    candidates
}

/// The names of these nodes.
pub fn names(view: &View<'_>, nodes: &[usize]) -> Vec<NodeId> {
    nodes.iter().map(|&node| view.nodes[node].id.clone()).collect()
}

/// The largest number of nodes that is not a majority.
pub fn minority(n: usize) -> usize {
    n.saturating_sub(1) / 2
}

/// The smallest majority.
pub fn majority(n: usize) -> usize {
    n / 2 + 1
}
