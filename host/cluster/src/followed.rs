//! What plugins follow: objects of any resource, asked for with the plugin's own identity, told by key and owner, kept to be read.
//!
//! kube-apiserver is asked as the plugin's [`Persona`], so its RBAC and its audit log speak of the plugin and not of the host. (On a
//! laptop, where the host asks itself, there is one identity.) Whoever follows what the same plugin
//! follows already shares its watch. A listener first hears of every object, then that all are known, then of every change; it is
//! called under a lock and must not wait.
//!
//! Objects are kept as JSON without `managedFields`, up to a number of bytes for each plugin; beyond it a key is followed like any
//! other, but its object is not here to be read ([`Found::Unknown`]). Nothing a plugin follows is ever shown to another.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::watcher;
use kube::{Api, Client};
use outrigger_api::manifest::ResourceName;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::advice::Advice;
use crate::backoff::Backoff;
use crate::client::Cluster;
use crate::informer::{self, Keep, Subject, Trouble, fact};
use crate::persona::Persona;

/// How plugins follow.
#[derive(Debug, Clone)]
pub struct WatchedOptions {
    /// Bytes of objects that are kept for each plugin.
    pub bytes_per_plugin: usize,
}

/// As whom a plugin asks, by its name; `None`: as the host.
pub type Personas = Arc<dyn Fn(&str) -> Option<Persona> + Send + Sync>;

/// Which objects, for which plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    /// The plugin's name, a DNS label.
    pub plugin: Arc<str>,
    /// The resource.
    pub resource: ResourceName,
    /// Its namespaces; `None` for all of them, and for what has none.
    pub namespaces: Option<BTreeSet<String>>,
}

/// The controlling owner of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Its group; empty for core.
    pub group: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new here.
    Made,
    /// It is another than before.
    Changed,
    /// It is gone.
    Gone,
}

/// What listeners hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News<'a> {
    /// Of one object.
    Object {
        /// `NAMESPACE/NAME`, or `NAME`.
        key: &'a Arc<str>,
        /// What happened.
        change: Change,
        /// Who controls it; of one that is gone, who did.
        owner: Option<&'a Controller>,
        /// Who controlled it before.
        before: Option<&'a Controller>,
    },
    /// Every object that there is has been told.
    Synced {
        /// The kind of the objects.
        kind: &'a Arc<str>,
        /// Whether they have a namespace.
        namespaced: bool,
    },
    /// It does not work at the moment; what is known stays.
    Troubled(&'a str),
}

/// Who is told.
pub type Listener = Arc<dyn Fn(&News<'_>) + Send + Sync>;

/// What the store knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there: its JSON without `managedFields`.
    Object(Bytes),
    /// There is none.
    Nothing,
    /// It is not followed, not known yet, or too much to keep: ask kube-apiserver.
    Unknown,
}

/// Everything that plugins follow.
pub struct Watched {
    cluster: Cluster,
    options: WatchedOptions,
    personas: Personas,
    shelves: Mutex<HashMap<Wanted, Arc<Shelf>>>,
    /// A client for each plugin, and the bytes that are kept for it.
    plugins: Mutex<HashMap<Arc<str>, Arc<Plugin>>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// Somebody who follows. Dropped, he is not told any more; with the last one the watch ends.
pub struct Handle {
    watched: Arc<Watched>,
    wanted: Wanted,
    shelf: Arc<Shelf>,
    number: u64,
}

struct Plugin {
    client: Client,
    bytes: AtomicUsize,
    most: usize,
}

/// The objects of one [`Wanted`].
struct Shelf {
    plugin: Arc<Plugin>,
    state: Mutex<State>,
    cancel: CancellationToken,
}

#[derive(Default)]
struct State {
    objects: HashMap<Arc<str>, Entry>,
    kind: Option<(Arc<str>, bool)>,
    /// Lists that have yet to come for the first time; `None` before it is known how many there are.
    missing: Option<usize>,
    trouble: Option<String>,
    listeners: Vec<(u64, Listener)>,
    next: u64,
}

struct Entry {
    version: Box<str>,
    owner: Option<Controller>,
    /// Absent if there was no room.
    json: Option<Bytes>,
}

/// Puts what one watch brings onto the shelf.
struct Keeper {
    shelf: Arc<Shelf>,
    types: TypeMeta,
    /// With a slash; empty for all.
    prefix: String,
    /// The keys of the list that is under way.
    listed: BTreeSet<Arc<str>>,
    synced: bool,
}

const DISCOVERY_DEADLINE: Duration = Duration::from_secs(30);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

// === impl WatchedOptions ===

impl Default for WatchedOptions {
    fn default() -> Self {
        Self {
            bytes_per_plugin: 64 << 20,
        }
    }
}

// === impl Watched ===

impl Watched {
    /// Nothing is followed yet. Everything ends with `cancel`.
    #[must_use]
    pub fn new(cluster: Cluster, options: WatchedOptions, personas: Personas, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            options,
            personas,
            shelves: Mutex::default(),
            plugins: Mutex::default(),
            tasks: TaskTracker::new(),
            cancel,
        })
    }

    /// Follows until the answer is dropped. What is known already is told before this returns.
    #[must_use]
    pub fn follow(self: &Arc<Self>, wanted: &Wanted, listener: Listener) -> Handle {
        let mut shelves = locked(&self.shelves);
        let shelf = match shelves.get(wanted) {
            Some(shelf) => shelf.clone(),
            None => {
                let shelf = Arc::new(Shelf {
                    plugin: self.plugin(&wanted.plugin),
                    state: Mutex::default(),
                    cancel: self.cancel.child_token(),
                });
                shelves.insert(wanted.clone(), shelf.clone());
                self.tasks.spawn(shelf.clone().fill(wanted.clone()));
                shelf
            }
        };
        let number = shelf.state().admit(listener);
        Handle {
            watched: self.clone(),
            wanted: wanted.clone(),
            shelf: shelf.clone(),
            number,
        }
    }

    /// An object as the watches know it, and maybe a moment old. Only what `plugin` itself follows counts.
    #[must_use]
    pub fn get(&self, plugin: &str, resource: &ResourceName, namespace: &str, name: &str) -> Found {
        let shelf = locked(&self.shelves).iter().find_map(|(wanted, shelf)| {
            let covers = wanted.namespaces.as_ref().is_none_or(|only| only.contains(namespace));
            (*wanted.plugin == *plugin && wanted.resource == *resource && covers).then(|| shelf.clone())
        });
        let Some(shelf) = shelf else { return Found::Unknown };
        let state = shelf.state();
        match state.objects.get(key(namespace, name).as_str()) {
            Some(Entry { json: Some(json), .. }) => Found::Object(json.clone()),
            Some(_) => Found::Unknown,
            None if state.missing == Some(0) => Found::Nothing,
            None => Found::Unknown,
        }
    }

    /// Waits until every watch has ended; they end with the token.
    pub async fn ended(&self) {
        self.cancel.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn plugin(&self, name: &Arc<str>) -> Arc<Plugin> {
        let mut plugins = locked(&self.plugins);
        if let Some(known) = plugins.get(name) {
            return known.clone();
        }
        let plugin = Arc::new(Plugin {
            client: self.client_of(name),
            bytes: AtomicUsize::new(0),
            most: self.options.bytes_per_plugin,
        });
        plugins.insert(name.clone(), plugin.clone());
        plugin
    }

    /// A connection that says whose it is.
    fn client_of(&self, plugin: &str) -> Client {
        match (self.personas)(plugin) {
            Some(persona) => persona.client(&self.cluster.client),
            None => self.cluster.client.clone(),
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("resources", &locked(&self.shelves).len())
            .finish_non_exhaustive()
    }
}

// === impl Handle ===

impl Handle {
    /// The keys of all objects that are known now.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.shelf.state().objects.keys().cloned().collect()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut shelves = locked(&self.watched.shelves);
        let empty = {
            let mut state = self.shelf.state();
            state.listeners.retain(|(number, _)| *number != self.number);
            state.listeners.is_empty()
        };
        if empty {
            self.shelf.cancel.cancel();
            shelves.remove(&self.wanted);
            let served = shelves.keys().any(|other| other.plugin == self.wanted.plugin);
            if !served {
                locked(&self.watched.plugins).remove(&self.wanted.plugin);
            }
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

// === impl Plugin ===

impl Plugin {
    /// The object, if there is room for it.
    fn keep(&self, json: Vec<u8>) -> Option<Bytes> {
        let fits = self.bytes.fetch_add(json.len(), Ordering::AcqRel).saturating_add(json.len()) <= self.most;
        if fits {
            return Some(json.into());
        }
        self.bytes.fetch_sub(json.len(), Ordering::AcqRel);
        None
    }

    fn let_go(&self, entry: &Entry) {
        if let Some(json) = &entry.json {
            self.bytes.fetch_sub(json.len(), Ordering::AcqRel);
        }
    }
}

// === impl Shelf ===

impl Shelf {
    /// Finds out what the resource is, then follows it.
    async fn fill(self: Arc<Self>, wanted: Wanted) {
        let cancel = self.cancel.clone();
        let Some(Some(found)) = cancel.run_until_cancelled(self.discover(&wanted)).await else {
            return;
        };
        let about = ApiResource {
            group: wanted.resource.group.clone(),
            version: wanted.resource.version.clone(),
            api_version: api_version(&wanted.resource),
            kind: found.kind.clone(),
            plural: wanted.resource.resource.clone(),
        };
        // What has no namespace is not in one: a right in some namespaces is no right to it.
        let namespaces: Vec<Option<String>> = match &wanted.namespaces {
            Some(only) if found.namespaced => only.iter().cloned().map(Some).collect(),
            Some(_) => {
                self.troubled("it has no namespace, and the plugin may follow it in some namespaces only");
                return;
            }
            None => vec![None],
        };
        {
            let mut state = self.state();
            state.kind = Some((found.kind.as_str().into(), found.namespaced));
            state.missing = Some(namespaces.len());
        }
        let watches = namespaces.into_iter().map(|namespace| {
            let keeper = Keeper {
                shelf: self.clone(),
                types: TypeMeta {
                    api_version: about.api_version.clone(),
                    kind: about.kind.clone(),
                },
                prefix: namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default(),
                listed: BTreeSet::new(),
                synced: false,
            };
            let client = self.plugin.client.clone();
            let api = match &namespace {
                Some(namespace) => Api::<DynamicObject>::namespaced_with(client, namespace, &about),
                None => Api::all_with(client, &about),
            };
            let open = move || watcher(api.clone(), informer::config());
            informer::follow(subject(&wanted), open, keeper, self.cancel.clone())
        });
        join_all(watches).await;
        // Nobody is told any more; what is kept goes with the shelf.
        let mut state = self.state();
        for (_, entry) in state.objects.drain() {
            self.plugin.let_go(&entry);
        }
    }

    /// Kind and scope, asked until there is an answer.
    async fn discover(&self, wanted: &Wanted) -> Option<APIResource> {
        let mut trouble = Trouble::new(subject(wanted));
        let mut backoff = Backoff::new(FIRST_DELAY, 2.0, LONGEST_DELAY, 1.0);
        let version = api_version(&wanted.resource);
        loop {
            let client = &self.plugin.client;
            let asked = tokio::time::timeout(DISCOVERY_DEADLINE, async {
                match wanted.resource.group.as_str() {
                    "" => client.list_core_api_resources(&version).await,
                    _ => client.list_api_group_resources(&version).await,
                }
            });
            let (what, more) = match asked.await {
                Ok(Ok(list)) => match list.resources.into_iter().find(|r| r.name == wanted.resource.resource) {
                    Some(found) => {
                        trouble.ends();
                        return Some(found);
                    }
                    None => (
                        format!("there is no {} in {version}", wanted.resource.resource),
                        String::new(),
                    ),
                },
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    (format!("kube-apiserver does not serve {version}"), String::new())
                }
                Ok(Err(error)) => {
                    let code = match &error {
                        kube::Error::Api(status) => Some(status.code),
                        _ => None,
                    };
                    fact(code, &error, trouble.subject())
                }
                Err(_) => (format!("no answer within {DISCOVERY_DEADLINE:?}"), String::new()),
            };
            if trouble.begins(&what, &more) {
                self.troubled(&format!("{what}{more}"));
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    fn troubled(&self, sentence: &str) {
        let mut state = self.state();
        state.trouble = Some(sentence.to_owned());
        state.tell(&News::Troubled(sentence));
    }

    fn put(&self, key: Arc<str>, object: &DynamicObject) {
        let version = object.metadata.resource_version.as_deref().unwrap_or_default();
        let mut state = self.state();
        let known = state.objects.get(&key);
        if known.is_some_and(|known| *known.version == *version && !version.is_empty()) {
            return;
        }
        let before = state.objects.remove(&key);
        if let Some(before) = &before {
            self.plugin.let_go(before);
        }
        let entry = Entry {
            version: version.into(),
            owner: owner(object),
            json: serde_json::to_vec(object).ok().and_then(|json| self.plugin.keep(json)),
        };
        state.tell(&News::Object {
            key: &key,
            change: if before.is_some() { Change::Changed } else { Change::Made },
            owner: entry.owner.as_ref(),
            before: before.as_ref().and_then(|before| before.owner.as_ref()),
        });
        state.objects.insert(key, entry);
    }

    fn take(&self, key: &str) {
        let mut state = self.state();
        if let Some((key, entry)) = state.objects.remove_entry(key) {
            self.plugin.let_go(&entry);
            state.tell(&News::Object {
                key: &key,
                change: Change::Gone,
                owner: entry.owner.as_ref(),
                before: None,
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

// === impl State ===

impl State {
    /// Tells a new listener what is known.
    fn admit(&mut self, listener: Listener) -> u64 {
        for (key, entry) in &self.objects {
            listener(&News::Object {
                key,
                change: Change::Made,
                owner: entry.owner.as_ref(),
                before: None,
            });
        }
        match (&self.kind, self.missing) {
            (Some((kind, namespaced)), Some(0)) => listener(&News::Synced {
                kind,
                namespaced: *namespaced,
            }),
            _ => {
                if let Some(sentence) = &self.trouble {
                    listener(&News::Troubled(sentence));
                }
            }
        }
        self.next += 1;
        self.listeners.push((self.next, listener));
        self.next
    }

    fn tell(&self, news: &News<'_>) {
        for (_, listener) in &self.listeners {
            listener(news);
        }
    }

    fn tell_synced(&self) {
        if let (Some((kind, namespaced)), Some(0)) = (&self.kind, self.missing) {
            self.tell(&News::Synced {
                kind,
                namespaced: *namespaced,
            });
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// The object's key, and the object as it is kept.
    fn ready(&self, mut object: DynamicObject) -> Option<(Arc<str>, DynamicObject)> {
        let key = key(
            object.metadata.namespace.as_deref().unwrap_or_default(),
            object.metadata.name.as_deref()?,
        );
        object.metadata.managed_fields = None;
        // The items of a list do not say what they are.
        object.types.get_or_insert_with(|| self.types.clone());
        Some((key.into(), object))
    }
}

impl Keep<DynamicObject> for Keeper {
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn list(&mut self, object: DynamicObject) {
        if let Some((key, object)) = self.ready(object) {
            self.listed.insert(key.clone());
            self.shelf.put(key, &object);
        }
    }

    fn commit(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let gone: Vec<Arc<str>> = {
            let state = self.shelf.state();
            let ours = state.objects.keys().filter(|key| key.starts_with(&self.prefix));
            ours.filter(|key| !listed.contains(*key)).cloned().collect()
        };
        for key in gone {
            self.shelf.take(&key);
        }
        if !self.synced {
            self.synced = true;
            let mut state = self.shelf.state();
            state.missing = state.missing.map(|missing| missing.saturating_sub(1));
            state.trouble = None;
            state.tell_synced();
        }
    }

    fn apply(&mut self, object: DynamicObject) {
        if let Some((key, object)) = self.ready(object) {
            self.shelf.put(key, &object);
        }
    }

    fn delete(&mut self, object: DynamicObject) {
        if let Some((key, _)) = self.ready(object) {
            self.shelf.take(&key);
        }
    }

    fn troubled(&mut self, sentence: Option<&str>) {
        match sentence {
            Some(sentence) => self.shelf.troubled(sentence),
            None => {
                let mut state = self.shelf.state();
                state.trouble = None;
                state.tell_synced();
            }
        }
    }
}

/// What is followed, for the log.
fn subject(wanted: &Wanted) -> Subject {
    let (plugin, resource) = (wanted.plugin.clone(), wanted.resource.clone());
    let named = match resource.group.as_str() {
        "" => resource.resource.clone(),
        group => format!("{}.{group}", resource.resource),
    };
    let what = format!("{named} for plugin {plugin}");
    Subject::new(what.into(), move |refusal| {
        Advice::of_plugin(&plugin, "get,list,watch", &named, refusal)
    })
}

/// `GROUP/VERSION`, or the version alone in core.
fn api_version(resource: &ResourceName) -> String {
    match resource.group.as_str() {
        "" => resource.version.clone(),
        group => format!("{group}/{}", resource.version),
    }
}

fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// The owner reference that says `controller: true`; there is at most one.
fn owner(object: &DynamicObject) -> Option<Controller> {
    let references = object.metadata.owner_references.as_ref()?;
    let controlling = references.iter().find(|reference| reference.controller == Some(true))?;
    let group = controlling.api_version.rsplit_once('/').map(|(group, _)| group);
    Some(Controller {
        group: group.unwrap_or_default().into(),
        kind: controlling.kind.as_str().into(),
        name: controlling.name.as_str().into(),
    })
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Server, Step, event, list, status, until, watch};

    fn resources() -> Step {
        let one = |name: &str, kind: &str, namespaced: bool| {
            format!(r#"{{"name":"{name}","singularName":"","namespaced":{namespaced},"kind":"{kind}","verbs":["list","watch"]}}"#)
        };
        Step::Say(
            200,
            format!(
                r#"{{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"harbor.example.com/v1","resources":[{},{}]}}"#,
                one("ships", "Ship", true),
                one("oceans", "Ocean", false)
            ),
        )
    }

    fn ship(name: &str, version: u32, owner: &str) -> String {
        let owners = match owner {
            "" => String::new(),
            owner => format!(
                r#","ownerReferences":[{{"apiVersion":"v1","kind":"Other","name":"x","uid":"0"}},{{"apiVersion":"docks.example.com/v1","kind":"Dock","name":"{owner}","uid":"1","controller":true}}]"#
            ),
        };
        format!(
            r#"{{"metadata":{{"namespace":"a","name":"{name}","resourceVersion":"{version}","managedFields":[{{"manager":"m"}}]{owners}}},"spec":{{"tonnage":{version}}}}}"#
        )
    }

    fn wanted(resource: &str, namespaces: Option<&[&str]>) -> Wanted {
        Wanted {
            plugin: "keeper".into(),
            resource: ResourceName::new("harbor.example.com", "v1", resource),
            namespaces: namespaces.map(|only| only.iter().map(|&n| n.to_owned()).collect()),
        }
    }

    /// What was heard, as text.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Heard {
        fn listener(&self) -> Listener {
            let heard = self.0.clone();
            Arc::new(move |news| {
                let text = match news {
                    News::Object {
                        key,
                        change,
                        owner,
                        before,
                    } => {
                        let name = |owner: Option<&Controller>| {
                            owner.map_or("-".to_owned(), |o| format!("{}.{}/{}", o.kind, o.group, o.name))
                        };
                        format!("{change:?} {key} {} was {}", name(*owner), name(*before))
                    }
                    News::Synced { kind, namespaced } => format!("synced {kind} {namespaced}"),
                    News::Troubled(sentence) => format!("troubled: {sentence}"),
                };
                heard.lock().unwrap().push(text);
            })
        }

        async fn until(&self, last: &str) -> Vec<String> {
            until(last, || self.0.lock().unwrap().last().is_some_and(|l| l.starts_with(last))).await;
            let mut heard = std::mem::take(&mut *self.0.lock().unwrap());
            let sorted = heard.len() - 1;
            heard[..sorted].sort();
            heard
        }
    }

    fn watched(server: &Server, bytes_per_plugin: usize) -> Arc<Watched> {
        let cluster = Cluster {
            client: server.client.clone(),
            config: server.config.clone(),
        };
        let options = WatchedOptions { bytes_per_plugin };
        let personas: Personas = Arc::new(|plugin| Some(Persona::plugin(plugin)));
        Watched::new(cluster, options, personas, CancellationToken::new())
    }

    #[tokio::test]
    async fn a_plugin_follows_as_itself_and_reads_what_it_follows() {
        let (events, stream) = watch();
        let ships = [ship("x", 1, ""), ship("y", 1, "north")];
        let server = Server::start(vec![resources(), list("5", "", &ships), stream]).await;
        let watched = watched(&server, 1 << 20);
        let (heard, wanted) = (Heard::default(), wanted("ships", None));
        let handle = watched.follow(&wanted, heard.listener());
        assert_eq!(
            heard.until("synced").await,
            [
                "Made a/x - was -",
                "Made a/y Dock.docks.example.com/north was -",
                "synced Ship true"
            ]
        );
        let typed = |json: String| json.replacen('{', r#"{"apiVersion":"harbor.example.com/v1","kind":"Ship","#, 1);
        for (kind, object, expected) in [
            (
                "MODIFIED",
                ship("y", 2, "south"),
                "Changed a/y Dock.docks.example.com/south was Dock.docks.example.com/north",
            ),
            ("ADDED", ship("z", 3, ""), "Made a/z - was -"),
            (
                "DELETED",
                ship("y", 4, "south"),
                "Gone a/y Dock.docks.example.com/south was -",
            ),
        ] {
            events.send(event(kind, &typed(object))).unwrap();
            heard.until(expected).await;
        }
        let late = Heard::default();
        let second = watched.follow(&wanted, late.listener());
        assert_eq!(
            late.until("synced").await,
            ["Made a/x - was -", "Made a/z - was -", "synced Ship true"]
        );
        assert_eq!(server.asked().len(), 3, "the watch is shared");
        for asked in server.asked() {
            assert_eq!(
                asked.impersonating,
                ["outrigger:plugin:keeper", "outrigger:plugins"],
                "{}",
                asked.uri
            );
        }

        let Found::Object(json) = watched.get("keeper", &wanted.resource, "a", "x") else {
            panic!("a/x is not there")
        };
        let object: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&object["kind"], &object["spec"]["tonnage"]), (&"Ship".into(), &1.into()));
        assert_eq!(object["metadata"].get("managedFields"), None);
        assert_eq!(watched.get("keeper", &wanted.resource, "a", "y"), Found::Nothing);
        assert_eq!(
            watched.get("other", &wanted.resource, "a", "x"),
            Found::Unknown,
            "a plugin's watch is its own"
        );
        drop(handle);
        let mut keys = second.keys();
        keys.sort();
        assert_eq!(keys, ["a/x".into(), "a/z".into()]);
        drop(second);
        assert_eq!(
            watched.get("keeper", &wanted.resource, "a", "x"),
            Found::Unknown,
            "nobody follows any more"
        );
    }

    #[tokio::test]
    async fn what_expired_is_listed_again_and_the_difference_is_told() {
        let (events, first) = watch();
        let (_open, second) = watch();
        let server = Server::start(vec![resources(), list("5", "", &[ship("x", 1, ""), ship("y", 1, "")]), first]).await;
        let watched = watched(&server, 1 << 20);
        let heard = Heard::default();
        let _handle = watched.follow(&wanted("ships", None), heard.listener());
        heard.until("synced").await;
        let gone = crate::scripted::status_json(410, "Expired");
        events.send(event("ERROR", &gone)).unwrap();
        server.then(list("9", "", &[ship("x", 1, ""), ship("z", 8, "")]));
        server.then(second);
        assert_eq!(
            heard.until("Gone").await,
            ["Made a/z - was -", "Gone a/y - was -"],
            "and nothing of what is as before"
        );
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_told_until_it_is_gone() {
        let (_open, stream) = watch();
        let server = Server::start(vec![
            status(404, "NotFound"),
            resources(),
            status(403, "Forbidden"),
            list("5", "", &[]),
            stream,
        ])
        .await;
        let watched = watched(&server, 1 << 20);
        let heard = Heard::default();
        let _handle = watched.follow(&wanted("ships", None), heard.listener());
        let told = heard.until("synced").await.join("\n");
        assert!(
            told.contains("troubled: kube-apiserver does not serve harbor.example.com/v1"),
            "{told}"
        );
        assert!(
            told.contains("plugin keeper (user outrigger:plugin:keeper) may not get,list,watch ships.harbor.example.com"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_right_in_some_namespaces_is_one_watch_in_each() {
        let ((_a, first), (_b, second)) = (watch(), watch());
        let server = Server::start(vec![
            resources(),
            list("5", "", &[ship("x", 1, "")]),
            list("5", "", &[]),
            first,
            second,
        ])
        .await;
        let watched = watched(&server, 1 << 20);
        let heard = Heard::default();
        let wanted = wanted("ships", Some(&["a", "b"]));
        let _handle = watched.follow(&wanted, heard.listener());
        assert_eq!(heard.until("synced").await.len(), 2, "once for both");
        let mut paths: Vec<String> = server
            .asked()
            .into_iter()
            .map(|a| a.uri.split('?').next().unwrap().to_owned())
            .collect();
        paths.sort();
        paths.dedup();
        assert_eq!(
            paths,
            [
                "/apis/harbor.example.com/v1",
                "/apis/harbor.example.com/v1/namespaces/a/ships",
                "/apis/harbor.example.com/v1/namespaces/b/ships"
            ]
        );
        assert_eq!(watched.get("keeper", &wanted.resource, "c", "x"), Found::Unknown);

        let server = Server::start(vec![resources()]).await;
        let watched = self::watched(&server, 1 << 20);
        let _handle = watched.follow(&self::wanted("oceans", Some(&["a"])), heard.listener());
        heard.until("troubled: it has no namespace").await;
    }

    #[tokio::test]
    async fn what_is_too_much_to_keep_is_followed_all_the_same() {
        let (events, stream) = watch();
        let room = ship("x", 1, "").len() + 60;
        let server = Server::start(vec![
            resources(),
            list("5", "", &[ship("x", 1, ""), ship("y", 1, "")]),
            stream,
        ])
        .await;
        let watched = watched(&server, room);
        let (heard, wanted) = (Heard::default(), wanted("ships", None));
        let _handle = watched.follow(&wanted, heard.listener());
        assert_eq!(heard.until("synced").await.len(), 3);
        let found = |name: &str| watched.get("keeper", &wanted.resource, "a", name);
        assert!(matches!(found("x"), Found::Object(_)));
        assert_eq!(found("y"), Found::Unknown);
        events.send(event("DELETED", &ship("x", 2, ""))).unwrap();
        heard.until("Gone a/x").await;
        events.send(event("MODIFIED", &ship("y", 3, ""))).unwrap();
        heard.until("Changed a/y").await;
        assert!(matches!(found("y"), Found::Object(_)), "there is room again");
    }
}
