//! The embedded store, as every store, and broken on purpose.

mod damage;
mod faults;
mod medium;
mod torn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use self::medium::Mem;
use super::super::{Changed, Expected, Told};
use super::*;
use crate::Key;

async fn fresh() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    (Arc::new(store), dir)
}

crate::store_conforms!(embedded, fresh());

/// What an image of a store must equal at each revision.
type Model = Vec<BTreeMap<ObjectKey, Stored>>;

fn of() -> Prefix {
    Prefix::of("g", "ships")
}

fn ship(name: &str) -> ObjectKey {
    of().object(&Key::new("sea", name))
}

fn write(name: &str, expected: Expected, value: Option<&str>) -> Write {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let key = ship(name);
    Write { key, expected, value }
}

async fn put(store: &Embedded, name: &str, value: &str) -> Result<u64, StoreError> {
    let there = store.get(&ship(name)).await?;
    let expected = there.map_or(Expected::Absent, |there| Expected::At(there.revision));
    store.write(write(name, expected, Some(value))).await
}

async fn remove(store: &Embedded, name: &str) -> Result<u64, StoreError> {
    let there = store.get(&ship(name)).await?.map_or(0, |there| there.revision);
    store.write(write(name, Expected::At(there), None)).await
}

fn over(mem: &Arc<Mem>) -> Result<Embedded, StoreError> {
    Embedded::over(mem.clone(), PathBuf::from("objects.redb"), Keep::default(), None)
}

/// A new store in memory.
fn made() -> (Arc<Mem>, Embedded) {
    let mem = Arc::new(Mem::default());
    let disk = Disk::new(mem.clone());
    disk.create(1).unwrap();
    Rows::create(disk, 1, &[]).unwrap();
    let store = over(&mem).unwrap();
    (mem, store)
}

async fn changes(store: &Embedded, after: u64) -> Vec<Changed> {
    let until = store.revision(&of()).await.unwrap();
    let mut watch = store.watch(&of(), after).await.unwrap();
    let mut all: Vec<Changed> = Vec::new();
    while all.last().map_or(after, |last| last.revision) < until {
        match tokio::time::timeout(Duration::from_secs(30), watch.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Told::Changes(some) => all.extend(some),
            Told::Progress(to) if to >= until => break,
            Told::Progress(_) => {}
        }
    }
    all
}

/// Every moment of a store, from its first revision on, by a replay of its changes.
async fn model(store: &Embedded) -> Model {
    let mut now = BTreeMap::new();
    let mut all = vec![BTreeMap::new(), BTreeMap::new()];
    for change in changes(store, 1).await {
        assert_eq!(change.revision, all.len() as u64);
        match change.after {
            Some(after) => now.insert(change.key, after),
            None => now.remove(&change.key),
        };
        all.push(now.clone());
    }
    all
}

/// That a store is as the model at its revision, with its past. Its revision.
fn is_of(store: &Embedded, model: &Model) -> Result<u64, String> {
    let moment = store.sequence.now();
    let revision = moment.revision;
    let want = model.get(revision as usize).ok_or(format!("revision {revision} never was"))?;
    if !moment.objects().eq(want.values()) {
        return Err(format!("other objects at revision {revision}"));
    }
    for at in [moment.oldest, (moment.oldest + revision) / 2, revision] {
        let at_of = PageOf {
            at: Some(at),
            ..PageOf::default()
        };
        let page = store.sequence.list(&of(), &at_of).map_err(|e| e.to_string())?;
        if !page.items.iter().eq(model[at as usize].values()) {
            return Err(format!("other objects in the past {at} of {revision}"));
        }
    }
    Ok(revision)
}

/// Some life: objects made, changed, removed, of several sizes, one after the other.
async fn live(store: &Embedded, rounds: usize) {
    for round in 0..rounds {
        for n in 0..10 {
            let name = format!("s{n}");
            let size = [20, 300, 2_000, 9_000][(round + n) % 4];
            if (round + n) % 7 == 3 && store.get(&ship(&name)).await.unwrap().is_some() {
                remove(store, &name).await.unwrap();
            } else {
                let value = format!("{{\"round\":{round},\"n\":{n},\"x\":\"{}\"}}", "y".repeat(size));
                put(store, &name, &value).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (before, revision, all) = {
        let store = Embedded::open(dir.path(), Keep::default()).unwrap();
        live(&store, 12).await;
        store.compact(20).await.unwrap();
        let before = store.list(&of(), &PageOf::default()).await.unwrap();
        (before, store.revision(&of()).await.unwrap(), changes(&store, 20).await)
    };
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    assert_eq!(store.list(&of(), &PageOf::default()).await.unwrap(), before);
    assert_eq!(store.oldest(), Some(20));
    assert_eq!(store.revision(&of()).await.unwrap(), revision);
    assert_eq!(changes(&store, 20).await, all, "a watch resumes");
    assert!(matches!(
        store.watch(&of(), 19).await,
        Err(StoreError::Compacted { asked: 19, oldest: 20 })
    ));
    assert_eq!(put(&store, "new", "1").await.unwrap(), before.revision + 1);
}

#[tokio::test]
async fn a_store_has_one_owner_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    let store = Embedded::open(&folder, Keep::default()).unwrap();
    let error = Embedded::open(&folder, Keep::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&folder), mode(&folder.join(FILE)), mode(&folder.join(LOCK))),
        (0o700, 0o600, 0o600)
    );
    store.close();
    assert!(matches!(put(&store, "a", "1").await, Err(StoreError::Closed)));
    Embedded::open(&folder, Keep::default()).unwrap();
}

/// A crash while it is made leaves something under another name, which is no store and in nobody's way.
#[tokio::test]
async fn a_store_that_was_not_made_completely_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(NEW), b"outrigger store\n and then the power went").unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    put(&store, "a", "1").await.unwrap();
    assert!(!dir.path().join(NEW).exists());
}

/// Many writers share one wait for the disk, and nobody waits for more than one.
#[tokio::test]
async fn a_transaction_waits_for_the_disk_once() {
    let (mem, store) = made();
    put(&store, "a", "0").await.unwrap();
    *mem.log.lock().unwrap() = Some(Vec::new());
    let syncs = || {
        let mut log = mem.log.lock().unwrap();
        let log = std::mem::take(log.as_mut().unwrap());
        log.iter().filter(|op| matches!(op, medium::Op::Sync)).count()
    };
    for n in 0..20 {
        put(&store, "a", &n.to_string()).await.unwrap();
        assert_eq!(syncs(), 1);
    }
    let names: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    futures::future::join_all(names.iter().map(|name| put(&store, name, "1"))).await;
    let shared = syncs();
    assert!(shared <= 100, "{shared} waits for 200 writes that came together");
}

/// Updates use again what earlier ones have freed.
#[tokio::test]
async fn the_file_does_not_grow_under_updates() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep {
        bytes: 100_000,
        ..Keep::default()
    };
    let store = Embedded::open(dir.path(), keep).unwrap();
    let length = || std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    let mut lengths = Vec::new();
    for _ in 0..6 {
        let writes = (0..10).map(|n| {
            let store = &store;
            async move {
                for round in 0..60 {
                    put(store, &format!("s{n}"), &format!("{round:03000}")).await.unwrap();
                }
            }
        });
        futures::future::join_all(writes).await;
        lengths.push(length());
    }
    assert_eq!(lengths[1], lengths[5], "{lengths:?}");
    assert!(lengths[5] < 8 << 20, "{lengths:?}: 1.8 MB a round were written");
}

/// What a large time has left is given back at the next start.
#[tokio::test]
async fn a_file_that_is_mostly_free_is_made_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let length = || std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    let large = {
        let store = Embedded::open(dir.path(), Keep::default()).unwrap();
        let big = "x".repeat(500_000);
        for n in 0..40 {
            put(&store, &format!("s{n}"), &big).await.unwrap();
        }
        for n in 1..40 {
            remove(&store, &format!("s{n}")).await.unwrap();
        }
        store.compact(store.revision(&of()).await.unwrap()).await.unwrap();
        length()
    };
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let page = store.list(&of(), &PageOf::default()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    put(&store, "a", "1").await.unwrap();
    drop(store);
    assert!(length() < large / 4, "{large} → {}", length());
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    assert_eq!(store.list(&of(), &PageOf::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn a_restored_store_goes_on_above_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let objects: Vec<_> = (2..5)
        .map(|revision| Stored {
            key: ship(&format!("s{revision}")),
            value: Bytes::from_static(b"{}"),
            revision,
        })
        .collect();
    let error = Embedded::restore(dir.path(), 3, &objects).unwrap_err();
    assert!(matches!(error, StoreError::Future { asked: 4, current: 3 }), "{error}");
    Embedded::restore(dir.path(), 1_000, &objects).unwrap();
    let error = Embedded::restore(dir.path(), 1_000, &objects).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "never over another store: {error}");
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let page = store.list(&of(), &PageOf::default()).await.unwrap();
    assert_eq!((page.items, page.revision), (objects, 1_000));
    assert!(matches!(store.watch(&of(), 999).await, Err(StoreError::Compacted { .. })));
    assert_eq!(put(&store, "a", "1").await.unwrap(), 1_001);
}

/// One durable write, alone and beside others. Prints; asserts nothing about time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test -p outrigger-storage --lib durable_writes -- --ignored --nocapture"]
async fn durable_writes() {
    let dir = tempfile::tempdir_in(std::env::var("OUTRIGGER_BENCH_DIR").unwrap_or(".".to_owned())).unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Keep::default()).unwrap());
    let value = "x".repeat(900);
    // One after the other with the least that a disk can do, so that whatever else the machine does falls on both.
    let mut plain = std::fs::File::create(dir.path().join("plain")).unwrap();
    let (mut limit, mut ours) = (Vec::new(), Vec::new());
    for n in 0..2_000 {
        let began = std::time::Instant::now();
        std::io::Write::write_all(&mut plain, value.as_bytes()).unwrap();
        plain.sync_data().unwrap();
        limit.push(began.elapsed());
        let began = std::time::Instant::now();
        let create = write(&format!("alone-{n}"), Expected::Absent, Some(&value));
        store.write(create).await.unwrap();
        ours.push(began.elapsed());
    }
    for (what, mut took) in [("append and fdatasync", limit), ("store", ours)] {
        took.sort_unstable();
        println!(
            "{what}, by turns: p50 {:?}, p99 {:?}",
            took[took.len() / 2],
            took[took.len() * 99 / 100]
        );
    }
    for writers in [1_usize, 8, 64] {
        let each = 4_000 / writers.min(8);
        let began = std::time::Instant::now();
        let tasks = (0..writers).map(|w| {
            let (store, value) = (store.clone(), value.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                for n in 0..each {
                    let began = std::time::Instant::now();
                    let create = write(&format!("b{writers}-{w}-{n}"), Expected::Absent, Some(&value));
                    store.write(create).await.unwrap();
                    took.push(began.elapsed());
                }
                took
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut took: Vec<Duration> = futures::future::join_all(tasks)
            .await
            .into_iter()
            .flat_map(Result::unwrap)
            .collect();
        took.sort_unstable();
        let rate = took.len() as f64 / began.elapsed().as_secs_f64();
        let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("{writers} writers: p50 {p50:?}, p99 {p99:?}, {rate:.0} writes/s");
    }
    println!("file: {} bytes", std::fs::metadata(dir.path().join(FILE)).unwrap().len());
    let began = std::time::Instant::now();
    drop(Arc::into_inner(store));
    let closed = began.elapsed();
    let began = std::time::Instant::now();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    let objects = store.list(&of(), &PageOf::default()).await.unwrap().items.len();
    println!("closed in {closed:?}, opened with {objects} objects in {:?}", began.elapsed());
}
