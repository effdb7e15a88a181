//! What a call costs: a fresh instance, the call, and its end.
//!
//! ```text
//! cargo bench -p outrigger-sandbox                                   # a trivial component
//! cargo bench -p outrigger-sandbox -- PLUGIN.wasm [SUMMARY.json]     # and one tick over 110 pods
//! ```
//! Prints percentiles of single calls, and calls per second on one thread and on all cores. Without a summary of your own the kubelet
//! answers a made one of 110 pods.

#[path = "../tests/sandbox/guests.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared with the tests, which use all of it"
)]
mod guests;
#[path = "../tests/sandbox/responder.rs"]
mod responder;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use guests::Guest;
use outrigger_sandbox::{Ask, Capabilities, Engine, EngineOptions, Grants, HostError, Kubelet, LoadOptions, Plugin, Request};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A kubelet that has its answers ready: one after the other, and again from the first.
struct Ready(Vec<Bytes>, AtomicUsize);

#[async_trait]
impl Kubelet for Ready {
    async fn summary(&self, _: &str, _: bool, _: Instant) -> Result<Bytes, HostError> {
        let turn = self.1.fetch_add(1, Ordering::Relaxed) % self.0.len().max(1);
        self.0
            .get(turn)
            .cloned()
            .ok_or_else(|| HostError::NotFound("no summary".into()))
    }
}

fn main() -> Outcome<()> {
    // Cargo passes `--bench`.
    let files: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for pooling in [true, false] {
            let engine = Engine::new(&EngineOptions {
                pooling,
                ..EngineOptions::default()
            })?;
            println!("{:?}", engine.allocation());
            let plugin = Plugin::load(&engine, None, Guest::default().bytes().into(), LoadOptions::default()).await?;
            measure("  fresh call, trivial", &plugin, "all", 20_000).await?;
            let plugin = Plugin::load(&engine, None, responder::responder().into(), LoadOptions::default()).await?;
            respond("  trivial responder", &plugin, 20_000).await?;
        }
        if let Some(wasm) = files.first() {
            let engine = Engine::new(&EngineOptions::default())?;
            // Made ones move on by 15 s each, so that rates have something to show.
            let summaries: Vec<Bytes> = match files.get(1) {
                Some(file) => vec![std::fs::read(file)?.into()],
                None => (0..60).map(|tick| made_summary(110, tick).into()).collect(),
            };
            println!("{wasm}, summary of {} KiB", summaries.first().map_or(0, Bytes::len) / 1024);
            let capabilities = Capabilities {
                kubelet: Some(Arc::new(Ready(summaries, AtomicUsize::new(0)))),
                ..Capabilities::default()
            };
            let bytes: Bytes = std::fs::read(wasm)?.into();
            let started = Instant::now();
            let options = LoadOptions {
                capabilities,
                grants: Grants::all(),
                ..LoadOptions::default()
            };
            let plugin = Plugin::load(&engine, None, bytes, options).await?;
            println!(
                "  load, not cached            {:>9.1} ms",
                started.elapsed().as_secs_f64() * 1e3
            );
            let name = plugin
                .manifest()
                .collectors
                .first()
                .map(|c| c.name.clone())
                .ok_or("it has no collector")?;
            let mut last = plugin.collect(&name, "node-1", &[], Duration::from_secs(5)).await?;
            for _ in 0..3 {
                last = plugin.collect(&name, "node-1", &last.state, Duration::from_secs(5)).await?;
            }
            let rows = last.rows.len();
            println!("  rows of one tick            {rows:>9}");
            measure("  tick", &plugin, &name, 1000).await?;
        }
        Ok(())
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// GETs of one object in the sandbox alone: no HTTP, no TLS, no permission. One after another, then as many as all cores do.
async fn respond(what: &str, plugin: &Plugin, calls: usize) -> Outcome<()> {
    let soon = Duration::from_secs(5);
    let request = Arc::new(Request {
        verb: "get".into(),
        resource: "buoys".into(),
        name: "north".into(),
        ..Request::default()
    });
    let mut took = Vec::with_capacity(calls);
    for turn in 0..calls + calls / 10 {
        let started = Instant::now();
        plugin.respond(request.clone(), Ask::Get, soon).await?;
        if turn >= calls / 10 {
            took.push(started.elapsed());
        }
    }
    print_percentiles(what, &mut took);
    for tasks in [1, cores()] {
        let started = Instant::now();
        let all: Vec<_> = (0..tasks)
            .map(|_| {
                let (plugin, request) = (plugin.clone(), request.clone());
                tokio::spawn(async move {
                    for _ in 0..calls {
                        plugin.respond(request.clone(), Ask::Get, soon).await?;
                    }
                    Outcome::Ok(())
                })
            })
            .collect();
        for task in all {
            task.await??;
        }
        print_rate(what, tasks, (tasks * calls) as f64 / started.elapsed().as_secs_f64());
    }
    Ok(())
}

fn print_percentiles(what: &str, took: &mut [Duration]) {
    took.sort_unstable();
    let at = |share: f64| {
        let found = took.get((took.len() as f64 * share) as usize);
        found.copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    println!("{what:<29} {:>9.1} µs p50 {:>9.1} µs p99", at(0.5), at(0.99));
}

fn print_rate(what: &str, threads: usize, rate: f64) {
    let plural = if threads == 1 { " " } else { "s" };
    println!("{what}, {threads} thread{plural:<10} {rate:>9.0} /s");
}

/// Single calls one after another, then as many as go on one thread and on all cores.
async fn measure(what: &str, plugin: &Plugin, collector: &str, calls: usize) -> Outcome<()> {
    let soon = Duration::from_secs(5);
    let mut state = Vec::new();
    let mut took = Vec::with_capacity(calls);
    for turn in 0..calls + calls / 10 {
        let started = Instant::now();
        let collected = plugin.collect(collector, "node-1", &state, soon).await?;
        // The first tenth warms the slots up.
        if turn >= calls / 10 {
            took.push(started.elapsed());
        }
        state = collected.state;
    }
    print_percentiles(what, &mut took);
    for threads in [1, cores()] {
        let started = Instant::now();
        let tasks: Vec<_> = (0..threads)
            .map(|_| {
                let (plugin, collector, state) = (plugin.clone(), collector.to_owned(), state.clone());
                tokio::spawn(async move {
                    for _ in 0..calls {
                        plugin.collect(&collector, "node-1", &state, soon).await?;
                    }
                    Outcome::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        print_rate(what, threads, (threads * calls) as f64 / started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// `/stats/summary` of a node with so many pods of two containers, as a kubelet writes it at its `tick`th time.
fn made_summary(pods: usize, tick: usize) -> String {
    let time = format!("2026-01-02T03:{:02}:{:02}Z", tick / 4, tick % 4 * 15);
    let usage = |seed: usize| {
        format!(
            r#""cpu":{{"time":"{time}","usageNanoCores":{},"usageCoreNanoSeconds":{},"psi":{{"full":{{"total":0,"avg10":0,"avg60":0,"avg300":0}},"some":{{"total":0,"avg10":0,"avg60":0,"avg300":0}}}}}},"memory":{{"time":"{time}","availableBytes":0,"usageBytes":{},"workingSetBytes":{},"rssBytes":{},"pageFaults":4711,"majorPageFaults":3}}"#,
            1_000_000 + seed * 7919,
            1_000_000_000_000 + seed * 1_000_003 + tick * 75_000_000,
            50_000_000 + seed * 4096,
            40_000_000 + seed * 4096,
            30_000_000 + seed * 4096
        )
    };
    let mut json = format!(
        r#"{{"node":{{"nodeName":"node-1","startTime":"2026-01-01T00:00:00Z",{}}},"pods":["#,
        usage(1)
    );
    for pod in 0..pods {
        let comma = if pod == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        _ = write!(
            json,
            r#"{comma}{{"podRef":{{"name":"web-{pod:05}-x7k2p","namespace":"team-{}","uid":"00000000-0000-4000-8000-{pod:012}"}},"startTime":"2026-01-01T00:00:00Z","containers":["#,
            pod % 7
        );
        for container in 0..2 {
            let comma = if container == 0 { "" } else { "," };
            _ = write!(
                json,
                r#"{comma}{{"name":"container-{container}","startTime":"2026-01-01T00:00:00Z",{},"rootfs":{{"time":"{time}","availableBytes":1000000000,"capacityBytes":2000000000,"usedBytes":4096,"inodesFree":100000,"inodes":200000,"inodesUsed":12}},"logs":{{"time":"{time}","availableBytes":1000000000,"capacityBytes":2000000000,"usedBytes":8192,"inodesFree":100000,"inodes":200000,"inodesUsed":2}}}}"#,
                usage(pod * 2 + container)
            );
        }
        _ = write!(json, r#"],{}}}"#, usage(pod));
    }
    json.push_str("]}");
    json
}
