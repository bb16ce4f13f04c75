//! Cuts whole messages out of a byte stream, without I/O.
//!
//! Client and admin messages are one JSON object a line. Peer streams are the system's own; a
//! system file may declare how they are framed, so that proxies can drop whole messages.

use serde::{Deserialize, Serialize};

/// Longest frame accepted, in bytes. A longer one is an error of the sender, not a reason to
/// allocate without bound.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// How messages lie in a peer byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Unknown: only whole flows can be delayed, stalled or cut.
    #[default]
    Opaque,
    /// Each message ends with a newline.
    Lines,
    /// Each message is preceded by its length in bytes, a big-endian `u32` that does not count
    /// itself.
    LengthPrefix,
}

/// A frame was longer than [`FRAME_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of more than {FRAME_BYTES_MAX} bytes")]
pub struct FrameTooLong;

/// Collects bytes and gives back whole frames, delimiter or prefix included, in order.
#[derive(Debug)]
pub struct FrameDecoder {
    framing: Framing,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already handed out.
    start: usize,
    /// Bytes after `start` already searched for a newline.
    scanned: usize,
}

impl FrameDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new(framing: Framing) -> Self {
        FrameDecoder { framing, buffer: Vec::new(), start: 0, scanned: 0 }
    }

    /// Adds bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` if more bytes are needed. With [`Framing::Opaque`] whatever
    /// is there is a frame.
    ///
    /// # Errors
    /// [`FrameTooLong`]; the stream cannot be cut any further.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLong> {
        let pending = &self.buffer[self.start..];
        let len = match self.framing {
            Framing::Opaque => pending.len(),
            Framing::Lines => {
                match pending[self.scanned..].iter().position(|&byte| byte == b'\n') {
                    Some(at) => self.scanned + at + 1,
                    None => {
                        self.scanned = pending.len();
                        if pending.len() > FRAME_BYTES_MAX {
                            return Err(FrameTooLong);
                        }
                        0
                    }
                }
            }
            Framing::LengthPrefix => match pending.first_chunk::<4>() {
                Some(prefix) => {
                    let body = u32::from_be_bytes(*prefix) as usize;
                    if body > FRAME_BYTES_MAX {
                        return Err(FrameTooLong);
                    }
                    if pending.len() >= 4 + body { 4 + body } else { 0 }
                }
                None => 0,
            },
        };
        if len == 0 {
            return Ok(None);
        }
        let from = self.start;
        self.start += len;
        self.scanned = 0;
        Ok(Some(&self.buffer[from..from + len]))
    }

    /// Bytes that belong to a frame not yet whole.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The bytes of a frame not yet whole: at the end of a stream, what its sender left torn.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(framing: Framing, chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut decoder = FrameDecoder::new(framing);
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame().unwrap() {
                out.push(frame.to_vec());
            }
        }
        out
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_allocated() {
        let mut decoder = FrameDecoder::new(Framing::LengthPrefix);
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameTooLong));
    }

    proptest! {
        #[test]
        fn cuts_do_not_depend_on_how_the_bytes_arrive(
            bodies in prop::collection::vec(prop::collection::vec(0u8..=9, 0..20), 0..8),
            cuts in prop::collection::vec(0usize..200, 0..10),
        ) {
            for framing in [Framing::Lines, Framing::LengthPrefix] {
                let whole: Vec<Vec<u8>> = bodies.iter().map(|body| match framing {
                    Framing::Lines => [body.as_slice(), b"\n"].concat(),
                    _ => [&(body.len() as u32).to_be_bytes(), body.as_slice()].concat(),
                }).collect();
                let stream = whole.concat();
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
                cuts.extend([0, stream.len()]);
                cuts.sort_unstable();
                let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
                prop_assert_eq!(frames(framing, &chunks), whole.clone());
            }
        }
    }
}
