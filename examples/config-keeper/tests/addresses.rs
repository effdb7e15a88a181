//! The controller, natively: no Wasm, no cluster.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests are free")]

use config_keeper::{Addresses, Plugin};
use outrigger_sdk::prelude::*;
use serde_json::{Value, json};

fn services() -> Target {
    Target::new("", "v1", "services").namespace("main")
}

fn maps() -> Target {
    Target::new("", "v1", "configmaps").namespace("main")
}

fn service(asks: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "annotations": asks.map(|name| json!({"config-keeper.example.com/address": name}))},
        "spec": {"ports": [{"name": "http", "port": 80}, {"port": 443}]},
    })
}

fn reconcile(host: &fake::Host) -> Result<Outcome, Error> {
    Addresses::reconcile(host, &Key::of("main/web"))
}

fn names(host: &fake::Host) -> Vec<String> {
    let maps: Vec<Value> = host.objects(maps()).list("").unwrap();
    maps.iter()
        .map(|map| map["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_service_that_asks_gets_its_address_and_keeps_it() {
    let host = fake::Host::new().holding(&services(), service(Some("web-address")));
    assert_eq!(reconcile(&host), Ok(Outcome::Done));
    let map: Value = host.objects(maps()).get("web-address").unwrap();
    assert_eq!(map["data"], json!({"host": "web.main.svc", "port-http": "80", "port": "443"}));
    let web: Value = host.objects(services()).get("web").unwrap();
    let owner = &map["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["uid"], &owner["controller"]), (&web["metadata"]["uid"], &json!(true)));

    // Nothing to do is nothing done.
    assert_eq!(reconcile(&host), Ok(Outcome::Done));
    let again: Value = host.objects(maps()).get("web-address").unwrap();
    assert_eq!(again["metadata"]["resourceVersion"], map["metadata"]["resourceVersion"]);

    for (case, patch) in [
        ("edited", json!({"data": {"host": "elsewhere", "more": "1"}})),
        ("emptied", json!({"data": null})),
        ("its labels taken", json!({"metadata": {"labels": null}})),
    ] {
        let _: Value = host.objects(maps()).merge("web-address", &patch).unwrap();
        assert_eq!(reconcile(&host), Ok(Outcome::Done), "{case}");
        let mended: Value = host.objects(maps()).get("web-address").unwrap();
        assert_eq!(mended["data"], map["data"], "{case}");
        assert_eq!(mended["metadata"]["labels"], map["metadata"]["labels"], "{case}");
    }
    host.objects(maps()).delete("web-address").unwrap();
    assert_eq!(reconcile(&host), Ok(Outcome::Done));
    assert_eq!(names(&host), ["web-address"]);
}

#[test]
fn who_asks_for_another_name_or_for_none_loses_the_old_one() {
    let host = fake::Host::new().holding(&services(), service(Some("one")));
    for (asks, expected) in [
        (json!("one"), vec!["one"]),
        (json!("two"), vec!["two"]),
        (Value::Null, vec![]),
    ] {
        let patch = json!({"metadata": {"annotations": {"config-keeper.example.com/address": asks}}});
        let _: Value = host.objects(services()).merge("web", &patch).unwrap();
        assert_eq!(reconcile(&host), Ok(Outcome::Done));
        assert_eq!(names(&host), expected);
    }
}

#[test]
fn what_belongs_to_somebody_else_is_left_alone() {
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web-address"}, "data": {"host": "theirs"}});
    let host = fake::Host::new()
        .holding(&services(), service(Some("web-address")))
        .holding(&maps(), theirs);
    assert_eq!(reconcile(&host), Ok(Outcome::Done));
    let map: Value = host.objects(maps()).get("web-address").unwrap();
    assert_eq!(map["data"], json!({"host": "theirs"}));
    assert!(host.logged()[0].1.contains("left alone"), "{:?}", host.logged());
}

#[test]
fn without_the_service_or_the_grant_nothing_is_done() {
    assert_eq!(reconcile(&fake::Host::new()), Ok(Outcome::Done), "it is gone");
    let host = fake::Host::new()
        .holding(&services(), service(Some("web-address")))
        .denying("objects");
    assert!(matches!(reconcile(&host), Err(Error::Denied(_))));
}

#[test]
fn the_manifest_fits() {
    let manifest = Plugin::manifest();
    manifest.check().unwrap();
    assert_eq!(manifest.controllers[0].name, "addresses");
}
