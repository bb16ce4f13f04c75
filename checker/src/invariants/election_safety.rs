//! Election Safety: at most one node leads a term.
//!
//! Source: "In Search of an Understandable Raft Consensus Algorithm" (extended version, 2014), Figure 3
//! and section 5.2; its ground is that a node votes for at most one candidate in a term, over all
//! its incarnations, which is checked as well (`RequestVote` rule 2 of Figure 2, with `votedFor` on
//! stable storage).
//!
//! False alarms: pre-votes bind nobody and are left out; a node that leads its term again after a
//! restart is the same node; votes are compared per voter and term, never by time. What a leader
//! says of who granted it is shown but not taken for a vote: only the voter's own event is one.

use std::collections::BTreeMap;

use protocol::NodeId;
use protocol::trace::{TraceEvent, TraceKind};

use super::REMEMBERED_MAX;
use super::finding::{Gaps, Outcome, Witness, list};
use super::stream::NodeIndex;

/// Where an event stands in its node's stream.
type Place = (u32, u64);

/// Most leaders or candidates of one term that are remembered; two make a violation.
const RIVALS_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    /// By term, the nodes that lead it: where they first say so, and who granted it.
    leaders: BTreeMap<u64, BTreeMap<NodeIndex, (Place, Vec<NodeId>)>>,
    /// By term and voter, the candidates it granted its vote: where it first did.
    votes: BTreeMap<(u64, NodeIndex), BTreeMap<NodeId, Place>>,
    is_full: bool,
}

impl ElectionSafety {
    pub fn push(&mut self, node: NodeIndex, event: &TraceEvent) {
        let head = &event.head;
        let place = (head.inc, head.seq);
        let is_full = self.leaders.len() + self.votes.len() >= REMEMBERED_MAX;
        match &event.kind {
            TraceKind::Leader(leader) => {
                if is_full && !self.leaders.contains_key(&head.term) {
                    self.is_full = true;
                    return;
                }
                let rivals = self.leaders.entry(head.term).or_default();
                let granted_by = leader.granted_by.iter().take(super::NODES_MAX).cloned();
                rivals.entry(node).or_insert_with(|| (place, granted_by.collect()));
            }
            TraceKind::Vote(vote) if vote.granted && !vote.pre => {
                let key = (head.term, node);
                if is_full && !self.votes.contains_key(&key) {
                    self.is_full = true;
                    return;
                }
                let candidates = self.votes.entry(key).or_default();
                if candidates.len() < RIVALS_MAX {
                    candidates.entry(vote.cand.clone()).or_insert(place);
                }
            }
            _ => {}
        }
    }

    pub fn finish(&self, names: &[NodeId], gaps: &Gaps) -> Outcome {
        // Of several violations the one of the lowest term is shown, since others may follow
        // from it; of those, two leaders before two votes.
        let rivals = self.leaders.iter().find(|(_, rivals)| rivals.len() > 1);
        let double = self.votes.iter().find(|(_, candidates)| candidates.len() > 1);
        match (rivals, double) {
            (Some((&term, _)), None) => self.two_leaders(term, names),
            (Some((&term, _)), Some((&(vote_term, _), _))) if term <= vote_term => {
                self.two_leaders(term, names)
            }
            (_, Some((&(term, _), _))) => self.two_votes(term, names),
            (None, None) => {
                let mut gaps = gaps.clone();
                if self.leaders.is_empty() {
                    gaps.add("no `leader` event was traced".to_string());
                }
                if self.votes.is_empty() && names.len() > 1 {
                    gaps.add(
                        "no granted `vote` was traced, so double votes cannot be told".to_string(),
                    );
                }
                if self.is_full {
                    gaps.add(format!("more than {REMEMBERED_MAX} terms and votes to remember"));
                }
                gaps.into_outcome()
            }
        }
    }

    fn two_leaders(&self, term: u64, names: &[NodeId]) -> Outcome {
        let rivals = &self.leaders[&term];
        let leader = |(&node, (place, granted_by)): (&NodeIndex, &(Place, Vec<NodeId>))| Witness {
            node: names[node].clone(),
            incarnation: place.0,
            seq: place.1,
            term,
            what: format!("leads term {term}, granted by {}", list(granted_by)),
        };
        let mut events: Vec<Witness> = rivals.iter().map(leader).collect();
        events.sort();
        let why = format!(
            "term {term} is led by {}, but a term has at most one leader",
            list(events.iter().map(|event| &event.node))
        );
        let votes = self.votes.range((term, 0)..=(term, NodeIndex::MAX));
        let mut votes: Vec<Witness> = votes
            .flat_map(|(&(_, voter), candidates)| granted(&names[voter], term, candidates))
            .collect();
        votes.sort();
        events.extend(votes);
        Outcome::Violation { why, events }
    }

    fn two_votes(&self, term: u64, names: &[NodeId]) -> Outcome {
        let voters = self.votes.range((term, 0)..=(term, NodeIndex::MAX));
        let doubles = voters.filter(|(_, candidates)| candidates.len() > 1);
        let doubles = doubles.map(|(&(_, voter), candidates)| (&names[voter], candidates));
        let (name, candidates) =
            doubles.min_by_key(|&(name, _)| name).expect("the caller found such a voter");
        let why = format!(
            "{name} granted its vote of term {term} to {}, but a node has one vote a term",
            list(candidates.keys())
        );
        Outcome::Violation { why, events: granted(name, term, candidates).collect() }
    }
}

fn granted<'a>(
    voter: &'a NodeId,
    term: u64,
    candidates: &'a BTreeMap<NodeId, Place>,
) -> impl Iterator<Item = Witness> + 'a {
    candidates.iter().map(move |(candidate, place)| Witness {
        node: voter.clone(),
        incarnation: place.0,
        seq: place.1,
        term,
        what: format!("grants its vote of term {term} to {candidate}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Nodes, outcome};
    use super::super::{Invariant::ElectionSafety, Outcome};

    fn judge(nodes: &Nodes) -> Outcome {
        outcome(nodes, ElectionSafety)
    }

    /// n1 leads term 1 and n2 leads term 2.
    fn silent() -> Nodes {
        let mut nodes = Nodes::new(3);
        nodes.start_all();
        nodes.vote(1, 1, 1, true).vote(3, 1, 1, true).leader(1, 1);
        nodes.vote(2, 2, 2, true).vote(3, 2, 2, true).leader(2, 2);
        nodes
    }

    #[test]
    fn one_leader_a_term_is_valid() {
        assert_eq!(judge(&silent()), Outcome::Valid);
    }

    #[test]
    fn two_leaders_of_a_term_are_named_with_their_voters() {
        let mut nodes = Nodes::new(3);
        nodes.start_all();
        nodes.vote(1, 1, 1, true).vote(3, 1, 1, true).leader(1, 1);
        nodes.restart(3).vote(3, 1, 2, true).leader(2, 1);
        let Outcome::Violation { why, events } = judge(&nodes) else { panic!() };
        assert_eq!(why, "term 1 is led by n1 and n2, but a term has at most one leader");
        assert_eq!(events.len(), 5, "two leaders and three votes: {events:?}");
        assert!(events[0].what.contains("granted by"), "{events:?}");
    }

    #[test]
    fn two_votes_in_a_term_are_a_violation_over_incarnations() {
        let mut nodes = silent();
        nodes.restart(3).vote(3, 2, 1, true);
        let Outcome::Violation { why, events } = judge(&nodes) else { panic!() };
        assert!(why.contains("n3 granted its vote of term 2 to n1 and n2"), "{why}");
        assert_eq!(events.iter().map(|event| event.incarnation).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn near_misses_are_silent() {
        let mut nodes = silent();
        // The same vote again, a refusal, a pre-vote, another term, the same leader again.
        nodes.restart(3).vote(3, 2, 2, true).vote(3, 2, 1, false).pre_vote(3, 2, 1);
        nodes.vote(3, 3, 1, true).restart(2).leader(2, 2);
        assert_eq!(judge(&nodes), Outcome::Valid);
    }

    #[test]
    fn leaders_without_any_vote_leave_double_votes_unknown() {
        let mut nodes = Nodes::new(3);
        nodes.start_all();
        nodes.leader(1, 1).leader(2, 2);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
        nodes.leader(3, 2);
        assert!(matches!(judge(&nodes), Outcome::Violation { .. }));
    }

    #[test]
    fn a_gap_hides_votes_but_not_a_proven_violation() {
        let mut nodes = silent();
        nodes.skip_seq(3);
        nodes.vote(3, 3, 1, true);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
        nodes.leader(1, 2);
        assert!(matches!(judge(&nodes), Outcome::Violation { .. }));
    }
}
