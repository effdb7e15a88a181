//! A store in memory: for tests, and for what may be lost when the process ends.
//!
//! It promises all that [`Store`] promises but durability.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::sequence::{Moment, Sequence};
use super::{Changes, Keep, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Write};

/// Objects in memory. A clone is the same store.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sequence: Arc<Sequence>,
    /// One draft at a time.
    writing: Mutex<()>,
}

// === impl Memory ===

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self(Arc::new(Inner {
            sequence: Sequence::new(Moment::empty(), keep),
            writing: Mutex::new(()),
        }))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Keep::default())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sequence.close();
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.0.sequence.get(key))
    }

    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        self.0.sequence.list(of, page)
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut draft = self.0.sequence.draft();
        let revision = draft.apply(&write)?;
        self.0.sequence.trim(&mut draft);
        self.0.sequence.publish(draft);
        Ok(revision)
    }

    async fn watch(&self, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
        self.0.sequence.watch(of, after)
    }

    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        Ok(self.0.sequence.revision(of))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn oldest(&self) -> Option<u64> {
        Some(self.0.sequence.oldest())
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut draft = self.0.sequence.draft();
        draft.compact(revision)?;
        self.0.sequence.publish(draft);
        Ok(())
    }

    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        Ok(self.0.sequence.now().prefixes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn empty() -> (Arc<dyn Store>, ()) {
        (Arc::new(Memory::default()), ())
    }

    crate::store_conforms!(memory, empty());
}
