//! Keeps a ConfigMap with the address of each Service that asks for one: a controller, in one file.
//!
//! A Service with the annotation `config-keeper.example.com/address: NAME` gets a ConfigMap NAME beside it, with `host` and a key for each
//! port, ready to be mounted or read by `envFrom`. The ConfigMap is the Service's: it is repaired when somebody edits or deletes it,
//! follows the Service's ports, and goes with the Service, or with the annotation.

#![allow(
    clippy::indexing_slicing,
    reason = "reading JSON by a key that is not there gives null; what is written to comes from kube-apiserver, so it is an object"
)]

use outrigger_sdk::prelude::*;
use serde_json::{Map, Value, json};

/// Called with each Service that has changed, or whose ConfigMap has.
pub struct Addresses;

const ASKS: &str = "config-keeper.example.com/address";
const MANAGED: &str = "app.kubernetes.io/managed-by";
/// Finds the ConfigMaps of a Service again when it asks for another name.
const OF: &str = "config-keeper.example.com/service-uid";

impl Controller for Addresses {
    const NAME: &'static str = "addresses";

    fn watches() -> manifest::Controller {
        manifest::Controller::new(Self::NAME, manifest::ResourceName::new("", "v1", "services"))
            .owns(manifest::ResourceName::new("", "v1", "configmaps"))
            .concurrency(4)
    }

    fn reconcile(host: &impl Host, key: &Key) -> Result<Outcome, Error> {
        let services = host.objects(Target::new("", "v1", "services").namespace(&key.namespace));
        // Gone, or going: the garbage collector takes what it owned.
        let Some(service) = services.find::<Value>(&key.name)? else {
            return Ok(Outcome::Done);
        };
        if service.pointer("/metadata/deletionTimestamp").is_some() {
            return Ok(Outcome::Done);
        }
        let maps = host.objects(Target::new("", "v1", "configmaps").namespace(&key.namespace));
        let wanted = wanted(&service, &key.namespace);
        let name = wanted
            .as_ref()
            .map(|map| text(map, "/metadata/name").to_owned())
            .unwrap_or_default();
        for map in maps.list::<Value>(&format!("{OF}={}", text(&service, "/metadata/uid")))? {
            let other = text(&map, "/metadata/name");
            if other != name && is_of(&map, &service) {
                gone(maps.delete(other))?;
            }
        }
        let Some(wanted) = wanted else { return Ok(Outcome::Done) };
        match maps.find::<Value>(&name)? {
            None => drop(maps.create(&wanted)?),
            Some(found) if !is_of(&found, &service) => {
                host.warn(format_args!(
                    "ConfigMap {}/{name} is not of Service {key}, so it is left alone",
                    key.namespace
                ));
            }
            Some(found) if is_in_step(&found, &wanted) => {}
            Some(mut found) => {
                found["data"] = wanted["data"].clone();
                for label in [MANAGED, OF] {
                    found["metadata"]["labels"][label] = wanted["metadata"]["labels"][label].clone();
                }
                if let Some(fields) = found.as_object_mut() {
                    fields.remove("binaryData");
                }
                // Whoever was faster is seen at the next try: a conflict is an error, and errors come back.
                maps.update(&found)?;
            }
        }
        Ok(Outcome::Done)
    }
}

/// The ConfigMap of a Service, if it asks for one.
fn wanted(service: &Value, namespace: &str) -> Option<Value> {
    let name = service["metadata"]["annotations"]
        .get(ASKS)?
        .as_str()
        .filter(|name| !name.is_empty())?;
    let owner = text(service, "/metadata/name");
    let mut data = Map::new();
    data.insert("host".to_owned(), format!("{owner}.{namespace}.svc").into());
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        let key = match port["name"].as_str() {
            Some(name) if !name.is_empty() => format!("port-{name}"),
            _ => "port".to_owned(),
        };
        data.insert(key, port["port"].to_string().into());
    }
    let uid = &service["metadata"]["uid"];
    Some(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": namespace, "labels": {MANAGED: "config-keeper", OF: uid},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": owner, "uid": uid, "controller": true}],
        },
        "data": data,
    }))
}

/// Whether the Service controls it.
fn is_of(map: &Value, service: &Value) -> bool {
    let owners = map["metadata"]["ownerReferences"].as_array();
    let mut owners = owners.into_iter().flatten();
    owners.any(|owner| owner["controller"] == true && owner["uid"] == service["metadata"]["uid"])
}

fn is_in_step(found: &Value, wanted: &Value) -> bool {
    let label = |map: &Value, name: &str| map["metadata"]["labels"][name].clone();
    found["data"] == wanted["data"]
        && found.get("binaryData").is_none()
        && [MANAGED, OF].iter().all(|name| label(found, name) == label(wanted, name))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Gone is what it should be.
fn gone(deleted: Result<(), Error>) -> Result<(), Error> {
    match deleted {
        Err(Error::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn about() -> Manifest {
    let services = manifest::ObjectRule::of("", "services").verbs(["get", "list", "watch"]);
    let maps = manifest::ObjectRule::of("", "configmaps").verbs(["get", "list", "watch", "create", "update", "delete"]);
    manifest!().name("config-keeper").needs_objects(
        [services, maps],
        "keeps a ConfigMap with the address of each Service that asks for one",
    )
}

plugin! { manifest: about, controllers: [Addresses] }
