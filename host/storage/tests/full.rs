//! A disk without room: writes are refused with a sentence, what is there stays and is read, and writing goes on when there is room, without
//! a restart.
//!
//! The test starts itself again, with a limit to the size of its files; one that needs root does the same on a file system that is full.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use outrigger_storage::Key;
use outrigger_storage::store::embedded::Embedded;
use outrigger_storage::store::{Expected, Keep, PageOf, Prefix, Store, StoreError, Write};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where the child writes.
const FOLDER: &str = "OUTRIGGER_FULL_FOLDER";
/// A file that takes room; without one the limit is that of the process.
const BALLAST: &str = "OUTRIGGER_FULL_BALLAST";
/// The limit of the process, in bytes: the file is 4 MiB then, since it grows by doubling.
const LIMIT: u64 = 5 << 20;

fn of() -> Prefix {
    Prefix::of("full.test", "ships")
}

async fn create(store: &Embedded, n: usize) -> Result<u64, StoreError> {
    let write = Write {
        key: of().object(&Key::new("sea", &format!("s{n:06}"))),
        expected: Expected::Absent,
        value: Some(Bytes::from(vec![b'x'; 5_000])),
    };
    store.write(write).await
}

async fn there(store: &Embedded) -> usize {
    store.list(&of(), &PageOf::default()).await.unwrap().items.len()
}

/// The process without room. Does nothing when it is run as a test.
#[tokio::test]
async fn writes_until_it_is_full() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let ballast = std::env::var(BALLAST).ok();
    let hard = getrlimit(Resource::Fsize);
    if ballast.is_none() {
        let current = Some(LIMIT);
        setrlimit(Resource::Fsize, Rlimit { current, ..hard }).unwrap();
    }
    let store = Embedded::open(folder, Keep::default()).unwrap();
    let mut written = 0;
    let error = loop {
        match create(&store, written).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100_000, "it was never full");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(written > 100, "{written}, {error}");
    assert_eq!(
        there(&store).await,
        written,
        "reads go on, and nothing half written is among them"
    );
    // It stays refused, also when it has looked again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let small = create(&store, written).await;
    assert!(matches!(small, Ok(_) | Err(StoreError::Full(_))), "{small:?}");
    written += usize::from(small.is_ok());

    match ballast {
        Some(ballast) => std::fs::remove_file(ballast).unwrap(),
        None => setrlimit(Resource::Fsize, hard).unwrap(),
    }
    let mut tries = 0;
    while let Err(error) = create(&store, written).await {
        assert!(matches!(error, StoreError::Full(_)) && tries < 100, "{error}");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    written += 1;
    for _ in 0..50 {
        create(&store, written).await.unwrap();
        written += 1;
    }
    assert_eq!(there(&store).await, written);
    drop(store);
    let store = Embedded::open(folder, Keep::default()).unwrap();
    assert_eq!(there(&store).await, written, "as much after a restart");
    println!("@{written} objects, full after {tries} tries with room");
}

/// Runs the child, which must not be ended by the signal that a file over its limit brings.
fn child(folder: &Path, ballast: Option<&Path>) {
    let mut child = Command::new("sh");
    child
        .args(["-c", "trap '' XFSZ; exec \"$0\" writes_until_it_is_full --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder);
    if let Some(ballast) = ballast {
        child.env(BALLAST, ballast);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains('@'), "{text}");
    println!("{text}");
}

#[test]
fn a_file_at_its_limit_stops_writes_alone() {
    let dir = tempfile::tempdir().unwrap();
    child(dir.path(), None);
}

#[test]
#[ignore = "needs root: it mounts a small file system"]
fn a_full_file_system_stops_writes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, args: &[&str]| assert!(Command::new(program).args(args).status().unwrap().success());
    let at = dir.path().to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=24m", "tmpfs", at]);
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let result = std::panic::catch_unwind(|| child(&dir.path().join("store"), Some(&ballast)));
    run("umount", &[at]);
    result.unwrap();
}
