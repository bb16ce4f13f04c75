//! One node's log as its trace tells it: what it holds, and what of it is durable.

use protocol::trace::{Append, Entry, Snap, Start};

use super::entry_table::{EntryId, EntryTable, Parent};

/// What comes before the first entry that a log names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The index before the first entry; 0 if the log is whole.
    pub idx: u64,
    /// The term of the entry there, where it is known.
    pub term: Option<u64>,
    /// That entry, where it is known.
    pub entry: Parent,
}

/// A log at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogView {
    pub base: Base,
    /// The index at its end.
    pub last: u64,
    /// The entry at its end, if that is not the base.
    pub tip: Option<EntryId>,
    /// The first entry after the base, if there is one.
    pub first: Option<EntryId>,
}

/// Why the trace of a log could not be followed any further, in words.
pub(super) type Contradiction = String;

/// A log while its trace is read.
#[derive(Debug)]
pub(super) struct NodeLog {
    base: Base,
    entries: Vec<EntryId>,
    /// Up to where the node said that this log is durable.
    durable_to: u64,
}

impl NodeLog {
    /// The log that an incarnation finds. `before` is what the last one left, if that is known.
    pub fn from_start(
        start: &Start,
        before: Option<&NodeLog>,
        table: &mut EntryTable,
    ) -> Result<NodeLog, Contradiction> {
        let Start { first, last, last_term, snap_idx, snap_term, tail, .. } = start;
        let Some(base_idx) = first.checked_sub(1) else {
            return Err("`start` gives 0 as its first index; indexes begin at 1".to_string());
        };
        let is_empty_right =
            tail.is_empty() && (*last == 0 || *last == base_idx || last == snap_idx);
        let is_filled_right = tail.last().is_some_and(|entry| {
            entry.0 == *last
                && entry.1 == *last_term
                && last.checked_sub(base_idx) == Some(tail.len() as u64)
        });
        if !is_empty_right && !is_filled_right {
            return Err(format!(
                "`start` says that its log goes from {first} to {last} (term {last_term}), but \
                 its tail has {} entries{}",
                tail.len(),
                tail.last().map_or(String::new(), |entry| format!(
                    " up to {} (term {})",
                    entry.0, entry.1
                ))
            ));
        }
        // A snapshot beyond an empty log is where that log goes on.
        let base_idx = if tail.is_empty() { base_idx.max(*snap_idx) } else { base_idx };
        let term = (base_idx > 0 && base_idx == *snap_idx).then_some(*snap_term);
        let base = Base { idx: base_idx, term, entry: base_entry(base_idx, term, before, table) };
        let mut log = NodeLog { base, entries: Vec::new(), durable_to: base_idx };
        log.extend(tail, table)?;
        log.durable_to = log.last();
        Ok(log)
    }

    pub fn last(&self) -> u64 {
        self.base.idx.saturating_add(self.entries.len() as u64)
    }

    pub fn base_idx(&self) -> u64 {
        self.base.idx
    }

    /// Up to where the log was said to be durable and has not changed since.
    pub fn durable_to(&self) -> u64 {
        self.durable_to
    }

    /// The entry at an index, if the log names it.
    pub fn at(&self, idx: u64) -> Option<EntryId> {
        let offset = idx.checked_sub(self.base.idx)?.checked_sub(1)?;
        self.entries.get(usize::try_from(offset).ok()?).copied()
    }

    /// The log up to its last entry that fulfils `keep`.
    pub fn view(&self, mut keep: impl FnMut(EntryId) -> bool) -> LogView {
        let kept = self.entries.iter().rposition(|&id| keep(id)).map_or(0, |at| at + 1);
        LogView {
            base: self.base,
            last: self.base.idx.saturating_add(kept as u64),
            tip: kept.checked_sub(1).map(|at| self.entries[at]),
            first: self.entries.first().copied().filter(|_| kept > 0),
        }
    }

    pub fn append(&mut self, append: &Append, table: &mut EntryTable) -> Result<(), Contradiction> {
        let Some(&Entry(first, ..)) = append.ents.first() else { return Ok(()) };
        let last = self.last();
        if first <= self.base.idx || Some(first) > last.checked_add(1) {
            return Err(format!(
                "entries are appended from index {first}, but its log goes from {} to {last}",
                self.base.idx.saturating_add(1)
            ));
        }
        // After an append the log ends with what was appended: overwriting truncates.
        self.cut_from(first);
        self.extend(&append.ents, table)
    }

    pub fn truncate(&mut self, from_idx: u64) -> Result<(), Contradiction> {
        if from_idx <= self.base.idx {
            return Err(format!(
                "its log is truncated from index {from_idx}, but it begins after {}",
                self.base.idx
            ));
        }
        self.cut_from(from_idx);
        Ok(())
    }

    pub fn synced(&mut self, idx: u64) -> Result<(), Contradiction> {
        let last = self.last();
        if idx > last {
            return Err(format!("index {idx} is said to be durable, but its log ends at {last}"));
        }
        self.durable_to = self.durable_to.max(idx);
        Ok(())
    }

    /// The log after a snapshot was installed: what lies behind the snapshot stays if the log
    /// holds the snapshot's last entry (section 7 of the paper).
    pub fn install(&mut self, snap: &Snap, table: &EntryTable) {
        let holds = |id: EntryId| table.get(id).term == snap.snap_term;
        if snap.idx <= self.base.idx || self.at(snap.idx).is_some_and(holds) {
            return;
        }
        self.entries.clear();
        self.base = Base { idx: snap.idx, term: Some(snap.snap_term), entry: Parent::Unknown };
        self.durable_to = snap.idx;
    }

    fn cut_from(&mut self, from_idx: u64) {
        let kept = from_idx.saturating_sub(self.base.idx).saturating_sub(1);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.durable_to = self.durable_to.min(from_idx.saturating_sub(1));
    }

    fn extend(&mut self, entries: &[Entry], table: &mut EntryTable) -> Result<(), Contradiction> {
        for Entry(idx, term, _, ch) in entries {
            let last = self.last();
            if last.checked_add(1) != Some(*idx) {
                return Err(format!("index {idx} is said to come after index {last}"));
            }
            let parent = self.entries.last().map_or(self.base.entry, |&id| Parent::Entry(id));
            let id = table.intern(*idx, *term, *ch, parent);
            self.entries.push(id.ok_or("there are too many entries to remember")?);
        }
        Ok(())
    }
}

/// The entry at the base of a log, from what the same node held there before.
fn base_entry(idx: u64, term: Option<u64>, before: Option<&NodeLog>, table: &EntryTable) -> Parent {
    if idx == 0 {
        return Parent::Root;
    }
    let held = before.and_then(|log| log.at(idx));
    match (held, term) {
        (Some(id), Some(term)) if table.get(id).term == term => Parent::Entry(id),
        _ => Parent::Unknown,
    }
}
