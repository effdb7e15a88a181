//! What many objects have in common is held once.
//!
//! Most objects of a resource name the same API version, and those that one controller has made often have the same labels. A map of labels
//! costs more than half a KiB, so it is worth a look whether somebody has it already. The memory is small and of a fixed size; what it
//! has forgotten is held twice, nothing worse.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Labels;
use crate::live::unlabelled;

/// API versions and labels that were seen lately.
#[derive(Debug, Default)]
pub struct Interned {
    version: Mutex<Option<Arc<str>>>,
    labels: Mutex<Vec<Option<Arc<Labels>>>>,
    hash: RandomState,
}

/// Maps of labels that are remembered, each at the place of its hash.
const PLACES: usize = 256;

// === impl Interned ===

impl Interned {
    /// The one copy of an API version: most objects have the same as the one before.
    pub fn version(&self, version: &str) -> Arc<str> {
        let mut last = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if **last == *version => Arc::clone(last),
            _ => {
                let version: Arc<str> = version.into();
                *last = Some(Arc::clone(&version));
                version
            }
        }
    }

    /// These labels, shared with whoever had the same.
    pub fn labels(&self, labels: Labels) -> Arc<Labels> {
        if labels.is_empty() {
            return unlabelled();
        }
        let mut hasher = self.hash.build_hasher();
        for (key, value) in &labels {
            hasher.write(key.as_bytes());
            hasher.write_u8(0);
            hasher.write(value.as_bytes());
            hasher.write_u8(0);
        }
        let at = usize::try_from(hasher.finish() % PLACES as u64).unwrap_or_default();
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            known.resize(PLACES, None);
        }
        match known.get_mut(at) {
            Some(Some(same)) if **same == labels => Arc::clone(same),
            place => {
                let labels = Arc::new(labels);
                if let Some(place) = place {
                    *place = Some(Arc::clone(&labels));
                }
                labels
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_one() {
        let interned = Interned::default();
        let labels = |app: &str| interned.labels(Labels::from([("app".to_owned(), app.to_owned())]));
        let (a, b) = (labels("a"), labels("b"));
        assert!(!Arc::ptr_eq(&a, &b) && *a != *b);
        let again = labels("b");
        assert!(Arc::ptr_eq(&b, &again));
        assert!(Arc::ptr_eq(&interned.labels(Labels::new()), &interned.labels(Labels::new())));
        let v1 = interned.version("g/v1");
        assert!(Arc::ptr_eq(&v1, &interned.version("g/v1")));
        assert_eq!(&*interned.version("g/v2"), "g/v2");
    }
}
