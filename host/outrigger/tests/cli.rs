//! The binary as somebody at a shell meets it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use outrigger_sandbox::{ArtifactCache, CompileError, Compiler, Engine, EngineOptions, LoadError, LoadOptions, Origin, Plugin};

fn outrigger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(arguments)
        .output()
        .unwrap()
}

fn metrics() -> PathBuf {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins/metrics.wasm");
    assert!(file.exists(), "{} is missing: run `make guests` first", file.display());
    file
}

#[test]
fn inspect_says_what_a_plugin_is() {
    let file = metrics();
    let output = outrigger(&["inspect", "--json", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["roles"], serde_json::json!(["collector"]));
    assert_eq!(
        document["capabilities"],
        serde_json::json!(["log", "config", "kubelet", "clock"])
    );
    assert_eq!(document["manifest"]["resources"][0]["group"], "metrics.k8s.io");
    assert_eq!(
        document["manifest"]["resources"][0]["versions"],
        serde_json::json!(["v1", "v1beta1"])
    );
    let text = outrigger(&["inspect", file.to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    for line in [
        "plugin        metrics",
        "asks for",
        "kubelet",
        "pods.metrics.k8s.io (v1, v1beta1), kind PodMetrics",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn what_does_not_fit_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("half.wasm");
    let whole = std::fs::read(metrics()).unwrap();
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let empty = dir.path().join("empty.wasm");
    std::fs::write(&empty, b"").unwrap();
    let module = dir.path().join("module.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    for file in [&half, &empty, &module, &dir.path().join("absent.wasm")] {
        let output = outrigger(&["inspect", file.to_str().unwrap()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.starts_with("outrigger: ") && error.contains(file.to_str().unwrap()),
            "{error}"
        );
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = format!("--plugins={}", dir.path().display());
    for (arguments, expected) in [
        (vec!["serve"], "--plugins"),
        (vec!["serve", &plugins, "--tls-cert-file=x"], "--tls-private-key-file"),
        (vec!["serve", &plugins, "--metric-resolution=soon"], "is not a duration"),
        (vec!["serve", &plugins, "--kubeconfig=/nonexistent"], "check --kubeconfig"),
        (vec!["run", &plugins], "--kubelet"),
    ] {
        let output = outrigger(&arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn a_doctor_who_cannot_look_says_so_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        r#"{"apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "a", "user": {}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}"#,
    )
    .unwrap();
    let given = format!("--kubeconfig={}", kubeconfig.display());
    for (arguments, code, expected) in [
        (vec!["doctor", "--kubeconfig=/nonexistent"], 2, "check --kubeconfig"),
        (vec!["doctor", &given, "--context=b"], 2, "check --kubeconfig"),
        (vec!["doctor", &given, "--server=http://x"], 2, "https only"),
        (
            vec!["doctor", &given, "--proxy-client-cert-file=/nonexistent"],
            2,
            "--proxy-client-cert-file",
        ),
        (vec!["doctor", &given, "--service-account=x"], 2, "NAMESPACE/NAME"),
        // That kube-apiserver does not answer is a finding.
        (
            vec!["doctor", &given],
            1,
            "FAIL  kube-apiserver   kube-apiserver at http://127.0.0.1:1/ does not answer",
        ),
        (
            vec!["doctor", &given],
            1,
            "SKIP  everything else  not judged: it follows from kube-apiserver",
        ),
        (vec!["doctor", &given, "--output=json"], 1, "\"code\": \"server-unreachable\""),
    ] {
        let output = outrigger(&arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// A component of so many functions.
fn component(functions: usize) -> Vec<u8> {
    let one = |n: usize| format!("(func (param i32) (result i32) local.get 0 i32.const {n} i32.add)");
    let functions: String = (0..functions).map(one).collect();
    wat::parse_str(format!("(component (core module {functions}))")).unwrap()
}

/// Lets the server's child compile, and returns how it ended and what it said.
fn compile(component: &[u8], memory: u64) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["compile", "--memory", &memory.to_string(), "--cpu-seconds", "100"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, component) = (child.stdin.take().unwrap(), component.to_vec());
    // One that dies reads no further.
    let writing = std::thread::spawn(move || drop(to.write_all(&component)));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

#[test]
fn a_compiler_has_its_own_memory_and_no_more() {
    let small = compile(&component(1), 2 << 30);
    assert!(
        small.status.success() && small.stdout.starts_with(b"outrigger-pipe 1"),
        "{small:?}"
    );
    let bomb = component(100_000);
    let died = compile(&bomb, 200 << 20);
    assert!(!died.status.success() && died.stdout.is_empty(), "{:?}", died.status);
    let refused = compile(b"\0asm\x0d\0\x01\0nonsense", 2 << 30);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(!refused.stderr.is_empty() && refused.stdout.is_empty());
}

#[tokio::test]
async fn a_bomb_of_a_component_is_one_sentence_and_the_next_one_is_served() {
    let engine = |memory_bytes| {
        Engine::new(&EngineOptions {
            pooling: false,
            compiler: Some(Compiler {
                program: env!("CARGO_BIN_EXE_outrigger").into(),
                memory_bytes,
                ..Compiler::this()
            }),
            ..EngineOptions::default()
        })
        .unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtifactCache::open(dir.path().join("compiled")).unwrap();
    let load = async |memory| {
        let bytes = std::fs::read(metrics()).unwrap();
        Plugin::load(&engine(memory), Some(&cache), bytes.into(), LoadOptions::default()).await
    };
    let error = load(64 << 20).await.unwrap_err();
    let sentence = error.to_string();
    assert!(
        matches!(error, LoadError::Compile(CompileError::Died { memory, .. }) if memory == 64 << 20),
        "{sentence}"
    );
    assert!(
        sentence.starts_with("the compiler died (") && !sentence.contains('\n'),
        "{sentence}"
    );
    let plugin = load(2 << 30).await.unwrap();
    assert_eq!(
        (plugin.manifest().name.as_str(), plugin.origin()),
        ("metrics", Origin::Compiled)
    );
    // What the child made is kept, and is what this process would have made.
    assert_eq!(load(64 << 20).await.unwrap().origin(), Origin::Cached);
}
