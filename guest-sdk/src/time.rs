//! Times as Kubernetes writes them.

use std::fmt;

/// A moment, printed in RFC 3339, in UTC and to the second, as `creationTimestamp` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: u64,
}

/// What [`Clock::now`](crate::Clock::now) says, as a time that can be printed.
///
/// ```
/// # use outrigger_sdk::{prelude::*, time};
/// let host = fake::Host::new().at(1_795_287_243_000_000_000);
/// assert_eq!(time::rfc3339(host.now()).to_string(), "2026-11-21T18:54:03Z");
/// ```
#[must_use]
pub fn rfc3339(nanoseconds_since_1970: u64) -> Timestamp {
    Timestamp {
        seconds: nanoseconds_since_1970 / 1_000_000_000,
    }
}

// === impl Timestamp ===

impl fmt::Display for Timestamp {
    /// By eras of 400 years that begin in March, so that the leap day is a year's last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds / 86_400 + 719_468, self.seconds % 86_400);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 7).to_string(), expected);
        }
    }
}
