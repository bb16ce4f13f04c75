//! Leader election (section 5.2) and the election restriction (section 5.4.1).
//!
//! Left out: pre-votes, and a leader that steps down because it hears no quorum. Neither is in
//! Figure 2, and neither is needed for safety.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::NodeId;
use protocol::trace::{Leader, Step, Vote};

use crate::bugs::Bug;

use super::command::{Entry, Payload};
use super::durability::Action;
use super::message::{Answer, Effect, MessageBody};
use super::replication::Leadership;
use super::types::{Index, Term};
use super::{Raft, Role};

impl Raft {
    /// Sets the election timer to a random time ahead (section 5.2: "randomized election
    /// timeouts").
    pub(super) fn reset_election_timer(&mut self) {
        let (min, max) = (self.timing.election_timeout_min, self.timing.election_timeout_max);
        let span = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the 128-bit product maps 64 random bits to 0..span.
        let ahead = (u128::from(self.random_bits()) * u128::from(span)) >> 64;
        self.election_due = self.now + min + Duration::from_nanos(ahead as u64);
    }

    /// Figure 2, candidates: "increment currentTerm, vote for self, reset election timer, send
    /// RequestVote RPCs to all other servers". The last waits until the vote is durable.
    pub(super) fn start_election(&mut self) {
        self.term = self.term.next();
        self.vote = Some(self.id.clone());
        self.leader = None;
        self.role = Role::Candidate { votes: BTreeSet::new() };
        self.hard_state_changed();
        self.reset_election_timer();
        self.trace_step("election timeout");
        let ticket = self.persist_hard_state();
        self.after(ticket, Action::Campaign);
    }

    /// The vote for oneself is durable: it counts, and the others are asked.
    pub(super) fn campaign(&mut self) {
        let (last_index, last_term) = (self.log.last_index(), self.log.last_term());
        self.trace(Vote {
            cand: self.id.clone(),
            granted: true,
            pre: false,
            cand_last_term: last_term.0,
            cand_last_idx: last_index.0,
        });
        if !matches!(self.role, Role::Candidate { .. }) {
            // Another candidate won this term while the vote was being written.
            return;
        }
        for to in self.others() {
            self.send(to, MessageBody::RequestVote { last_index, last_term });
        }
        self.count_vote(self.id.clone());
    }

    /// Figure 2, RequestVote RPC, receiver implementation. The request's term is not above ours:
    /// the caller has seen to that.
    pub(super) fn on_request_vote(
        &mut self,
        candidate: NodeId,
        term: Term,
        last_index: Index,
        last_term: Term,
    ) {
        let free = self.vote.as_ref().is_none_or(|vote| *vote == candidate);
        let follows = matches!(self.role, Role::Follower);
        let granted =
            term == self.term && free && follows && self.is_up_to_date(last_index, last_term);
        if granted {
            self.reset_election_timer();
            if self.vote.is_none() {
                self.vote = Some(candidate.clone());
                self.hard_state_changed();
            }
        }
        let ticket = self.persist_hard_state();
        self.trace_after(
            ticket,
            Vote {
                cand: candidate.clone(),
                granted,
                pre: false,
                cand_last_term: last_term.0,
                cand_last_idx: last_index.0,
            },
        );
        self.send(candidate, MessageBody::Vote { granted });
    }

    /// Section 5.4.1: whether a candidate's log is at least as up-to-date as ours. The later last
    /// term wins; with equal terms, the longer log.
    fn is_up_to_date(&self, last_index: Index, last_term: Term) -> bool {
        if self.bugs.has(Bug::VoteWithoutLogCheck) {
            return true;
        }
        (last_term, last_index) >= (self.log.last_term(), self.log.last_index())
    }

    /// The answer to our RequestVote, of our term.
    pub(super) fn on_vote(&mut self, from: NodeId, granted: bool) {
        if granted {
            self.count_vote(from);
        }
    }

    fn count_vote(&mut self, voter: NodeId) {
        let Role::Candidate { votes } = &mut self.role else { return };
        votes.insert(voter);
        if self.quorum.is_reached_by(votes.len()) {
            let granted_by = votes.iter().cloned().collect();
            self.become_leader(granted_by);
        }
    }

    /// Figure 2, leaders: "upon election: send initial empty AppendEntries RPCs"; ours carry the
    /// no-op of section 8, with which the leader learns what is committed.
    fn become_leader(&mut self, granted_by: Vec<NodeId>) {
        let last = self.log.last_index();
        self.leader = Some(self.id.clone());
        self.role = Role::Leader(Leadership::begin(self.others(), last, self.now));
        self.trace_step("won the election");
        self.trace(Leader { last: last.0, last_term: self.log.last_term().0, granted_by });
        self.append_as_leader(Payload::Noop);
        self.heartbeat();
    }

    /// Figure 2, all servers: "if RPC request or response contains term T > currentTerm: set
    /// currentTerm = T, convert to follower".
    pub(super) fn enter_term(&mut self, term: Term) {
        self.term = term;
        self.vote = None;
        self.hard_state_changed();
        self.become_follower(None, "saw a higher term");
    }

    /// Follows `leader`, or nobody yet, in the current term.
    pub(super) fn become_follower(&mut self, leader: Option<NodeId>, reason: &str) {
        self.leader = leader;
        let role = std::mem::replace(&mut self.role, Role::Follower);
        match role {
            Role::Follower => return,
            Role::Candidate { .. } => {}
            Role::Leader(leadership) => {
                // A read that was not released had no effect: saying so is safe. Commands stay:
                // their entries may yet be committed and applied here.
                for token in leadership.reads.into_tokens() {
                    let answer = Answer::NotLeader { leader: self.leader.clone() };
                    self.effects.push(Effect::Reply { token, answer });
                }
                self.reset_election_timer();
            }
        }
        self.trace_step(reason);
    }

    fn trace_step(&mut self, reason: &str) {
        self.trace(Step { role: self.role.name().to_owned(), reason: reason.to_owned() });
    }

    /// Appends an entry of the current term to the leader's own log.
    pub(super) fn append_as_leader(&mut self, payload: Payload) -> Index {
        let entry = Entry { term: self.term, payload };
        let index = self.append(self.id.clone(), vec![entry]);
        self.advance_commit_as_leader();
        index
    }
}
