//! Every import of the contract, with and without a grant; and WASI, which has none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_sandbox::{CallError, Capabilities, Capability, ContractError, Grants, LoadOptions};
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
async fn every_import_with_a_grant_answers_and_never_traps() {
    for (capability, name, guest) in callers() {
        let outcome = tick(&load(&guest, options()).await).await;
        match (capability, &outcome) {
            (Capability::Log | Capability::Clock | Capability::Random | Capability::Config, Ok(_)) => {}
            // An empty node name, as all arguments are empty.
            (
                Capability::Kubelet,
                Err(CallError::Refused {
                    error: ContractError::Invalid(_),
                    ..
                }),
            ) => {}
            (
                c,
                Err(CallError::Refused {
                    error: ContractError::Unavailable(_),
                    ..
                }),
            ) if !c.is_served() => {}
            _ => panic!("{name}: {outcome:?}"),
        }
    }
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
