//! Label sets, one copy for everybody who wears the same.
//!
//! The pods of a Deployment carry the same labels, so a cluster has far fewer sets than pods. A set is kept once, behind an
//! [`Arc`], and handed out by pointer: a read costs a count, never a copy. Sets that nobody wears any more are dropped when
//! the shelf has doubled since it was last tidied, so the cost of tidying is spread over what caused it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Labels of one object, keys ordered.
pub type Labels = BTreeMap<String, String>;

/// Fewer sets than this are never tidied.
const SMALL: usize = 64;

/// All label sets that are worn.
#[derive(Debug)]
pub(crate) struct Shelf {
    sets: HashSet<Arc<Labels>>,
    tidy_at: usize,
}

// === impl Shelf ===

impl Default for Shelf {
    fn default() -> Self {
        Self {
            sets: HashSet::new(),
            tidy_at: SMALL,
        }
    }
}

impl Shelf {
    /// The shared copy of a set.
    pub(crate) fn share(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(known) = self.sets.get(&labels) {
            return Arc::clone(known);
        }
        if self.sets.len() >= self.tidy_at {
            self.tidy();
        }
        let new = Arc::new(labels);
        self.sets.insert(Arc::clone(&new));
        new
    }

    /// Forgets what nobody wears.
    fn tidy(&mut self) {
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.tidy_at = (self.sets.len() * 2).max(SMALL);
        self.sets.shrink_to(self.tidy_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(app: usize) -> Labels {
        Labels::from([
            ("app".to_owned(), format!("app-{app}")),
            ("tier".to_owned(), "web".to_owned()),
        ])
    }

    #[test]
    fn equal_sets_are_one() {
        let mut shelf = Shelf::default();
        let (a, b, c) = (shelf.share(set(1)), shelf.share(set(1)), shelf.share(set(2)));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &c));
        assert_eq!(shelf.sets.len(), 2);
    }

    #[test]
    fn what_nobody_wears_goes_and_what_is_worn_stays() {
        let mut shelf = Shelf::default();
        let worn: Vec<_> = (0..10).map(|n| shelf.share(set(n))).collect();
        for n in 10..10_000 {
            drop(shelf.share(set(n)));
        }
        assert!(shelf.sets.len() <= SMALL, "{} sets for 10 that are worn", shelf.sets.len());
        for (n, arc) in worn.iter().enumerate() {
            assert!(Arc::ptr_eq(arc, &shelf.share(set(n))), "set {n} was made anew");
        }
    }
}
