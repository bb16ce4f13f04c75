//! Configurations of the search, and sets of them in which none is better than another.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::bits::Bits;
use super::trail::Trail;

/// One way in which the operations so far may have taken effect.
///
/// An open call is in one of three states. *Todo*: it has not taken effect yet. *Done*: it has.
/// *Free*: it may be left alone or take effect later, as one likes: either its outcome is unknown,
/// or there was a moment right before an overwriting call at which it could have taken effect
/// unseen.
#[derive(Clone)]
pub(crate) struct Config<S, B> {
    pub(crate) state: S,
    pub(crate) done: B,
    pub(crate) free: B,
    pub(crate) trail: Trail,
}

impl<S: PartialEq, B: Bits> Config<S, B> {
    /// Whether every future of `other` is also one of this configuration, by name of the calls:
    /// for the same state, a free call is at least as good as a done or a todo one, and for an
    /// observer done is at least as good as todo.
    fn covers(&self, other: &Config<S, B>, observers: &B) -> bool {
        if self.state != other.state {
            return false;
        }
        let sets = self.done.words().iter().zip(other.done.words());
        let frees = self.free.words().iter().zip(other.free.words());
        for (((done, other_done), (free, other_free)), observer) in
            sets.zip(frees).zip(observers.words())
        {
            let differ = (done ^ other_done) | (free ^ other_free);
            if differ & !free & !(observer & done) != 0 {
                return false;
            }
        }
        true
    }
}

/// Up to this many configurations are compared one by one; more are indexed by state.
const SCAN_MAX: usize = 12;

/// A set of configurations of which none covers another.
pub(crate) struct Antichain<S, B> {
    /// Covered ones leave a hole, so that indexes stay.
    configs: Vec<Option<Config<S, B>>>,
    live: usize,
    by_state: FxHashMap<S, Vec<u32>>,
}

impl<S: Clone + Eq + Hash, B: Bits> Antichain<S, B> {
    pub(crate) fn new() -> Self {
        Antichain { configs: Vec::new(), live: 0, by_state: FxHashMap::default() }
    }

    /// How many configurations it holds.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// How many places there are to look at with [`Antichain::at`].
    pub(crate) fn places(&self) -> usize {
        self.configs.len()
    }

    pub(crate) fn at(&self, place: usize) -> Option<&Config<S, B>> {
        self.configs[place].as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Config<S, B>> {
        self.configs.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Config<S, B>> {
        self.configs.iter_mut().flatten()
    }

    pub(crate) fn clear(&mut self) {
        self.configs.clear();
        self.by_state.clear();
        self.live = 0;
    }

    /// Empties the set into an iterator.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Config<S, B>> + '_ {
        self.by_state.clear();
        self.live = 0;
        self.configs.drain(..).flatten()
    }

    /// Adds a configuration unless one covers it, and takes out those that it covers.
    pub(crate) fn insert(&mut self, config: Config<S, B>, observers: &B) {
        let place = self.configs.len();
        if place < SCAN_MAX {
            if self.configs.iter().flatten().any(|known| known.covers(&config, observers)) {
                return;
            }
            for hole in &mut self.configs {
                if hole.as_ref().is_some_and(|known| config.covers(known, observers)) {
                    *hole = None;
                    self.live -= 1;
                }
            }
        } else {
            if place == SCAN_MAX && self.by_state.is_empty() {
                for (place, known) in self.configs.iter().enumerate() {
                    if let Some(known) = known {
                        self.by_state.entry(known.state.clone()).or_default().push(place as u32);
                    }
                }
            }
            let peers = self.by_state.entry(config.state.clone()).or_default();
            let configs = &mut self.configs;
            let known = |place: &u32| configs[*place as usize].as_ref();
            if peers.iter().filter_map(known).any(|known| known.covers(&config, observers)) {
                return;
            }
            let live = &mut self.live;
            peers.retain(|&peer| {
                let hole = &mut configs[peer as usize];
                let covered = hole.as_ref().is_some_and(|known| config.covers(known, observers));
                if covered {
                    *hole = None;
                    *live -= 1;
                }
                !covered
            });
            peers.push(place as u32);
        }
        self.configs.push(Some(config));
        self.live += 1;
    }
}
