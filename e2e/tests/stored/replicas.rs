//! Two hosts over one etcd, which is kube-apiserver's own: what is written through one is read through the other, at once.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::http::Client;
use outrigger_e2e::informers::{Informers, KINDS};
use outrigger_e2e::outrigger::{Options, example};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{Outrigger, scratch};
use serde_json::{Value, json};

use crate::house::{House, flunder, flunders, house, items};
use crate::writers::Writers;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const ROUNDS: usize = 60;

fn replica(house: &House, name: &str, address: Ipv4Addr) -> Result<(Outrigger, Client)> {
    let options = Options {
        name: name.into(),
        address,
        resolution: 60,
        plugins: vec![example("wardle")],
        arguments: vec![
            format!("--etcd-servers={}", house.control_plane.etcd()),
            "--etcd-prefix=/registry/outrigger-e2e".into(),
            "--grant=wardle=objects".into(),
        ],
    };
    let outrigger = Outrigger::start(&house.control_plane, &house.account, &options)?;
    let client = outrigger.client(Some(house.control_plane.admin()))?;
    until("it serves flunders", LATER, || {
        client.document("/apis/wardle.example.com/v1beta1/flunders")
    })?;
    Ok((outrigger, client))
}

/// A kubeconfig that leads to a host itself.
fn straight_to(house: &House, outrigger: &Outrigger) -> Result<PathBuf> {
    let admin = house.control_plane.admin();
    let document = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://{}", outrigger.address()),
            "tls-server-name": "metrics-server.kube-system.svc",
            "certificate-authority": outrigger.ca(),
        }}],
        "users": [{"name": "e2e", "user": {"client-certificate": admin.certificate, "client-key": admin.key}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
    });
    let path = scratch::folder("replicas")?.join("kubeconfig");
    std::fs::write(&path, document.to_string())?;
    Ok(path)
}

/// Sends it, and expects this status.
fn sent(client: &Client, method: Method, path: &str, object: Option<&Value>, expected: u16) -> Result<Value> {
    let body = object.map_or_else(Bytes::new, |object| Bytes::from(object.to_string()));
    let answer = client.request(method, path, &JSON, body)?;
    ensure!(answer.status == expected, "{path}: {}: {}", answer.status, answer.text());
    answer.json()
}

#[test]
fn two_hosts_share_their_objects() {
    promise(|| {
        let house = house()?;
        let here = house.namespace("shared")?;
        let (one, first) = replica(&house, "replica-one", Ipv4Addr::new(127, 96, 0, 71))?;
        let (two, second) = replica(&house, "replica-two", Ipv4Addr::new(127, 96, 0, 72))?;
        ensure!(
            here.list()?["items"] == json!([]),
            "they are not those of the host with a store of its own"
        );
        let mut informers = Informers::start(&straight_to(&house, &two)?, "flunders", &here.name)?;
        let collection = flunders(&here.name);

        // Each write through one, each read through the other, with nothing in between.
        for round in 0..ROUNDS {
            let (writes, reads) = if round % 2 == 0 {
                (&first, &second)
            } else {
                (&second, &first)
            };
            let name = format!("f{round:02}");
            let path = format!("{collection}/{name}");
            let made = sent(writes, Method::POST, &collection, Some(&flunder(&name, "x")), 201)?;
            ensure!(sent(reads, Method::GET, &path, None, 200)? == made, "{name} as it was made");
            let mut changed = made.clone();
            changed["spec"]["flunderReference"] = json!("y");
            let changed = sent(reads, Method::PUT, &path, Some(&changed), 200)?;
            let stale = sent(writes, Method::PUT, &path, Some(&made), 409)?;
            ensure!(stale["reason"] == "Conflict", "{stale}");
            let list = writes.document(&collection)?;
            let found = items(&list).into_iter().find(|item| item["metadata"]["name"] == json!(name));
            ensure!(
                found.as_ref().map(|f| &f["metadata"]) == Some(&changed["metadata"]),
                "{found:?} and not {changed}"
            );
            let version = |object: &Value| -> Result<u64> {
                Ok(object["metadata"]["resourceVersion"].as_str().context("a version")?.parse()?)
            };
            ensure!(
                version(&list)? >= version(&changed)?,
                "a list is not older than what is in it"
            );
            if round % 3 == 0 {
                sent(reads, Method::DELETE, &path, None, 200)?;
                sent(writes, Method::GET, &path, None, 404)?;
            }
        }
        informers.agree("the other host's writes", || Ok(items(&first.document(&collection)?)))?;

        // Both at once, and one of them is killed in the middle.
        let mut left = Writers::start(&first, &here.name, 0..2, 400);
        let right = Writers::start(&second, &here.name, 2..4, 400);
        right.allow(usize::MAX);
        left.reach(200)?;
        drop(left);
        drop(one);
        right.finish()?;
        let held = informers.agree("writers at both hosts", || Ok(items(&second.document(&collection)?)))?;
        for kind in KINDS {
            ensure!(held[kind]["back"] == json!([]), "{kind}: {}", held[kind]["back"]);
            ensure!(held[kind]["lists"] == json!(0), "{kind} fell back to LIST");
        }
        Ok(())
    });
}
