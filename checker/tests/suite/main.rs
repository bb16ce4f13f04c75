//! The checker judged from outside: against an oracle, and on histories with known verdicts.

mod agreement;
mod histories;
mod support;
