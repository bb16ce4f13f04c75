//! The commit index (sections 5.3 and 5.4.2) and applying what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::NodeId;
use protocol::trace::{Apply, Commit, RequestId};
use serde_json::Value as Json;

use super::command::{Command, Payload};
use super::message::{Answer, Effect, RequestToken};
use super::state_machine::Outcome;
use super::types::Index;
use super::{Raft, Role};

/// Most commands that a leader has in its log without having committed them.
const UNCOMMITTED_MAX: u64 = 4096;

impl Raft {
    /// A client's command: into the log if we lead, otherwise refused without having proposed it.
    pub(super) fn on_propose(&mut self, token: RequestToken, command: Command) {
        if !matches!(self.role, Role::Leader(_)) {
            return self.refuse(token);
        }
        if self.log.last_index().0.saturating_sub(self.commit.0) >= UNCOMMITTED_MAX {
            return self.effects.push(Effect::Reply { token, answer: Answer::Overloaded });
        }
        // The proposal is noted first: a cluster of one may commit within the append.
        let index = self.log.last_index().next();
        self.proposals.insert(index, token);
        self.append_as_leader(Payload::Command(Arc::new(command)));
        self.replicate();
    }

    /// Not the leader: says so, and who is.
    pub(super) fn refuse(&mut self, token: RequestToken) {
        let answer = Answer::NotLeader { leader: self.leader.clone() };
        self.effects.push(Effect::Reply { token, answer });
    }

    /// Figure 2, leaders: "if there exists an N such that N > commitIndex, a majority of
    /// matchIndex[i] >= N, and log[N].term == currentTerm: set commitIndex = N". The last clause
    /// is section 5.4.2: an older term's entry is committed only along with one of our own
    /// (figure 8 shows why).
    pub(super) fn advance_commit_as_leader(&mut self) {
        let Role::Leader(leadership) = &self.role else { return };
        let mut matched: BTreeMap<NodeId, Index> = leadership
            .followers
            .iter()
            .map(|(id, progress)| (id.clone(), progress.matched))
            .collect();
        matched.insert(self.id.clone(), self.vouched_index());
        let shared = self.quorum.highest_shared(matched.values().copied().collect());
        if shared <= self.commit || self.log.term_at(shared) != Some(self.term) {
            return;
        }
        let matched = matched.into_iter().map(|(id, index)| (id, index.0)).collect();
        self.advance_commit(shared, self.id.clone(), matched);
        self.begin_read_round();
    }

    /// Moves the commit index forward, never back, and applies what it passes.
    pub(super) fn advance_commit(
        &mut self,
        to: Index,
        src: NodeId,
        matched: BTreeMap<NodeId, u64>,
    ) {
        if to <= self.commit {
            return;
        }
        self.commit = to;
        self.trace(Commit { idx: to.0, src, matched });
        self.apply_up_to(to);
    }

    /// Figure 2, all servers: "if commitIndex > lastApplied: increment lastApplied, apply
    /// log[lastApplied] to state machine". Commands proposed here are answered with their result.
    pub(super) fn apply_up_to(&mut self, to: Index) {
        while self.applied < to {
            let index = self.applied.next();
            let Some((entry, hash)) = self.log.get(index) else { return };
            let (entry, hash) = (entry.clone(), *hash);
            self.applied = index;
            let outcome = match &entry.payload {
                Payload::Noop => None,
                Payload::Command(command) => Some(self.store.apply(&command.change)),
            };
            let req = match &entry.payload {
                Payload::Noop => None,
                Payload::Command(command) => {
                    Some(RequestId { client: command.client.clone(), msg_id: command.msg_id })
                }
            };
            let result = outcome.as_ref().map_or(Json::Null, |outcome| word(outcome).into());
            self.trace(Apply { idx: index.0, entry_term: entry.term.0, ch: hash, req, result });
            // An entry that is replaced takes its proposal with it, so this is the one proposed.
            if let Some(token) = self.proposals.remove(&index) {
                let answer = outcome.map_or(Answer::Lost, Answer::Applied);
                self.effects.push(Effect::Reply { token, answer });
            }
        }
    }
}

/// How traces name an outcome.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Written => "write_ok",
        Outcome::Swapped => "cas_ok",
        Outcome::Absent => "key-does-not-exist",
        Outcome::Mismatch { .. } => "precondition-failed",
    }
}
