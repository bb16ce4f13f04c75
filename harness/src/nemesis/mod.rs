//! The nemesis: which faults there are, what each would do now, and when each is due.
//!
//! A fault's file says what it would do to the cluster in view, as data ([`Plan`]); the
//! coordinator does it, the same way for all. Faults choose with the draw they are given and
//! nothing else. When faults are due is fixed by the seed alone ([`schedule`]); which nodes they
//! hit may depend on what the cluster does, and is recorded.

mod drop;
mod kill;
mod partition;
mod pause;
pub mod schedule;
mod targets;

use protocol::NodeId;
use serde_json::Value as Json;
use workloads::random::Draw;

use crate::net::Effect;

/// A kind of fault.
#[derive(Debug)]
pub struct FaultKind {
    /// Kebab-case name, as `--faults` and records have it.
    pub name: &'static str,
    /// The group it belongs to, a name that `--faults` takes, too.
    pub group: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What a system must promise for the fault to be fair.
    pub breaks: Option<Assumption>,
    /// What it would do to this cluster, or why it can do nothing now.
    pub plan: fn(&View<'_>, &mut Draw) -> Result<Plan, Skip>,
}

/// A promise of a system's model that a fault relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumption {
    /// State survives a kill (`durable`).
    Durable,
    /// Single messages between peers may be lost (`peer_delivery = "lossy"`).
    LossyPeers,
}

impl Assumption {
    /// The key of the system file's `[model]` that makes the promise.
    pub fn name(self) -> &'static str {
        match self {
            Assumption::Durable => "durable",
            Assumption::LossyPeers => "peer_delivery",
        }
    }
}

/// The cluster as a fault sees it.
pub struct View<'a> {
    /// All nodes, in order.
    pub nodes: &'a [NodeView],
    /// The leader of the highest term that says so of itself, if it is running.
    pub leader: Option<usize>,
}

/// A node as a fault sees it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// It has been started and has not exited.
    pub up: bool,
    /// It is stopped by a signal.
    pub paused: bool,
}

/// What a fault is about to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whom it hits, for the record.
    pub targets: Vec<NodeId>,
    /// Choices it made, for the record.
    pub params: Json,
    /// What to do.
    pub deed: Deed,
}

/// What to do, until the fault is healed.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Kill these nodes; healing restarts them.
    Kill(Vec<NodeId>),
    /// Stop these nodes; healing lets them go on.
    Pause(Vec<NodeId>),
    /// Put these effects on these directed links; healing takes them away.
    Links(Vec<(NodeId, NodeId, Effect)>),
}

/// Why a fault can do nothing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(pub String);

/// Every kind of fault, grouped.
pub fn all() -> Vec<&'static FaultKind> {
    [kill::KINDS, pause::KINDS, partition::KINDS, drop::KINDS].concat().to_vec()
}

/// The kinds that a list of names and groups selects, each once, in catalogue order.
///
/// # Errors
/// A sentence that names what is unknown and what there is.
pub fn select(names: &[String]) -> Result<Vec<&'static FaultKind>, String> {
    let all = all();
    for name in names {
        let known = name == "all"
            || name == "none"
            || all.iter().any(|kind| kind.name == name || kind.group == name);
        if !known {
            let mut known: Vec<&str> = all.iter().flat_map(|k| [k.group, k.name]).collect();
            known.sort_unstable();
            known.dedup();
            return Err(format!(
                "no fault or group called `{name}`: there are all, none, {}",
                known.join(", ")
            ));
        }
    }
    Ok(all
        .into_iter()
        .filter(|kind| names.iter().any(|n| n == "all" || n == kind.name || n == kind.group))
        .collect())
}

#[cfg(test)]
mod tests {
    use workloads::random::Stream;

    use super::*;

    pub(super) fn nodes(n: usize) -> Vec<NodeView> {
        (1..=n)
            .map(|i| NodeView { id: NodeId::new(format!("n{i}")), up: true, paused: false })
            .collect()
    }

    #[test]
    fn names_are_unique_and_no_group_is_called_like_a_fault_of_another() {
        let kinds = all();
        for (i, kind) in kinds.iter().enumerate() {
            for other in &kinds[i + 1..] {
                assert_ne!(kind.name, other.name);
                assert!(kind.name != other.group || kind.group == other.group);
            }
            assert_eq!(results::vacuity::kind_of(kind.name), kind.group);
        }
    }

    #[test]
    fn an_unknown_fault_is_refused_with_what_there_is() {
        let error = select(&["kil".into()]).unwrap_err();
        assert!(error.contains("`kil`") && error.contains("kill-majority"), "{error}");
        assert!(select(&["none".into()]).unwrap().is_empty());
        assert_eq!(select(&["pause".into(), "pause-one".into()]).unwrap().len(), 3);
    }

    #[test]
    fn every_fault_does_something_to_every_cluster_that_is_large_enough() {
        for n in 3..=7 {
            let nodes = nodes(n);
            let view = View { nodes: &nodes, leader: Some(0) };
            for kind in all() {
                for counter in 0..50 {
                    let plan = (kind.plan)(&view, &mut Stream::new(1, kind.name).at(counter))
                        .unwrap_or_else(|skip| panic!("{} of {n}: {}", kind.name, skip.0));
                    assert!(!plan.targets.is_empty(), "{}", kind.name);
                    match plan.deed {
                        Deed::Kill(nodes) | Deed::Pause(nodes) => assert!(!nodes.is_empty()),
                        Deed::Links(links) => {
                            assert!(!links.is_empty());
                            assert!(links.iter().all(|(from, to, _)| from != to));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_cluster_without_running_nodes_or_peers_is_skipped_not_hit() {
        let mut nodes = nodes(1);
        nodes[0].up = false;
        let view = View { nodes: &nodes, leader: None };
        for kind in all() {
            assert!((kind.plan)(&view, &mut Stream::new(1, "x").at(0)).is_err(), "{}", kind.name);
        }
    }
}
