//! The log (Figure 2, `log[]`): entries from index 1, each with its chain hash.
//!
//! The whole log stays in memory; there are no snapshots.

use protocol::trace::{self, ChainHash};

use super::command::Entry;
use super::types::{Index, Term};

/// Entries from index 1 on, without holes.
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<(Entry, ChainHash)>,
}

impl Log {
    /// A log with these entries, the first of which has index 1.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Log {
        let mut log = Log::default();
        for entry in entries {
            log.append(entry);
        }
        log
    }

    /// Index of the last entry, 0 if there is none.
    pub fn last_index(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// Term of the last entry, 0 if there is none.
    pub fn last_term(&self) -> Term {
        self.entries.last().map_or(Term(0), |(entry, _)| entry.term)
    }

    /// The entry at `index`, with its chain hash.
    pub fn get(&self, index: Index) -> Option<&(Entry, ChainHash)> {
        self.entries.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// The term at `index`; `Some(0)` at index 0, `None` behind the end.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == Index(0) {
            return Some(Term(0));
        }
        self.get(index).map(|(entry, _)| entry.term)
    }

    /// Adds an entry at the end and returns its index.
    pub fn append(&mut self, entry: Entry) -> Index {
        let before = self.entries.last().map_or(ChainHash(0), |&(_, hash)| hash);
        let hash = entry.chain_hash(before);
        self.entries.push((entry, hash));
        self.last_index()
    }

    /// Removes the entry at `from` and all that follow.
    pub fn truncate(&mut self, from: Index) {
        self.entries.truncate(usize::try_from(from.prev().0).unwrap_or(usize::MAX));
    }

    /// Copies of entries from `from` on: at most `count_max`, and no more than `bytes_max` bytes
    /// of payload unless the first alone is longer.
    pub fn batch(&self, from: Index, count_max: usize, bytes_max: usize) -> Vec<Entry> {
        let start = usize::try_from(from.prev().0).unwrap_or(usize::MAX).min(self.entries.len());
        let mut bytes = 0;
        self.entries[start..]
            .iter()
            .take(count_max)
            .enumerate()
            .take_while(|(nth, (entry, _))| {
                bytes += entry.payload.text().len();
                *nth == 0 || bytes <= bytes_max
            })
            .map(|(_, (entry, _))| entry.clone())
            .collect()
    }

    /// The first index of the run of entries that ends at `index` and shares its term: what a
    /// follower hints at when it rejects (section 5.3, "the first index it stores for that term").
    pub fn first_of_term_run(&self, index: Index) -> Index {
        let term = self.term_at(index);
        let mut first = index;
        while first > Index(1) && self.term_at(first.prev()) == term {
            first = first.prev();
        }
        first
    }

    /// The last index, at most `limit`, of an entry of `term`.
    pub fn last_of_term(&self, term: Term, limit: Index) -> Option<Index> {
        let mut index = limit.min(self.last_index());
        while index > Index(0) {
            if self.term_at(index) == Some(term) {
                return Some(index);
            }
            index = index.prev();
        }
        None
    }

    /// The entries from `from` to the end as traces name them.
    pub fn traced(&self, from: Index) -> Vec<trace::Entry> {
        let mut index = from.max(Index(1));
        let mut traced = Vec::new();
        while let Some((entry, hash)) = self.get(index) {
            let kind = entry.payload.kind().to_owned();
            traced.push(trace::Entry(index.0, entry.term.0, kind, *hash));
            index = index.next();
        }
        traced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::Payload;

    fn log(terms: &[u64]) -> Log {
        Log::new(terms.iter().map(|&term| Entry { term: Term(term), payload: Payload::Noop }))
    }

    #[test]
    fn indexes_start_at_one() {
        let log = log(&[1, 1, 3]);
        assert_eq!(log.last_index(), Index(3));
        assert_eq!(log.term_at(Index(0)), Some(Term(0)));
        assert_eq!(log.term_at(Index(3)), Some(Term(3)));
        assert_eq!(log.term_at(Index(4)), None);
        assert_eq!(log.term_at(Index(u64::MAX)), None);
        assert!(log.get(Index(0)).is_none());
    }

    #[test]
    fn a_truncated_log_hashes_as_if_the_rest_had_never_been() {
        let mut cut = log(&[1, 1, 2, 2]);
        cut.truncate(Index(3));
        cut.append(Entry { term: Term(5), payload: Payload::Noop });
        assert_eq!(cut.traced(Index(1)), log(&[1, 1, 5]).traced(Index(1)));
        cut.truncate(Index(9));
        assert_eq!(cut.last_index(), Index(3));
    }

    #[test]
    fn hints() {
        let log = log(&[1, 1, 3, 3, 3, 4]);
        assert_eq!(log.first_of_term_run(Index(5)), Index(3));
        assert_eq!(log.first_of_term_run(Index(2)), Index(1));
        assert_eq!(log.last_of_term(Term(3), Index(6)), Some(Index(5)));
        assert_eq!(log.last_of_term(Term(3), Index(4)), Some(Index(4)));
        assert_eq!(log.last_of_term(Term(2), Index(6)), None);
    }

    #[test]
    fn batches_are_bounded() {
        let log = log(&[1; 10]);
        assert_eq!(log.batch(Index(3), 4, 100).len(), 4);
        assert_eq!(log.batch(Index(9), 4, 100).len(), 2);
        assert_eq!(log.batch(Index(99), 4, 100).len(), 0);
    }
}
