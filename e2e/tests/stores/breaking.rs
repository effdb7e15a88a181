//! One etcd that goes away and comes back, and a network that breaks, under writers and a watch.

use std::time::Duration;

use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_storage::store::{Expected, Store as _, StoreError};

use crate::gate::Gate;
use crate::house::{Writer, asides, changes, complete, create_surely, hurried, open, options, put, ship, ships};

const WRITERS: usize = 4;

/// Killed, stopped and started again under writers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_restarted_loses_nothing() {
    let kind = Kind {
        durable: true,
        ..Kind::default()
    };
    let etcd = Etcd::start("restarted", &kind).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let from = store.revision(&ships()).await.unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|n| Writer::start(store.clone(), format!("w{n}"))).collect();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if round % 3 == 2 {
            etcd.stop().unwrap();
        } else {
            etcd.kill();
        }
        tokio::time::sleep(Duration::from_millis(100 * round)).await;
        etcd.again().unwrap();
        // It has come back when somebody was acknowledged.
        create_surely(&store, &ship(&format!("r{round}"))).await;
    }
    let mut written = vec![asides(6)];
    for writer in writers {
        written.push(writer.stop().await);
    }
    let (seen, unknown, refused) = complete(&store, &mut watch, from, &written).await;
    println!("{seen} changes; {unknown} of unknown outcome, {refused} refused");
}

/// Requests have a deadline while it says nothing, and all goes on afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_etcd_is_survived() {
    let etcd = Etcd::start("frozen", &Kind::default()).unwrap();
    let mut hasty = options(&[etcd.url()]);
    hasty.timeouts = hurried();
    let store = open(hasty).await;
    let from = store.revision(&ships()).await.unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|n| Writer::start(store.clone(), format!("w{n}"))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    etcd.freeze(true).unwrap();
    let error = store.get(&ship("w0")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(_)), "{error}");
    println!("{error}");
    let error = store.health().await.unwrap_err();
    println!("{error}");
    let unknown = put(&store, &ship("z"), Expected::Absent, "1").await.unwrap_err();
    println!("{unknown}");
    etcd.freeze(false).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.stop().await);
    }
    // "z" may have come through.
    written.push(asides(1));
    let (seen, unknown, refused) = complete(&store, &mut watch, from, &written).await;
    assert!(unknown > 1, "writes were under way");
    println!("{seen} changes; {unknown} of unknown outcome, {refused} refused");
}

/// A watch goes on where it was, however often it is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_cut_misses_nothing() {
    let etcd = Etcd::start("cut", &Kind::default()).unwrap();
    let gate = Gate::to(etcd.address()).await;
    let direct = open(options(&[etcd.url()])).await;
    let store = open(options(&[gate.url()])).await;
    let from = store.revision(&ships()).await.unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|n| Writer::start(direct.clone(), format!("w{n}"))).collect();
    for round in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        gate.set(false);
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        gate.set(true);
        changes(&mut watch).await.unwrap();
        // The rest is left to the end: from here it is a watch of its own.
        watch = store.watch(&ships(), from).await.unwrap();
    }
    // This one is cut without being begun anew.
    for _ in 0..10 {
        gate.set(false);
        tokio::time::sleep(Duration::from_millis(30)).await;
        gate.set(true);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.stop().await);
    }
    let (seen, unknown, refused) = complete(&store, &mut watch, from, &written).await;
    assert_eq!((unknown, refused), (0, 0), "the writers' way was never cut");
    println!("{seen} changes");
}

/// What was compacted while a watch was away it cannot go on from, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_comes_back_too_late_says_so() {
    let etcd = Etcd::start("late", &Kind::default()).unwrap();
    let gate = Gate::to(etcd.address()).await;
    let direct = open(options(&[etcd.url()])).await;
    let store = open(options(&[gate.url()])).await;
    let mut last = put(&direct, &ship("a"), Expected::Absent, "0").await.unwrap();
    let mut watch = store.watch(&ships(), last).await.unwrap();
    for value in ["1", "2"] {
        last = put(&direct, &ship("a"), Expected::At(last), value).await.unwrap();
        assert_eq!(changes(&mut watch).await.unwrap()[0].revision, last);
    }
    // Away, but nothing that it has not told is compacted.
    gate.set(false);
    direct.compact(last).await.unwrap();
    last = put(&direct, &ship("a"), Expected::At(last), "3").await.unwrap();
    gate.set(true);
    let told = changes(&mut watch).await.unwrap();
    assert_eq!(told.iter().map(|c| c.revision).collect::<Vec<_>>(), [last]);
    assert_eq!(told[0].before.as_ref().unwrap().value, "2");
    // Away, and it is.
    gate.set(false);
    let known = last;
    for value in ["4", "5"] {
        last = put(&direct, &ship("a"), Expected::At(last), value).await.unwrap();
    }
    direct.compact(last).await.unwrap();
    gate.set(true);
    let error = changes(&mut watch).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Compacted { asked, oldest } if asked == known && oldest > known),
        "{error}"
    );
}

/// An older state gives out revisions a second time. Who has seen the first must not believe the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_put_back_is_refused() {
    let etcd = Etcd::start("put-back", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    put(&store, &ship("a"), Expected::Absent, "1").await.unwrap();
    etcd.stop().unwrap();
    let (data, copy) = (etcd.data(), etcd.data().with_extension("copy"));
    let copied = std::process::Command::new("cp").arg("-a").args([&data, &copy]).status();
    assert!(copied.unwrap().success());
    etcd.again().unwrap();
    for n in 0..20 {
        create_surely(&store, &ship(&format!("b{n}"))).await;
    }
    etcd.stop().unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    etcd.again().unwrap();
    let error = store.get(&ship("a")).await.unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("put back to an older state"), "{error}");
    let error = store.revision(&ships()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    // A new one begins with what is there.
    let anew = open(options(&[etcd.url()])).await;
    assert!(anew.get(&ship("a")).await.unwrap().is_some());
}
