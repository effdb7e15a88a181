//! The one cluster of all these tests: three nodes, a few pods, and Outrigger behind the aggregator.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{ControlPlane, Fleet, Outrigger, scratch};
use serde_json::Value;

pub(crate) const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The pods that stay as they are; whoever wants to change one makes his own.
const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: burner, namespace: shop, labels: {app: burner}, annotations: {load.e2e/burn: 50m 64Mi}}
spec: {containers: [{name: burn, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pair, namespace: shop, labels: {app: pair}, annotations: {load.e2e/a: 120m 32Mi, load.e2e/b: 30m 16Mi}}
spec: {containers: [{name: a, image: none}, {name: b, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: sidecar, namespace: shop, labels: {app: sidecar}, annotations: {load.e2e/proxy: 20m 8Mi, load.e2e/main: 40m 24Mi}}
spec:
  initContainers: [{name: prepare, image: none}, {name: proxy, image: none, restartPolicy: Always}]
  containers: [{name: main, image: none}]
---
apiVersion: v1
kind: Pod
metadata: {name: still, namespace: shop, labels: {app: still}, annotations: {load.e2e/sleep: 0m 4Mi}}
spec: {containers: [{name: sleep, image: none}]}
"#;

/// What the pods of [`SHOP`] use: pod, container, millicores, MiB.
pub(crate) const TRUTH: [(&str, &str, u64, u64); 6] = [
    ("burner", "burn", 50, 64),
    ("pair", "a", 120, 32),
    ("pair", "b", 30, 16),
    ("sidecar", "proxy", 20, 8),
    ("sidecar", "main", 40, 24),
    ("still", "sleep", 0, 4),
];

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    pub(crate) fleet: Fleet,
    pub(crate) outrigger: Outrigger,
    pub(crate) kubectl: Kubectl,
    /// Who Outrigger is.
    pub(crate) kubeconfig: PathBuf,
    /// Its grants file.
    grants: PathBuf,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| House::build().map_err(|reason| format!("{reason:#}")));

/// The house, built by whichever test comes first.
pub(crate) fn house() -> Result<&'static House> {
    HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))
}

/// How every Outrigger of these tests runs.
pub(crate) fn options(name: &str, address: [u8; 4]) -> Options {
    Options {
        name: name.to_owned(),
        address: Ipv4Addr::from(address),
        resolution: 3,
        plugins: vec![metrics_plugin()],
        arguments: [
            "--kubelet-request-timeout=2s",
            "--grant=metrics=kubelet,config",
            "--grant=hello=kubelet",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let fleet = Fleet::new(&control_plane)?;
        fleet.add(
            &control_plane,
            "ash",
            Load {
                millicores: 100,
                bytes: 1 << 30,
            },
            true,
        )?;
        fleet.add(
            &control_plane,
            "birch",
            Load {
                millicores: 300,
                bytes: 2 << 30,
            },
            true,
        )?;
        fleet.add_recorded(&control_plane, "real-0")?;
        kubectl.apply(SHOP)?;
        let kubeconfig = account(&control_plane)?;
        let grants = scratch::folder("grants")?.join("grants.yaml");
        grant(&grants, &[])?;
        let mut options = options("outrigger", [127, 96, 0, 10]);
        options.arguments.push(format!("--grants={}", grants.display()));
        let outrigger = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        outrigger.register(&control_plane, "metrics.k8s.io", &VERSIONS)?;
        outrigger.ready()?;
        let house = Self {
            control_plane,
            fleet,
            outrigger,
            kubectl,
            kubeconfig,
            grants,
        };
        until("every pod of the shop has metrics", LATER, || {
            let pods = house.document("/apis/metrics.k8s.io/v1/namespaces/shop/pods")?;
            ensure!(items(&pods).len() == 4, "{pods}");
            Ok(())
        })?;
        Ok(house)
    }

    /// Which usage the metrics plugin serves besides CPU and memory, from some seconds on.
    pub(crate) fn serve_usage(&self, keys: &[&str]) -> Result<()> {
        grant(&self.grants, keys)
    }

    /// A document through kube-apiserver and the aggregator.
    pub(crate) fn document(&self, path: &str) -> Result<Value> {
        self.control_plane.api().document(path)
    }

    /// The timestamp of a node's metrics.
    pub(crate) fn freshness(&self, path: &str) -> Result<String> {
        let document = self.document(&format!("/apis/metrics.k8s.io/v1/{path}"))?;
        Ok(document["timestamp"]
            .as_str()
            .with_context(|| format!("no timestamp: {document}"))?
            .to_owned())
    }

    /// Waits until the metrics of `path` are newer than they are now.
    pub(crate) fn advances(&self, path: &str) -> Result<()> {
        let before = self.freshness(path)?;
        until(&format!("{path} advances"), Duration::from_secs(60), || {
            let now = self.freshness(path)?;
            ensure!(now > before, "still {before}");
            Ok(())
        })
    }
}

/// Whole, by rename.
fn grant(file: &Path, usage: &[&str]) -> Result<()> {
    let half = file.with_extension("half");
    std::fs::write(
        &half,
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Grants\nplugins:\n  metrics: {{capabilities: {{config: {{}}}}, config: {{usage: {usage:?}}}}}\n"
        ),
    )?;
    Ok(std::fs::rename(&half, file)?)
}

/// The items of a list.
pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `measured` is `truth` within one in twenty, or half a millicore.
pub(crate) fn about(measured: f64, truth: f64) -> Result<()> {
    ensure!(
        (measured - truth).abs() <= (truth * 0.05).max(0.5),
        "{measured} m, and the truth is {truth} m"
    );
    Ok(())
}
