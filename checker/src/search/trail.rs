//! The order in which a configuration placed its operations, kept only when someone asks for it.
//!
//! A trail is a linked list that configurations share from the tail on. What all of them share is
//! never changed, so a fork costs nothing; what only a dead configuration held is freed with it.

use std::rc::Rc;

/// The order so far, latest entry first.
#[derive(Clone, Default)]
pub(crate) struct Trail(Option<Rc<Node>>);

struct Node {
    entry: Entry,
    earlier: Trail,
}

/// One entry of a trail: a call by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It took effect here. Overwriting calls are marked, as hidden ones go right before them.
    Placed { call: u32, overwrites: bool },
    /// It took effect right before the latest overwriting call above, where nobody could see it.
    Hidden { call: u32 },
}

impl Trail {
    pub(crate) fn then(&self, entry: Entry) -> Trail {
        Trail(Some(Rc::new(Node { entry, earlier: self.clone() })))
    }

    /// The calls in the order in which they took effect.
    pub(crate) fn order(&self) -> Vec<u32> {
        let mut entries = Vec::new();
        let mut at = self;
        while let Some(node) = &at.0 {
            entries.push(node.entry);
            at = &node.earlier;
        }
        // Walking back from the end, hidden calls wait until the overwriting call before them has
        // been written; they then stand just before it once the whole is reversed.
        let mut backwards = Vec::with_capacity(entries.len());
        let mut hidden = Vec::new();
        for entry in entries {
            match entry {
                Entry::Hidden { call } => hidden.push(call),
                Entry::Placed { call, overwrites } => {
                    backwards.push(call);
                    if overwrites {
                        backwards.append(&mut hidden);
                    }
                }
            }
        }
        backwards.append(&mut hidden);
        backwards.reverse();
        backwards
    }
}

impl Drop for Trail {
    /// Frees a long list without recursion, which would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(node) = next {
            next = Rc::into_inner(node).and_then(|mut node| node.earlier.0.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_calls_stand_before_the_overwrite_that_hid_them() {
        let trail = Trail::default()
            .then(Entry::Placed { call: 1, overwrites: true })
            .then(Entry::Placed { call: 2, overwrites: false })
            .then(Entry::Placed { call: 3, overwrites: true })
            .then(Entry::Placed { call: 4, overwrites: false })
            .then(Entry::Hidden { call: 5 })
            .then(Entry::Placed { call: 6, overwrites: false });
        assert_eq!(trail.order(), [1, 2, 5, 3, 4, 6]);
    }

    #[test]
    fn a_long_trail_is_freed_without_recursion() {
        let mut trail = Trail::default();
        for call in 0..1_000_000 {
            trail = trail.then(Entry::Hidden { call });
        }
        drop(trail);
    }
}
