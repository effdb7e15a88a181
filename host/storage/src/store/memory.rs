//! A store in memory: for tests, and for what may be lost with the process.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use imbl::OrdMap;
use tokio::sync::watch;

use super::{Changed, Changes, Expected, Keep, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Told, Write};

/// A store in memory.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    moved: watch::Sender<u64>,
    keep: Keep,
}

#[derive(Debug, Default)]
struct State {
    now: OrdMap<ObjectKey, Stored>,
    past: VecDeque<Changed>,
    bytes: usize,
    oldest: u64,
    revision: u64,
}

// === impl Memory ===

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                revision: 1,
                oldest: 1,
                ..State::default()
            }),
            moved: watch::Sender::new(1),
            keep,
        }))
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn at(&self, revision: u64) -> Result<OrdMap<ObjectKey, Stored>, StoreError> {
        self.check(revision)?;
        if revision > self.revision {
            return Err(StoreError::Future {
                asked: revision,
                current: self.revision,
            });
        }
        let mut then = self.now.clone();
        for change in self.past.iter().rev().take_while(|change| change.revision > revision) {
            match &change.before {
                Some(stored) => drop(then.insert(change.key.clone(), stored.clone())),
                None => drop(then.remove(&change.key)),
            }
        }
        Ok(then)
    }

    fn check(&self, revision: u64) -> Result<(), StoreError> {
        if revision < self.oldest {
            return Err(StoreError::Compacted {
                asked: revision,
                oldest: self.oldest,
            });
        }
        Ok(())
    }

    fn forget(&mut self, keep: &dyn Fn(&Changed, usize) -> bool) {
        while let Some(change) = self.past.front() {
            if keep(change, self.bytes) {
                break;
            }
            self.oldest = change.revision;
            self.bytes -= change.before.as_ref().map_or(0, |stored| stored.value.len());
            self.past.pop_front();
        }
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.0.state().now.get(key).cloned())
    }

    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        let (all, revision) = {
            let state = self.0.state();
            let revision = page.at.unwrap_or(state.revision);
            (state.at(revision)?, revision)
        };
        let first = ObjectKey(of.as_str().into());
        let from = match &page.behind {
            Some(key) => Bound::Excluded(key),
            None => Bound::Included(&first),
        };
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        let mut of = all
            .range::<_, ObjectKey>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(of.as_str()));
        Ok(Page {
            items: of.by_ref().take(limit).map(|(_, stored)| stored.clone()).collect(),
            revision,
            more: of.next().is_some(),
        })
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        let mut state = self.0.state();
        let before = state.now.get(&write.key).cloned();
        let fits = match (write.expected, &before) {
            (Expected::Absent, None) => true,
            (Expected::At(revision), Some(stored)) => stored.revision == revision,
            _ => false,
        };
        if !fits {
            return Err(StoreError::Conflict {
                key: write.key,
                current: before,
            });
        }
        state.revision += 1;
        let revision = state.revision;
        let after = write.value.map(|value| Stored {
            key: write.key.clone(),
            value,
            revision,
        });
        match &after {
            Some(stored) => drop(state.now.insert(write.key.clone(), stored.clone())),
            None => drop(state.now.remove(&write.key)),
        }
        state.bytes += before.as_ref().map_or(0, |stored| stored.value.len());
        state.past.push_back(Changed {
            revision,
            key: write.key,
            before,
            after,
        });
        let most = self.0.keep.bytes;
        state.forget(&|_, bytes| bytes <= most);
        drop(state);
        self.0.moved.send_replace(revision);
        Ok(revision)
    }

    async fn watch(&self, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
        self.0.state().check(after)?;
        let (inner, of, moved) = (Arc::clone(&self.0), of.clone(), self.0.moved.subscribe());
        let told = futures::stream::unfold((after, moved), move |(after, mut moved)| {
            let (inner, of) = (Arc::clone(&inner), of.clone());
            async move {
                loop {
                    moved.borrow_and_update();
                    let next = {
                        let state = inner.state();
                        state.check(after).map(|()| {
                            let at = state.past.partition_point(|change| change.revision <= after);
                            let newer = state.past.iter().skip(at).filter(|change| change.key.prefix() == of);
                            newer.cloned().collect::<Vec<_>>()
                        })
                    };
                    match next {
                        Err(error) => return Some((Err(error), (u64::MAX, moved))),
                        Ok(changes) => {
                            if let Some(last) = changes.last().map(|change| change.revision) {
                                return Some((Ok(Told::Changes(changes)), (last, moved)));
                            }
                        }
                    }
                    if moved.changed().await.is_err() {
                        return None;
                    }
                }
            }
        });
        Ok(told.boxed())
    }

    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        let state = self.0.state();
        let last = state.past.iter().rev().find(|change| change.key.prefix() == *of);
        Ok(last.map_or(0, |change| change.revision))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn oldest(&self) -> Option<u64> {
        Some(self.0.state().oldest)
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        let mut state = self.0.state();
        if revision > state.revision {
            return Err(StoreError::Future {
                asked: revision,
                current: state.revision,
            });
        }
        state.forget(&|change, _| change.revision > revision);
        state.oldest = state.oldest.max(revision);
        Ok(())
    }
}
