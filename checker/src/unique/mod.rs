//! Registers whose written values are all different: an exact answer in O(n log n).
//!
//! # When it applies
//!
//! When no value is written twice (by `write` or `cas`, of whatever outcome short of certain
//! failure) and the initial value is never written. Then every read says which write it saw, and
//! every successful `cas` which write it followed.
//!
//! # What it decides
//!
//! The calls about one value, or about values joined by successful `cas`, must take effect as one
//! *block* without a foreign write between. Inside a block the order is forced but for reads of
//! the same value. Between blocks A and B real time demands A before B if the first completion in
//! A precedes the last invocation in B. A history is linearizable if and only if every block is
//! consistent inside and no two blocks demand to precede each other: if there is a cycle among the
//! blocks, take the block with the earliest first completion; it precedes whatever its
//! predecessor's predecessor precedes, so it and its predecessor already contradict each other.
//! Where there is no contradiction, sorting the blocks by the earlier of first completion and last
//! invocation gives a linearization.
//!
//! That is the zone criterion of P. Gibbons and E. Korach, *Testing shared memories* (SIAM J.
//! Comput. 26(4), 1997, section on unique-value read/write registers and read-modify-write),
//! stated for blocks.
//!
//! Outcomes: a call of unknown outcome whose value somebody saw must have happened, and completes
//! never; one whose value nobody saw can be left out. A `cas` that failed and saw another value is
//! the hard part (deciding is NP-complete in general): if every one fits into the linearization
//! found, the history is valid; if one lies inside a time during which its value must have been
//! there, it is not; otherwise this layer does not answer.

mod evidence;
mod repair;
mod timeline;

use crate::model::Call;
use crate::models::RegisterOp;

pub(crate) use evidence::{Evidence, Fault};

/// What this layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The history is linearizable; here are the calls in order, if that was asked for.
    Valid(Option<Vec<u32>>),
    /// It is not.
    Violation(Evidence),
    /// Some value is written twice, or failed cas leave it open: another layer must decide.
    Undecided,
}

const NONE: u32 = u32::MAX;

/// A moment, as the number of events before it, so that 0 is before all of them.
type Moment = u32;
const NEVER: Moment = u32::MAX;

/// What is known of one value.
#[derive(Clone, Copy)]
struct Cluster {
    /// The call that put it there.
    writer: u32,
    /// The successful cas that took it away.
    consumer: u32,
    /// The read that completed first, and the one that was invoked last.
    read_done_first: u32,
    read_begun_last: u32,
    /// Whether it was certainly there once.
    needed: bool,
}

const NOTHING: Cluster = Cluster {
    writer: NONE,
    consumer: NONE,
    read_done_first: NONE,
    read_begun_last: NONE,
    needed: false,
};

/// Values joined by cas, which take effect one right after the other.
#[derive(Clone, Copy)]
struct Block {
    /// The value it begins with.
    head: u32,
    done_first: Moment,
    begun_last: Moment,
}

impl Block {
    fn key(&self) -> Moment {
        self.done_first.min(self.begun_last)
    }
}

/// The calls of one key, by value.
struct Clusters<'a> {
    calls: &'a [Call<RegisterOp>],
    initial: u32,
    clusters: Vec<Cluster>,
    has_not_equal: bool,
}

fn begun(call: &Call<RegisterOp>) -> Moment {
    call.invoked + 1
}

fn done(call: &Call<RegisterOp>) -> Moment {
    if call.required { call.until.saturating_add(1) } else { NEVER }
}

/// Judges the calls of one register, which must not have been refined.
pub(crate) fn judge(
    calls: &[Call<RegisterOp>],
    values: usize,
    initial: u32,
    with_order: bool,
) -> Answer {
    let mut clusters =
        Clusters { calls, initial, clusters: vec![NOTHING; values], has_not_equal: false };
    if !clusters.gather() {
        return Answer::Undecided;
    }
    match clusters.conclude(with_order) {
        Ok(answer) => answer,
        Err(evidence) => Answer::Violation(evidence),
    }
}

impl Clusters<'_> {
    fn call(&self, index: u32) -> &Call<RegisterOp> {
        &self.calls[index as usize]
    }

    fn cluster(&self, value: u32) -> &Cluster {
        &self.clusters[value as usize]
    }

    /// Files writers and reads under their values. Returns whether this layer applies.
    fn gather(&mut self) -> bool {
        let calls = self.calls;
        for (index, call) in calls.iter().enumerate() {
            let index = index as u32;
            match call.op {
                RegisterOp::Read(value) => {
                    let cluster = &mut self.clusters[value as usize];
                    cluster.needed = true;
                    let first = cluster.read_done_first;
                    if first == NONE || done(call) < done(&calls[first as usize]) {
                        cluster.read_done_first = index;
                    }
                    // Calls stand in the order of their invocations.
                    cluster.read_begun_last = index;
                }
                RegisterOp::NotEqual(_) => self.has_not_equal = true,
                RegisterOp::Write(value) | RegisterOp::Cas(_, value) => {
                    let cluster = &mut self.clusters[value as usize];
                    if cluster.writer != NONE || value == self.initial {
                        return false;
                    }
                    cluster.writer = index;
                    cluster.needed |= call.required;
                    if let (true, RegisterOp::Cas(expected, _)) = (call.required, call.op) {
                        self.clusters[expected as usize].needed = true;
                    }
                }
            }
        }
        true
    }

    /// A cas of unknown outcome whose new value was needed has happened, so its expected value
    /// was there before.
    fn spread_need(&mut self) {
        let calls = self.calls;
        for call in calls {
            let (false, RegisterOp::Cas(mut expected, mut value)) = (call.required, call.op) else {
                continue;
            };
            while self.cluster(value).needed && !self.cluster(expected).needed {
                self.clusters[expected as usize].needed = true;
                value = expected;
                match self.writer_op(value) {
                    Some((false, RegisterOp::Cas(before, _))) => expected = before,
                    _ => break,
                }
            }
        }
    }

    /// The writer of a value: whether it must happen, and what it does.
    fn writer_op(&self, value: u32) -> Option<(bool, RegisterOp)> {
        let writer = self.cluster(value).writer;
        (writer != NONE).then(|| (self.call(writer).required, self.call(writer).op))
    }

    /// The value that a cas turned this one into.
    fn next_of(&self, value: u32) -> Option<u32> {
        let consumer = self.cluster(value).consumer;
        match (consumer != NONE).then(|| self.call(consumer).op) {
            Some(RegisterOp::Cas(_, new)) => Some(new),
            _ => None,
        }
    }

    /// The values of a block, in the order in which they were there.
    fn chain(&self, head: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(Some(head), |&value| self.next_of(value))
    }

    fn conclude(&mut self, with_order: bool) -> Result<Answer, Evidence> {
        self.spread_need();
        self.link()?;
        let mut blocks = self.blocks()?;
        blocks.sort_unstable_by_key(Block::key);
        self.compare(&blocks)?;
        if !self.has_not_equal && !with_order {
            return Ok(Answer::Valid(None));
        }
        let mut timeline = timeline::Timeline::new(self, &blocks);
        if self.has_not_equal && !repair::repair(self, &mut blocks, &mut timeline) {
            return match self.not_equal_in_vain() {
                Some(evidence) => Err(evidence),
                None => Ok(Answer::Undecided),
            };
        }
        Ok(Answer::Valid(with_order.then(|| timeline.order(self, &blocks))))
    }

    /// Joins values by the cas that happened.
    fn link(&mut self) -> Result<(), Evidence> {
        for value in 0..self.clusters.len() as u32 {
            let cluster = *self.cluster(value);
            if !cluster.needed {
                continue;
            }
            if cluster.writer == NONE {
                if value != self.initial {
                    return Err(self.never_written(value));
                }
                continue;
            }
            if let RegisterOp::Cas(expected, _) = self.call(cluster.writer).op {
                let before = &mut self.clusters[expected as usize];
                if before.consumer != NONE {
                    let consumer = before.consumer;
                    return Err(self.fork(expected, consumer, cluster.writer));
                }
                before.consumer = cluster.writer;
            }
        }
        Ok(())
    }

    /// Walks every block from its head, and checks that its order agrees with real time.
    fn blocks(&self) -> Result<Vec<Block>, Evidence> {
        let mut blocks = Vec::new();
        let mut reached = 0;
        for head in 0..self.clusters.len() as u32 {
            let cluster = self.cluster(head);
            let starts = match self.writer_op(head) {
                Some((_, RegisterOp::Write(_))) => cluster.needed,
                Some(_) => false,
                None => head == self.initial,
            };
            if starts {
                blocks.push(self.walk(head, &mut reached)?);
            }
        }
        // Every needed value is reached from some head, and besides them the initial value.
        let needed = self.clusters.iter().filter(|cluster| cluster.needed).count();
        if reached < needed + usize::from(!self.cluster(self.initial).needed) {
            return Err(self.circle(&blocks));
        }
        Ok(blocks)
    }

    fn walk(&self, head: u32, reached: &mut usize) -> Result<Block, Evidence> {
        // The initial value is there before everything.
        let done_first = if head == self.initial { 0 } else { NEVER };
        let mut block = Block { head, done_first, begun_last: 0 };
        for value in self.chain(head) {
            *reached += 1;
            let cluster = self.cluster(value);
            for (index, first, last) in [
                (cluster.writer, cluster.writer, cluster.writer),
                (cluster.read_done_first, cluster.read_done_first, cluster.read_begun_last),
            ] {
                if index == NONE {
                    continue;
                }
                // Whatever comes later in the block must not complete before the invocation of
                // what comes earlier.
                let first_done = done(self.call(first));
                if first_done < block.begun_last {
                    return Err(self.out_of_order(head, value, first));
                }
                block.done_first = block.done_first.min(first_done);
                block.begun_last = block.begun_last.max(begun(self.call(last)));
            }
        }
        Ok(block)
    }

    /// Looks for two blocks that must each precede the other.
    fn compare(&self, blocks: &[Block]) -> Result<(), Evidence> {
        let mut latest: Option<&Block> = None;
        for block in blocks {
            // Among the blocks before, by the sort, the one with the last invocation contradicts
            // this one if any does.
            if let Some(before) = latest.filter(|before| block.done_first < before.begun_last) {
                return Err(self.interleaved(before, block));
            }
            if latest.is_none_or(|before| before.begun_last < block.begun_last) {
                latest = Some(block);
            }
        }
        Ok(())
    }
}
