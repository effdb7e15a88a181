//! Kubernetes quantities in canonical form, as `resource.Quantity` prints them.
//!
//! Clients compare quantities as texts and tests compare them as bytes, so the form must be upstream's to the letter:
//! the largest unit that divides the amount. CPU is decimal (`n`, `u`, `m`, none, `k` …), memory binary (`Ki`, `Mi` …) where 1024
//! divides it, plain otherwise, and decimal below 1024 (upstream `quantity.go`, `CanonicalizeBytes`). Amounts above the
//! largest `int64` lose their last decimal digit, as metrics-server's do (`uint64Quantity`).
//!
//! A summary has hundreds of them, so they are written on the stack, without `fmt` and without an allocation.

use std::fmt;

use serde::{Serialize, Serializer};

/// A quantity's text.
#[derive(Clone, Copy)]
pub struct Quantity {
    /// Right-aligned: 20 digits and 2 letters at most.
    text: [u8; Quantity::WIDTH],
    start: usize,
}

/// Nanocores as a quantity of CPU.
///
/// ```
/// # use outrigger_sdk::quantity::cpu;
/// assert_eq!(cpu(50_000_000).as_str(), "50m");
/// assert_eq!(cpu(123_456_789).to_string(), "123456789n");
/// ```
#[must_use]
pub fn cpu(nanocores: u64) -> Quantity {
    let (amount, unit) = largest(representable(nanocores), 1000, &["n", "u", "m", "", "k", "M", "G"]);
    Quantity::of(amount, unit)
}

/// Bytes as a quantity of memory.
///
/// ```
/// # use outrigger_sdk::quantity::memory;
/// assert_eq!(memory(12_533_760).as_str(), "12240Ki");
/// let mut json = String::from("\"");
/// json.push_str(memory(5 << 20).as_str());
/// assert_eq!(json, "\"5Mi");
/// ```
#[must_use]
pub fn memory(bytes: u64) -> Quantity {
    let (amount, unit) = match representable(bytes) {
        // Upstream: "this avoids rounding and hopefully confusion, too".
        bytes @ ..1024 => largest(bytes, 1000, &["", "k"]),
        bytes => largest(bytes, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
    };
    Quantity::of(amount, unit)
}

/// What upstream keeps of an unsigned amount in its signed one.
fn representable(amount: u64) -> u64 {
    if amount > i64::MAX.unsigned_abs() {
        amount / 10 * 10
    } else {
        amount
    }
}

/// The amount in the largest of `units` (each `step` of the one before) that divides it. Zero has no unit.
fn largest<'a>(mut amount: u64, step: u64, units: &[&'a str]) -> (u64, &'a str) {
    if amount == 0 {
        return (0, "");
    }
    let mut units = units.iter().copied();
    let mut unit = units.next().unwrap_or_default();
    while amount.is_multiple_of(step)
        && let Some(next) = units.next()
    {
        amount /= step;
        unit = next;
    }
    (amount, unit)
}

// === impl Quantity ===

impl Quantity {
    const WIDTH: usize = 22;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text
            .get(self.start..)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    fn of(mut amount: u64, unit: &str) -> Self {
        let (mut text, mut start) = ([0; Self::WIDTH], Self::WIDTH);
        let mut places = text.iter_mut().rev();
        let mut put = |byte: u8| {
            if let Some(place) = places.next() {
                *place = byte;
                start -= 1;
            }
        };
        unit.bytes().rev().for_each(&mut put);
        loop {
            // A remainder of 10 fits in a byte.
            put(b'0' + (amount % 10) as u8);
            amount /= 10;
            if amount == 0 {
                break;
            }
        }
        Self { text, start }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<str> for Quantity {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Quantity {}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_upstreams_text() {
        for (nanocores, text) in [
            (0, "0"),
            (1, "1n"),
            (999, "999n"),
            (1_000, "1u"),
            (123_456_789, "123456789n"),
            (5_100_000, "5100u"),
            (50_000_000, "50m"),
            (1_000_000_000, "1"),
            (2_500_000_000, "2500m"),
            (10_000_000_000, "10"),
            (1_000_000_000_000, "1k"),
            (1_500_000_000_000, "1500"),
            (i64::MAX as u64, "9223372036854775807n"),
            (i64::MAX as u64 + 1, "9223372036854775800n"),
            (10_000_000_000_000_000_000, "10G"),
            (u64::MAX, "18446744073709551610n"),
        ] {
            assert_eq!(cpu(nanocores).as_str(), text, "{nanocores}");
        }
    }

    #[test]
    fn memory_is_upstreams_text() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (500, "500"),
            (1_000, "1k"),
            (1_023, "1023"),
            (1_024, "1Ki"),
            (1_025, "1025"),
            (2_000, "2000"),
            (12_533_760, "12240Ki"),
            (12_533_761, "12533761"),
            (1_616_273_408, "1578392Ki"),
            (5 << 20, "5Mi"),
            (1 << 30, "1Gi"),
            (1 << 60, "1Ei"),
            (2 << 60, "2Ei"),
            (i64::MAX as u64 + 1, "9223372036854775800"),
            (u64::MAX, "18446744073709551610"),
        ] {
            assert_eq!(memory(bytes).as_str(), text, "{bytes}");
        }
    }

    #[test]
    fn it_goes_into_json_and_into_columns() {
        assert_eq!(serde_json::to_string(&cpu(50_000_000)).unwrap(), "\"50m\"");
        assert_eq!(format!("[{:>6}] {:?}", memory(1 << 20), cpu(7)), "[   1Mi] \"7n\"");
    }
}
