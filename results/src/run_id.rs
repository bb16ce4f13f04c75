//! The name of a run: when it began and some random bits, `20261122T142501.123Z-9f3a2c41`.
//!
//! Ids sort as text by the time (UTC, to the millisecond) at which their runs began. Neither clock
//! nor randomness is read here: both are arguments.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A run's id, and its directory's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(String);

/// Where in an id a digit stands (`0`), a hex digit (`x`), or the character itself.
const SHAPE: &[u8] = b"00000000T000000.000Z-xxxxxxxx";

impl RunId {
    /// The id of a run that began `unix_ms` milliseconds after the Unix epoch (UTC). Times after
    /// the year 9999 are taken for its last millisecond.
    pub fn new(unix_ms: u64, random: u32) -> RunId {
        const YEAR_10000_MS: u64 = 253_402_300_800_000;
        let unix_ms = unix_ms.min(YEAR_10000_MS - 1);
        let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        RunId(format!(
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z-{random:08x}"
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a number of days since 1970-01-01, Gregorian.
///
/// The years are counted from the first of March, so that a leap day is the last of its year; one
/// era is the 400 years (146,097 days) after which the calendar repeats.
fn civil_from_days(days_since_epoch: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    let days = days_since_epoch + DAYS_FROM_0000_03_01;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_corrected =
        day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096;
    let year_of_era = leap_corrected / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = text.len() == SHAPE.len()
            && text.bytes().zip(SHAPE).all(|(byte, &shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                fixed => byte == fixed,
            });
        if fits {
            Ok(RunId(text.to_string()))
        } else {
            Err(Error::setting(text, "a run id such as `20261122T142501.123Z-9f3a2c41`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_ids() {
        for (unix_ms, expected) in [
            (0, "19700101T000000.000Z-0000002a"),
            (951_782_400_000, "20000229T000000.000Z-0000002a"),
            (1_795_357_501_123, "20261122T142501.123Z-0000002a"),
            (4_107_542_400_000, "21000301T000000.000Z-0000002a"),
            (u64::MAX, "99991231T235959.999Z-0000002a"),
        ] {
            assert_eq!(RunId::new(unix_ms, 42).as_str(), expected);
        }
    }

    proptest! {
        #[test]
        fn ids_sort_by_time_and_read_back(a in 0..253_402_300_800_000u64, step in 1..1_000_000_000u64,
            bits in any::<[u32; 2]>()) {
            let (first, second) = (RunId::new(a, bits[0]), RunId::new(a + step, bits[1]));
            prop_assert!(first < second || a + step >= 253_402_300_800_000);
            prop_assert_eq!(first.as_str().parse::<RunId>().unwrap(), first);
        }

        #[test]
        fn other_text_is_refused(text in "\\PC{0,40}") {
            prop_assert!(text.parse::<RunId>().is_err());
        }
    }
}
