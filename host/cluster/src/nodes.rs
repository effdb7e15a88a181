//! The nodes of the cluster, by name: what it takes to reach a kubelet and to answer for a node, and nothing else.
//!
//! A Node object is some 10–50 KiB, most of it image names. Of each only name, labels, addresses, kubelet port and readiness
//! are kept; the rest is skipped while the bytes are parsed and never allocated. While kube-apiserver is away the last
//! known nodes stay: a node must be deleted by an event or missing from a complete list to go.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, RwLock};

use k8s_openapi::ClusterResourceScope;
use kube::api::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::informer::{self, Keep, Subject, read, slim_metadata, write};
use crate::labels::{Labels, Shelf};

/// The set of node names; a new one is published only when it differs.
pub type Names = Arc<BTreeSet<Arc<str>>>;

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its addresses in the order of `status.addresses`.
    pub addresses: Box<[Address]>,
    /// `status.daemonEndpoints.kubeletEndpoint.Port`; none if absent or 0.
    pub kubelet_port: Option<u16>,
    /// Whether the condition Ready is True. Nodes that are not ready are asked all the same (as metrics-server does).
    pub ready: bool,
}

/// One of a node's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `Hostname`, `InternalIP`, `ExternalDNS` …, as the node says it.
    pub kind: Arc<str>,
    /// Host name or IP address, unbracketed.
    pub address: Box<str>,
}

/// Finds a node's facts by its name. Answers come from memory.
pub trait NodeLookup: Send + Sync {
    /// The node, if there is one of that name.
    fn node(&self, name: &str) -> Option<Arc<Node>>;
}

/// The nodes as they are now.
pub struct NodeIndex {
    nodes: RwLock<HashMap<Arc<str>, Arc<Node>>>,
    names: watch::Sender<Names>,
    synced: watch::Sender<bool>,
}

// === impl Node ===

impl Node {
    /// The first address of the first wanted type that the node has (metrics-server `utils/address_resolver.go`).
    #[must_use]
    pub fn address<'a>(&'a self, wanted: &[String]) -> Option<&'a str> {
        wanted.iter().find_map(|kind| self.addresses.iter().find(|a| *a.kind == **kind)).map(|a| &*a.address)
    }
}

// === impl NodeIndex ===

impl NodeIndex {
    /// The node of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Node>> {
        read(&self.nodes).get(name).cloned()
    }

    /// All names, and every later change of the set. A change of labels or addresses is no change of the set.
    #[must_use]
    pub fn names(&self) -> watch::Receiver<Names> {
        self.names.subscribe()
    }

    /// Whether the first list is in.
    #[must_use]
    pub fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Turns true when the first list is in.
    #[must_use]
    pub fn when_synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    fn empty() -> Arc<Self> {
        Arc::new(Self { nodes: RwLock::default(), names: watch::Sender::new(Names::default()), synced: watch::Sender::new(false) })
    }

    fn publish_names(&self) {
        let now: BTreeSet<Arc<str>> = read(&self.nodes).keys().cloned().collect();
        self.names.send_if_modified(|names| {
            let changed = **names != now;
            if changed {
                *names = Arc::new(now);
            }
            changed
        });
    }
}

impl fmt::Debug for NodeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIndex").field("nodes", &read(&self.nodes).len()).field("synced", &self.synced()).finish()
    }
}

impl NodeLookup for NodeIndex {
    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.get(name)
    }
}

/// A fixed set of nodes, for a host without a cluster.
impl NodeLookup for Vec<Arc<Node>> {
    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.iter().find(|node| *node.name == *name).cloned()
    }
}

/// Follows the cluster's nodes until cancelled. `selector` is a label selector in kubectl's syntax (`--node-selector`):
/// nodes that it leaves out do not exist here.
///
/// The index is empty until the first list is in; the caller owns the task.
#[must_use]
pub fn follow(client: Client, selector: Option<&str>, cancel: CancellationToken) -> (Arc<NodeIndex>, JoinHandle<()>) {
    let index = NodeIndex::empty();
    let mut config = informer::config();
    config.label_selector = selector.filter(|text| !text.is_empty()).map(str::to_owned);
    let keeper = Keeper { index: Arc::clone(&index), shelf: Shelf::default(), kinds: Vec::new(), next: HashMap::new() };
    let open = move || watcher(Api::<SlimNode>::all(client.clone()), config.clone());
    let task = tokio::spawn(informer::follow(NODES, open, keeper, cancel));
    (index, task)
}

const NODES: Subject = Subject { what: "nodes", rule: "apiGroups: [\"\"], resources: [nodes], verbs: [get, list, watch]" };

/// A Node as it is read from the wire: fields that nobody uses are skipped unparsed.
#[derive(Debug, Clone, Deserialize)]
struct SlimNode {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "null_is_default")]
    status: SlimStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SlimStatus {
    addresses: Option<Vec<SlimAddress>>,
    conditions: Option<Vec<SlimCondition>>,
    daemon_endpoints: Option<SlimEndpoints>,
}

#[derive(Debug, Clone, Deserialize)]
struct SlimAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Debug, Clone, Deserialize)]
struct SlimCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SlimEndpoints {
    kubelet_endpoint: Option<SlimEndpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct SlimEndpoint {
    #[serde(rename = "Port", default)]
    port: i64,
}

/// Keeps the index and what it shares.
struct Keeper {
    index: Arc<NodeIndex>,
    shelf: Shelf,
    /// The handful of address types, one copy each.
    kinds: Vec<Arc<str>>,
    /// What a list in progress has brought so far.
    next: HashMap<Arc<str>, Arc<Node>>,
}

// === impl Keeper ===

impl Keeper {
    fn slim(&mut self, node: SlimNode) -> Option<Arc<Node>> {
        let name: Arc<str> = node.metadata.name?.into();
        let status = node.status;
        Some(Arc::new(Node {
            name,
            labels: self.shelf.share(node.metadata.labels.unwrap_or_default()),
            addresses: status
                .addresses
                .unwrap_or_default()
                .into_iter()
                .map(|a| Address { kind: self.kind(a.kind), address: a.address.into() })
                .collect(),
            kubelet_port: status
                .daemon_endpoints
                .and_then(|e| e.kubelet_endpoint)
                .and_then(|e| u16::try_from(e.port).ok())
                .filter(|port| *port != 0),
            ready: status.conditions.unwrap_or_default().iter().any(|c| c.kind == "Ready" && c.status == "True"),
        }))
    }

    fn kind(&mut self, kind: String) -> Arc<str> {
        if let Some(known) = self.kinds.iter().find(|k| ***k == *kind) {
            return Arc::clone(known);
        }
        let new: Arc<str> = kind.into();
        // Nodes may say what they like; only as many types as upstream knows are worth a place.
        if self.kinds.len() < 16 {
            self.kinds.push(Arc::clone(&new));
        }
        new
    }
}

impl Keep<SlimNode> for Keeper {
    fn begin(&mut self) {
        self.next.clear();
    }

    fn list(&mut self, object: SlimNode) {
        if let Some(node) = self.slim(object) {
            self.next.insert(Arc::clone(&node.name), node);
        }
    }

    fn commit(&mut self) {
        *write(&self.index.nodes) = std::mem::take(&mut self.next);
        self.index.publish_names();
        self.index.synced.send_replace(true);
    }

    fn apply(&mut self, object: SlimNode) {
        let Some(node) = self.slim(object) else { return };
        let new = write(&self.index.nodes).insert(Arc::clone(&node.name), node).is_none();
        if new {
            self.index.publish_names();
        }
    }

    fn delete(&mut self, object: SlimNode) {
        let Some(name) = object.metadata.name else { return };
        let gone = write(&self.index.nodes).remove(name.as_str()).is_some();
        if gone {
            self.index.publish_names();
        }
    }
}

impl Resource for SlimNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Node".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "nodes".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
