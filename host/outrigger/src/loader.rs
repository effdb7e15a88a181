//! Plugins from bytes, with what the operator granted and configured.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::manifest::Manifest;
use outrigger_api::openapi;
use outrigger_catalog::{Guest, Loads};
use outrigger_sandbox::{ArtifactCache, Engine, Plugin};

use crate::rights::Rights;

/// Loads plugins into one engine.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<ArtifactCache>,
    pub(crate) rights: Arc<Rights>,
    /// Whether there is a store for objects.
    pub(crate) keeps: bool,
}

#[async_trait]
impl Loads for Loader {
    async fn load(&self, bytes: Bytes) -> Result<Arc<dyn Guest>, String> {
        let limits = self.rights.before();
        let plugin = Plugin::load_as(&self.engine, self.cache.as_ref(), bytes, limits, |manifest| {
            self.rights.decide(manifest)
        });
        let plugin = plugin.await.map_err(|e| e.to_string())?;
        self.rights.follow_plugin(&plugin);
        let mut resources = plugin.manifest().resources.iter();
        if !self.keeps
            && let Some(stored) = resources.find(|r| r.is_stored())
        {
            return Err(format!(
                "the resource {:?} is stored, and this host keeps no objects: start it with --data-dir DIR, or with --etcd-servers URLS",
                stored.plural
            ));
        }
        warn_of_schemas(plugin.manifest());
        Ok(Arc::new(plugin))
    }
}

/// What of a plugin's schemas is not published as it stands; once per load, for whoever wrote them.
fn warn_of_schemas(manifest: &Manifest) {
    for resource in &manifest.resources {
        let Some(schema) = &resource.schema else { continue };
        for warning in openapi::sanitise(schema).warnings {
            tracing::warn!(plugin = manifest.name, resource = resource.plural, "schema: {warning}");
        }
    }
}

/// Where compiled plugins are kept, unless the operator says otherwise.
pub(crate) fn default_cache() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(home);
    base.map(|base| base.join("outrigger").join("compiled"))
}
