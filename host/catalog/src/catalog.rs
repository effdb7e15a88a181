//! The one owner of what is served: changes come in here, one at a time, and go out as a whole snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use outrigger_api::manifest::Resource;
use outrigger_storage::{LiveIndex, Shelf};
use tokio::sync::watch;

use crate::{Installed, Schemas, Snapshot};

/// Why a plugin that loads is not served all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Two files hold plugins of one name.
    #[error("a plugin named {name:?} is already served from {other}; give one of them another name")]
    Name {
        /// The name.
        name: String,
        /// Where the other came from.
        other: String,
    },
    /// Two plugins claim one resource.
    #[error("{resource} is already served by plugin {other:?}")]
    Resource {
        /// `PLURAL.GROUP/VERSION`.
        resource: String,
        /// The plugin that has it.
        other: String,
    },
    /// Objects cannot be held against a schema of a stored resource.
    #[error("the schema of {resource} cannot be used: {why}")]
    Schema {
        /// `PLURAL.GROUP`.
        resource: String,
        /// One sentence for each thing.
        why: String,
    },
}

/// What is served now.
pub struct Catalog {
    built_in: Vec<Resource>,
    live: Arc<dyn LiveIndex>,
    shelf: Arc<Shelf>,
    now: ArcSwap<Snapshot>,
    changing: Mutex<()>,
    changes: watch::Sender<u64>,
}

// === impl Catalog ===

impl Catalog {
    /// A catalog that serves `built_in` and no plugin yet. Rows that shadow live objects are judged by `live`.
    #[must_use]
    pub fn new(built_in: Vec<Resource>, live: Arc<dyn LiveIndex>) -> Self {
        let shelf = Arc::new(Shelf::none());
        let first = Snapshot::build(&[], &built_in, &live, &shelf, &Snapshot::default());
        Self {
            built_in,
            live,
            shelf,
            now: ArcSwap::from_pointee(first),
            changing: Mutex::new(()),
            changes: watch::Sender::new(0),
        }
    }

    /// The same, keeping the objects of stored resources here.
    #[must_use]
    pub fn keeping(self, shelf: Arc<Shelf>) -> Self {
        Self { shelf, ..self }
    }

    /// Where objects of stored resources are kept.
    #[must_use]
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// What is served now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    /// Changes whenever the snapshot does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Serves exactly these plugins from now on, in one step.
    ///
    /// Where two of them claim one name or one resource, whoever is served already stays, else the earlier in the list. The
    /// other goes back to the version of the same origin that is served now, if that one fits, or else is left out as a
    /// whole; either way it is returned with the reason.
    pub fn replace(&self, plugins: Vec<Installed>) -> Vec<(Installed, Refused)> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now.load_full();
        let served: BTreeMap<Arc<str>, Installed> = before.plugins().values().map(|p| (p.origin.clone(), p.clone())).collect();
        let (mut order, new): (Vec<_>, Vec<_>) = plugins.into_iter().partition(|p| served.contains_key(&p.origin));
        order.extend(new);

        let mut claims = Claims::of(&self.built_in);
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for plugin in order {
            match claims.admit(&plugin) {
                Ok(()) => kept.push(plugin),
                Err(why) => {
                    kept.extend(served.get(&plugin.origin).filter(|old| claims.admit(old).is_ok()).cloned());
                    refused.push((plugin, why));
                }
            }
        }
        let next = Arc::new(Snapshot::build(&kept, &self.built_in, &self.live, &self.shelf, &before));
        self.now.store(Arc::clone(&next));
        before.retire_what_is_not_in(&next);
        self.shelf.retain(&next.stored());
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
        refused
    }
}

/// Who has claimed what so far.
struct Claims {
    names: BTreeMap<String, Arc<str>>,
    resources: BTreeMap<String, String>,
}

// === impl Claims ===

impl Claims {
    fn of(built_in: &[Resource]) -> Self {
        let resources = built_in
            .iter()
            .flat_map(names_of)
            .map(|r| (r, "built in".to_owned()))
            .collect();
        Self {
            names: BTreeMap::new(),
            resources,
        }
    }

    fn admit(&mut self, plugin: &Installed) -> Result<(), Refused> {
        let manifest = plugin.guest.manifest();
        if let Some(other) = self.names.get(&manifest.name) {
            return Err(Refused::Name {
                name: manifest.name.clone(),
                other: other.to_string(),
            });
        }
        let claimed: Vec<String> = manifest.resources.iter().flat_map(names_of).collect();
        for resource in &claimed {
            if let Some(other) = self.resources.get(resource) {
                return Err(Refused::Resource {
                    resource: resource.clone(),
                    other: other.clone(),
                });
            }
        }
        for resource in &manifest.resources {
            Schemas::check(resource).map_err(|why| Refused::Schema {
                resource: format!("{}.{}", resource.plural, resource.group),
                why: why.to_string(),
            })?;
        }
        self.names.insert(manifest.name.clone(), plugin.origin.clone());
        self.resources.extend(claimed.into_iter().map(|r| (r, manifest.name.clone())));
        Ok(())
    }
}

fn names_of(resource: &Resource) -> impl Iterator<Item = String> {
    let versions = resource.versions.iter();
    let names = versions.map(|v| format!("{}.{}/{v}", resource.plural, resource.group));
    // All versions of a stored resource are the same objects, so they have one plugin.
    let objects = resource
        .is_stored()
        .then(|| format!("the objects of {}.{}", resource.plural, resource.group));
    names.chain(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Native;
    use outrigger_sandbox::Collected;
    use outrigger_storage::Nothing;

    fn plugin(name: &str, digest: &str, group: &str, origin: &str) -> Installed {
        Native::collecting(name, digest, group, |_, _| Ok(Collected::default())).installed(origin)
    }

    fn served(catalog: &Catalog) -> Vec<String> {
        let snapshot = catalog.snapshot();
        snapshot
            .plugins()
            .values()
            .map(|p| format!("{}:{}", p.guest.manifest().name, p.guest.digest()))
            .collect()
    }

    #[test]
    fn a_change_is_one_step_and_readers_keep_what_they_have() {
        let catalog = Catalog::new(Vec::new(), Arc::new(Nothing));
        let mut changes = catalog.changes();
        let before = catalog.snapshot();
        assert!(
            catalog
                .replace(vec![
                    plugin("a", "1", "a.example.com", "a.wasm"),
                    plugin("b", "1", "b.example.com", "b.wasm")
                ])
                .is_empty()
        );
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(served(&catalog), ["a:1", "b:1"]);
        assert!(
            before.resource("a.example.com", "v1", "things").is_none(),
            "a snapshot never changes"
        );
        assert!(catalog.snapshot().resource("a.example.com", "v1", "things").is_some());
        let etag = |c: &Catalog| c.snapshot().documents().at("/apis").unwrap().etag().to_owned();
        let both = etag(&catalog);
        catalog.replace(vec![plugin("a", "2", "a.example.com", "a.wasm")]);
        assert_eq!(served(&catalog), ["a:2"]);
        assert_ne!(etag(&catalog), both);
        catalog.replace(vec![
            plugin("b", "1", "b.example.com", "b.wasm"),
            plugin("a", "3", "a.example.com", "a.wasm"),
        ]);
        assert_eq!(etag(&catalog), both, "equal contents, equal bytes");
    }

    #[test]
    fn who_is_served_stays_when_another_wants_its_name_or_resource() {
        let catalog = Catalog::new(Vec::new(), Arc::new(Nothing));
        catalog.replace(vec![plugin("a", "1", "a.example.com", "z.wasm")]);
        let refused = catalog.replace(vec![
            plugin("a", "9", "b.example.com", "a.wasm"),
            plugin("a", "1", "a.example.com", "z.wasm"),
        ]);
        assert_eq!(refused.len(), 1);
        assert!(
            matches!(&refused[0].1, Refused::Name { other, .. } if other == "z.wasm"),
            "{}",
            refused[0].1
        );
        assert_eq!(served(&catalog), ["a:1"]);
        let refused = catalog.replace(vec![
            plugin("b", "9", "a.example.com", "a.wasm"),
            plugin("a", "1", "a.example.com", "z.wasm"),
        ]);
        assert!(matches!(&refused[0].1, Refused::Resource { resource, .. } if resource == "things.a.example.com/v1"));
        assert_eq!(served(&catalog), ["a:1"]);
    }

    #[test]
    fn a_new_version_that_stands_in_the_way_leaves_the_old_one() {
        let catalog = Catalog::new(Vec::new(), Arc::new(Nothing));
        catalog.replace(vec![
            plugin("a", "1", "a.example.com", "a.wasm"),
            plugin("b", "1", "b.example.com", "b.wasm"),
        ]);
        let refused = catalog.replace(vec![
            plugin("a", "1", "a.example.com", "a.wasm"),
            plugin("b", "2", "a.example.com", "b.wasm"),
        ]);
        assert_eq!(refused.len(), 1);
        assert_eq!(served(&catalog), ["a:1", "b:1"]);
    }

    #[test]
    fn watchers_of_what_is_gone_are_done() {
        let catalog = Catalog::new(Vec::new(), Arc::new(Nothing));
        let (a, b) = (
            plugin("a", "1", "a.example.com", "a.wasm"),
            plugin("b", "1", "b.example.com", "b.wasm"),
        );
        catalog.replace(vec![a, b]);
        let table = |plugin: &str| {
            catalog
                .snapshot()
                .table(plugin, &format!("{plugin}.example.com"), "things")
                .unwrap()
                .clone()
        };
        let (a, b) = (table("a"), table("b"));
        catalog.replace(vec![plugin("b", "2", "b.example.com", "b.wasm")]);
        assert!(a.is_retired());
        assert!(!b.is_retired());
    }

    #[test]
    fn rows_survive_a_new_version() {
        let catalog = Catalog::new(Vec::new(), Arc::new(Nothing));
        catalog.replace(vec![plugin("a", "1", "a.example.com", "a.wasm")]);
        let table = catalog.snapshot().table("a", "a.example.com", "things").unwrap().clone();
        catalog.replace(vec![plugin("a", "2", "a.example.com", "a.wasm")]);
        assert!(Arc::ptr_eq(
            &table,
            catalog.snapshot().table("a", "a.example.com", "things").unwrap()
        ));
    }
}
