//! A list that only grows, shared between all states that begin alike.
//!
//! Adding an item costs the same however long the list is. Equality is by content and exact; a
//! hash of the whole settles most comparisons at once, and shared beginnings most others.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A list of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    item: u32,
    /// Items up to and with this one.
    len: u32,
    hash: u64,
    earlier: Chain,
}

fn mix(hash: u64, item: u32) -> u64 {
    (hash.rotate_left(5) ^ u64::from(item)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Chain {
    pub(crate) fn of(items: &[u32]) -> Chain {
        items.iter().fold(Chain::default(), |chain, &item| chain.with(item))
    }

    pub(crate) fn with(&self, item: u32) -> Chain {
        let (len, hash) = (self.len() as u32 + 1, mix(self.content_hash(), item));
        Chain(Some(Arc::new(Link { item, len, hash, earlier: self.clone() })))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.len as usize)
    }

    fn content_hash(&self) -> u64 {
        self.0.as_ref().map_or(0, |link| link.hash)
    }

    /// Whether the content is exactly these items.
    pub(crate) fn is(&self, items: &[u32], hash: u64) -> bool {
        self.len() == items.len()
            && self.content_hash() == hash
            && self.backwards().zip(items.iter().rev()).all(|(item, other)| item == *other)
    }

    /// Items from the last to the first.
    pub(crate) fn backwards(&self) -> impl Iterator<Item = u32> + '_ {
        let mut at = self;
        std::iter::from_fn(move || {
            let link = at.0.as_ref()?;
            at = &link.earlier;
            Some(link.item)
        })
    }
}

/// The hash that a chain of these items has.
pub(crate) fn hash_of(items: &[u32]) -> u64 {
    items.iter().fold(0, |hash, &item| mix(hash, item))
}

impl PartialEq for Chain {
    fn eq(&self, other: &Chain) -> bool {
        if self.len() != other.len() || self.content_hash() != other.content_hash() {
            return false;
        }
        let (mut one, mut two) = (self, other);
        while let (Some(a), Some(b)) = (&one.0, &two.0) {
            if Arc::ptr_eq(a, b) {
                return true;
            }
            if a.item != b.item {
                return false;
            }
            (one, two) = (&a.earlier, &b.earlier);
        }
        true
    }
}

impl Eq for Chain {}

impl Hash for Chain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.content_hash());
    }
}

impl Drop for Chain {
    /// Frees a long chain without recursion, which would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(link) = next {
            next = Arc::into_inner(link).and_then(|mut link| link.earlier.0.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_by_content() {
        let one = Chain::of(&[1, 2, 3]);
        assert_eq!(one, Chain::of(&[1, 2]).with(3));
        assert_ne!(one, Chain::of(&[1, 2]));
        assert_ne!(one, Chain::of(&[1, 3, 2]));
        assert!(one.is(&[1, 2, 3], hash_of(&[1, 2, 3])));
        assert!(!one.is(&[1, 2, 4], hash_of(&[1, 2, 4])));
        drop(Chain::of(&vec![7; 1_000_000]));
    }
}
