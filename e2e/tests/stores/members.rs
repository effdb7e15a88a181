//! Three members that are one etcd: each goes in its turn, and then too many.

use std::time::Duration;

use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_storage::store::{Expected, Store as _, StoreError};

use crate::gate::Gate;
use crate::house::{Writer, asides, complete, create_surely, hurried, open, options, put, ship, ships, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go() {
    let members = Etcd::cluster("members", 3, &Kind::default()).unwrap();
    let servers: Vec<String> = members.iter().map(Etcd::url).collect();
    let stores = [open(options(&servers)).await, open(options(&servers)).await];
    let from = stores[0].revision(&ships()).await.unwrap();
    let mut watches = [
        stores[0].watch(&ships(), from).await.unwrap(),
        stores[1].watch(&ships(), from).await.unwrap(),
    ];
    let writers: Vec<_> = (0..4)
        .map(|n| Writer::start(stores[n % 2].clone(), format!("w{n}")))
        .collect();
    for (round, member) in members.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(400)).await;
        member.kill();
        // One of the three was the leader.
        create_surely(&stores[0], &ship(&format!("r{round}"))).await;
        member.again().unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.stop().await);
    }
    written.push(asides(members.len()));
    for (store, watch) in stores.iter().zip(&mut watches) {
        let (seen, unknown, refused) = complete(store, watch, from, &written).await;
        println!("{seen} changes; {unknown} of unknown outcome, {refused} refused");
    }
}

/// One of three answers no reads from the past, and no writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_does_not_answer() {
    let members = Etcd::cluster("minority", 3, &Kind::default()).unwrap();
    let mut hasty = options(&members.iter().map(Etcd::url).collect::<Vec<_>>());
    hasty.timeouts = hurried();
    hasty.timeouts.call = Duration::from_secs(4);
    let store = open(hasty).await;
    let revision = put(&store, &ship("a"), Expected::Absent, "1").await.unwrap();
    members[0].kill();
    members[1].kill();
    let error = store.get(&ship("a")).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let error = put(&store, &ship("b"), Expected::Absent, "1").await.unwrap_err();
    println!("{error}");
    assert!(
        matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_)),
        "{error}"
    );
    members[0].again().unwrap();
    let mut found = store.get(&ship("a")).await;
    for _ in 0..10 {
        if found.is_ok() {
            break;
        }
        found = store.get(&ship("a")).await;
    }
    assert_eq!(found.unwrap().unwrap().revision, revision);
}

/// Whichever member says nothing any more, the leader or another: a read is answered within its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_says_nothing_is_left() {
    let members = Etcd::cluster("silent", 3, &Kind::default()).unwrap();
    let store = open(options(&members.iter().map(Etcd::url).collect::<Vec<_>>())).await;
    let (revision, _) = create_surely(&store, &ship("a")).await;
    for member in &members {
        member.freeze(true).unwrap();
        let found = store.get(&ship("a")).await;
        member.freeze(false).unwrap();
        assert_eq!(found.unwrap().unwrap().revision, revision);
    }
}

/// A server that is lost is left for the next, and one that is not there at all is passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_server_is_taken() {
    let etcd = Etcd::start("next", &Kind::default()).unwrap();
    let gates = [Gate::to(etcd.address()).await, Gate::to(etcd.address()).await];
    let nobody = "http://127.0.0.1:1".to_owned();
    let store = open(options(&[nobody, gates[0].url(), gates[1].url()])).await;
    let from = store.revision(&ships()).await.unwrap();
    let mut watch = store.watch(&ships(), from).await.unwrap();
    let mut last = from;
    for round in 0..6 {
        gates[round % 2].set(false);
        (last, _) = create_surely(&store, &ship(&format!("s{round}"))).await;
        assert!(store.get(&ship(&format!("s{round}"))).await.unwrap().is_some());
        gates[round % 2].set(true);
    }
    let all = told(&mut watch, from, last).await.unwrap();
    assert_eq!(all.len(), 6);
}

/// Two clusters are not one, whatever the list of servers says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_is_refused() {
    let one = Etcd::start("one", &Kind::default()).unwrap();
    let other = Etcd::start("other", &Kind::default()).unwrap();
    let gates = [Gate::to(one.address()).await, Gate::to(other.address()).await];
    let mut hasty = options(&[gates[0].url(), gates[1].url()]);
    hasty.timeouts = hurried();
    gates[1].set(false);
    let store = open(hasty).await;
    put(&store, &ship("a"), Expected::Absent, "1").await.unwrap();
    gates[0].set(false);
    gates[1].set(true);
    let error = store.get(&ship("a")).await.unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("another cluster"), "{error}");
}
