use std::collections::BTreeSet;
use std::fmt;

use protocol::NodeId;

/// An invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// At most one node leads a term.
    ElectionSafety,
    /// A leader holds every entry that was committed in an earlier term.
    LeaderCompleteness,
    /// All nodes apply the same entries in the same order.
    StateMachineSafety,
}

impl Invariant {
    /// Every invariant that is judged.
    pub const ALL: [Invariant; 3] =
        [Invariant::ElectionSafety, Invariant::LeaderCompleteness, Invariant::StateMachineSafety];

    /// The name of its check, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Invariant::ElectionSafety => "election-safety",
            Invariant::LeaderCompleteness => "leader-completeness",
            Invariant::StateMachineSafety => "state-machine-safety",
        }
    }

    /// What it says, in a sentence.
    pub const fn statement(self) -> &'static str {
        match self {
            Invariant::ElectionSafety => {
                "at most one node leads a term, and no node votes for two candidates in one term"
            }
            Invariant::LeaderCompleteness => {
                "an entry that was committed in a term is in the log of every leader of a later \
                 term"
            }
            Invariant::StateMachineSafety => {
                "no two nodes apply different entries at one index, and each applies them in \
                 order and without holes"
            }
        }
    }
}

/// What was found about one invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant.
    pub invariant: Invariant,
    /// What was found.
    pub outcome: Outcome,
}

/// What can be found about an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It held, and the traces have no gap.
    Valid,
    /// It was broken.
    Violation {
        /// How, in words.
        why: String,
        /// The events that show it.
        events: Vec<Witness>,
    },
    /// It could not be told.
    Unknown {
        /// What is missing; the first few if there are many.
        gaps: Vec<String>,
    },
    /// The system does not offer what it takes.
    Skipped {
        /// What it takes.
        why: String,
    },
}

/// An event of a trace that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: u32,
    /// The event's number within the incarnation.
    pub seq: u64,
    /// The node's term.
    pub term: u64,
    /// What the event says, in words.
    pub what: String,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Witness { node, incarnation, seq, term, what } = self;
        write!(f, "{node} (incarnation {incarnation}, event {seq}, term {term}): {what}")
    }
}

/// Most gaps that are named; the rest is counted.
const GAPS_NAMED_MAX: usize = 10;

/// What is missing from the traces. Bounded, and the same in whatever order gaps are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    named: BTreeSet<String>,
    found: u64,
}

impl Gaps {
    pub fn add(&mut self, what: String) {
        self.found += 1;
        self.named.insert(what);
        if self.named.len() > GAPS_NAMED_MAX {
            self.named.pop_last();
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Gaps) {
        for what in &other.named {
            self.add(what.clone());
        }
        self.found += other.found - other.named.len() as u64;
    }

    /// How many were added.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Valid if nothing is missing.
    pub fn into_outcome(self) -> Outcome {
        if self.found == 0 {
            return Outcome::Valid;
        }
        let more = self.found.saturating_sub(self.named.len() as u64);
        let mut gaps: Vec<String> = self.named.into_iter().collect();
        if more > 0 {
            gaps.push(format!("and {more} more"));
        }
        Outcome::Unknown { gaps }
    }
}

/// Names of nodes in words: `n1, n2 and n3`; the first few of many.
pub(super) fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    const NAMED_MAX: usize = 12;
    let mut words: Vec<String> = items.into_iter().take(NAMED_MAX).map(|i| i.to_string()).collect();
    match words.pop() {
        None => "nobody".to_string(),
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
    }
}
