//! What stands in a store's file and in a stream of objects: nothing that is read makes a panic, and what is taken is written again just so.
#![no_main]

use std::sync::Arc;

use futures::TryStreamExt as _;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use outrigger_storage::store::memory::Memory;
use outrigger_storage::store::stream::{Backup, Decoder, export};
use outrigger_storage::store::{Keep, Store, frame};
use sha2::{Digest as _, Sha256};

/// More than any input has.
const MOST: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    frames(bytes);
    stream(bytes);
    // With the digest that belongs to it, so that chance need not find a hash first.
    stream(&sealed(bytes));
});

fn frames(bytes: &[u8]) {
    let key = "g/ships/n/a";
    if let Ok((stored, hash)) = frame::read_object(key, bytes) {
        assert_eq!(frame::object(&stored), (bytes.to_vec(), hash));
    }
    if let Ok(past) = frame::read_past(7, bytes) {
        assert_eq!(frame::past(&past), bytes);
    }
    if let Ok(mark) = frame::read_mark(bytes) {
        assert_eq!(frame::mark(&mark), bytes);
    }
    if let Ok(revision) = frame::read_acknowledged(bytes) {
        assert_eq!(frame::acknowledged(revision), bytes);
    }
}

fn stream(bytes: &[u8]) {
    let whole = Backup::read_from(bytes, MOST);
    let mut decoder = Decoder::default();
    let pieces = bytes.chunks(7).try_for_each(|piece| decoder.push(piece, MOST));
    let in_pieces = pieces.and_then(|()| decoder.finish());
    let backup = match (whole, in_pieces) {
        (Ok(whole), Ok(in_pieces)) => {
            assert_eq!(whole, in_pieces);
            whole
        }
        (Err(_), Err(_)) => return,
        (whole, in_pieces) => panic!("{whole:?}, in pieces {in_pieces:?}"),
    };
    // Into a store and out again: the same objects.
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(Memory::new(Keep::default()));
        let report = backup.import(&*store, false).await.unwrap();
        assert_eq!(report.created, backup.objects.len() as u64);
        let again: Vec<_> = export(store, backup.header.of.clone()).try_collect().await.unwrap();
        let again = Backup::read_from(&again.concat()[..], MOST).unwrap();
        let values = |backup: &Backup| -> Vec<_> { backup.objects.iter().map(|o| (o.key.clone(), o.value.clone())).collect() };
        assert_eq!(values(&again), values(&backup));
    });
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut stream = bytes.to_vec();
    if !stream.ends_with(b"\n") {
        stream.push(b'\n');
    }
    let objects = stream.iter().filter(|byte| **byte == b'\n').count() - 1;
    let digest: String = Sha256::digest(&stream).iter().map(|byte| format!("{byte:02x}")).collect();
    stream.extend(format!("{{\"objects\":{objects},\"digest\":\"sha256:{digest}\"}}\n").into_bytes());
    stream
}
