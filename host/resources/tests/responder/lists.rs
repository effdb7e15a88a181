//! Lists: selectors, forms, pages, and streams whose clients go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use outrigger_resources::Answer;
use outrigger_sandbox::{Answered, Ask, ContractError};
use serde_json::{Value, json};

use crate::world::{World, book, books, names, refused};

#[tokio::test]
async fn selectors_and_namespaces_are_the_hosts() {
    for poll in [0, 5] {
        let world = World::new(poll);
        for (path, want) in [
            ("namespaces/sea/books?labelSelector=by%3Dverne", vec!["sea/nemo"]),
            ("books?labelSelector=by!%3Dverne", vec!["land/emma", "sea/moby"]),
            ("books?fieldSelector=metadata.name%3Dmoby", vec!["sea/moby"]),
            ("books?fieldSelector=metadata.namespace%3Dland", vec!["land/emma"]),
            ("namespaces/none/books", vec![]),
        ] {
            let mut got = names(&world.json(path).await);
            got.sort();
            assert_eq!(got, want, "{poll} {path}");
        }
        let refused = world.send("GET", "books?fieldSelector=spec.x%3D1", "").await.unwrap_err();
        assert_eq!(refused.code, 400);
    }
}

#[tokio::test]
async fn lists_come_in_every_form() {
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    for poll in [0, 5] {
        let world = World::new(poll);
        let path = "namespaces/land/books";
        let read = |accept: &'static str| {
            let world = &world;
            async move { world.send_as("GET", path, accept, ("", "")).await.unwrap() }
        };
        let rows = read(table).await.json();
        assert_eq!(rows["rows"][0]["cells"], json!(["emma", "austen", 100]), "{rows}");
        assert_eq!(rows["columnDefinitions"][1]["name"], "Author");
        let metadata = read(partial).await.json();
        assert_eq!(metadata["items"][0]["metadata"]["labels"]["by"], "austen");
        assert_eq!(metadata["items"][0].get("spec"), None);
        let yaml = String::from_utf8(read("application/yaml").await.body).unwrap();
        assert!(yaml.contains("author: austen") && yaml.contains("kind: BookList"), "{yaml}");
        let list = read("application/json").await.json();
        assert!(
            list["metadata"]["resourceVersion"].as_str().is_some_and(|v| v.len() > 10),
            "{list}"
        );
        assert_eq!(list["items"][0].get("kind"), None, "items have no type of their own");
        let protobuf = read("application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await;
        assert!(protobuf.body.starts_with(b"k8s\0"));
        let one = world
            .send_as("GET", "namespaces/land/books/emma", table, ("", ""))
            .await
            .unwrap()
            .json();
        assert_eq!(one["rows"][0]["cells"], json!(["emma", "austen", 100]));
    }
}

#[tokio::test]
async fn pages_are_sorted_and_follow_each_other() {
    for poll in [0, 5] {
        let world = World::new(poll);
        for n in 0..20 {
            world.shelf.put(&book("sea", &format!("n{n:02}"), "x"));
        }
        let (mut seen, mut token) = (Vec::new(), String::new());
        for page in 0.. {
            assert!(page < 10);
            let list = world.json(&format!("books?limit=7&continue={token}")).await;
            seen.extend(names(&list));
            match list["metadata"]["continue"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => break,
            }
        }
        let mut sorted = seen.clone();
        sorted.sort();
        assert_eq!((seen.len(), &seen), (23, &sorted), "{poll}");
    }
}

/// A guest that writes without end: a client that reads gets pieces, one that goes ends the guest, and nothing piles up.
#[tokio::test]
async fn an_endless_list_waits_for_its_reader_and_ends_with_it() {
    let (written, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    let (count, life) = (Arc::clone(&written), Arc::clone(&alive));
    let world = World::with(books(0), move |_, ask| {
        let (count, life) = (Arc::clone(&count), Arc::clone(&life));
        async move {
            let _alive = life;
            let Ask::List(mut to) = ask else { panic!() };
            for n in 0.. {
                let book = book("sea", &format!("n{n}"), &"x".repeat(1000)).to_string();
                to.write(book.into()).await.map_err(|e| refused(e, Vec::new()))?;
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Answered::default())
        }
    });
    let (answer, _) = world.answer("GET", "books", "application/json", ("", "")).await.unwrap();
    let Answer::Stream { code, mut body, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(code, 200);
    let mut bytes = 0;
    for _ in 0..50 {
        bytes += body.next().await.unwrap().unwrap().len();
    }
    let ahead = written.load(Ordering::SeqCst) - bytes / 2300;
    assert!(ahead < 200, "{ahead} objects are held for a reader that has {bytes} bytes");
    let before = written.load(Ordering::SeqCst);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(written.load(Ordering::SeqCst), before, "nobody reads, so nobody writes");
    assert_eq!(Arc::strong_count(&alive), 3);
    drop(body);
    assert_eq!(Arc::strong_count(&alive), 2, "the guest is gone with its reader");
}

#[tokio::test]
async fn a_failure_before_the_first_piece_is_a_status_and_later_the_connection_is_cut() {
    for (objects, streamed) in [(1, false), (200, true)] {
        let world = World::with(books(0), move |_, ask| async move {
            let Ask::List(mut to) = ask else { panic!() };
            for n in 0..objects {
                let book = book("sea", &format!("n{n}"), &"x".repeat(1000)).to_string();
                to.write(book.into()).await.map_err(|e| refused(e, Vec::new()))?;
            }
            Err(refused(ContractError::Unavailable("the shelf is locked".into()), Vec::new()))
        });
        match world.answer("GET", "books", "application/json", ("", "")).await {
            Ok((Answer::Stream { mut body, .. }, _)) if streamed => {
                let mut last = None;
                while let Some(piece) = body.next().await {
                    last = Some(piece);
                }
                assert!(last.unwrap().is_err());
            }
            Err(status) if !streamed => assert_eq!((status.code, status.message.as_str()), (503, "the shelf is locked")),
            other => panic!("{objects}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_long_list_is_whole_also_when_it_is_streamed() {
    for accept in ["application/json", "application/json;as=Table;g=meta.k8s.io;v=v1"] {
        for pretty in ["", "?pretty=1"] {
            let world = World::new(0);
            for n in 0..2000 {
                world
                    .shelf
                    .put(&book("sea", &format!("n{n:04}"), "somebody with a long name"));
            }
            let (answer, _) = world
                .answer("GET", &format!("books{pretty}"), accept, ("", ""))
                .await
                .unwrap();
            assert!(matches!(answer, Answer::Stream { .. }), "{answer:?}");
            let (_, body) = crate::world::whole(answer).await;
            let list: Value = serde_json::from_slice(&body).unwrap();
            let items = list.get("items").or(list.get("rows")).unwrap().as_array().unwrap();
            assert_eq!(items.len(), 2003, "{accept} {pretty}");
        }
    }
}
