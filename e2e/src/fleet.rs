//! The nodes of a cluster without a machine: a fake kubelet for each, and one keeper who plays scheduler and kubelet for every
//! pod.
//!
//! The keeper looks at all pods a few times a second: it binds what has no node, says Running and Ready of what is new, lets
//! deleted pods go, and tells the node's kubelet what runs there, which what has ended does not. What a container uses is said by its pod's annotation
//! `load.e2e/CONTAINER: "50m 64Mi"`, so a Deployment's template gives every replica its load; the annotation may be changed
//! while the pod runs. `beside.e2e/CONTAINER: "swap=16Mi disk=8Mi"` says what it swapped out and wrote to its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ControlPlane;
use crate::http::Client;
use crate::kubelet::{FakeKubelet, Source};
use crate::load::{Beside, Load, Node};
use crate::recording::Recording;

/// What a container uses when nobody said.
const IDLE: Load = Load {
    millicores: 1,
    bytes: 8 << 20,
};

/// Between two looks of the keeper.
const PAUSE: Duration = Duration::from_millis(250);

/// All nodes. Dropped, the keeper stops.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    keeper: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    api: Client,
    over: AtomicBool,
    nodes: Mutex<BTreeMap<String, Member>>,
}

#[derive(Debug)]
struct Member {
    #[expect(dead_code, reason = "held so that it listens as long as the fleet lives")]
    kubelet: Arc<FakeKubelet>,
    /// Absent on a node that plays a recording.
    truth: Option<Arc<Node>>,
    /// Pods may be bound to it without naming it.
    open: bool,
    running: BTreeSet<(String, String)>,
}

// === impl Fleet ===

impl Fleet {
    /// No node yet; the keeper is at work.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(control_plane: &ControlPlane) -> Result<Self> {
        let shared = Arc::new(Shared {
            api: control_plane.api().clone(),
            over: AtomicBool::new(false),
            nodes: Mutex::default(),
        });
        let keeper = std::thread::Builder::new().name("keeper".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep()
        })?;
        Ok(Self {
            shared,
            keeper: Some(keeper),
        })
    }

    /// Adds a node that uses `own` besides its pods. Pods without a `nodeSelector` go to `open` nodes only.
    ///
    /// # Errors
    /// Its kubelet cannot listen, or kube-apiserver refuses it.
    pub fn add(&self, control_plane: &ControlPlane, name: &str, own: Load, open: bool) -> Result<Arc<FakeKubelet>> {
        let truth = Arc::new(Node::new(name, own));
        self.join(control_plane, name, Source::Truth(Arc::clone(&truth)), Some(truth), open)
    }

    /// Adds a node whose kubelet says what a real one said, and the pods that it speaks of.
    ///
    /// # Errors
    /// See [`Fleet::add`].
    pub fn add_recorded(&self, control_plane: &ControlPlane, name: &str) -> Result<Arc<FakeKubelet>> {
        let recording = Arc::new(Recording::play()?);
        let kubelet = self.join(control_plane, name, Source::Recorded(Arc::clone(&recording)), None, false)?;
        for (namespace, pod, containers) in recording.pods() {
            let containers: Vec<Value> = containers.iter().map(|c| json!({"name": c, "image": "recorded"})).collect();
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "labels": {"app": pod}},
                "spec": {"nodeName": name, "containers": containers},
            });
            self.shared
                .send(Method::POST, &format!("/api/v1/namespaces/{namespace}/pods"), &pod)?;
        }
        Ok(kubelet)
    }

    /// What a node uses now, by the truth.
    #[must_use]
    pub fn load_of(&self, node: &str) -> Option<Load> {
        self.shared
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)?
            .truth
            .as_ref()
            .map(|truth| truth.load())
    }

    /// The truth about a node, unless it plays a recording.
    #[must_use]
    pub fn truth(&self, node: &str) -> Option<Arc<Node>> {
        let nodes = self.shared.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(node)?.truth.clone()
    }

    fn join(
        &self,
        control_plane: &ControlPlane,
        name: &str,
        source: Source,
        truth: Option<Arc<Node>>,
        open: bool,
    ) -> Result<Arc<FakeKubelet>> {
        let mut nodes = self.shared.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let host = u8::try_from(nodes.len() + 1).context("254 nodes at most")?;
        let address = Ipv4Addr::new(127, 96, 100, host);
        let kubelet = Arc::new(FakeKubelet::start(control_plane, name, address, source)?);
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "fleet": if open { "open" } else { "closed" }}},
            "status": {
                "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address.to_string()}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.address().port()}},
                "nodeInfo": {"swap": {"capacity": 1 << 30}},
                "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                    "lastTransitionTime": time(), "lastHeartbeatTime": time(),
                }],
            },
        });
        self.shared.send(Method::POST, "/api/v1/nodes", &node)?;
        let member = Member {
            kubelet: Arc::clone(&kubelet),
            truth,
            open,
            running: BTreeSet::new(),
        };
        nodes.insert(name.to_owned(), member);
        Ok(kubelet)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn keep(&self) {
        let mut turn = 0;
        while !self.over.load(Ordering::SeqCst) {
            // One failed look is followed by another; a test that waits for a pod will say what it misses.
            if let Err(reason) = self.look(&mut turn) {
                eprintln!("the keeper of the fleet: {reason:#}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn look(&self, turn: &mut usize) -> Result<()> {
        let pods = self.api.document("/api/v1/pods")?;
        let mut seen = BTreeSet::new();
        for pod in pods.get("items").and_then(Value::as_array).into_iter().flatten() {
            let key = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
            let path = format!("/api/v1/namespaces/{}/pods/{}", key.0, key.1);
            let (node, deleted) = (
                text(pod, "/spec/nodeName"),
                pod.pointer("/metadata/deletionTimestamp").is_some(),
            );
            if node.is_empty() {
                if let Some(node) = self.choose(pod, turn).filter(|_| !deleted) {
                    let binding = json!({
                        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": key.1},
                        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
                    });
                    self.settle(self.send(Method::POST, &format!("{path}/binding"), &binding))?;
                }
            } else if deleted {
                let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
                self.settle(self.send(Method::DELETE, &path, &now))?;
            } else if !["Succeeded", "Failed"].contains(&&*text(pod, "/status/phase")) {
                if text(pod, "/status/phase") == "Pending" {
                    self.settle(self.send(Method::PATCH, &format!("{path}/status"), &ready(pod)))?;
                }
                self.run(&node, &key, pod);
                seen.insert((node, key));
            }
        }
        for (node, member) in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let gone = |key: &(String, String)| !seen.contains(&(node.clone(), key.clone()));
            for (namespace, name) in member.running.iter().filter(|key| gone(key)) {
                if let Some(truth) = &member.truth {
                    truth.stop(namespace, name);
                }
            }
            member.running.retain(|key| !gone(key));
        }
        Ok(())
    }

    /// The node that the pod asks for, or the open ones in turn.
    fn choose(&self, pod: &Value, turn: &mut usize) -> Option<String> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wanted) = pod
            .pointer("/spec/nodeSelector/kubernetes.io~1hostname")
            .and_then(Value::as_str)
        {
            return nodes.contains_key(wanted).then(|| wanted.to_owned());
        }
        let open: Vec<&String> = nodes.iter().filter(|(_, member)| member.open).map(|(name, _)| name).collect();
        *turn += 1;
        open.get(turn.checked_rem(open.len())?).map(|name| (*name).clone())
    }

    fn run(&self, node: &str, key: &(String, String), pod: &Value) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(member) = nodes.get_mut(node) else { return };
        let new = member.running.insert(key.clone());
        let Some(truth) = &member.truth else { return };
        let loads = loads(pod);
        let beside: Vec<_> = loads
            .iter()
            .map(|(container, _)| (container.clone(), beside(pod, container)))
            .collect();
        if new {
            truth.run(&key.0, &key.1, &text(pod, "/metadata/uid"), &loads);
        } else {
            for (container, load) in loads {
                truth.set(&key.0, &key.1, &container, load);
            }
        }
        for (container, beside) in beside {
            truth.set_beside(&key.0, &key.1, &container, beside);
        }
    }

    fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let kind = if method == Method::PATCH {
            "application/strategic-merge-patch+json"
        } else {
            "application/json"
        };
        self.api
            .request(
                method,
                path,
                &[("content-type", kind)],
                Bytes::from(serde_json::to_vec(body)?),
            )?
            .ok()?
            .json()
    }

    /// Another hand may have been quicker: then the next look sees it.
    fn settle(&self, done: Result<Value>) -> Result<()> {
        match done {
            Err(reason) if ["404 ", "409 "].iter().any(|status| reason.to_string().starts_with(status)) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn time() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What the containers that run on use: not the init containers that have ended, but those that are sidecars.
fn loads(pod: &Value) -> Vec<(String, Load)> {
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let sidecars = list("/spec/initContainers")
        .into_iter()
        .filter(|c| text(c, "/restartPolicy") == "Always");
    let containers = sidecars.chain(list("/spec/containers"));
    containers
        .map(|container| {
            let name = text(&container, "/name");
            let said = text(pod, &format!("/metadata/annotations/load.e2e~1{name}"));
            let load = if said.is_empty() {
                IDLE
            } else {
                Load::parse(&said).unwrap_or(IDLE)
            };
            (name, load)
        })
        .collect()
}

fn beside(pod: &Value, container: &str) -> Beside {
    let said = text(pod, &format!("/metadata/annotations/beside.e2e~1{container}"));
    let of = |key: &str| {
        let mib = said
            .split_whitespace()
            .find_map(|part| part.strip_prefix(key)?.strip_suffix("Mi"));
        mib.and_then(|mib| mib.parse::<u64>().ok()).unwrap_or(0) << 20
    };
    Beside {
        swap: of("swap="),
        disk: of("disk="),
    }
}

fn ready(pod: &Value) -> Value {
    let now = time();
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten().map(|c| {
        json!({
            "name": text(c, "/name"), "image": text(c, "/image"), "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        })
    });
    json!({"status": {"phase": "Running", "startTime": now, "conditions": conditions, "containerStatuses": containers.collect::<Vec<_>>()}})
}
