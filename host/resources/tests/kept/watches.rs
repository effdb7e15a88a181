//! What watchers of kept objects are told.

use outrigger_storage::Key;
use outrigger_storage::store::Keep;
use serde_json::json;

use crate::world::{Harbor, labelled, ship};

const INITIAL: &str = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

#[tokio::test]
async fn every_event_from_every_revision() {
    let harbor = Harbor::new().await;
    let a = harbor.make("sea", "a", 1).await;
    let b = harbor.make("lake", "b", 1).await;
    let changed = harbor.change(a, &ship("sea", "a", 2)).await;
    harbor.kept.remove(&Key::new("lake", "b"), b).await.unwrap();
    let again = harbor.change(changed, &ship("sea", "a", 3)).await;
    let all = [
        "ADDED a {\"tons\":1}",
        "ADDED b {\"tons\":1}",
        "MODIFIED a {\"tons\":2}",
        "DELETED b {\"tons\":1}",
        "MODIFIED a {\"tons\":3}",
    ];
    for (n, from) in [a - 1, a, b, changed, b + 2].into_iter().enumerate() {
        let mut watch = harbor.watch(&format!("v1/ships?watch=1&resourceVersion={from}")).await;
        assert_eq!(watch.lines(all.len() - n).await, all[n..], "{from}");
        assert!(watch.is_silent().await);
    }
    for query in ["", "&resourceVersion=0"] {
        let mut watch = harbor.watch(&format!("v1/ships?watch=1{query}")).await;
        assert_eq!(watch.lines(1).await, ["ADDED a {\"tons\":3}"], "{query}");
        assert!(watch.is_silent().await, "{query}");
    }
    // From the future: open, and silent until then.
    let mut future = harbor.watch(&format!("v1/ships?watch=1&resourceVersion={}", again + 1)).await;
    assert!(future.is_silent().await);
    harbor.make("sea", "c", 1).await;
    assert!(future.is_silent().await, "that is the revision which it says it has seen");
    harbor.make("sea", "d", 1).await;
    assert_eq!(future.lines(1).await, ["ADDED d {\"tons\":1}"]);
}

#[tokio::test]
async fn initial_events_have_what_was_acknowledged_and_an_end() {
    let harbor = Harbor::new().await;
    let mut last = 0;
    for n in 0..300 {
        last = harbor.make("sea", &format!("{n:03}"), n).await;
    }
    // Nobody waits for the image here: the watch does.
    let mut watch = harbor.watch(&format!("v1/ships?{INITIAL}")).await;
    let lines = watch.lines(300).await;
    assert_eq!(
        (&*lines[0], &*lines[299]),
        ("ADDED 000 {\"tons\":0}", "ADDED 299 {\"tons\":299}")
    );
    assert_eq!(
        watch.event().await.unwrap(),
        json!({"type": "BOOKMARK", "object": {"kind": "Ship", "apiVersion": "harbor.example.com/v1", "metadata": {
            "resourceVersion": last.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}}}})
    );
    assert!(watch.is_silent().await);
    harbor.make("sea", "x", 1).await;
    assert_eq!(watch.lines(1).await, ["ADDED x {\"tons\":1}"]);
    // A Table has its headers in the first event only.
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    for path in ["ships", "namespaces/sea/ships"] {
        let mut tables = harbor.watch_as(&format!("v1/{path}?{INITIAL}"), table).await;
        for n in 0..301 {
            let event = tables.event().await.unwrap();
            assert_eq!(event["object"]["columnDefinitions"].is_array(), n == 0, "{n}");
        }
        assert_eq!(tables.event().await.unwrap()["type"], "BOOKMARK");
    }
    let mut empty = harbor.watch(&format!("v1/namespaces/none/ships?{INITIAL}")).await;
    assert_eq!(empty.event().await.unwrap()["type"], "BOOKMARK");
}

#[tokio::test]
async fn watches_share_bytes() {
    let harbor = Harbor::new().await;
    for n in 0..1_000 {
        harbor.make("sea", &format!("{n:04}"), n).await;
    }
    harbor.kept.fresh(crate::world::SOON).await.unwrap();
    let mut first = harbor.watch(&format!("v1/ships?{INITIAL}")).await;
    let mut second = harbor.watch(&format!("v1/ships?{INITIAL}")).await;
    for _ in 0..3 {
        let (one, other) = (first.piece().await.unwrap(), second.piece().await.unwrap());
        assert_eq!(one.as_ptr(), other.as_ptr(), "first events");
    }
    let from = harbor.kept.fresh(crate::world::SOON).await.unwrap().revision();
    let mut watches = Vec::new();
    for query in ["ships?", "namespaces/sea/ships?", "ships?labelSelector=size%3Dlarge&"] {
        let path = format!("v1/{query}watch=1&resourceVersion={from}");
        watches.push(harbor.watch(&path).await);
    }
    harbor.make("sea", "new", 500).await;
    let mut seen = std::collections::BTreeSet::new();
    for watch in &mut watches {
        seen.insert(watch.piece().await.unwrap().as_ptr());
    }
    assert_eq!(seen.len(), 1, "an event is encoded once for all who see it");
}

#[tokio::test]
async fn selectors_see_objects_come_and_go() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "a", 1).await;
    let mut small = harbor
        .watch(&format!("v1/ships?watch=1&resourceVersion={at}&labelSelector=size%3Dsmall"))
        .await;
    let mut large = harbor
        .watch(&format!("v1/ships?watch=1&resourceVersion={at}&labelSelector=size%3Dlarge"))
        .await;
    let mut named = harbor
        .watch(&format!(
            "v1/namespaces/sea/ships?watch=1&resourceVersion={at}&fieldSelector=metadata.name%3Da"
        ))
        .await;
    let mut path = harbor
        .watch(&format!("v1/watch/namespaces/sea/ships/a?resourceVersion={at}"))
        .await;
    harbor.make("sea", "b", 1).await;
    let moved = harbor.change(at, &ship("sea", "a", 900)).await;
    assert_eq!(small.lines(1).await, ["ADDED b {\"tons\":1}"]);
    let gone = small.event().await.unwrap();
    assert_eq!(
        (&gone["type"], &gone["object"]["spec"]["tons"]),
        (&json!("DELETED"), &json!(1))
    );
    assert_eq!(gone["object"]["metadata"]["labels"]["size"], "small", "as it was before");
    assert_eq!(
        gone["object"]["metadata"]["resourceVersion"],
        moved.to_string(),
        "at the version at which it went"
    );
    assert_eq!(large.lines(1).await, ["ADDED a {\"tons\":900}"]);
    assert_eq!(named.lines(1).await, ["MODIFIED a {\"tons\":900}"]);
    assert_eq!(path.lines(1).await, ["MODIFIED a {\"tons\":900}"]);
    let unlabelled = harbor.change(moved, &labelled("sea", "a", 900, &[])).await;
    let gone = large.event().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], unlabelled.to_string());
    harbor.kept.remove(&Key::new("sea", "a"), unlabelled).await.unwrap();
    assert_eq!(
        named.lines(2).await,
        ["MODIFIED a {\"tons\":900}", "DELETED a {\"tons\":900}"]
    );
    assert!(large.is_silent().await && small.is_silent().await);
}

#[tokio::test]
async fn who_has_fallen_behind_is_told_to_begin_again() {
    let harbor = Harbor::keeping(Keep {
        bytes: 8 << 10,
        ..Keep::default()
    })
    .await;
    let mut at = harbor.make("sea", "a", 1).await;
    let from = at;
    let mut slow = harbor.watch(&format!("v1/ships?watch=1&resourceVersion={from}")).await;
    assert!(slow.is_silent().await);
    for n in 0..100 {
        at = harbor.change(at, &ship("sea", "a", n)).await;
    }
    harbor.kept.fresh(crate::world::SOON).await.unwrap();
    let mut late = harbor.watch(&format!("v1/ships?watch=1&resourceVersion={from}")).await;
    for watch in [&mut slow, &mut late] {
        let error = watch.event().await.unwrap();
        assert_eq!(error["type"], "ERROR");
        assert_eq!(
            (&error["object"]["code"], &error["object"]["reason"]),
            (&json!(410), &json!("Expired"))
        );
        assert!(
            error["object"]["message"]
                .as_str()
                .unwrap()
                .starts_with(&format!("too old resource version: {from} ("))
        );
        assert!(watch.event().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_when_there_is_something_new_and_before_the_end() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "a", 1).await;
    let mut watch = harbor
        .watch(&format!(
            "v1/namespaces/lake/ships?watch=1&allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion={at}"
        ))
        .await;
    let began = tokio::time::Instant::now();
    assert!(watch.is_silent().await);
    // What others do brings it forward, and so does progress without any change.
    let other = harbor.make("sea", "b", 1).await;
    let bookmark = watch.event().await.unwrap();
    assert_eq!(
        (&bookmark["type"], &bookmark["object"]["metadata"]["resourceVersion"]),
        (&json!("BOOKMARK"), &json!(other.to_string()))
    );
    assert_eq!(began.elapsed().as_secs(), 60);
    harbor.kept.table().progress(other + 5);
    let bookmark = watch.event().await.unwrap();
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], (other + 5).to_string());
    assert_eq!(began.elapsed().as_secs(), 120);
    harbor.kept.table().progress(other + 6);
    let bookmark = watch.event().await.unwrap();
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], (other + 6).to_string());
    assert_eq!(began.elapsed().as_secs(), 148, "shortly before the end");
    assert!(watch.event().await.is_none());
    assert_eq!(began.elapsed().as_secs(), 150);
}

/// There is always something new for who reads slowly; he is no less at his end.
#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_though_there_is_more_to_say() {
    let harbor = Harbor::new().await;
    let mut at = harbor.make("sea", "a", 1).await;
    let mut watch = harbor
        .watch(&format!("v1/ships?watch=1&timeoutSeconds=30&resourceVersion={at}"))
        .await;
    let mut events = 0;
    for n in 0..40 {
        at = harbor.change(at, &ship("sea", "a", n)).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if watch.event().await.is_none() {
            break;
        }
        events += 1;
    }
    assert_eq!(events, 29);
}

/// Watches of whatever selector, opened whenever, are told of one object's states in one order, and none is left out.
#[tokio::test]
async fn all_watchers_see_one_order() {
    let harbor = Harbor::new().await;
    let begin = harbor.make("sea", "first", 0).await;
    harbor.kept.fresh(crate::world::SOON).await.unwrap();
    let mut watches = Vec::new();
    for query in [
        "ships?",
        "namespaces/sea/ships?",
        "ships?labelSelector=size%3Dsmall&",
        "ships?fieldSelector=metadata.namespace%3Dsea&",
    ] {
        watches.push(harbor.watch(&format!("v1/{query}watch=1&resourceVersion={begin}")).await);
    }
    let mut want = Vec::new();
    let write = async {
        for n in 0..200 {
            let name = format!("{n:03}");
            let at = harbor.make("sea", &name, n % 100).await;
            want.push(format!("ADDED {name} {{\"tons\":{}}}", n % 100));
            if n % 3 == 0 {
                harbor.kept.remove(&Key::new("sea", &name), at).await.unwrap();
                want.push(format!("DELETED {name} {{\"tons\":{}}}", n % 100));
            }
            if n % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let total = 200 + 67;
    let read = futures::future::join_all(watches.iter_mut().map(|watch| watch.lines(total)));
    let ((), told) = tokio::join!(write, read);
    for lines in told {
        assert_eq!(lines, want);
    }
}
