//! Sends HTTP/2 clients elsewhere now and then (apiserver `server/filters/goaway.go`), so that those behind a load balancer spread
//! again over replicas. Off unless `--goaway-chance` is given. The request itself is answered, and so are its neighbours.

use http::Version;

/// `--goaway-chance`: which part of requests ends its connection.
#[derive(Debug, Clone, Copy)]
pub struct Goaway(f64);

/// More would be a storm of handshakes.
const MOST: f64 = 0.02;

/// A chance that `--goaway-chance` does not take.
#[derive(Debug, thiserror::Error)]
#[error("--goaway-chance can not be less than 0 or greater than 0.02")]
pub struct BadChance;

// === impl Goaway ===

impl Goaway {
    /// A part between 0 and 0.02; `None` for 0, which is off.
    ///
    /// # Errors
    /// [`BadChance`] outside of that.
    pub fn new(chance: f64) -> Result<Option<Self>, BadChance> {
        if !(0.0..=MOST).contains(&chance) {
            return Err(BadChance);
        }
        Ok((chance > 0.0).then_some(Self(chance)))
    }

    /// Every request, for tests.
    #[must_use]
    pub fn always() -> Self {
        Self(1.0)
    }

    /// Whether this one ends its connection.
    #[must_use]
    pub fn now(self, version: Version) -> bool {
        version == Version::HTTP_2 && fastrand::f64() < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances() {
        for (chance, on) in [
            (0.0, Some(false)),
            (0.001, Some(true)),
            (0.02, Some(true)),
            (0.021, None),
            (-0.1, None),
            (f64::NAN, None),
        ] {
            assert_eq!(Goaway::new(chance).ok().map(|g| g.is_some()), on, "{chance}");
        }
        for (version, want) in [(Version::HTTP_2, true), (Version::HTTP_11, false), (Version::HTTP_10, false)] {
            assert_eq!(Goaway::always().now(version), want, "{version:?}");
        }
        let rare = Goaway::new(0.02).unwrap().unwrap();
        let hits = (0..100_000).filter(|_| rare.now(Version::HTTP_2)).count();
        assert!((1_000..3_000).contains(&hits), "{hits} of 100,000 at a chance of 0.02");
    }
}
