//! Hostile guests against the sandbox: every limit is passed, every door is tried.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests are free")]

mod calls;
mod capabilities;
mod guests;
mod limits;
mod loading;
mod responder;
mod sinks;
mod strategies;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use guests::Guest;
use outrigger_sandbox::{
    CallError, Capabilities, Collected, Engine, EngineOptions, Grants, HostError, Kubelet, Limits, LoadError, LoadOptions,
    LogLine, LogSink, Plugin,
};

/// One engine for all tests, as in a process.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        Engine::new(&EngineOptions {
            tick: Duration::from_millis(5),
            ..EngineOptions::default()
        })
        .unwrap()
    })
}

/// Keeps lines as `level source message`.
#[derive(Default)]
struct Kept(Mutex<Vec<String>>);

impl LogSink for Kept {
    fn line(&self, line: LogLine<'_>) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{:?} {:?} {}", line.level, line.source, line.message));
    }
}

impl Kept {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A kubelet that answers after a while.
struct Slow(Duration, usize);

#[async_trait]
impl Kubelet for Slow {
    async fn summary(&self, node: &str, _: bool, _: Instant) -> Result<Bytes, HostError> {
        tokio::time::sleep(self.0).await;
        Ok(node.bytes().cycle().take(self.1).collect())
    }
}

fn options() -> LoadOptions {
    LoadOptions {
        grants: Grants::all(),
        ..LoadOptions::default()
    }
}

fn with_kubelet(kubelet: Slow) -> LoadOptions {
    LoadOptions {
        capabilities: Capabilities {
            kubelet: Some(Arc::new(kubelet)),
            ..Capabilities::default()
        },
        ..options()
    }
}

fn limited(change: impl FnOnce(&mut Limits)) -> LoadOptions {
    let mut options = options();
    change(&mut options.limits);
    let limits = &mut options.limits;
    limits.tick_deadline = limits.tick_deadline.min(limits.call_deadline);
    options
}

async fn try_load(guest: &Guest, options: LoadOptions) -> Result<Plugin, LoadError> {
    Plugin::load(engine(), None, guest.bytes().into(), options).await
}

async fn load(guest: &Guest, options: LoadOptions) -> Plugin {
    try_load(guest, options).await.unwrap_or_else(|e| panic!("{e}"))
}

const SOON: Duration = Duration::from_secs(5);

async fn tick(plugin: &Plugin) -> Result<Collected, CallError> {
    plugin.collect("all", "node-1", b"old", SOON).await
}

/// Loads, calls once, gives the error and its sentence. No call may outlive its deadline by much.
async fn failing(guest: &Guest, options: LoadOptions) -> (CallError, String) {
    let plugin = load(guest, options).await;
    let started = Instant::now();
    let error = tick(&plugin).await.unwrap_err();
    let (took, most) = (started.elapsed(), plugin.limits().tick_deadline);
    assert!(took < most + Duration::from_secs(3), "{took:?} for {error}");
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("plugin hostile: collect all/node-1") && !sentence.contains('\n'),
        "{sentence}"
    );
    // Nothing that a call does can break the next one's start.
    assert_eq!(plugin.counts().in_flight, 0);
    (error, sentence)
}

/// Imports and calls the kubelet for the node at this address; the answer's tag is at 96.
const KUBELET: &str = r#"(import "outrigger:plugin/kubelet@0.1.0" "summary" (func $summary (param i32 i32 i32 i32)))"#;

/// Passes on what the host said: bytes as the new state, an error as the guest's own.
const ANSWER: &str = "(if (result i32) (i32.load8_u (i32.const 96))
    (then (call $err (i32.load8_u (i32.const 100)) (i32.load (i32.const 104)) (i32.load (i32.const 108))))
    (else (call $ok (i32.const 0) (i32.const 0) (i32.load (i32.const 100)) (i32.load (i32.const 104)))))";

/// A collector whose new state is the summary of its target.
fn summarizing() -> Guest {
    let ask = "(call $summary (local.get $target) (local.get $target_len) (i32.const 0) (i32.const 96))";
    Guest::collecting(&format!("{ask} {ANSWER}")).importing(KUBELET)
}
