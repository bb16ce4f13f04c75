//! Linearizable reads without log entries: ReadIndex (section 8; dissertation 6.4).
//!
//! A read is answered from the leader's state once (1) the leader has committed an entry of its
//! own term, so that its commit index covers all that was ever acknowledged, (2) a quorum has
//! answered a message that was sent after the read arrived, so that nobody else led by then, and
//! (3) the state machine has applied the commit index noted at the round's beginning. Rounds are
//! numbered within a term; every AppendEntries names the latest and every answer echoes it, so a
//! late or doubled answer cannot be taken for one of a newer round, and a lost message is made up
//! for by the next heartbeat. One round runs at a time; reads that arrive meanwhile share the next.

use std::collections::BTreeSet;

use protocol::NodeId;
use protocol::trace::Read;
use serde_json::Value as Json;

use crate::bugs::Bug;

use super::message::{Answer, Effect, RequestToken};
use super::types::Index;
use super::{Raft, Role};

/// Most reads that wait at a time.
const READS_MAX: usize = 20_000;

/// The reads of one leadership.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Number of the latest round, 0 before the first.
    round: u64,
    /// Who has answered it, the leader included.
    answered: BTreeSet<NodeId>,
    /// The commit index when it began.
    read_index: Index,
    /// What it will release.
    in_round: Vec<PendingRead>,
    /// What waits for the next.
    queued: Vec<PendingRead>,
}

#[derive(Debug)]
struct PendingRead {
    token: RequestToken,
    key: Json,
}

impl Reads {
    /// The round that messages name.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Everything that waits.
    pub(super) fn into_tokens(self) -> impl Iterator<Item = RequestToken> {
        self.in_round.into_iter().chain(self.queued).map(|read| read.token)
    }
}

impl Raft {
    /// A client's read.
    pub(super) fn on_read(&mut self, token: RequestToken, key: Json) {
        let Role::Leader(leadership) = &mut self.role else { return self.refuse(token) };
        if self.bugs.has(Bug::ReadWithoutQuorum) {
            let round = leadership.reads.round;
            let reads = vec![PendingRead { token, key }];
            return self.release_reads(reads, round, self.commit, vec![self.id.clone()]);
        }
        let reads = &mut leadership.reads;
        if reads.in_round.len() + reads.queued.len() >= READS_MAX {
            return self.effects.push(Effect::Reply { token, answer: Answer::Overloaded });
        }
        reads.queued.push(PendingRead { token, key });
        self.begin_read_round();
    }

    /// Begins a round if reads wait, none runs, and an entry of our own term is committed.
    pub(super) fn begin_read_round(&mut self) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let reads = &mut leadership.reads;
        if reads.queued.is_empty()
            || !reads.in_round.is_empty()
            || self.commit < leadership.term_start
        {
            return;
        }
        reads.in_round = std::mem::take(&mut reads.queued);
        reads.round += 1;
        reads.read_index = self.commit;
        reads.answered.clear();
        let round = reads.round;
        self.heartbeat();
        self.on_round_answer(self.id.clone(), round);
    }

    /// `voter` has answered a message that named this round: it still follows us.
    pub(super) fn on_round_answer(&mut self, voter: NodeId, round: u64) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let reads = &mut leadership.reads;
        if round != reads.round || reads.in_round.is_empty() {
            return;
        }
        reads.answered.insert(voter);
        if !self.quorum.is_reached_by(reads.answered.len()) {
            return;
        }
        let released = std::mem::take(&mut reads.in_round);
        let acks = reads.answered.iter().cloned().collect();
        let read_index = reads.read_index;
        self.release_reads(released, round, read_index, acks);
        self.begin_read_round();
    }

    fn release_reads(
        &mut self,
        reads: Vec<PendingRead>,
        round: u64,
        read_index: Index,
        acks: Vec<NodeId>,
    ) {
        // What is committed is applied at once, so the state covers the read index.
        self.trace(Read { mode: "index".to_owned(), ctx: round.into(), idx: read_index.0, acks });
        for PendingRead { token, key } in reads {
            let answer = Answer::Read(self.store.read(&key).cloned());
            self.effects.push(Effect::Reply { token, answer });
        }
    }
}
