//! Every attempt in the sandbox, with a neighbour that has to answer all the while.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests are free")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostile_plugin::ATTEMPTS;
use outrigger_sandbox::{
    Ask, BadResult, CallError, Capability, Engine, EngineOptions, Limits, LoadOptions, Plugin, Request, TrapKind,
};

const SOON: Duration = Duration::from_secs(60);

fn component() -> PathBuf {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/examples/hostile-plugin.wasm");
    assert!(file.exists(), "{} is missing: run `make guests` first", file.display());
    file
}

async fn load(engine: &Engine, limits: Limits) -> Plugin {
    let bytes = std::fs::read(component()).unwrap();
    let options = LoadOptions {
        limits,
        ..LoadOptions::default()
    };
    Plugin::load(engine, None, bytes.into(), options).await.unwrap()
}

/// Makes an attempt: what it says of its outcome.
async fn attempt(plugin: &Plugin, name: &str) -> Result<String, CallError> {
    let request = Request {
        verb: "get".into(),
        group: "hostile.example.com".into(),
        version: "v1".into(),
        resource: "attempts".into(),
        name: name.into(),
        ..Request::default()
    };
    let answered = plugin.respond(Arc::new(request), Ask::Get, SOON).await?;
    Ok(String::from_utf8(answered.object.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attempt_achieves_anything() {
    let engine = Engine::new(&EngineOptions::default()).unwrap();
    let limits = Limits {
        cpu_time: Duration::from_millis(300),
        call_deadline: Duration::from_secs(20),
        ..Limits::default()
    };
    let (plugin, neighbour) = (load(&engine, limits).await, load(&engine, Limits::default()).await);
    for (name, _) in ATTEMPTS {
        let plugin = if name == "sleep" {
            let impatient = Limits {
                call_deadline: Duration::from_millis(300),
                ..Limits::default()
            };
            &load(&engine, impatient).await
        } else {
            &plugin
        };
        let outcome = attempt(plugin, name).await;
        let fits = match (name, &outcome) {
            ("spin", Err(CallError::CpuTime { frames, .. })) => !frames.is_empty(),
            ("sleep", Err(CallError::Deadline { .. })) => true,
            ("eat", Err(CallError::Memory { .. })) => true,
            ("recurse", Err(CallError::Trap { report, .. })) => report.kind == TrapKind::StackOverflow,
            ("panic", Err(CallError::Trap { report, .. })) => report.panic.as_ref().is_some_and(|p| p.message == "as told"),
            ("exit", Err(CallError::Trap { report, .. })) => matches!(report.kind, TrapKind::Exit(_)),
            ("pour", Err(CallError::Trap { report, .. })) => matches!(report.kind, TrapKind::HostCall(_)),
            (
                "swell",
                Err(CallError::BadResult {
                    why: BadResult::TooLarge { .. },
                    ..
                }),
            ) => true,
            ("shout", Ok(_)) => {
                let counts = plugin.counts();
                counts.lines <= 400 && counts.lines_dropped > 99_000
            }
            ("environment", Ok(said)) => said.contains("it is empty"),
            ("read-file" | "write-file" | "socket" | "listen", Ok(said)) => !said.contains("it worked"),
            // What is left asks for a capability.
            ("spin" | "sleep" | "eat" | "recurse" | "panic" | "exit" | "pour" | "swell", _) => false,
            (_, Ok(said)) => said.contains("denied") && said.contains("capability") && !said.contains("it worked"),
            (_, Err(_)) => false,
        };
        assert!(fits, "{name}: {outcome:?}");
        assert_eq!(plugin.counts().in_flight, 0, "{name}");
        // An answer in between: five failures in a row would set all of its attempts aside.
        attempt(plugin, "environment").await.unwrap();
        // The neighbour answers, and has not changed.
        let fine = attempt(&neighbour, "environment").await.unwrap();
        assert!(fine.contains("it is empty"), "{name}: {fine}");
    }
    let counts = plugin.counts();
    let denied = |capability| {
        counts
            .capabilities
            .iter()
            .find(|c| c.capability == capability)
            .unwrap()
            .denials
    };
    for capability in Capability::ALL {
        let free = matches!(capability, Capability::Log | Capability::Clock | Capability::Random);
        assert_eq!(denied(capability) == 0, free, "{capability}");
    }
    assert!(
        plugin
            .failures()
            .iter()
            .all(|f| f.call.starts_with("get attempts/") || f.call.starts_with("get attempts ")),
        "{:?}",
        plugin.failures()
    );
}

#[tokio::test]
async fn what_it_repeats_is_set_aside_and_the_rest_is_not() {
    let engine = Engine::new(&EngineOptions::default()).unwrap();
    let plugin = load(&engine, Limits::default()).await;
    for _ in 0..5 {
        assert!(matches!(attempt(&plugin, "panic").await, Err(CallError::Trap { .. })));
    }
    assert!(matches!(attempt(&plugin, "panic").await, Err(CallError::SetAside { .. })));
    assert!(attempt(&plugin, "environment").await.is_ok());
    for _ in 0..6 {
        let tick = plugin.collect("damage", "", b"", SOON).await;
        assert!(matches!(tick, Err(CallError::Trap { .. })), "{tick:?}");
    }
    assert_eq!(plugin.set_aside().len(), 1);
}
