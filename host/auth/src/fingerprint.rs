//! Keys of caches that hold answers about secrets or identities.
//!
//! A key is a digest, so that no token lies in memory as long as its answer does, and lookups borrow what they hash. Each
//! process mixes in a secret of its own: nobody outside can compute a key, let alone a collision.

use rustls::crypto::SecureRandom;
use sha2::{Digest, Sha256};

/// A digest under this process's secret.
pub(crate) type Fingerprint = [u8; 32];

/// Makes [`Fingerprint`]s; one per cache.
#[derive(Clone)]
pub(crate) struct Fingerprints {
    seeded: Sha256,
}

/// Takes the parts of one thing. Every part carries its length, so ("ab", "c") and ("a", "bc") differ.
pub(crate) struct Parts(Sha256);

// === impl Fingerprints ===

impl Fingerprints {
    pub(crate) fn new() -> Self {
        let mut secret = [0_u8; 64];
        let random: &dyn SecureRandom = rustls::crypto::ring::default_provider().secure_random;
        if random.fill(&mut secret).is_err() {
            // Without entropy TLS cannot work either; keys stay unique, they are only no longer secret.
            tracing::error!("the system gave no randomness for cache keys");
        }
        Self {
            seeded: Sha256::new_with_prefix(secret),
        }
    }

    pub(crate) fn start(&self) -> Parts {
        Parts(self.seeded.clone())
    }
}

// === impl Parts ===

impl Parts {
    pub(crate) fn text(&mut self, part: &str) {
        self.count(part.len());
        self.0.update(part.as_bytes());
    }

    pub(crate) fn count(&mut self, n: usize) {
        self.0.update((n as u64).to_le_bytes());
    }

    pub(crate) fn finish(self) -> Fingerprint {
        self.0.finalize().into()
    }
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other_and_processes_differ() {
        let of = |prints: &Fingerprints, parts: &[&str]| {
            let mut key = prints.start();
            parts.iter().for_each(|p| key.text(p));
            key.finish()
        };
        let prints = Fingerprints::new();
        assert_eq!(of(&prints, &["ab", "c"]), of(&prints, &["ab", "c"]));
        assert_ne!(of(&prints, &["ab", "c"]), of(&prints, &["a", "bc"]));
        assert_ne!(of(&prints, &["ab"]), of(&Fingerprints::new(), &["ab"]));
    }
}
