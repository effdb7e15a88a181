//! One control plane, one fleet, and both servers on it, each with the values that it has made itself.

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::differential::Outcome;
use outrigger_e2e::differential::compare::{self, Aspect, Body, Read};
use outrigger_e2e::http::{Answer, Client};
use outrigger_e2e::kubelet::Health;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::peer::Decoder;
use outrigger_e2e::pki::Pair;
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{ControlPlane, Fleet, MetricsServer, Outrigger, metrics_server};
use serde_json::{Value, json};

use crate::requests::{Row, Who};

/// The version of the API that both servers have.
pub(crate) const BASE: &str = "/apis/metrics.k8s.io/v1beta1";

/// Seconds between scrapes, the fewest that metrics-server takes.
const RESOLUTION: u32 = 10;

/// Pods, containers, millicores and MiB that both servers should say.
pub(crate) const TRUTH: [(&str, &str, f64, u64); 6] = [
    ("burner", "burn", 50.0, 64),
    ("pair", "a", 120.0, 32),
    ("pair", "b", 30.0, 16),
    ("helped", "main", 40.0, 24),
    ("helped", "helper", 10.0, 8),
    ("again", "main", 80.0, 12),
];

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
metadata: {name: burner, namespace: shop, labels: {app: burner, tier: back}, annotations: {load.e2e/burn: 50m 64Mi, "example.com/note": unseen}}
spec: {containers: [{name: burn, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pair, namespace: shop, labels: {app: pair, tier: front}, annotations: {load.e2e/a: 120m 32Mi, load.e2e/b: 30m 16Mi}}
spec: {containers: [{name: b, image: none}, {name: a, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: helped, namespace: shop, labels: {app: helped}, annotations: {load.e2e/main: 40m 24Mi, load.e2e/helper: 10m 8Mi}}
spec:
  initContainers: [{name: first, image: none}, {name: helper, image: none, restartPolicy: Always}]
  containers: [{name: main, image: none}]
---
apiVersion: v1
kind: Pod
metadata: {name: again, namespace: shop, labels: {app: again}, annotations: {load.e2e/main: 80m 12Mi}}
spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: asleep, namespace: shop, labels: {app: asleep}, annotations: {load.e2e/main: 0m 4Mi}}
spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: half-asleep, namespace: shop, labels: {app: asleep}, annotations: {load.e2e/main: 20m 4Mi, load.e2e/idle: 0m 4Mi}}
spec: {containers: [{name: main, image: none}, {name: idle, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: shop, labels: {app: done}, annotations: {load.e2e/main: 10m 4Mi}}
spec: {restartPolicy: Never, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere, namespace: shop, labels: {app: nowhere}}
spec: {nodeSelector: {kubernetes.io/hostname: oak}, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-the-dead, namespace: shop, labels: {app: lost}}
spec: {nodeSelector: {kubernetes.io/hostname: dead}, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-the-skipped, namespace: shop, labels: {app: lost}}
spec: {nodeSelector: {kubernetes.io/hostname: skipped}, containers: [{name: main, image: none}]}
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
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
"#;

/// One of the two servers, and ways to it.
#[derive(Debug)]
pub(crate) struct Server {
    /// The aggregator, for a user of `system:masters`.
    pub(crate) master: Client,
    proxy: Client,
    nobody: Client,
    direct: Client,
    stranger: Client,
}

pub(crate) struct House {
    pub(crate) ours: Server,
    pub(crate) theirs: Server,
    decoder: Decoder,
    #[expect(dead_code, reason = "lives as long as the tests")]
    servers: (Outrigger, MetricsServer),
    fleet: Fleet,
    #[expect(dead_code, reason = "lives as long as the tests")]
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
        for (name, millicores, open) in [
            ("ash", 100, true),
            ("birch", 300, true),
            ("dead", 50, false),
            ("skipped", 50, false),
        ] {
            let own = Load {
                millicores,
                bytes: 1 << 30,
            };
            let kubelet = fleet.add(&control_plane, name, own, open)?;
            if name == "dead" {
                kubelet.fall(Health::Failing);
            }
        }
        kubectl.run("label node skipped metrics-server-skip=true")?;
        kubectl.apply(SHOP)?;
        until("the job is running", LATER, || {
            let pod = control_plane.api().document("/api/v1/namespaces/shop/pods/done")?;
            ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
            Ok(())
        })?;
        kubectl.run(r#"patch pod done -n shop --subresource status --type merge -p {"status":{"phase":"Succeeded"}}"#)?;

        let arguments = vec![
            "--node-selector=metrics-server-skip!=true".to_owned(),
            "--kubelet-request-timeout=5s".to_owned(),
        ];
        let options = metrics_server::Options {
            name: "metrics-server".to_owned(),
            address: Ipv4Addr::new(127, 96, 0, 11),
            resolution: RESOLUTION,
            arguments: arguments.clone(),
        };
        let theirs = MetricsServer::launch(&control_plane, &metrics_server::account(&control_plane)?, &options)?;
        let options = Options {
            name: "outrigger".into(),
            address: Ipv4Addr::new(127, 96, 0, 10),
            resolution: RESOLUTION,
            plugins: vec![metrics_plugin()],
            arguments,
        };
        let ours = Outrigger::start(&control_plane, &account(&control_plane)?, &options)?;
        theirs.ready()?;
        ours.ready()?;
        let nobodys = control_plane.authority("nobodys")?;
        let pairs = [
            control_plane.front_proxy().user("front-proxy-client", None)?,
            control_plane.ca().user("direct", None)?,
            nobodys.user("front-proxy-client", None)?,
        ];
        let house = Self {
            ours: Server::new(&pairs, |user| ours.client(user))?,
            theirs: Server::new(&pairs, |user| theirs.client(user))?,
            decoder: Decoder::start()?,
            servers: (ours, theirs),
            fleet,
            control_plane,
        };
        house.settle()?;
        house.restart()?;
        house.settle()?;
        Ok(house)
    }

    /// Both serve all that they will ever serve.
    fn settle(&self) -> Result<()> {
        until("both serve every pod that uses something", LATER, || {
            for server in [&self.ours, &self.theirs] {
                for (pod, container, ..) in TRUTH {
                    crate::usage(&server.master, pod, container)?;
                }
                for (path, count) in [("/nodes", 2), ("/namespaces/yard/pods", 1)] {
                    let list = server.master.document(&format!("{BASE}{path}"))?;
                    ensure!(list["items"].as_array().is_some_and(|items| items.len() == count), "{list}");
                }
            }
            Ok(())
        })
    }

    /// One container begins anew.
    fn restart(&self) -> Result<()> {
        for node in ["ash", "birch"] {
            self.fleet.truth(node).context("a node")?.restart("shop", "again", "main");
        }
        // Until then either may still serve what was before.
        std::thread::sleep(Duration::from_secs(u64::from(RESOLUTION)) * 2);
        Ok(())
    }

    /// What differs in the answers to a request.
    pub(crate) fn compared(&self, row: &Row) -> Outcome {
        Outcome::of(&row.name, row, self.both(row))
    }

    fn both(&self, row: &Row) -> Result<Vec<Aspect>> {
        let ours = self.ours.ask(row).context("ours")?;
        let theirs = self.theirs.ask(row).context("metrics-server's")?;
        let body = |answer: &Answer| -> Read {
            let Body { value, form } = compare::body(&self.decoder, answer)?;
            let value = worded(compare::clean(value, false));
            Ok(Body { value, form })
        };
        let bodies = (ours.status == theirs.status && !row.bodiless).then(|| (body(&ours), body(&theirs)));
        Ok(compare::answers(&ours, &theirs, bodies))
    }

    /// What a server says of itself.
    pub(crate) fn metrics(server: &Server) -> Result<String> {
        Ok(server.master.get("/metrics")?.ok()?.text())
    }
}

/// Times and amounts, which depend on who scraped when, become words. What is null stays null.
fn worded(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(worded).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = match (&*name, value) {
                        ("timestamp" | "creationTimestamp", Value::String(_)) => json!("a time"),
                        ("window", Value::String(text)) if text != "0s" => json!("a duration"),
                        ("cpu", Value::String(text)) if text != "0" => json!("an amount"),
                        // Name, CPU, memory, window.
                        ("cells", Value::Array(cells)) => cells
                            .into_iter()
                            .enumerate()
                            .map(|(i, cell)| match i {
                                1 if cell != "0" => json!("an amount"),
                                3 if cell != "0s" => json!("a duration"),
                                _ => cell,
                            })
                            .collect(),
                        (_, value) => worded(value),
                    };
                    (name, value)
                })
                .collect(),
        ),
        other => other,
    }
}

// === impl Server ===

impl Server {
    fn new([proxy, direct, stranger]: &[Pair; 3], client: impl Fn(Option<&Pair>) -> Result<Client>) -> Result<Self> {
        let proxy = client(Some(proxy))?;
        Ok(Self {
            master: proxy
                .clone()
                .with("x-remote-user", "judge")?
                .with("x-remote-group", "system:masters")?,
            proxy,
            nobody: client(None)?,
            direct: client(Some(direct))?,
            stranger: client(Some(stranger))?,
        })
    }

    fn ask(&self, row: &Row) -> Result<Answer> {
        let client = match row.who {
            Who::Master => &self.master,
            Who::Proxy => &self.proxy,
            Who::Nobody => &self.nobody,
            Who::Direct => &self.direct,
            Who::Stranger => &self.stranger,
        };
        let headers: Vec<(&str, &str)> = row.headers.iter().map(|(name, value)| (*name, &**value)).collect();
        client.request(row.method.clone(), &row.path, &headers, row.body.clone())
    }
}
