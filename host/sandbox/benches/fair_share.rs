//! What a plugin notices of a neighbour that wants ten times its share.
//!
//! ```text
//! cargo bench -p outrigger-sandbox --bench fair_share
//! ```
//! A small plugin is called at a steady rate, alone and then beside one that is offered ten times the calls that it may have in flight,
//! each of which computes. Latencies are from when a call was due, so waiting for a thread counts. One run alternates between both,
//! several times, since a machine's mood changes; trust the ratio.

#[path = "../tests/sandbox/guests.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared with the tests, which use all of it"
)]
mod guests;

use std::time::{Duration, Instant};

use guests::Guest;
use outrigger_sandbox::{CallError, Engine, EngineOptions, LoadOptions, Plugin};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One measurement.
const WHILE: Duration = Duration::from_secs(4);
/// Alternations.
const ROUNDS: usize = 3;
/// The neighbour's rate.
const EVERY: Duration = Duration::from_millis(2);

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cores = std::thread::available_parallelism()?;
    runtime.block_on(async {
        let engine = Engine::new(&EngineOptions::default())?;
        let load = async |guest: Guest, name: &str| {
            let manifest = guest.manifest.replacen("\"hostile\"", &format!("{name:?}"), 1);
            let bytes = guest.manifest(&manifest).bytes();
            Plugin::load(&engine, None, bytes.into(), LoadOptions::default()).await
        };
        let small = load(Guest::default(), "small").await?;
        // About 20 ms of computing for each call.
        let burn = "(local $n i32) (loop $again (br_if $again (i32.ne (i32.const 30000000) (local.tee $n (i32.add (local.get $n) (i32.const 1))))))";
        let burning = Guest::collecting(&format!("{burn} {}", Guest::default().collect));
        let greedy = load(burning, "greedy").await?;
        let offered = greedy.limits().calls_in_flight * 10;
        println!("{cores} cores; a small call every {EVERY:?}; the greedy plugin is offered {offered} calls at once");
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let mut turned_away = 0;
        for _ in 0..ROUNDS {
            alone.extend(steady(&small).await?);
            let mut flood = JoinSet::new();
            for _ in 0..offered {
                let greedy = greedy.clone();
                flood.spawn(async move {
                    loop {
                        let ended = greedy.collect("all", "n", b"", Duration::from_secs(10)).await;
                        if matches!(ended, Err(CallError::Busy { .. })) {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            beside.extend(steady(&small).await?);
            turned_away += greedy.counts().waiting;
            flood.shutdown().await;
        }
        let counts = greedy.counts();
        println!(
            "  greedy: {} calls done, {:.1} s of CPU, {turned_away} waiting at the ends of rounds",
            counts.succeeded,
            counts.cpu.as_secs_f64()
        );
        for (what, took) in [("alone", &mut alone), ("beside it", &mut beside)] {
            took.sort_unstable();
            println!(
                "  small, {what:<10} {:>9.1} µs p50 {:>9.1} µs p99",
                at(took, 0.5),
                at(took, 0.99)
            );
        }
        println!(
            "  ratio             {:>9.2}    p50 {:>9.2}    p99",
            at(&beside, 0.5) / at(&alone, 0.5),
            at(&beside, 0.99) / at(&alone, 0.99)
        );
        Ok(())
    })
}

/// Calls at a steady rate from a task of the runtime, each timed from when it was due.
async fn steady(plugin: &Plugin) -> Outcome<Vec<Duration>> {
    let plugin = plugin.clone();
    let task = tokio::spawn(async move {
        let begun = Instant::now();
        let mut took = Vec::new();
        let mut calls = JoinSet::new();
        let mut due = begun;
        while begun.elapsed() < WHILE {
            due += EVERY;
            tokio::time::sleep_until(due.into()).await;
            // The timer's own coarseness (1 ms) is the same for both; what comes after it is not.
            let (plugin, from) = (plugin.clone(), Instant::now());
            calls.spawn(async move {
                let ended = plugin.collect("all", "n", b"", Duration::from_secs(5)).await;
                ended.map(|_| from.elapsed())
            });
            while let Some(ended) = calls.try_join_next() {
                took.push(ended??);
            }
        }
        while let Some(ended) = calls.join_next().await {
            took.push(ended??);
        }
        Outcome::Ok(took)
    });
    task.await?
}

fn at(sorted: &[Duration], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index).copied().unwrap_or_default().as_secs_f64() * 1e6
}
