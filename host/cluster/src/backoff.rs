//! How long to wait before asking again: longer each time, and never in step with the neighbours.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Delays that grow by a factor up to a limit; each is lengthened by up to `jitter` of itself, at random.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    factor: f64,
    limit: Duration,
    jitter: f64,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// A back-off that starts at `first`.
    #[must_use]
    pub fn new(first: Duration, factor: f64, limit: Duration, jitter: f64) -> Self {
        Self {
            first,
            factor,
            limit,
            jitter,
            next: first,
        }
    }

    /// The next delay.
    pub fn delay(&mut self) -> Duration {
        let now = self.next;
        self.next = now.mul_f64(self.factor).min(self.limit);
        now.mul_f64(1.0 + self.jitter * random_fraction())
    }

    /// All is well again: the next delay is the first.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// In [0, 1). Good enough to keep neighbours apart, and needs no generator: std seeds its hash maps from the system's.
pub(crate) fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_limit_with_jitter_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(500), 1.5, Duration::from_secs(1), 0.2);
        for (n, least) in [500, 750, 1000, 1000].into_iter().enumerate() {
            let delay = backoff.delay();
            let (least, most) = (Duration::from_millis(least), Duration::from_millis(least * 12 / 10));
            assert!(
                delay >= least && delay <= most,
                "delay {n}: {delay:?} not within {least:?}..{most:?}"
            );
        }
        backoff.reset();
        assert!(backoff.delay() < Duration::from_millis(601));
    }

    #[test]
    fn fractions_differ() {
        let drawn: std::collections::BTreeSet<u64> = (0..100).map(|_| random_fraction().to_bits()).collect();
        assert!(drawn.len() > 90, "{} of 100 differ", drawn.len());
        assert!(drawn.iter().all(|bits| (0.0..1.0).contains(&f64::from_bits(*bits))));
    }
}
