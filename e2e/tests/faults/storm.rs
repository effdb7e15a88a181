//! The cluster itself breaks: kube-apiserver is away, comes back without our rights, has another front proxy, other authorities.
//! A control plane of its own, and one server that is never restarted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::Bundle;
use outrigger_e2e::http::Client;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::account_named;
use outrigger_e2e::pki::Authority;
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{ControlPlane, Fleet, Outrigger, promise, until};
use serde_json::json;

use crate::house::{NODES, available, heed, items, lines, options, serves_metrics};

const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const FOLLOWED: [&str; 3] = ["nodes", "pods", "ConfigMap kube-system/extension-apiserver-authentication"];
const TREE: Load = Load {
    millicores: 200,
    bytes: 1 << 30,
};

struct Storm {
    control_plane: ControlPlane,
    fleet: Fleet,
    server: Outrigger,
}

#[test]
fn the_cluster_breaks_in_every_way_and_mends() {
    promise(|| {
        let control_plane = ControlPlane::start_in("stormy")?;
        let fleet = Fleet::new(&control_plane)?;
        fleet.add(&control_plane, "oak", TREE, true)?;
        let kubeconfig = account_named(&control_plane, "stormy")?;
        let mut options = options("stormy-outrigger", [127, 96, 0, 70], "fleet=open");
        options
            .arguments
            .push("--authorization-webhook-cache-authorized-ttl=5s".to_owned());
        let server = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        server.register(&control_plane, "metrics.k8s.io", &["v1", "v1beta1"])?;
        serves_metrics(&server, &control_plane)?;
        let storm = Storm {
            control_plane,
            fleet,
            server,
        };
        storm.mended().context("at the beginning")?;
        for (what, disaster) in [
            (
                "kube-apiserver is away and comes back without our rights",
                Storm::outage as fn(&Storm) -> Result<()>,
            ),
            ("the front proxy's authority is replaced", Storm::front_proxy),
            ("the clients' authority is replaced", Storm::clients),
            ("the ConfigMap is deleted", Storm::config_map),
        ] {
            disaster(&storm).context(what)?;
            storm.mended().context(what)?;
            storm.server.program().runs().context(what)?;
        }
        Ok(())
    });
}

// === impl Storm ===

impl Storm {
    /// Metrics of this very second through the aggregator, and the APIService Available.
    fn mended(&self) -> Result<()> {
        let freshest = || -> Result<String> {
            let list = self.control_plane.api().document(NODES)?;
            let times = items(&list).iter().filter_map(|item| item["timestamp"].as_str());
            Ok(times.max().context("no metrics")?.to_owned())
        };
        let before = until("there are metrics through the aggregator", LATER, freshest)?;
        until("they are fresh, and the APIService is Available", LATER, || {
            ensure!(freshest()? > before);
            ensure!(available(&self.control_plane, |group| group == "metrics.k8s.io")? == 2);
            Ok(())
        })
    }

    fn said(&self, since: usize, words: &[&str]) -> usize {
        lines(&self.server.program().log()[since..], words)
    }

    fn outage(&self) -> Result<()> {
        let kubectl = self.control_plane.kubectl()?;
        kubectl.run(
            "create clusterrolebinding asker --clusterrole=system:aggregated-metrics-reader --user=asker --serviceaccount=default:asker",
        )?;
        kubectl.run("create serviceaccount asker -n default")?;
        let token = kubectl.run("create token asker -n default")?;
        let asker = self.server.client(Some(&self.control_plane.ca().user("asker", None)?))?;
        let bearer = self
            .server
            .client(None)?
            .with("authorization", &format!("Bearer {}", token.trim()))?;
        let admin = self.server.client(Some(self.control_plane.admin()))?;
        let probe = self.server.client(None)?;
        until("a user may list", SOON, || asker.get(NODES)?.ok())?;
        // What followed is allowed to go on until it ends; these count when kube-apiserver is back.
        kubectl.run("delete clusterrolebinding system:stormy")?;
        kubectl.run("delete rolebinding stormy-auth-reader -n kube-system")?;
        let log = self.server.program().log().len();
        asker.get(NODES)?.ok()?;
        self.control_plane.stop_apiserver();

        asker.get(NODES)?.ok().context("a permission that is remembered is good")?;
        until("permissions are no longer remembered", SOON, || {
            for path in ["/livez", "/readyz"] {
                let answer = probe.get(path)?;
                ensure!(answer.text() == "ok", "{path} during the outage: {}", answer.text());
            }
            ensure!(items(&admin.document(NODES)?).len() == 1, "masters need no kube-apiserver");
            let answer = asker.get(NODES)?;
            ensure!(
                answer.status == 500 && answer.json()?["reason"] == "InternalError",
                "{}",
                answer.text()
            );
            Ok(())
        })?;
        ensure!(
            bearer.get(NODES)?.status == 401,
            "a token that nobody could review is nobody's"
        );
        let verbose = probe.get("/readyz?verbose")?.text();
        for check in ["plugins-loaded", "metric-storage-ready", "metric-informer-sync"] {
            ensure!(verbose.contains(&format!("[+]{check} ok")), "{verbose}");
        }
        for what in FOLLOWED {
            let words = [&format!("cannot follow {what}: "), "kube-apiserver does not answer"].map(String::from);
            until(&format!("the log speaks of {what}"), SOON, || {
                let said = self.said(log, &[&words[0], &words[1]]);
                ensure!(said == 1, "{said} times");
                Ok(())
            })?;
        }
        for review in ["SubjectAccessReview", "TokenReview"] {
            let said = self.said(log, &["requests that need it are refused until it is mended", review]);
            ensure!(said == 1, "{review}: {said} times");
        }

        self.control_plane.start_apiserver()?;
        until("users are answered again", SOON, || asker.get(NODES)?.ok())?;
        until("tokens are reviewed again", SOON, || bearer.get(NODES)?.ok())?;
        let account = "service account kube-system/stormy may not";
        for (what, cure) in [
            (
                "nodes",
                "kubectl create clusterrole stormy:nodes --verb=get,list,watch --resource=nodes",
            ),
            (
                "pods",
                "kubectl create clusterrole stormy:pods --verb=get,list,watch --resource=pods",
            ),
            (
                "ConfigMap kube-system/extension-apiserver-authentication",
                "kubectl create rolebinding stormy-auth-reader -n kube-system \
                 --role=extension-apiserver-authentication-reader --serviceaccount=kube-system:stormy",
            ),
        ] {
            let verb = if what.starts_with("ConfigMap") {
                "read"
            } else {
                "get,list,watch"
            };
            let sentence = format!("{account} {verb} {what}");
            until(&format!("the log says how to follow {what}"), LATER, || {
                let said = self.said(log, &[&sentence, cure]);
                ensure!(said == 1, "{said} times: {sentence}");
                Ok(())
            })?;
            ensure!(items(&admin.document(NODES)?).len() == 1, "what is known stays");
            heed(&kubectl, &self.server.program().log(), &[&sentence])?;
        }
        for what in FOLLOWED {
            until(&format!("{what} are followed again"), LATER, || {
                ensure!(self.said(log, &[&format!("following {what} again")]) == 1);
                Ok(())
            })?;
        }
        kubectl.apply(&outrigger_e2e::outrigger::rbac("stormy")?)?;
        self.fleet.add(&self.control_plane, "elm", TREE, true)?;
        until("a new node is seen", SOON, || {
            ensure!(items(&admin.document(NODES)?).len() == 2);
            Ok(())
        })
    }

    /// What the ConfigMap says of one authority; how many certificates.
    fn authorities(&self, key: &str) -> Result<usize> {
        let map = self.control_plane.api().document(CONFIG_MAP)?;
        let pem = map["data"][key].as_str().unwrap_or_default();
        Ok(pem.matches("BEGIN CERTIFICATE").count())
    }

    /// Takes everything but this authority out of the ConfigMap: kube-apiserver itself only ever adds.
    fn leave_only(&self, key: &str, authority: &Authority) -> Result<()> {
        let pem = std::fs::read_to_string(authority.certificate())?;
        let patch = json!({"data": {key: pem}}).to_string();
        until(&format!("{key} has one authority"), LATER, || {
            let kubectl = self.control_plane.kubectl()?;
            kubectl.run_with(
                &[
                    "patch",
                    "configmap",
                    "extension-apiserver-authentication",
                    "-n",
                    "kube-system",
                    "--type=merge",
                    "-p",
                    &patch,
                ],
                "",
            )?;
            // If kube-apiserver has not read its own file yet, it puts the other back.
            std::thread::sleep(Duration::from_millis(500));
            ensure!(self.authorities(key)? == 1);
            Ok(())
        })
    }

    fn front_proxy(&self) -> Result<()> {
        const KEY: &str = "requestheader-client-ca-file";
        let old = self.control_plane.front_proxy();
        let new = self.control_plane.authority("front-proxy-ca-2")?;
        // Now, since its files are those that kube-apiserver shows: later on they hold another certificate.
        let late = self.server.client(Some(&old.user("front-proxy-client", None)?))?;
        let log = self.server.program().log().len();
        self.control_plane.trust(Bundle::FrontProxy, &[old, &new])?;
        until("the ConfigMap has both", LATER, || {
            ensure!(self.authorities(KEY)? == 2);
            Ok(())
        })?;
        until("it is followed", SOON, || {
            ensure!(self.said(log, &["authentication of callers follows ConfigMap"]) >= 1);
            Ok(())
        })?;
        self.mended().context("with both")?;
        self.control_plane.show(&new.user("front-proxy-client", None)?)?;
        self.control_plane.stop_apiserver();
        self.control_plane.start_apiserver()?;
        self.mended().context("with the new certificate")?;
        self.control_plane.trust(Bundle::FrontProxy, &[&new])?;
        self.leave_only(KEY, &new)?;
        self.mended().context("with the new one alone")?;

        // Who still comes with the old one is believed no more, and the log says what that may mean.
        let speaks = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
        until("the old front proxy is refused", SOON, || {
            let answer = late.get_with(NODES, &speaks)?;
            ensure!(answer.status == 401, "{}", answer.text());
            Ok(())
        })?;
        for _ in 0..5 {
            ensure!(late.get_with(NODES, &speaks)?.status == 401);
        }
        let said = self.said(
            log,
            &[
                "a request names its user in x-remote-user and is not believed",
                "--proxy-client-cert-file",
                "--requestheader-client-ca-file",
                "UnknownIssuer",
            ],
        );
        ensure!(said == 1, "{said} times");
        Ok(())
    }

    fn clients(&self) -> Result<()> {
        const KEY: &str = "client-ca-file";
        let old = self.control_plane.ca();
        let new = self.control_plane.authority("ca-2")?;
        let newcomer: Client = self.server.client(Some(&new.user("newcomer", Some("system:masters"))?))?;
        ensure!(newcomer.get(NODES)?.status == 401, "before");
        self.control_plane.trust(Bundle::Clients, &[old, &new])?;
        until("a user of the new authority is known", LATER, || newcomer.get(NODES)?.ok())?;
        self.control_plane.trust(Bundle::Clients, &[old])?;
        self.leave_only(KEY, old)?;
        until("and known no more", LATER, || {
            ensure!(newcomer.get(NODES)?.status == 401);
            Ok(())
        })?;
        self.server.client(Some(self.control_plane.admin()))?.get(NODES)?.ok()?;
        Ok(())
    }

    fn config_map(&self) -> Result<()> {
        let log = self.server.program().log().len();
        let before = self.control_plane.api().document(CONFIG_MAP)?;
        let kubectl = self.control_plane.kubectl()?;
        kubectl.run("delete configmap extension-apiserver-authentication -n kube-system")?;
        until("the log says so", SOON, || {
            let said = self.said(
                log,
                &["was deleted; the last good one stays in force until kube-apiserver writes it anew"],
            );
            ensure!(said == 1, "{said} times");
            Ok(())
        })?;
        self.mended()?;
        until("kube-apiserver has written it anew", LATER, || {
            let now = self.control_plane.api().document(CONFIG_MAP)?;
            ensure!(
                now["metadata"]["uid"] != before["metadata"]["uid"] && now["data"] == before["data"],
                "{now}"
            );
            Ok(())
        })
    }
}
