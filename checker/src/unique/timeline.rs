//! The linearization that sorting the blocks gives, as moments; and failed cas put into it.

use super::{Block, Clusters, Moment, NEVER, NONE, begun, done};
use crate::models::RegisterOp;

/// When each value was there, if every call takes effect as early as the order allows. Several
/// calls may share a moment; they keep their order in it.
pub(super) struct Timeline {
    /// For each value when it came; `NEVER` if it did not.
    came: Vec<Moment>,
    /// For each value when the next one came.
    went: Vec<Moment>,
    /// The last value of each block but the last, and the first of the next, by value.
    followers: Vec<u32>,
}

impl Timeline {
    pub(super) fn new(clusters: &Clusters<'_>, blocks: &[Block]) -> Timeline {
        let count = clusters.clusters.len();
        let mut timeline = Timeline {
            came: vec![NEVER; count],
            went: vec![NEVER; count],
            followers: vec![NONE; count],
        };
        let mut clock = 0;
        let mut last = NONE;
        for block in blocks {
            for value in clusters.chain(block.head) {
                let cluster = clusters.cluster(value);
                if cluster.writer != NONE {
                    clock = clock.max(begun(clusters.call(cluster.writer)));
                }
                timeline.came[value as usize] = clock;
                if last != NONE {
                    timeline.went[last as usize] = clock;
                    timeline.followers[last as usize] = value;
                }
                if cluster.read_begun_last != NONE {
                    clock = clock.max(begun(clusters.call(cluster.read_begun_last)));
                }
                last = value;
            }
        }
        timeline
    }

    /// The failed cas that find no moment at which their value was not there.
    pub(super) fn misfits<'a>(
        &'a self,
        clusters: &'a Clusters<'_>,
    ) -> impl Iterator<Item = u32> + 'a {
        (0_u32..).zip(clusters.calls).filter_map(|(index, call)| match call.op {
            RegisterOp::NotEqual(value) if !self.fits(clusters, value, begun(call), done(call)) => {
                Some(index)
            }
            _ => None,
        })
    }

    fn fits(&self, clusters: &Clusters<'_>, value: u32, begun: Moment, done: Moment) -> bool {
        let (came, went) = (self.came[value as usize], self.went[value as usize]);
        // The initial value has no moment before it came. A value that never came is never there.
        came == NEVER || (value != clusters.initial && begun <= came) || went < done
    }

    /// The calls in order.
    pub(super) fn order(&self, clusters: &Clusters<'_>, blocks: &[Block]) -> Vec<u32> {
        let mut reads: Vec<Vec<u32>> = vec![Vec::new(); clusters.clusters.len()];
        for (index, call) in clusters.calls.iter().enumerate() {
            if let RegisterOp::Read(value) = call.op {
                reads[value as usize].push(index as u32);
            }
        }
        // Moment, place within the moment, call. Places leave room for failed cas between.
        let mut placed: Vec<(Moment, u64, u32)> = Vec::new();
        let mut place = 0_u64;
        let mut came_at = vec![0_u64; clusters.clusters.len()];
        let mut clock = 0;
        for block in blocks {
            for value in clusters.chain(block.head) {
                let writer = clusters.cluster(value).writer;
                place += 2;
                came_at[value as usize] = place;
                let calls = (writer != NONE).then_some(writer).into_iter();
                for index in calls.chain(reads[value as usize].iter().copied()) {
                    clock = clock.max(begun(clusters.call(index)));
                    placed.push((clock, place, index));
                    place += 2;
                }
            }
        }
        for (index, call) in clusters.calls.iter().enumerate() {
            let RegisterOp::NotEqual(value) = call.op else { continue };
            let (begun, done) = (begun(call), done(call));
            let (came, went) = (self.came[value as usize], self.went[value as usize]);
            let at = if came != NEVER && value != clusters.initial && begun <= came && came < done {
                // Right before the value came.
                (came, came_at[value as usize] - 1)
            } else if came != NEVER
                && begun <= went
                && went < done
                && !(begun <= came && value != clusters.initial)
            {
                // Right after the next one came.
                let follower = self.followers[value as usize];
                (went, came_at[follower as usize] + 1)
            } else {
                // The value is not there at all when the cas begins.
                (begun, u64::MAX)
            };
            placed.push((at.0, at.1, index as u32));
        }
        placed.sort_unstable();
        placed.into_iter().map(|(_, _, index)| index).collect()
    }
}
