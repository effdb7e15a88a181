//! One control plane, and one host with a store of its own behind a way that can be cut. Most tests share it; whoever breaks it has it alone.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::http::Client;
use outrigger_e2e::kubectl::{Kubectl, Running};
use outrigger_e2e::outrigger::{Options, account, example, test_guest};
use outrigger_e2e::wait::{LATER, SOON, until};
use outrigger_e2e::way::Way;
use outrigger_e2e::{ControlPlane, Outrigger, scratch};
use serde_json::{Value, json};

pub(crate) const API: &str = "/apis/wardle.example.com/v1beta1";

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    pub(crate) kubectl: Kubectl,
    /// From the aggregator to the host.
    pub(crate) way: Way,
    pub(crate) account: PathBuf,
    /// None while it is dead.
    outrigger: Option<Outrigger>,
}

/// kubectl in a namespace of one test's own.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) kubectl: Kubectl,
    pub(crate) api: Client,
}

static HOUSE: LazyLock<Result<RwLock<House>, String>> =
    LazyLock::new(|| House::build().map(RwLock::new).map_err(|reason| format!("{reason:#}")));

/// The house, as it is.
pub(crate) fn house() -> Result<RwLockReadGuard<'static, House>> {
    let house = HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))?;
    Ok(house.read().unwrap_or_else(PoisonError::into_inner))
}

/// The house, for one test that may break it.
pub(crate) fn alone() -> Result<RwLockWriteGuard<'static, House>> {
    let house = HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))?;
    let mut house = house.write().unwrap_or_else(PoisonError::into_inner);
    if house.outrigger.is_none() {
        house.revive()?;
    }
    Ok(house)
}

/// A Flunder that refers to another.
pub(crate) fn flunder(name: &str, reference: &str) -> Value {
    json!({
        "apiVersion": "wardle.example.com/v1beta1", "kind": "Flunder", "metadata": {"name": name},
        "spec": {"flunderReference": reference, "referenceType": "Flunder"},
    })
}

/// A Fischer that bans these names.
pub(crate) fn fischer(name: &str, banned: &[&str]) -> Value {
    json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Fischer", "metadata": {"name": name}, "disallowedFlunders": banned})
}

/// The path of a namespace's flunders.
pub(crate) fn flunders(namespace: &str) -> String {
    format!("{API}/namespaces/{namespace}/flunders")
}

/// The items of a list.
pub(crate) fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// What an operation was refused with.
pub(crate) fn refused(result: Result<String>) -> Result<String> {
    match result {
        Ok(said) => Err(anyhow!("not refused: {said}")),
        Err(reason) => Ok(format!("{reason:#}")),
    }
}

fn options() -> Result<Options> {
    let data = scratch::folder("objects")?;
    Ok(Options {
        name: "outrigger".into(),
        address: Ipv4Addr::new(127, 96, 0, 61),
        resolution: 60,
        plugins: vec![example("wardle"), test_guest("strategist")],
        arguments: vec![
            format!("--data-dir={}", data.display()),
            "--grant=wardle=objects".into(),
            "--grant=strategist=objects".into(),
        ],
    })
}

// === impl House ===

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let account = account(&control_plane)?;
        let outrigger = Outrigger::start(&control_plane, &account, &options()?)?;
        let way = Way::open(Ipv4Addr::new(127, 96, 0, 60), outrigger.address())?;
        outrigger.register_behind(way.address(), &control_plane, "wardle.example.com", &["v1beta1", "v1alpha1"])?;
        outrigger.register_behind(way.address(), &control_plane, "test.example.com", &["v2", "v1"])?;
        outrigger.ready()?;
        let house = Self {
            control_plane,
            kubectl,
            way,
            account,
            outrigger: Some(outrigger),
        };
        house.serves()?;
        until("kube-apiserver has fetched the documents", LATER, || {
            house
                .control_plane
                .api()
                .document("/openapi/v3/apis/wardle.example.com/v1beta1")
        })?;
        Ok(house)
    }

    /// Waits until every version is served through the aggregator.
    fn serves(&self) -> Result<()> {
        let lists = [
            "/apis/wardle.example.com/v1beta1/flunders",
            "/apis/wardle.example.com/v1alpha1/fischers",
            "/apis/test.example.com/v2/ships",
        ];
        for list in lists {
            until(&format!("{list} through the aggregator"), LATER, || {
                self.control_plane.api().document(list)
            })?;
        }
        Ok(())
    }

    /// A new namespace.
    pub(crate) fn namespace(&self, name: &str) -> Result<Namespace> {
        self.kubectl.run(&format!("create namespace {name}"))?;
        Ok(Namespace {
            name: name.to_owned(),
            kubectl: self.kubectl.clone(),
            api: self.control_plane.api().clone(),
        })
    }

    /// Kills the host as a node's failure does: no drain.
    pub(crate) fn kill(&mut self) {
        self.outrigger = None;
    }

    /// Asks the host to end, and waits until it has.
    pub(crate) fn end(&mut self) -> Result<()> {
        let outrigger = self.outrigger()?;
        outrigger.program().terminate()?;
        until("the host has ended", SOON, || {
            outrigger.program().ended()?.map(drop).context("it still runs")
        })?;
        self.outrigger = None;
        Ok(())
    }

    /// Starts it again over the same objects, at another port, and waits until all is as before.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let outrigger = Outrigger::start(&self.control_plane, &self.account, &options()?)?;
        self.way.lead(outrigger.address());
        outrigger.ready()?;
        self.outrigger = Some(outrigger);
        self.serves()
    }

    /// The running host.
    pub(crate) fn outrigger(&self) -> Result<&Outrigger> {
        self.outrigger.as_ref().context("it is dead")
    }
}

// === impl Namespace ===

impl Namespace {
    /// kubectl in this namespace.
    pub(crate) fn run(&self, arguments: &str) -> Result<String> {
        self.kubectl.run(&format!("{arguments} -n {}", self.name))
    }

    /// kubectl in this namespace, with a word at the end that has spaces in it.
    pub(crate) fn run_with(&self, arguments: &str, last: &str) -> Result<String> {
        let mut all: Vec<&str> = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        all.push(last);
        self.kubectl.run_with(&all, "")
    }

    /// kubectl in this namespace, with these objects as its input.
    pub(crate) fn send(&self, arguments: &str, objects: &[Value]) -> Result<String> {
        let mut all: Vec<&str> = arguments.split_whitespace().collect();
        all.extend(["-n", &self.name, "-f", "-"]);
        // Not as one List: kubectl would judge that by itself.
        let input: String = objects.iter().map(|object| format!("{object}\n")).collect();
        self.kubectl.run_with(&all, &input)
    }

    /// kubectl that goes on.
    pub(crate) fn start(&self, name: &str, arguments: &str) -> Result<Running> {
        let file = format!("{}-{name}", self.name);
        self.kubectl.start(&file, &format!("{arguments} -n {}", self.name))
    }

    /// One flunder.
    pub(crate) fn flunder(&self, name: &str) -> Result<Value> {
        self.api.document(&format!("{}/{name}", flunders(&self.name)))
    }

    /// All flunders.
    pub(crate) fn list(&self) -> Result<Value> {
        self.api.document(&flunders(&self.name))
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        let answer = self.api.get(&format!("{}/{name}", flunders(&self.name)))?;
        ensure!(
            matches!(answer.status.as_u16(), 200 | 404),
            "{}: {}",
            answer.status,
            answer.text()
        );
        Ok(answer.status == 200)
    }
}
