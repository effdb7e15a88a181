//! Files that somebody or something has changed: refused with a sentence and left as they are, or, if the change is where nothing stands,
//! opened with exactly what was written. Never guessed.

use super::super::super::frame::FORMAT;
use super::*;

/// A store's bytes, closed as it should be or left by a crash, and what it must equal.
async fn image(closed: bool) -> (Vec<u8>, Model) {
    let (mem, store) = made();
    live(&store, 8).await;
    let model = model(&store).await;
    if closed {
        store.close();
    }
    (mem.copy(), model)
}

/// Opens changed bytes. Whether they were refused.
fn refused(changed: Vec<u8>, model: &Model, what: &str) -> bool {
    let newest = model.len() as u64 - 1;
    let mem = Arc::new(Mem::of(changed.clone()));
    match over(&mem) {
        Ok(store) => {
            let revision = is_of(&store, model).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(revision, newest, "{what}: acknowledged writes are lost");
            false
        }
        Err(error) => {
            assert!(
                matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. }),
                "{what}: {error}"
            );
            assert!(mem.copy() == changed, "{what}: it was written to");
            true
        }
    }
}

/// One byte of each sixth of a page, with one bit or all bits changed.
#[tokio::test]
async fn changed_bytes_are_refused_or_harmless() {
    for closed in [true, false] {
        let (bytes, model) = image(closed).await;
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let (mut refusals, mut all) = (0, 0);
        let dense = (0..64).chain(1024..1056).chain(4096..4096 + 320);
        for (n, at) in dense.chain((4096 + 320..used).step_by(683)).enumerate() {
            let mut changed = bytes.clone();
            changed[at] ^= if n % 2 == 0 { 1 << (n / 2 % 8) } else { 0xff };
            all += 1;
            refusals += usize::from(refused(changed, &model, &format!("byte {at}, closed {closed}")));
        }
        assert!(refusals > all / 20, "{refusals} of {all}");
    }
}

#[tokio::test]
async fn files_that_are_cut_are_refused() {
    for closed in [true, false] {
        let (bytes, model) = image(closed).await;
        for length in [
            0,
            1,
            20,
            4095,
            4096,
            4097,
            4096 + 320,
            8192,
            bytes.len() / 2,
            bytes.len() - 4096,
            bytes.len() - 1,
        ] {
            let what = format!("cut to {length}, closed {closed}");
            assert!(refused(bytes[..length].to_vec(), &model, &what), "{what}");
        }
        assert!(refused([&bytes[..], b"x"].concat(), &model, "longer"));
    }
}

/// Pages that were never written, or written elsewhere, as by a disk that forgets or a file system that mixes things up.
#[tokio::test]
async fn lost_and_misplaced_pages_are_refused_or_harmless() {
    const PAGE: usize = 4096;
    for closed in [true, false] {
        let (bytes, model) = image(closed).await;
        let pages = bytes.len() / PAGE;
        let mut refusals = 0;
        for page in (0..pages)
            .filter(|p| bytes[p * PAGE..(p + 1) * PAGE].iter().any(|b| *b != 0))
            .step_by(2)
        {
            let mut lost = bytes.clone();
            lost[page * PAGE..(page + 1) * PAGE].fill(0);
            refusals += usize::from(refused(lost, &model, &format!("lost page {page}")));
            let other = (page * 7 + 3) % pages;
            let mut misplaced = bytes.clone();
            misplaced.copy_within(other * PAGE..(other + 1) * PAGE, page * PAGE);
            refusals += usize::from(refused(misplaced, &model, &format!("page {other} in place of {page}")));
        }
        assert!(refusals > 10, "{refusals}");
    }
}

/// Rows that are whole, but not those that were written: each has its hash, only the whole does not fit.
#[tokio::test]
async fn rows_of_another_time_are_refused() {
    use redb::{Database, ReadableTable as _, TableDefinition};
    const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
    const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
    type Change = fn(&redb::WriteTransaction);
    let changes: [(&str, Change); 5] = [
        ("a lost object", |write| {
            write.open_table(OBJECTS).unwrap().pop_first().unwrap().unwrap();
        }),
        ("an object under another key", |write| {
            let mut objects = write.open_table(OBJECTS).unwrap();
            let (key, row) = objects
                .pop_first()
                .unwrap()
                .map(|(k, v)| (k.value().to_owned(), v.value().to_vec()))
                .unwrap();
            objects.insert(&*format!("{key}x"), &*row).unwrap();
        }),
        ("an object as it was before", |write| {
            let mut objects = write.open_table(OBJECTS).unwrap();
            let key = objects.first().unwrap().unwrap().0.value().to_owned();
            let old = Stored {
                key: ObjectKey::parse(&key).unwrap(),
                value: Bytes::from_static(b"{}"),
                revision: 2,
            };
            objects.insert(&*key, &*super::super::super::frame::object(&old).0).unwrap();
        }),
        ("a lost change", |write| {
            write.open_table(HISTORY).unwrap().remove(30).unwrap().unwrap();
        }),
        ("a lost newest change", |write| {
            write.open_table(HISTORY).unwrap().pop_last().unwrap().unwrap();
        }),
    ];
    for (what, change) in changes {
        let (bytes, model) = image(true).await;
        let mem = Arc::new(Mem::of(bytes));
        let db = Database::builder().create_with_backend(Disk::new(mem.clone())).unwrap();
        let write = db.begin_write().unwrap();
        change(&write);
        write.commit().unwrap();
        drop(db);
        assert!(refused(mem.copy(), &model, what), "{what}");
    }
}

#[tokio::test]
async fn files_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let (bytes, _) = image(true).await;
    let mut newer = bytes.clone();
    newer[16] = (FORMAT + 1) as u8;
    let text = b"this is a text and not a store, whatever its name says; it stays as it is".to_vec();
    for (file, newer) in [
        (text, false),
        (bytes[4096..].to_vec(), false),
        (Vec::new(), false),
        (newer, true),
    ] {
        std::fs::write(&path, &file).unwrap();
        let error = Embedded::open(dir.path(), Keep::default()).unwrap_err();
        match &error {
            StoreError::Damaged { path: at, .. } => assert!(!newer && *at == path, "{error}"),
            StoreError::Newer { path: at, found, known } => {
                assert!(newer && *at == path && *found == known + 1, "{error}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), file);
    }
}
