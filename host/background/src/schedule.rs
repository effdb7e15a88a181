//! When a target's ticks fall: pure arithmetic over one clock.
//!
//! All targets start together when the host starts, and all kubelets would be asked in the same millisecond for ever after.
//! So each target has a phase of its own, taken from its name: the same after a restart, spread as upstream spreads (at most
//! 8 ms per target and 4 s in all, so that first values are not late).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const SPREAD_PER_TARGET: Duration = Duration::from_millis(8);
const SPREAD_AT_MOST: Duration = Duration::from_secs(4);

/// How long after the common start a target's ticks fall.
pub(crate) fn phase(target: &str, targets: usize, interval: Duration) -> Duration {
    let targets = u32::try_from(targets).unwrap_or(u32::MAX);
    let window = SPREAD_PER_TARGET.saturating_mul(targets).min(SPREAD_AT_MOST).min(interval);
    // SipHash with fixed keys: stable from run to run.
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    let share = u32::try_from(hasher.finish() >> 48).unwrap_or(0);
    window.saturating_mul(share) / 0x1_0000
}

/// The next tick after one that was due at `due` and ended at `now` (both since one start): on the grid of the
/// interval, missed ones dropped.
pub(crate) fn next(due: Duration, now: Duration, interval: Duration) -> Duration {
    let interval = interval.max(Duration::from_millis(1));
    let late = now.saturating_sub(due).as_nanos() / interval.as_nanos();
    let steps = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
    due.saturating_add(interval.saturating_mul(steps))
}

/// The first tick from `now` on, on the grid of one that is due at `due`.
pub(crate) fn soonest(due: Duration, now: Duration, interval: Duration) -> Duration {
    let interval = interval.max(Duration::from_millis(1));
    let early = due.saturating_sub(now).as_nanos() / interval.as_nanos();
    due.saturating_sub(interval.saturating_mul(u32::try_from(early).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn ticks_stay_on_the_grid() {
        for (name, due, now, expected) in [
            ("at once", S(0), S(0), S(15)),
            ("in time", S(15), S(20), S(30)),
            ("ended just before the next", S(15), Duration::from_millis(29_999), S(30)),
            ("overran one", S(15), S(31), S(45)),
            ("overran many", S(15), S(100), S(105)),
            ("clock before due", S(15), S(3), S(30)),
        ] {
            assert_eq!(next(due, now, S(15)), expected, "{name}");
        }
    }

    #[test]
    fn the_soonest_tick_is_on_the_grid() {
        for (name, due, now, expected) in [
            ("the next one anyway", 30, 20, 30),
            ("three earlier", 60, 10, 15),
            ("just now", 60, 15, 15),
            ("overdue", 15, 40, 15),
        ] {
            assert_eq!(soonest(S(due), S(now), S(15)), S(expected), "{name}");
        }
    }

    #[test]
    fn phases_are_stable_and_within_the_window() {
        assert_eq!(phase("node-1", 100, S(15)), phase("node-1", 100, S(15)));
        for targets in [0, 1, 100, 5_000] {
            let window = (Duration::from_millis(8) * u32::try_from(targets).unwrap()).min(S(4));
            for n in 0..200 {
                let phase = phase(&format!("node-{n}"), targets, S(15));
                assert!(phase <= window, "{targets} targets: {phase:?} > {window:?}");
            }
        }
        let spread: std::collections::BTreeSet<_> = (0..100).map(|n| phase(&format!("node-{n}"), 100, S(15))).collect();
        assert!(spread.len() > 90, "hardly two at one moment");
        assert!(
            phase("n", 5_000, Duration::from_secs(1)) <= S(1),
            "never longer than the interval"
        );
    }
}
