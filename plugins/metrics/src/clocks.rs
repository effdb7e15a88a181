//! A node's clock beside the host's: whether it has leapt between two samples.
//!
//! Every rate is made of the node's times. If its clock is set meanwhile (a machine that comes up with a wrong one and is then
//! corrected), a window across that is of any length, and so is its rate. The host's monotonic clock tells: from the first sight of one
//! sample to the first sight of the next, the samples moved on by as much as the host waited, give or take their ages. That is
//! [`UNCERTAIN`] seconds at most, so a smaller leap cannot be told from it; it distorts one window, by its part of it.
//!
//! Each entity is judged by its own samples. A kubelet samples each on a clock of its own, so an answer right after a leap holds times of
//! both sides of it; and one damaged time must not cost the neighbours their rates.

/// How old a kubelet's sample may be when it is first seen, in seconds, and so what two sights can differ by without a leap.
pub const UNCERTAIN: i64 = 30;

/// When something was read, by the host's monotonic clock in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

// === impl Moment ===

impl Moment {
    /// Whole seconds.
    pub(crate) fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

/// By how many seconds a clock has leapt, of which two samples are so far apart, and first sights of them so far on the host's clock.
/// None, too, where that began anew.
pub(crate) fn leap(moved: i64, passed: Option<u64>) -> Option<i64> {
    let leap = moved.saturating_sub(i64::try_from(passed?).ok()?);
    (leap.abs() > UNCERTAIN).then_some(leap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_what_waiting_and_sampling_do_not_explain() {
        for (name, moved, passed, expected) in [
            ("in step", 15, Some(15), None),
            ("young, then old", 5, Some(15), None),
            ("old, then young", 30, Some(15), None),
            ("a missed tick or four", 60, Some(60), None),
            ("a minute ahead", 75, Some(15), Some(60)),
            ("an hour back", -3_585, Some(15), Some(-3_600)),
            ("as much as sampling explains", 45, Some(15), None),
            ("more", 46, Some(15), Some(31)),
            ("the host's own clock is another", 4_000, None, None),
        ] {
            assert_eq!(leap(moved, passed), expected, "{name}");
        }
    }
}
