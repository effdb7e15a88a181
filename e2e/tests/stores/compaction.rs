//! Replicas: one order of all writes, no update lost, and one compaction in an interval.

use std::time::Duration;

use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_storage::Key;
use outrigger_storage::store::{Expected, Keep, PageOf, Prefix, Store as _, StoreError};

use crate::house::{Writer, changes, list, open, options, put, ship, ships, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_see_one_order_and_lose_no_update() {
    let etcd = Etcd::start("replicas", &Kind::default()).unwrap();
    let stores = [open(options(&[etcd.url()])).await, open(options(&[etcd.url()])).await];
    let from = put(&stores[0], &ship("counter"), Expected::Absent, "0").await.unwrap() - 1;
    let mut watches = [
        stores[0].watch(&ships(), from).await.unwrap(),
        stores[1].watch(&ships(), from).await.unwrap(),
    ];
    let counters: Vec<_> = (0..6)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < 40 {
                    let known = store.get(&ship("counter")).await.unwrap().unwrap();
                    let next = std::str::from_utf8(&known.value).unwrap().parse::<u64>().unwrap() + 1;
                    match put(&store, &ship("counter"), Expected::At(known.revision), &next.to_string()).await {
                        Ok(_) => done += 1,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for counter in counters {
        counter.await.unwrap();
    }
    let end = stores[0].get(&ship("counter")).await.unwrap().unwrap();
    assert_eq!(end.value, "240");
    let first = told(&mut watches[0], from, end.revision).await.unwrap();
    let second = told(&mut watches[1], from, end.revision).await.unwrap();
    assert_eq!(first.len(), 241);
    assert_eq!(first, second);
    assert_eq!(list(&stores[1]).await, [end]);
}

/// The key that counts the rounds is an object to a host whose prefix lies above, so it can be watched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_compact_what_is_an_interval_old() {
    let etcd = Etcd::start("compacted", &Kind::default()).unwrap();
    let mut above = options(&[etcd.url()]);
    above.prefix = "/hosts".into();
    let above = open(above).await;
    let rounds = Prefix::of("a", "b");
    let mut watch = above.watch(&rounds, 1).await.unwrap();

    let mut mine = options(&[etcd.url()]);
    mine.prefix = "/hosts/a/b/c".into();
    mine.keep = Keep {
        time: Duration::from_millis(400),
        ..Keep::default()
    };
    let first = open(mine.clone()).await;
    let writer = Writer::start(first.clone(), "w".to_owned());
    let mut second = None;
    let mut seen = Vec::new();
    while seen.len() < 8 {
        if seen.len() >= 4 && second.is_none() {
            second = Some(open(mine.clone()).await);
        }
        for change in changes(&mut watch).await.unwrap() {
            if rounds.key(&change.key) == Some(Key::new("c", "compact_rev_key")) {
                let after = change.after.unwrap();
                let compacted: u64 = std::str::from_utf8(&after.value).unwrap().parse().unwrap();
                seen.push((after.revision, compacted));
            }
        }
    }
    writer.stop().await;
    println!("rounds at, compacted up to: {seen:?}");
    assert_eq!(seen[0].1, 0, "at first nothing is an interval old");
    for pair in seen.windows(2) {
        assert!(pair[1].1 >= pair[0].1, "compaction does not go back: {pair:?}");
        assert!(pair[1].1 < pair[1].0, "the present stays: {pair:?}");
    }
    for pair in seen[..4].windows(2) {
        assert_eq!(
            pair[1].1, pair[0].0,
            "alone, a round compacts what was there at the round before"
        );
    }
    assert!(seen[7].1 > seen[4].0, "two go on as one did");
    // The last round may still be about to compact.
    let page = PageOf {
        at: Some(seen[6].1 - 1),
        ..PageOf::default()
    };
    let error = first.list(&ships(), &page).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
}

/// A watch that is read lives through compactions of everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_lives_through_compactions() {
    let etcd = Etcd::start("through", &Kind::default()).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let from = store.revision(&ships()).await.unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let compacting = store.clone();
    let compactor = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = compacting.revision(&ships()).await.unwrap();
            // A little behind, as a compaction that is an interval behind is.
            compacting.compact(now.saturating_sub(500).max(1)).await.unwrap();
        }
    });
    let writers: Vec<_> = (0..2).map(|n| Writer::start(store.clone(), format!("w{n}"))).collect();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while all.len() < 3000 {
            all.extend(changes(&mut watch).await.unwrap().into_iter().map(|c| c.revision));
        }
        all
    });
    let all = reading.await.unwrap();
    compactor.abort();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.stop().await.done.into_keys());
    }
    acknowledged.sort_unstable();
    assert_eq!(all, acknowledged[..all.len()]);
}
