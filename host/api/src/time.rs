//! Times as Kubernetes writes them: whole seconds, UTC, RFC 3339 (`meta/v1 Time`), and durations as Go prints them.
//!
//! `meta/v1 Time` drops fractions in JSON and never writes nanos in protobuf, so [`Timestamp`] has none to lose.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quote::Quoted;

/// A moment, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// Not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RFC 3339 time such as \"2026-11-21T10:41:17Z\"")]
pub struct NotATime(String);

/// `meta/v1 Time` in protobuf.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Time {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

// === impl Timestamp ===

impl Timestamp {
    /// The present second.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From seconds since 1970; what lies outside the years that RFC 3339 can write (0001 to 9999) becomes the
    /// nearest second inside.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        const FIRST: i64 = -62_135_596_800;
        const LAST: i64 = 253_402_300_799;
        // jiff's own range ends a day early in 9999 so that every zone fits.
        let last = LAST.min(jiff::Timestamp::MAX.as_second());
        Self(jiff::Timestamp::from_second(seconds.clamp(FIRST, last)).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Reads RFC 3339 in any offset; fractions are cut off.
    ///
    /// # Errors
    /// [`NotATime`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        text.parse::<jiff::Timestamp>()
            .map(|t| Self::from_seconds(t.as_nanosecond().div_euclid(1_000_000_000).try_into().unwrap_or(0)))
            .map_err(|_| NotATime(text.to_owned()))
    }

    /// Appends `"2026-11-21T10:41:17Z"`, quotes included.
    pub fn write_json(self, out: &mut Vec<u8>) {
        // Writing into a Vec does not fail.
        let _ = write!(out, "\"{self}\"");
    }
}

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let before = before.duration();
                let floor = i64::from(before.subsec_nanos() > 0);
                i64::try_from(before.as_secs()).unwrap_or(i64::MAX - 1).saturating_neg() - floor
            }
        };
        Self::from_seconds(seconds)
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self {
            seconds: timestamp.seconds(),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A duration as Go's `time.Duration.String` prints it: `15.042s`, `1m0.5s`, `1h0m0s`, `1.5ms`, `0s`.
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, suffix) = match nanos {
        0 => return "0s".into(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    if suffix != "s" {
        return format!("{}{suffix}", decimal(nanos, unit));
    }
    let seconds = decimal(nanos % (60 * unit), unit);
    let minutes = nanos / (60 * unit);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let (whole, mut rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let mut digits = unit.ilog10() as usize;
    while rest.is_multiple_of(10) {
        rest /= 10;
        digits -= 1;
    }
    format!("{whole}.{rest:0digits$}")
}

/// A duration in seconds for people, to two or three figures (apimachinery `util/duration` `HumanDuration`): `5s`, `3m20s`, `4h5m`, `2d3h`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let pair = |whole: i64, unit: char, rest: i64, small: char| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => pair(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => pair(hours / 24 / 365, 'y', (hours / 24) % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// Reads a duration as Go does (`time.ParseDuration`); `None` for zero and below.
///
/// # Errors
/// Go's words, without their `time: `.
pub fn parse_go_duration(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("invalid duration {}", Quoted(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(None);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, tail) = digits(rest);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => digits(tail),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("missing unit in duration {}", Quoted(text))),
            unknown => return Err(format!("unknown unit {} in duration {}", Quoted(unknown), Quoted(text))),
        };
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse::<u64>().map_err(|_| invalid())?.into()
        };
        total += whole * scale;
        let mut part = scale;
        for digit in fraction.bytes().take(12) {
            part /= 10;
            total += u128::from(digit - b'0') * part;
        }
        // Go's durations are 64 bits of nanoseconds.
        if total > i64::MAX.unsigned_abs().into() {
            return Err(invalid());
        }
        rest = tail;
    }
    let nanoseconds = u64::try_from(total).map_err(|_| invalid())?;
    Ok((!negative && nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds)))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn times_are_whole_seconds_in_utc() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (1_795_257_677, "2026-11-21T10:41:17Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (i64::MIN, "0001-01-01T00:00:00Z"),
        ] {
            let t = Timestamp::from_seconds(seconds);
            assert_eq!(t.to_string(), want);
            assert_eq!(Timestamp::parse(want).unwrap(), t);
            let mut json = Vec::new();
            t.write_json(&mut json);
            assert_eq!(json, serde_json::to_vec(&t).unwrap());
            assert_eq!(serde_json::from_slice::<Timestamp>(&json).unwrap(), t);
        }
    }

    #[test]
    fn fractions_are_cut_off_and_offsets_applied() {
        for (text, want) in [
            ("2026-11-21T10:41:17.999Z", "2026-11-21T10:41:17Z"),
            ("2026-11-21T12:41:17+02:00", "2026-11-21T10:41:17Z"),
            ("1969-12-31T23:59:58.5Z", "1969-12-31T23:59:58Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), want);
        }
        assert!(Timestamp::parse("yesterday").is_err());
        let half_before = SystemTime::UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(Timestamp::from(half_before).seconds(), -1);
        assert_eq!(
            Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_millis(1_999)).seconds(),
            1
        );
    }

    #[test]
    fn protobuf_has_seconds_only() {
        assert_eq!(Time::from(Timestamp::from_seconds(300)).encode_to_vec(), [0x08, 0xac, 0x02]);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (nanos, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_000, "1µs"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (1_000_000_000, "1s"),
            (3_300_000_000, "3.3s"),
            (15_042_000_000, "15.042s"),
            (60_500_000_000, "1m0.5s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), want);
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (3600, "60m"),
            (4 * 3600, "4h"),
            (4 * 3600 + 300, "4h5m"),
            (30 * 3600, "30h"),
            (49 * 3600, "2d1h"),
            (100 * 86_400, "100d"),
            (3 * 365 * 86_400 + 86_400, "3y1d"),
            (9 * 365 * 86_400, "9y"),
        ] {
            assert_eq!(human_duration(seconds), want, "{seconds}");
        }
    }
}
