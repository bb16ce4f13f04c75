//! Lines of a file, one by one, with a limit on their length and an eye on the last one.
//!
//! A file whose writer was killed ends in the middle of a line; a compressed one ends in the
//! middle of a frame. Both are an end like any other here: the reader learns that the last line
//! has no newline and judges by what it expected.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;

/// Longest line that is read, in bytes. A longer one is refused by its number before it is held.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What is read, and whether a compressed file turned out to be cut.
pub(crate) struct Opened {
    pub source: Box<dyn BufRead + Send>,
    /// Set when the end of a frame was missing; what it held is lost.
    pub cut: Arc<AtomicBool>,
}

/// Opens a file, decompressing it if it begins as a zstd frame does or ends in `.zst`.
pub(crate) fn open(path: &Path) -> Result<Opened, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(Error::io("read", path)(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let named_zst = path.extension().is_some_and(|extension| extension == "zst");
    decompressed(file, named_zst).map_err(Error::io("read", path))
}

/// `source` as it is, or decompressed if it begins as a zstd frame does or is `named_zst`.
pub(crate) fn decompressed(
    mut source: impl Read + Send + 'static,
    named_zst: bool,
) -> io::Result<Opened> {
    let mut start = Vec::with_capacity(ZSTD_MAGIC.len());
    source.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut start)?;
    let is_zstd = start == ZSTD_MAGIC || (named_zst && ZSTD_MAGIC.starts_with(&start));
    let whole = io::Cursor::new(start).chain(source);
    if is_zstd {
        let inner = zstd::stream::read::Decoder::new(whole)?;
        let cut = Arc::<AtomicBool>::default();
        let source = BufReader::new(CutTolerant { inner, cut: Arc::clone(&cut) });
        Ok(Opened { source: Box::new(source), cut })
    } else {
        let source = BufReader::with_capacity(1 << 16, whole);
        Ok(Opened { source: Box::new(source), cut: Arc::default() })
    }
}

/// Takes the end of a cut frame for the end of the file.
struct CutTolerant<R> {
    inner: R,
    cut: Arc<AtomicBool>,
}

impl<R: Read> Read for CutTolerant<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut.store(true, Ordering::Relaxed);
                Ok(0)
            }
            other => other,
        }
    }
}

/// A line as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub number: u64,
    /// Without its newline.
    pub bytes: &'a [u8],
    /// Whether a newline ended it; if not, it is the last one and may be cut.
    pub is_whole: bool,
}

/// Reads lines.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    number: u64,
    bytes_max: usize,
}

impl<R: BufRead> Lines<R> {
    pub fn new(source: R) -> Self {
        Lines { source, buffer: Vec::new(), number: 0, bytes_max: LINE_BYTES_MAX }
    }

    /// Lines of at most this many bytes.
    pub fn with_limit(source: R, bytes_max: usize) -> Self {
        Lines { bytes_max, ..Lines::new(source) }
    }

    /// The next line, `None` at the end of the file. `path` is for errors.
    pub fn next(&mut self, path: &Path) -> Result<Option<Line<'_>>, Error> {
        self.buffer.clear();
        let limit = self.bytes_max as u64 + 1;
        let read = self.source.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        if read.map_err(Error::io("read", path))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let is_whole = self.buffer.last() == Some(&b'\n');
        if is_whole {
            self.buffer.pop();
        } else if self.buffer.len() > self.bytes_max {
            let problem = format!("a line of more than {} bytes", self.bytes_max);
            return Err(Error::line(path, self.number, problem));
        }
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        Ok(Some(Line { number: self.number, bytes: &self.buffer, is_whole }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], limit: usize) -> Result<Vec<(u64, Vec<u8>, bool)>, Error> {
        let mut lines = Lines::with_limit(text, limit);
        let mut out = Vec::new();
        while let Some(line) = lines.next(Path::new("f"))? {
            out.push((line.number, line.bytes.to_vec(), line.is_whole));
        }
        Ok(out)
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_by_its_number() {
        assert_eq!(all(b"abc\nabc", 3).unwrap().len(), 2);
        let error = all(b"abc\nabcd", 3).unwrap_err().to_string();
        assert_eq!(error, "f:2: a line of more than 3 bytes");
    }

    #[test]
    fn the_last_line_says_whether_it_is_whole() {
        let lines = all(b"a\r\n\nb", 9).unwrap();
        let expected = [(1, b"a".to_vec(), true), (2, Vec::new(), true), (3, b"b".to_vec(), false)];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_compressed_file_cut_anywhere_gives_a_prefix() {
        let text: Vec<u8> = (0..2000u32).flat_map(|i| format!("{i}\n").into_bytes()).collect();
        let packed = zstd::encode_all(text.as_slice(), 1).unwrap();
        for cut in 0..=packed.len() {
            let opened = decompressed(io::Cursor::new(packed[..cut].to_vec()), true).unwrap();
            let mut source = opened.source;
            let mut out = Vec::new();
            source.read_to_end(&mut out).unwrap();
            assert!(text.starts_with(&out), "cut at {cut}");
            assert!(cut < packed.len() || out == text);
        }
    }
}
