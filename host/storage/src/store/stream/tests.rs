//! Streams of objects, there and back, cut, changed, and made while others write.

use super::super::Keep;
use super::super::memory::Memory;
use super::*;
use crate::Key;

const MOST: usize = 1 << 30;

fn key(plural: &str, name: &str) -> ObjectKey {
    Prefix::of("g", plural).object(&Key::new("n", name))
}

async fn write(store: &dyn Store, key: ObjectKey, value: &[u8]) -> u64 {
    let there = store.get(&key).await.unwrap();
    let expected = there.map_or(Expected::Absent, |there| Expected::At(there.revision));
    let value = Some(Bytes::copy_from_slice(value));
    store.write(Write { key, expected, value }).await.unwrap()
}

async fn exported(store: &Arc<dyn Store>, of: Option<Prefix>) -> Vec<u8> {
    let pieces: Vec<Bytes> = export(store.clone(), of).try_collect().await.unwrap();
    pieces.concat()
}

async fn all(store: &dyn Store) -> Vec<(ObjectKey, Bytes)> {
    let mut all = Vec::new();
    for prefix in store.prefixes().await.unwrap() {
        let page = store.list(&prefix, &PageOf::default()).await.unwrap();
        all.extend(page.items.into_iter().map(|item| (item.key, item.value)));
    }
    all
}

async fn some() -> Arc<dyn Store> {
    let store = Memory::default();
    for (plural, name, value) in [
        ("ships", "b", &b"{\"a\": [1, 2.50e1], \"\xc3\xb8\":\"\\n\"}"[..]),
        ("ships", "a", b"{\"a\":1}"),
        ("ports", "lines", b"{\n}"),
        ("ports", "space", b" {} "),
        ("ports", "bytes", &[0, 255, 10, 13]),
        ("ports", "empty", b""),
        ("shipsandmore", "a", b"\"text\""),
    ] {
        write(&store, key(plural, name), value).await;
    }
    write(&store, key("ships", "a"), b"{\"a\":2}").await;
    Arc::new(store)
}

#[tokio::test]
async fn a_stream_has_every_byte_of_one_moment() {
    let store = some().await;
    let bytes = exported(&store, None).await;
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 9);
    assert!(
        lines[0].starts_with("{\"outrigger\":\"objects\",\"format\":1,\"revision\":9,\"time\":\"20"),
        "{text}"
    );
    assert_eq!(lines[5], "{\"key\":\"g/ships/n/a\",\"revision\":9,\"object\":{\"a\":2}}");
    assert!(lines[8].starts_with("{\"objects\":7,\"digest\":\"sha256:"), "{text}");
    // In pieces of any size.
    let whole = Backup::read_from(&bytes[..], MOST).unwrap();
    for size in [1, 2, 7, 100] {
        let mut decoder = Decoder::default();
        bytes.chunks(size).for_each(|piece| decoder.push(piece, MOST).unwrap());
        assert_eq!(decoder.finish().unwrap(), whole, "{size}");
    }
    let found: Vec<_> = whole.objects.iter().map(|o| (o.key.clone(), o.value.clone())).collect();
    assert_eq!(found, all(&*store).await);
    // One resource alone, and not the one whose name begins so.
    let ships = Backup::read_from(&exported(&store, Some(Prefix::of("g", "ships"))).await[..], MOST).unwrap();
    assert_eq!(ships.header.of, Some(Prefix::of("g", "ships")));
    assert_eq!(ships.objects.len(), 2);
    let empty: Arc<dyn Store> = Arc::new(Memory::default());
    let nothing = Backup::read_from(&exported(&empty, None).await[..], MOST).unwrap();
    assert_eq!((nothing.objects.len(), nothing.header.revision), (0, 1));
}

#[tokio::test]
async fn what_was_cut_or_changed_is_refused() {
    let bytes = exported(&some().await, None).await;
    for length in 0..bytes.len() {
        let error = Backup::read_from(&bytes[..length], MOST).unwrap_err();
        assert!(
            matches!(error, StreamError::Cut { .. } | StreamError::Other(_)),
            "cut to {length}: {error}"
        );
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(Backup::read_from(&changed[..], MOST).is_err(), "byte {at} bit {bit}");
        }
    }
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |n: usize| {
        lines
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != n)
            .map(|(_, l)| format!("{l}\n"))
            .collect::<String>()
    };
    for n in 0..lines.len() {
        assert!(Backup::read_from(without(n).as_bytes(), MOST).is_err(), "without line {n}");
    }
    for (stream, want) in [
        (format!("{text}{}\n", lines[1]), "behind the last one"),
        ("hello\n".to_owned(), "no stream of objects"),
        (
            "{\"outrigger\":\"pictures\",\"format\":1}\n".to_owned(),
            "it is of \"pictures\"",
        ),
        (
            "{\"outrigger\":\"objects\",\"format\":2,\"more\":[]}\n".to_owned(),
            "newer version (format 2",
        ),
        (format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1]), "does not follow"),
        (format!("{}\n{}\n{}\n", lines[0], lines[1], lines[1]), "does not follow"),
    ] {
        let error = Backup::read_from(stream.as_bytes(), MOST).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    let error = Backup::read_from(&bytes[..], 10).unwrap_err();
    assert!(matches!(error, StreamError::TooLarge { most: 10 }), "{error}");
    let mut endless = Decoder::default();
    let piece = vec![b'x'; 1 << 20];
    assert!(
        (0..13).any(|_| endless.push(&piece, MOST).is_err()),
        "a line without an end is not kept"
    );
}

/// Two objects are always written one after the other: at any one moment the second is the first, or one behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_of_one_moment_while_others_write() {
    let store: Arc<dyn Store> = Arc::new(Memory::new(Keep::default()));
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..20_000_u32 {
                for plural in ["alpha", "omega"] {
                    write(&*store, key(plural, "counter"), n.to_string().as_bytes()).await;
                }
            }
        })
    };
    let mut exports = 0;
    while !writing.is_finished() {
        let backup = Backup::read_from(&exported(&store, None).await[..], MOST).unwrap();
        let count = |plural: &str| -> Option<u32> {
            let object = backup.objects.iter().find(|o| o.key == key(plural, "counter"))?;
            std::str::from_utf8(&object.value).unwrap().parse().ok()
        };
        match (count("alpha"), count("omega")) {
            (None, None) | (Some(0), None) => {}
            (Some(alpha), Some(omega)) => assert!(alpha == omega || alpha == omega + 1, "{alpha} and {omega}"),
            other => panic!("{other:?}"),
        }
        assert!(backup.objects.iter().all(|o| o.revision <= backup.header.revision));
        exports += 1;
    }
    writing.await.unwrap();
    assert!(exports > 1);
}

/// A store that is elsewhere, as far as an export can tell.
struct Elsewhere(Memory);

#[async_trait::async_trait]
impl Store for Elsewhere {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError> {
        self.0.get(key).await
    }
    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<super::super::Page, StoreError> {
        assert!((1..=PAGE).contains(&page.limit), "page by page");
        self.0.list(of, page).await
    }
    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        self.0.write(write).await
    }
    async fn watch(&self, of: &Prefix, after: u64) -> Result<super::super::Changes, StoreError> {
        self.0.watch(of, after).await
    }
    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        self.0.revision(of).await
    }
    fn is_local(&self) -> bool {
        false
    }
    fn oldest(&self) -> Option<u64> {
        None
    }
    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.0.compact(revision).await
    }
    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        self.0.prefixes().await
    }
}

#[tokio::test]
async fn a_store_elsewhere_is_read_page_by_page_and_may_forget() {
    let memory = Memory::default();
    for plural in ["ports", "ships"] {
        for n in 0..1_234 {
            write(
                &memory,
                key(plural, &format!("s{n}")),
                format!("{{\"x\":\"{}\"}}", "y".repeat(100)).as_bytes(),
            )
            .await;
        }
    }
    let store: Arc<dyn Store> = Arc::new(Elsewhere(memory.clone()));
    let backup = Backup::read_from(&exported(&store, None).await[..], MOST).unwrap();
    assert_eq!(backup.objects.len(), 2_468);

    let mut pieces = Box::pin(export(store, None));
    let mut bytes = pieces.next().await.unwrap().unwrap().to_vec();
    bytes.extend(pieces.next().await.unwrap().unwrap());
    let last = write(&memory, key("ships", "s1"), b"{}").await;
    memory.compact(last).await.unwrap();
    let error = loop {
        match pieces.next().await.expect("no end without a last line") {
            Ok(piece) => bytes.extend(piece),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StreamError::Store(StoreError::Compacted { .. })), "{error}");
    assert!(matches!(Backup::read_from(&bytes[..], MOST), Err(StreamError::Cut { .. })));
}

#[tokio::test]
async fn a_backup_is_restored_into_a_folder_that_has_no_store() {
    let store = some().await;
    let backup = Backup::read_from(&exported(&store, None).await[..], MOST).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let revision = backup.restore(dir.path(), AHEAD).unwrap();
    assert_eq!(revision, 9 + AHEAD);
    assert!(matches!(backup.restore(dir.path(), AHEAD), Err(StoreError::InUse { .. })));
    let restored = Embedded::open(dir.path(), Keep::default()).unwrap();
    assert_eq!(all(&restored).await, all(&*store).await);
    let a = restored.get(&key("ships", "a")).await.unwrap().unwrap();
    assert_eq!(a.revision, 9, "clients know it by this");
    assert_eq!(write(&restored, key("ships", "a"), b"{}").await, revision + 1);
}

#[tokio::test]
async fn an_import_says_what_it_has_done() {
    let store = some().await;
    let backup = Backup::read_from(&exported(&store, None).await[..], MOST).unwrap();
    let other = Memory::default();
    write(&other, key("ships", "a"), b"{\"a\":2}").await;
    write(&other, key("ships", "b"), b"{}").await;
    write(&other, key("ships", "more"), b"{}").await;
    write(&other, key("others", "more"), b"{}").await;
    let report = backup.import(&other, false).await.unwrap();
    let want = Report {
        created: 5,
        replaced: 1,
        unchanged: 1,
        ..Report::default()
    };
    assert_eq!(report, want);
    assert_eq!(all(&other).await.len(), 9);
    let report = backup.import(&other, true).await.unwrap();
    let want = Report {
        unchanged: 7,
        removed: 2,
        ..Report::default()
    };
    assert_eq!(report, want);
    assert_eq!(all(&other).await, all(&*store).await);

    // Of one resource: nothing else is removed.
    write(&other, key("ships", "more"), b"{}").await;
    write(&other, key("ports", "more"), b"{}").await;
    let ships = Backup::read_from(&exported(&store, Some(Prefix::of("g", "ships"))).await[..], MOST).unwrap();
    let report = ships.import(&other, true).await.unwrap();
    assert_eq!((report.unchanged, report.removed), (2, 1));
    assert!(other.get(&key("ports", "more")).await.unwrap().is_some());

    // What the store does not take is said, and the rest goes on; a store that is closed stops it.
    let mut large = ships.clone();
    large.objects[0].value = vec![b'1'; 9 << 20].into();
    let report = large.import(&other, false).await.unwrap();
    assert_eq!((report.refused.len(), report.unchanged), (1, 1));
    let dir = tempfile::tempdir().unwrap();
    let closed = Embedded::open(dir.path(), Keep::default()).unwrap();
    closed.close();
    let stopped = ships.import(&closed, false).await.unwrap_err();
    assert!(matches!(stopped.source, StoreError::Closed), "{stopped}");
    assert_eq!(stopped.done, Report::default());
}
