//! What a plugin reads of its own stored resources comes from memory.
//!
//! A rule about one object often looks at others of the same plugin (is this name banned by that list?). Asked through kube-apiserver that
//! would be a way around the cluster back into this very host, within a write. So reads of a plugin's own resources, in the version in
//! which they are kept, are answered from the image, if the plugin was granted them; its own identity needs no right for that, since it sees
//! these objects anyway. All else goes where it always went.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::json::write_object;
use outrigger_api::manifest::Manifest;
use outrigger_api::meta::{NONE, ObjectMeta, Rest, TypeMeta};
use outrigger_api::selector::LabelSelector;
use outrigger_sandbox::{HostError, ObjectPage, Objects, PatchKind, Target};
use outrigger_storage::{Entry, Kept, Key, Shelf, Why};

/// A plugin's own objects, and the cluster's behind them.
pub(crate) struct OwnObjects {
    /// The kind of each of its stored resources, by group, version and plural name.
    own: BTreeMap<(String, String, String), String>,
    shelf: Arc<Shelf>,
    cluster: Option<Arc<dyn Objects>>,
}

/// How long a read waits for the image to be as far as the store.
const PATIENCE: Duration = Duration::from_secs(3);
/// Objects of a page, if the plugin does not say.
const PAGE: usize = 500;

// === impl OwnObjects ===

impl OwnObjects {
    /// `None` if there is nothing to read from at all.
    pub(crate) fn of(manifest: &Manifest, shelf: Arc<Shelf>, cluster: Option<Arc<dyn Objects>>) -> Option<Arc<dyn Objects>> {
        let stored = manifest.resources.iter().filter(|r| r.is_stored());
        let own: BTreeMap<_, _> = stored
            .map(|r| {
                let version = r.storage_version().to_owned();
                ((r.group.clone(), version, r.plural.clone()), r.kind.clone())
            })
            .collect();
        if own.is_empty() || shelf.store().is_none() {
            return cluster;
        }
        Some(Arc::new(Self { own, shelf, cluster }))
    }

    /// The image of what is asked for and its kind, if it is the plugin's own.
    fn kept(&self, of: &Target) -> Option<(Arc<Kept>, &str)> {
        let at = (of.group.clone(), of.version.clone(), of.resource.clone());
        let kind = self.own.get(&at).filter(|_| of.subresource.is_empty())?;
        Some((self.shelf.served(&of.group, &of.resource)?, kind))
    }

    fn cluster(&self) -> Result<&dyn Objects, HostError> {
        let none = || HostError::Unavailable("there is no cluster yet".into());
        self.cluster.as_deref().ok_or_else(none)
    }
}

fn failed(why: Why) -> HostError {
    HostError::Unavailable(why.to_string())
}

/// An object as JSON, if it is kept in this version.
fn written(of: &Target, kind: &str, entry: &Entry) -> Option<Bytes> {
    let meta = entry.row.meta.as_ref()?;
    let api_version = format!("{}/{}", of.group, of.version);
    if meta.kept.as_deref() != Some(&*api_version) {
        return None;
    }
    let kind = TypeMeta {
        api_version: &api_version,
        kind,
    };
    let key = &entry.row.key;
    let meta = ObjectMeta {
        resource_version: entry.revision,
        labels: &NONE,
        rest: Rest {
            json: &meta.json,
            protobuf: &[],
        },
        ..ObjectMeta::named(&key.namespace, &key.name)
    };
    let mut out = Vec::with_capacity(entry.row.fields.len() + 512);
    write_object(&mut out, Some(kind), &meta, &entry.row.fields);
    Some(out.into())
}

fn too_large(most: usize) -> HostError {
    HostError::TooLarge(format!("the answer has more than {most} bytes"))
}

#[async_trait]
impl Objects for OwnObjects {
    async fn get(&self, of: &Target, name: &str, most: usize) -> Result<Bytes, HostError> {
        let Some((kept, kind)) = self.kept(of) else {
            return self.cluster()?.get(of, name, most).await;
        };
        let key = Key::new(&of.namespace, name);
        let entry = kept.get(&key, PATIENCE).await.map_err(failed)?;
        let Some(entry) = entry else {
            return Err(HostError::NotFound(format!(
                "{}.{} {name:?} not found",
                of.resource, of.group
            )));
        };
        match written(of, kind, &entry) {
            Some(object) if object.len() > most => Err(too_large(most)),
            Some(object) => Ok(object),
            None => self.cluster()?.get(of, name, most).await,
        }
    }

    async fn list(&self, of: &Target, selector: &str, limit: u32, next: &str, most: usize) -> Result<ObjectPage, HostError> {
        let Some((kept, kind)) = self.kept(of) else {
            return self.cluster()?.list(of, selector, limit, next, most).await;
        };
        let selector = LabelSelector::parse(selector).map_err(|status| HostError::Invalid(status.message))?;
        let snapshot = kept.fresh(PATIENCE).await.map_err(failed)?;
        let first = match next.split_once('/') {
            Some((namespace, name)) => Key::new(namespace, &format!("{name}\0")),
            None => Key::new(&of.namespace, ""),
        };
        let limit = if limit == 0 { PAGE } else { limit as usize };
        let mut page = ObjectPage {
            items: Vec::new(),
            next: String::new(),
        };
        let mut bytes = 0;
        let mut last = None;
        for entry in snapshot.iter_from(first, SystemTime::now()) {
            let key = &entry.row.key;
            if !of.namespace.is_empty() && *key.namespace != *of.namespace {
                break;
            }
            if !entry.labels.as_ref().is_some_and(|labels| selector.matches(labels)) {
                continue;
            }
            if page.items.len() >= limit {
                page.next = last
                    .map(|key: &Key| format!("{}/{}", key.namespace, key.name))
                    .unwrap_or_default();
                break;
            }
            let Some(object) = written(of, kind, entry) else {
                return self
                    .cluster()?
                    .list(
                        of,
                        &selector.to_string(),
                        u32::try_from(limit).unwrap_or(u32::MAX),
                        next,
                        most,
                    )
                    .await;
            };
            bytes += object.len();
            if bytes > most {
                return Err(too_large(most));
            }
            page.items.push(object);
            last = Some(key);
        }
        Ok(page)
    }

    async fn create(&self, of: &Target, name: &str, object: Bytes, most: usize) -> Result<Bytes, HostError> {
        self.cluster()?.create(of, name, object, most).await
    }

    async fn update(&self, of: &Target, name: &str, object: Bytes, most: usize) -> Result<Bytes, HostError> {
        self.cluster()?.update(of, name, object, most).await
    }

    async fn patch(&self, of: &Target, name: &str, kind: PatchKind, patch: Bytes, most: usize) -> Result<Bytes, HostError> {
        self.cluster()?.patch(of, name, kind, patch, most).await
    }

    async fn delete(&self, of: &Target, name: &str) -> Result<(), HostError> {
        self.cluster()?.delete(of, name).await
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::manifest::{Resource, Scope};
    use outrigger_api::object::Object;
    use outrigger_storage::store::memory::Memory;
    use outrigger_storage::store::{Expected, Keep};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;

    fn target(resource: &str, namespace: &str) -> Target {
        Target {
            group: "g.example.com".into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
        }
    }

    #[tokio::test]
    async fn own_objects_are_read_from_memory_and_others_are_not() {
        let store = Arc::new(Memory::new(Keep::default()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let runtime = tokio::runtime::Handle::current();
        let shelf = Arc::new(Shelf::new(store, Keep::default(), runtime, tasks, stop));
        let kept = shelf.of("g.example.com", "ships").unwrap();
        kept.filled().await;
        for (namespace, name, label) in [("north", "a", "x"), ("north", "b", "y"), ("south", "a", "x")] {
            let json = format!(
                r#"{{"apiVersion":"g.example.com/v1","kind":"Ship","metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"l":"{label}"}}}},"spec":1}}"#
            );
            let object = Object::read(json.as_bytes()).unwrap();
            kept.put(&Key::new(namespace, name), Expected::Absent, &object).await.unwrap();
        }
        let ships = Resource::stored("Ship", "ships", Scope::Namespaced)
            .group("g.example.com")
            .version("v1");
        let own = OwnObjects::of(&Manifest::new("p", "1").resource(ships), shelf, None).unwrap();

        let a = own.get(&target("ships", "north"), "a", 1 << 20).await.unwrap();
        let a = Object::read(&a).unwrap();
        assert_eq!(
            (a.name(), a.version(), &*a.api_version, &*a.kind),
            ("a", "2", "g.example.com/v1", "Ship")
        );
        let missing = own.get(&target("ships", "north"), "z", 1 << 20).await;
        assert!(matches!(missing, Err(HostError::NotFound(_))));
        let small = own.get(&target("ships", "north"), "a", 10).await;
        assert!(matches!(small, Err(HostError::TooLarge(_))));
        let elsewhere = own.get(&target("ports", "north"), "a", 1 << 20).await;
        assert!(matches!(elsewhere, Err(HostError::Unavailable(_))));

        for (namespace, selector, limit, names) in [
            ("", "", 0, &["north/a north/b south/a"][..]),
            ("", "", 2, &["north/a north/b", "south/a"]),
            ("north", "", 1, &["north/a", "north/b"]),
            ("", "l=x", 1, &["north/a", "south/a"]),
        ] {
            let (mut next, mut pages) = (String::new(), Vec::new());
            loop {
                let page = own
                    .list(&target("ships", namespace), selector, limit, &next, 1 << 20)
                    .await
                    .unwrap();
                let objects = page.items.iter().map(|item| Object::read(item).unwrap());
                let all: Vec<_> = objects.map(|o| format!("{}/{}", o.namespace(), o.name())).collect();
                pages.push(all.join(" "));
                if page.next.is_empty() {
                    break;
                }
                next = page.next;
            }
            assert_eq!(pages, names, "{namespace} {selector} {limit}");
        }
    }
}
