//! Log replication (section 5.3), with the faster backtracking that its end describes.
//!
//! A leader has at most one batch of entries outstanding to each follower; heartbeats go on
//! meanwhile, and repeat a batch whose answer does not come. So a follower that is far behind or
//! slow costs a bounded amount of memory and traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::NodeId;
use protocol::trace::{Append, Trunc};

use crate::bugs::Bug;

use super::command::Entry;
use super::message::{Answer, AppendResult, Effect, MessageBody, Record};
use super::read::Reads;
use super::types::{Index, Term};
use super::{Raft, Role};

/// Most entries in one message.
const BATCH_ENTRIES_MAX: usize = 512;
/// Most payload bytes in one message, unless a single entry is longer.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// A batch that stays unanswered is repeated after two heartbeats, then after twice that, up to
/// this many heartbeats.
const RETRY_HEARTBEATS_MAX: u32 = 8;

/// What a leader keeps beyond what every node does (Figure 2, volatile state on leaders).
#[derive(Debug)]
pub(super) struct Leadership {
    /// The first index of this term: the no-op's.
    pub(super) term_start: Index,
    /// When the next heartbeat goes out.
    pub(super) heartbeat_due: Duration,
    /// What is known of each follower.
    pub(super) followers: BTreeMap<NodeId, Progress>,
    /// Reads that wait for a quorum.
    pub(super) reads: Reads,
}

/// A leader's knowledge of a follower.
#[derive(Debug)]
pub(super) struct Progress {
    /// `nextIndex`: the next entry to send.
    next: Index,
    /// `matchIndex`: the follower is known to have the log durably up to here.
    pub(super) matched: Index,
    outstanding: Option<Batch>,
}

/// Entries that were sent and not yet answered.
#[derive(Debug)]
struct Batch {
    last: Index,
    retry_at: Duration,
    /// The time between the latest repetition and the next, in heartbeats.
    retry_heartbeats: u32,
}

impl Leadership {
    /// A new leader's view: everybody might have everything up to `last`, nobody certainly has.
    pub(super) fn begin(
        others: impl IntoIterator<Item = NodeId>,
        last: Index,
        now: Duration,
    ) -> Leadership {
        let progress = || Progress { next: last.next(), matched: Index(0), outstanding: None };
        Leadership {
            term_start: last.next(),
            heartbeat_due: now,
            followers: others.into_iter().map(|id| (id, progress())).collect(),
            reads: Reads::default(),
        }
    }
}

impl Raft {
    /// Sends everyone an AppendEntries: due every heartbeat interval, and to begin a round.
    pub(super) fn heartbeat(&mut self) {
        let Role::Leader(leadership) = &mut self.role else { return };
        leadership.heartbeat_due = self.now + self.timing.heartbeat;
        for to in self.others() {
            self.append_entries(to, true);
        }
    }

    /// Sends entries to every follower that has none outstanding and lacks some.
    pub(super) fn replicate(&mut self) {
        for to in self.others() {
            self.append_entries(to, false);
        }
    }

    /// Figure 2, leaders: "if last log index >= nextIndex for a follower: send AppendEntries RPC
    /// with log entries starting at nextIndex". With `heartbeat` also if there is none to send.
    fn append_entries(&mut self, to: NodeId, heartbeat: bool) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.followers.get_mut(&to) else { return };
        let round = leadership.reads.round();
        let prev_index = progress.next.prev();
        let heartbeats = match &progress.outstanding {
            None => 2,
            Some(batch) => (batch.retry_heartbeats * 2).min(RETRY_HEARTBEATS_MAX),
        };
        let may_send = progress
            .outstanding
            .as_ref()
            .is_none_or(|batch| heartbeat && batch.retry_at <= self.now);
        let entries = match may_send {
            true => self.log.batch(progress.next, BATCH_ENTRIES_MAX, BATCH_BYTES_MAX),
            false => Vec::new(),
        };
        if entries.is_empty() && !heartbeat {
            return;
        }
        if !entries.is_empty() {
            progress.outstanding = Some(Batch {
                last: prev_index.plus(entries.len() as u64),
                retry_at: self.now + self.timing.heartbeat * heartbeats,
                retry_heartbeats: heartbeats,
            });
        }
        let prev_term = self.log.term_at(prev_index).unwrap_or_default();
        let commit = self.commit;
        self.send(to, MessageBody::AppendEntries { prev_index, prev_term, entries, commit, round });
    }

    /// Figure 2, AppendEntries RPC, receiver implementation, from the leader of our term.
    pub(super) fn on_append_entries(
        &mut self,
        from: NodeId,
        (prev_index, prev_term): (Index, Term),
        entries: Vec<Entry>,
        leader_commit: Index,
        round: u64,
    ) {
        if matches!(self.role, Role::Leader(_)) {
            // Two leaders of one term: Election Safety rules it out, and a cluster that broke it
            // cannot be mended from here.
            return;
        }
        self.become_follower(Some(from.clone()), "found the leader");
        self.reset_election_timer();
        if self.log.term_at(prev_index) != Some(prev_term) {
            let result = self.conflict(prev_index);
            return self.send(from, MessageBody::AppendReply { round, result });
        }
        let matched = prev_index.plus(entries.len() as u64);
        self.store(&from, prev_index, entries);
        if self.bugs.has(Bug::ApplyOnAppend) {
            self.apply_up_to(matched);
        }
        // "min(leaderCommit, index of last new entry)": beyond `matched` our log may differ.
        self.advance_commit(leader_commit.min(matched), from.clone(), BTreeMap::new());
        self.acknowledge(from, matched, round);
    }

    /// The hint of section 5.3: the term of the conflicting entry and the first index of that
    /// term, or the end of a log that is too short.
    fn conflict(&self, prev_index: Index) -> AppendResult {
        let hint_term = self.log.term_at(prev_index);
        let hint_index = match hint_term {
            Some(_) => self.log.first_of_term_run(prev_index),
            None => self.log.last_index().next(),
        };
        AppendResult::Conflict { prev_index, hint_index, hint_term }
    }

    /// Steps 3 and 4 of the receiver: entries that we have stay, also those behind them (the
    /// request may be old); from the first that differs on, the log is replaced.
    fn store(&mut self, from: &NodeId, prev_index: Index, entries: Vec<Entry>) {
        let mut index = prev_index;
        let mut new = entries.into_iter().peekable();
        while let Some(entry) = new.peek() {
            match self.log.term_at(index.next()) {
                Some(term) if term == entry.term => {
                    index = index.next();
                    new.next();
                }
                Some(_) => {
                    self.truncate(index.next(), "conflicts with the leader's log");
                    break;
                }
                None => break,
            }
        }
        let new: Vec<Entry> = new.collect();
        if !new.is_empty() {
            self.append(from.clone(), new);
        }
    }

    /// Appends entries at the end of the log; returns the index of the last.
    pub(super) fn append(&mut self, src: NodeId, entries: Vec<Entry>) -> Index {
        let first = self.log.last_index().next();
        for entry in entries {
            let index = self.log.append(entry.clone());
            self.persist_log(Record::Append { index, entry });
        }
        self.trace(Append { src, ents: self.log.traced(first) });
        self.log.last_index()
    }

    /// Removes the entry at `from` and what follows it.
    fn truncate(&mut self, from: Index, reason: &str) {
        self.log.truncate(from);
        self.durable_log_cut(from);
        self.persist_log(Record::Truncate { from });
        self.trace(Trunc { from_idx: from.0, reason: reason.to_owned() });
        // In a correct cluster no committed or applied entry is ever cut. In one that has a
        // seeded bug it happens, and the node goes on with what replaces them, without undoing.
        self.commit = self.commit.min(from.prev());
        self.applied = self.applied.min(from.prev());
        for (_, token) in self.proposals.split_off(&from) {
            self.effects.push(Effect::Reply { token, answer: Answer::Lost });
        }
    }

    /// A follower's answer to our AppendEntries, of our term.
    pub(super) fn on_append_reply(&mut self, from: NodeId, round: u64, result: AppendResult) {
        let last = self.log.last_index();
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.followers.get_mut(&from) else { return };
        match result {
            AppendResult::Matched(index) => {
                progress.matched = progress.matched.max(index.min(last));
                progress.next = progress.next.max(progress.matched.next());
                if progress.outstanding.as_ref().is_some_and(|sent| sent.last <= progress.matched) {
                    progress.outstanding = None;
                }
            }
            AppendResult::Conflict { prev_index, hint_index, hint_term } => {
                // An answer to anything but the latest probe is old and proves nothing new.
                if prev_index.next() == progress.next && prev_index > Index(0) {
                    let limit = prev_index.prev();
                    let shared = hint_term.and_then(|term| self.log.last_of_term(term, limit));
                    let next = shared.map_or(hint_index, Index::next);
                    progress.next = next.min(prev_index).max(Index(1));
                    progress.outstanding = None;
                }
            }
        }
        self.advance_commit_as_leader();
        self.on_round_answer(from.clone(), round);
        self.append_entries(from, false);
    }
}
