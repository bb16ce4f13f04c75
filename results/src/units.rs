//! Durations, sizes and budgets as people write them: `60s`, `4GiB`, `60s,4GiB`.
//!
//! What is printed reads back as the same value. Numbers without a unit are refused: nobody can
//! tell seconds from milliseconds by looking at `500`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

const DURATION_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

const DURATION_WANTED: &str =
    "a duration: a number and one of ns, us, ms, s, m, h, such as `500ms`, `60s` or `1h30m`";
const SIZE_WANTED: &str =
    "a size: a number and one of B, KiB, MiB, GiB, KB, MB, GB, such as `512MiB` or `4GiB`";

/// The first number (with an optional fraction) and the unit after it; then what is left.
fn number_and_unit(text: &str) -> Option<(&str, &str, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(unit_at);
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    (!number.is_empty() && end > 0).then(|| (number, &rest[..end], &rest[end..]))
}

/// `number` (decimal digits, at most one point) times `factor`, exactly; `None` if that is no
/// whole number or does not fit.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 18 {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if !fraction.is_empty() {
        let denominator = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
        if !part.is_multiple_of(denominator) {
            return None;
        }
        total = total.checked_add(u64::try_from(part / denominator).ok()?)?;
    }
    Some(total)
}

fn parse_units(text: &str, units: &[(&str, u64)], many: bool) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0u64;
    loop {
        let (number, unit, after) = number_and_unit(rest)?;
        let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, factor)?)?;
        if after.is_empty() {
            return Some(total);
        }
        if !many {
            return None;
        }
        rest = after;
    }
}

/// Reads a duration such as `60s`, `1.5s` or `1h30m`.
///
/// # Errors
/// [`Error::Setting`] says what a duration looks like. The longest is some 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    parse_units(text, &DURATION_UNITS, true)
        .map(Duration::from_nanos)
        .ok_or_else(|| Error::setting(text, DURATION_WANTED))
}

/// Reads a size in bytes such as `4GiB`.
///
/// # Errors
/// [`Error::Setting`] says what a size looks like.
pub fn parse_size(text: &str) -> Result<u64, Error> {
    parse_units(text, &SIZE_UNITS, false).ok_or_else(|| Error::setting(text, SIZE_WANTED))
}

/// A duration in the largest unit that gives a whole number.
pub fn format_duration(duration: Duration) -> String {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let largest =
        DURATION_UNITS.iter().rev().find(|(_, factor)| ns > 0 && ns.is_multiple_of(*factor));
    let &(unit, factor) = largest.unwrap_or(&("s", 1_000_000_000));
    format!("{}{unit}", ns / factor)
}

/// A size in the largest binary unit that gives a whole number.
pub fn format_size(bytes: u64) -> String {
    let binary = &SIZE_UNITS[..4];
    let largest =
        binary.iter().rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    let &(unit, factor) = largest.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// A [`Duration`] that reads and writes as text such as `60s`, in files and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// What a check may use: `60s,4GiB`. Either half may be left out when it is read; the other then
/// is the default's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Longest time that the checks of one run may take together.
    pub time: Duration,
    /// Most memory that they may hold, in bytes.
    pub bytes: u64,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        BudgetLimits { time: Duration::from_mins(1), bytes: 4 << 30 }
    }
}

impl FromStr for Span {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        parse_duration(text).map(Span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl FromStr for BudgetLimits {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut budget = BudgetLimits::default();
        let (mut has_time, mut has_bytes) = (false, false);
        for part in text.split(',') {
            if let (Ok(time), false) = (parse_duration(part), has_time) {
                (budget.time, has_time) = (time, true);
            } else if let (Ok(bytes), false) = (parse_size(part), has_bytes) {
                (budget.bytes, has_bytes) = (bytes, true);
            } else {
                return Err(Error::setting(
                    text,
                    "a budget: a duration and a size such as `60s,4GiB`, or one of the two",
                ));
            }
        }
        Ok(budget)
    }
}

impl fmt::Display for BudgetLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", format_duration(self.time), format_size(self.bytes))
    }
}

macro_rules! serde_as_text {
    ($($ty:ty),*) => {$(
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Span, BudgetLimits);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_as_people_write_them() {
        let ms = |n| Some(Duration::from_millis(n));
        for (text, expected) in [
            ("60s", ms(60_000)),
            ("1.5s", ms(1500)),
            ("1h30m", ms(5_400_000)),
            (" 250ms ", ms(250)),
            ("0s", ms(0)),
            ("60", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            (".5s", None),
            ("1.s", None),
            ("1..5s", None),
            ("0.5ns", None),
            ("99999999999h", None),
            ("1day", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        }
        assert_eq!(parse_size("4GiB").unwrap(), 4 << 30);
        assert_eq!(parse_size("1.5KiB").unwrap(), 1536);
        assert!(parse_size("4G").is_err());
        let error = parse_duration("60").unwrap_err().to_string();
        assert!(error.starts_with("`60` is not a duration"), "{error}");
    }

    #[test]
    fn a_budget_takes_either_half() {
        let default = BudgetLimits::default();
        for (text, expected) in [
            ("10s,1GiB", Some((10, 1 << 30))),
            ("1GiB,10s", Some((10, 1 << 30))),
            ("10s", Some((10, default.bytes))),
            ("1MiB", Some((60, 1 << 20))),
            ("10s,20s", None),
            ("10s,", None),
            ("", None),
        ] {
            let parsed = text.parse::<BudgetLimits>().ok();
            assert_eq!(parsed.map(|b| (b.time.as_secs(), b.bytes)), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(ns in any::<u64>(), bytes in any::<u64>()) {
            let budget = BudgetLimits { time: Duration::from_nanos(ns), bytes };
            prop_assert_eq!(budget.to_string().parse::<BudgetLimits>().unwrap(), budget);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
            let _ = text.parse::<BudgetLimits>();
        }
    }
}
