//! What a plugin's capabilities are made of: the joints between the sandbox's traits and the rooms that do the work.
//!
//! Each type here is bound to one plugin: its persona, its networks, its quota, its secrets. What is granted decides which of them the
//! plugin gets; nothing here asks again.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::manifest::Manifest;
use outrigger_cluster::{EventRecorder, Happening, ObjectError, ObjectPath, Persona, PluginObjects, Watched, secrets};
use outrigger_egress::{Client, Egress, EgressError, Roots};
use outrigger_sandbox::{
    Capabilities, Capability, Event, Events, HostError, Http, Kubelet, Kv, KvGrant, ObjectPage, Objects, PatchKind, SecretKey,
    SecretSource, Secrets, Series, SeriesGrant, Target,
};
use outrigger_storage::{KeyValues, KvError, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::operator::Said;
use crate::own_objects::OwnObjects;

/// What all plugins' capabilities are made of.
pub(crate) struct Means {
    kubelet: Arc<dyn Kubelet>,
    cluster: OnceLock<OfCluster>,
    state: Option<Arc<dyn KeyValues>>,
    shelf: Shelf,
    objects: Arc<outrigger_storage::Shelf>,
}

/// What they need of a cluster.
#[derive(Clone)]
pub(crate) struct OfCluster {
    pub(crate) client: kube::Client,
    pub(crate) watched: Arc<Watched>,
    /// None where plugins have no identity of their own: there are no events then.
    pub(crate) events: Option<Arc<EventRecorder>>,
}

/// The series of all plugins, by name.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<BTreeMap<String, Arc<Series>>>>);

const QUOTA: u64 = 1 << 20;
const VALUE: u64 = 256 << 10;
const KEYS: usize = 1000;
const SERIES: u32 = 100;

// === impl Means ===

impl Means {
    /// Opens the state, if there is a folder for it.
    pub(crate) fn open(
        kubelet: Arc<dyn Kubelet>,
        state_dir: Option<&Path>,
        objects: Arc<outrigger_storage::Shelf>,
    ) -> Result<Self, KvError> {
        let state = match state_dir {
            Some(dir) => Some(Arc::new(Store::open(dir)?) as Arc<dyn KeyValues>),
            None => None,
        };
        Ok(Self {
            kubelet,
            cluster: OnceLock::new(),
            state,
            shelf: Shelf::default(),
            objects,
        })
    }

    /// Lends the cluster to all plugins; before that they have none. The first one stays.
    pub(crate) fn lend(&self, cluster: OfCluster) {
        _ = self.cluster.set(cluster);
    }

    pub(crate) fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// Who answers this plugin.
    ///
    /// # Errors
    /// What the grant names cannot be used.
    pub(crate) fn of(&self, manifest: &Manifest, said: &Said, config: Bytes) -> Result<Capabilities, String> {
        let plugin = &*manifest.name;
        let grant = &said.grant.capabilities;
        let persona = said.persona(plugin);
        let granted = |c| said.grants.allows(c);
        let in_cluster = |c: &OfCluster| {
            let persona = c.events.is_some().then(|| persona.clone());
            let objects = PluginObjects::new(&c.client, c.watched.clone(), persona, plugin);
            Arc::new(InCluster(objects)) as Arc<dyn Objects>
        };
        let http = match granted(Capability::Http) {
            true => Some(Arc::new(Outside::of(plugin, said)?) as Arc<dyn Http>),
            false => None,
        };
        let kv = grant.kv.clone().unwrap_or_default();
        let series = SeriesGrant {
            series: self.shelf.of(plugin),
            most: grant.metrics.as_ref().and_then(|m| m.max_series).unwrap_or(SERIES) as usize,
        };
        Ok(Capabilities {
            kubelet: Some(self.kubelet.clone()),
            config,
            objects: OwnObjects::of(manifest, self.objects.clone(), self.cluster.get().map(in_cluster)),
            http,
            kv: self
                .state
                .clone()
                .map(|store| Arc::new(Space::of(store, plugin, &kv)) as Arc<dyn Kv>),
            no_kv: "this host keeps no state; its operator may start it with --state-dir DIR",
            events: self.cluster.get().and_then(|c| c.events.clone()).map(|recorder| {
                Arc::new(Told {
                    recorder,
                    persona: persona.clone(),
                    plugin: plugin.to_owned(),
                }) as Arc<dyn Events>
            }),
            series: granted(Capability::Metrics).then_some(series),
            secrets: Some(Arc::new(Vault {
                client: self.cluster.get().map(|c| c.client.clone()),
                sources: grant.secrets.clone().unwrap_or_default(),
            })),
            ..Capabilities::default()
        })
    }
}

// === impl OfCluster ===

impl OfCluster {
    /// A cluster in which each plugin acts for itself. Starts what runs for all of them.
    pub(crate) fn new(client: kube::Client, watched: Arc<Watched>, tasks: &TaskTracker, end: &CancellationToken) -> Self {
        Self {
            watched,
            events: Some(EventRecorder::start(client.clone(), tasks, end.clone())),
            client,
        }
    }

    /// A laptop, where the host asks itself and plugins act as it does.
    pub(crate) fn laptop(client: kube::Client, watched: Arc<Watched>) -> Self {
        Self {
            watched,
            events: None,
            client,
        }
    }
}

// === impl Shelf ===

impl Shelf {
    fn of(&self, plugin: &str) -> Arc<Series> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(plugin.to_owned()).or_default().clone()
    }

    /// The series of plugins that are still there; the others' are forgotten once nobody writes them.
    pub(crate) fn kept(&self, is_served: impl Fn(&str) -> bool) -> Vec<(String, Arc<Series>)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|plugin, series| is_served(plugin) || Arc::strong_count(series) > 1);
        all.iter().map(|(plugin, series)| (plugin.clone(), series.clone())).collect()
    }
}

/// The capability `objects`.
struct InCluster(PluginObjects);

#[async_trait]
impl Objects for InCluster {
    async fn get(&self, of: &Target, name: &str, most: usize) -> Result<Bytes, HostError> {
        self.0.get(path(of), name, most).await.map_err(objects_error)
    }

    async fn list(&self, of: &Target, selector: &str, limit: u32, next: &str, most: usize) -> Result<ObjectPage, HostError> {
        let page = self
            .0
            .list(path(of), selector, limit, next, most)
            .await
            .map_err(objects_error)?;
        Ok(ObjectPage {
            items: page.items,
            next: page.next,
        })
    }

    async fn create(&self, of: &Target, name: &str, object: Bytes, most: usize) -> Result<Bytes, HostError> {
        self.0.create(path(of), name, object, most).await.map_err(objects_error)
    }

    async fn update(&self, of: &Target, name: &str, object: Bytes, most: usize) -> Result<Bytes, HostError> {
        self.0.update(path(of), name, object, most).await.map_err(objects_error)
    }

    async fn patch(&self, of: &Target, name: &str, kind: PatchKind, patch: Bytes, most: usize) -> Result<Bytes, HostError> {
        let outcome = self.0.patch(path(of), name, kind.content_type(), patch, most).await;
        outcome.map_err(objects_error)
    }

    async fn delete(&self, of: &Target, name: &str) -> Result<(), HostError> {
        self.0.delete(path(of), name).await.map_err(objects_error)
    }
}

/// The target as a path.
pub(crate) fn path(of: &Target) -> ObjectPath<'_> {
    ObjectPath {
        group: &of.group,
        version: &of.version,
        resource: &of.resource,
        subresource: &of.subresource,
        namespace: &of.namespace,
    }
}

fn objects_error(error: ObjectError) -> HostError {
    match error {
        ObjectError::Denied(s) => HostError::Denied(s),
        ObjectError::NotFound(s) => HostError::NotFound(s),
        ObjectError::Conflict(s) => HostError::Conflict(s),
        ObjectError::Invalid(s) => HostError::Invalid(s),
        ObjectError::TooLarge(s) => HostError::TooLarge(s),
        ObjectError::Exhausted(s) => HostError::Exhausted(s),
        ObjectError::Timeout(s) => HostError::Timeout(s),
        ObjectError::Unavailable(s) => HostError::Unavailable(s),
        ObjectError::Failed(s) => HostError::Failed(s),
    }
}

/// The capability `http`.
struct Outside(Client);

// === impl Outside ===

impl Outside {
    fn of(plugin: &str, said: &Said) -> Result<Self, String> {
        let grant = said.grant.capabilities.http.clone().unwrap_or_default();
        let networks: Result<Vec<_>, _> = grant.allow_private.iter().map(|n| n.parse()).collect();
        let roots = match &grant.ca_file {
            Some(file) => Some(Roots::file(file).map_err(|e| format!("the grant's caFile cannot be used: {e}"))?),
            None => None,
        };
        let agent = format!("outrigger/{} (plugin {plugin})", env!("CARGO_PKG_VERSION"));
        Ok(Self(Client::new(Egress {
            allow_private: networks.map_err(|e| format!("the grant's allowPrivate cannot be used: {e}"))?,
            roots,
            agent: http::HeaderValue::from_str(&agent).ok(),
        })))
    }
}

#[async_trait]
impl Http for Outside {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        most: usize,
        deadline: Instant,
    ) -> Result<http::Response<Bytes>, HostError> {
        self.0.send(request, most, deadline.into()).await.map_err(|error| {
            let sentence = error.to_string();
            match error {
                EgressError::Invalid(_) => HostError::Invalid(sentence),
                EgressError::Refused { .. } => HostError::Denied(sentence),
                EgressError::TooLarge { .. } => HostError::TooLarge(sentence),
                EgressError::Timeout { .. } => HostError::Timeout(sentence),
                EgressError::NoAddress { .. }
                | EgressError::Unreachable { .. }
                | EgressError::Broken { .. }
                | EgressError::Roots(_) => HostError::Unavailable(sentence),
            }
        })
    }
}

/// The capability `kv`.
struct Space {
    store: Arc<dyn KeyValues>,
    plugin: Arc<str>,
    quota: u64,
    value: u64,
}

// === impl Space ===

impl Space {
    fn of(store: Arc<dyn KeyValues>, plugin: &str, grant: &KvGrant) -> Self {
        Self {
            store,
            plugin: plugin.into(),
            quota: grant.quota_bytes.unwrap_or(QUOTA),
            value: grant.max_value_bytes.unwrap_or(VALUE),
        }
    }

    /// The store waits for the disk: not on a thread that serves.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn KeyValues, &str) -> Result<T, KvError> + Send + 'static,
    ) -> Result<T, HostError> {
        let (store, plugin) = (self.store.clone(), self.plugin.clone());
        match tokio::task::spawn_blocking(move || work(&*store, &plugin)).await {
            Ok(outcome) => outcome.map_err(|error| match error {
                KvError::Quota { .. } => HostError::Exhausted(error.to_string()),
                // Paths and the disk's troubles are the operator's.
                other => {
                    tracing::error!("{other}");
                    HostError::Unavailable("the state cannot be kept or read at the moment".into())
                }
            }),
            Err(_) => Err(HostError::Unavailable("this host is ending".into())),
        }
    }
}

#[async_trait]
impl Kv for Space {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, HostError> {
        let key = key.to_owned();
        self.blocking(move |store, space| store.get(space, &key)).await
    }

    async fn set(&self, key: &str, value: Bytes) -> Result<(), HostError> {
        let (bytes, most) = (value.len() as u64, self.value);
        if bytes > most {
            return Err(HostError::TooLarge(format!(
                "the value has {bytes} bytes, the most is {most}"
            )));
        }
        let (key, quota) = (key.to_owned(), self.quota);
        self.blocking(move |store, space| store.set(space, &key, &value, quota)).await
    }

    async fn delete(&self, key: &str) -> Result<(), HostError> {
        let key = key.to_owned();
        self.blocking(move |store, space| store.delete(space, &key)).await
    }

    async fn keys(&self, prefix: &str, after: &str) -> Result<Vec<String>, HostError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.blocking(move |store, space| store.keys(space, &prefix, &after, KEYS))
            .await
    }
}

/// The capability `events`.
struct Told {
    recorder: Arc<EventRecorder>,
    persona: Persona,
    plugin: String,
}

impl Events for Told {
    fn emit(&self, event: Event) -> Result<(), HostError> {
        let object = event.object;
        let what = Happening {
            api_version: object.api_version,
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
            uid: object.uid,
            resource_version: object.resource_version,
            field_path: object.field_path,
            warning: event.warning,
            reason: event.reason,
            note: event.message,
        };
        let outcome = self.recorder.emit(&self.plugin, &self.persona, what);
        outcome.map_err(|e| HostError::Exhausted(e.to_string()))
    }
}

/// The capability `secrets`. No `Debug`: nothing of it is ever printed.
struct Vault {
    client: Option<kube::Client>,
    sources: BTreeMap<String, SecretSource>,
}

#[async_trait]
impl Secrets for Vault {
    async fn get(&self, name: &str, most: usize) -> Result<Bytes, HostError> {
        let value = match self.sources.get(name) {
            None => {
                return Err(HostError::NotFound(format!(
                    "the operator has not said where the secret {name:?} comes from; the grants file does"
                )));
            }
            Some(SecretSource::File(file)) => {
                let file = file.clone();
                let read = tokio::task::spawn_blocking(move || read(&file, most)).await;
                // The path is the operator's, and so is what is wrong with it.
                read.map_err(std::io::Error::other).flatten().map_err(|error| {
                    tracing::error!("the secret {name:?} cannot be read: {error}");
                    HostError::Unavailable(format!("the secret {name:?} cannot be read at the moment"))
                })?
            }
            Some(SecretSource::Secret(SecretKey { namespace, name, key })) => {
                let Some(client) = &self.client else {
                    return Err(HostError::Unavailable("this host has no way to kube-apiserver".into()));
                };
                secrets::read(client, namespace, name, key).await.map_err(objects_error)?
            }
        };
        if value.len() > most {
            return Err(HostError::TooLarge(format!("the secret {name:?} has more than {most} bytes")));
        }
        Ok(value)
    }
}

/// One byte more than `most` at most, so that who asks sees that it is too large.
fn read(file: &Path, most: usize) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
