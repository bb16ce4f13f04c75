//! A streaming reader of the EDN that Jepsen writes, as JSON values.
//!
//! Top-level maps come one by one, or as the elements of one vector or list. Keywords, symbols and
//! characters become strings (keywords without their colon), sets and lists become arrays, the
//! keys of maps become strings, tags and metadata are dropped. Depth and size of a form are
//! limited, so no input can exhaust the stack or the memory.

use std::io::{self, BufRead};

use serde_json::{Map, Number, Value as Json};

/// Deepest nesting of a form.
const DEPTH_MAX: u32 = 100;

/// Why a form could not be read.
#[derive(Debug)]
pub(super) enum EdnError {
    /// The input is not EDN: at which line, and why.
    Malformed(u64, String),
    /// The input ended inside a form; in which line that began, and whether the last byte was a
    /// newline.
    Cut { began: u64, ends_with_newline: bool },
    /// The input could not be read.
    Io(io::Error),
}

/// Reads forms.
pub(super) struct EdnReader<R> {
    source: R,
    line: u64,
    /// The line on which the current top-level form began.
    began: u64,
    /// Bytes of the current top-level form so far.
    form_bytes: usize,
    form_bytes_max: usize,
    last_byte: u8,
    /// What closes the vector or list around all events, once it was opened.
    closing: Option<u8>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Start,
    Forms,
    Ended,
}

impl<R: BufRead> EdnReader<R> {
    pub fn new(source: R, form_bytes_max: usize) -> Self {
        EdnReader {
            source,
            line: 1,
            began: 1,
            form_bytes: 0,
            form_bytes_max,
            last_byte: b'\n',
            closing: None,
            state: State::Start,
        }
    }

    /// The next event's form and the line on which it begins; `None` at the end.
    pub fn next_form(&mut self) -> Result<Option<(u64, Json)>, EdnError> {
        loop {
            self.form_bytes = 0;
            self.skip_blank()?;
            self.began = self.line;
            let Some(byte) = self.peek()? else {
                return if self.closing.is_some() { Err(self.cut()) } else { Ok(None) };
            };
            if self.state == State::Start {
                self.state = State::Forms;
                if byte == b'[' || byte == b'(' {
                    self.closing = Some(if byte == b'[' { b']' } else { b')' });
                    self.bump()?;
                    continue;
                }
            }
            if self.state == State::Ended {
                return Err(self.malformed("there is something after the end of the history"));
            }
            if self.closing == Some(byte) {
                self.bump()?;
                self.closing = None;
                self.state = State::Ended;
                continue;
            }
            let line = self.line;
            if let Some(form) = self.form(0)? {
                return Ok(Some((line, form)));
            }
        }
    }

    fn malformed(&self, problem: impl Into<String>) -> EdnError {
        EdnError::Malformed(self.line, problem.into())
    }

    fn cut(&self) -> EdnError {
        EdnError::Cut { began: self.began, ends_with_newline: self.last_byte == b'\n' }
    }

    fn peek(&mut self) -> Result<Option<u8>, EdnError> {
        loop {
            match self.source.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(EdnError::Io(error)),
            }
        }
    }

    /// Takes the byte that `peek` showed.
    fn bump(&mut self) -> Result<(), EdnError> {
        let Some(byte) = self.peek()? else { return Err(self.cut()) };
        self.source.consume(1);
        self.last_byte = byte;
        self.line += u64::from(byte == b'\n');
        self.form_bytes += 1;
        if self.form_bytes > self.form_bytes_max {
            return Err(self.malformed(format!(
                "an event of more than {} bytes, which began on line {}",
                self.form_bytes_max, self.began
            )));
        }
        Ok(())
    }

    fn take(&mut self) -> Result<u8, EdnError> {
        let Some(byte) = self.peek()? else { return Err(self.cut()) };
        self.bump()?;
        Ok(byte)
    }

    /// Skips white space, commas and comments. Between forms they count to no form's size.
    fn skip_blank(&mut self) -> Result<(), EdnError> {
        let counted = self.form_bytes;
        let mut in_comment = false;
        while let Some(byte) = self.peek()? {
            match byte {
                b'\n' => in_comment = false,
                b';' => in_comment = true,
                _ if in_comment || byte == b',' || byte.is_ascii_whitespace() => {}
                _ => break,
            }
            self.form_bytes = counted;
            self.bump()?;
        }
        self.form_bytes = counted;
        Ok(())
    }

    /// Reads one form; `None` for a discarded one (`#_`).
    fn form(&mut self, depth: u32) -> Result<Option<Json>, EdnError> {
        if depth >= DEPTH_MAX {
            return Err(self.malformed(format!("a form nested more than {DEPTH_MAX} deep")));
        }
        self.skip_blank()?;
        let Some(byte) = self.peek()? else { return Err(self.cut()) };
        let form = match byte {
            b'{' => self.map(depth)?,
            b'[' => Json::Array(self.items(b']', depth)?),
            b'(' => Json::Array(self.items(b')', depth)?),
            b'"' => {
                self.bump()?;
                Json::String(self.string()?)
            }
            b'\\' => self.character()?,
            b'#' => return self.dispatch(depth),
            b'^' => {
                self.bump()?;
                self.required_form(depth)?;
                self.required_form(depth)?
            }
            b'\'' => {
                self.bump()?;
                self.required_form(depth)?
            }
            b'}' | b']' | b')' => {
                let close = char::from(byte);
                return Err(self.malformed(format!("a `{close}` that closes nothing")));
            }
            _ => {
                let token = self.token()?;
                self.atom(&token)?
            }
        };
        Ok(Some(form))
    }

    /// The next form that is not discarded, one level deeper.
    fn required_form(&mut self, depth: u32) -> Result<Json, EdnError> {
        loop {
            if let Some(form) = self.form(depth + 1)? {
                return Ok(form);
            }
        }
    }

    /// What follows an opening bracket, up to the closing one.
    fn items(&mut self, close: u8, depth: u32) -> Result<Vec<Json>, EdnError> {
        self.bump()?;
        let mut items = Vec::new();
        loop {
            self.skip_blank()?;
            if self.peek()? == Some(close) {
                self.bump()?;
                return Ok(items);
            }
            items.extend(self.form(depth + 1)?);
        }
    }

    fn map(&mut self, depth: u32) -> Result<Json, EdnError> {
        let items = self.items(b'}', depth)?;
        if !items.len().is_multiple_of(2) {
            return Err(self.malformed("a map with a key that has no value"));
        }
        let mut fields = Map::new();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            let key = match key {
                Json::String(text) => text,
                other => other.to_string(),
            };
            fields.insert(key, value);
        }
        Ok(Json::Object(fields))
    }

    /// What follows a `#`: a set, a discarded form, a symbolic number, a tagged form.
    fn dispatch(&mut self, depth: u32) -> Result<Option<Json>, EdnError> {
        self.bump()?;
        match self.peek()? {
            None => Err(self.cut()),
            Some(b'{') => Ok(Some(Json::Array(self.items(b'}', depth)?))),
            Some(b'_') => {
                self.bump()?;
                self.required_form(depth)?;
                Ok(None)
            }
            Some(b'"') => {
                self.bump()?;
                self.string().map(|text| Some(Json::String(text)))
            }
            Some(b'#') => {
                self.bump()?;
                self.token().map(|token| Some(Json::String(format!("##{token}"))))
            }
            Some(_) => {
                if self.token()?.is_empty() {
                    return Err(self.malformed("a `#` without a tag"));
                }
                self.required_form(depth).map(Some)
            }
        }
    }

    /// Characters up to the next delimiter.
    fn token(&mut self) -> Result<String, EdnError> {
        let mut bytes = Vec::new();
        while let Some(byte) = self.peek()? {
            if byte.is_ascii_whitespace() || b",()[]{}\";".contains(&byte) {
                break;
            }
            bytes.push(byte);
            self.bump()?;
        }
        String::from_utf8(bytes).map_err(|_| self.malformed("a word that is not UTF-8"))
    }

    fn atom(&mut self, token: &str) -> Result<Json, EdnError> {
        let first = token.as_bytes().first().copied().unwrap_or_default();
        let second = token.as_bytes().get(1).copied().unwrap_or_default();
        let is_number =
            first.is_ascii_digit() || (b"+-".contains(&first) && second.is_ascii_digit());
        // A word that the end of the input touches may be a part of a longer one.
        if self.peek()?.is_none() {
            return Err(self.cut());
        }
        Ok(match token {
            "nil" => Json::Null,
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            _ if is_number => {
                number(token).ok_or_else(|| self.malformed(format!("`{token}` is not a number")))?
            }
            _ if first == b':' && token.len() > 1 => Json::String(token[1..].to_string()),
            _ if first == b':' => return Err(self.malformed("a `:` without a name")),
            _ => Json::String(token.to_string()),
        })
    }

    fn character(&mut self) -> Result<Json, EdnError> {
        self.bump()?;
        // The first character belongs to it even when it is a delimiter.
        let first = self.take()?;
        let mut bytes = vec![first];
        bytes.extend(self.token()?.into_bytes());
        let name = String::from_utf8(bytes)
            .map_err(|_| self.malformed("a character that is not UTF-8"))?;
        let text = match name.as_str() {
            "newline" => "\n".to_string(),
            "space" => " ".to_string(),
            "tab" => "\t".to_string(),
            "return" => "\r".to_string(),
            _ => name,
        };
        Ok(Json::String(text))
    }

    /// A string after its opening quote.
    fn string(&mut self) -> Result<String, EdnError> {
        let mut bytes = Vec::new();
        loop {
            match self.take()? {
                b'"' => break,
                b'\\' => {
                    let escape = self.take()?;
                    let c = match escape {
                        b'n' => '\n',
                        b't' => '\t',
                        b'r' => '\r',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'"' | b'\\' | b'/' => char::from(escape),
                        b'u' => self.unicode()?,
                        other => {
                            let other = char::from(other).escape_default();
                            return Err(self.malformed(format!("unknown escape `\\{other}`")));
                        }
                    };
                    bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
                }
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.malformed("a string that is not UTF-8"))
    }

    /// The character after `\u`, also as a pair of surrogates.
    fn unicode(&mut self) -> Result<char, EdnError> {
        let high = self.hex4()?;
        let mut units = vec![high];
        if (0xd800..0xdc00).contains(&high) {
            let is_escape = self.take()? == b'\\' && self.take()? == b'u';
            if !is_escape {
                return Err(self.malformed("half of a surrogate pair"));
            }
            units.push(self.hex4()?);
        }
        let mut decoded = char::decode_utf16(units);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(c)), None) => Ok(c),
            _ => Err(self.malformed("half of a surrogate pair")),
        }
    }

    fn hex4(&mut self) -> Result<u16, EdnError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.take()?).to_digit(16);
            let digit =
                digit.ok_or_else(|| self.malformed("`\\u` needs four hexadecimal digits"))?;
            unit = unit * 16 + u16::try_from(digit).unwrap_or_default();
        }
        Ok(unit)
    }
}

/// An EDN number. What JSON has no number for (ratios, integers beyond 64 bits) becomes its text.
fn number(token: &str) -> Option<Json> {
    let plain = token.strip_prefix('+').unwrap_or(token);
    let digits = plain.strip_suffix(['N', 'M']).unwrap_or(plain);
    if let Ok(int) = digits.parse::<i64>() {
        return Some(Json::Number(int.into()));
    }
    if let Ok(int) = digits.parse::<u64>() {
        return Some(Json::Number(int.into()));
    }
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if all_digits(unsigned) {
        return Some(Json::String(digits.to_string()));
    }
    if let Some((above, below)) = unsigned.split_once('/') {
        return (all_digits(above) && all_digits(below)).then(|| Json::String(digits.to_string()));
    }
    let float = digits.parse::<f64>().ok().filter(|_| !digits.contains(['i', 'n', 'I']))?;
    Number::from_f64(float).map(Json::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(u64, Json)>, EdnError> {
        let mut reader = EdnReader::new(text, 1 << 16);
        let mut forms = Vec::new();
        while let Some(form) = reader.next_form()? {
            forms.push(form);
        }
        Ok(forms)
    }

    #[test]
    fn forms_become_json() {
        for (text, expected) in [
            ("{:a 1, :b nil}", json!({"a": 1, "b": null})),
            ("{:a [1 (2 #{3})]}", json!({"a": [1, [2, [3]]]})),
            ("#jepsen.history.Op{:f :read}", json!({"f": "read"})),
            ("{:a #inst \"2026\" #_ {:b 2} :c sym/bol}", json!({"a": "2026", "c": "sym/bol"})),
            ("{\"x\" \"q\\\"\\u00e9\\ud83d\\ude00\"}", json!({"x": "q\"é😀"})),
            ("{:a -5, :b 5N, :c 1.5, :d 1/2}", json!({"a": -5, "b": 5, "c": 1.5, "d": "1/2"})),
            ("{1 ^{:m 1} [2] :c \\space :d \\( }", json!({"1": [2], "c": " ", "d": "("})),
            (
                "{:a 99999999999999999999 :b ##Inf}",
                json!({"a": "99999999999999999999", "b": "##Inf"}),
            ),
            ("; note\n{:a true} ; end\n", json!({"a": true})),
            ("[{:a 1}]", json!({"a": 1})),
        ] {
            let forms = read(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(forms.len(), 1, "{text}");
            assert_eq!(forms[0].1, expected, "{text}");
        }
    }

    #[test]
    fn lines_are_those_on_which_events_begin() {
        let forms = read(b"\n[{:a 1\n :b 2}\n\n {:a 2}]\n").unwrap();
        assert_eq!(forms.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, expected) in [
            ("{:a 1}\n{:a}\n", 2, "no value"),
            ("[{:a 1}]\n{:a 1}\n", 2, "after the end"),
            ("{:a 1x} ", 1, "`1x` is not a number"),
            ("{:a \"\\q\"}\n", 1, "unknown escape"),
            ("{:a 1}}\n", 1, "closes nothing"),
        ] {
            match read(text.as_bytes()) {
                Err(EdnError::Malformed(at, problem)) => {
                    assert_eq!(at, line, "{text}");
                    assert!(problem.contains(expected), "{text}: {problem}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(
            read(b"{:a 1}\n{:a [1"),
            Err(EdnError::Cut { began: 2, ends_with_newline: false })
        ));
    }

    #[test]
    fn depth_and_size_are_limited() {
        let deep = "[".repeat(1_000_000);
        assert!(matches!(read(format!("{{:a {deep}").as_bytes()), Err(EdnError::Malformed(1, _))));
        let tags = "#_ ".repeat(20_000);
        assert!(matches!(read(format!("{{:a {tags}").as_bytes()), Err(EdnError::Malformed(1, _))));
        let long = format!("{{:a 1}}\n{{:a \"{}\"}}", "x".repeat(1 << 16));
        assert!(matches!(read(long.as_bytes()), Err(EdnError::Malformed(2, _))));
        let blank = format!("{{:a 1}}{}{{:a 2}}", "\n".repeat(1 << 17));
        assert_eq!(read(blank.as_bytes()).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_brackets_panic(text in "[\\[\\](){}#_:\"\\\\^'0-9a-eNM/+. ,;\n-]{0,80}") {
            let _ = read(text.as_bytes());
        }
    }
}
