//! What a plugin may do, against a real kube-apiserver: the grants file first, then RBAC of the plugin's own identity; and what is
//! not granted never leaves the host.

#![allow(clippy::indexing_slicing, reason = "a test may")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::http::Client;
use outrigger_e2e::outrigger::{Options, account, test_guest};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{ControlPlane, Outrigger, promise, scratch, until};

const PLUGIN: &str = "outrigger:plugin:errand";

/// What the plugin says of one errand.
fn outcome(client: &Client, errand: &str) -> Result<String> {
    let row = client.document(&format!("/apis/errands.example.com/v1/errands/{errand}"))?;
    Ok(row["outcome"].as_str().context("no outcome")?.to_owned())
}

/// Waits until an errand's outcome has this in it.
fn goes(client: &Client, errand: &str, want: &str) -> Result<()> {
    until(&format!("{errand}: {want}"), SOON, || {
        let said = outcome(client, errand)?;
        ensure!(said.contains(want), "{errand}: {said}");
        Ok(())
    })
}

/// The file, with this in place of the capability `http`.
fn grants(folder: &Path, http: &str, port: u16) -> String {
    let word = folder.join("word").display().to_string();
    format!(
        "apiVersion: outrigger.dev/v1alpha1
kind: Grants
plugins:
  errand:
    capabilities:
      config: {{}}
      objects:
      - {{apiGroups: [''], resources: [configmaps], verbs: [get, list, create], namespaces: [default]}}
      {http}
      events: {{}}
      kv: {{quotaBytes: 100}}
      metrics: {{maxSeries: 1}}
      secrets:
        word: {{file: {word}}}
        key: {{secret: {{namespace: default, name: keys, key: door}}}}
    config: {{url: 'http://127.0.0.1:{port}/tide'}}
"
    )
}

/// Somebody outside, on this machine.
fn outside() -> Result<u16> {
    // The port that the manifest asks for would be taken sooner or later; the test's own copy asks for what is free.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhigh");
        }
    });
    Ok(port)
}

#[test]
fn what_a_plugin_may_do() {
    promise(|| {
        let control_plane = ControlPlane::start()?;
        let kubeconfig = account(&control_plane)?;
        let kubectl = control_plane.kubectl()?;
        kubectl.run("create configmap told -n default")?;
        kubectl.run("label configmap told -n default errand=yes")?;
        kubectl.run("create configmap more -n default")?;
        kubectl.run("label configmap more -n default errand=yes")?;
        kubectl.run("create secret generic keys -n default --from-literal=door=12345")?;

        let folder = scratch::folder("errand")?;
        std::fs::write(folder.join("word"), "swordfish")?;
        let port = outside()?;
        let file = folder.join("grants.yaml");
        let local = "http: {hosts: ['127.0.0.1:8080'], allowPrivate: [127.0.0.1]}";
        std::fs::write(&file, grants(&folder, local, port))?;
        let options = Options {
            name: "capabilities".to_owned(),
            address: Ipv4Addr::new(127, 96, 0, 70),
            resolution: 1,
            plugins: vec![test_guest("errand")],
            arguments: vec![
                format!("--grants={}", file.display()),
                format!("--state-dir={}", folder.join("state").display()),
            ],
        };
        let server = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        let direct = server.client(Some(control_plane.admin()))?;
        until("the first errands are run", LATER, || outcome(&direct, "get").map(drop))?;

        // Granted by the host's operator, but the host may not act for the plugin yet; then it may, and the plugin may nothing.
        goes(&direct, "get", "cannot impersonate")?;
        for role in [
            format!("create clusterrole errand-persona --verb=impersonate --resource=users --resource-name={PLUGIN}"),
            "create clusterrolebinding errand-persona --clusterrole=errand-persona --serviceaccount=kube-system:metrics-server"
                .into(),
        ] {
            kubectl.run(&role)?;
        }
        goes(&direct, "get", &format!("User \"{PLUGIN}\" cannot get resource"))?;
        ensure!(outcome(&direct, "get")?.starts_with("denied"), "403 is denied");

        // RBAC of its own identity lets it.
        for role in [
            "create role errand -n default --verb=get,list,create --resource=configmaps".into(),
            "create role errand-events -n default --verb=create,patch --resource=events.events.k8s.io".into(),
            format!("create rolebinding errand -n default --role=errand --user={PLUGIN}"),
            format!("create rolebinding errand-events -n default --role=errand-events --user={PLUGIN}"),
            "create role keys -n default --verb=get --resource=secrets --resource-name=keys".into(),
            "create rolebinding keys -n default --role=keys --serviceaccount=kube-system:metrics-server".into(),
        ] {
            kubectl.run(&role)?;
        }
        goes(&direct, "get", "told")?;
        goes(&direct, "create", "already exists")?;
        ensure!(outcome(&direct, "create")?.starts_with("conflict"));
        goes(&direct, "list", "1 of more: true")?;
        kubectl.run("get configmap made -n default")?;
        goes(&direct, "file", "9 bytes")?;
        goes(&direct, "key", "5 bytes")?;
        goes(&direct, "unknown", "the operator has not granted the secret")?;
        goes(&direct, "metrics", "counted")?;
        goes(&direct, "event", "sent")?;
        if port == 8080 {
            goes(&direct, "http", "200 high")?;
        }

        // The rules hold, whatever RBAC says; that nothing is even sent then the sandbox's tests show.
        goes(
            &direct,
            "elsewhere",
            "the operator has not granted get of configmaps in namespace kube-system",
        )?;
        goes(&direct, "escape", "is not the name of an object")?;

        // One series of events, counted, reported by the plugin.
        until("the event is counted", LATER, || {
            let events = kubectl.run("get events.events.k8s.io -n default -o json")?;
            let events: serde_json::Value = serde_json::from_str(&events)?;
            let its: Vec<_> = events["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|e| e["reportingController"] == "outrigger.dev/errand")
                .collect();
            ensure!(its.len() == 1, "{} events", its.len());
            ensure!(its[0]["series"]["count"].as_u64() > Some(1), "{}", its[0]);
            ensure!(
                its[0]["regarding"]["name"] == "told" && its[0]["reason"] == "ErrandRun",
                "{}",
                its[0]
            );
            Ok(())
        })?;
        let metrics = direct.get("/metrics")?.ok()?.text();
        ensure!(
            metrics.contains("outrigger_plugin_errand_runs_total{plugin=\"errand\",way=\"there\"}"),
            "its own series is shown"
        );

        // A changed grant needs no restart, and a broken file takes nothing away.
        let next = folder.join("next.yaml");
        let put = |text: String| -> Result<()> {
            std::fs::write(&next, text)?;
            Ok(std::fs::rename(&next, &file)?)
        };
        put("apiVersion: outrigger.dev/v1alpha1\nkind: Grants\nplugin: {}\n".into())?;
        std::thread::sleep(Duration::from_secs(7));
        goes(&direct, "get", "told")?;
        put(grants(&folder, "", port))?;
        goes(&direct, "http", "the operator has not granted the capability http")?;
        put(grants(&folder, "http: {hosts: ['127.0.0.1:8080']}", port))?;
        if port == 8080 {
            goes(&direct, "http", "127.0.0.1 is at 127.0.0.1, which is loopback")?;
        }

        // State survives the host.
        let before: u64 = outcome(&direct, "kv")?.parse()?;
        drop(server);
        let server = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        let direct = server.client(Some(control_plane.admin()))?;
        until("it goes on counting", LATER, || {
            let now: u64 = outcome(&direct, "kv")?.parse()?;
            ensure!(now > before, "{now} after {before}");
            Ok(())
        })
    });
}
