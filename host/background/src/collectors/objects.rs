//! The targets of collectors that run for each object of a resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_api::manifest::{Collector, Each};
use outrigger_catalog::{Guest, Snapshot};
use tokio::sync::Notify;

use crate::Watches;
use crate::watches::{Follow, Following, Hears, Seen, Standing, What};

/// What collectors follow.
pub(super) struct Objects {
    watches: Arc<dyn Watches>,
    stirred: Arc<Notify>,
    followed: BTreeMap<Follow, Followed>,
    /// Who was told that he may not, so that it is said once.
    refused: BTreeSet<(Arc<str>, String)>,
}

struct Followed {
    ear: Arc<Ear>,
    following: Box<dyn Following>,
    keys: Mutex<Arc<BTreeSet<Arc<str>>>>,
}

/// Hears that there are other objects than before.
struct Ear {
    plugin: Arc<str>,
    resource: String,
    synced: AtomicBool,
    stale: AtomicBool,
    stirred: Arc<Notify>,
}

/// Objects are often made by the dozen: how long to wait for the others.
pub(super) const SETTLING: Duration = Duration::from_millis(100);

// === impl Objects ===

impl Objects {
    pub(super) fn new(watches: Arc<dyn Watches>) -> Self {
        Self {
            watches,
            stirred: Arc::default(),
            followed: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    pub(super) fn stirred(&self) -> Arc<Notify> {
        self.stirred.clone()
    }

    /// Ends what no collector wants any more.
    pub(super) fn keep(&mut self, snapshot: &Snapshot) {
        let mut wanted = BTreeSet::new();
        for (plugin, installed) in snapshot.plugins() {
            let specs = installed.guest.manifest().collectors.iter();
            wanted.extend(specs.filter_map(|spec| follow(plugin, &*installed.guest, spec)));
        }
        self.followed.retain(|follow, _| wanted.contains(follow));
        self.refused.retain(|(plugin, _)| snapshot.plugins().contains_key(plugin));
    }

    /// The keys of a collector's objects; `None` as long as they are not known.
    pub(super) fn of(&mut self, plugin: &Arc<str>, guest: &dyn Guest, spec: &Collector) -> Option<Arc<BTreeSet<Arc<str>>>> {
        let refused = (plugin.clone(), spec.name.clone());
        let Some(follow) = follow(plugin, guest, spec) else {
            if self.refused.insert(refused) {
                let resource = spec.of.as_ref().map(|of| of.resource.as_str()).unwrap_or_default();
                tracing::warn!(%plugin, collector = spec.name, "the collector does not start: it is not granted list and watch of {resource}; \
                     grant it the capability objects with both");
            }
            return None;
        };
        self.refused.remove(&refused);
        let (watches, stirred) = (&self.watches, &self.stirred);
        let followed = self.followed.entry(follow).or_insert_with_key(|follow| {
            let ear = Arc::new(Ear {
                plugin: plugin.clone(),
                resource: follow.resource.resource.clone(),
                synced: AtomicBool::new(false),
                stale: AtomicBool::new(true),
                stirred: stirred.clone(),
            });
            Followed {
                following: watches.follow(follow, ear.clone()),
                ear,
                keys: Mutex::default(),
            }
        });
        if !followed.ear.synced.load(Ordering::Acquire) {
            return None;
        }
        let mut keys = followed.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.ear.stale.swap(false, Ordering::AcqRel) {
            *keys = Arc::new(followed.following.keys().into_iter().collect());
        }
        Some(keys.clone())
    }
}

/// What a collector follows, if it follows something and may.
fn follow(plugin: &Arc<str>, guest: &dyn Guest, spec: &Collector) -> Option<Follow> {
    let resource = spec.of.as_ref().filter(|_| spec.each == Each::Object)?;
    Some(Follow {
        plugin: plugin.clone(),
        resource: resource.clone(),
        namespaces: guest.may_follow(resource)?,
    })
}

// === impl Ear ===

impl Hears for Ear {
    fn seen(&self, seen: &Seen<'_>) {
        if seen.what != What::Changed && !self.stale.swap(true, Ordering::AcqRel) {
            self.stirred.notify_one();
        }
    }

    fn stands(&self, standing: Standing) {
        match standing {
            Standing::Synced(_) => {
                self.synced.store(true, Ordering::Release);
                self.stirred.notify_one();
            }
            Standing::Troubled(sentence) => {
                let Self { plugin, resource, .. } = self;
                tracing::debug!(%plugin, "{resource} cannot be followed: {sentence}");
            }
        }
    }
}
