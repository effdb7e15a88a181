//! One guest for each limit, trying to pass it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_sandbox::{
    Ask, BadResult, CallError, ContractError, Engine, EngineOptions, LoadError, Plugin, Request, TrapKind, Unfit,
};

use crate::guests::Guest;
use crate::{SOON, Slow, failing, limited, load, options, summarizing, tick, try_load, with_kubelet};

const FOREVER: &str = "(loop $again (br $again)) (unreachable)";

#[tokio::test]
async fn a_loop_ends_at_the_deadline() {
    let guest = Guest::collecting("(call $spin) (unreachable)").with("(func $spin (loop $again (br $again)))");
    let (error, sentence) = failing(&guest, limited(|l| l.call_deadline = Duration::from_millis(100))).await;
    let CallError::Deadline { after, frames, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*after, Duration::from_millis(100));
    assert_eq!(
        frames.first().map(String::as_str),
        Some("spin"),
        "the report says where it was"
    );
    assert!(sentence.contains("took longer than 100ms, in spin"), "{sentence}");
}

#[tokio::test]
async fn a_caller_may_shorten_the_deadline_but_not_stretch_it() {
    let plugin = load(
        &Guest::collecting(FOREVER),
        limited(|l| l.call_deadline = Duration::from_millis(200)),
    )
    .await;
    for (asked, got) in [(50, 50), (60_000, 200)] {
        let error = plugin
            .collect("all", "n", b"", Duration::from_millis(asked))
            .await
            .unwrap_err();
        assert!(
            matches!(error, CallError::Deadline { after, .. } if after == Duration::from_millis(got)),
            "{asked}: {error:?}"
        );
    }
}

#[tokio::test]
async fn computing_ends_with_the_cpu_time_and_waiting_does_not_count() {
    let guest = Guest::collecting("(call $spin) (unreachable)").with("(func $spin (loop $again (br $again)))");
    let (error, sentence) = failing(&guest, limited(|l| l.cpu_time = Duration::from_millis(60))).await;
    let CallError::CpuTime { limit, frames, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (*limit, frames.first().map(String::as_str)),
        (Duration::from_millis(60), Some("spin"))
    );
    assert!(sentence.contains("used more than 60ms of CPU time, in spin"), "{sentence}");

    let mut options = with_kubelet(Slow(Duration::from_millis(300), 6));
    options.limits.cpu_time = Duration::from_millis(60);
    let plugin = load(&summarizing(), options).await;
    tick(&plugin).await.unwrap();
    let cpu = plugin.counts().cpu;
    assert!(cpu > Duration::ZERO && cpu < Duration::from_millis(60), "{cpu:?}");
}

#[tokio::test]
async fn what_keeps_failing_is_set_aside_and_its_neighbours_are_not() {
    let plugin = load(&responding(), options()).await;
    let ask = async |verb: &str, name: &str, ask| {
        let request = Request {
            verb: verb.into(),
            resource: "ships".into(),
            name: name.into(),
            ..Request::default()
        };
        plugin.respond(Arc::new(request), ask, SOON).await
    };
    for _ in 0..5 {
        let error = ask("create", "", Ask::Create(Bytes::new())).await.unwrap_err();
        assert!(matches!(error, CallError::Trap { .. }), "{error:?}");
    }
    let error = ask("create", "", Ask::Create(Bytes::new())).await.unwrap_err();
    let CallError::SetAside { retry_after, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(*retry_after > Duration::ZERO && *retry_after < Duration::from_secs(2));
    assert_eq!(
        error.to_string(),
        "plugin hostile: create ships is set aside after 5 failures in a row"
    );
    // A refusal is an answer, however often.
    for _ in 0..20 {
        let error = ask("get", "vega", Ask::Get).await.unwrap_err();
        assert!(matches!(error, CallError::Refused { .. }), "{error:?}");
    }
    let counts = plugin.counts();
    let count = |reason| counts.failed.iter().find(|(r, _)| *r == reason).unwrap().1;
    assert_eq!((count("trap"), count("aside"), count("refused"), counts.aside), (5, 1, 20, 1));
    assert_eq!(plugin.set_aside()[0].0, "create ships");
    let failures = plugin.failures();
    assert_eq!(failures.len(), 5);
    assert!(
        failures
            .iter()
            .all(|f| f.reason == "trap" && f.call == "create ships" && f.frames[0] == "sunk"),
        "{failures:?}"
    );
}

#[tokio::test]
async fn a_tick_that_fails_is_kept_but_not_set_aside() {
    let plugin = load(&Guest::collecting("(unreachable)"), options()).await;
    for _ in 0..12 {
        assert!(matches!(tick(&plugin).await, Err(CallError::Trap { .. })));
    }
    assert_eq!((plugin.failures().len(), plugin.set_aside().len()), (5, 0));
}

/// A responder that traps in `create`, and answers that it knows nothing to the rest.
fn responding() -> Guest {
    let manifest = r#"{"name": "hostile", "version": "1.0.0", "resources": [{"group": "test.example.com", "versions": ["v1"],
        "plural": "ships", "kind": "Ship", "scope": "cluster", "backing": {"virtual": {"verbs": ["get", "list", "create"]}}}]}"#;
    let answers = |name: &str, parameters: &str, body: &str| {
        format!(
            r#"(func (export "outrigger:plugin/responder@0.1.0#{name}") (param $request i32) {parameters} (result i32) {body})"#
        )
    };
    let refuses = "(call $drop (local.get $request)) (call $err (i32.const 0) (i32.const 0) (i32.const 0))";
    let object = "(param i32 i32)";
    Guest {
        manifest: manifest.into(),
        more: [
            answers("get", "", refuses),
            answers("list", "(param i32)", "(unreachable)"),
            answers("create", object, "(call $sunk) (unreachable)"),
            answers("update", object, "(unreachable)"),
            answers("delete", "", "(unreachable)"),
            answers("connect", object, "(unreachable)"),
            "(func $sunk (unreachable))".to_owned(),
        ]
        .concat(),
        ..Guest::default()
    }
    .exporting(&["responder"])
    .importing(r#"(import "outrigger:plugin/requests@0.1.0" "[resource-drop]request" (func $drop (param i32)))"#)
}

#[tokio::test]
async fn a_describe_that_hangs_is_not_loaded() {
    let guest = Guest {
        describe: Some(FOREVER.into()),
        ..Guest::default()
    };
    let error = try_load(&guest, limited(|l| l.describe_deadline = Duration::from_millis(100)))
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::Describe(CallError::Deadline { .. })), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("the plugin cannot describe itself: plugin sha256:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_guest_that_never_stops_lets_others_run() {
    // One worker thread: whoever does not make way would keep the timers from ever firing.
    let plugin = load(&Guest::collecting(FOREVER), options()).await;
    let others = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        ended = tick(&plugin) => panic!("{ended:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_sleep_in_wasi_ends_soon_after_the_deadline() {
    let guest = Guest::collecting("(call $block (call $after (i64.const 60000000000))) (unreachable)").importing(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
           (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#,
    );
    let (error, _) = failing(&guest, limited(|l| l.call_deadline = Duration::from_millis(100))).await;
    assert!(
        matches!(&error, CallError::Deadline { frames, .. } if frames.is_empty()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_kubelet_that_hangs_leaves_the_guest_time_to_say_so() {
    let options = with_kubelet(Slow(Duration::from_secs(60), 1));
    let plugin = load(&summarizing(), options).await;
    let error = plugin
        .collect("all", "node-1", b"", Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            CallError::Refused {
                error: ContractError::Timeout(_),
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn memory_is_counted_and_refused() {
    const GROW: &str = "(loop $again (br_if $again (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))";
    let limit = |l: &mut outrigger_sandbox::Limits| l.memory_bytes = 8 << 20;
    let dies = Guest::collecting(&format!("{GROW} (unreachable)"));
    let (error, sentence) = failing(&dies, limited(limit)).await;
    assert!(
        matches!(error, CallError::Memory { wanted, limit, .. } if wanted > limit && limit == 8 << 20),
        "{error:?}"
    );
    assert!(sentence.contains("its limit is 8388608"), "{sentence}");

    let survives = Guest::collecting(&format!(
        "{GROW} (call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"
    ));
    assert!(
        tick(&load(&survives, limited(limit)).await).await.is_ok(),
        "a guest may handle the refusal"
    );

    let greedy = Guest {
        pages: 256,
        ..Guest::default()
    };
    let error = try_load(&greedy, limited(limit)).await.unwrap_err();
    assert!(
        matches!(error, LoadError::Describe(CallError::Memory { wanted, .. }) if wanted == 16 << 20),
        "{error:?}"
    );

    let error = try_load(&Guest::default(), limited(|l| l.memory_bytes = 1 << 30))
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::Limits { .. }), "{error:?}");
}

#[tokio::test]
async fn tables_are_counted_and_refused() {
    let guest = Guest::collecting(
        "(loop $again (br_if $again (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 500))))) (unreachable)",
    )
    .with("(table $t 1 funcref)");
    let (error, sentence) = failing(&guest, limited(|l| l.table_elements = 2000)).await;
    assert!(matches!(error, CallError::Table { limit: 2000, .. }), "{error:?}");
    assert!(sentence.contains("table elements, its limit is 2000"), "{sentence}");
}

#[tokio::test]
async fn instances_memories_and_tables_are_counted() {
    for (name, options) in [
        ("instances", limited(|l| l.instances = 0)),
        ("memories", limited(|l| l.memories = 0)),
        ("tables", limited(|l| l.tables = 0)),
    ] {
        let guest = Guest::default().with("(table 1 funcref)");
        let error = try_load(&guest, options).await.unwrap_err();
        assert!(
            matches!(&error, LoadError::Describe(CallError::Start { cause, .. }) if cause.contains("limit")),
            "{name}: {error:?}"
        );
    }
}

#[tokio::test]
async fn traps_are_told_apart() {
    let down = "(func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (i32.add (local.get 0) (i32.const 1)))))";
    for (name, guest, kind) in [
        ("abort", Guest::collecting("(unreachable)"), TrapKind::Unreachable),
        (
            "recursion",
            Guest::collecting("(call $down (i32.const 0))").with(down),
            TrapKind::StackOverflow,
        ),
        (
            "out of bounds",
            Guest::collecting("(i32.load (i32.const -8))"),
            TrapKind::MemoryOutOfBounds,
        ),
        (
            "division",
            Guest::collecting("(i32.div_u (i32.const 1) (i32.const 0))"),
            TrapKind::Arithmetic,
        ),
        (
            "bad call",
            Guest::collecting("(call_indirect (result i32) (i32.const 0))").with("(table 1 funcref)"),
            TrapKind::BadCall,
        ),
        (
            "exit",
            Guest::collecting("(call $exit (i32.const 1)) (unreachable)")
                .importing(r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#),
            TrapKind::Exit(1),
        ),
    ] {
        let (error, sentence) = failing(&guest, options()).await;
        let CallError::Trap { report, .. } = error else {
            panic!("{name}: {error:?}")
        };
        assert_eq!(report.kind, kind, "{name}: {sentence}");
        assert!(!report.frames.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_panic_says_what_and_where() {
    let guest = Guest::collecting("(call $inner) (unreachable)")
        .importing(r#"(import "outrigger:plugin/log@0.1.0" "panic" (func $panic (param i32 i32 i32 i32)))"#)
        .with(
            r#"(data (i32.const 8192) "index out of bounds\n\1b[2J" ) (data (i32.const 8300) "src/lib.rs:7:9")
               (func $inner (call $_ZN5ships6window17h0123456789abcdefE))
               (func $_ZN5ships6window17h0123456789abcdefE
                 (call $panic (i32.const 8192) (i32.const 24) (i32.const 8300) (i32.const 14)) (unreachable))"#,
        );
    let (error, sentence) = failing(&guest, options()).await;
    let CallError::Trap { report, .. } = error else {
        panic!("{error:?}")
    };
    let panic = report.panic.unwrap();
    assert_eq!(
        (panic.message.as_str(), panic.location.as_str()),
        ("index out of bounds\\n\\u{1b}[2J", "src/lib.rs:7:9")
    );
    assert_eq!(report.frames.first().map(String::as_str), Some("ships::window"));
    assert!(
        sentence.contains("it panicked at src/lib.rs:7:9: index out of bounds") && sentence.contains("in ships::window < inner"),
        "{sentence}"
    );
}

#[tokio::test]
async fn what_a_guest_returns_is_bounded() {
    let huge = "(call $ok (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 131072))";
    let many = "(call $ok (i32.const 2048) (i32.const 200) (i32.const 0) (i32.const 0))";
    let lying = "(call $ok (i32.const 2048) (i32.const 100000000) (i32.const 0) (i32.const 0))";
    let outside = "(call $ok (i32.const 0) (i32.const 0) (i32.const 131000) (i32.const 1000000))";
    let row = ("ships", "", "s", r#"{"spec":{"name":"a longer one"}}"#, &b""[..], "[1]");
    for (name, guest, options, sentence) in [
        (
            "crossing",
            Guest::collecting(huge),
            limited(|l| l.hostcall_bytes = 1 << 16),
            "what cannot be read",
        ),
        (
            "state",
            Guest::collecting(huge),
            limited(|l| l.state_bytes = 1 << 16),
            "131072 bytes of state, its limit is 65536",
        ),
        (
            "rows",
            Guest::collecting(many),
            limited(|l| l.rows_per_call = 100),
            "200 rows, its limit is 100",
        ),
        (
            "bytes",
            Guest::returning(&[row; 8]),
            limited(|l| l.result_bytes = 100),
            "bytes of rows, its limit is 100",
        ),
        (
            "rows that are not there",
            Guest::collecting(lying),
            options(),
            "what cannot be read",
        ),
        (
            "state that is not there",
            Guest::collecting(outside),
            options(),
            "what cannot be read",
        ),
    ] {
        let (error, said) = failing(&guest, options).await;
        let expected = matches!(&error, CallError::BadResult { .. }) || matches!(&error, CallError::Trap { .. });
        assert!(expected, "{name}: {error:?}");
        if let CallError::BadResult {
            why: BadResult::Unreadable(_),
            ..
        } = &error
        {
            assert!(said.contains("what cannot be read"), "{name}: {said}");
        } else if matches!(error, CallError::BadResult { .. }) {
            assert!(said.contains(sentence), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn what_a_guest_hands_a_host_call_is_bounded() {
    let guest = Guest {
        pages: 64,
        ..Guest::collecting("(call $write (i32.const 2) (i32.const 0) (i32.const 4000000)) (unreachable)")
    }
    .importing(r#"(import "outrigger:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#);
    let (error, sentence) = failing(&guest, limited(|l| l.hostcall_bytes = 1 << 20)).await;
    assert!(
        matches!(&error, CallError::Trap { report, .. } if matches!(report.kind, TrapKind::HostCall(_))),
        "{error:?}"
    );
    assert!(sentence.contains("too much data"), "{sentence}");
}

#[tokio::test]
async fn answers_of_the_host_are_bounded() {
    let mut options = with_kubelet(Slow(Duration::ZERO, 5000));
    options.limits.answer_bytes = 4096;
    let (error, _) = failing(&summarizing(), options).await;
    assert!(
        matches!(
            &error,
            CallError::Refused {
                error: ContractError::TooLarge(_),
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_component_and_its_manifest_are_bounded() {
    let error = try_load(&Guest::default(), limited(|l| l.component_bytes = 1000))
        .await
        .unwrap_err();
    assert!(
        matches!(error, LoadError::Unfit(Unfit::TooLarge { limit: 1000, .. })),
        "{error:?}"
    );
    let error = try_load(&Guest::default(), limited(|l| l.manifest_bytes = 100))
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::ManifestTooLarge { limit: 100, .. }), "{error:?}");
    // Large enough that no machine compiles it while this thread is put aside for a moment.
    let function = |n| format!("(func (param i32) (result i32) local.get 0 i32.const {n} i32.add)");
    let large = Guest {
        more: (0..20_000).map(function).collect(),
        ..Guest::default()
    };
    let error = try_load(&large, limited(|l| l.compile_deadline = Duration::ZERO))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("compiling took longer than 0ns"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_floods_waits_for_turns_and_its_neighbour_does_not() {
    // A tick is long enough for a small call on any machine, and one turn is less than what the flood wants.
    let engine = Engine::new(&EngineOptions {
        tick: Duration::from_millis(5),
        turns: 1,
        ..EngineOptions::default()
    })
    .unwrap();
    let minute = Duration::from_secs(60);
    let options = || {
        limited(|l| {
            (l.call_deadline, l.tick_deadline, l.cpu_time) = (minute, minute, minute);
        })
    };
    let plugin = async |guest: Guest, name: &str| {
        let manifest = guest.manifest.replacen("\"hostile\"", &format!("{name:?}"), 1);
        let bytes = guest.manifest(&manifest).bytes();
        Plugin::load(&engine, None, bytes.into(), options()).await.unwrap()
    };
    // It computes for ever for the target `spin`, and answers at once for any other.
    let spin = "(if (i32.eq (local.get $target_len) (i32.const 4)) (then (loop $again (br $again))))";
    let flood = plugin(Guest::collecting(&format!("{spin} {}", Guest::default().collect)), "flood").await;
    let neighbour = plugin(Guest::default(), "neighbour").await;
    let mut spinning = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let flood = flood.clone();
        spinning.spawn(async move { flood.collect("all", "spin", b"", minute).await });
    }
    while flood.counts().cpu < Duration::from_millis(100) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let small = async |plugin: &Plugin| {
        let mut call = pin!(plugin.collect("all", "n", b"", minute));
        let at_once = futures::poll!(call.as_mut()).is_ready();
        if !at_once {
            // However much its own plugin floods, its turn comes.
            call.await.unwrap();
        }
        u32::from(at_once)
    };
    let mut other = 0;
    for _ in 0..20 {
        small(&flood).await;
        other += small(&neighbour).await;
    }
    assert!(
        other >= 10,
        "only {other} of 20 small calls ended in the slice that they began with"
    );
    spinning.shutdown().await;
    assert_eq!((flood.counts().in_flight, engine.free_slots()), (0, 128));
    // All turns are back.
    let short = Duration::from_millis(200);
    let ended = flood.collect("all", "spin", b"", short).await;
    assert!(
        matches!(&ended, Err(CallError::Deadline { frames, .. }) if !frames.is_empty()),
        "{ended:?}"
    );
}
