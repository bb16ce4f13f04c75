//! The search: just-in-time linearization in a window.
//!
//! The history is read once, event by event. A *configuration* says which state the object may be
//! in and which of the open calls have taken effect in getting there; the *frontier* is the set of
//! configurations that explain everything so far. A call is made to take effect only when its
//! completion demands it ("just in time": G. Lowe, *Testing for linearizability*, 2017, after
//! J. Wing and C. Gong, *Testing and verifying concurrent objects*, 1993). What was completed is
//! forgotten, so memory follows concurrency and not the length of the history.
//!
//! It decides exactly: a frontier that runs empty at a completion proves that the prefix up to
//! there has no linearization, and one that reaches the end proves a linearization. Four
//! reductions keep the frontier small, each with the reason why it loses nothing:
//!
//! - An observer takes effect as soon as the state agrees with it: it changes nothing, so being
//!   done is never worse.
//! - When an overwriting call takes effect, every other open call that applies in any state may
//!   have taken effect right before, unseen. Instead of choosing, it becomes *free*. Many may: they
//!   fit one after the other into the same unseen moment.
//! - Of equal open calls the one that must complete first takes effect first: exchanging the two
//!   in any linearization gives another.
//! - Of two configurations in the same state, one that leaves at least the same choices covers the
//!   other ([`frontier::Config`]).
//! - Calls that commute with everything the demanded call depends on can wait
//!   ([`crate::model::Model::commutes`]).
//!
//! A call of unknown outcome stays open, free, until the model says that no later observation can
//! need it ([`crate::model::Model::refine`]), else to the end.

mod bits;
mod frontier;
mod trail;

use std::mem;

use crate::budget::{Exhausted, Meter};
use crate::model::{Call, Effect, Model};
use bits::{Bits, Slots};
use frontier::{Antichain, Config};
use trail::{Entry, Trail};

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A linearization exists; its calls in order, if that was asked for.
    Valid(Option<Vec<u32>>),
    /// None does.
    Stuck(Stuck),
}

/// The completion at which no configuration was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// The call that could not complete.
    pub(crate) call: u32,
    /// The position of its completion: the prefix up to here has no linearization.
    pub(crate) position: u32,
    /// States that the object may have been in just before, in words; some of them.
    pub(crate) states: Vec<String>,
    /// Whether states were left out because of what was observed later. If so, the whole has no
    /// linearization, but the prefix may have one.
    pub(crate) foresaw: bool,
}

/// How many possible states a message shows.
const STATES_SHOWN_MAX: usize = 4;

/// What a search is to do besides deciding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Give the linearization.
    pub(crate) with_order: bool,
    /// Let the model leave out states that cannot agree with later observations.
    pub(crate) foresight: bool,
    /// Give up, as if stopped, after so many placements.
    pub(crate) steps_max: u64,
}

impl Options {
    /// To decide, whatever it takes.
    pub(crate) fn decide(with_order: bool) -> Options {
        Options { with_order, foresight: true, steps_max: u64::MAX }
    }

    /// To look for a small part of a history that is known to be inexplicable, within reason.
    pub(crate) fn explain(steps_max: u64) -> Options {
        Options { with_order: false, foresight: false, steps_max }
    }
}

/// How many equal calls of unknown outcome are open at once at first. One alone would leave no
/// choice of when to use it; more than a few are next to never needed.
const EQUALS_AT_FIRST: usize = 3;

/// Decides whether the calls, in the order of their invocations, have a linearization.
///
/// Of many equal calls of unknown outcome, only some are let into the window at first. A
/// linearization without the others is one; where there is none, all are let in.
pub(crate) fn search<M: Model>(
    model: &M,
    calls: &[Call<M::Op>],
    options: Options,
    meter: &mut Meter<'_>,
) -> Result<Found, Exhausted> {
    let events = schedule(calls);
    meter.hold(size_of_val(&events[..]) as u64)?;
    match search_within(model, calls, &events, options, EQUALS_AT_FIRST, meter)? {
        (Found::Stuck(_), true) => {
            search_within(model, calls, &events, options, usize::MAX, meter).map(|(found, _)| found)
        }
        (found, _) => Ok(found),
    }
}

/// Searches with as many slots as it takes; also says whether calls were kept out of the window.
fn search_within<M: Model>(
    model: &M,
    calls: &[Call<M::Op>],
    events: &[Happening],
    options: Options,
    equals_max: usize,
    meter: &mut Meter<'_>,
) -> Result<(Found, bool), Exhausted> {
    let job = Job { model, calls, options, equals_max };
    if let Some(found) = Window::<M, [u64; 1]>::new(job, 1).run(events, meter)? {
        return Ok(found);
    }
    let mut words = 4;
    loop {
        if let Some(found) = Window::<M, Box<[u64]>>::new(job, words).run(events, meter)? {
            return Ok(found);
        }
        words *= 4;
    }
}

/// One event of the window: a call opens or closes.
#[derive(Clone, Copy, Debug)]
struct Happening {
    call: u32,
    opens: bool,
}

/// The events in order.
fn schedule<Op>(calls: &[Call<Op>]) -> Vec<Happening> {
    // Position, then opening, closing by completion, closing for want of use; then the call.
    let mut keys: Vec<(u64, u32)> = Vec::with_capacity(calls.len() * 2);
    for (index, call) in calls.iter().enumerate() {
        keys.push((u64::from(call.invoked) << 2, index as u32));
        if call.until != u32::MAX {
            let kind = if call.required { 1 } else { 3 };
            keys.push((u64::from(call.until) << 2 | kind, index as u32));
        }
    }
    keys.sort_unstable();
    keys.into_iter().map(|(key, call)| Happening { call, opens: key & 1 == 0 }).collect()
}

/// What a window works on.
struct Job<'a, M: Model> {
    model: &'a M,
    calls: &'a [Call<M::Op>],
    options: Options,
    /// How many equal calls of unknown outcome may be open at once.
    equals_max: usize,
}

impl<M: Model> Clone for Job<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Model> Copy for Job<'_, M> {}

/// A call without a slot: not open, or kept out.
const NO_SLOT: u32 = u32::MAX;

/// The open calls and the frontier over them.
struct Window<'a, M: Model, B: Bits> {
    job: Job<'a, M>,
    foresaw: bool,
    steps_left: u64,
    /// The slot of each call.
    slot_of: Vec<u32>,
    /// The call in each slot (stale where the slot is vacant).
    slots: Vec<u32>,
    vacant: Vec<u32>,
    /// Open calls that were kept out, as there were enough equal ones.
    kept_out: Vec<u32>,
    any_kept_out: bool,
    /// For each slot, the open equal calls that must take effect before its own.
    before: Vec<B>,
    open: B,
    observers: B,
    overwriters: B,
    /// Open calls that need not happen.
    optional: B,
    /// Open calls that must happen and apply in any state.
    hideable: B,
    words: usize,
    frontier: Antichain<M::State, B>,
    /// Reused by every completion.
    seen: Antichain<M::State, B>,
    goals: Antichain<M::State, B>,
    bytes_events: u64,
    bytes_told: u64,
}

impl<'a, M: Model, B: Bits> Window<'a, M, B> {
    fn new(job: Job<'a, M>, words: usize) -> Self {
        let none = B::empty(words);
        let mut frontier = Antichain::new();
        let first = Config {
            state: job.model.initial(),
            done: none.clone(),
            free: none.clone(),
            trail: Trail::default(),
        };
        frontier.insert(first, &none);
        let slots = words as u32 * 64;
        Window {
            job,
            foresaw: false,
            steps_left: job.options.steps_max,
            slot_of: vec![NO_SLOT; job.calls.len()],
            slots: vec![NO_SLOT; slots as usize],
            vacant: (0..slots).rev().collect(),
            kept_out: Vec::new(),
            any_kept_out: false,
            before: vec![none.clone(); slots as usize],
            open: none.clone(),
            observers: none.clone(),
            overwriters: none.clone(),
            optional: none.clone(),
            hideable: none,
            words,
            frontier,
            seen: Antichain::new(),
            goals: Antichain::new(),
            bytes_events: 0,
            bytes_told: 0,
        }
    }

    fn call(&self, index: u32) -> &'a Call<M::Op> {
        &self.job.calls[index as usize]
    }

    /// Reads the events. `None` if more calls are open at once than there are slots.
    fn run(
        mut self,
        events: &[Happening],
        meter: &mut Meter<'_>,
    ) -> Result<Option<(Found, bool)>, Exhausted> {
        self.bytes_events = (size_of_val(events) + size_of_val(&self.slot_of[..])) as u64;
        for event in events {
            meter.step()?;
            let slot = self.slot_of[event.call as usize];
            if event.opens {
                if !self.open(event.call) {
                    return Ok(None);
                }
            } else if slot == NO_SLOT {
                self.kept_out.retain(|&call| call != event.call);
            } else if !self.close(event.call, slot as usize, meter)? {
                let stuck = self.stuck(event.call);
                return Ok(Some((Found::Stuck(stuck), self.any_kept_out)));
            }
        }
        let order = self.job.options.with_order.then(|| {
            let last = self.frontier.iter().next().expect("a frontier that was not found empty");
            self.finish(last).order()
        });
        Ok(Some((Found::Valid(order), self.any_kept_out)))
    }

    /// A call is invoked. Returns whether there was a slot for it.
    fn open(&mut self, index: u32) -> bool {
        let call = self.call(index);
        let effect = self.job.model.effect(&call.op);
        if !call.required && self.equals_open(call) >= self.job.equals_max {
            self.kept_out.push(index);
            self.any_kept_out = true;
            return true;
        }
        let Some(slot) = self.vacant.pop() else { return false };
        self.slot_of[index as usize] = slot;
        let slot = slot as usize;
        self.slots[slot] = index;
        self.open.insert(slot);
        self.before[slot] = B::empty(self.words);
        if effect == Effect::Observe {
            self.observers.insert(slot);
            let Job { model, options, .. } = self.job;
            for config in self.frontier.iter_mut() {
                if model.step(&config.state, &call.op).is_some() {
                    config.done.insert(slot);
                    if options.with_order {
                        config.trail =
                            config.trail.then(Entry::Placed { call: index, overwrites: false });
                    }
                }
            }
            return true;
        }
        if effect == Effect::Overwrite {
            self.overwriters.insert(slot);
        }
        if call.required && effect != Effect::Conditional {
            self.hideable.insert(slot);
        }
        if !call.required {
            self.optional.insert(slot);
            for config in self.frontier.iter_mut() {
                config.free.insert(slot);
            }
        }
        self.rank_among_equals(index, slot);
        true
    }

    /// How many equal calls of unknown outcome are open.
    fn equals_open(&self, call: &Call<M::Op>) -> usize {
        let mut count = 0;
        for word in 0..self.words {
            count += Slots::of(self.optional.words()[word], word)
                .filter(|&slot| self.call(self.slots[slot]).op == call.op)
                .count();
        }
        count
    }

    /// Finds the open calls equal to a new one, and who goes first.
    fn rank_among_equals(&mut self, index: u32, slot: usize) {
        let call = self.call(index);
        for word in 0..self.words {
            let others = self.open.words()[word] & !self.observers.words()[word];
            for other in Slots::of(others, word) {
                if other == slot {
                    continue;
                }
                let equal = self.call(self.slots[other]);
                if equal.op != call.op {
                    continue;
                }
                // A call of unknown outcome has no deadline: it can wait for all others.
                let rank = |call: &Call<M::Op>| (!call.required, call.until, call.invoked);
                if rank(equal) < rank(call) {
                    self.before[slot].insert(other);
                } else {
                    self.before[other].insert(slot);
                }
            }
        }
    }

    /// A call completes, or is of no more use. Returns whether a configuration is left.
    fn close(&mut self, index: u32, slot: usize, meter: &mut Meter<'_>) -> Result<bool, Exhausted> {
        let mut frontier = mem::replace(&mut self.frontier, Antichain::new());
        let mut goals = mem::replace(&mut self.goals, Antichain::new());
        let mut seen = mem::replace(&mut self.seen, Antichain::new());
        let required = self.call(index).required;
        for config in frontier.drain() {
            // What may have happened unseen may also happen now, to be seen later.
            if config.free.has(slot) && required {
                seen.insert(config.clone(), &self.observers);
            }
            if config.done.has(slot) || config.free.has(slot) {
                self.arrive(config, index, slot, &mut goals);
            } else {
                seen.insert(config, &self.observers);
            }
        }
        let relevant = if seen.live() > 0 { self.relevant_to(slot) } else { self.open.clone() };
        let mut place = 0;
        while place < seen.places() {
            if let Some(config) = seen.at(place).cloned() {
                for word in 0..self.words {
                    let candidates = relevant.words()[word]
                        & !self.observers.words()[word]
                        & !config.done.words()[word];
                    for candidate in Slots::of(candidates, word) {
                        meter.step()?;
                        self.steps_left =
                            self.steps_left.checked_sub(1).ok_or(Exhausted::Stopped)?;
                        let Some(next) = self.place(&config, candidate, index) else { continue };
                        if next.done.has(slot) {
                            self.arrive(next, index, slot, &mut goals);
                            continue;
                        }
                        if next.free.has(slot) && !config.free.has(slot) {
                            self.arrive(next.clone(), index, slot, &mut goals);
                        }
                        seen.insert(next, &self.observers);
                    }
                }
                self.account(seen.places() + goals.places(), meter)?;
            }
            place += 1;
        }
        if goals.live() == 0 {
            // What was possible just before is told to the reader.
            self.frontier = seen;
            return Ok(false);
        }
        seen.clear();
        self.seen = seen;
        self.frontier = goals;
        self.goals = frontier;
        self.vacate(slot);
        self.forget_used();
        Ok(true)
    }

    /// Lets go of calls of unknown outcome that have happened in every configuration, and lets
    /// equal ones in that were kept out.
    fn forget_used(&mut self) {
        for word in 0..self.words {
            let mut used = self.optional.words()[word];
            for config in self.frontier.iter() {
                if used == 0 {
                    break;
                }
                used &= config.done.words()[word];
            }
            for slot in Slots::of(used, word) {
                let index = self.slots[slot];
                for config in self.frontier.iter_mut() {
                    config.done.remove(slot);
                }
                self.vacate(slot);
                let op = &self.call(index).op;
                let next = self.kept_out.iter().position(|&other| self.call(other).op == *op);
                if let Some(next) = next {
                    let next = self.kept_out.swap_remove(next);
                    let opened = self.open(next);
                    assert!(opened, "a slot has just been vacated");
                }
            }
        }
    }

    /// Takes a configuration in which the closing call has taken effect or needs not.
    fn arrive(
        &self,
        mut config: Config<M::State, B>,
        index: u32,
        slot: usize,
        goals: &mut Antichain<M::State, B>,
    ) {
        if self.job.options.with_order && config.free.has(slot) && self.call(index).required {
            config.trail = config.trail.then(Entry::Hidden { call: index });
        }
        config.done.remove(slot);
        config.free.remove(slot);
        goals.insert(config, &self.observers);
    }

    /// The configuration after the call in a slot took effect, if it can.
    fn place(
        &mut self,
        config: &Config<M::State, B>,
        slot: usize,
        closing: u32,
    ) -> Option<Config<M::State, B>> {
        let waits = self.before[slot].words().iter().zip(config.done.words());
        if waits.into_iter().any(|(before, done)| before & !done != 0) {
            return None;
        }
        let index = self.slots[slot];
        let state = self.job.model.step(&config.state, &self.call(index).op)?;
        if self.job.options.foresight && !self.job.model.viable(&state, self.call(closing).until) {
            self.foresaw = true;
            return None;
        }
        let mut next = Config {
            state,
            done: config.done.clone(),
            free: config.free.clone(),
            trail: config.trail.clone(),
        };
        next.done.insert(slot);
        next.free.remove(slot);
        let overwrites = self.overwriters.has(slot);
        if self.job.options.with_order {
            next.trail = next.trail.then(Entry::Placed { call: index, overwrites });
        }
        for word in 0..self.words {
            if overwrites {
                next.free.words_mut()[word] |=
                    self.hideable.words()[word] & !next.done.words()[word];
            }
            let waiting = self.observers.words()[word] & !next.done.words()[word];
            for observer in Slots::of(waiting, word) {
                let call = self.slots[observer];
                if self.job.model.step(&next.state, &self.call(call).op).is_some() {
                    next.done.insert(observer);
                    if self.job.options.with_order {
                        next.trail = next.trail.then(Entry::Placed { call, overwrites: false });
                    }
                }
            }
        }
        Some(next)
    }

    /// The open calls that the one in `slot` depends on, directly or through others.
    fn relevant_to(&self, slot: usize) -> B {
        if !self.job.model.some_commute() {
            return self.open.clone();
        }
        let mut relevant = B::empty(self.words);
        relevant.insert(slot);
        let mut queue = vec![slot];
        while let Some(slot) = queue.pop() {
            let op = &self.call(self.slots[slot]).op;
            for word in 0..self.words {
                let rest = self.open.words()[word] & !relevant.words()[word];
                for other in Slots::of(rest, word) {
                    if !self.job.model.commutes(op, &self.call(self.slots[other]).op) {
                        relevant.insert(other);
                        queue.push(other);
                    }
                }
            }
        }
        relevant
    }

    fn vacate(&mut self, slot: usize) {
        self.slot_of[self.slots[slot] as usize] = NO_SLOT;
        self.vacant.push(slot as u32);
        self.optional.remove(slot);
        self.open.remove(slot);
        self.observers.remove(slot);
        self.overwriters.remove(slot);
        self.hideable.remove(slot);
        for before in &mut self.before {
            before.remove(slot);
        }
    }

    fn account(&mut self, places: usize, meter: &mut Meter<'_>) -> Result<(), Exhausted> {
        let heap = if self.words > 1 { self.words * 16 } else { 0 };
        let each = size_of::<Config<M::State, B>>() + heap + 16;
        let bytes = self.bytes_events + (places * each) as u64;
        // Telling every byte would cost more than it is worth.
        if bytes.abs_diff(self.bytes_told) > 1 << 16 {
            self.bytes_told = bytes;
            meter.hold(bytes)?;
        }
        Ok(())
    }

    /// The trail of a configuration at the end, with what is still open and had to happen.
    fn finish(&self, config: &Config<M::State, B>) -> Trail {
        let mut trail = config.trail.clone();
        for word in 0..self.words {
            let free = config.free.words()[word] & self.open.words()[word];
            for slot in Slots::of(free, word) {
                let call = self.slots[slot];
                if self.call(call).required {
                    trail = trail.then(Entry::Hidden { call });
                }
            }
        }
        trail
    }

    fn stuck(&self, call: u32) -> Stuck {
        let mut states: Vec<String> = Vec::new();
        for config in self.frontier.iter() {
            let state = self.job.model.describe(&config.state);
            if !states.contains(&state) {
                if states.len() == STATES_SHOWN_MAX {
                    states.push("…".to_owned());
                    break;
                }
                states.push(state);
            }
        }
        Stuck { call, position: self.call(call).until, states, foresaw: self.foresaw }
    }
}
