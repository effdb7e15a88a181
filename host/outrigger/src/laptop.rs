//! The world of `outrigger run`: one machine, told by its own kubelet, as read-only core/v1 nodes, pods and namespaces.
//!
//! kubectl needs these three to make sense of metrics (a node's capacity, a pod's existence). They are built-in resources over
//! the same tables that plugins fill: the node is this process's machine, the pods are what the kubelet's `/pods` says,
//! read again every few seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use outrigger_api::manifest::{Backing, Column, Resource, Scope, Shadow};
use outrigger_background::Targets;
use outrigger_catalog::Catalog;
use outrigger_cluster::{Address, KubeletClient, Node, NodeLookup};
use outrigger_resources::{NamespaceIndex, NamespaceStanding};
use outrigger_storage::{Key, Labels, LiveIndex, Row};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Answers for any node's name with the one kubelet there is, so that its own name can be learnt from it.
pub(crate) struct OneKubelet {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
}

/// What is live on this machine.
pub(crate) struct Machine {
    name: Arc<str>,
    nodes: watch::Sender<Arc<BTreeSet<Arc<str>>>>,
    live: ArcSwap<HashMap<Key, Arc<Labels>>>,
    kubelet: Arc<KubeletClient>,
}

/// Where objects may be made: the namespaces that this host serves itself.
pub(crate) struct OwnNamespaces(pub(crate) Arc<Catalog>);

/// A summary as far as the node's name goes.
#[derive(serde::Deserialize)]
struct Named {
    node: NodeName,
}

#[derive(serde::Deserialize)]
struct NodeName {
    #[serde(rename = "nodeName")]
    name: String,
}

const REFRESH: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);
/// Rows outlive some missed refreshes, then the pods are gone.
const KEEP: Duration = Duration::from_secs(60);

#[async_trait]
impl NamespaceIndex for OwnNamespaces {
    async fn standing(&self, name: &str) -> Result<NamespaceStanding, String> {
        let snapshot = self.0.snapshot();
        let table = snapshot.table("", "", "namespaces");
        let there = table.is_some_and(|table| table.snapshot().get(&Key::new("", name), SystemTime::now()).is_some());
        Ok(match there {
            true => NamespaceStanding::Active,
            false => NamespaceStanding::Absent,
        })
    }
}

impl NodeLookup for OneKubelet {
    fn node(&self, name: &str) -> Option<Arc<Node>> {
        let address = Address {
            kind: "InternalIP".into(),
            address: self.host.to_string().into(),
        };
        Some(Arc::new(Node {
            name: name.into(),
            labels: Arc::default(),
            addresses: [address].into(),
            kubelet_port: Some(self.port),
            ready: true,
        }))
    }
}

/// core/v1 as far as `run` serves it.
pub(crate) fn built_in() -> Vec<Resource> {
    let resource = |plural: &str, singular: &str, kind: &str, scope, short: &str, shadow, columns: &[(&str, &str)]| Resource {
        group: String::new(),
        versions: vec!["v1".into()],
        plural: plural.into(),
        singular: singular.into(),
        kind: kind.into(),
        scope,
        short_names: vec![short.into()],
        categories: Vec::new(),
        description: format!("{kind} of this machine, read-only."),
        deprecated: Vec::new(),
        backing: Backing::Table { shadow },
        columns: columns.iter().map(|(name, about)| column(name, about)).collect(),
        schemas: std::collections::BTreeMap::new(),
        schema: Some(json!({"type": "object", "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})),
        protobuf: false,
        subresources: Vec::new(),
    };
    vec![
        resource(
            "namespaces",
            "namespace",
            "Namespace",
            Scope::Cluster,
            "ns",
            None,
            &[("Status", "The status of the namespace")],
        ),
        resource(
            "nodes",
            "node",
            "Node",
            Scope::Cluster,
            "no",
            Some(Shadow::Nodes),
            &[
                ("Status", "The status of the node"),
                ("CPU", "Logical CPUs"),
                ("Memory", "Memory in all"),
            ],
        ),
        resource(
            "pods",
            "pod",
            "Pod",
            Scope::Namespaced,
            "po",
            Some(Shadow::Pods),
            &[
                ("Status", "The status of the pod"),
                ("Containers", "How many containers it has"),
            ],
        ),
    ]
}

fn column(name: &str, description: &str) -> Column {
    Column {
        name: name.into(),
        kind: "string".into(),
        format: String::new(),
        description: description.into(),
        priority: 0,
        json_path: String::new(),
    }
}

// === impl Machine ===

impl Machine {
    /// Asks the kubelet who it is.
    pub(crate) async fn discover(kubelet: Arc<KubeletClient>) -> Result<Self> {
        let summary = kubelet
            .summary("this-machine", true, Instant::now() + DEADLINE)
            .await
            .context("the kubelet of this machine does not answer; is examples/local-kubelet running?")?;
        let name = serde_json::from_slice::<Named>(&summary)
            .context("the kubelet's summary has no node.nodeName")?
            .node
            .name;
        let name: Arc<str> = name.into();
        Ok(Self {
            nodes: watch::Sender::new(Arc::new(BTreeSet::from([name.clone()]))),
            name,
            live: ArcSwap::default(),
            kubelet,
        })
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps core/v1 in step with the kubelet until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, catalog: Arc<Catalog>, stop: CancellationToken) {
        let mut well = true;
        loop {
            match self.refresh(&catalog).await {
                Ok(()) => well = true,
                Err(error) if well => {
                    well = false;
                    tracing::warn!("pods of this machine cannot be read; the last known stay for a minute: {error:#}");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    }

    /// Reads the pods once and serves what it finds.
    pub(crate) async fn refresh(&self, catalog: &Catalog) -> Result<()> {
        let bytes = self.kubelet.pods(&self.name, Instant::now() + DEADLINE).await?;
        let mut list: Value = serde_json::from_slice(&bytes).context("the kubelet's /pods is not JSON")?;
        let items = list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
        let items = items.ok_or_else(|| anyhow!("the kubelet's /pods is no PodList"))?;
        let mut live = HashMap::new();
        let mut namespaces: BTreeSet<String> = ["default".to_owned()].into();
        let mut pods = Vec::new();
        for mut pod in items {
            let Some((key, labels)) = identity(&pod) else { continue };
            namespaces.insert(key.namespace.to_string());
            let phase = pod
                .pointer("/status/phase")
                .and_then(Value::as_str)
                .unwrap_or("Unknown")
                .to_owned();
            let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
            pods.push(Row {
                created: created(&pod),
                fields: members(pod.as_object_mut()).into(),
                protobuf: [].into(),
                meta: None,
                cells: json!([phase, containers.to_string()])
                    .to_string()
                    .trim_matches(['[', ']'])
                    .as_bytes()
                    .into(),
                key: key.clone(),
            });
            live.insert(key, Arc::new(labels));
        }
        live.insert(Key::new("", &self.name), Arc::new(self.labels()));
        self.live.store(Arc::new(live));

        let source: Arc<str> = "machine".into();
        let namespaces = namespaces.iter().map(|name| Row {
            key: Key::new("", name),
            created: None,
            fields: bytes::Bytes::from_static(br#""spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}"#),
            protobuf: [].into(),
            meta: None,
            cells: br#""Active""#.as_slice().into(),
        });
        let snapshot = catalog.snapshot();
        for (plural, rows) in [
            ("nodes", vec![self.node()]),
            ("pods", pods),
            ("namespaces", namespaces.collect()),
        ] {
            if let Some(table) = snapshot.table("", "", plural) {
                table.publish(&source, rows, SystemTime::now(), KEEP);
            }
        }
        Ok(())
    }

    fn labels(&self) -> Labels {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        BTreeMap::from(
            [
                ("kubernetes.io/arch", arch),
                ("kubernetes.io/hostname", &self.name),
                ("kubernetes.io/os", std::env::consts::OS),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
        )
    }

    fn node(&self) -> Row {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = format!("{}Ki", total_kib());
        let capacity = json!({"cpu": cpus.to_string(), "memory": memory, "pods": "110"});
        let mut node = json!({
            "spec": {},
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it answers"}],
                "addresses": [{"type": "Hostname", "address": &*self.name}],
                "nodeInfo": {"operatingSystem": std::env::consts::OS, "architecture": std::env::consts::ARCH},
            }
        });
        Row {
            key: Key::new("", &self.name),
            created: None,
            fields: members(node.as_object_mut()).into(),
            protobuf: [].into(),
            meta: None,
            cells: json!(["Ready", cpus.to_string(), memory])
                .to_string()
                .trim_matches(['[', ']'])
                .as_bytes()
                .into(),
        }
    }
}

/// Memory of this machine, in KiB.
fn total_kib() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit.max(1))) / 1024
}

fn identity(pod: &Value) -> Option<(Key, Labels)> {
    let text = |at| pod.pointer(at).and_then(Value::as_str);
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect();
    Some((Key::new(text("/metadata/namespace")?, text("/metadata/name")?), labels))
}

fn created(pod: &Value) -> Option<SystemTime> {
    let text = pod
        .pointer("/metadata/creationTimestamp")
        .or_else(|| pod.pointer("/status/startTime"))?
        .as_str()?;
    Some(text.parse::<jiff::Timestamp>().ok()?.into())
}

/// The members but type and metadata, as a row has them.
fn members(object: Option<&mut Map<String, Value>>) -> Box<[u8]> {
    let Some(object) = object else { return Box::default() };
    for name in ["apiVersion", "kind", "metadata"] {
        object.shift_remove(name);
    }
    let text = Value::Object(std::mem::take(object)).to_string();
    text.get(1..text.len().saturating_sub(1))
        .unwrap_or_default()
        .as_bytes()
        .into()
}

impl Targets for Machine {
    fn nodes(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>> {
        self.nodes.subscribe()
    }
}

impl LiveIndex for Machine {
    fn labels(&self, _of: Shadow, namespace: &str, name: &str) -> Option<Arc<Labels>> {
        // Nodes have no namespace and pods have one, so one map holds both.
        self.live.load().get(&Key::new(namespace, name)).cloned()
    }
}
