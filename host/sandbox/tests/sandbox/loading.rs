//! From bytes to a plugin: what fits, what does not, and what is kept.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_sandbox::{
    ArtifactCache, CacheError, Capabilities, Capability, HostError, Inspection, Kubelet, LoadError, LoadOptions, Origin, Plugin,
    Role, Unfit,
};

use crate::guests::{Guest, MANIFEST, component, escaped};
use crate::{SOON, engine, load, options, summarizing, tick, try_load};

/// A custom section of the core module, as the SDK leaves it.
fn stamped(json: &str) -> Guest {
    Guest::default().with(&format!("(@custom \"outrigger:plugin\" \"{}\")", escaped(json.as_bytes())))
}

#[test]
fn an_inspection_tells_everything_without_compiling() {
    let guest = Guest {
        imports: summarizing().imports,
        ..stamped(r#"{"contract":"0.1.0","sdk":"rust 0.1.0"}"#)
    };
    let guest = Guest {
        collect: summarizing().collect,
        ..guest
    }
    .exporting(&["collector", "migrator"]);
    let bytes = guest.bytes();
    let found = Inspection::read(&bytes).unwrap();
    assert_eq!(found.size, bytes.len());
    assert_eq!(found.digest.len(), 64);
    assert_eq!(found.built_with.unwrap().sdk, "rust 0.1.0");
    assert_eq!(found.contract, "0.1.0");
    assert_eq!(found.roles, BTreeSet::from([Role::Collector]));
    assert!(found.migrates);
    assert_eq!(found.capabilities, BTreeSet::from([Capability::Kubelet]));
    assert_eq!((found.wasi, found.others), (vec![], vec!["types".to_owned()]));
}

#[test]
fn what_does_not_fit_gets_one_sentence() {
    let fine = Guest::default().bytes();
    let newer = stamped(r#"{"contract":"0.9.0","sdk":"rust 0.9.2"}"#).bytes();
    let older = stamped(r#"{"contract":"0.0.7","sdk":""}"#).bytes();
    let garbled = stamped("{").bytes();
    let core = wat::parse_str("(module)").unwrap();
    let nothing = wat::parse_str("(component)").unwrap();
    let future = wat::parse_str(r#"(component (instance $i) (export "outrigger:plugin/describe@0.2.0" (instance $i)))"#).unwrap();
    let unknown = |name: &str| {
        let text = format!(
            r#"(component (import "{name}" (instance)) (instance $i) (export "outrigger:plugin/describe@0.1.0" (instance $i)))"#
        );
        wat::parse_str(text).unwrap()
    };
    let (teleport, sockets, later) = (
        unknown("outrigger:plugin/teleport@0.1.0"),
        unknown("wasi:http/types@0.2.0"),
        unknown("outrigger:plugin/log@0.2.0"),
    );
    let preview3 = unknown("wasi:cli/stdout@0.3.0");
    let with = |module: &str| {
        let text = format!(
            r#"(component (core module {module}) (instance $i) (export "outrigger:plugin/describe@0.1.0" (instance $i)))"#
        );
        wat::parse_str(text).unwrap()
    };
    let references = with("(func (param (ref null extern)))");
    let threads = with("(memory 1 1 shared)");
    let wide = with("(memory i64 1)");
    let gc = with("(type (struct (field i32)))");
    let exceptions = with("(tag)");
    let relaxed = with("(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))");
    let broken = with("(func (result i32) (i64.const 1))");
    let odd = stamped(r#"{"contract":"one","sdk":"rust 0.1.0"}"#).bytes();
    let utf16 = wat::parse_str(
        r#"(component
             (core module $m (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 0)))
             (core instance $c (instantiate $m))
             (func $f (result string) (canon lift (core func $c "f") string-encoding=utf16 (memory (core memory $c "memory"))))
             (instance $i) (export "outrigger:plugin/describe@0.1.0" (instance $i)))"#,
    )
    .unwrap();
    let escape = stamped(r#"{"contract":"0.9.0","sdk":"\u001b[2J"}"#).bytes();
    let cut = &fine[..fine.len() / 2];
    for (name, bytes, sentence) in [
        ("empty", &b""[..], "the file is empty"),
        ("text", b"(component)", "is not WebAssembly"),
        ("machine code", b"\x7fELF\x02", "never loaded from outside"),
        ("core module", &core, "is a core WebAssembly module, not a component"),
        ("cut", cut, "not valid for this host"),
        ("magic only", b"\0asm", "not valid for this host"),
        ("a body that is no code", &broken, "not valid for this host"),
        ("threads", &threads, "uses threads, which this host has switched off"),
        ("memory64", &wide, "uses 64-bit memories"),
        ("host references", &references, "uses references to host values"),
        ("GC", &gc, "uses garbage collection"),
        ("exceptions", &exceptions, "uses exceptions"),
        ("relaxed SIMD", &relaxed, "uses relaxed SIMD"),
        ("no describe", &nothing, "does not export outrigger:plugin/describe@0.1.0"),
        (
            "newer SDK",
            &newer,
            "built for contract 0.9.0 (SDK rust 0.9.2), this host speaks 0.1.0; upgrade the host",
        ),
        (
            "older SDK",
            &older,
            "built for contract 0.0.7, this host speaks 0.1.0; build it again",
        ),
        (
            "newer export",
            &future,
            "built for contract 0.2.0, this host speaks 0.1.0; upgrade the host",
        ),
        ("newer import", &later, "built for contract 0.2.0"),
        ("UTF-16", &utf16, "passes strings as UTF-16"),
        ("an escape for the terminal", &escape, "(SDK \\u{1b}[2J)"),
        ("unreadable section", &garbled, "custom section"),
        (
            "unknown capability",
            &teleport,
            "imports outrigger:plugin/teleport@0.1.0, which this host does not offer",
        ),
        (
            "unlinked WASI",
            &sockets,
            "imports wasi:http/types@0.2.0, which this host does not offer",
        ),
        (
            "a later WASI",
            &preview3,
            "imports wasi:cli/stdout@0.3.0, and this host offers WASI 0.2; build it with `--target wasm32-wasip2`",
        ),
        ("a section whose contract is no version", &odd, "\"one\" is not a version"),
    ] {
        let unfit = Inspection::read(bytes).unwrap_err().to_string();
        assert!(unfit.contains(sentence) && !unfit.contains('\n'), "{name}: {unfit}");
    }
    assert_eq!(
        Inspection::within(&fine, 10),
        Err(Unfit::TooLarge {
            size: fine.len(),
            limit: 10
        })
    );
}

#[tokio::test]
async fn what_describes_itself_wrongly_is_not_loaded() {
    let without = |what: &str, with: &str| {
        assert!(MANIFEST.contains(what));
        Guest::default().manifest(&MANIFEST.replace(what, with))
    };
    let idle = r#"{"name": "idle", "version": "1"}"#;
    for (name, guest, sentence) in [
        (
            "no JSON",
            Guest::default().manifest("ahoy"),
            "the plugin's manifest is not valid",
        ),
        ("unknown field", without("\"version\"", "\"sails\": 2, \"version\""), "sails"),
        ("bad name", without("\"hostile\"", "\"Hostile!\""), "DNS label"),
        (
            "unknown capability",
            without("\"name\": \"kubelet\"", "\"name\": \"kublet\""),
            "kublet",
        ),
        (
            "collectors without the role",
            Guest::default().exporting(&[]),
            "does not export the role collector",
        ),
        (
            "the role without collectors",
            Guest::default().manifest(idle),
            "declares no collector",
        ),
        (
            "describe traps",
            Guest {
                describe: Some("(unreachable)".into()),
                ..Guest::default()
            },
            "cannot describe itself",
        ),
        (
            "describes itself by the clock",
            by_the_clock(),
            "describes itself differently each time",
        ),
    ] {
        let error = try_load(&guest, options()).await.unwrap_err().to_string();
        assert!(error.contains(sentence) && !error.contains('\n'), "{name}: {error}");
    }
    load(&Guest::default().exporting(&[]).manifest(idle), options()).await;
}

/// Its manifest ends in blanks that spell the time.
fn by_the_clock() -> Guest {
    let guest =
        Guest::default().importing(r#"(import "outrigger:plugin/clock@0.1.0" "monotonic" (func $monotonic (result i64)))"#);
    let (end, length) = (1024 + MANIFEST.len(), MANIFEST.len() + 48);
    Guest {
        describe: Some(format!(
            "(local $time i64) (local $bit i32)
             (local.set $time (call $monotonic))
             (loop $next
               (i32.store8 (i32.add (i32.const {end}) (local.get $bit))
                 (select (i32.const 32) (i32.const 9)
                   (i64.eqz (i64.and (i64.shr_u (local.get $time) (i64.extend_i32_u (local.get $bit))) (i64.const 1)))))
               (local.set $bit (i32.add (local.get $bit) (i32.const 1)))
               (br_if $next (i32.lt_u (local.get $bit) (i32.const 48))))
             (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const {length})) (i32.const 16)"
        )),
        ..guest
    }
}

/// What the first SDK made. Hosts change, these bytes never do: see the README beside them.
#[tokio::test]
async fn a_plugin_of_the_first_sdk_still_runs() {
    let bytes = include_bytes!("../fixtures/hello-0.1.0.wasm");
    let found = Inspection::read(bytes).unwrap();
    assert_eq!(
        found.digest, FIRST,
        "it was built anew, which proves nothing any more; take it back from history"
    );
    assert_eq!(found.roles, BTreeSet::from([Role::Collector]));
    let summary =
        r#"{"node": {"memory": {"availableBytes": 1073741824}, "cpu": {"usageNanoCores": 250000000}}, "pods": [{}, {}]}"#;
    let options = LoadOptions {
        capabilities: Capabilities {
            kubelet: Some(Arc::new(Says(summary))),
            ..Capabilities::default()
        },
        ..options()
    };
    let plugin = Plugin::load(engine(), None, bytes.as_slice().into(), options).await.unwrap();
    assert_eq!((&*plugin.manifest().name, &*plugin.manifest().version), ("hello", "0.1.0"));
    plugin.self_test(SOON).await.unwrap();
    let found = plugin.collect("headrooms", "node-1", &[], SOON).await.unwrap();
    assert_eq!(found.complaints.count, 0);
    let [row] = &found.rows[..] else {
        panic!("one row: {found:?}")
    };
    assert_eq!((&*row.resource, &*row.name), ("headrooms", "node-1"));
    assert_eq!(
        String::from_utf8_lossy(&row.fields),
        r#"{"memoryAvailable":"1Gi","cpuUsed":"250m","pods":2}"#
    );
    assert_eq!(String::from_utf8_lossy(&row.cells), r#"["1Gi","250m",2]"#);
}

const FIRST: &str = "8d0068988c23fc4c50eb7db0866c8490913fe58f1651be0f93a0901b4847f252";

/// A kubelet that always says the same.
struct Says(&'static str);

#[async_trait]
impl Kubelet for Says {
    async fn summary(&self, _: &str, _: bool, _: Instant) -> Result<Bytes, HostError> {
        Ok(Bytes::from_static(self.0.as_bytes()))
    }
}

#[tokio::test]
async fn a_function_that_this_host_does_not_have_does_not_link() {
    let bytes = wat::parse_str(
        r#"(component
             (import "outrigger:plugin/clock@0.1.0" (instance (export "sundial" (func (result u64)))))
             (core module $m (memory (export "memory") 1) (func (export "describe") (result i32) (i32.const 0)))
             (core instance $c (instantiate $m))
             (func $describe (result (list u8)) (canon lift (core func $c "describe") (memory (core memory $c "memory"))))
             (instance $i (export "describe" (func $describe)))
             (export "outrigger:plugin/describe@0.1.0" (instance $i)))"#,
    )
    .unwrap();
    let error = Plugin::load(engine(), None, bytes.into(), options()).await.unwrap_err();
    assert!(matches!(&error, LoadError::Link(why) if why.contains("sundial")), "{error:?}");
}

#[tokio::test]
async fn a_component_of_another_host_may_export_more() {
    let text = Guest::default().text().replace(
        "(func $ok ",
        r#"(func (export "test:other/hello@1.0.0#hello"))
           (func $ok "#,
    );
    let exports = "export outrigger:plugin/describe@0.1.0; export outrigger:plugin/collector@0.1.0; export hello: interface { wave: func(); }";
    let text = text.replace("test:other/hello@1.0.0#hello", "hello#wave");
    let plugin = Plugin::load(engine(), None, component(&text, exports).into(), options())
        .await
        .unwrap();
    tick(&plugin).await.unwrap();
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect()
}

#[tokio::test]
async fn compiled_code_is_kept_checked_and_pruned() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("code");
    let cache = ArtifactCache::open(&folder).unwrap();
    let bytes = bytes::Bytes::from(Guest::default().bytes());
    let origin = async || {
        Plugin::load(engine(), Some(&cache), bytes.clone(), options())
            .await
            .unwrap()
            .origin()
    };

    assert_eq!(origin().await, Origin::Compiled);
    let [file] = &files(&folder)[..] else { panic!("one file") };
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(origin().await, Origin::Cached);

    let good = std::fs::read(file).unwrap();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    for (name, bad) in [
        ("empty", vec![]),
        ("torn", good[..good.len() - 1].to_vec()),
        ("a bit in the code", flipped(good.len() / 2)),
        ("a bit in the digest", flipped(20)),
        ("another layout", flipped(3)),
        ("longer", [good.clone(), vec![0]].concat()),
    ] {
        std::fs::write(file, bad).unwrap();
        assert_eq!(origin().await, Origin::Compiled, "{name}");
        assert_eq!(origin().await, Origin::Cached, "{name}: it was made again");
    }
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(origin().await, Origin::Compiled, "others could have written it");
    std::fs::rename(file, home.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(home.path().join("elsewhere"), file).unwrap();
    assert_eq!(origin().await, Origin::Compiled, "a link is not followed");
    assert!(std::fs::symlink_metadata(file).unwrap().is_file());

    std::fs::write(folder.join("new-1.tmp"), "half").unwrap();
    std::fs::write(folder.join("old-engine.cwasm"), "old").unwrap();
    let digest = Inspection::read(&bytes).unwrap().digest;
    assert_eq!(
        cache.prune(engine(), &BTreeSet::from([digest]), Duration::ZERO).unwrap(),
        1,
        "only the other engine's"
    );
    assert_eq!(origin().await, Origin::Cached);
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(cache.prune(engine(), &BTreeSet::new(), day).unwrap(), 0, "used today");
    assert_eq!(cache.prune(engine(), &BTreeSet::new(), Duration::ZERO).unwrap(), 1);
    assert_eq!(files(&folder).len(), 1, "somebody may still be writing the temporary one");
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for (name, mode) in [("group", 0o770), ("others", 0o707), ("readable", 0o755)] {
        let folder = home.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(ArtifactCache::open(&folder), Err(CacheError::NotOurs { .. })),
            "{name}"
        );
    }
    std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
    assert!(matches!(
        ArtifactCache::open(home.path().join("link")),
        Err(CacheError::NotOurs { .. } | CacheError::Io { .. })
    ));
}
