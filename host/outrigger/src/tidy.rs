//! Compiled code that nobody needs any more is deleted: whenever what is served has changed, and never what is served.
//!
//! It stays for a week after its last use, so that going back to an old plugin, or to an old binary, costs no compilation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use outrigger_catalog::Catalog;
use outrigger_sandbox::{ArtifactCache, Engine};
use tokio_util::sync::CancellationToken;

/// How long unused code stays.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Prunes after every change of the catalog, until `stop`.
pub(crate) async fn follow(cache: ArtifactCache, engine: Engine, catalog: Arc<Catalog>, stop: CancellationToken) {
    let mut changes = catalog.changes();
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        let (cache, engine, catalog) = (cache.clone(), engine.clone(), catalog.clone());
        let pruned = tokio::task::spawn_blocking(move || prune(&cache, &engine, &catalog)).await;
        if let Err(error) = pruned {
            tracing::error!("pruning compiled code failed: {error}");
        }
    }
}

fn prune(cache: &ArtifactCache, engine: &Engine, catalog: &Catalog) {
    let snapshot = catalog.snapshot();
    let served: BTreeSet<String> = snapshot.plugins().values().map(|p| p.guest.digest().to_owned()).collect();
    match cache.prune(engine, &served, UNUSED) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "compiled code that nobody has used for a week is deleted"),
        Err(error) => tracing::warn!("compiled code cannot be pruned: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use async_trait::async_trait;
    use outrigger_api::manifest::Manifest;
    use outrigger_catalog::{Guest, Installed};
    use outrigger_sandbox::{CallError, Collected, EngineOptions};

    use super::*;

    struct Named(Manifest, &'static str);

    #[async_trait]
    impl Guest for Named {
        fn manifest(&self) -> &Manifest {
            &self.0
        }

        fn digest(&self) -> &str {
            self.1
        }

        async fn collect(&self, _: &str, _: &str, _: &[u8], _: Duration) -> Result<Collected, CallError> {
            Ok(Collected::default())
        }

        async fn migrate(&self, _: &str, _: u32, _: &[u8]) -> Option<Vec<u8>> {
            None
        }
    }

    #[tokio::test]
    async fn a_load_prunes_what_is_old_and_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("compiled");
        let cache = ArtifactCache::open(&folder).unwrap();
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let old = SystemTime::now() - UNUSED - Duration::from_secs(60);
        let path = |digest: &str| folder.join(format!("{digest}-{}.cwasm", engine.fingerprint()));
        for (digest, modified) in [("served", old), ("old", old), ("young", SystemTime::now())] {
            let file = std::fs::File::create(path(digest)).unwrap();
            file.set_modified(modified).unwrap();
        }
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(outrigger_storage::Nothing)));
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(cache, engine.clone(), catalog.clone(), stop.clone()));
        while path("old").exists() {
            let guest = Arc::new(Named(Manifest::new("a", "1"), "served"));
            let origin = "a.wasm".into();
            catalog.replace(vec![Installed { origin, guest }]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(path("served").exists() && path("young").exists());
        stop.cancel();
        following.await.unwrap();
    }
}
