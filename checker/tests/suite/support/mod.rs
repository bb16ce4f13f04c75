//! What the tests of the checker share: an oracle, and a maker of random histories.

pub mod generate;
pub mod jsonl;
pub mod oracle;
pub mod random;
