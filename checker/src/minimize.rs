//! Makes a counterexample small by leaving out what it does not need.
//!
//! Three things may be left out of a history without making it harder to explain, so that what
//! remains inexplicable shows the whole to be so:
//!
//! - Everything that was invoked after a cut, if what completed after the cut need not happen.
//! - Observers: they change nothing.
//! - For registers, calls that put a value there which no remaining call is about, if in their
//!   place some nameless value may be put there at any time, any number of times.
//!
//! Whether the rest is still inexplicable is asked of the search each time. The result is small,
//! not always the smallest.

use rustc_hash::FxHashSet;

use crate::budget::{Exhausted, Meter};
use crate::model::{Call, Effect, Model};
use crate::models::{RegisterOp, UNSEEN};
use crate::search::{Found, Options, Stuck, search};

/// How many placements one trial may take, and how many calls all trials together.
const STEPS_MAX: u64 = 1_000_000;
const CALLS_TRIED_MAX: u64 = 4_000_000;
/// Up to this many calls are tried one by one.
const SINGLY_MAX: usize = 400;
/// How many calls before the cut are looked at first.
const WINDOWS: [usize; 4] = [8, 32, 128, 512];

type Around<Op> = fn(&[Call<Op>], &[u32], &[u32]) -> Vec<u32>;
type Classes<Op> = fn(&[Call<Op>], &[u32]) -> Vec<Vec<u32>>;

/// What else than observers may be left out of the calls of a model.
pub(crate) struct Reduction<Op> {
    /// The calls, out of the second argument, that remain when all values go but those that the
    /// calls in the third are about and what these come from.
    around: Around<Op>,
    /// For each value, the calls that go with it.
    classes: Classes<Op>,
    /// What stands for calls that were left out.
    stand_ins: fn(&[Call<Op>]) -> Vec<Call<Op>>,
}

impl<Op> Reduction<Op> {
    /// Nothing.
    pub(crate) fn none() -> Reduction<Op> {
        Reduction {
            around: |_, kept, _| kept.to_vec(),
            classes: |_, _| Vec::new(),
            stand_ins: |_| Vec::new(),
        }
    }
}

impl Reduction<RegisterOp> {
    /// The values of a register.
    pub(crate) fn values() -> Reduction<RegisterOp> {
        Reduction { around, classes, stand_ins }
    }
}

/// The calls that remain, and where the search is stuck on them. `calls` are not refined.
pub(crate) fn minimize<M: Model>(
    model: &M,
    calls: &[Call<M::Op>],
    stuck: Stuck,
    reduction: &Reduction<M::Op>,
    meter: &mut Meter<'_>,
) -> (Vec<u32>, Stuck) {
    let all = 0..calls.len() as u32;
    let kept = all.filter(|&call| calls[call as usize].invoked <= stuck.position).collect();
    let mut work =
        Work { model, calls, reduction, kept, stuck, left_out: false, steps_left: CALLS_TRIED_MAX };
    // A budget that ends here ends only the effort to be brief.
    let _ = work.reduce(meter);
    (work.kept, work.stuck)
}

struct Work<'a, M: Model> {
    model: &'a M,
    calls: &'a [Call<M::Op>],
    reduction: &'a Reduction<M::Op>,
    kept: Vec<u32>,
    stuck: Stuck,
    left_out: bool,
    steps_left: u64,
}

impl<M: Model> Work<'_, M> {
    fn call(&self, index: u32) -> &Call<M::Op> {
        &self.calls[index as usize]
    }

    fn observes(&self, index: u32) -> bool {
        self.model.effect(&self.call(index).op) == Effect::Observe
    }

    fn reduce(&mut self, meter: &mut Meter<'_>) -> Result<(), Exhausted> {
        for window in WINDOWS {
            if self.kept.len() <= window {
                break;
            }
            let near = &self.kept[self.kept.len() - window..];
            let around = (self.reduction.around)(self.calls, &self.kept, near);
            if around.len() < self.kept.len() && self.try_keeping(around, true, meter)? {
                break;
            }
        }
        self.drop_observers(meter)?;
        if self.kept.len() > SINGLY_MAX {
            return Ok(());
        }
        for class in (self.reduction.classes)(self.calls, &self.kept) {
            let gone: FxHashSet<u32> = class.into_iter().collect();
            let rest: Vec<u32> =
                self.kept.iter().copied().filter(|call| !gone.contains(call)).collect();
            if rest.len() < self.kept.len() {
                self.try_keeping(rest, true, meter)?;
            }
        }
        self.drop_observers(meter)
    }

    /// Leaves out observers, many at a time and then fewer.
    fn drop_observers(&mut self, meter: &mut Meter<'_>) -> Result<(), Exhausted> {
        let mut chunk = self.kept.len();
        let smallest = self.kept.len() / SINGLY_MAX + 1;
        loop {
            chunk = (chunk / 2).max(smallest);
            let observers: Vec<u32> =
                self.kept.iter().copied().filter(|&call| self.observes(call)).collect();
            for gone in observers.chunks(chunk) {
                let (first, last) = (gone[0], gone[gone.len() - 1]);
                let rest: Vec<u32> = self
                    .kept
                    .iter()
                    .copied()
                    .filter(|&call| !(first..=last).contains(&call) || !self.observes(call))
                    .collect();
                if rest.len() < self.kept.len() {
                    self.try_keeping(rest, false, meter)?;
                }
            }
            if chunk == smallest {
                return Ok(());
            }
        }
    }

    /// Keeps only these if they are still inexplicable.
    fn try_keeping(
        &mut self,
        rest: Vec<u32>,
        values_left_out: bool,
        meter: &mut Meter<'_>,
    ) -> Result<bool, Exhausted> {
        let left_out = self.left_out || values_left_out;
        // The cut must not move on, as what was invoked after it has been left out already: what
        // completed after it need not happen.
        let cut = self.stuck.position;
        let mut chosen: Vec<Call<M::Op>> = Vec::with_capacity(rest.len());
        for (place, &index) in (0_u32..).zip(&rest) {
            let call = self.call(index);
            let late = call.until > cut;
            if late && self.observes(index) {
                continue;
            }
            let (until, required) =
                if late { (u32::MAX, false) } else { (call.until, call.required) };
            chosen.push(Call { source: place, until, required, ..call.clone() });
        }
        let mut tried = if left_out { (self.reduction.stand_ins)(&chosen) } else { Vec::new() };
        tried.extend(chosen);
        let mut model = self.model.clone();
        model.refine(&mut tried);
        let options = Options::explain(STEPS_MAX);
        self.steps_left =
            self.steps_left.checked_sub(tried.len() as u64).ok_or(Exhausted::Stopped)?;
        let Found::Stuck(stuck) = search(&model, &tried, options, meter)? else {
            return Ok(false);
        };
        let culprit = rest[tried[stuck.call as usize].source as usize];
        self.kept =
            rest.into_iter().filter(|&call| self.call(call).invoked <= stuck.position).collect();
        self.stuck = Stuck { call: culprit, ..stuck };
        self.left_out = left_out;
        Ok(true)
    }
}

/// The values that a call is about, and the one that it puts there.
fn values_of(op: RegisterOp) -> (Vec<u32>, Option<u32>) {
    match op {
        RegisterOp::Read(value) | RegisterOp::NotEqual(value) => (vec![value], None),
        RegisterOp::Write(value) => (vec![value], Some(value)),
        RegisterOp::Cas(expected, new) => (vec![expected, new], Some(new)),
    }
}

fn around(calls: &[Call<RegisterOp>], kept: &[u32], wanted: &[u32]) -> Vec<u32> {
    let near: FxHashSet<u32> = wanted.iter().copied().collect();
    let mut about: FxHashSet<u32> = FxHashSet::default();
    about.extend(wanted.iter().flat_map(|&call| values_of(calls[call as usize].op).0));
    let remains = |about: &FxHashSet<u32>, call: u32| match values_of(calls[call as usize].op) {
        (_, Some(new)) => about.contains(&new),
        (_, None) => near.contains(&call),
    };
    loop {
        let before = about.len();
        for &call in kept {
            if remains(&about, call) {
                about.extend(values_of(calls[call as usize].op).0);
            }
        }
        if about.len() == before {
            break;
        }
    }
    kept.iter().copied().filter(|&call| remains(&about, call)).collect()
}

fn classes(calls: &[Call<RegisterOp>], kept: &[u32]) -> Vec<Vec<u32>> {
    let mut values: Vec<u32> =
        kept.iter().flat_map(|&call| values_of(calls[call as usize].op).0).collect();
    values.sort_unstable();
    values.dedup();
    let class = |value: u32| {
        let mut gone = FxHashSet::default();
        gone.insert(value);
        // A cas from a value that goes would stay without cause, so what it puts goes too.
        loop {
            let before = gone.len();
            for &call in kept {
                if let RegisterOp::Cas(expected, new) = calls[call as usize].op
                    && gone.contains(&expected)
                {
                    gone.insert(new);
                }
            }
            if gone.len() == before {
                break;
            }
        }
        let goes = |&call: &u32| {
            values_of(calls[call as usize].op).0.iter().any(|value| gone.contains(value))
        };
        kept.iter().copied().filter(goes).collect()
    };
    values.into_iter().map(class).collect()
}

fn stand_ins(kept: &[Call<RegisterOp>]) -> Vec<Call<RegisterOp>> {
    // Each failed cas needs one at most; nothing else can.
    let failed = kept.iter().filter(|call| matches!(call.op, RegisterOp::NotEqual(_))).count();
    let nameless = Call {
        op: RegisterOp::Write(UNSEEN),
        invoked: 0,
        until: u32::MAX,
        required: false,
        source: u32::MAX,
    };
    vec![nameless; failed]
}
