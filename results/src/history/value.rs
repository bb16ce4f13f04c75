use checker::value::Value;
use serde_json::Value as Json;

/// Whole numbers up to this size mean the same as a float and as an integer.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// The checker's value of a JSON value.
///
/// A float without a fraction is the integer of that size, as in every language whose numbers are
/// all floats: a node that answers `1.0` for a `1` has lost nothing. Other floats, integers beyond
/// 64 bits and objects are compared by their canonical text. Integers beyond unsigned 64 bits have
/// already been rounded by the JSON parser.
pub fn json_to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::list(items.iter().map(json_to_value)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() <= EXACT_FLOAT_MAX => {
                #[expect(clippy::cast_possible_truncation, reason = "whole and small enough")]
                let int = float as i64;
                Value::Int(int)
            }
            _ => Value::Other(number.to_string().into()),
        },
        Json::Object(_) => {
            let mut text = String::new();
            write_canonical(json, &mut text);
            Value::Other(text.into())
        }
    }
}

/// JSON with the keys of objects in order of text and numbers as [`json_to_value`] takes them. The
/// parsers limit how deep a value may be, so the recursion is bounded.
fn write_canonical(json: &Json, out: &mut String) {
    match json {
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|&(key, _)| key);
            out.push('{');
            for (at, (key, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::text(key).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&json_to_value(scalar).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        let value = |text: &str| json_to_value(&serde_json::from_str(text).unwrap());
        for (a, b, equal) in [
            ("1", "1.0", true),
            ("1", "\"1\"", false),
            ("-0.0", "0", true),
            ("{\"b\":1,\"a\":[2.0]}", "{ \"a\": [2], \"b\": 1 }", true),
            ("{\"a\":1}", "{\"a\":2}", false),
            ("1.5", "1.50", true),
            ("18446744073709551615", "18446744073709551614", false),
            ("9223372036854775807", "9223372036854775806", false),
            ("null", "[]", false),
        ] {
            assert_eq!(value(a) == value(b), equal, "{a} and {b}");
        }
        assert_eq!(value("18446744073709551615").to_string(), "18446744073709551615");
    }
}
