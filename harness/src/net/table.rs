//! Which rules are in force on every link: immutable, published as a whole.

use std::collections::BTreeMap;

use super::rule::{Effect, FaultId, Link, LinkRule};

/// The rules in force on every link. A link without an entry passes everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkTable {
    rules: BTreeMap<Link, Vec<LinkRule>>,
}

impl LinkTable {
    /// A table without rules: everything passes.
    pub fn new() -> Self {
        LinkTable::default()
    }

    /// Puts an effect of a fault in force on a link, beside those that are there.
    pub fn add(&mut self, link: Link, fault: FaultId, effect: Effect) {
        self.rules.entry(link).or_default().push(LinkRule { fault, effect });
    }

    /// Takes away all rules of a fault.
    pub fn remove(&mut self, fault: FaultId) {
        self.rules.retain(|_, rules| {
            rules.retain(|rule| rule.fault != fault);
            !rules.is_empty()
        });
    }

    /// The rules of a link, in the order they were added.
    pub fn of(&self, link: &Link) -> &[LinkRule] {
        self.rules.get(link).map_or(&[], Vec::as_slice)
    }

    /// All links that have rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Link, &[LinkRule])> {
        self.rules.iter().map(|(link, rules)| (link, rules.as_slice()))
    }

    /// Whether no link has a rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// A table that cannot be put in force; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The link's endpoints are not both known, or it joins two clients or a node to itself.
    #[error("fault {fault}: there is no link {link} in this network")]
    UnknownLink {
        /// The fault whose rule it is.
        fault: FaultId,
        /// The link that does not exist.
        link: Link,
    },
    /// The effect cannot be had on this link.
    #[error("fault {fault}: cannot {effect} on link {link}: {reason}")]
    Refused {
        /// The fault whose rule it is.
        fault: FaultId,
        /// The link.
        link: Link,
        /// The effect's name.
        effect: &'static str,
        /// What it would need.
        reason: &'static str,
    },
}
