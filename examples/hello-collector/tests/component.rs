//! The plugin, as the component that its host sees: exactly its exports, exactly its imports, and what it was built with. Beside it a plugin
//! that plays the other roles, since what is left out by the one is what the other has.
//!
//! Builds them, which takes a minute the first time; nothing here runs them.
#![allow(clippy::unwrap_used, reason = "tests are free")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_manifest::{BuiltWith, CONTRACT, SECTION};
use wasmparser::{Parser, Payload};

/// What the file says of itself.
#[derive(Default)]
struct Facts {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    sections: Vec<Vec<u8>>,
    names: bool,
    largest_initial_memory: u64,
}

#[test]
fn it_imports_and_exports_what_it_uses_and_nothing_else() {
    for (package, imports, exports) in [
        (
            "hello-collector",
            &["kubelet", "log", "types"][..],
            &["describe", "collector"][..],
        ),
        (
            "strategist",
            &["log", "requests", "types"],
            &["describe", "responder", "controller", "strategy", "self-test"],
        ),
    ] {
        let bytes = std::fs::read(built(package)).unwrap();
        let facts = read(&bytes);
        let (wasi, ours): (BTreeSet<_>, BTreeSet<_>) = facts.imports.iter().cloned().partition(|name| name.starts_with("wasi:"));
        let named = |names: &[&str]| {
            names
                .iter()
                .map(|name| format!("outrigger:plugin/{name}@{CONTRACT}"))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(ours, named(imports), "{package}");
        assert_eq!(facts.exports, named(exports), "{package}");
        // What std wants; the host answers it with no authority. Anything that reaches out is a mistake of the SDK.
        for reaching_out in ["wasi:sockets", "wasi:filesystem", "wasi:http"] {
            assert!(!wasi.iter().any(|name| name.starts_with(reaching_out)), "{package}: {wasi:?}");
        }
    }
}

#[test]
fn it_says_what_it_was_built_with() {
    let bytes = std::fs::read(built("hello-collector")).unwrap();
    let facts = read(&bytes);
    assert_eq!(facts.sections.len(), 1);
    let built_with: BuiltWith = serde_json::from_slice(&facts.sections[0]).unwrap();
    assert_eq!(built_with.contract, CONTRACT);
    assert!(built_with.sdk.starts_with("rust "), "{built_with:?}");
}

#[test]
fn it_is_small_keeps_its_names_and_never_grows_for_an_ordinary_call() {
    let bytes = std::fs::read(built("hello-collector")).unwrap();
    let facts = read(&bytes);
    assert!(bytes.len() < 400 << 10, "{} bytes", bytes.len());
    assert!(facts.names, "a trap could not be read without function names");
    assert_eq!(facts.largest_initial_memory, 4 << 20, ".cargo/config.toml has the flag");
}

fn read(bytes: &[u8]) -> Facts {
    let (mut facts, mut depth) = (Facts::default(), 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            // Only the outermost component's are the plugin's; inner ones are adapters of the linker.
            Payload::ComponentImportSection(imports) if depth == 0 => {
                facts
                    .imports
                    .extend(imports.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                facts
                    .exports
                    .extend(exports.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            Payload::MemorySection(memories) => {
                let initial = memories
                    .into_iter()
                    .map(|memory| memory.unwrap().initial << 16)
                    .max()
                    .unwrap_or(0);
                facts.largest_initial_memory = facts.largest_initial_memory.max(initial);
            }
            Payload::CustomSection(section) if section.name() == SECTION => facts.sections.push(section.data().to_vec()),
            Payload::CustomSection(section) if section.name() == "name" => facts.names = true,
            _ => {}
        }
    }
    facts
}

/// Builds a component once (cargo sees to that) beside the native artifacts.
fn built(package: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
            "--package",
            package,
        ])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target)
        // Where .cargo/config.toml is found from.
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // A coverage or sanitizer run's flags are not for guests, and would replace the memory flag.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(status.success());
    target.join(format!("wasm32-wasip2/guest/{}.wasm", package.replace('-', "_")))
}
