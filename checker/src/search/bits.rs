//! Sets of window slots: a few machine words in place, or as many as it takes on the heap.

/// A set of small numbers with a fixed number of words.
pub(crate) trait Bits: Clone + PartialEq {
    /// The empty set, of `words` words (which a fixed-size set ignores).
    fn empty(words: usize) -> Self;
    /// The words.
    fn words(&self) -> &[u64];
    /// The words, to change.
    fn words_mut(&mut self) -> &mut [u64];

    fn has(&self, slot: usize) -> bool {
        self.words()[slot / 64] >> (slot % 64) & 1 == 1
    }

    fn insert(&mut self, slot: usize) {
        self.words_mut()[slot / 64] |= 1 << (slot % 64);
    }

    fn remove(&mut self, slot: usize) {
        self.words_mut()[slot / 64] &= !(1 << (slot % 64));
    }
}

impl<const W: usize> Bits for [u64; W] {
    fn empty(_words: usize) -> Self {
        [0; W]
    }

    fn words(&self) -> &[u64] {
        self
    }

    fn words_mut(&mut self) -> &mut [u64] {
        self
    }
}

impl Bits for Box<[u64]> {
    fn empty(words: usize) -> Self {
        vec![0; words].into_boxed_slice()
    }

    fn words(&self) -> &[u64] {
        self
    }

    fn words_mut(&mut self) -> &mut [u64] {
        self
    }
}

/// The slots set in one word, lowest first.
pub(crate) struct Slots {
    word: u64,
    base: usize,
}

impl Slots {
    pub(crate) fn of(word: u64, index: usize) -> Slots {
        Slots { word, base: index * 64 }
    }
}

impl Iterator for Slots {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.word == 0 {
            return None;
        }
        let slot = self.base + self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(slot)
    }
}
