//! The cluster that the tests of this target share, unless they break the cluster itself.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::{ControlPlane, FakeKubelet, Fleet, Outrigger, until};
use serde_json::Value;

/// What the node `ash` uses.
pub(crate) const ASH: Load = Load {
    millicores: 400,
    bytes: 1 << 30,
};

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    /// Its kubelet may be made ill; nobody else scrapes it.
    pub(crate) sick: Arc<FakeKubelet>,
    /// Its kubelet asks anew who may when its test says so.
    pub(crate) guarded: Arc<FakeKubelet>,
    pub(crate) kubectl: Kubectl,
    /// Who every Outrigger is, unless its test gives it a name of its own.
    pub(crate) kubeconfig: PathBuf,
    _fleet: Fleet,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| House::build().map_err(|reason| format!("{reason:#}")));

/// The house, built by whichever test comes first.
pub(crate) fn house() -> Result<&'static House> {
    HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))
}

/// How an Outrigger of these tests runs: it scrapes the nodes `selector` selects, each second.
pub(crate) fn options(name: &str, address: [u8; 4], selector: &str) -> Options {
    Options {
        name: name.to_owned(),
        address: Ipv4Addr::from(address),
        resolution: 1,
        plugins: vec![metrics_plugin()],
        arguments: vec![format!("--node-selector={selector}")],
    }
}

/// The nodes that are always well.
pub(crate) const WELL: &str = "fleet=open";
pub(crate) const NODES: &str = "/apis/metrics.k8s.io/v1/nodes";

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let fleet = Fleet::new(&control_plane)?;
        fleet.add(&control_plane, "ash", ASH, true)?;
        let birch = Load {
            millicores: 100,
            bytes: 2 << 30,
        };
        fleet.add(&control_plane, "birch", birch, true)?;
        let sick = fleet.add(&control_plane, "sick", birch, false)?;
        let guarded = fleet.add(&control_plane, "guarded", birch, false)?;
        let kubeconfig = account(&control_plane)?;
        Ok(Self {
            control_plane,
            sick,
            guarded,
            kubectl,
            kubeconfig,
            _fleet: fleet,
        })
    }
}

/// Waits until a server serves metrics.
pub(crate) fn serves_metrics(server: &Outrigger, control_plane: &ControlPlane) -> Result<()> {
    let client = server.client(Some(control_plane.admin()))?;
    until("there are metrics", Duration::from_secs(90), || {
        server.program().runs()?;
        let list = client.document(NODES)?;
        ensure!(!items(&list).is_empty(), "none yet: {list}");
        Ok(())
    })
}

/// Whether every APIService of these groups is Available, and how many there are.
pub(crate) fn available(control_plane: &ControlPlane, of: impl Fn(&str) -> bool) -> Result<usize> {
    let list = control_plane.api().document("/apis/apiregistration.k8s.io/v1/apiservices")?;
    let mut count = 0;
    for service in items(&list) {
        let name = service["metadata"]["name"].as_str().context("a name")?;
        if !service["spec"]["group"].as_str().is_some_and(&of) {
            continue;
        }
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = conditions.iter().find(|c| c["type"] == "Available");
        ensure!(condition.is_some_and(|c| c["status"] == "True"), "{name}: {conditions:?}");
        count += 1;
    }
    Ok(count)
}

/// The items of a list.
pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The kubectl commands of the last line of a log with these words, carried out.
pub(crate) fn heed(kubectl: &Kubectl, log: &str, words: &[&str]) -> Result<()> {
    let line = log.lines().rfind(|line| words.iter().all(|word| line.contains(word)));
    let line = line.with_context(|| format!("the log does not speak of {words:?}"))?;
    let start = line.find("kubectl create").with_context(|| format!("no cure: {line}"))?;
    let commands = line[start..].split([';', '(']).next().unwrap_or_default();
    for command in commands.split(" && ") {
        let arguments = command.trim().trim_start_matches("kubectl ");
        kubectl.run(arguments).with_context(|| line.to_owned())?;
    }
    Ok(())
}

/// How many lines of a log have all these words.
pub(crate) fn lines(log: &str, words: &[&str]) -> usize {
    log.lines()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}
