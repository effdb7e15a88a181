//! Disks that are full or fail: the outcome of each write is certain or is said not to be, reads go on, and writing goes on when it can.

use std::io::ErrorKind;

use super::medium::Fault;
use super::*;

/// Whether `name` has `value` now and after a start on the same file.
async fn has(mem: &Arc<Mem>, store: &Embedded, name: &str, value: Option<&str>) -> bool {
    let in_memory = store.get(&ship(name)).await.unwrap();
    let image = Arc::new(Mem::of(mem.copy()));
    let again = over(&image).unwrap().get(&ship(name)).await.unwrap();
    assert_eq!(in_memory, again, "memory and file say the same");
    in_memory.as_ref().map(|s| &s.value[..]) == value.map(str::as_bytes)
}

/// Each operation of a commit fails once, by each cause.
#[tokio::test]
async fn a_failure_anywhere_has_a_certain_outcome() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for at in 0.. {
            let (mem, store) = made();
            put(&store, "a", "old").await.unwrap();
            let before = store.revision(&of()).await.unwrap();
            mem.break_with(Fault {
                at: Some((at, kind)),
                ..Fault::default()
            });
            let outcome = put(&store, "a", &"new".repeat(2000)).await;
            let failed = mem.has_failed();
            mem.break_with(Fault::default());
            let new = "new".repeat(2000);
            match &outcome {
                Ok(revision) => {
                    assert_eq!(*revision, before + 1);
                    assert!(has(&mem, &store, "a", Some(&new)).await, "{kind} at {at}");
                }
                Err(StoreError::Full(_)) => {
                    assert_eq!(kind, ErrorKind::StorageFull);
                    assert!(has(&mem, &store, "a", Some("old")).await, "{kind} at {at}");
                }
                Err(StoreError::Unavailable(_)) => {
                    assert_eq!(kind, ErrorKind::Other);
                    assert!(has(&mem, &store, "a", Some("old")).await, "{kind} at {at}");
                }
                other => panic!("{kind} at {at}: {other:?}; it could be opened again at once"),
            }
            // It goes on without a restart.
            let next = until_written(&store, "b").await;
            assert_eq!(next, store.revision(&of()).await.unwrap());
            assert_eq!(next, before + 1 + u64::from(outcome.is_ok()), "no revision is left out");
            assert!(has(&mem, &store, "b", Some("1")).await);
            if !failed {
                assert!(at > 3, "a commit is more than {at} operations");
                break;
            }
        }
    }
}

/// Everything fails for a while: what cannot be known is said, reads and watches go on, and when the disk is back the file decides.
#[tokio::test]
async fn a_disk_that_is_away_stops_writes_alone() {
    for at in 0..12 {
        let (mem, store) = made();
        put(&store, "a", "old").await.unwrap();
        let before = store.revision(&of()).await.unwrap();
        // First the one operation, and then all that the store tries to find out.
        mem.break_with(Fault {
            at: Some((at, ErrorKind::Other)),
            ..Fault::default()
        });
        let breaking = {
            let mem = mem.clone();
            std::thread::spawn(move || {
                while !mem.has_failed() {
                    std::thread::yield_now();
                }
                mem.break_with(Fault {
                    all: Some(ErrorKind::Other),
                    ..Fault::default()
                });
            })
        };
        let outcome = put(&store, "a", "new").await;
        // The write may have been done with fewer operations, or the store was faster than the breaking.
        mem.break_with(Fault {
            all: Some(ErrorKind::Other),
            ..Fault::default()
        });
        breaking.join().unwrap();
        let second = put(&store, "b", "1").await.unwrap_err();
        assert!(
            matches!(second, StoreError::Unavailable(_) | StoreError::Unknown(_)),
            "{second}"
        );
        assert!(store.list(&of(), &PageOf::default()).await.is_ok(), "reads go on");
        mem.break_with(Fault::default());
        let revision = until_written(&store, "c").await;
        let after = store.get(&ship("a")).await.unwrap().unwrap();
        match outcome {
            Ok(written) => assert_eq!((written, &after.value[..]), (before + 1, &b"new"[..])),
            Err(StoreError::Unavailable(_)) => assert_eq!(&after.value[..], b"old", "it was said that nothing has changed"),
            Err(StoreError::Unknown(_)) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(has(&mem, &store, "a", Some(std::str::from_utf8(&after.value).unwrap())).await);
        assert_eq!(changes(&store, 1).await.last().map(|c| c.revision), Some(revision));
    }
}

async fn until_written(store: &Embedded, name: &str) -> u64 {
    for _ in 0..300 {
        match put(store, name, "1").await {
            Ok(revision) => return revision,
            Err(StoreError::Full(_) | StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it never came back");
}

#[tokio::test]
async fn a_full_disk_stops_writes_until_there_is_room() {
    let (mem, store) = made();
    mem.break_with(Fault {
        room: Some(mem.copy().len() as u64),
        ..Fault::default()
    });
    let value = "x".repeat(20_000);
    let mut written = 0;
    let error = loop {
        match put(&store, &format!("s{written}"), &value).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "it was never full");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(matches!(put(&store, "b", "1").await, Ok(_) | Err(StoreError::Full(_))));
    let page = store.list(&of(), &PageOf::default()).await.unwrap();
    assert!(page.items.len() >= written, "reads go on");
    assert!(!has(&mem, &store, &format!("s{written}"), Some(&value)).await);
    mem.break_with(Fault::default());
    until_written(&store, "c").await;
    put(&store, &format!("s{written}"), &value).await.unwrap();
    assert!(has(&mem, &store, &format!("s{written}"), Some(&value)).await);
}
