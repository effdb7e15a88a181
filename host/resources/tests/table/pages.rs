//! Pages, and lists at a version.

use std::sync::Arc;

use outrigger_catalog::Served;
use serde_json::Value;

use crate::world::{Cluster, ask, json, names, pods_of, publish, row};

/// Pods a/0 … a/9 and b/0 … b/4.
fn many() -> Arc<Served> {
    let cluster = Cluster::usual();
    let mut rows = Vec::new();
    for (namespace, count) in [("a", 10), ("b", 5)] {
        for n in 0..count {
            let app = if n % 2 == 0 { "even" } else { "odd" };
            cluster.set(namespace, &n.to_string(), Some(&[("app", app)]));
            rows.push(row(namespace, &n.to_string(), n));
        }
    }
    let served = pods_of(cluster);
    publish(&served, rows);
    served
}

fn token(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

/// All pages: their names, their sizes, and the remaining counts that they tell.
async fn paged(served: &Arc<Served>, path: &str, query: &str) -> (Vec<String>, Vec<usize>, Vec<Value>) {
    let (mut all, mut sizes, mut remaining) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = String::new();
    loop {
        let list = json(served, &format!("{path}?{query}&continue={next}"), "application/json").await;
        let page = names(&list);
        sizes.push(page.len());
        remaining.push(list["metadata"]["remainingItemCount"].clone());
        all.extend(page);
        next = token(&list);
        if next.is_empty() {
            return (all, sizes, remaining);
        }
    }
}

#[tokio::test]
async fn pages_together_are_the_list() {
    let served = many();
    for (path, query, sizes, remaining) in [
        ("pods", "limit=6", vec![6, 6, 3], vec![Some(9), Some(3), None]),
        ("pods", "limit=15", vec![15], vec![None]),
        ("pods", "limit=5", vec![5, 5, 5], vec![Some(10), Some(5), None]),
        ("namespaces/b/pods", "limit=2", vec![2, 2, 1], vec![Some(3), Some(1), None]),
        ("namespaces/none/pods", "limit=2", vec![0], vec![None]),
        (
            "pods",
            "limit=3&labelSelector=app%3Dodd",
            vec![3, 3, 1],
            vec![None, None, None],
        ),
        ("pods", "limit=0", vec![15], vec![None]),
    ] {
        let whole = names(
            &json(
                &served,
                &format!("{path}?{}", query.replace("limit", "x")),
                "application/json",
            )
            .await,
        );
        let (all, got, left) = paged(&served, path, query).await;
        assert_eq!(all, whole, "{path}?{query}");
        assert_eq!(got, sizes, "{path}?{query}");
        let left: Vec<Option<u64>> = left.iter().map(Value::as_u64).collect();
        assert_eq!(left, remaining, "{path}?{query}");
    }
}

#[tokio::test]
async fn pages_show_one_moment_while_it_is_kept() {
    let served = many();
    let first = json(&served, "pods?limit=10", "application/json").await;
    publish(&served, vec![row("a", "0", 7)]);
    let path = format!("pods?limit=10&continue={}", token(&first));
    let second = json(&served, &path, "application/json").await;
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(
        names(&second),
        ["b/0", "b/1", "b/2", "b/3", "b/4"],
        "rows that are gone by now"
    );
    // Others read by pages, until the moment is forgotten.
    for n in 0..20 {
        publish(&served, vec![row("a", "0", n), row("a", "1", n), row("b", "4", n)]);
        json(&served, "pods?limit=1", "application/json").await;
    }
    let status = ask(&served, "GET", &path, "application/json").await.unwrap_err();
    assert_eq!((status.code, &*status.reason), (410, "Expired"));
    let go_on = status.continue_token.clone().unwrap();
    let rest = json(&served, &format!("pods?limit=10&continue={go_on}"), "application/json").await;
    assert_eq!(names(&rest), ["b/4"]);
    assert_ne!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

/// apiserver `TestListOptions`, as far as it concerns a table: what a version means, alone and with a limit.
#[tokio::test(start_paused = true)]
async fn versions_of_lists() {
    let served = many();
    let past = served.table.snapshot().revision();
    publish(&served, (0..5).map(|n| row("a", &n.to_string(), 9)).collect());
    let now = served.table.snapshot().revision();
    let future = now + 1_000;
    for (query, want) in [
        (String::new(), Ok(5)),
        ("resourceVersion=0".into(), Ok(5)),
        ("resourceVersion=0&limit=2".into(), Ok(5)),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan&limit=2".into(), Ok(5)),
        (format!("resourceVersion={now}"), Ok(5)),
        (format!("resourceVersion={past}"), Ok(5)),
        (format!("resourceVersion={past}&resourceVersionMatch=NotOlderThan"), Ok(5)),
        (
            format!("resourceVersion={past}&resourceVersionMatch=NotOlderThan&limit=2"),
            Ok(2),
        ),
        (format!("resourceVersion={now}&resourceVersionMatch=Exact"), Ok(5)),
        (format!("resourceVersion={now}&limit=2"), Ok(2)),
        (
            format!("resourceVersion={past}&resourceVersionMatch=Exact"),
            Err((410, "Expired")),
        ),
        (format!("resourceVersion={past}&limit=2"), Err((410, "Expired"))),
        (format!("resourceVersion={future}"), Err((504, "Timeout"))),
        (
            format!("resourceVersion={future}&resourceVersionMatch=Exact"),
            Err((504, "Timeout")),
        ),
        (format!("resourceVersion={future}&limit=2"), Err((504, "Timeout"))),
        ("resourceVersion=x".into(), Err((400, "BadRequest"))),
        ("resourceVersion=0&resourceVersionMatch=Exact".into(), Err((422, "Invalid"))),
        ("resourceVersionMatch=Exact".into(), Err((422, "Invalid"))),
        ("continue=x".into(), Err((400, "BadRequest"))),
        ("sendInitialEvents=true".into(), Err((422, "Invalid"))),
    ] {
        match (ask(&served, "GET", &format!("pods?{query}"), "application/json").await, want) {
            (Ok(_), Ok(items)) => {
                let list = json(&served, &format!("pods?{query}"), "application/json").await;
                assert_eq!(names(&list).len(), items, "{query}");
                assert_eq!(list["metadata"]["resourceVersion"], now.to_string(), "{query}");
            }
            (Err(status), Err(want)) => assert_eq!((status.code, &*status.reason), want, "{query}: {status}"),
            (got, want) => panic!("{query}: {want:?}, not {got:?}"),
        }
    }
    let late = ask(&served, "GET", &format!("pods?resourceVersion={future}"), "application/json").await;
    let late = late.unwrap_err();
    assert_eq!(
        late.message,
        format!("Timeout: Too large resource version: {future}, current: {now}")
    );
    assert_eq!(late.details.as_ref().unwrap().causes[0].reason, "ResourceVersionTooLarge");
    assert_eq!(late.retry_after(), Some(1));
    let one = format!("namespaces/a/pods/0?resourceVersion={future}");
    assert_eq!(ask(&served, "GET", &one, "application/json").await.unwrap_err().code, 504);
    let token = token(&json(&served, "pods?limit=1", "application/json").await);
    let both = format!("pods?continue={token}&resourceVersion={now}");
    let both = ask(&served, "GET", &both, "application/json").await.unwrap_err();
    assert_eq!(both.message, "specifying resource version is not allowed when using continue");
}

#[tokio::test]
async fn a_version_that_comes_is_waited_for() {
    let served = many();
    let next = served.table.snapshot().revision() + 1;
    let asking = tokio::spawn({
        let served = served.clone();
        async move { json(&served, &format!("pods?resourceVersion={next}"), "application/json").await }
    });
    tokio::task::yield_now().await;
    publish(&served, vec![row("a", "0", 7)]);
    assert_eq!(names(&asking.await.unwrap()), ["a/0"]);
}
