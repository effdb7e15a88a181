//! What watchers are told.

use std::time::Duration;

use outrigger_api::protobuf;
use serde_json::json;

use crate::world::{Cluster, Watched, ask, json as read, names, pods, pods_of, publish, row};

#[tokio::test]
async fn a_watch_from_a_list_tells_what_came_after_it() {
    let served = pods();
    let list = read(&served, "pods", "application/json").await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = Watched::open(&served, &format!("pods?watch=1&resourceVersion={version}")).await;
    assert!(watch.is_silent().await);
    publish(&served, vec![row("shop", "web", 60), row("shop", "new", 1)]);
    let mut lines = watch.lines(3).await;
    lines.sort();
    assert_eq!(lines, ["ADDED shop/new 1m", "DELETED mail/in 50m", "MODIFIED shop/web 60m"]);
    // Late comers get the same from the same version.
    let mut late = Watched::open(&served, &format!("pods?watch=1&resourceVersion={version}")).await;
    let mut same = late.lines(3).await;
    same.sort();
    assert_eq!(same, lines);
    publish(&served, vec![row("shop", "web", 60), row("shop", "new", 1)]);
    assert!(watch.is_silent().await, "nothing has changed");
}

#[tokio::test]
async fn versions_grow_and_resume() {
    let served = pods();
    let mut watch = Watched::open(&served, "pods?watch=1").await;
    watch.lines(2).await;
    let mut last = 0;
    let mut resume = Vec::new();
    publish(
        &served,
        vec![row("shop", "web", 1), row("mail", "in", 1), row("shop", "new", 1)],
    );
    for _ in 0..3 {
        let event = watch.event().await.unwrap();
        let version: u64 = event["object"]["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(version > last, "{version} after {last}");
        last = version;
        resume.push(version);
    }
    // From the middle of a publication: the rest of it.
    let from = resume[1];
    let mut again = Watched::open(&served, &format!("pods?watch=1&resourceVersion={from}")).await;
    for want in resume.into_iter().filter(|v| *v > from) {
        assert_eq!(
            again.event().await.unwrap()["object"]["metadata"]["resourceVersion"],
            want.to_string()
        );
    }
    assert!(again.is_silent().await);
}

#[tokio::test]
async fn a_watch_without_a_version_starts_with_what_is_there() {
    for query in [
        "",
        "&resourceVersion=0",
        "&resourceVersion=",
        "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    ] {
        let served = pods();
        let mut watch = Watched::open(&served, &format!("pods?watch=true{query}")).await;
        assert_eq!(watch.lines(2).await, ["ADDED mail/in 50m", "ADDED shop/web 50m"], "{query}");
        assert!(watch.is_silent().await, "{query}: no bookmark unless allowed");
    }
    let served = pods();
    let query = "pods?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    assert!(Watched::open(&served, query).await.is_silent().await);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let served = pods();
    let path = "pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Watched::open(&served, path).await;
    watch.lines(2).await;
    let bookmark = watch.event().await.unwrap();
    let version = served.table.snapshot().revision().to_string();
    assert_eq!(
        bookmark,
        json!({"type": "BOOKMARK", "object": {"kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {
            "resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}}}})
    );
    assert!(watch.is_silent().await);
    let mut none = Watched::open(&served, &format!("namespaces/none/{path}")).await;
    assert_eq!(none.event().await.unwrap()["type"], "BOOKMARK", "nothing is there");
}

#[tokio::test]
async fn selectors_see_objects_come_and_go() {
    let cluster = Cluster::usual();
    let served = pods_of(cluster.clone());
    let version = served.table.snapshot().revision();
    let open = |query: &str| {
        let path = format!("pods?watch=1&resourceVersion={version}&{query}");
        let served = served.clone();
        async move { Watched::open(&served, &path).await }
    };
    let mut front = open("labelSelector=tier%3Dfront").await;
    let mut back = open("labelSelector=tier%3Dback").await;
    let mut named = open("fieldSelector=metadata.name%3Dweb").await;
    let mut other = open("fieldSelector=metadata.name%3Dother").await;
    let mut mail = Watched::open(&served, &format!("namespaces/mail/pods?watch=1&resourceVersion={version}")).await;
    cluster.set("shop", "web", Some(&[("tier", "back")]));
    publish(&served, vec![row("shop", "web", 60), row("mail", "in", 61)]);
    let left = front.event().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["tier"], "front", "the object as it was");
    let came = back.event().await.unwrap();
    assert_eq!(came["type"], "ADDED");
    assert_eq!(
        came["object"]["metadata"]["resourceVersion"], left["object"]["metadata"]["resourceVersion"],
        "the version of the change"
    );
    assert_eq!(named.lines(1).await, ["MODIFIED shop/web 60m"]);
    assert_eq!(mail.lines(1).await, ["MODIFIED mail/in 61m"]);
    assert!(other.is_silent().await);
    // Who comes later cannot know which labels there were: it must list again, rather than miss something.
    let mut late = open("labelSelector=tier%3Dfront").await;
    drop((front, back, named, other, mail));
    cluster.set("shop", "web", Some(&[("tier", "none")]));
    publish(&served, vec![row("shop", "web", 60), row("mail", "in", 61)]);
    assert_eq!(late.event().await.unwrap()["type"], "DELETED");
    drop(late);
    publish(&served, vec![row("shop", "web", 62), row("mail", "in", 61)]);
    let gone = open("labelSelector=tier%3Dfront").await.event().await.unwrap();
    assert_eq!(
        (gone["type"].as_str(), gone["object"]["code"].as_u64()),
        (Some("ERROR"), Some(410))
    );
}

#[tokio::test]
async fn a_version_from_before_is_expired_in_the_stream() {
    let served = pods();
    let mut watch = Watched::open(&served, "pods?watch=1&resourceVersion=7").await;
    let event = watch.event().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["kind"], "Status");
    assert_eq!(event["object"]["reason"], "Expired");
    let message = event["object"]["message"].as_str().unwrap();
    assert!(message.starts_with("too old resource version: 7 ("), "{message}");
    assert!(watch.event().await.is_none(), "the watch is over");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_yet_to_come() {
    let served = pods();
    let future = served.table.snapshot().revision() + 1;
    let mut silent = Watched::open(&served, &format!("pods?watch=1&resourceVersion={future}")).await;
    assert!(silent.is_silent().await);
    let path = "pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=";
    let mut late = Watched::open(&served, &format!("{path}{}", future + 1_000)).await;
    let event = late.event().await.unwrap();
    assert_eq!(
        (event["type"].as_str(), event["object"]["code"].as_u64()),
        (Some("ERROR"), Some(504))
    );
    publish(&served, vec![row("shop", "web", 60)]);
    assert_eq!(silent.lines(2).await, ["DELETED mail/in 50m", "MODIFIED shop/web 60m"]);
    assert!(silent.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_its_time_with_a_bookmark_before() {
    let served = pods();
    let mut watch = Watched::open(
        &served,
        "pods?watch=1&timeoutSeconds=200&allowWatchBookmarks=1&labelSelector=x",
    )
    .await;
    assert_eq!(
        watch.event().await.unwrap()["type"],
        "BOOKMARK",
        "the end of no initial events"
    );
    let opened = tokio::time::Instant::now();
    publish(&served, vec![row("shop", "web", 60), row("mail", "in", 50)]);
    let version = served.table.snapshot().revision().to_string();
    let bookmark = watch.event().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], version);
    assert_eq!(opened.elapsed().as_secs(), 60);
    publish(&served, vec![row("shop", "web", 70), row("mail", "in", 50)]);
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(watch.event().await.unwrap()["type"], "BOOKMARK");
    assert!(watch.event().await.is_none(), "nothing new to say before the end");
    assert_eq!(opened.elapsed().as_secs(), 200);
    let opened = tokio::time::Instant::now();
    let mut unasked = Watched::open(
        &served,
        "pods?watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=false",
    )
    .await;
    assert!(unasked.event().await.is_none());
    let lasted = opened.elapsed().as_secs();
    assert!((1_800..=3_600).contains(&lasted), "{lasted}");
}

#[tokio::test]
async fn tables_have_headers_once() {
    let served = pods();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut watch = Watched::open_as(&served, "pods?watch=1&allowWatchBookmarks=1", accept).await;
    let first = watch.event().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["columnDefinitions"][1]["name"], "cpu");
    assert_eq!(first["object"]["rows"][0]["cells"], json!(["in", "50m"]));
    let row = &first["object"]["rows"][0]["object"];
    assert_eq!(
        (row["kind"].as_str(), &row["metadata"]["resourceVersion"]),
        (Some("PartialObjectMetadata"), &first["object"]["metadata"]["resourceVersion"])
    );
    assert_eq!(watch.event().await.unwrap()["object"]["columnDefinitions"], json!(null));
    let bookmark = watch.event().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["rows"][0]["cells"], json!(["", null]));
    publish(
        &served,
        vec![crate::world::row("shop", "web", 60), crate::world::row("mail", "in", 50)],
    );
    let event = watch.event().await.unwrap();
    assert_eq!(event["object"]["rows"][0]["cells"], json!(["web", "60m"]));
    assert_eq!(event["object"]["columnDefinitions"], json!(null));
}

#[tokio::test]
async fn metadata_alone_and_protobuf() {
    let served = pods();
    let accept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    let answer = ask(&served, "GET", "pods?watch=1", accept).await.unwrap();
    assert_eq!(answer.content_type(), "application/vnd.kubernetes.protobuf;stream=watch");
    let mut watch = Watched::open_as(&served, "pods?watch=1", accept).await;
    let piece = watch.piece().await.unwrap();
    let length = u32::from_be_bytes(piece[..4].try_into().unwrap()) as usize;
    let event = &piece[4..4 + length];
    assert_eq!(&event[..7], b"\x0a\x05ADDED");
    let at = event.windows(4).position(|w| w == protobuf::MAGIC).unwrap();
    assert_eq!(
        protobuf::open(&event[at..]).unwrap().type_meta.unwrap().kind,
        "PartialObjectMetadata"
    );
    let refused = ask(&served, "GET", "pods?watch=1", "application/yaml").await.unwrap_err();
    assert_eq!(
        refused.message,
        "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
}

#[tokio::test]
async fn a_watch_ends_with_its_resource() {
    let served = pods();
    let mut watch = Watched::open(&served, "pods?watch=1").await;
    watch.lines(2).await;
    assert!(watch.is_silent().await);
    publish(&served, vec![row("shop", "web", 60), row("mail", "in", 50)]);
    served.table.retire();
    assert_eq!(watch.lines(1).await, ["MODIFIED shop/web 60m"], "first what there was to say");
    assert!(watch.event().await.is_none());
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_before_the_stream() {
    let served = pods();
    for (query, code) in [
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422),
        ("watch=1&resourceVersionMatch=Exact&resourceVersion=5", 422),
        ("watch=1&resourceVersion=abc", 400),
        ("watch=1&labelSelector=a%3D%3D%3D", 400),
        ("watch=1&fieldSelector=spec.x%3D1", 400),
        ("watch=1&timeoutSeconds=x", 400),
    ] {
        let status = ask(&served, "GET", &format!("pods?{query}"), "application/json")
            .await
            .unwrap_err();
        assert_eq!(status.code, code, "{query}: {status}");
    }
}

#[tokio::test]
async fn the_deprecated_prefix() {
    let served = pods();
    let mut all = Watched::open(&served, "watch/pods").await;
    assert_eq!(all.lines(2).await, ["ADDED mail/in 50m", "ADDED shop/web 50m"]);
    let mut one = Watched::open(&served, "watch/namespaces/shop/pods/web").await;
    assert_eq!(one.lines(1).await, ["ADDED shop/web 50m"]);
    assert!(one.is_silent().await);
    let refused = ask(
        &served,
        "GET",
        "watch/namespaces/shop/pods/web?fieldSelector=metadata.name%3Dx",
        "application/json",
    )
    .await;
    assert_eq!(
        refused.unwrap_err().message,
        "fieldSelector metadata.name doesn't match requested name"
    );
    assert_eq!(
        names(&read(&served, "namespaces/shop/pods?watch=0", "application/json").await),
        ["shop/web"]
    );
}

#[tokio::test]
async fn large_tables_come_in_pieces_and_slow_readers_miss_nothing() {
    let cluster = Cluster::usual();
    let name = |n: u32| format!("p{n:05}");
    (0..3_000).for_each(|n| cluster.set("big", &name(n), Some(&[])));
    let served = pods_of(cluster);
    let rows = |cpu| (0..3_000).map(|n| row("big", &name(n), cpu)).collect();
    publish(&served, rows(1));
    let mut watch = Watched::open(&served, "namespaces/big/pods?watch=1").await;
    let first = watch.piece().await.unwrap();
    assert!(first.len() < 80 << 10, "{} bytes at once", first.len());
    publish(&served, rows(2));
    publish(&served, rows(3));
    let mut seen = std::collections::BTreeMap::new();
    let mut text = String::from_utf8(first).unwrap();
    while seen.values().filter(|cpu| **cpu == "3m").count() < 3_000 {
        for line in text.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            seen.insert(name, object["containers"][0]["cpu"].as_str().unwrap().to_owned());
        }
        if seen.values().filter(|cpu| **cpu == "3m").count() < 3_000 {
            text = String::from_utf8(watch.piece().await.unwrap()).unwrap();
        }
    }
    assert_eq!(seen.len(), 3_000);
    assert!(watch.is_silent().await);
}
