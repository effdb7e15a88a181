//! The one store of a host, and the image of each resource that is served from it.
//!
//! An image is made when its resource is first served, and followed until it is served no more: a resource that nobody serves costs
//! nothing, and its objects stay where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::store::{Keep, Prefix, Store};
use crate::{Kept, Table};

/// What is kept for the resources that are served.
#[derive(Default)]
pub struct Shelf {
    opened: Option<Opened>,
    kept: Mutex<BTreeMap<Prefix, Followed>>,
}

struct Opened {
    store: Arc<dyn Store>,
    keep: Keep,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Followed {
    kept: Arc<Kept>,
    stop: CancellationToken,
}

// === impl Shelf ===

impl Shelf {
    /// A host that keeps no objects.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Objects are kept in this store; `keep` is how much of the past is remembered per resource. What follows the store runs on
    /// `runtime`, among `tasks`, until `stop`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, keep: Keep, runtime: Handle, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            opened: Some(Opened {
                store,
                keep,
                runtime,
                tasks,
                stop,
            }),
            kept: Mutex::default(),
        }
    }

    /// Where objects are kept, if they are.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<dyn Store>> {
        self.opened.as_ref().map(|opened| &opened.store)
    }

    /// The objects of a resource; `None` if this host keeps none.
    #[must_use]
    pub fn of(&self, group: &str, plural: &str) -> Option<Arc<Kept>> {
        let opened = self.opened.as_ref()?;
        let prefix = Prefix::of(group, plural);
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = all.entry(prefix.clone()).or_insert_with(|| {
            let kept = Arc::new(Kept::new(Arc::clone(&opened.store), prefix, opened.keep));
            let stop = opened.stop.child_token();
            let (following, end) = (Arc::clone(&kept), stop.clone());
            opened
                .tasks
                .spawn_on(async move { following.follow(end).await }, &opened.runtime);
            Followed { kept, stop }
        });
        Some(Arc::clone(&followed.kept))
    }

    /// The objects of a resource that is served now.
    #[must_use]
    pub fn served(&self, group: &str, plural: &str) -> Option<Arc<Kept>> {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&Prefix::of(group, plural)).map(|followed| Arc::clone(&followed.kept))
    }

    /// The objects of every resource that is served now.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Kept>> {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|followed| Arc::clone(&followed.kept)).collect()
    }

    /// These are served now; the others are followed no longer.
    pub fn retain(&self, served: &BTreeSet<Prefix>) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|prefix, followed| {
            let stays = served.contains(prefix);
            if !stays {
                followed.stop.cancel();
                Table::retire(followed.kept.table());
            }
            stays
        });
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Shelf")
            .field("is_open", &self.opened.is_some())
            .field("kept", &all.keys().collect::<Vec<_>>())
            .finish()
    }
}
