use std::borrow::Cow;
use std::io::{BufRead, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::history::Event;
use serde_json::Value as Json;

use super::edn::{EdnError, EdnReader};
use super::jsonl::{Fields, Names};
use crate::Error;
use crate::json_log::describe_json_error;
use crate::lines::{self, LINE_BYTES_MAX, Lines, Opened};

/// What a line of a history should look like; errors end with it.
const WANTED: &str = "an event is one JSON object a line with process, type, f and value, such as \
    {\"index\":0,\"time\":0,\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}";

/// Bytes of a file that are looked at to tell its format.
const FORMAT_BYTES: u64 = 4096;

/// A last line that was cut and is not part of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its number, from 1.
    pub line: u64,
}

type Source = Box<dyn BufRead + Send>;

/// Reads a history event by event, never holding more than one of them.
///
/// The format is told by the content: JSON Lines, or EDN as Jepsen writes it (a map a line, or all
/// events in one vector), either also compressed with zstd. Events of processes that are no
/// integers are passed over. A last line without a newline that cannot be read was cut by the end
/// of its writer: it is left out and reported by [`HistoryReader::torn`].
///
/// Keys may lie in the values as `independent`'s `[key value]` tuples; a history has them when all
/// its invocations are such pairs (in JSON Lines, where a list may be a plain value, a read invoked
/// with `[key, null]` must be among them). To tell, the file is read twice, as far as it takes.
pub struct HistoryReader {
    path: PathBuf,
    source: Format,
    has_tuples: bool,
    names: Names,
    torn: Option<Torn>,
    cut: Arc<AtomicBool>,
    events_not_judged: u64,
    time_ns: Option<u64>,
    is_done: bool,
}

enum Format {
    Jsonl(Lines<Source>),
    Edn(EdnReader<Source>),
}

impl std::fmt::Debug for HistoryReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl HistoryReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] when the content is neither JSON Lines nor EDN.
    pub fn open(path: &Path) -> Result<HistoryReader, Error> {
        HistoryReader::with(path, &|| lines::open(path))
    }

    /// Reads a history that is already in memory, such as standard input's; `label` stands for the
    /// path in errors.
    ///
    /// # Errors
    /// As for [`HistoryReader::open`].
    pub fn from_bytes(label: &Path, bytes: Vec<u8>) -> Result<HistoryReader, Error> {
        let bytes: Arc<[u8]> = bytes.into();
        HistoryReader::with(label, &|| {
            lines::decompressed(Cursor::new(bytes.clone()), false).map_err(Error::io("read", label))
        })
    }

    fn with(path: &Path, open: &dyn Fn() -> Result<Opened, Error>) -> Result<HistoryReader, Error> {
        let Opened { source, cut } = open()?;
        let (start, source) = peek(source).map_err(Error::io("read", path))?;
        let mut reader = HistoryReader {
            path: path.to_path_buf(),
            source: format(&start, source).map_err(|problem| Error::line(path, 1, problem))?,
            has_tuples: false,
            names: Names::default(),
            torn: None,
            cut,
            events_not_judged: 0,
            time_ns: None,
            is_done: false,
        };
        let second = open()?.source;
        reader.has_tuples = match reader.source {
            Format::Edn(_) => has_tuples(EdnReader::new(second, LINE_BYTES_MAX)),
            Format::Jsonl(_) => has_tuples_jsonl(Lines::new(second), path),
        };
        Ok(reader)
    }

    /// The last line, if it was cut; known once the iterator has ended.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Whether the file was compressed and is cut: then more than its last line is missing. Known
    /// once the iterator has ended.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// How many events of processes that are no integers were passed over so far.
    pub fn events_not_judged(&self) -> u64 {
        self.events_not_judged
    }

    /// The time of the event given last, in nanoseconds, if it had one. For people and for
    /// statistics: nothing is ordered by it.
    pub fn time_ns(&self) -> Option<u64> {
        self.time_ns
    }

    fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let Some((line, event)) = self.next_line()? else { return Ok(None) };
            match event {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => self.events_not_judged += 1,
                Err(problem) => return Err(Error::line(&self.path, line, problem)),
            }
        }
    }

    /// The next event and its line: `None` inside for one that is not judged, a problem for one
    /// that is wrong; `None` outside at the end.
    fn next_line(&mut self) -> Result<Option<(u64, EventOrProblem)>, Error> {
        let HistoryReader { path, source, names, has_tuples, torn, time_ns, .. } = self;
        match source {
            Format::Jsonl(lines) => loop {
                let Some(line) = lines.next(path)? else { return Ok(None) };
                let bytes = if line.number == 1 { without_bom(line.bytes) } else { line.bytes };
                if bytes.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let event = match serde_json::from_slice::<Fields<'_>>(bytes) {
                    Ok(fields) => {
                        *time_ns = fields.time.as_u64();
                        event_of(fields, line.number, *has_tuples, names)
                    }
                    Err(error) if !line.is_whole && error.is_eof() => {
                        *torn = Some(Torn { line: line.number });
                        return Ok(None);
                    }
                    Err(error) => Err(describe_json_error(&error)),
                };
                let event = event.map_err(|problem| format!("{problem}; {WANTED}"));
                return Ok(Some((line.number, event)));
            },
            Format::Edn(forms) => match forms.next_form() {
                Ok(None) => Ok(None),
                Ok(Some((line, form))) => {
                    let event = fields_of(form).and_then(|fields| {
                        *time_ns = fields.time.as_u64();
                        event_of(fields, line, *has_tuples, names)
                    });
                    Ok(Some((line, event)))
                }
                Err(EdnError::Cut { began, ends_with_newline: false }) => {
                    *torn = Some(Torn { line: began });
                    Ok(None)
                }
                Err(EdnError::Cut { began, .. }) => Err(Error::line(
                    path,
                    began,
                    "what begins here is not closed when the file ends".to_string(),
                )),
                Err(EdnError::Malformed(line, problem)) => Err(Error::line(path, line, problem)),
                Err(EdnError::Io(error)) => Err(Error::io("read", path)(error)),
            },
        }
    }
}

type EventOrProblem = Result<Option<Event>, String>;

impl Iterator for HistoryReader {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let next = self.next_event().transpose();
        self.is_done = !matches!(next, Some(Ok(_)));
        next
    }
}

fn event_of(fields: Fields<'_>, line: u64, has_tuples: bool, names: &mut Names) -> EventOrProblem {
    match fields.process()? {
        None => Ok(None),
        Some(process) => fields.into_event(line, process, has_tuples, names).map(Some),
    }
}

fn fields_of(form: Json) -> Result<Fields<'static>, String> {
    let Json::Object(mut form) = form else {
        return Err("not a map; an event is a map such as \
             {:process 0, :type :invoke, :f :read, :value nil}"
            .to_string());
    };
    let mut field = |name: &str| form.remove(name).unwrap_or_default();
    let name_of = |value: Json| match value {
        Json::String(name) => Some(Cow::Owned(name)),
        _ => None,
    };
    Ok(Fields {
        process: field("process"),
        r#type: name_of(field("type")),
        f: name_of(field("f")),
        time: field("time"),
        key: field("key"),
        value: field("value"),
        error: field("error"),
    })
}

/// The same for JSON Lines, where a list may also be a plain value: beside the pairs it takes a
/// read invoked with `[key, null]`, and no event with a `key`.
fn has_tuples_jsonl(mut lines: Lines<Source>, path: &Path) -> bool {
    let mut reads = false;
    while let Ok(Some(line)) = lines.next(path) {
        let bytes = if line.number == 1 { without_bom(line.bytes) } else { line.bytes };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(bytes) else { break };
        if fields.r#type.as_deref() == Some("invoke") && matches!(fields.process(), Ok(Some(_))) {
            if !fields.has_tuple() || !fields.key.is_null() {
                return false;
            }
            reads |= fields.f.as_deref() == Some("read") && fields.value[1].is_null();
        }
    }
    reads
}

/// Whether all client invocations of a history have `[key value]` tuples. What cannot be read is
/// left for the pass that reports it.
fn has_tuples(mut forms: EdnReader<Source>) -> bool {
    let mut has_any = false;
    while let Ok(Some((_, form))) = forms.next_form() {
        let Ok(fields) = fields_of(form) else { break };
        if fields.r#type.as_deref() == Some("invoke") && matches!(fields.process(), Ok(Some(_))) {
            if !fields.has_tuple() {
                return false;
            }
            has_any = true;
        }
    }
    has_any
}

fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The first bytes of a source, and the whole source.
fn peek(mut source: Source) -> std::io::Result<(Vec<u8>, Source)> {
    let mut start = Vec::new();
    source.by_ref().take(FORMAT_BYTES).read_to_end(&mut start)?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(source))))
}

fn format(start: &[u8], source: Source) -> Result<Format, String> {
    let mut significant =
        without_bom(start).iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    match [significant.next(), significant.next(), significant.next()] {
        [Some(b'['), Some(b'{'), Some(b'"')] => {
            Err(format!("a JSON array; {WANTED}, without brackets and commas around the lines"))
        }
        [Some(b'{'), Some(b'"' | b'}') | None, _] => Ok(Format::Jsonl(Lines::new(source))),
        [Some(b'{' | b'[' | b'(' | b'#' | b';'), ..] => {
            Ok(Format::Edn(EdnReader::new(source, LINE_BYTES_MAX)))
        }
        _ => Ok(Format::Jsonl(Lines::new(source))),
    }
}
