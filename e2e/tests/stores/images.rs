//! Two replicas' watch caches over one etcd: what one has acknowledged, the other shows at once; and after whatever the network did.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_api::object::Object;
use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_storage::store::etcd::Etcd as Store;
use outrigger_storage::store::{Expected, Keep, Store as _};
use outrigger_storage::{Kept, Key};
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::house::{DEADLINE, open, options, ships};

/// What a cache may be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

fn object(name: &str, spec: u32) -> Object {
    let json = format!(
        r#"{{"apiVersion":"sea.example.com/v1","kind":"Ship","metadata":{{"name":"{name}","namespace":"sea"}},"spec":{spec}}}"#
    );
    Object::read(json.as_bytes()).unwrap()
}

async fn image(store: Arc<Store>, stop: &CancellationToken) -> Arc<Kept> {
    let kept = Arc::new(Kept::new(store, ships(), Keep::default()));
    let (following, end) = (kept.clone(), stop.clone());
    tokio::spawn(async move { following.follow(end).await });
    tokio::time::timeout(DEADLINE, kept.filled()).await.unwrap();
    kept
}

/// Names and revisions.
async fn shown(kept: &Kept) -> Vec<(String, u64)> {
    let snapshot = kept.fresh(PATIENCE).await.unwrap();
    let entries = snapshot.iter(SystemTime::now());
    entries
        .map(|entry| (entry.row.key.name.to_string(), entry.revision))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_acknowledges_the_other_shows() {
    let etcd = Etcd::start("images", &Kind::default()).unwrap();
    let gate = Gate::to(etcd.address()).await;
    let stop = CancellationToken::new();
    let direct = open(options(&[etcd.url()])).await;
    let one = image(direct.clone(), &stop).await;
    let other = image(open(options(&[gate.url()])).await, &stop).await;
    let key = Key::new("sea", "vega");
    let mut last = Expected::Absent;
    for n in 0..100 {
        let written = one.put(&key, last, &object("vega", n)).await.unwrap().revision;
        last = Expected::At(written);
        let seen = other.get(&key, PATIENCE).await.unwrap().unwrap();
        assert_eq!(seen.revision, written);
    }

    // The way of one is cut, its past is compacted, objects come and go: it lists again and shows the same.
    for round in 0..3 {
        gate.set(false);
        for n in 0..20 {
            let name = format!("s{round}-{n}");
            let key = Key::new("sea", name.as_str());
            let written = one.put(&key, Expected::Absent, &object(&name, n)).await.unwrap().revision;
            if n % 3 == 0 {
                one.remove(&key, written).await.unwrap();
            }
        }
        if round > 0 {
            let now = direct.revision(&ships()).await.unwrap();
            direct.compact(now).await.unwrap();
        }
        gate.set(true);
        let shown_by_one = shown(&one).await;
        assert_eq!(shown(&other).await, shown_by_one, "round {round}");
        assert_eq!(shown_by_one.len(), 1 + 13 * (round + 1));
    }
    stop.cancel();
}
