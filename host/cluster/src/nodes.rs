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
        wanted
            .iter()
            .find_map(|kind| self.addresses.iter().find(|a| *a.kind == **kind))
            .map(|a| &*a.address)
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
        Arc::new(Self {
            nodes: RwLock::default(),
            names: watch::Sender::new(Names::default()),
            synced: watch::Sender::new(false),
        })
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
        f.debug_struct("NodeIndex")
            .field("nodes", &read(&self.nodes).len())
            .field("synced", &self.synced())
            .finish()
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
    let keeper = Keeper {
        index: Arc::clone(&index),
        shelf: Shelf::default(),
        kinds: Vec::new(),
        next: HashMap::new(),
    };
    let open = move || watcher(Api::<SlimNode>::all(client.clone()), config.clone());
    let task = tokio::spawn(informer::follow(subject(), open, keeper, cancel));
    (index, task)
}

fn subject() -> Subject {
    Subject::own("nodes", |account| account.may_not_read("get,list,watch", "nodes"))
}

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
                .map(|a| Address {
                    kind: self.kind(a.kind),
                    address: a.address.into(),
                })
                .collect(),
            kubelet_port: status
                .daemon_endpoints
                .and_then(|e| e.kubelet_endpoint)
                .and_then(|e| u16::try_from(e.port).ok())
                .filter(|port| *port != 0),
            ready: status
                .conditions
                .unwrap_or_default()
                .iter()
                .any(|c| c.kind == "Ready" && c.status == "True"),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::type_complexity, reason = "a table of cases says more than its type")]

    use super::*;
    use crate::scripted::{self, Server, event, list, status, status_json, until, watch};

    fn node(name: &str, version: u32, addresses: &str, extra: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}","labels":{{"zone":"a"}},"managedFields":[{{"manager":"x"}}]}},
            "spec":{{"podCIDR":"10.0.0.0/24"}},
            "status":{{"addresses":[{addresses}],"images":[{{"names":["big"]}}]{extra}}}}}"#
        )
        .replace('\n', " ")
    }

    fn address(kind: &str, address: &str) -> String {
        format!(r#"{{"type":"{kind}","address":"{address}"}}"#)
    }

    #[test]
    fn what_is_kept_of_a_node() {
        let full = node(
            "n1",
            1,
            &[address("InternalIP", "10.0.0.1"), address("Hostname", "n1")].join(","),
            r#","conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}],
               "daemonEndpoints":{"kubeletEndpoint":{"Port":10251}}"#,
        );
        let cases: [(&str, &str, Option<(usize, Option<u16>, bool)>); 6] = [
            ("everything", &full, Some((2, Some(10251), true))),
            ("nothing but a name", r#"{"metadata":{"name":"n1"}}"#, Some((0, None, false))),
            (
                "null status",
                r#"{"metadata":{"name":"n1"},"status":null}"#,
                Some((0, None, false)),
            ),
            (
                "port 0 and not ready",
                r#"{"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"Unknown"}],
                    "daemonEndpoints":{"kubeletEndpoint":{"Port":0}}}}"#,
                Some((0, None, false)),
            ),
            (
                "a port that is none",
                r#"{"metadata":{"name":"n1"},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":70000}},"addresses":null}}"#,
                Some((0, None, false)),
            ),
            ("no name", r#"{"metadata":{}}"#, None),
        ];
        for (name, json, expected) in cases {
            let mut keeper = Keeper {
                index: NodeIndex::empty(),
                shelf: Shelf::default(),
                kinds: Vec::new(),
                next: HashMap::new(),
            };
            let slim = serde_json::from_str::<SlimNode>(json).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(slim.metadata.managed_fields.is_none(), "{name}");
            let kept = keeper.slim(slim).map(|n| (n.addresses.len(), n.kubelet_port, n.ready));
            assert_eq!(kept, expected, "{name}");
        }
    }

    #[test]
    fn the_first_wanted_type_wins_and_the_first_address_of_it() {
        let has = |all: &[(&str, &str)]| Node {
            name: "n".into(),
            labels: Arc::default(),
            addresses: all
                .iter()
                .map(|(k, a)| Address {
                    kind: (*k).into(),
                    address: (*a).into(),
                })
                .collect(),
            kubelet_port: None,
            ready: true,
        };
        let both = [("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1"), ("Hostname", "n1")];
        let cases: [(&str, &[(&str, &str)], &[&str], Option<&str>); 5] = [
            (
                "order of the wanted, not of the node",
                &both,
                &["Hostname", "InternalIP"],
                Some("n1"),
            ),
            ("first of the type", &both, &["InternalIP"], Some("10.0.0.1")),
            (
                "falls through",
                &both,
                &["ExternalDNS", "ExternalIP", "InternalIP"],
                Some("10.0.0.1"),
            ),
            ("none of the types", &both, &["ExternalIP"], None),
            ("no addresses", &[], &["Hostname"], None),
        ];
        for (name, node, wanted, expected) in cases {
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            assert_eq!(has(node).address(&wanted), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn pages_events_a_cut_and_an_expired_watch() {
        let one = |name: &str, version| node(name, version, &address("Hostname", name), "");
        let (events, first) = watch();
        let server = Server::start(vec![list("", "more", &[one("a", 1)]), list("5", "", &[one("b", 2)]), first]).await;
        let cancel = CancellationToken::new();
        let (index, task) = follow(server.client.clone(), Some("zone=a"), cancel.clone());
        let mut names = index.names();
        assert!(!index.synced());
        until("first list", || index.synced()).await;
        assert_eq!(names.borrow_and_update().iter().map(|n| &**n).collect::<Vec<_>>(), ["a", "b"]);

        // A change of a node is no change of the set of names.
        events
            .send(event("MODIFIED", &node("a", 6, &address("Hostname", "other"), "")))
            .unwrap();
        until("changed address", || {
            index.get("a").is_some_and(|n| &*n.addresses[0].address == "other")
        })
        .await;
        assert!(!names.has_changed().unwrap());
        events.send(event("ADDED", &one("c", 7))).unwrap();
        events.send(event("DELETED", &one("b", 8))).unwrap();
        until("c and not b", || index.get("c").is_some() && index.get("b").is_none()).await;
        assert_eq!(names.borrow_and_update().iter().map(|n| &**n).collect::<Vec<_>>(), ["a", "c"]);

        // The watch ends: it is resumed where it was, and nothing is forgotten.
        drop(events);
        let (events, second) = watch();
        server.then(second);
        until("resumed watch", || server.asked().len() == 4).await;
        assert!(
            server.asked()[3].uri.contains("resourceVersion=8"),
            "{}",
            server.asked()[3].uri
        );
        assert!(index.get("a").is_some() && index.synced());

        // It has expired: the list that follows is all there is. Until it is in, the old state stays.
        events.send(event("ERROR", &status_json(410, "Expired"))).unwrap();
        until("new list", || server.asked().len() == 5).await;
        assert!(index.get("c").is_some());
        server.then(list("20", "", &[one("d", 9)]));
        until("only d", || {
            index.get("d").is_some() && index.get("a").is_none() && index.get("c").is_none()
        })
        .await;

        let asked = server.asked();
        assert!(asked[0].uri.starts_with("/api/v1/nodes?"), "{}", asked[0].uri);
        assert!(
            asked
                .iter()
                .all(|a| a.uri.contains("labelSelector=zone%3Da") || a.uri.contains("labelSelector=zone=a"))
        );
        assert!(asked[0].uri.contains("limit=500") && asked[1].uri.contains("continue=more"));
        assert_eq!(asked[0].agent, "outrigger/test");
        cancel.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn refusals_and_server_errors_do_not_end_it() {
        let (_events, first) = watch();
        let one = node("a", 1, &address("Hostname", "a"), "");
        let server = Server::start(vec![
            status(403, "Forbidden"),
            status(500, "InternalError"),
            list("1", "", &[one]),
            first,
        ])
        .await;
        let cancel = CancellationToken::new();
        let (index, task) = follow(server.client.clone(), None, cancel.clone());
        until("list after refusals", || index.synced()).await;
        assert!(index.get("a").is_some());
        assert!(!server.asked()[0].uri.contains("labelSelector"), "{}", server.asked()[0].uri);
        cancel.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn cancelling_ends_it_while_nobody_answers() {
        let server = Server::start(vec![]).await;
        let cancel = CancellationToken::new();
        let (index, task) = follow(server.client.clone(), None, cancel.clone());
        scripted::until("asked", || !server.asked().is_empty()).await;
        cancel.cancel();
        tokio::time::timeout(std::time::Duration::from_secs(5), task)
            .await
            .expect("ends at once")
            .unwrap();
        assert!(!index.synced());
    }
}
