//! A plugin comes and goes while clients read what is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrigger_catalog::testing::Native;
use outrigger_catalog::{Catalog, Installed};
use outrigger_resources::{Options, ReadMetrics, Resources};
use outrigger_sandbox::Collected;
use outrigger_server::Routes;
use outrigger_storage::Nothing;
use serde_json::Value;

use super::world::{Protocol, Setup, World};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const SWAPS: usize = 50;

fn plugin(name: &str) -> Installed {
    let group = format!("{name}.example.com");
    Native::collecting(name, "1", &group, |_, _| Ok(Collected::default())).installed(&format!("{name}.wasm"))
}

/// Of a document, which of the two states it shows: without the second plugin, or with it.
fn shows_second(path: &str, document: &Value) -> bool {
    let has = |name: &str| document.to_string().contains(&format!("{name}.example.com"));
    assert!(has("a"), "{path}: the plugin that stays is missing: {document}");
    has("b")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_swaps_show_no_half_change_and_no_error() {
    let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(Nothing)));
    catalog.replace(vec![plugin("a")]);
    let routes = Routes::new(
        Arc::clone(&catalog),
        Resources::new(Arc::clone(&catalog), ReadMetrics::default(), Options::default()),
        || true,
    );
    let world = World::with(Setup {
        behind: Some(Arc::new(routes)),
        ..Setup::default()
    })
    .await;
    let world = Arc::new(world);
    let stop = Arc::new(AtomicBool::new(false));
    let paths = [
        ("/apis", AGGREGATED),
        ("/apis", "application/json"),
        ("/openapi/v2", "*/*"),
        ("/openapi/v3", "*/*"),
        ("/", "*/*"),
    ];
    let mut readers = Vec::new();
    for (path, accept) in paths {
        let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            let mut connected = world.connect(Protocol::H2, world.client("reader", None)).await;
            // One body per state: whatever is neither is half a change.
            let mut bodies: BTreeMap<bool, bytes::Bytes> = BTreeMap::new();
            let mut reads = 0;
            while !stop.load(Ordering::SeqCst) {
                let answer = connected.get(path, &[("accept", accept)]).await;
                assert_eq!(answer.code, 200, "{path}: {}", answer.text());
                let second = shows_second(path, &answer.json());
                let first = bodies.entry(second).or_insert_with(|| answer.body.clone());
                assert_eq!(*first, answer.body, "{path}");
                reads += 1;
            }
            (path, reads, bodies.len())
        }));
    }
    let mut connected = world.connect(Protocol::H2, world.client("operator", None)).await;
    let mut tags: BTreeMap<bool, String> = BTreeMap::new();
    for swap in 0..SWAPS {
        let second = swap % 2 == 0;
        let plugins = if second {
            vec![plugin("a"), plugin("b")]
        } else {
            vec![plugin("a")]
        };
        assert!(catalog.replace(plugins).is_empty());
        // At once: the very next request, in every document.
        for (path, accept) in paths {
            let answer = connected.get(path, &[("accept", accept)]).await;
            assert_eq!((answer.code, shows_second(path, &answer.json())), (200, second), "{path}");
            if accept == AGGREGATED {
                let tag = tags.entry(second).or_insert_with(|| answer.header("etag").to_owned());
                assert_eq!(tag, answer.header("etag"), "equal contents, equal ETag");
            }
        }
        for (path, expected) in [
            ("/apis/a.example.com/v1", 200),
            ("/apis/b.example.com", if second { 200 } else { 404 }),
            ("/apis/b.example.com/v1", if second { 200 } else { 404 }),
            ("/openapi/v3/apis/b.example.com/v1", if second { 200 } else { 404 }),
        ] {
            assert_eq!(connected.get(path, &[]).await.code, expected, "{path} after swap {swap}");
        }
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        let (path, reads, states) = reader.await.unwrap();
        assert!(
            reads > 0 && (1..=2).contains(&states),
            "{path}: {reads} reads, {states} states"
        );
    }
    assert_eq!(tags.len(), 2);
}
