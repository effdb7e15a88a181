//! What belongs into every `caBundle` that leads here: additions at once, removals late.
//!
//! Somebody who is added harms no request. Somebody who is taken away does, if one replica still shows a certificate of his, or has not
//! heard yet that he is back. So who is believed and should not be stays for a while after he was first noticed, and replicas that know
//! different things for a moment never undo each other's work: each adds what it knows, and none removes before the others had time to
//! learn. Whoever is over leaves at once; nobody can need him.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::bundle::Bundle;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The bundle that is published, and who is on his way out of it.
pub struct Publication {
    wanted: ArcSwapOption<Bundle>,
    changes: watch::Sender<u64>,
    strangers: Mutex<HashMap<String, Vec<(CertificateDer<'static>, SystemTime)>>>,
    removal_delay: Duration,
    clock: Clock,
}

// === impl Publication ===

impl Publication {
    /// Nothing is to be published yet.
    #[must_use]
    pub fn new(removal_delay: Duration, clock: Clock) -> Self {
        Self {
            wanted: ArcSwapOption::empty(),
            changes: watch::Sender::new(0),
            strangers: Mutex::default(),
            removal_delay,
            clock,
        }
    }

    /// From now on this is to be published.
    pub fn set(&self, bundle: Bundle) {
        if self.wanted.load().as_ref().is_some_and(|wanted| wanted.is_as(&bundle)) {
            return;
        }
        self.wanted.store(Some(Arc::new(bundle)));
        self.changes.send_modify(|change| *change += 1);
    }

    /// Changes when something else is to be published.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whom to believe; none while that is not known.
    #[must_use]
    pub fn wanted(&self) -> Option<Arc<Bundle>> {
        self.wanted.load_full()
    }

    /// The bundle for something new; none while none is known.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.wanted.load().as_ref().map(|wanted| wanted.pem())
    }

    /// What the `caBundle` of `name` should be, which is `present` now; none if it is right.
    #[must_use]
    pub fn next(&self, name: &str, present: &[u8]) -> Option<String> {
        let wanted = self.wanted.load_full()?;
        let Some(present) = Bundle::read(present) else {
            return Some(wanted.pem());
        };
        let now = (self.clock)();
        let mut all = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.remove(name).unwrap_or_default();
        let mut strangers = Vec::new();
        for der in present.without_over(now).iter().filter(|der| !wanted.has(der)) {
            let seen = known.iter().find(|(known, _)| known == der).map_or(now, |(_, seen)| *seen);
            strangers.push((der.clone(), seen));
        }
        let stay = |seen: &SystemTime| now.duration_since(*seen).unwrap_or_default() < self.removal_delay;
        let next = wanted.and(
            &strangers
                .iter()
                .filter(|(_, seen)| stay(seen))
                .map(|(der, _)| der.clone())
                .collect(),
        );
        if !strangers.is_empty() {
            all.insert(name.to_owned(), strangers);
        }
        (!next.is_as(&present)).then(|| next.pem())
    }
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn additions_at_once_removals_late() {
        let start = SystemTime::now();
        let bundle = |lifetime| {
            let authority = Authority::create_at("ca", start, Duration::from_secs(lifetime)).unwrap();
            Bundle::read(authority.pem().as_bytes()).unwrap()
        };
        let (first, second, foreign, short) = (bundle(9_000), bundle(9_000), bundle(9_000), bundle(10));
        let time = Arc::new(Mutex::new(start));
        let clock = time.clone();
        let publication = Publication::new(Duration::from_secs(60), Arc::new(move || *clock.lock().unwrap()));
        let at = |seconds| *time.lock().unwrap() = start + Duration::from_secs(seconds);
        let next = |present: &Bundle| publication.next("v1.x", present.pem().as_bytes());
        let read = |pem: Option<String>| Bundle::read(pem.unwrap().as_bytes()).unwrap();
        let mut changes = publication.changes();

        assert_eq!(next(&foreign), None, "nothing is known yet");
        assert_eq!(publication.first(), None);
        publication.set(first.clone());
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        publication.set(first.clone());
        assert!(!changes.has_changed().unwrap(), "the same again");
        for (name, nonsense) in [("nothing", ""), ("no PEM", "x")] {
            assert!(read(publication.next("v1.x", nonsense.as_bytes())).is_as(&first), "{name}");
        }
        assert_eq!(next(&first), None);
        let both = read(next(&foreign));
        assert!(both.is_as(&first.and(&foreign)), "a stranger stays for now");
        assert_eq!(next(&foreign.and(&first)), None, "order does not count");
        let busy = both.and(&short);
        assert_eq!(next(&busy), None);
        at(20);
        assert!(read(next(&busy)).is_as(&both), "who is over leaves at once");
        at(59);
        assert_eq!(next(&both), None);
        at(61);
        assert!(read(next(&both)).is_as(&first), "then he is let go");
        assert_eq!(
            publication.next("v2.x", both.pem().as_bytes()),
            None,
            "each is looked at by itself"
        );

        // A replica that knows the new one and one that does not yet: neither undoes the other.
        publication.set(second.clone());
        assert!(read(next(&first)).is_as(&second.and(&first)));
        publication.set(first.clone());
        assert_eq!(next(&second.and(&first)), None);
    }
}
