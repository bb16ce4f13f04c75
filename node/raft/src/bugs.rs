//! The registry of seeded bugs: deliberate, switchable mistakes that real implementations made.
//!
//! Each bug is one visible switch, asked through [`Bugs::has`] at the one place where the mistake
//! would be made. Without bugs the code takes the other branch everywhere, and nothing in this
//! module is more than a set of names. The registry also tells `describe` what there is.

use protocol::describe;

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// Term and vote never reach the disk; the log does.
    ForgetTermAndVote,
    /// A vote is granted without comparing logs.
    VoteWithoutLogCheck,
    /// A quorum is counted one short, wherever one is counted.
    QuorumOneShort,
    /// Entries are acknowledged while they are still in the process's own buffer.
    AckBeforeWrite,
    /// A leader answers reads from its own state, without asking anybody.
    ReadWithoutQuorum,
    /// A follower applies an entry when it arrives.
    ApplyOnAppend,
}

impl Bug {
    /// Every bug, in the order in which `describe` lists them.
    pub const ALL: [Bug; 6] = [
        Bug::ForgetTermAndVote,
        Bug::VoteWithoutLogCheck,
        Bug::QuorumOneShort,
        Bug::AckBeforeWrite,
        Bug::ReadWithoutQuorum,
        Bug::ApplyOnAppend,
    ];

    /// The name that `node.json` and `--bug` use.
    pub fn name(self) -> &'static str {
        match self {
            Bug::ForgetTermAndVote => "forget-term-and-vote",
            Bug::VoteWithoutLogCheck => "vote-without-log-check",
            Bug::QuorumOneShort => "quorum-one-short",
            Bug::AckBeforeWrite => "ack-before-write",
            Bug::ReadWithoutQuorum => "read-without-quorum",
            Bug::ApplyOnAppend => "apply-on-append",
        }
    }

    /// What `describe` says of it: summary, the check that it breaks, fault groups that provoke it.
    pub fn describe(self) -> describe::Bug {
        let (summary, property, faults): (&str, &str, &[&str]) = match self {
            Bug::ForgetTermAndVote => (
                "term and vote are not persisted: a restarted node begins at term 0 and can vote \
                 twice in a term",
                "election-safety",
                &["kill"],
            ),
            Bug::VoteWithoutLogCheck => (
                "a vote is granted without comparing logs: a candidate that lacks committed \
                 entries can win",
                "leader-completeness",
                &["partition", "kill"],
            ),
            Bug::QuorumOneShort => (
                "quorums are counted one short: two disjoint groups can both elect and commit",
                "leader-completeness",
                &["partition", "drop"],
            ),
            Bug::AckBeforeWrite => (
                "an entry is acknowledged while it is still in the process's own buffer: a kill \
                 loses what was acknowledged",
                "linearizable",
                &["kill"],
            ),
            Bug::ReadWithoutQuorum => (
                "a leader answers reads from its own state without asking a quorum: a deposed \
                 leader answers with old values",
                "linearizable",
                &["partition", "pause"],
            ),
            Bug::ApplyOnAppend => (
                "a follower applies an entry when it arrives, not when it is committed",
                "state-machine-safety",
                &["partition", "kill"],
            ),
        };
        describe::Bug {
            name: self.name().to_owned(),
            summary: summary.to_owned(),
            property: property.to_owned(),
            faults: faults.iter().map(|&fault| fault.to_owned()).collect(),
        }
    }
}

/// A name that no seeded bug has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown bug {name:?}; known bugs: {}", Bug::ALL.map(Bug::name).join(", "))]
pub struct UnknownBug {
    /// The name given.
    pub name: String,
}

/// The set of bugs that are switched on; empty by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs(u8);

impl Bugs {
    /// No bug: a correct node.
    pub const NONE: Bugs = Bugs(0);

    /// The set with just this bug.
    pub fn only(bug: Bug) -> Bugs {
        Bugs(1 << bug as u8)
    }

    /// The set with these names.
    ///
    /// # Errors
    /// The first name that is not in [`Bug::ALL`].
    pub fn from_names(names: &[String]) -> Result<Bugs, UnknownBug> {
        names.iter().try_fold(Bugs::NONE, |set, name| {
            let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name);
            let bug = bug.ok_or_else(|| UnknownBug { name: name.clone() })?;
            Ok(Bugs(set.0 | Bugs::only(bug).0))
        })
    }

    /// Whether this bug is switched on.
    pub fn has(self, bug: Bug) -> bool {
        self.0 & Bugs::only(bug).0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_bugs_and_unknown_names_list_the_known() {
        let set = Bugs::from_names(&["quorum-one-short".into(), "apply-on-append".into()]).unwrap();
        let on: Vec<Bug> = Bug::ALL.into_iter().filter(|&bug| set.has(bug)).collect();
        assert_eq!(on, [Bug::QuorumOneShort, Bug::ApplyOnAppend]);
        let error = Bugs::from_names(&["quorum-two-short".into()]).unwrap_err().to_string();
        assert!(error.contains("quorum-two-short") && error.contains("read-without-quorum"));
    }
}
