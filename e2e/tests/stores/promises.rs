//! What every store promises, and what is large.

use futures::StreamExt as _;
use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_storage::Key;
use outrigger_storage::store::conformance::{BEHAVIOURS, Subject};
use outrigger_storage::store::{Expected, PageOf, Prefix, Store as _, StoreError, Told, Write};

use crate::house::{DEADLINE, list, open, options, put, ship, ships, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_behaves_as_every_store() {
    let etcd = Etcd::start("promises", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    for behaviour in BEHAVIOURS {
        println!("{}", behaviour.name);
        (behaviour.run)(Subject::new(store.clone())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_pasts_larger_than_an_answer_come_whole() {
    let etcd = Etcd::start("large", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let from = store.revision(&ships()).await.unwrap();
    let text = "x".repeat(16 << 10);
    // 1,500 values of 16 KiB: etcd cuts a response at 1.5 MiB.
    let writes = futures::stream::iter(0..1500).map(|n| {
        let (store, text) = (store.clone(), &text);
        async move {
            put(&store, &ship(&format!("s{n:04}")), Expected::Absent, &format!("{n}{text}"))
                .await
                .unwrap()
        }
    });
    let mut revisions: Vec<u64> = writes.buffer_unordered(16).collect().await;
    // And some at etcd's limit, each alone in its response.
    let huge = "y".repeat((3 << 19) - 1024);
    for n in 0..4 {
        revisions.push(put(&store, &ship(&format!("t{n}")), Expected::Absent, &huge).await.unwrap());
    }
    revisions.sort_unstable();
    let until = *revisions.last().unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let all = told(&mut watch, from, until).await.unwrap();
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), revisions);
    let items = list(&store).await;
    assert_eq!(items.len(), 1504);
    assert!(items.is_sorted_by(|a, b| a.key < b.key));
    let page = PageOf {
        limit: 1003,
        ..PageOf::default()
    };
    let page = store.list(&ships(), &page).await.unwrap();
    assert!(page.more && page.items == items[..1003]);
}

/// Others write all the time: a watch of what nobody writes comes to the revision all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_watch_comes_to_what_others_have_written() {
    let etcd = Etcd::start("idle", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let idle = Prefix::of("sea.example.com", "idle");
    let mut watch = store.watch(&idle, store.revision(&idle).await.unwrap()).await.unwrap();
    for n in 0..20 {
        put(&store, &ship(&format!("s{n}")), Expected::Absent, "1").await.unwrap();
        let until = store.revision(&idle).await.unwrap();
        loop {
            match tokio::time::timeout(DEADLINE, watch.next()).await.unwrap().unwrap().unwrap() {
                Told::Progress(at) if at >= until => break,
                Told::Progress(_) => {}
                Told::Changes(changes) => panic!("{changes:?}"),
            }
        }
    }
}

/// Reading goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_says_so() {
    let kind = Kind {
        flags: &["--quota-backend-bytes=16777216"],
        ..Kind::default()
    };
    let etcd = Etcd::start("full", &kind).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let text = "z".repeat(1 << 20);
    let mut kept = 0;
    let error = loop {
        match put(&store, &ship(&format!("s{kept:03}")), Expected::Absent, &text).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000);
    };
    println!("{error}");
    assert!(
        matches!(&error, StoreError::Full(why) if why.contains("database space exceeded")),
        "{error}"
    );
    assert_eq!(list(&store).await.len(), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_keys_under_the_prefix_are_no_objects() {
    let etcd = Etcd::start("foreign", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    // Keys of a host whose prefix lies below ours: deeper than any object.
    let mut below = options(&[etcd.url()]);
    below.prefix = "/registry/outrigger/sea.example.com/ships".into();
    let below = open(below).await;
    let from = store.revision(&ships()).await.unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let mut mine = Vec::new();
    for n in 0..3 {
        let foreign = Prefix::of("a", "b").object(&Key::new("c", &format!("d{n}")));
        put(&below, &foreign, Expected::Absent, "foreign").await.unwrap();
        mine.push(put(&store, &ship(&format!("s{n}")), Expected::Absent, "mine").await.unwrap());
    }
    let all = told(&mut watch, from, mine[2]).await.unwrap();
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), mine);
    assert_eq!(list(&store).await.len(), 3);
    let page = PageOf {
        limit: 2,
        ..PageOf::default()
    };
    assert_eq!(store.list(&ships(), &page).await.unwrap().items.len(), 2);
    assert_eq!(store.prefixes().await.unwrap(), [ships()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_says_so() {
    let etcd = Etcd::start("closed", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let mut watch = store.watch(&ships(), 1).await.unwrap();
    store.health().await.unwrap();
    store.ready().await.unwrap();
    store.close();
    let end = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap().unwrap();
    assert!(matches!(end, Err(StoreError::Closed)), "{end:?}");
    assert!(watch.next().await.is_none());
    let write = Write {
        key: ship("a"),
        expected: Expected::Absent,
        value: None,
    };
    assert!(matches!(store.write(write).await, Err(StoreError::Closed)));
    assert!(matches!(store.get(&ship("a")).await, Err(StoreError::Closed)));
    assert!(matches!(store.health().await, Err(StoreError::Closed)));
}
