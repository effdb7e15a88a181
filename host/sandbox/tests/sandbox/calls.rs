//! What a call brings, and that calls do not meet each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_sandbox::{
    BadRow, CallError, Capabilities, ContractError, Engine, EngineOptions, HostError, Kubelet, LoadOptions, Plugin,
};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::guests::{Guest, RawRow};
use crate::{SOON, Slow, engine, limited, load, options, summarizing, tick, with_kubelet};

const GOOD: RawRow<'_> = ("ships", "", "kon-tiki", r#"{"spec":{"tonnage":15}}"#, b"", r#"["15t"]"#);

#[tokio::test]
async fn rows_and_state_arrive() {
    let rows = [
        (
            "ships",
            "",
            "kon-tiki",
            " {\"spec\":\n\t{\"a\":\"x\\n\"}}\r\n",
            &b"\x12\x02ok"[..],
            " [\"15t\"]\n",
        ),
        ("boats", "harbor", "a.b-c", "{}", b"", ""),
    ];
    let plugin = load(&Guest::returning(&rows), options()).await;
    let collected = tick(&plugin).await.unwrap();
    assert!(collected.complaints.is_empty(), "{}", collected.complaints);
    assert_eq!(collected.state, b"old");
    let [ship, boat] = &collected.rows[..] else {
        panic!("{collected:?}")
    };
    assert_eq!(
        (&*ship.resource, ship.namespace.as_str(), ship.name.as_str()),
        ("ships", "", "kon-tiki")
    );
    assert_eq!(
        ship.fields, b"{\"spec\":  {\"a\":\"x\\n\"}}",
        "line breaks between tokens are gone, those in strings are escapes"
    );
    assert_eq!(
        (ship.protobuf.as_slice(), ship.cells.as_slice()),
        (&b"\x12\x02ok"[..], &b"[\"15t\"]"[..])
    );
    assert_eq!(
        (boat.namespace.as_str(), boat.name.as_str(), boat.cells.as_slice()),
        ("harbor", "a.b-c", &b"[]"[..])
    );
    assert_eq!(plugin.counts().succeeded, 1);
}

#[tokio::test]
async fn one_bad_row_does_not_hide_its_neighbours() {
    let long = "a".repeat(254);
    let fields = |fields| RawRow::from(("ships", "", "x", fields, b"", "[1]"));
    let cells = |cells| RawRow::from(("ships", "", "x", "{}", b"", cells));
    let named = |name| RawRow::from(("ships", "", name, "{}", b"", "[1]"));
    let proto = |bytes| RawRow::from(("ships", "", "x", "{}", bytes, "[1]"));
    type Wanted = fn(&BadRow) -> bool;
    let cases: Vec<(&str, RawRow<'_>, Wanted)> = vec![
        ("unknown resource", ("sharks", "", "x", "{}", b"", "[1]"), |w| {
            *w == BadRow::Resource
        }),
        ("a table of another collector", ("rafts", "", "x", "{}", b"", ""), |w| {
            *w == BadRow::Resource
        }),
        (
            "namespace of a cluster-scoped one",
            ("ships", "harbor", "x", "{}", b"", "[1]"),
            |w| *w == BadRow::Namespace,
        ),
        ("no namespace", ("boats", "", "x", "{}", b"", ""), |w| {
            *w == BadRow::NoNamespace
        }),
        ("bad namespace", ("boats", "../x", "x", "{}", b"", ""), |w| {
            *w == BadRow::NoNamespace
        }),
        ("no name", named(""), |w| *w == BadRow::Name),
        ("a path", named("../../etc"), |w| *w == BadRow::Name),
        ("dots", named(".."), |w| *w == BadRow::Name),
        ("upper case", named("Kon"), |w| *w == BadRow::Name),
        ("a line break", named("a\nb"), |w| *w == BadRow::Name),
        ("too long a name", named(&long), |w| *w == BadRow::Name),
        ("the same again", GOOD, |w| *w == BadRow::Duplicate),
        ("no fields", fields(""), |w| matches!(w, BadRow::Fields(_))),
        ("a list", fields("[]"), |w| matches!(w, BadRow::Fields(_))),
        ("two objects", fields("{}{}"), |w| matches!(w, BadRow::Fields(_))),
        ("breaking out", fields(r#"{}],"kind":"X""#), |w| {
            matches!(w, BadRow::Fields(_))
        }),
        ("metadata of its own", fields(r#"{"metadata":{"name":"root"}}"#), |w| {
            matches!(w, BadRow::Fields(_))
        }),
        ("metadata in disguise", fields(r#"{"meta\u0064ata":{}}"#), |w| {
            matches!(w, BadRow::Fields(_))
        }),
        ("a kind of its own", fields(r#"{"kind":"Secret"}"#), |w| {
            matches!(w, BadRow::Fields(_))
        }),
        ("a member twice", fields(r#"{"a":1,"a":2}"#), |w| {
            matches!(w, BadRow::Fields(_))
        }),
        ("too few cells", cells("[]"), |w| matches!(w, BadRow::Cells(_))),
        ("too many cells", cells("[1,2]"), |w| matches!(w, BadRow::Cells(_))),
        ("no cells", cells(""), |w| matches!(w, BadRow::Cells(_))),
        ("cells in an object", cells(r#"{"a":1}"#), |w| matches!(w, BadRow::Cells(_))),
        ("undeclared protobuf", ("boats", "harbor", "x", "{}", b"\x12\x00", ""), |w| {
            *w == BadRow::Undeclared
        }),
        ("protobuf with metadata", proto(b"\x0a\x00"), |w| *w == BadRow::Protobuf),
        ("half a message", proto(b"\x12\x05ab"), |w| *w == BadRow::Protobuf),
        ("a group", proto(b"\x13\x14"), |w| *w == BadRow::Protobuf),
        (
            "an endless number",
            proto(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            |w| *w == BadRow::Protobuf,
        ),
    ];
    let rows: Vec<_> = std::iter::once(GOOD)
        .chain(cases.iter().map(|c| c.1))
        .chain([("ships", "", "last", "{}", &b""[..], "[1]")])
        .collect();
    let all = load(&Guest::returning(&rows), options()).await;
    let collected = tick(&all).await.unwrap();
    let names: Vec<_> = collected.rows.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["kon-tiki", "last"]);
    assert_eq!(
        (collected.complaints.count, collected.complaints.first.len()),
        (cases.len(), 8)
    );
    assert_eq!(all.counts().rows_refused, cases.len() as u64);
    assert!(
        collected
            .complaints
            .to_string()
            .starts_with("29 rows were left out: row 1 (sharks/x): its resource"),
        "{}",
        collected.complaints
    );

    for (name, row, wanted) in cases {
        let collected = tick(&load(&Guest::returning(&[GOOD, row]), options()).await).await.unwrap();
        let [complaint] = &collected.complaints.first[..] else {
            panic!("{name}: {collected:?}")
        };
        assert!(wanted(&complaint.why) && complaint.index == 1, "{name}: {complaint}");
        assert!(!complaint.to_string().contains('\n'), "{name}");
    }
}

/// Whatever bytes a guest leaves where its answer should be: an answer or one error, never a panic, and the next call is fine. The
/// guest takes them from its state, so that one component plays them all.
#[test]
fn any_bytes_for_an_answer_are_an_answer_or_an_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let guest = Guest::collecting("(memory.copy (i32.const 1024) (local.get $state) (local.get $state_len)) (i32.const 1024)");
    let plugin = runtime.block_on(load(&guest, options()));
    // Numbers that are pointers, lengths and tags more often than chance would have it.
    let number = prop_oneof![
        Just(0_u32),
        Just(1),
        Just(u32::MAX),
        0..64_u32,
        (1024..2048_u32).prop_map(|n| n & !3),
        any::<u32>()
    ];
    let bytes = prop::collection::vec(number, 0..64).prop_map(|n| n.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2_000));
    let outcome = runner.run(&bytes, |bytes| {
        let ended = runtime.block_on(plugin.collect("all", "node-1", &bytes, SOON));
        let fits = match &ended {
            Ok(found) => found.state.len() <= plugin.limits().state_bytes && found.rows.len() <= 64,
            Err(error) => matches!(
                error,
                CallError::BadResult { .. } | CallError::Trap { .. } | CallError::Refused { .. }
            ),
        };
        prop_assert!(fits, "{:?}", ended);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(plugin.counts().in_flight, 0);
}

#[tokio::test]
async fn a_refusal_is_told_without_control_characters() {
    let guest = Guest::collecting("(call $err (i32.const 7) (i32.const 8192) (i32.const 9))")
        .with(r#"(data (i32.const 8192) "no\0a\1b[31mx")"#);
    let error = tick(&load(&guest, options()).await).await.unwrap_err();
    let CallError::Refused { error: said, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*said, ContractError::Unavailable("no\\n\\u{1b}[31mx".into()));
    assert_eq!(
        error.to_string(),
        "plugin hostile: collect all/node-1: unavailable: no\\n\\u{1b}[31mx"
    );
}

#[tokio::test]
async fn nothing_stays_from_call_to_call() {
    // Aborts if its memory was ever written to.
    let guest = Guest::collecting(
        "(if (i32.load (i32.const 12288)) (then (unreachable)))
         (i32.store (i32.const 12288) (i32.const 1))
         (call $ok (i32.const 0) (i32.const 0) (local.get $state) (local.get $state_len))",
    );
    let plugin = load(&guest, options()).await;
    for _ in 0..100 {
        tick(&plugin).await.unwrap();
    }
}

#[tokio::test]
async fn state_migrates_if_the_plugin_knows_how() {
    let knows = load(&Guest::default().exporting(&["collector", "migrator"]), options()).await;
    assert!(knows.inspection().migrates);
    assert_eq!(
        knows.migrate("all", 1, b"xyz").await.unwrap().as_deref(),
        Some(&b"\x01yz"[..])
    );
    assert!(matches!(
        knows.migrate("none", 1, b"").await,
        Err(CallError::NoSuchCollector { .. })
    ));
    assert_eq!(
        load(&Guest::default(), options())
            .await
            .migrate("all", 1, b"xyz")
            .await
            .unwrap(),
        None
    );
    let error = knows.collect("none", "n", b"", SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin hostile has no collector \"none\"");
}

#[tokio::test]
async fn a_dropped_call_frees_its_slot() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    struct Hangs(Arc<AtomicUsize>);
    #[async_trait]
    impl Kubelet for Hangs {
        async fn summary(&self, _: &str, _: bool, _: Instant) -> Result<Bytes, HostError> {
            let _dropped = Dropped(self.0.clone());
            std::future::pending().await
        }
    }
    let engine = Engine::new(&EngineOptions {
        slots: 2,
        ..EngineOptions::default()
    })
    .unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let capabilities = Capabilities {
        kubelet: Some(Arc::new(Hangs(ended.clone()))),
        ..Capabilities::default()
    };
    let waits = Plugin::load(
        &engine,
        None,
        summarizing().bytes().into(),
        LoadOptions {
            capabilities,
            ..options()
        },
    )
    .await
    .unwrap();
    let spins = Guest::collecting("(loop $again (br $again)) (unreachable)").bytes();
    let spins = Plugin::load(&engine, None, spins.into(), options()).await.unwrap();
    for turn in 1..=50 {
        // In a host call, and in the middle of the guest's own code.
        assert!(
            tokio::time::timeout(Duration::from_millis(5), tick(&waits)).await.is_err(),
            "{turn}"
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(5), tick(&spins)).await.is_err(),
            "{turn}"
        );
        assert_eq!(engine.free_slots(), 2, "{turn}");
    }
    assert_eq!(
        ended.load(Ordering::SeqCst),
        50,
        "what the host did for the call has ended, too"
    );
    assert_eq!((waits.counts().in_flight, spins.counts().in_flight), (0, 0));
    let fine = Plugin::load(&engine, None, Guest::default().bytes().into(), options())
        .await
        .unwrap();
    tick(&fine).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_never_exhaust_the_pool() {
    let engine = Engine::new(&EngineOptions {
        slots: 3,
        ..EngineOptions::default()
    })
    .unwrap();
    let mut options = with_kubelet(Slow(Duration::from_millis(1), 6));
    options.limits.calls_waiting = 1000;
    let plugin = Plugin::load(&engine, None, summarizing().bytes().into(), options)
        .await
        .unwrap();
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let p = plugin.clone();
            tokio::spawn(async move { tick(&p).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().state, b"node-1");
    }
    assert_eq!((plugin.counts().succeeded, plugin.counts().waiting), (200, 0));
}

#[tokio::test]
async fn beyond_the_queue_calls_are_told_busy() {
    let mut slow = with_kubelet(Slow(Duration::from_millis(300), 6));
    (slow.limits.calls_in_flight, slow.limits.calls_waiting) = (1, 1);
    let plugin = load(&summarizing(), slow).await;
    let (first, second, third) = tokio::join!(tick(&plugin), tick(&plugin), tick(&plugin));
    assert!(first.is_ok() && second.is_ok());
    assert!(matches!(&third, Err(CallError::Busy { .. })), "{third:?}");
    // One that waited until its deadline has not run, so it is busy, too, and not late.
    let (first, second) = tokio::join!(tick(&plugin), plugin.collect("all", "n", b"", Duration::from_millis(50)));
    assert!(first.is_ok() && matches!(second, Err(CallError::Busy { .. })), "{second:?}");
    assert_eq!(plugin.counts().failed.iter().find(|(r, _)| *r == "busy").unwrap().1, 2);
}

#[tokio::test]
async fn it_also_works_without_the_pool() {
    let alone = Engine::new(&EngineOptions {
        pooling: false,
        ..EngineOptions::default()
    })
    .unwrap();
    let plugin = Plugin::load(&alone, None, Guest::returning(&[GOOD]).bytes().into(), options())
        .await
        .unwrap();
    assert_eq!(tick(&plugin).await.unwrap().rows.len(), 1);
    let spins = Guest::collecting("(loop $again (br $again)) (unreachable)").bytes();
    let spins = Plugin::load(
        &alone,
        None,
        spins.into(),
        limited(|l| l.call_deadline = Duration::from_millis(50)),
    )
    .await
    .unwrap();
    assert!(matches!(tick(&spins).await, Err(CallError::Deadline { .. })));
    assert_ne!(engine().allocation(), alone.allocation());
}

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Shown(std::sync::Arc<std::sync::Mutex<Vec<bytes::Bytes>>>);

#[async_trait::async_trait]
impl outrigger_sandbox::Sink for Shown {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), outrigger_sandbox::HostError> {
        Ok(())
    }

    async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), outrigger_sandbox::HostError> {
        self.0.lock().unwrap().push(bytes);
        Ok(())
    }
}

#[tokio::test]
async fn a_responder_answers_whatever_it_is_asked() {
    use crate::responder::{OBJECT, responder};
    use outrigger_sandbox::{Ask, Request};
    let plugin = outrigger_sandbox::Plugin::load(crate::engine(), None, responder().into(), crate::options())
        .await
        .unwrap();
    let shown = Shown::default();
    for (ask, object) in [
        (Ask::Get, OBJECT),
        (Ask::Create("{}".into()), OBJECT),
        (Ask::List(Box::new(shown.clone())), ""),
    ] {
        let what = format!("{ask:?}");
        let answer = plugin
            .respond(std::sync::Arc::new(Request::default()), ask, crate::SOON)
            .await
            .unwrap();
        assert_eq!(answer.object, object, "{what}");
    }
    assert_eq!(*shown.0.lock().unwrap(), [OBJECT]);
}
