//! Memory over many calls and many versions: flat, or something is kept that should have gone.
//!
//! `make soak`; not part of `make test`, for it takes minutes. Resident memory is taken at even distances, and what is judged is the
//! slope of the line through the samples of the second half: the first half is the allocator finding its size.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests are free")]

#[path = "sandbox/guests.rs"]
#[allow(dead_code, reason = "shared with the sandbox's tests, which use all of it")]
mod guests;

use std::time::{Duration, Instant};

use guests::Guest;
use outrigger_sandbox::{ArtifactCache, Engine, EngineOptions, LoadOptions, Origin, Plugin};

const SOON: Duration = Duration::from_secs(10);
/// Samples of one run.
const SAMPLES: usize = 40;
/// Bytes that the line may rise over its whole second half: a few pages of noise, and far less than one kept call or version each
/// would be.
const NOISE: f64 = 3e6;
/// Longest time of one run.
const LONGEST: Duration = Duration::from_secs(900);

/// Resident bytes of this process.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

/// Bytes for each step, by least squares over the second half.
fn slope(samples: &[f64]) -> f64 {
    let half = &samples[samples.len() / 2..];
    let n = half.len() as f64;
    let (x, y) = ((n - 1.0) / 2.0, half.iter().sum::<f64>() / n);
    let (mut above, mut below) = (0.0, 0.0);
    for (i, sample) in half.iter().enumerate() {
        above += (i as f64 - x) * (sample - y);
        below += (i as f64 - x) * (i as f64 - x);
    }
    above / below
}

fn judge(what: &str, samples: &[f64], each: usize, begun: Instant) {
    let slope = slope(samples);
    let rise = slope * (samples.len() / 2) as f64;
    println!(
        "{what}: {} in {:.0?}; resident {:.1} MB at first, {:.1} MB at last; {:.3} bytes for each in the second half",
        samples.len() * each,
        begun.elapsed(),
        samples[0] / 1e6,
        samples[samples.len() - 1] / 1e6,
        slope / each as f64
    );
    assert!(rise < NOISE, "{what}: memory rises by {rise:.0} bytes: {samples:.0?}");
}

fn engine() -> Engine {
    Engine::new(&EngineOptions::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn a_million_calls() {
    let row = ("ships", "", "kon-tiki", r#"{"spec":{"tonnage":15}}"#, &b""[..], r#"["15t"]"#);
    let bytes = Guest::returning(&[row]).bytes();
    let plugin = Plugin::load(&engine(), None, bytes.into(), LoadOptions::default())
        .await
        .unwrap();
    // Some of them trap, and leave their failures behind.
    let trap = Guest::collecting("(unreachable)").bytes();
    let trap = Plugin::load(&engine(), None, trap.into(), LoadOptions::default())
        .await
        .unwrap();
    let (each, begun) = (1_000_000 / SAMPLES, Instant::now());
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let tasks = [0, 1].map(|_| {
            let (plugin, trap) = (plugin.clone(), trap.clone());
            tokio::spawn(async move {
                for n in 0..each / 2 {
                    plugin.collect("all", "node-1", b"old", SOON).await.unwrap();
                    if n % 100 == 0 {
                        trap.collect("all", "node-1", b"old", SOON).await.unwrap_err();
                    }
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        samples.push(resident());
        assert!(
            begun.elapsed() < LONGEST,
            "too slow a machine for {SAMPLES} samples: {}",
            samples.len()
        );
    }
    assert!(plugin.counts().succeeded >= 990_000);
    judge("fresh calls", &samples, each, begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn a_thousand_versions() {
    let dir = tempfile::tempdir().unwrap();
    let cache = ArtifactCache::open(dir.path().join("compiled")).unwrap();
    let engine = engine();
    // Two versions by turns, as swaps to and fro; each loaded while the other is still there.
    let versions = [b"old", b"new"].map(|state: &[u8; 3]| {
        let state = String::from_utf8_lossy(state).into_owned();
        let guest = Guest::collecting("(call $ok (i32.const 0) (i32.const 0) (i32.const 8192) (i32.const 3))");
        guest.with(&format!("(data (i32.const 8192) \"{state}\")")).bytes()
    });
    let mut serves = None;
    let (each, begun) = (1000 / SAMPLES, Instant::now());
    let mut samples = Vec::new();
    for n in 0..SAMPLES * each {
        let bytes = versions[n % 2].clone().into();
        let plugin = Plugin::load(&engine, Some(&cache), bytes, LoadOptions::default())
            .await
            .unwrap();
        assert!(n < 2 || plugin.origin() == Origin::Cached);
        let found = plugin.collect("all", "node-1", b"", SOON).await.unwrap();
        assert_eq!(found.state, [b"old", b"new"][n % 2]);
        drop(serves.replace(plugin));
        if n % each == each - 1 {
            samples.push(resident());
        }
        assert!(begun.elapsed() < LONGEST, "too slow a machine: {n} versions");
    }
    judge("versions", &samples, each, begun);
}
