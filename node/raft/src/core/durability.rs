//! What may leave the node only once something is durable.
//!
//! Figure 2: term, vote and log are "updated on stable storage before responding to RPCs". The
//! core goes on working while the disk writes; what depends on a write waits here under its
//! ticket. What waits belongs to a term: once the node is in a later term, it is void and dropped,
//! which is always safe, for a message may be lost anyway.
//!
//! Guarantee: a message leaves only after the term and vote it was made under are durable, and an
//! acknowledgement of entries only after these are, too. A leader's own entries are the
//! exception that the dissertation allows (10.2.1): it may send them while it still writes them
//! itself, because it counts itself only when they are durable.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::NodeId;
use protocol::trace::{HardState, Synced, TraceKind};

use crate::bugs::Bug;

use super::Raft;
use super::message::{AppendResult, Effect, Message, MessageBody, Record};
use super::types::{Index, Term, Ticket};

/// With [`Bug::AckBeforeWrite`]: the buffer is written out when it holds this much,
const HELD_BYTES_MAX: usize = 16 << 10;
/// or when its oldest record is this old.
const HELD_FOR_MAX: Duration = Duration::from_secs(1);

/// Which writes are durable, and what waits for those that are not.
#[derive(Debug, Default)]
pub(super) struct Durability {
    /// The last ticket given out.
    issued: Ticket,
    /// Everything up to this ticket is durable.
    synced: Ticket,
    /// Whether something was written since the last `Sync` effect.
    needs_sync: bool,
    /// Whether term or vote changed since they were last written.
    hard_state_changed: bool,
    /// The ticket of the latest write of term and vote.
    hard_state: Ticket,
    /// The log is durable up to here.
    log: Index,
    /// Writes of the log under way: once the ticket is durable, so is the log up to the index.
    log_writes: VecDeque<(Ticket, Index)>,
    waiting: Vec<Waiting>,
    held: Held,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    term: Term,
    action: Action,
}

/// What can wait for a ticket.
#[derive(Debug)]
pub(super) enum Action {
    /// Trace or send something.
    Emit(Effect),
    /// The vote for oneself is durable: count it and ask the others.
    Campaign,
}

/// With [`Bug::AckBeforeWrite`]: records not yet handed to the operating system.
#[derive(Debug, Default)]
struct Held {
    records: Vec<Record>,
    bytes: usize,
    until: Option<Duration>,
}

impl Durability {
    /// Everything that was found at start is durable.
    pub(super) fn restored(last: Index) -> Durability {
        Durability { log: last, ..Durability::default() }
    }

    /// When [`Raft::write_held`] must run next, if anything is held.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.held.until
    }
}

impl Raft {
    /// The last index this node may vouch for: to the leader, or to itself if it leads.
    pub(super) fn vouched_index(&self) -> Index {
        if self.bugs.has(Bug::AckBeforeWrite) {
            return self.log.last_index();
        }
        self.durability.log
    }

    /// Term or vote changed in memory.
    pub(super) fn hard_state_changed(&mut self) {
        self.durability.hard_state_changed = true;
    }

    /// Writes term and vote if they changed; returns the ticket under which they are durable.
    pub(super) fn persist_hard_state(&mut self) -> Ticket {
        if std::mem::take(&mut self.durability.hard_state_changed) {
            let ticket = self.next_ticket();
            self.durability.hard_state = ticket;
            let (term, vote) = (self.term, self.vote.clone());
            if !self.bugs.has(Bug::ForgetTermAndVote) {
                self.effects.push(Effect::Persist(Record::HardState { term, vote: vote.clone() }));
            }
            self.trace_after(ticket, HardState { vote });
        }
        self.durability.hard_state
    }

    /// Writes a record of the log.
    pub(super) fn persist_log(&mut self, record: Record) {
        // Entries belong to a term that the disk must know no later than them.
        self.persist_hard_state();
        if self.bugs.has(Bug::AckBeforeWrite) {
            return self.hold(record);
        }
        self.effects.push(Effect::Persist(record));
        let write = (self.next_ticket(), self.log.last_index());
        self.durability.log_writes.push_back(write);
    }

    /// The log was cut: what was durable from `from` on is gone.
    pub(super) fn durable_log_cut(&mut self, from: Index) {
        self.durability.log = self.durability.log.min(from.prev());
        for (_, index) in &mut self.durability.log_writes {
            *index = (*index).min(from.prev());
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.durability.needs_sync = true;
        self.durability.issued.0 += 1;
        self.durability.issued
    }

    /// At the end of a step: asks for whatever was written to be made durable.
    pub(super) fn request_sync(&mut self) {
        self.persist_hard_state();
        if std::mem::take(&mut self.durability.needs_sync) {
            self.effects.push(Effect::Sync(self.durability.issued));
        }
    }

    /// Sends a message once the term and vote it was made under are durable.
    pub(super) fn send(&mut self, to: NodeId, body: MessageBody) {
        let ticket = self.persist_hard_state();
        let message = Message { term: self.term, body };
        self.after(ticket, Action::Emit(Effect::Send { to, message }));
    }

    /// Answers the leader once the log is durable up to `matched`.
    pub(super) fn acknowledge(&mut self, to: NodeId, matched: Index, round: u64) {
        let mut ticket = self.persist_hard_state();
        if matched > self.vouched_index() {
            ticket = self.durability.issued;
        }
        let result = AppendResult::Matched(matched);
        let message = Message { term: self.term, body: MessageBody::AppendReply { round, result } };
        // A leader that hears nothing repeats itself; while the disk is slow, one answer to the
        // latest is enough.
        self.durability.waiting.retain(|waiting| {
            !matches!(&waiting.action, Action::Emit(Effect::Send { to: other, message: Message {
                body: MessageBody::AppendReply { round: old, result: AppendResult::Matched(index) },
                ..
            }}) if *other == to && *index <= matched && *old <= round && waiting.ticket == ticket)
        });
        self.after(ticket, Action::Emit(Effect::Send { to, message }));
    }

    /// Traces something once a write is durable.
    pub(super) fn trace_after(&mut self, ticket: Ticket, kind: impl Into<TraceKind>) {
        let effect = Effect::Trace { term: self.term, kind: kind.into() };
        self.after(ticket, Action::Emit(effect));
    }

    /// Does something once a write is durable, unless the term has passed by then.
    pub(super) fn after(&mut self, ticket: Ticket, action: Action) {
        if ticket <= self.durability.synced {
            return self.act(action);
        }
        self.durability.waiting.push(Waiting { ticket, term: self.term, action });
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Emit(effect) => self.effects.push(effect),
            Action::Campaign => self.campaign(),
        }
    }

    /// [`super::message::Input::Synced`]: releases what waited for it.
    pub(super) fn on_synced(&mut self, ticket: Ticket) {
        let durability = &mut self.durability;
        durability.synced = durability.synced.max(ticket.min(durability.issued));
        let ticket = durability.synced;
        let log_before = durability.log;
        while let Some(&(write, index)) = durability.log_writes.front()
            && write <= ticket
        {
            durability.log = durability.log.max(index);
            durability.log_writes.pop_front();
        }
        let (ready, waiting) = std::mem::take(&mut durability.waiting)
            .into_iter()
            .partition(|waiting| waiting.ticket <= ticket);
        durability.waiting = waiting;
        let mut ready: Vec<Waiting> = ready;
        // Term and vote first: the events that follow stand on them.
        ready.sort_by_key(|waiting| !waiting.is_hard_state());
        let hard_states = ready.iter().take_while(|waiting| waiting.is_hard_state()).count();
        let rest = ready.split_off(hard_states);
        self.release(ready);
        if self.durability.log > log_before {
            self.trace(Synced { idx: self.durability.log.0 });
        }
        self.release(rest);
        self.advance_commit_as_leader();
    }

    fn release(&mut self, ready: Vec<Waiting>) {
        for waiting in ready {
            if waiting.term == self.term {
                self.act(waiting.action);
            }
        }
    }

    fn hold(&mut self, record: Record) {
        let held = &mut self.durability.held;
        held.bytes += match &record {
            Record::Append { entry, .. } => 32 + entry.payload.text().len(),
            Record::Truncate { .. } | Record::HardState { .. } => 32,
        };
        held.records.push(record);
        held.until.get_or_insert(self.now + HELD_FOR_MAX);
        if held.bytes > HELD_BYTES_MAX {
            self.write_held();
        }
    }

    /// With [`Bug::AckBeforeWrite`]: writes the buffer out.
    pub(super) fn write_held(&mut self) {
        let held = std::mem::take(&mut self.durability.held);
        if held.records.is_empty() {
            return;
        }
        self.effects.extend(held.records.into_iter().map(Effect::Persist));
        let write = (self.next_ticket(), self.log.last_index());
        self.durability.log_writes.push_back(write);
    }
}

impl Waiting {
    fn is_hard_state(&self) -> bool {
        matches!(&self.action, Action::Emit(Effect::Trace { kind: TraceKind::HardState(_), .. }))
    }
}
