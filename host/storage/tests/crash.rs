//! Kills: a process writes to an embedded store and is ended by SIGKILL at some moment, over and over, on one and the same store.
//!
//! The process is this test itself, started again. Several writers make, change and remove objects; each prints what was acknowledged before
//! it writes again, so that whoever reads the pipe knows of every acknowledgement but the last few, which only makes the test weaker by
//! those. After each kill the store is opened: all that was acknowledged is there, or what the same writer was doing next; nothing is half
//! written; revisions go on; the past equals the objects.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use outrigger_storage::Key;
use outrigger_storage::store::embedded::Embedded;
use outrigger_storage::store::{Expected, Keep, ObjectKey, PageOf, Prefix, Store, Stored, Told, Write};

const WRITERS: usize = 4;
/// Where the child writes.
const FOLDER: &str = "OUTRIGGER_CRASH_FOLDER";
/// What the child writes with.
const SEED: &str = "OUTRIGGER_CRASH_SEED";

fn of() -> Prefix {
    Prefix::of("crash.test", "ships")
}

fn key(writer: usize, n: u64) -> ObjectKey {
    of().object(&Key::new(&format!("w{writer}"), &format!("s{n}")))
}

fn keep() -> Keep {
    // Small, so that trimming is part of every run.
    Keep {
        bytes: 200_000,
        ..Keep::default()
    }
}

/// A value says whose it is, and how long it must be: half of one is none.
fn value(writer: usize, count: u64) -> Bytes {
    let size = [10, 200, 1_500, 7_000][(count % 4) as usize];
    format!("{writer} {count} {}", "x".repeat(size)).into()
}

fn is_whole(stored: &Stored) -> bool {
    let text = std::str::from_utf8(&stored.value).unwrap();
    let mut words = text.split(' ');
    let (writer, count) = (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap());
    value(writer, count) == stored.value
}

/// The process that is killed. Does nothing when it is run as a test.
#[test]
fn writes_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Arc::new(Embedded::open(Path::new(&folder), keep()).unwrap());
        say("open");
        let writers = (0..WRITERS).map(|writer| tokio::spawn(writes(store.clone(), writer, seed)));
        futures::future::join_all(writers).await;
    });
}

/// A line to who reads the pipe, in one piece. Nothing is left to be flushed.
fn say(line: &str) {
    let line = format!("\n@{line}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    std::io::stdout().lock().flush().unwrap();
}

async fn writes(store: Arc<Embedded>, writer: usize, seed: u64) {
    for step in 0_u64.. {
        let count = seed * 1_000_000 + step;
        let key = key(writer, (count * 7 + step / 3) % 12);
        let there = store.get(&key).await.unwrap();
        let write = match there {
            Some(there) if step % 5 == 4 => Write {
                key,
                expected: Expected::At(there.revision),
                value: None,
            },
            there => Write {
                key,
                expected: there.map_or(Expected::Absent, |there| Expected::At(there.revision)),
                value: Some(value(writer, count)),
            },
        };
        let removed = write.value.is_none();
        let name = write.key.clone();
        say(&format!("try {writer} {name} {}", if removed { 0 } else { count }));
        let revision = store.write(write).await.unwrap();
        say(&format!("ack {writer} {name} {} {revision}", if removed { 0 } else { count }));
    }
}

/// What is known of a key: the count of its value, 0 if it is gone.
#[derive(Debug, Default, Clone)]
struct Known {
    count: u64,
    /// What was begun since, and may have happened before a kill.
    tried: Vec<u64>,
    revision: u64,
}

/// Lets the child write for a while and kills it. How many acknowledgements there were.
fn kill_once(folder: &Path, known: &mut BTreeMap<String, Known>, seed: u64, after: Duration) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || loop {
        match lines.next() {
            Some(Ok(line)) if line.starts_with('@') => return Some(line),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    };
    assert_eq!(line().as_deref(), Some("@open"), "the store opens");
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut acknowledged = 0;
    while let Some(line) = line() {
        let words: Vec<&str> = line[1..].split(' ').collect();
        match words[..] {
            ["try", _, name, count] => known.entry(name.to_owned()).or_default().tried.extend(count.parse::<u64>()),
            ["ack", _, name, count, revision] => {
                let known = known.entry(name.to_owned()).or_default();
                *known = Known {
                    count: count.parse().unwrap(),
                    tried: Vec::new(),
                    revision: revision.parse().unwrap(),
                };
                acknowledged += 1;
            }
            // The last line may be cut by the kill; so it was not said.
            _ => {}
        }
    }
    killer.join().unwrap();
    acknowledged
}

async fn check(folder: &Path, known: &mut BTreeMap<String, Known>, before: u64, seed: u64) -> u64 {
    let store = Embedded::open(folder, keep()).unwrap_or_else(|e| panic!("after kill {seed}: {e}"));
    let page = store.list(&of(), &PageOf::default()).await.unwrap();
    assert!(page.revision >= before, "revisions never go back");
    assert!(page.items.iter().all(is_whole), "nothing is half written");
    let there: BTreeMap<&str, &Stored> = page.items.iter().map(|i| (i.key.as_str(), i)).collect();
    for (name, known) in known.iter_mut() {
        assert!(page.revision >= known.revision, "{name}: {known:?} at {}", page.revision);
        let stored = there.get(name.as_str());
        let count = stored.map_or(0, |s| {
            std::str::from_utf8(&s.value)
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .parse()
                .unwrap()
        });
        let as_acknowledged = count == known.count && stored.is_none_or(|s| s.revision == known.revision);
        assert!(
            as_acknowledged || known.tried.contains(&count),
            "after kill {seed}: {name} has {count} ({stored:?}), known is {known:?}"
        );
        *known = Known {
            count,
            tried: Vec::new(),
            revision: stored.map_or(known.revision, |s| s.revision),
        };
    }
    assert!(
        there.keys().all(|name| known.contains_key(*name)),
        "nothing came from nowhere"
    );
    // The past leads to the present.
    let oldest = store.oldest().unwrap();
    let then = PageOf {
        at: Some(oldest),
        ..PageOf::default()
    };
    let then = store.list(&of(), &then).await.unwrap().items;
    let mut state: BTreeMap<ObjectKey, Stored> = then.into_iter().map(|i| (i.key.clone(), i)).collect();
    let mut watch = store.watch(&of(), oldest).await.unwrap();
    let mut at = oldest;
    while at < page.revision {
        match watch.next().await.unwrap().unwrap() {
            Told::Changes(changes) => {
                for change in changes {
                    at += 1;
                    assert_eq!(change.revision, at, "every revision is one change");
                    assert_eq!(state.get(&change.key), change.before.as_ref());
                    match change.after {
                        Some(after) => state.insert(change.key, after),
                        None => state.remove(&change.key),
                    };
                }
            }
            Told::Progress(to) => at = to,
        }
    }
    assert!(state.into_values().eq(page.items), "the past equals the objects");
    page.revision
}

fn kills(times: u64) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut known, mut revision, mut acknowledged) = (BTreeMap::new(), 0, 0);
    for seed in 1..=times {
        let after = Duration::from_micros(500 + seed.wrapping_mul(7_919) % 60_000);
        acknowledged += kill_once(dir.path(), &mut known, seed, after);
        // Two kills in a row, now and then: the second meets a file that the first has left.
        if seed % 5 != 0 {
            revision = runtime.block_on(check(dir.path(), &mut known, revision, seed));
        }
    }
    runtime.block_on(check(dir.path(), &mut known, revision, times));
    println!("{times} kills, {acknowledged} acknowledged writes, revision {revision}");
    assert!(acknowledged as u64 > times, "there was something to lose");
}

#[test]
fn a_hundred_kills_lose_nothing() {
    kills(100);
}

#[test]
#[ignore = "a soak: as above, ten times as often"]
fn a_thousand_kills_lose_nothing() {
    kills(1_000);
}
