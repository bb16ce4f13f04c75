//! Every log entry that any trace mentions, once, with the entry before it.
//!
//! A chain hash stands for an entry and all before it, so (index, term, chain hash) names a whole
//! log prefix: a log is the entry at its end, two logs agree up to an index if they hold the same
//! entry there, and taking a snapshot of a log costs nothing. What comes before an entry may not
//! be known (it was compacted away before the trace began); it becomes known when another trace
//! shows it. An entry that is seen after two different ones contradicts the meaning of a chain
//! hash: nothing is concluded across it.

use protocol::trace::ChainHash;
use rustc_hash::FxHashMap;

use super::REMEMBERED_MAX;

/// An entry's number in the table.
pub(super) type EntryId = u32;

/// What stands before an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Parent {
    /// Nobody said.
    #[default]
    Unknown,
    /// Nothing: it is the first.
    Root,
    /// This entry.
    Entry(EntryId),
    /// Traces contradict each other.
    Contradiction,
}

/// An entry and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct EntryRecord {
    pub idx: u64,
    pub term: u64,
    pub ch: ChainHash,
    pub parent: Parent,
    /// The nodes that had it durable while its term was theirs, a bit each.
    pub durable: u64,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct EntryTable {
    entries: Vec<EntryRecord>,
    ids: FxHashMap<(u64, u64, ChainHash), EntryId>,
}

impl EntryTable {
    /// The entry's number; `None` when the table is full.
    pub fn intern(
        &mut self,
        idx: u64,
        term: u64,
        ch: ChainHash,
        parent: Parent,
    ) -> Option<EntryId> {
        if let Some(&id) = self.ids.get(&(idx, term, ch)) {
            let known = &mut self.entries[id as usize].parent;
            *known = match (*known, parent) {
                (Parent::Unknown, said) => said,
                (known, Parent::Unknown) => known,
                (known, said) if known == said => known,
                _ => Parent::Contradiction,
            };
            return Some(id);
        }
        if self.entries.len() >= REMEMBERED_MAX {
            return None;
        }
        let id = EntryId::try_from(self.entries.len()).ok()?;
        self.entries.push(EntryRecord { idx, term, ch, parent, durable: 0 });
        self.ids.insert((idx, term, ch), id);
        Some(id)
    }

    pub fn get(&self, id: EntryId) -> &EntryRecord {
        &self.entries[id as usize]
    }

    pub fn entries(&self) -> impl Iterator<Item = (EntryId, &EntryRecord)> {
        (0..).zip(&self.entries)
    }

    /// Notes that a node had the entry durable in its term; `false` if that was known.
    pub fn mark_durable(&mut self, id: EntryId, node: usize) -> bool {
        let durable = &mut self.entries[id as usize].durable;
        let before = *durable;
        *durable |= 1 << node;
        *durable != before
    }

    /// Prepares questions about the past of entries, once all are in the table.
    pub fn ancestry(&self) -> Ancestry<'_> {
        let mut order: Vec<EntryId> = (0..).take(self.entries.len()).collect();
        order.sort_unstable_by_key(|&id| self.get(id).idx);
        let mut jump: Vec<EntryId> = (0..).take(self.entries.len()).collect();
        for id in order {
            // A jump spans two equal jumps before it, or one step: with them any ancestor is
            // found in logarithmic time (Myers, "An applicative random-access stack", 1983).
            let Parent::Entry(parent) = self.get(id).parent else { continue };
            let near = jump[parent as usize];
            let far = jump[near as usize];
            let span = |from: EntryId, to: EntryId| self.get(from).idx - self.get(to).idx;
            let is_even = near != parent && span(parent, near) == span(near, far) && far != near;
            jump[id as usize] = if is_even { far } else { parent };
        }
        Ancestry { table: self, jump }
    }
}

/// What a log holds at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// This entry.
    Entry(EntryId),
    /// It cannot be told.
    Unknown,
}

/// Answers what came before an entry.
pub(super) struct Ancestry<'a> {
    table: &'a EntryTable,
    jump: Vec<EntryId>,
}

impl Ancestry<'_> {
    /// The entry at `idx` of the log that ends with `tip`; `idx` is at most the tip's index.
    pub fn at(&self, tip: EntryId, idx: u64) -> Held {
        let mut id = tip;
        loop {
            let entry = self.table.get(id);
            if entry.idx <= idx {
                return if entry.idx == idx { Held::Entry(id) } else { Held::Unknown };
            }
            let jump = self.jump[id as usize];
            id = match entry.parent {
                Parent::Entry(_) if self.table.get(jump).idx >= idx => jump,
                Parent::Entry(parent) => parent,
                Parent::Root | Parent::Unknown | Parent::Contradiction => return Held::Unknown,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_shared_and_contradictions_are_kept_apart() {
        let mut table = EntryTable::default();
        let first = table.intern(1, 1, ChainHash(1), Parent::Root).unwrap();
        let second = table.intern(2, 1, ChainHash(2), Parent::Unknown).unwrap();
        assert_eq!(table.ancestry().at(second, 1), Held::Unknown);
        assert_eq!(table.intern(2, 1, ChainHash(2), Parent::Entry(first)), Some(second));
        assert_eq!(table.ancestry().at(second, 1), Held::Entry(first));
        let other = table.intern(1, 1, ChainHash(9), Parent::Root).unwrap();
        table.intern(2, 1, ChainHash(2), Parent::Entry(other));
        assert_eq!(table.ancestry().at(second, 1), Held::Unknown);
        assert_eq!(table.ancestry().at(second, 2), Held::Entry(second));
    }

    proptest! {
        #[test]
        fn jumps_find_what_a_walk_finds(picks in prop::collection::vec(any::<prop::sample::Index>(), 1..120)) {
            // A random tree: each entry goes on from a random earlier one.
            let mut table = EntryTable::default();
            let mut ids = vec![table.intern(1, 1, ChainHash(0), Parent::Root).unwrap()];
            for (number, pick) in (1u64..).zip(&picks) {
                let parent = ids[pick.index(ids.len())];
                let idx = table.get(parent).idx + 1;
                ids.push(table.intern(idx, 1, ChainHash(number), Parent::Entry(parent)).unwrap());
            }
            let ancestry = table.ancestry();
            for &tip in &ids {
                let mut id = tip;
                loop {
                    prop_assert_eq!(ancestry.at(tip, table.get(id).idx), Held::Entry(id));
                    let Parent::Entry(parent) = table.get(id).parent else { break };
                    id = parent;
                }
            }
        }
    }
}
