//! Times and durations as Kubernetes writes them.
//!
//! A kubelet's summary holds RFC 3339 times with whole seconds (`metav1.Time`), and metrics.k8s.io answers with the same,
//! beside windows in the text form of Go's `time.Duration`. Both are small enough to read and write here; a calendar
//! library would be most of the component.

use std::fmt;

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// Seconds in a day.
const DAY: i64 = 86_400;

/// Reads an RFC 3339 time as seconds since 1970, a fraction cut off. None for anything else, and for years before 1970:
/// Go's zero time means "unknown".
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (date_time, rest) = text.as_bytes().split_at_checked(19)?;
    let &[
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T' | b't',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
    ] = date_time
    else {
        return None;
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[mo1, mo2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[mi1, mi2])?, number(&[s1, s2])?);
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(rest)?;
    (seconds >= 0).then_some(seconds)
}

/// Seconds east of UTC, from what follows the seconds: an optional fraction, then `Z` or `±hh:mm`.
fn offset(rest: &[u8]) -> Option<i64> {
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            fraction.split_at_checked(digits)?.1
        }
        _ => rest,
    };
    match zone {
        [b'Z' | b'z'] => Some(0),
        &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let east = number(&[h1, h2])? * 3600 + number(&[m1, m2])? * 60;
            Some(if sign == b'+' { east } else { -east })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A time as RFC 3339 in UTC with whole seconds; `self.0` is seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        // Hinnant's `civil_from_days`.
        let z = days + 719_468;
        let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// A span as Go's `Duration.String` writes it, for whole milliseconds: `15s`, `15.042s`, `1m0.5s`, `0s`. `self.0` is
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoDuration(pub u64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        if seconds == 0 && millis > 0 {
            return write!(f, "{millis}ms");
        }
        if seconds >= 3600 {
            write!(f, "{}h", seconds / 3600)?;
        }
        if seconds >= 60 {
            write!(f, "{}m", seconds / 60 % 60)?;
        }
        write!(f, "{}", seconds % 60)?;
        if millis > 0 {
            let fraction = format!("{millis:03}");
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T11:28:13Z", Some(1_795_260_493)),
            ("2024-02-29T23:59:59Z", Some(1_709_251_199)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("2026-11-21T12:28:13.999999999+01:00", Some(1_795_260_493)),
            ("2026-11-21T06:58:13-04:30", Some(1_795_260_493)),
            ("0001-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-21T24:00:00Z", None),
            ("2026-11-21T11:28:13", None),
            ("2026-11-21T11:28:13.Z", None),
            ("2026-11-21 11:28:13Z", None),
            ("2026-11-2éT11:28:13Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text), seconds, "{text}");
        }
        for seconds in [0, 951_782_400, 1_709_251_199, 1_795_260_493, 4_107_542_400, 253_402_300_799] {
            assert_eq!(parse(&Rfc3339(seconds).to_string()), Some(seconds));
        }
        assert_eq!(Rfc3339(1_795_260_493).to_string(), "2026-11-21T11:28:13Z");
    }

    #[test]
    fn durations_are_gos() {
        for (millis, text) in [
            (0, "0s"),
            (7, "7ms"),
            (1_000, "1s"),
            (15_042, "15.042s"),
            (15_100, "15.1s"),
            (60_000, "1m0s"),
            (60_500, "1m0.5s"),
            (3_661_001, "1h1m1.001s"),
        ] {
            assert_eq!(GoDuration(millis).to_string(), text);
        }
    }
}
