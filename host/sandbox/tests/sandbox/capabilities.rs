//! Every import of the contract, with and without a grant; and WASI, which has none.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_sandbox::{
    CallError, Capabilities, Capability, ContractError, Event, Events, Grants, GrantsFile, HostError, Http, Kubelet, Kv,
    LoadOptions, ObjectPage, Objects, PatchKind, Secrets, SeriesGrant, Target,
};
use wit_parser::WorldItem;
use wit_parser::abi::{AbiVariant, WasmType};

use crate::guests::{Guest, MANIFEST, contract};
use crate::{ANSWER, KUBELET, Kept, Slow, load, options, summarizing, tick, with_kubelet};

/// A guest that calls one function of the contract with nothing in its arguments, for each function there is.
fn callers() -> Vec<(Capability, String, Guest)> {
    let (resolve, package) = contract();
    let world = resolve.select_world(&[package], Some("capabilities")).unwrap();
    let mut all = Vec::new();
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else { continue };
        let interface = &resolve.interfaces[*id];
        let name = interface.name.clone().unwrap();
        let Ok(capability) = name.parse::<Capability>() else {
            continue;
        };
        for function in interface.functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            let types = |types: &[WasmType]| types.iter().map(|t| wat_type(*t)).collect::<Vec<_>>().join(" ");
            let import = format!(
                r#"(import "outrigger:plugin/{name}@0.1.0" "{}" (func $try (param {}) (result {})))"#,
                function.name,
                types(&signature.params),
                types(&signature.results)
            );
            let mut arguments: Vec<String> = signature
                .params
                .iter()
                .map(|t| format!("({}.const 0)", wat_type(*t)))
                .collect();
            if signature.retptr {
                arguments.pop();
                arguments.push("(i32.const 96)".into());
            }
            let drop = "(drop) ".repeat(signature.results.len());
            // Whatever answers with the contract's error has it at the same place; the others cannot fail.
            let fallible = function.result.is_some_and(|t| is_result(&resolve, t));
            let answer = if !fallible {
                "(call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"
            } else {
                "(if (result i32) (i32.load8_u (i32.const 96))
                    (then (call $err (i32.load8_u (i32.const 100)) (i32.load (i32.const 104)) (i32.load (i32.const 108))))
                    (else (call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))"
            };
            let body = format!("(call $try {}) {drop} {answer}", arguments.join(" "));
            let wanted: Vec<String> = Capability::ALL
                .iter()
                .map(|c| {
                    let details = match c {
                        Capability::Objects => r#", "objects": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]"#,
                        Capability::Http => r#", "hosts": ["example.com"]"#,
                        Capability::Secrets => r#", "secrets": ["token"]"#,
                        _ => "",
                    };
                    format!(r#"{{"name": "{c}", "reason": "to try"{details}}}"#)
                })
                .collect();
            let manifest = MANIFEST.replace(
                r#"[{"name": "kubelet", "reason": "to try"}]"#,
                &format!("[{}]", wanted.join(", ")),
            );
            let guest = Guest::collecting(&body).importing(&import).manifest(&manifest);
            all.push((capability, format!("{name}.{}", function.name), guest));
        }
    }
    all
}

fn is_result(resolve: &wit_parser::Resolve, t: wit_parser::Type) -> bool {
    matches!(t, wit_parser::Type::Id(id) if matches!(resolve.types[id].kind, wit_parser::TypeDefKind::Result(_)))
}

fn wat_type(t: WasmType) -> &'static str {
    match t {
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
        _ => "i32",
    }
}

#[tokio::test]
async fn every_import_without_a_grant_is_denied_and_never_traps() {
    let callers = callers();
    let functions = callers.len();
    assert!(functions >= 20, "{functions} functions found");
    for (capability, name, guest) in callers {
        let plugin = load(&guest, LoadOptions::default()).await;
        let outcome = tick(&plugin).await;
        if capability.needs_grant() {
            let Err(CallError::Refused {
                error: ContractError::Denied(why),
                ..
            }) = &outcome
            else {
                panic!("{name}: {outcome:?}")
            };
            assert_eq!(
                *why,
                format!("the operator has not granted the capability {capability} to plugin hostile"),
                "{name}"
            );
        } else {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
        let counts = plugin.counts();
        let counted = counts.capabilities.iter().find(|c| c.capability == capability).unwrap();
        assert_eq!(
            (counted.calls, counted.denials),
            (1, u64::from(capability.needs_grant())),
            "{name}"
        );
        assert_eq!(
            plugin.inspection().capabilities.iter().collect::<Vec<_>>(),
            [&capability],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_neighbours_grant_is_no_grant() {
    // In the same engine somebody has everything, and is served.
    let world = Arc::new(World::default());
    let manifest = MANIFEST.replace("\"hostile\"", "\"neighbour\"");
    let neighbour = load(
        &summarizing().manifest(&manifest),
        LoadOptions {
            grants: Grants::all(),
            capabilities: world.capabilities(),
            ..LoadOptions::default()
        },
    )
    .await;
    assert_eq!(tick(&neighbour).await.unwrap().state, b"summary");
    world.asked.lock().unwrap().clear();
    for (capability, name, guest) in callers().into_iter().filter(|(c, ..)| c.needs_grant()) {
        let others = Capability::ALL.into_iter().filter(|c| *c != capability).collect::<Grants>();
        for grants in [Grants::none(), others] {
            let options = LoadOptions {
                grants,
                capabilities: world.capabilities(),
                ..LoadOptions::default()
            };
            let outcome = tick(&load(&guest, options).await).await;
            assert!(is_denied(&outcome), "{name}: {outcome:?}");
        }
    }
    assert_eq!(*world.asked.lock().unwrap(), Vec::<String>::new(), "nobody was asked");
}

#[tokio::test]
async fn every_import_with_a_grant_answers_and_never_traps() {
    for (capability, name, guest) in callers() {
        let outcome = tick(&load(&guest, options()).await).await;
        // All arguments are empty and nobody is there to ask.
        let fits = match (capability, &outcome) {
            (Capability::Log | Capability::Clock | Capability::Random | Capability::Config, outcome) => outcome.is_ok(),
            (Capability::Kv, Err(CallError::Refused { error, .. })) => matches!(error, ContractError::Unavailable(_)),
            // The manifest asks for one, whose name is not empty.
            (Capability::Secrets, outcome) => is_denied(outcome),
            (_, Err(CallError::Refused { error, .. })) => matches!(error, ContractError::Invalid(_)),
            _ => false,
        };
        assert!(fits, "{name}: {outcome:?}");
    }
}

/// Answers everything and keeps what it was asked.
#[derive(Default)]
struct World {
    asked: Mutex<Vec<String>>,
}

impl World {
    fn capabilities(self: &Arc<Self>) -> Capabilities {
        Capabilities {
            kubelet: Some(self.clone()),
            objects: Some(self.clone()),
            http: Some(self.clone()),
            kv: Some(self.clone()),
            events: Some(self.clone()),
            series: Some(SeriesGrant {
                series: Arc::default(),
                most: 10,
            }),
            secrets: Some(self.clone()),
            ..Capabilities::default()
        }
    }

    fn heard<T>(&self, what: String, answer: T) -> Result<T, HostError> {
        self.asked.lock().unwrap().push(what);
        Ok(answer)
    }
}

#[async_trait]
impl Kubelet for World {
    async fn summary(&self, node: &str, _: bool, _: Instant) -> Result<Bytes, HostError> {
        self.heard(format!("summary {node}"), "summary".into())
    }
}

#[async_trait]
impl Objects for World {
    async fn get(&self, of: &Target, name: &str, _: usize) -> Result<Bytes, HostError> {
        self.heard(format!("get {of} {name}"), "object".into())
    }

    async fn list(&self, of: &Target, _: &str, limit: u32, _: &str, _: usize) -> Result<ObjectPage, HostError> {
        let page = ObjectPage {
            items: Vec::new(),
            next: String::new(),
        };
        self.heard(format!("list {of} {limit}"), page)
    }

    async fn create(&self, of: &Target, name: &str, _: Bytes, _: usize) -> Result<Bytes, HostError> {
        self.heard(format!("create {of} {name}"), "object".into())
    }

    async fn update(&self, of: &Target, name: &str, _: Bytes, _: usize) -> Result<Bytes, HostError> {
        self.heard(format!("update {of} {name}"), "object".into())
    }

    async fn patch(&self, of: &Target, name: &str, kind: PatchKind, _: Bytes, _: usize) -> Result<Bytes, HostError> {
        self.heard(format!("patch {of} {name} {kind:?}"), "object".into())
    }

    async fn delete(&self, of: &Target, name: &str) -> Result<(), HostError> {
        self.heard(format!("delete {of} {name}"), ())
    }
}

#[async_trait]
impl Http for World {
    async fn send(&self, request: http::Request<Bytes>, _: usize, _: Instant) -> Result<http::Response<Bytes>, HostError> {
        self.heard(
            format!("{} {}", request.method(), request.uri()),
            http::Response::new("answer".into()),
        )
    }
}

#[async_trait]
impl Kv for World {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, HostError> {
        self.heard(format!("kv get {key}"), None)
    }

    async fn set(&self, key: &str, _: Bytes) -> Result<(), HostError> {
        self.heard(format!("kv set {key}"), ())
    }

    async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.heard(format!("kv delete {key}"), ())
    }

    async fn keys(&self, prefix: &str, _: &str) -> Result<Vec<String>, HostError> {
        self.heard(format!("kv keys {prefix}"), Vec::new())
    }
}

impl Events for World {
    fn emit(&self, event: Event) -> Result<(), HostError> {
        self.heard(format!("event {} {}", event.object.name, event.reason), ())
    }
}

#[async_trait]
impl Secrets for World {
    async fn get(&self, name: &str, _: usize) -> Result<Bytes, HostError> {
        self.heard(format!("secret {name}"), "word".into())
    }
}

fn is_denied(outcome: &Result<outrigger_sandbox::Collected, CallError>) -> bool {
    matches!(
        outcome,
        Err(CallError::Refused {
            error: ContractError::Denied(_),
            ..
        })
    )
}

/// A guest that calls one function with these texts, and with one number of 7 after so many of them.
fn saying(function: &str, texts: &[&str], number_after: Option<usize>) -> Guest {
    let (interface, function) = function.split_once('.').unwrap();
    let (mut arguments, mut data, mut at) = (Vec::new(), String::new(), 8192);
    for (i, text) in texts.iter().enumerate() {
        if number_after == Some(i) {
            arguments.push("(i32.const 7)".to_owned());
        }
        let escaped: String = text.bytes().map(|b| format!("\\{b:02x}")).collect();
        data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")"));
        arguments.push(format!("(i32.const {at}) (i32.const {})", text.len()));
        at += text.len() + 1;
    }
    if interface == "http" {
        // No headers, no body.
        arguments.push("(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)".into());
    }
    let params = vec!["i32"; arguments.join(" ").matches("const").count() + 1].join(" ");
    let import = format!(r#"(import "outrigger:plugin/{interface}@0.1.0" "{function}" (func $try (param {params})))"#);
    let ok = "(else (call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))";
    let failed = "(call $err (i32.load8_u (i32.const 100)) (i32.load (i32.const 104)) (i32.load (i32.const 108)))";
    let body = format!(
        "(call $try {} (i32.const 96)) (if (result i32) (i32.load8_u (i32.const 96)) (then {failed}) {ok})",
        arguments.join(" ")
    );
    let manifest = MANIFEST.replace(
        r#"[{"name": "kubelet", "reason": "to try"}]"#,
        r#"[{"name": "objects", "reason": "to try", "objects": [
              {"apiGroups": [""], "resources": ["pods", "pods/eviction"], "verbs": ["get", "list", "patch", "create"], "namespaces": ["harbor"]},
              {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "delete"]}]},
            {"name": "http", "reason": "to try", "hosts": ["tides.example.com", "*.example.org:8443"]},
            {"name": "secrets", "reason": "to try", "secrets": ["token", "other"]},
            {"name": "events", "reason": "to try"}, {"name": "kv", "reason": "to try"}]"#,
    );
    Guest::collecting(&body).importing(&import).manifest(&manifest).with(&data)
}

#[tokio::test]
async fn arguments_outside_the_rules_reach_nobody() {
    let file = "apiVersion: outrigger.dev/v1alpha1
kind: Grants
plugins:
  hostile:
    capabilities:
      objects:
      - {apiGroups: ['*'], resources: ['*'], verbs: [get, list, create, patch], namespaces: [harbor, quay]}
      http: {hosts: [tides.example.com, a.example.org:8443, unasked.example.net]}
      secrets: {token: {file: /token}}
      events: {}
      kv: {}
";
    let grants = Grants::from(&GrantsFile::read(file).unwrap().of("hostile"));
    let pod = r#"{"metadata": {"name": "a"}}"#;
    let long = "k".repeat(513);
    for (function, texts, number, want) in [
        (
            "objects.get",
            &["", "v1", "pods", "harbor", "a"][..],
            None,
            Ok("get pods in namespace harbor a"),
        ),
        ("objects.get", &["", "v1", "pods", "quay", "a"], None, Err("denied")),
        ("objects.get", &["", "v1", "pods", "", "a"], None, Err("denied")),
        ("objects.get", &["", "v1", "secrets", "harbor", "a"], None, Err("denied")),
        ("objects.get", &["", "v1", "pods/log", "harbor", "a"], None, Err("denied")),
        (
            "objects.get",
            &["apps", "v1", "deployments", "harbor", "a"],
            None,
            Ok("get deployments.apps in namespace harbor a"),
        ),
        (
            "objects.get",
            &["apps", "v1", "deployments", "other", "a"],
            None,
            Err("denied"),
        ),
        (
            "objects.delete",
            &["apps", "v1", "deployments", "harbor", "a"],
            None,
            Err("denied"),
        ),
        ("objects.delete", &["", "v1", "pods", "harbor", "a"], None, Err("denied")),
        // No part of a name leads elsewhere.
        (
            "objects.get",
            &["", "v1", "pods", "harbor", "../secrets/a"],
            None,
            Err("invalid"),
        ),
        ("objects.get", &["", "v1", "pods", "harbor", ".."], None, Err("invalid")),
        ("objects.get", &["", "v1", "pods", "harbor", "a%2f"], None, Err("invalid")),
        ("objects.get", &["", "v1", "pods", "harbor", ""], None, Err("invalid")),
        ("objects.get", &["", "v1", "pods/", "harbor", "a"], None, Err("invalid")),
        ("objects.get", &["", "v1", "pods/log/x", "harbor", "a"], None, Err("invalid")),
        ("objects.get", &["", "v1", "*", "harbor", "a"], None, Err("invalid")),
        (
            "objects.get",
            &["", "v1/namespaces/x", "pods", "harbor", "a"],
            None,
            Err("invalid"),
        ),
        ("objects.get", &["apps/v1", "v1", "pods", "harbor", "a"], None, Err("invalid")),
        (
            "objects.get",
            &["", "v1", "pods", "harbor/pods/a?", "a"],
            None,
            Err("invalid"),
        ),
        (
            "objects.list",
            &["", "v1", "pods", "harbor", "a=b", ""],
            Some(5),
            Ok("list pods in namespace harbor 7"),
        ),
        ("objects.list", &["", "v1", "pods", "", "a=b", ""], Some(5), Err("denied")),
        (
            "objects.create",
            &["", "v1", "pods", "harbor", pod],
            None,
            Ok("create pods in namespace harbor a"),
        ),
        (
            "objects.create",
            &["", "v1", "pods/eviction", "harbor", pod],
            None,
            Ok("create pods/eviction in namespace harbor a"),
        ),
        (
            "objects.create",
            &["", "v1", "pods", "harbor", r#"{"metadata": {"name": "a/b"}}"#],
            None,
            Err("invalid"),
        ),
        ("objects.create", &["", "v1", "pods", "harbor", "[]"], None, Err("invalid")),
        ("objects.update", &["", "v1", "pods", "harbor", pod], None, Err("denied")),
        (
            "objects.patch",
            &["", "v1", "pods", "harbor", "a", "application/merge-patch+json", "{}"],
            None,
            Ok("patch pods in namespace harbor a Merge"),
        ),
        (
            "objects.patch",
            &["", "v1", "pods", "harbor", "a", "text/plain", "{}"],
            None,
            Err("invalid"),
        ),
        (
            "http.send",
            &["GET", "https://tides.example.com/now"],
            None,
            Ok("GET https://tides.example.com/now"),
        ),
        (
            "http.send",
            &["GET", "https://a.example.org:8443/"],
            None,
            Ok("GET https://a.example.org:8443/"),
        ),
        ("http.send", &["GET", "https://a.example.org/"], None, Err("denied")),
        ("http.send", &["GET", "https://b.example.org:8443/"], None, Err("denied")),
        ("http.send", &["GET", "https://unasked.example.net/"], None, Err("denied")),
        ("http.send", &["GET", "https://169.254.169.254/"], None, Err("denied")),
        (
            "http.send",
            &["GET", "https://tides.example.com@b.example.org/"],
            None,
            Err("invalid"),
        ),
        ("http.send", &["GET", "file:///etc/passwd"], None, Err("invalid")),
        ("http.send", &["G T", "https://tides.example.com/now"], None, Err("invalid")),
        ("secrets.get", &["token"], None, Ok("secret token")),
        ("secrets.get", &["other"], None, Err("denied")),
        ("secrets.get", &["unasked"], None, Err("denied")),
        ("kv.set", &["tide", "high"], None, Ok("kv set tide")),
        ("kv.set", &["", "high"], None, Err("invalid")),
        ("kv.set", &[&long, "high"], None, Err("too large")),
        (
            "events.emit",
            &[
                r#"{"kind": "Pod", "name": "a", "namespace": "harbor"}"#,
                "Normal",
                "Landed",
                "It has.",
            ],
            None,
            Ok("event a Landed"),
        ),
        (
            "events.emit",
            &[r#"{"kind": "Pod", "name": "a"}"#, "Odd", "Landed", ""],
            None,
            Err("invalid"),
        ),
        (
            "events.emit",
            &[r#"{"kind": "Pod", "name": "a"}"#, "Normal", "two words", ""],
            None,
            Err("invalid"),
        ),
        ("events.emit", &["{}", "Normal", "Landed", ""], None, Err("invalid")),
    ] {
        let world = Arc::new(World::default());
        let options = LoadOptions {
            grants: grants.clone(),
            capabilities: world.capabilities(),
            ..LoadOptions::default()
        };
        let outcome = tick(&load(&saying(function, texts, number), options).await).await;
        let asked = world.asked.lock().unwrap().clone();
        match (want, &outcome) {
            (Ok(want), Ok(_)) => assert_eq!(asked, [want], "{function} {texts:?}"),
            (Err(want), Err(CallError::Refused { error, .. })) => {
                let said = error.to_string();
                assert!(
                    said.starts_with(want) && asked.is_empty(),
                    "{function} {texts:?}: {said}, {asked:?}"
                );
            }
            _ => panic!("{function} {texts:?}: {outcome:?}, {asked:?}"),
        }
    }
}

#[tokio::test]
async fn grants_change_under_a_plugin() {
    let world = Arc::new(World::default());
    let plugin = load(&summarizing(), LoadOptions::default()).await;
    assert!(is_denied(&tick(&plugin).await));
    plugin.regrant(Grants::all(), &world.capabilities());
    assert_eq!(tick(&plugin).await.unwrap().state, b"summary");
    assert!(
        plugin.grants().allows(Capability::Kubelet) && !plugin.grants().allows(Capability::Kv),
        "not more than it asks for"
    );
    plugin.regrant(Grants::none(), &world.capabilities());
    assert!(is_denied(&tick(&plugin).await));
    assert_eq!(
        plugin.downgrade().upgrade().map(|p| p.manifest().name.clone()).as_deref(),
        Some("hostile")
    );
}

#[tokio::test]
async fn effective_is_what_both_say() {
    let silent = MANIFEST.replace(r#"{"name": "kubelet", "reason": "to try"}"#, "");
    let unasked = summarizing().manifest(&silent);
    for (name, guest, grants, why) in [
        (
            "neither",
            &unasked,
            Grants::none(),
            Some("the manifest of plugin hostile does not ask for the capability kubelet"),
        ),
        (
            "granted only",
            &unasked,
            Grants::all(),
            Some("the manifest of plugin hostile does not ask for the capability kubelet"),
        ),
        (
            "asked only",
            &summarizing(),
            Grants::none(),
            Some("the operator has not granted the capability kubelet to plugin hostile"),
        ),
        ("both", &summarizing(), Grants::from_names(["kubelet"]).unwrap(), None),
    ] {
        let plugin = load(
            guest,
            LoadOptions {
                grants,
                ..with_kubelet(Slow(Duration::ZERO, 6))
            },
        )
        .await;
        match (tick(&plugin).await, why) {
            (Ok(collected), None) => assert_eq!(collected.state, b"node-1", "{name}"),
            (
                Err(CallError::Refused {
                    error: ContractError::Denied(said),
                    ..
                }),
                Some(why),
            ) => assert_eq!(said, why, "{name}"),
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_collector_for_each_node_asks_for_its_own_only() {
    let other = "(call $summary (i32.const 8192) (i32.const 6) (i32.const 0) (i32.const 96))";
    let guest = Guest::collecting(&format!("{other} {ANSWER}"))
        .importing(KUBELET)
        .with(r#"(data (i32.const 8192) "node-2")"#);
    let plugin = load(&guest, with_kubelet(Slow(Duration::ZERO, 6))).await;
    let error = tick(&plugin).await.unwrap_err();
    assert!(
        matches!(
            &error,
            CallError::Refused {
                error: ContractError::Denied(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        plugin
            .collect("all", "node-2", b"", Duration::from_secs(5))
            .await
            .unwrap()
            .state,
        b"node-2"
    );
    assert_eq!(
        plugin.collect("rest", "", b"", Duration::from_secs(5)).await.unwrap().state,
        b"node-2",
        "each: once may ask for any"
    );
}

#[tokio::test]
async fn configuration_arrives() {
    let import = r#"(import "outrigger:plugin/config@0.1.0" "get" (func $config (param i32)))"#;
    let manifest = MANIFEST.replace("\"name\": \"kubelet\"", "\"name\": \"config\"");
    let guest = Guest::collecting(&format!("(call $config (i32.const 96)) {ANSWER}"))
        .importing(import)
        .manifest(&manifest);
    let config = Bytes::from_static(br#"{"depth": 3}"#);
    let options = LoadOptions {
        capabilities: Capabilities {
            config,
            ..Capabilities::default()
        },
        ..options()
    };
    assert_eq!(tick(&load(&guest, options).await).await.unwrap().state, br#"{"depth": 3}"#);
}

#[tokio::test]
async fn lines_and_standard_streams_reach_the_log() {
    let guest = Guest::collecting(
        r#"(call $write (i32.const 1) (i32.const 8192) (i32.const 9))
           (call $print (call $stdout) (i32.const 8192) (i32.const 10) (i32.const 96))
           (call $print (call $stderr) (i32.const 8192) (i32.const 4) (i32.const 96))
           (call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"#,
    )
    .importing(
        r#"(import "outrigger:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
           (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
           (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
           (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))"#,
    )
    .with(r#"(data (i32.const 8192) "hull\07leaks\n")"#);
    let kept = Arc::new(Kept::default());
    let capabilities = Capabilities {
        log: kept.clone(),
        ..Capabilities::default()
    };
    let plugin = load(
        &guest,
        LoadOptions {
            capabilities,
            ..options()
        },
    )
    .await;
    tick(&plugin).await.unwrap();
    assert_eq!(
        kept.lines(),
        ["Warn Log hull\\u{7}leak", "Info Stdout hull\\u{7}leaks", "Warn Stderr hull"]
    );
    assert_eq!((plugin.counts().lines, plugin.counts().lines_dropped), (3, 0));
}

#[tokio::test]
async fn a_log_flood_is_cut() {
    let guest = Guest::collecting(
        r#"(local $i i32)
           (loop $again (call $write (i32.const 2) (i32.const 1024) (i32.const 20))
             (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000))))
           (call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"#,
    )
    .importing(r#"(import "outrigger:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#);
    let kept = Arc::new(Kept::default());
    let capabilities = Capabilities {
        log: kept.clone(),
        ..Capabilities::default()
    };
    let mut options = LoadOptions {
        capabilities,
        ..options()
    };
    options.limits.log_lines_per_call = 10;
    tick(&load(&guest, options).await).await.unwrap();
    let lines = kept.lines();
    assert_eq!(lines.len(), 11);
    assert_eq!(
        lines[10],
        "Warn Host 4990 lines were dropped: the plugin logs more than its limit allows"
    );
}

#[tokio::test]
async fn wasi_has_no_authority() {
    // All three lists are empty, or the guest aborts.
    let guest = Guest::collecting(
        r#"(call $environment (i32.const 96)) (if (i32.load (i32.const 100)) (then (unreachable)))
           (call $arguments (i32.const 96)) (if (i32.load (i32.const 100)) (then (unreachable)))
           (call $directories (i32.const 96)) (if (i32.load (i32.const 100)) (then (unreachable)))
           (call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"#,
    )
    .importing(
        r#"(import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
           (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
           (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))"#,
    );
    let plugin = load(&guest, options()).await;
    tick(&plugin).await.unwrap();
    assert!(
        plugin
            .inspection()
            .wasi
            .iter()
            .any(|w| w.starts_with("wasi:cli/environment@0.2.")),
        "{:?}",
        plugin.inspection().wasi
    );
}
