//! Discovery and OpenAPI against golden files, so that each change of a document is seen and meant.
//!
//! `OUTRIGGER_UPDATE_GOLDEN=1 cargo test -p outrigger-api --test documents` writes the files anew.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::path::Path;

use outrigger_api::discovery::{
    ApiGroup, ApiGroupDiscoveryList, ApiGroupList, ApiResourceList, ApiVersions, RootPaths, ServedGroup, ServedResource,
    ServedVersion, hash,
};
use outrigger_api::manifest::{Backing, Resource, Scope};
use outrigger_api::openapi::{self, About, Index};
use serde::Serialize;
use serde_json::{Value, json};

const ABOUT: About<'_> = About {
    title: "Outrigger",
    version: "v0.1.0",
};
const READ: &[&str] = &["get", "list"];
const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

fn resource(group: &str, versions: &[&str], plural: &str, kind: &str, scope: Scope, schema: Option<Value>) -> Resource {
    Resource {
        group: group.into(),
        versions: versions.iter().map(|v| (*v).to_owned()).collect(),
        plural: plural.into(),
        singular: String::new(),
        kind: kind.into(),
        scope,
        short_names: vec![],
        categories: vec![],
        description: String::new(),
        deprecated: Vec::new(),
        backing: Backing::Table { shadow: None },
        columns: vec![],
        schemas: std::collections::BTreeMap::new(),
        schema,
        subresources: Vec::new(),
        protobuf: false,
    }
}

fn group(name: &str, versions: &[&str], resources: &[(Resource, &[&str])]) -> ServedGroup {
    let served = |(resource, verbs): &(Resource, &[&str])| ServedResource {
        resource: resource.clone(),
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
    };
    let version = |v: &&str| ServedVersion {
        version: (*v).to_owned(),
        resources: resources.iter().map(served).collect(),
    };
    ServedGroup {
        name: name.into(),
        versions: versions.iter().map(version).collect(),
    }
}

/// metrics.k8s.io as metrics-server has it, in both versions.
fn metrics() -> Vec<ServedGroup> {
    let timestamp = json!({
        "type": "string", "format": "date-time",
        "description": "The following fields define time interval from which metrics were collected from the interval [Timestamp-Window, Timestamp].",
    });
    let window = json!({ "type": "string", "description": "Length of the interval, as a Go duration." });
    let usage = json!({
        "type": "object", "description": "The memory usage is the memory working set.",
        "additionalProperties": { "type": "string", "format": "quantity" },
    });
    let node = json!({
        "type": "object", "required": ["timestamp", "window", "usage"],
        "properties": { "timestamp": timestamp, "window": window, "usage": usage },
    });
    let container = json!({
        "type": "object", "required": ["name", "usage"],
        "properties": { "name": { "type": "string", "description": "Container name corresponding to the one from pod.spec.containers." }, "usage": usage },
    });
    let pod = json!({
        "type": "object", "required": ["timestamp", "window", "containers"],
        "properties": {
            "timestamp": timestamp, "window": window,
            "containers": { "type": "array", "description": "Metrics for all containers are collected within the same time window.", "items": container },
        },
    });
    let versions = &["v1", "v1beta1"];
    let of = |plural, kind, scope, schema, description: &str| Resource {
        protobuf: true,
        description: description.into(),
        ..resource("metrics.k8s.io", versions, plural, kind, scope, Some(schema))
    };
    let nodes = of(
        "nodes",
        "NodeMetrics",
        Scope::Cluster,
        node,
        "NodeMetrics sets resource usage metrics of a node.",
    );
    let pods = of(
        "pods",
        "PodMetrics",
        Scope::Namespaced,
        pod,
        "PodMetrics sets resource usage metrics of a pod.",
    );
    vec![group("metrics.k8s.io", versions, &[(nodes, READ), (pods, READ)])]
}

/// What a host may have to carry: every verb, a core group, kinds with the names of others, and a schema of mean things.
fn fleet() -> Vec<ServedGroup> {
    let mean = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["spec"],
        "properties": {
            "kind": { "type": "string" },
            "spec": {
                "type": "object",
                "required": ["tonnage", "captain"],
                "properties": {
                    "anything": { "type": "object", "additionalProperties": true },
                    "anywhere": { "$ref": "https://example.com/schema.json" },
                    "captain": { "type": ["string", "null"] },
                    "cargo": {
                        "type": "array", "items": {
                            "type": "object", "required": ["name"],
                            "properties": { "name": { "type": "string" }, "weight": { "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] } },
                        },
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    },
                    "flag": { "oneOf": [{ "const": "red", "description": "Stop." }, { "const": "green" }] },
                    "log": { "type": "array" },
                    "port": { "type": ["integer", "string"] },
                    "tags": { "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "set", "default": [] },
                    "tonnage": { "type": "integer", "format": "int64", "exclusiveMinimum": 0, "uniqueItems": "what?" },
                },
            },
        },
    });
    let of = |plural, kind, scope, schema| resource("harbor.example.com", &["v1"], plural, kind, scope, schema);
    let ships = Resource {
        singular: "ship".into(),
        short_names: vec!["sh".into()],
        categories: vec!["all".into()],
        ..of("ships", "Ship", Scope::Namespaced, Some(mean))
    };
    let lists = of("shiplists", "ShipList", Scope::Cluster, None);
    let boats = of(
        "boats",
        "Ship",
        Scope::Cluster,
        Some(json!({ "type": "object", "properties": { "oars": { "type": "integer" } } })),
    );
    let impostor = resource(
        "meta.apis.pkg.apimachinery.k8s.io",
        &["v1"],
        "objectmetas",
        "ObjectMeta",
        Scope::Cluster,
        None,
    );
    let core = |plural, kind, scope| (resource("", &["v1"], plural, kind, scope, None), READ);
    vec![
        group(
            "",
            &["v1"],
            &[core("nodes", "Node", Scope::Cluster), core("pods", "Pod", Scope::Namespaced)],
        ),
        group(
            "harbor.example.com",
            &["v1"],
            &[(ships, ALL), (lists, &["create", "get", "list"]), (boats, READ)],
        ),
        group("meta.apis.pkg.apimachinery.k8s.io", &["v1"], &[(impostor, READ)]),
    ]
}

fn pretty(document: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap();
    text.push('\n');
    text
}

/// All documents by file name.
fn documents(groups: &[ServedGroup]) -> Vec<(String, String)> {
    let mut all = vec![
        ("api.json".to_owned(), pretty(&ApiVersions::of(groups))),
        ("apis.json".into(), pretty(&ApiGroupList::of(groups))),
        ("api-aggregated.json".into(), pretty(&ApiGroupDiscoveryList::api(groups))),
        ("apis-aggregated.json".into(), pretty(&ApiGroupDiscoveryList::apis(groups))),
        (
            "root.json".into(),
            pretty(&RootPaths::of(groups, ["/healthz", "/livez", "/metrics", "/readyz"])),
        ),
        ("openapi-v2.json".into(), pretty(&openapi::v2(groups, ABOUT))),
    ];
    for group in groups {
        all.extend(ApiGroup::of(group).map(|g| (format!("apis-{}.json", group.name), pretty(&g))));
        for version in &group.versions {
            let name = group.api_version(&version.version).replace('/', "-");
            all.push((format!("resources-{name}.json"), pretty(&ApiResourceList::of(group, version))));
        }
    }
    let v3 = openapi::v3(groups, ABOUT);
    all.push(("openapi-v3.json".into(), pretty(&Index::of(&v3))));
    for document in v3 {
        assert_eq!(document.hash, hash(&document.json));
        let value: Value = serde_json::from_slice(&document.json).unwrap();
        all.push((format!("openapi-v3-{}.json", document.path.replace('/', "-")), pretty(&value)));
    }
    all
}

#[test]
fn documents_are_as_the_golden_files() {
    let update = std::env::var_os("OUTRIGGER_UPDATE_GOLDEN").is_some();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, groups) in [("metrics", metrics()), ("fleet", fleet())] {
        let folder = golden.join(name);
        let made = documents(&groups);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            for (file, text) in &made {
                std::fs::write(folder.join(file), text).unwrap();
            }
        }
        let mut expected: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut files: Vec<String> = made.iter().map(|(file, _)| file.clone()).collect();
        expected.sort();
        files.sort();
        assert_eq!(files, expected, "{name}");
        for (file, text) in made {
            let before = std::fs::read_to_string(folder.join(&file)).unwrap();
            let differs = text.lines().zip(before.lines()).enumerate().find(|(_, (a, b))| a != b);
            assert!(text == before, "{name}/{file} has changed (line, (now, golden)): {differs:?}");
        }
    }
}

#[test]
fn the_same_groups_give_the_same_bytes() {
    assert_eq!(documents(&fleet()), documents(&fleet()));
}

/// Every object of a document, whatever its place.
fn objects<'a>(value: &'a Value, seen: &mut dyn FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            seen(map);
            map.values().for_each(|v| objects(v, seen));
        }
        Value::Array(all) => all.iter().for_each(|v| objects(v, seen)),
        _ => {}
    }
}

#[test]
fn documents_hold_together() {
    for groups in [metrics(), fleet()] {
        let mut all: Vec<(&str, Value)> = vec![("#/definitions/", openapi::v2(&groups, ABOUT))];
        all.extend(
            openapi::v3(&groups, ABOUT)
                .into_iter()
                .map(|d| ("#/components/schemas/", serde_json::from_slice(&d.json).unwrap())),
        );
        for (prefix, document) in &all {
            let (mut ids, mut kinds) = (Vec::new(), Vec::new());
            objects(document, &mut |map| {
                if let Some(Value::String(to)) = map.get("$ref") {
                    assert!(
                        to.starts_with(prefix) && document.pointer(&to[1..]).is_some(),
                        "{to} leads nowhere"
                    );
                }
                assert!(!map.get("additionalProperties").is_some_and(Value::is_boolean), "{map:?}");
                ids.extend(map.get("operationId").cloned());
                kinds.extend(
                    map.get("x-kubernetes-group-version-kind")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .map(Value::to_string),
                );
            });
            for mut names in [ids.iter().map(Value::to_string).collect::<Vec<_>>(), kinds] {
                names.sort();
                let all = names.len();
                names.dedup();
                assert_eq!(names.len(), all, "something is there twice");
            }
        }
    }
}

#[test]
fn only_what_can_be_written_has_a_patch_path() {
    let v3 = |groups: &[ServedGroup], i: usize| serde_json::from_slice::<Value>(&openapi::v3(groups, ABOUT)[i].json).unwrap();
    let cases = [
        (v3(&metrics(), 0), "/apis/metrics.k8s.io/v1/nodes/{name}", false),
        (
            v3(&fleet(), 1),
            "/apis/harbor.example.com/v1/namespaces/{namespace}/ships/{name}",
            true,
        ),
        // Created, never patched: kubectl create looks for the path all the same.
        (v3(&fleet(), 1), "/apis/harbor.example.com/v1/shiplists/{name}", true),
        (v3(&fleet(), 1), "/apis/harbor.example.com/v1/boats/{name}", false),
    ];
    for (document, path, expected) in cases {
        let item = &document["paths"][path];
        assert!(item["get"].is_object(), "{path}");
        let found = item["patch"]["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|p| p["name"] == "fieldValidation" && p["in"] == "query");
        assert_eq!(found, expected, "{path}");
        assert!(!expected || item["patch"]["x-kubernetes-group-version-kind"]["kind"].is_string());
    }
}
