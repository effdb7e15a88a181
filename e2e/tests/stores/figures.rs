//! What a write and a read cost on an etcd that syncs to its disk. Printed, never asserted.

use std::time::{Duration, Instant};

use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_storage::store::{Expected, Store as _};

use crate::house::{open, options, put, ship, ships};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    let kind = Kind {
        durable: true,
        ..Kind::default()
    };
    let etcd = Etcd::start("figures", &kind).unwrap();
    let store = open(options(&[etcd.url()])).await;
    let value = "v".repeat(1024);

    let mut times = Vec::new();
    for n in 0..1000 {
        let start = Instant::now();
        put(&store, &ship(&format!("a{n}")), Expected::Absent, &value).await.unwrap();
        times.push(start.elapsed());
    }
    println!("write at 1: {}", shown(&mut times));

    times.clear();
    for n in 0..1000 {
        let start = Instant::now();
        store.get(&ship(&format!("a{n}"))).await.unwrap().unwrap();
        times.push(start.elapsed());
    }
    println!("get at 1: {}", shown(&mut times));

    times.clear();
    for _ in 0..1000 {
        let start = Instant::now();
        store.revision(&ships()).await.unwrap();
        times.push(start.elapsed());
    }
    println!("revision at 1: {}", shown(&mut times));

    for at_once in [8, 64] {
        let start = Instant::now();
        let writers: Vec<_> = (0..at_once)
            .map(|writer| {
                let (store, value) = (store.clone(), value.clone());
                tokio::spawn(async move {
                    for n in 0..4000 / at_once {
                        let key = ship(&format!("b{at_once}-{writer}-{n}"));
                        put(&store, &key, Expected::Absent, &value).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        println!("writes at {at_once}: {:.0}/s", 4000.0 / start.elapsed().as_secs_f64());
    }

    for (what, revisions) in [("gets", false), ("revisions", true)] {
        let start = Instant::now();
        let readers: Vec<_> = (0..64)
            .map(|reader| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in 0..200 {
                        if revisions {
                            store.revision(&ships()).await.unwrap();
                        } else {
                            store.get(&ship(&format!("a{}", (reader + n) % 1000))).await.unwrap().unwrap();
                        }
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
        println!("{what} at 64: {:.0}/s", 64.0 * 200.0 / start.elapsed().as_secs_f64());
    }
}

fn shown(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}
