//! The schemas of a stored resource, ready for use: compiled once when the resource is served, never on the way of a write.

use std::sync::Arc;

use outrigger_api::manifest::{Backing, Resource, ScalePaths};
use outrigger_api::scale::{NotAPath, Paths};
use outrigger_api::schema::{Schema, Unusable};

/// By what schemas a stored resource is written in one of its versions. All are none for what is not stored.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    /// Of the version itself; none if it takes any fields.
    pub own: Option<Arc<Schema>>,
    /// Of the version in which objects are kept.
    pub kept: Option<Arc<Schema>>,
    /// Where its replicas stand; none if it does not scale.
    pub scale: Option<Arc<Paths>>,
}

// === impl Schemas ===

impl Schemas {
    /// The schemas of a resource in one of its versions. One that cannot be used is as none: [`Schemas::check`] tells.
    pub(crate) fn of(resource: &Resource, version: &str) -> Self {
        if !resource.is_stored() {
            return Self::default();
        }
        let read = |version: &str| Schema::read(resource.schema_of(version)?).ok().map(Arc::new);
        let own = read(version);
        let kept = match resource.storage_version() {
            kept if kept == version => own.clone(),
            kept => read(kept),
        };
        let scale = match &resource.backing {
            Backing::Stored { scale: Some(paths), .. } => paths_of(paths).ok().map(Arc::new),
            _ => None,
        };
        Self { own, kept, scale }
    }

    /// Whether objects of a resource can be held against what its manifest says of them.
    ///
    /// # Errors
    /// The first of its schemas that cannot be used.
    pub(crate) fn check(resource: &Resource) -> Result<(), Unusable> {
        let versions = resource.versions.iter().filter(|_| resource.is_stored());
        let schemas = versions.filter_map(|version| resource.schema_of(version));
        schemas.map(Schema::read).try_for_each(|read| read.map(drop))
    }
}

/// The manifest's own check has looked at them already.
fn paths_of(paths: &ScalePaths) -> Result<Paths, NotAPath> {
    let selector = Some(paths.label_selector_path.as_str());
    Paths::read(&paths.spec_replicas_path, &paths.status_replicas_path, selector)
}
