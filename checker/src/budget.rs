//! What a check may spend.
//!
//! The crate has no clock and asks no operating system for memory figures. The caller passes a
//! callback that says when to stop (a deadline, a Ctrl-C) and a limit on the bytes that the check
//! itself accounts for. A check that meets either answers `unknown`, never a guess.

use std::sync::atomic::{AtomicU64, Ordering};

/// The limits of one check.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Asked every few thousand steps, from any thread; `true` ends the check.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Limit on the bytes that the check holds at once by its own account (the search's
    /// configurations and encoded operations; not the history it was given).
    pub bytes_max: u64,
}

impl Budget<'static> {
    /// A budget that never ends.
    pub fn unlimited() -> Budget<'static> {
        Budget { should_stop: &|| false, bytes_max: u64::MAX }
    }
}

/// Which part of a budget ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exhausted {
    /// The caller's callback said stop (its time ran out, or it was interrupted).
    Stopped,
    /// The check's own bytes reached the limit.
    Bytes,
    /// None of the methods that the caller allowed could decide.
    Methods,
}

/// The bytes that all parts of one check hold together.
#[derive(Default)]
pub(crate) struct Account {
    held: AtomicU64,
}

/// One part's view of the budget: counts its bytes in steps and asks the callback now and then.
pub(crate) struct Meter<'a> {
    budget: &'a Budget<'a>,
    account: &'a Account,
    held: u64,
    until_asked: u32,
}

/// Steps between two questions to the callback: a step costs well under a microsecond.
const STEPS_PER_QUESTION: u32 = 2_048;

impl<'a> Meter<'a> {
    pub(crate) fn new(budget: &'a Budget<'a>, account: &'a Account) -> Meter<'a> {
        Meter { budget, account, held: 0, until_asked: 0 }
    }

    /// Says that one step was made.
    pub(crate) fn step(&mut self) -> Result<(), Exhausted> {
        if self.until_asked == 0 {
            self.until_asked = STEPS_PER_QUESTION;
            if (self.budget.should_stop)() {
                return Err(Exhausted::Stopped);
            }
        }
        self.until_asked -= 1;
        Ok(())
    }

    /// Says how many bytes this part holds now.
    pub(crate) fn hold(&mut self, bytes: u64) -> Result<(), Exhausted> {
        // The sum wraps exactly as the single differences do, so it stays right.
        let difference = bytes.wrapping_sub(self.held);
        let before = self.account.held.fetch_add(difference, Ordering::Relaxed);
        self.held = bytes;
        if before.wrapping_add(difference) > self.budget.bytes_max {
            return Err(Exhausted::Bytes);
        }
        Ok(())
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_between_parts_and_given_back() {
        let budget = Budget { should_stop: &|| false, bytes_max: 100 };
        let account = Account::default();
        let mut first = Meter::new(&budget, &account);
        assert_eq!(first.hold(60), Ok(()));
        {
            let mut second = Meter::new(&budget, &account);
            assert_eq!(second.hold(40), Ok(()));
            assert_eq!(second.hold(41), Err(Exhausted::Bytes));
        }
        assert_eq!(first.hold(100), Ok(()));
        assert_eq!(first.hold(5), Ok(()));
    }

    #[test]
    fn the_callback_is_asked_at_once() {
        let budget = Budget { should_stop: &|| true, bytes_max: u64::MAX };
        let account = Account::default();
        assert_eq!(Meter::new(&budget, &account).step(), Err(Exhausted::Stopped));
    }
}
