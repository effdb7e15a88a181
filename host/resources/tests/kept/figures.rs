//! What reads cost, without HTTP. Run with `--ignored --nocapture` in an optimised build; prints, and asserts nothing about time.

use std::time::{Duration, Instant};

use outrigger_storage::Key;
use outrigger_storage::store::Expected;

use crate::world::{Harbor, ship};

const OBJECTS: u64 = 10_000;

/// Bytes that this process has in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Time on a CPU of all threads so far: what else the machine does is not in it.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Ships of 543 bytes, as `baselines.md` has Flunders.
async fn fill(harbor: &Harbor) -> usize {
    let mut bytes = 0;
    for n in 0..OBJECTS {
        let mut one = ship("sea", &format!("ship-{n:06}"), n);
        let size = outrigger_api::kept::write(&one).len();
        one.fields.extend_from_slice(
            format!(
                ",\"status\":{{\"text\":\"{}\"}}",
                "x".repeat(543usize.saturating_sub(size + 24))
            )
            .as_bytes(),
        );
        bytes += outrigger_api::kept::write(&one).len();
        let key = Key::new("sea", one.name());
        harbor.kept.put(&key, Expected::Absent, &one).await.unwrap();
    }
    harbor.kept.fresh(crate::world::SOON).await.unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    let harbor = Harbor::new().await;
    harbor.make("sea", "warm", 1).await;
    let before = resident();
    let json = fill(&harbor).await;
    let more = resident() - before;
    println!(
        "memory of store, image and past: {} bytes per object of {} bytes",
        more / OBJECTS as usize,
        json / OBJECTS as usize
    );
    let revision = harbor.kept.table().snapshot().revision();
    harbor.kept.store().compact(revision).await.unwrap();
    let (before, begun) = (resident(), Instant::now());
    let image = std::sync::Arc::new(outrigger_storage::Kept::new(
        std::sync::Arc::clone(harbor.kept.store()),
        harbor.kept.prefix().clone(),
        outrigger_storage::store::Keep::default(),
    ));
    let following = std::sync::Arc::clone(&image);
    let task = tokio::spawn(async move { following.follow(tokio_util::sync::CancellationToken::new()).await });
    image.filled().await;
    println!(
        "an image alone, over the bytes of its objects: {} bytes per object, made in {:?}",
        (resident() - before) / OBJECTS as usize,
        begun.elapsed()
    );
    task.abort();
    for (name, accept) in [
        ("JSON", "application/json"),
        ("Table", "application/json;as=Table;g=meta.k8s.io;v=v1"),
        (
            "PartialObjectMetadataList",
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        ),
        (
            "the same as protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        ),
    ] {
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..15 {
            let begun = cpu();
            bytes = harbor.pieces("v1/ships", accept).await.iter().map(|piece| piece.len()).sum();
            took.push(cpu() - begun);
        }
        let first = took[0];
        took.sort();
        println!(
            "list as {name}: CPU first {first:?}, median {:?}, {bytes} bytes",
            took[took.len() / 2]
        );
    }
    let begun = cpu();
    for n in 0..10_000 {
        harbor
            .pieces(&format!("v1/namespaces/sea/ships/ship-{n:06}"), "application/json")
            .await;
    }
    println!("get: CPU {:?}", (cpu() - begun) / 10_000);
    let mut watches = Vec::new();
    let (before, begun) = (resident(), Instant::now());
    let now = harbor.kept.table().snapshot().revision();
    for _ in 0..10_000 {
        watches.push(harbor.watch(&format!("v1/ships?watch=1&resourceVersion={now}")).await);
    }
    println!(
        "an idle watch: {} bytes, opened in {:?}",
        (resident() - before) / 10_000,
        begun.elapsed() / 10_000
    );
    let tasks: Vec<_> = watches
        .into_iter()
        .take(1_000)
        .map(|mut watch| tokio::spawn(async move { watch.piece().await.unwrap().len() }))
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let (begun, used) = (Instant::now(), cpu());
    harbor.make("sea", "new", 1).await;
    for task in tasks {
        task.await.unwrap();
    }
    println!(
        "a create seen by 1,000 watchers, without HTTP: {:?}, CPU {:?}",
        begun.elapsed(),
        cpu() - used
    );
    let (before, begun, used) = (resident(), Instant::now(), cpu());
    let mut tasks = Vec::new();
    for _ in 0..1_000 {
        let path = "v1/ships?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut watch = harbor.watch(path).await;
        tasks.push(tokio::spawn(async move {
            let mut bytes = 0;
            loop {
                let piece = watch.piece().await.unwrap();
                bytes += piece.len();
                if piece.len() < 1_000 && piece.windows(8).any(|w| w == b"BOOKMARK") {
                    return (watch, bytes);
                }
            }
        }));
    }
    let mut bytes = 0;
    let mut held = Vec::new();
    for task in tasks {
        let (watch, read) = task.await.unwrap();
        bytes += read;
        held.push(watch);
    }
    println!(
        "1,000 watches with initial events, without HTTP: {:?}, CPU {:?}, {} MB told, {} MB more memory",
        begun.elapsed(),
        cpu() - used,
        bytes >> 20,
        resident().saturating_sub(before) >> 20
    );
}
