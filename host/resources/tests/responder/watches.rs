//! Watches of what is polled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, StreamExt};
use outrigger_sandbox::ContractError;
use serde_json::Value;

use crate::world::{World, book, names, refused};

async fn next(events: &mut (impl Stream<Item = bytes::Bytes> + Unpin)) -> Vec<String> {
    let bytes = events.next().await.expect("the watch is over");
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let mut events: Vec<String> = lines
        .map(|line| {
            let event: Value = serde_json::from_slice(line).unwrap();
            format!(
                "{} {} {}",
                event["type"].as_str().unwrap(),
                event["object"]["metadata"]["name"].as_str().unwrap_or("-"),
                event["object"]["spec"]["author"].as_str().unwrap_or("-")
            )
        })
        .collect();
    // Within one look the guest says the order.
    events.sort();
    events
}

#[tokio::test(start_paused = true)]
async fn changes_are_found_by_looking() {
    let world = World::new(5);
    let mut events = world.watch("namespaces/sea/books?watch=1").await;
    assert_eq!(next(&mut events).await, ["ADDED moby melville", "ADDED nemo verne"]);
    world.shelf.put(&book("sea", "nemo", "jules"));
    world.shelf.put(&book("sea", "arctic", "nansen"));
    world.shelf.put(&book("land", "walden", "thoreau"));
    assert_eq!(next(&mut events).await, ["ADDED arctic nansen", "MODIFIED nemo jules"]);
    world
        .shelf
        .books
        .lock()
        .unwrap()
        .remove(&("sea".to_owned(), "moby".to_owned()));
    assert_eq!(next(&mut events).await, ["DELETED moby melville"]);
    // A write is seen at once, without a look.
    let looks = world.shelf.lists.load(Ordering::SeqCst);
    world
        .send("PATCH", "namespaces/sea/books/nemo", r#"{"spec":{"author":"verne"}}"#)
        .await
        .unwrap();
    assert_eq!(next(&mut events).await, ["MODIFIED nemo verne"]);
    world.send("DELETE", "namespaces/sea/books/nemo", "").await.unwrap();
    assert_eq!(next(&mut events).await, ["DELETED nemo verne"]);
    assert_eq!(world.shelf.lists.load(Ordering::SeqCst), looks);
    let asked = world
        .shelf
        .seen
        .lock()
        .unwrap()
        .iter()
        .find(|r| r.verb == "list")
        .cloned()
        .unwrap();
    assert_eq!((asked.user.as_str(), asked.namespace.as_str()), ("system:outrigger", ""));
}

#[tokio::test(start_paused = true)]
async fn a_list_and_a_watch_from_its_version_miss_nothing() {
    let world = World::new(5);
    let list = world.json("books").await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    world.shelf.put(&book("sea", "new", "x"));
    // Another list finds it first; the watch has it all the same.
    world.json("books").await;
    let mut events = world.watch(&format!("books?watch=1&resourceVersion={version}")).await;
    assert_eq!(next(&mut events).await, ["ADDED new x"]);
}

#[tokio::test(start_paused = true)]
async fn looking_ends_when_nobody_watches() {
    let world = World::new(5);
    let events = world.watch("books?watch=1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let looks = world.shelf.lists.load(Ordering::SeqCst);
    assert!((10..=14).contains(&looks), "{looks} looks in a minute");
    drop(events);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let rest = world.shelf.lists.load(Ordering::SeqCst) - looks;
    assert!(rest <= 3, "{rest} looks without a watcher");
    // Somebody comes again.
    let _events = world.watch("books?watch=1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.shelf.lists.load(Ordering::SeqCst) >= looks + rest + 10);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_leaves_watchers_in_peace() {
    let world = World::new(5);
    let mut events = world.watch("books?watch=1").await;
    assert_eq!(next(&mut events).await.len(), 3);
    *world.shelf.instead.lock().unwrap() = Some(Err(refused(ContractError::Unavailable("closed".into()), Vec::new())));
    world.shelf.put(&book("sea", "after", "x"));
    // The failed look is silent, and the next one finds what there is.
    assert_eq!(next(&mut events).await, ["ADDED after x"]);
    assert!(world.shelf.instead.lock().unwrap().is_none());
    // A list that cannot be refreshed fails.
    *world.shelf.instead.lock().unwrap() = Some(Err(refused(ContractError::Unavailable("closed".into()), Vec::new())));
    assert_eq!(world.send("GET", "books", "").await.unwrap_err().code, 503);
}

#[tokio::test(start_paused = true)]
async fn callers_that_come_together_share_one_list() {
    let world = World::new(5);
    let lists = futures::future::join_all((0..20).map(|_| world.json("books"))).await;
    assert!(lists.iter().all(|list| names(list).len() == 3));
    let asked = world.shelf.lists.load(Ordering::SeqCst);
    assert!(asked <= 20, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn watch_is_not_offered_without_polling() {
    let world = World::new(0);
    let refused = world.send("GET", "books?watch=1", "").await.unwrap_err();
    assert_eq!(refused.code, 405);
}
