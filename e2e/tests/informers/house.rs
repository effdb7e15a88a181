//! One control plane, two nodes, and a host behind a way that can be cut. Tests take turns: each may break it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::way::Way;
use outrigger_e2e::{ControlPlane, Fleet, Outrigger};
use serde_json::Value;

pub(crate) const PODS: &str = "/apis/metrics.k8s.io/v1beta1/pods";

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    pub(crate) kubectl: Kubectl,
    pub(crate) way: Way,
    /// None while it is dead.
    outrigger: Option<Outrigger>,
    account: PathBuf,
    #[expect(dead_code, reason = "lives as long as the tests")]
    fleet: Fleet,
}

static HOUSE: LazyLock<Result<Mutex<House>, String>> =
    LazyLock::new(|| House::build().map(Mutex::new).map_err(|reason| format!("{reason:#}")));

/// The house, for one test at a time.
pub(crate) fn house() -> Result<MutexGuard<'static, House>> {
    let house = HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))?;
    Ok(house.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A pod that uses something.
pub(crate) fn pod(namespace: &str, name: &str, load: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}, annotations: {{load.e2e/main: {load}}}}}, \
         spec: {{containers: [{{name: main, image: none}}]}}}}"
    )
}

fn options() -> Options {
    Options {
        name: "outrigger".into(),
        address: Ipv4Addr::new(127, 96, 0, 11),
        resolution: 2,
        plugins: vec![metrics_plugin()],
        arguments: vec!["--kubelet-request-timeout=1s".into()],
    }
}

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let fleet = Fleet::new(&control_plane)?;
        for name in ["ash", "birch"] {
            let own = Load {
                millicores: 100,
                bytes: 1 << 30,
            };
            fleet.add(&control_plane, name, own, true)?;
        }
        kubectl.run("create namespace shop")?;
        for name in ["one", "two", "three", "four", "five"] {
            kubectl.apply(&pod("shop", name, "50m 64Mi"))?;
        }
        let account = account(&control_plane)?;
        let outrigger = Outrigger::start(&control_plane, &account, &options())?;
        let way = Way::open(Ipv4Addr::new(127, 96, 0, 10), outrigger.address())?;
        outrigger.register_behind(way.address(), &control_plane, "metrics.k8s.io", &["v1", "v1beta1"])?;
        outrigger.ready()?;
        let house = Self {
            control_plane,
            kubectl,
            way,
            outrigger: Some(outrigger),
            account,
            fleet,
        };
        until("every pod has metrics", LATER, || {
            ensure!(house.list("")?.len() == 5, "not all of them");
            Ok(())
        })?;
        Ok(house)
    }

    /// LIST through the aggregator: items.
    pub(crate) fn list(&self, query: &str) -> Result<Vec<Value>> {
        let mut list = self.control_plane.api().document(&format!("{PODS}{query}"))?;
        Ok(serde_json::from_value(list["items"].take())?)
    }

    /// Kills the host as a node's failure does: no drain.
    pub(crate) fn kill(&mut self) {
        self.outrigger = None;
    }

    /// Starts it again, elsewhere.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let outrigger = Outrigger::start(&self.control_plane, &self.account, &options())?;
        self.way.lead(outrigger.address());
        outrigger.ready()?;
        self.outrigger = Some(outrigger);
        Ok(())
    }

    /// The running host.
    pub(crate) fn outrigger(&self) -> Result<&Outrigger> {
        self.outrigger.as_ref().context("it is dead")
    }
}
