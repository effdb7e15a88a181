//! Lists: moments, pages, pieces.

use outrigger_api::continue_token::ContinueToken;
use outrigger_api::protobuf;
use outrigger_storage::store::Keep;
use serde_json::Value;

use crate::world::{Harbor, names, ship};

fn token(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

/// So many items at a version, or a refusal.
type Wanted = Result<(usize, String), (u16, &'static str)>;

/// kubernetes `test/integration/apiserver` TestListOptions: what the parameters mean alone and together. Three states of the past: one
/// that is compacted, one that is kept, now; and one that is yet to come.
#[tokio::test(start_paused = true)]
async fn versions_of_lists() {
    let harbor = Harbor::keeping(Keep {
        bytes: 64 << 10,
        ..Keep::default()
    })
    .await;
    for n in 0..8 {
        harbor.make("sea", &n.to_string(), n).await;
    }
    let compacted = harbor.kept.fresh(crate::world::SOON).await.unwrap().revision();
    // More than the past holds.
    let mut at = harbor.make("sea", "much", 0).await;
    for n in 0..600 {
        at = harbor.change(at, &ship("sea", "much", n)).await;
    }
    let kept = harbor.make("sea", "more", 1).await;
    let now = harbor.make("sea", "most", 1).await;
    let future = now + 100;
    let no_limit = [""; 1];
    let limits = ["&limit=4"];
    let with = |limits: &[&'static str], version: &str, of: &str| -> Vec<(String, String)> {
        limits
            .iter()
            .map(|limit| (format!("resourceVersion={version}{of}{limit}"), (*limit).to_owned()))
            .collect()
    };
    let exact = "&resourceVersionMatch=Exact";
    let not_older = "&resourceVersionMatch=NotOlderThan";
    let [compacted, kept, now_, future] = [compacted, kept, now, future].map(|v| v.to_string());
    let both = [no_limit[0], limits[0]];
    let all = |n: usize, v: &str| Ok((n, v.to_owned()));
    let mut cases: Vec<(Vec<(String, String)>, Wanted)> = vec![
        (with(&no_limit, "", ""), all(11, &now_)),
        (with(&limits, "", ""), all(4, &now_)),
        // From the cache, whole: the limit is for what is read from the store.
        (with(&both, "0", ""), all(11, &now_)),
        (with(&both, "0", not_older), all(11, &now_)),
        (with(&both, "0", exact), Err((422, "Invalid"))),
        (with(&both, "", exact), Err((422, "Invalid"))),
        (with(&both, "", not_older), Err((422, "Invalid"))),
        (with(&both, "x", ""), Err((400, "BadRequest"))),
        (with(&both, &now_, "&resourceVersionMatch=Whatever"), Err((422, "Invalid"))),
        (with(&no_limit, &compacted, exact), Err((410, "Expired"))),
        (with(&limits, &compacted, exact), Err((410, "Expired"))),
        // As it was before there was a match: with a limit it is exact.
        (with(&limits, &compacted, ""), Err((410, "Expired"))),
        (with(&no_limit, &compacted, ""), all(11, &now_)),
        (with(&no_limit, &compacted, not_older), all(11, &now_)),
        (with(&limits, &compacted, not_older), all(4, &now_)),
        (with(&no_limit, &kept, exact), all(10, &kept)),
        (with(&limits, &kept, exact), all(4, &kept)),
        (with(&limits, &kept, ""), all(4, &kept)),
        (with(&no_limit, &kept, ""), all(11, &now_)),
        (with(&no_limit, &kept, not_older), all(11, &now_)),
        (with(&no_limit, &now_, exact), all(11, &now_)),
        (with(&limits, &now_, exact), all(4, &now_)),
        (with(&both, &future, ""), Err((504, "Timeout"))),
        (with(&both, &future, exact), Err((504, "Timeout"))),
        (with(&both, &future, not_older), Err((504, "Timeout"))),
    ];
    cases.push((vec![("continue=x".into(), String::new())], Err((400, "BadRequest"))));
    cases.push((vec![("sendInitialEvents=true".into(), String::new())], Err((422, "Invalid"))));
    for (queries, want) in cases {
        for (query, _) in queries {
            let path = format!("v1/ships?{query}");
            match (harbor.ask(&path, "application/json").await, &want) {
                (Ok(_), Ok((items, version))) => {
                    let list = harbor.json(&path, "application/json").await;
                    assert_eq!(names(&list).len(), *items, "{query}");
                    assert_eq!(list["metadata"]["resourceVersion"], **version, "{query}");
                    assert_eq!(token(&list).is_empty(), *items != 4, "{query}");
                }
                (Err(status), Err(want)) => assert_eq!((status.code, &*status.reason), *want, "{query}: {status}"),
                (got, want) => panic!("{query}: {want:?}, not {got:?}"),
            }
        }
    }
    let too_old = harbor
        .refused(&format!("v1/ships?resourceVersion={compacted}&resourceVersionMatch=Exact"))
        .await;
    assert_eq!(too_old.message, "The resourceVersion for the provided list is too old.");
}

/// Whoever has written, or has read from another replica, may be further than the image here.
#[tokio::test(start_paused = true)]
async fn a_version_that_was_given_out_is_waited_for() {
    let harbor = Harbor::new().await;
    harbor.make("sea", "a", 1).await;
    let at = harbor.make("sea", "b", 1).await;
    for (query, of) in [
        ("&resourceVersionMatch=Exact", at),
        ("&limit=5", at),
        ("&resourceVersionMatch=NotOlderThan", at + 1),
    ] {
        let path = format!("v1/ships?resourceVersion={of}{query}");
        let (list, _) = tokio::join!(harbor.json(&path, "application/json"), async {
            if of > at {
                harbor.make("sea", "c", 1).await;
            }
        });
        assert_eq!(list["metadata"]["resourceVersion"], of.to_string(), "{query}");
    }
    let next = harbor.make("sea", "d", 1).await;
    let token = ContinueToken::behind("sea/b", next).encode();
    let rest = harbor
        .json(&format!("v1/ships?limit=5&continue={token}"), "application/json")
        .await;
    assert_eq!(names(&rest), ["sea/c", "sea/d"]);
    // What nobody has given out is waited for as long.
    let token = ContinueToken::behind("sea/b", next + 9).encode();
    for query in [
        format!("resourceVersion={}", next + 9),
        format!("resourceVersion={}&resourceVersionMatch=Exact", next + 9),
        format!("continue={token}"),
    ] {
        let began = tokio::time::Instant::now();
        let late = harbor.refused(&format!("v1/ships?{query}")).await;
        assert_eq!(
            (late.code, &*late.reason, began.elapsed().as_secs()),
            (504, "Timeout", 3),
            "{query}"
        );
        let details = late.details.as_ref().unwrap();
        assert_eq!(
            (&*details.causes[0].reason, details.retry_after_seconds),
            ("ResourceVersionTooLarge", 1),
            "{query}"
        );
    }
}

#[tokio::test]
async fn pages_are_of_one_state_whatever_happens() {
    for (path, query, sizes, remaining) in [
        ("ships", "limit=6", vec![6, 6, 3], vec![Some(9), Some(3), None]),
        ("ships", "limit=15", vec![15], vec![None]),
        (
            "namespaces/lake/ships",
            "limit=2",
            vec![2, 2, 1],
            vec![Some(3), Some(1), None],
        ),
        (
            "ships",
            "limit=4&labelSelector=size%3Dlarge",
            vec![4, 4, 1],
            vec![None, None, None],
        ),
        (
            "ships",
            "limit=1&fieldSelector=metadata.name%3D3",
            vec![1, 1],
            vec![None, None],
        ),
    ] {
        let harbor = Harbor::new().await;
        for (namespace, count) in [("lake", 5), ("sea", 10)] {
            for n in 0..count {
                harbor.make(namespace, &n.to_string(), n * 50).await;
            }
        }
        let unpaged = format!("v1/{path}?{}", query.replace("limit", "x"));
        let whole = names(&harbor.json(&unpaged, "application/json").await);
        let (mut all, mut got, mut left, mut next) = (Vec::new(), Vec::new(), Vec::new(), String::new());
        let mut revisions = std::collections::BTreeSet::new();
        loop {
            let list = harbor
                .json(&format!("v1/{path}?{query}&continue={next}"), "application/json")
                .await;
            got.push(names(&list).len());
            left.push(list["metadata"]["remainingItemCount"].as_u64());
            revisions.insert(list["metadata"]["resourceVersion"].to_string());
            all.extend(names(&list));
            next = token(&list);
            if next.is_empty() {
                break;
            }
            // Somebody writes in between, before and behind the place where we are.
            let extra = format!("x{}", all.len());
            let at = harbor.make("a", &extra, 500).await;
            harbor.make("z", &extra, 500).await;
            harbor
                .kept
                .remove(&outrigger_storage::Key::new("a", &extra), at)
                .await
                .unwrap();
        }
        assert_eq!(all, whole, "{path}?{query}");
        assert_eq!((got, left), (sizes, remaining), "{path}?{query}");
        assert_eq!(revisions.len(), 1, "{path}?{query}");
    }
}

#[tokio::test]
async fn an_expired_page_says_how_to_go_on() {
    let harbor = Harbor::keeping(Keep {
        bytes: 16 << 10,
        ..Keep::default()
    })
    .await;
    for n in 0..6 {
        harbor.make("sea", &n.to_string(), n).await;
    }
    let first = harbor.json("v1/ships?limit=2", "application/json").await;
    let mut at = harbor.make("sea", "much", 0).await;
    for n in 0..200 {
        at = harbor.change(at, &ship("sea", "much", n)).await;
    }
    // The state is held for those who read by pages, but only for so many.
    for n in 0..10 {
        at = harbor.change(at, &ship("sea", "much", n)).await;
        harbor.json("v1/ships?limit=1", "application/json").await;
    }
    let status = harbor.refused(&format!("v1/ships?limit=2&continue={}", token(&first))).await;
    assert_eq!((status.code, &*status.reason), (410, "Expired"));
    assert!(
        status
            .message
            .starts_with("The provided continue parameter is too old to display a consistent list result.")
    );
    let go_on = status.continue_token.clone().unwrap();
    assert_eq!(ContinueToken::decode(&go_on).unwrap().version, None);
    let rest = harbor
        .json(&format!("v1/ships?limit=2&continue={go_on}"), "application/json")
        .await;
    assert_eq!(names(&rest), ["sea/2", "sea/3"]);
    assert_eq!(rest["metadata"]["resourceVersion"], at.to_string());
    // From here on the pages are of one state again.
    let last = harbor
        .json(&format!("v1/ships?limit=9&continue={}", token(&rest)), "application/json")
        .await;
    assert_eq!(last["metadata"]["resourceVersion"], at.to_string());
}

#[tokio::test]
async fn a_long_list_comes_in_pieces_and_a_short_one_whole() {
    let harbor = Harbor::new().await;
    let text = "x".repeat(1_000);
    for n in 0..600 {
        let mut ship = ship("sea", &format!("{n:04}"), n);
        ship.set("uid", &text);
        harbor
            .kept
            .put(
                &outrigger_storage::Key::new("sea", ship.name()),
                outrigger_storage::store::Expected::Absent,
                &ship,
            )
            .await
            .unwrap();
    }
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    for (accept, rows) in [("application/json", "items"), (table, "rows"), (partial, "items")] {
        for pretty in ["", "&pretty=true"] {
            let pieces = harbor.pieces(&format!("v1/ships?x=y{pretty}"), accept).await;
            assert!(pieces.len() > 5, "{accept}");
            assert!(pieces.iter().all(|piece| piece.len() < 192 << 10), "{accept}");
            let list: Value = serde_json::from_slice(&pieces.concat()).unwrap();
            let items = list[rows].as_array().unwrap();
            assert_eq!(items.len(), 600, "{accept}");
            let place = |item: &Value| match rows {
                "rows" => item["cells"][0].clone(),
                _ => item["metadata"]["name"].clone(),
            };
            assert!(
                items.iter().enumerate().all(|(n, item)| place(item) == format!("{n:04}")),
                "{accept}"
            );
            let few = harbor.pieces(&format!("v1/ships?limit=50{pretty}"), accept).await;
            assert_eq!(few.len(), 1, "{accept}");
            assert_eq!(
                serde_json::from_slice::<Value>(&few[0]).unwrap()[rows]
                    .as_array()
                    .unwrap()
                    .len(),
                50
            );
        }
    }
    let yaml = harbor.pieces("v1/ships", "application/yaml").await;
    assert_eq!(yaml.len(), 1);
    let accept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let document = protobuf::open(&harbor.pieces("v1/ships", accept).await.concat()).unwrap();
    let labels = b"\x5a\x0d\x0a\x04size\x12\x05small";
    assert_eq!(document.raw.windows(labels.len()).filter(|w| w == labels).count(), 101);
    let empty = harbor.json("v1/namespaces/none/ships", "application/json").await;
    assert_eq!(empty["items"], serde_json::json!([]));
}

#[tokio::test]
async fn cells_are_found_once_and_follow_the_object() {
    let harbor = Harbor::new().await;
    let at = harbor.make("sea", "vega", 7).await;
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let cells = |list: Value| list["rows"][0]["cells"][1].clone();
    for _ in 0..2 {
        assert_eq!(cells(harbor.json("v1/ships", table).await), "7");
    }
    let now = harbor.kept.fresh(crate::world::SOON).await.unwrap();
    let found = now.iter(std::time::SystemTime::now()).next().unwrap().found.load_full();
    assert!(found.is_some(), "it is remembered");
    harbor.change(at, &ship("sea", "vega", 8)).await;
    assert_eq!(cells(harbor.json("v1/ships", table).await), "8");
}
