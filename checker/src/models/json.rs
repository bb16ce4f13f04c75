//! Takes apart the one kind of JSON text that models are given: an object, as an initial state.

use crate::value::Value;

/// How deep the object may be nested.
const DEPTH_MAX: u32 = 32;

/// The entries of a JSON object, or `None` if the text is none.
pub(crate) fn object_entries(json: &str) -> Option<Vec<(Value, Value)>> {
    let mut reader = Reader { text: json, at: 0 };
    let entries = reader.object(0)?;
    reader.skip_space();
    (reader.at == json.len()).then_some(entries)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn object(&mut self, depth: u32) -> Option<Vec<(Value, Value)>> {
        self.take(b'{')?;
        let mut entries = Vec::new();
        if self.take(b'}').is_some() {
            return Some(entries);
        }
        loop {
            self.skip_space();
            let name = Value::Text(self.string()?.into());
            self.take(b':')?;
            entries.push((name, self.value(depth + 1)?));
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(entries);
            }
        }
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_space();
        let start = self.at;
        match self.peek()? {
            b'"' => Some(Value::Text(self.string()?.into())),
            b'{' => {
                self.object(depth)?;
                Some(Value::Other(self.text[start..self.at].into()))
            }
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                if self.take(b']').is_some() {
                    return Some(Value::list(items));
                }
                loop {
                    items.push(self.value(depth + 1)?);
                    if self.take(b',').is_none() {
                        self.take(b']')?;
                        return Some(Value::list(items));
                    }
                }
            }
            _ => {
                while self.peek().is_some_and(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
                }) {
                    self.at += 1;
                }
                match &self.text[start..self.at] {
                    "null" => Some(Value::Null),
                    "true" => Some(true.into()),
                    "false" => Some(false.into()),
                    number => match number.parse() {
                        Ok(number) => Some(Value::Int(number)),
                        Err(_) => {
                            let number_like = number.parse::<f64>().is_ok();
                            number_like.then(|| Value::Other(number.into()))
                        }
                    },
                }
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let character = rest.chars().next()?;
            self.at += character.len_utf8();
            match character {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                plain => text.push(plain),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let kind = self.peek()?;
        self.at += 1;
        Some(match kind {
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(kind),
            b'u' => {
                let first = self.hex4()?;
                if (0xd800..0xdc00).contains(&first) {
                    if self.text.get(self.at..self.at + 2)? != "\\u" {
                        return None;
                    }
                    self.at += 2;
                    let second = self.hex4()?;
                    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                    return char::from_u32(0x10000 + ((first - 0xd800) << 10) + low);
                }
                char::from_u32(first)?
            }
            _ => return None,
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_taken_apart_and_all_else_refused() {
        let entries = object_entries(r#" {"x":0,"yé\n\u00e9😀":[1,"a",null,{"b":2}],"z":1.5} "#);
        let expected = vec![
            ("x".into(), 0.into()),
            (
                "yé\né😀".into(),
                Value::list([1.into(), "a".into(), Value::Null, Value::Other(r#"{"b":2}"#.into())]),
            ),
            ("z".into(), Value::Other("1.5".into())),
        ];
        assert_eq!(entries, Some(expected));
        assert_eq!(object_entries("{}"), Some(Vec::new()));
        for wrong in ["", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1}x", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(object_entries(wrong), None, "{wrong}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert_eq!(object_entries(&deep), None);
    }
}
