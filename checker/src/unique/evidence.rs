//! Small sub-histories that show a contradiction between unique writes.
//!
//! Each consists of whole blocks, from their heads as far as they are needed, without some of the
//! reads. Taking other blocks, the end of a block, reads and failed cas out of a linearization
//! leaves a linearization of the rest: no call left sees any of what was taken out. So where the
//! sub-history has no linearization, neither has the whole.

use super::{Block, Clusters, NONE, begun, done};
use crate::models::RegisterOp;

/// Calls that contradict one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The calls, in the order of their invocations.
    pub(crate) calls: Vec<u32>,
    /// What is wrong with them.
    pub(crate) fault: Fault,
    /// The values that it is about.
    pub(crate) values: Vec<u32>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The value was seen but nobody wrote it.
    NeverWritten,
    /// Two cas took the one value.
    Fork,
    /// Every value of a circle of cas comes from another one of it.
    Circle,
    /// Something completed before the invocation of what it depends on.
    OutOfOrder,
    /// Either value must have come and gone before the other.
    Interleaved,
    /// A cas failed while its expected value was there all the time.
    FailedInVain,
}

impl Clusters<'_> {
    pub(super) fn never_written(&self, value: u32) -> Evidence {
        let mut calls = Vec::new();
        self.include_seer(value, &mut calls);
        Evidence::new(calls, Fault::NeverWritten, vec![value])
    }

    pub(super) fn fork(&self, value: u32, one: u32, two: u32) -> Evidence {
        let mut calls = vec![one, two];
        self.include_makers(value, &mut calls);
        for cas in [one, two] {
            if let RegisterOp::Cas(_, new) = self.call(cas).op {
                self.include_need(new, &mut calls);
            }
        }
        Evidence::new(calls, Fault::Fork, vec![value])
    }

    /// Some needed value is reached from no head, so it lies on a circle or behind one.
    pub(super) fn circle(&self, blocks: &[Block]) -> Evidence {
        let mut reached = vec![false; self.clusters.len()];
        for block in blocks {
            for value in self.chain(block.head) {
                reached[value as usize] = true;
            }
        }
        let mut start = (0..self.clusters.len() as u32)
            .find(|&value| self.cluster(value).needed && !reached[value as usize])
            .expect("fewer values were reached than are needed");
        // Going back far enough leads onto the circle.
        for _ in 0..self.clusters.len() {
            if let Some((_, RegisterOp::Cas(expected, _))) = self.writer_op(start) {
                start = expected;
            }
        }
        let mut calls = Vec::new();
        let mut values = Vec::new();
        let mut value = start;
        loop {
            values.push(value);
            calls.push(self.cluster(value).writer);
            self.include_need(value, &mut calls);
            match self.call(self.cluster(value).writer).op {
                RegisterOp::Cas(expected, _) if expected != start => value = expected,
                _ => break,
            }
        }
        Evidence::new(calls, Fault::Circle, values)
    }

    /// `early` is about `value` and completed before the invocation of something before it.
    pub(super) fn out_of_order(&self, head: u32, value: u32, early: u32) -> Evidence {
        let moment = done(self.call(early));
        let mut calls = vec![early];
        self.include_makers(value, &mut calls);
        let mut values = vec![value];
        for earlier in self.chain(head).take_while(|&earlier| earlier != value) {
            let cluster = self.cluster(earlier);
            for late in [cluster.writer, cluster.read_begun_last] {
                if late != NONE && begun(self.call(late)) > moment {
                    calls.push(late);
                    values.push(earlier);
                    return Evidence::new(calls, Fault::OutOfOrder, values);
                }
            }
        }
        Evidence::new(calls, Fault::OutOfOrder, values)
    }

    pub(super) fn interleaved(&self, one: &Block, two: &Block) -> Evidence {
        let mut calls = Vec::new();
        let mut values = Vec::new();
        for block in [one, two] {
            let mut furthest = block.head;
            let (mut found_done, mut found_begun) = (block.head == self.initial, false);
            for value in self.chain(block.head) {
                let cluster = self.cluster(value);
                for (call, of_done) in [
                    (cluster.writer, true),
                    (cluster.writer, false),
                    (cluster.read_done_first, true),
                    (cluster.read_begun_last, false),
                ] {
                    if call == NONE {
                        continue;
                    }
                    let found = if of_done { &mut found_done } else { &mut found_begun };
                    let hit = if of_done {
                        done(self.call(call)) == block.done_first
                    } else {
                        begun(self.call(call)) == block.begun_last
                    };
                    if hit && !*found {
                        *found = true;
                        calls.push(call);
                        furthest = value;
                    }
                }
            }
            self.include_makers(furthest, &mut calls);
            self.include_need(furthest, &mut calls);
            values.push(furthest);
        }
        Evidence::new(calls, Fault::Interleaved, values)
    }

    /// Looks for a failed cas whose value was certainly there from before its invocation until
    /// after its completion.
    pub(super) fn not_equal_in_vain(&self) -> Option<Evidence> {
        self.calls.iter().enumerate().find_map(|(index, call)| {
            let RegisterOp::NotEqual(value) = call.op else { return None };
            let cluster = self.cluster(value);
            if !cluster.needed && value != self.initial {
                return None;
            }
            let about = [cluster.writer, cluster.read_done_first, cluster.consumer];
            let first = about
                .into_iter()
                .filter(|&call| call != NONE)
                .min_by_key(|&call| done(self.call(call)));
            let about = [cluster.writer, cluster.read_begun_last, cluster.consumer];
            let last = about
                .into_iter()
                .filter(|&call| call != NONE)
                .max_by_key(|&call| begun(self.call(call)))?;
            let there_before =
                if value == self.initial { true } else { done(self.call(first?)) <= begun(call) };
            if !there_before || begun(self.call(last)) < done(call) {
                return None;
            }
            let mut calls = vec![index as u32, last];
            if value != self.initial {
                calls.extend(first);
            }
            self.include_makers(value, &mut calls);
            for cas in [first, Some(last)].into_iter().flatten() {
                if let RegisterOp::Cas(_, new) = self.call(cas).op {
                    self.include_need(new, &mut calls);
                }
            }
            Some(Evidence::new(calls, Fault::FailedInVain, vec![value]))
        })
    }

    /// All that it takes for a value to come: its writer, and if that is a cas, what that needs.
    fn include_makers(&self, value: u32, calls: &mut Vec<u32>) {
        let mut value = value;
        // A circle ends where it began.
        for _ in 0..self.clusters.len() {
            let writer = self.cluster(value).writer;
            if writer == NONE {
                return;
            }
            calls.push(writer);
            match self.call(writer).op {
                RegisterOp::Cas(expected, _) => value = expected,
                _ => return,
            }
        }
    }

    /// What proves that a value came, if its writer's own outcome does not.
    fn include_need(&self, value: u32, calls: &mut Vec<u32>) {
        let writer = self.cluster(value).writer;
        if writer != NONE && !self.call(writer).required {
            self.include_seer(value, calls);
        }
    }

    /// A call that certainly happened and saw the value, and what lies between.
    fn include_seer(&self, value: u32, calls: &mut Vec<u32>) {
        let mut value = value;
        for _ in 0..self.clusters.len() {
            let cluster = self.cluster(value);
            if cluster.read_done_first != NONE {
                calls.push(cluster.read_done_first);
                return;
            }
            // Consumers may not have been linked yet.
            let consumer = self.calls.iter().position(|call| match call.op {
                RegisterOp::Cas(expected, new) => {
                    expected == value && (call.required || self.cluster(new).needed)
                }
                _ => false,
            });
            let Some(consumer) = consumer else { return };
            calls.push(consumer as u32);
            let RegisterOp::Cas(_, new) = self.calls[consumer].op else { return };
            if self.calls[consumer].required {
                return;
            }
            value = new;
        }
    }
}

impl Evidence {
    fn new(mut calls: Vec<u32>, fault: Fault, values: Vec<u32>) -> Evidence {
        calls.sort_unstable();
        calls.dedup();
        Evidence { calls, fault, values }
    }
}
