//! One control plane, Outrigger with the metrics of a small fleet, and the peer with the very same objects.
//!
//! Rows must stand still while answers are compared. So the kubelets fall ill as soon as every pod has been served: a table
//! keeps its rows for four intervals without a scrape. [`House::fresh`] sees to it that there is time enough left,
//! or lets the kubelets get well for one more scrape.

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::kubelet::{FakeKubelet, Health};
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::peer::Decoder;
use outrigger_e2e::pki::Authority;
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{ControlPlane, Fleet, Outrigger, Peer, scratch};
use serde_json::Value;

use crate::row::{BASE, Server};

/// Seconds between scrapes; rows live four times as long.
const RESOLUTION: u32 = 60;
/// What all requests may take.
const NEEDED: Duration = Duration::from_secs(170);

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: yard}
---
apiVersion: v1
kind: Pod
metadata: {name: burner, namespace: shop, labels: {app: burner, tier: back}, annotations: {load.e2e/burn: 50m 64Mi}}
spec: {containers: [{name: burn, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pair, namespace: shop, labels: {app: pair, tier: front}, annotations: {load.e2e/a: 120m 32Mi, load.e2e/b: 30m 16Mi}}
spec: {containers: [{name: a, image: none}, {name: b, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: still, namespace: shop, labels: {app: still}, annotations: {load.e2e/sleep: 0m 4Mi}}
spec: {containers: [{name: sleep, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: yard, annotations: {load.e2e/main: 7m 12Mi}}
spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: burner, namespace: yard, labels: {app: burner, "example.com/odd": "it.is_so-1"}, annotations: {load.e2e/burn: 1m 1Mi}}
spec: {containers: [{name: burn, image: none}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reads-metrics}
rules: [{apiGroups: [metrics.k8s.io], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reads-metrics, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reads-metrics}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}, {apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
"#;

/// How many pods and nodes there are.
const PODS: usize = 5;
const NODES: usize = 2;

pub(crate) struct House {
    pub(crate) ours: Server,
    pub(crate) theirs: Server,
    pub(crate) decoder: Decoder,
    outrigger: Outrigger,
    peer: Peer,
    kubelets: Vec<Arc<FakeKubelet>>,
    /// When the rows that both hold were published.
    published: Mutex<Option<Instant>>,
    #[expect(dead_code, reason = "lives as long as the tests")]
    fleet: Fleet,
    control_plane: ControlPlane,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| House::build().map_err(|reason| format!("{reason:#}")));

/// The house, built by whichever test comes first.
pub(crate) fn house() -> Result<&'static House> {
    HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))
}

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let fleet = Fleet::new(&control_plane)?;
        let mut kubelets = Vec::new();
        for (name, millicores) in [("ash", 100), ("birch", 300)] {
            let own = Load {
                millicores,
                bytes: 1 << 30,
            };
            kubelets.push(fleet.add(&control_plane, name, own, true)?);
        }
        kubectl.apply(SHOP)?;
        let kubeconfig = account(&control_plane)?;
        let options = Options {
            name: "outrigger".into(),
            address: Ipv4Addr::new(127, 96, 0, 10),
            resolution: RESOLUTION,
            plugins: vec![metrics_plugin()],
            arguments: Vec::new(),
        };
        let peer = Peer::start(&control_plane, &kubeconfig, "peer", &[])?;
        let outrigger = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        outrigger.ready()?;
        let nobodys = Authority::new(&scratch::folder("stranger")?, "stranger")?;
        let pairs = (
            control_plane.front_proxy().user("front-proxy-client", None)?,
            control_plane.ca().user("direct", None)?,
            nobodys.user("front-proxy-client", None)?,
        );
        let server = |client: &dyn Fn(Option<&outrigger_e2e::pki::Pair>) -> Result<outrigger_e2e::http::Client>| {
            Ok::<_, anyhow::Error>(Server {
                proxy: client(Some(&pairs.0))?,
                nobody: client(None)?,
                direct: client(Some(&pairs.1))?,
                stranger: client(Some(&pairs.2))?,
            })
        };
        Ok(Self {
            ours: server(&|user| outrigger.client(user))?,
            theirs: server(&|user| peer.client(user))?,
            decoder: Decoder::start()?,
            outrigger,
            peer,
            kubelets,
            published: Mutex::default(),
            fleet,
            control_plane,
        })
    }

    /// Both hold the same rows, and will for a while.
    pub(crate) fn fresh(&self) -> Result<()> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let life = Duration::from_secs(u64::from(RESOLUTION) * 4);
        if published.is_some_and(|at| at.elapsed() + NEEDED < life) {
            return Ok(());
        }
        let admin = self.outrigger.client(Some(self.control_plane.admin()))?;
        let all = |plural: &str| -> Result<Vec<Value>> {
            let mut list = admin.document(&format!("{BASE}/{plural}"))?;
            Ok(serde_json::from_value(list["items"].take())?)
        };
        let before = all("nodes")?;
        self.kubelets.iter().for_each(|kubelet| kubelet.fall(Health::Well));
        until("every pod and node has been scraped anew", LATER, || {
            let (nodes, pods) = (all("nodes")?, all("pods")?);
            ensure!(
                nodes.len() == NODES && pods.len() == PODS,
                "{} nodes, {} pods",
                nodes.len(),
                pods.len()
            );
            let newer = nodes.iter().all(|node| {
                before
                    .iter()
                    .all(|old| old["metadata"]["name"] != node["metadata"]["name"] || old["timestamp"] != node["timestamp"])
            });
            ensure!(newer, "not scraped again");
            Ok(())
        })?;
        *published = Some(Instant::now());
        self.kubelets.iter().for_each(|kubelet| kubelet.fall(Health::Failing));
        for plural in ["nodes", "pods"] {
            self.peer.load(plural, &all(plural)?).context("the peer's objects")?;
        }
        Ok(())
    }
}
