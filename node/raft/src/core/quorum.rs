//! Quorum arithmetic (section 5.2: a majority), pure.

use crate::bugs::{Bug, Bugs};

use super::types::Index;

/// How many of the voters make a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    size: usize,
}

impl Quorum {
    /// A majority of this many voters.
    pub fn majority_of(voters: usize, bugs: Bugs) -> Quorum {
        let majority = voters / 2 + 1;
        let size = if bugs.has(Bug::QuorumOneShort) { majority - 1 } else { majority };
        Quorum { size: size.max(1) }
    }

    /// Whether this many different voters are enough.
    pub fn is_reached_by(self, voters: usize) -> bool {
        voters >= self.size
    }

    /// The highest index that a quorum has, given each voter's highest (Figure 2, rules for
    /// leaders: "a majority of matchIndex[i] >= N"). 0 if there are fewer voters than a quorum.
    pub fn highest_shared(self, mut matched: Vec<Index>) -> Index {
        matched.sort_unstable_by(|a, b| b.cmp(a));
        matched.get(self.size - 1).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, taken literally: try every index and count.
    fn naive_highest_shared(matched: &[u64]) -> u64 {
        let highest = matched.iter().copied().max().unwrap_or(0);
        (0..=highest)
            .rev()
            .find(|&index| {
                let holders = matched.iter().filter(|&&has| has >= index).count();
                2 * holders > matched.len()
            })
            .unwrap_or(0)
    }

    #[test]
    fn sizes() {
        for (voters, size) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            let quorum = Quorum::majority_of(voters, Bugs::NONE);
            assert!(quorum.is_reached_by(size) && !quorum.is_reached_by(size - 1), "{voters}");
        }
        let short = Quorum::majority_of(5, Bugs::only(Bug::QuorumOneShort));
        assert!(short.is_reached_by(2) && !short.is_reached_by(1));
    }

    proptest! {
        #[test]
        fn the_shared_index_is_the_naive_twins(matched in prop::collection::vec(0u64..20, 1..9)) {
            let quorum = Quorum::majority_of(matched.len(), Bugs::NONE);
            let fast = quorum.highest_shared(matched.iter().copied().map(Index).collect());
            prop_assert_eq!(fast.0, naive_highest_shared(&matched));
        }

        #[test]
        fn any_two_quorums_meet(voters in 1usize..10) {
            let quorum = Quorum::majority_of(voters, Bugs::NONE);
            let size = (0..=voters).find(|&count| quorum.is_reached_by(count)).unwrap();
            prop_assert!(2 * size > voters);
        }
    }
}
