//! What is kept, in upstream's names: objects by resource, counted when somebody looks.

use std::sync::Arc;

use outrigger_catalog::Catalog;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Series of the stored resources that are served.
pub(crate) struct StoredSeries(Arc<Catalog>);

/// What is counted of one resource.
struct Count {
    resource: String,
    objects: i64,
    watchers: i64,
}

/// A series: its name, what it says, and which number.
type Family = (&'static str, &'static str, fn(&Count) -> i64);

// === impl StoredSeries ===

impl StoredSeries {
    pub(crate) fn of(catalog: Arc<Catalog>) -> Self {
        Self(catalog)
    }
}

impl std::fmt::Debug for StoredSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StoredSeries").field(self.0.shelf()).finish()
    }
}

impl Collector for StoredSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let all: Vec<Count> = self
            .0
            .shelf()
            .all()
            .iter()
            .map(|kept| {
                let objects = match kept.check() {
                    Ok(()) => i64::try_from(kept.table().snapshot().len()).unwrap_or(i64::MAX),
                    // As upstream counts what it cannot count.
                    Err(_) => -1,
                };
                let watchers = i64::try_from(kept.table().watchers()).unwrap_or(i64::MAX);
                Count {
                    resource: kept.prefix().resource(),
                    objects,
                    watchers,
                }
            })
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        let families: [Family; 2] = [
            (
                "apiserver_storage_objects",
                "[STABLE] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                |of| of.objects,
            ),
            (
                "outrigger_stored_watchers",
                "Watches of a stored resource that are open",
                |of| of.watchers,
            ),
        ];
        for (name, help, number) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for of in &all {
                let labels = [("resource", of.resource.as_str())];
                ConstGauge::new(number(of)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::manifest::{Resource, Scope};
    use outrigger_api::object::Object;
    use outrigger_catalog::testing::Native;
    use outrigger_sandbox::Admitted;
    use outrigger_storage::store::memory::Memory;
    use outrigger_storage::store::{Expected, Keep};
    use outrigger_storage::{Key, Nothing, Shelf};
    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn objects_and_watches_are_counted_by_resource() {
        let store = Arc::new(Memory::new(Keep::default()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let runtime = tokio::runtime::Handle::current();
        let shelf = Arc::new(Shelf::new(store, Keep::default(), runtime, tasks, stop));
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(Nothing)).keeping(shelf.clone()));
        let ships = Resource::stored("Ship", "ships", Scope::Namespaced)
            .group("g.example.com")
            .version("v1");
        let admit = |_: &_, object: &[u8], _: &[u8]| {
            Ok(Admitted {
                object: object.to_vec().into(),
                warnings: Vec::new(),
                errors: Vec::new(),
            })
        };
        catalog.replace(vec![
            Native::deciding("p", "1", ships, admit, |_, object| Ok(object)).installed("p.wasm"),
        ]);
        let kept = shelf.served("g.example.com", "ships").unwrap();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(StoredSeries::of(catalog)));
        let shown = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        assert!(shown(&registry).contains("apiserver_storage_objects{resource=\"ships.g.example.com\"} -1"));
        kept.filled().await;
        let ship = Object::read(br#"{"apiVersion":"g.example.com/v1","kind":"Ship","metadata":{"name":"a","namespace":"n"}}"#);
        kept.put(&Key::new("n", "a"), Expected::Absent, &ship.unwrap()).await.unwrap();
        kept.fresh(std::time::Duration::from_secs(5)).await.unwrap();
        let _watching = kept.table().watch();
        let text = shown(&registry);
        assert!(
            text.contains("apiserver_storage_objects{resource=\"ships.g.example.com\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("outrigger_stored_watchers{resource=\"ships.g.example.com\"} 1"),
            "{text}"
        );
    }
}
