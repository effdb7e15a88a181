//! Plugins that are plain functions, for the tests of this room and of those above it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outrigger_api::manifest::{Collector, Each, Manifest, Resource, Scope};
use outrigger_sandbox::{CallError, Collected};

use crate::{Guest, Installed};

type Work = dyn Fn(&str, &[u8]) -> Result<Collected, CallError> + Send + Sync;

/// A guest without Wasm.
pub struct Native {
    manifest: Manifest,
    digest: String,
    work: Box<Work>,
    migrates: BTreeMap<u32, Vec<u8>>,
    hangs: bool,
}

// === impl Native ===

impl Native {
    /// A plugin with one table, `things.GROUP/v1`, that its collector `things` fills once for each node.
    #[must_use]
    pub fn collecting(
        name: &str,
        digest: &str,
        group: &str,
        work: impl Fn(&str, &[u8]) -> Result<Collected, CallError> + Send + Sync + 'static,
    ) -> Self {
        let resource = Resource::table("Thing", "things", Scope::Cluster).group(group).version("v1");
        let manifest = Manifest::new(name, "0.1.0")
            .resource(resource)
            .collector(Collector::new("things", Each::Node, 10).fills("things"));
        Self {
            manifest,
            digest: digest.into(),
            work: Box::new(work),
            migrates: BTreeMap::new(),
            hangs: false,
        }
    }

    /// The same with another number for its state's schema; state of schema `from` becomes `state`.
    #[must_use]
    pub fn migrating(mut self, schema: u32, from: u32, state: &[u8]) -> Self {
        for collector in &mut self.manifest.collectors {
            collector.state_schema = schema;
        }
        self.migrates.insert(from, state.into());
        self
    }

    /// The same, but no call ever returns.
    #[must_use]
    pub fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// As the catalog takes it.
    #[must_use]
    pub fn installed(self, origin: &str) -> Installed {
        Installed {
            origin: origin.into(),
            guest: Arc::new(self),
        }
    }
}

#[async_trait]
impl Guest for Native {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    async fn collect(&self, _collector: &str, target: &str, state: &[u8], _deadline: Duration) -> Result<Collected, CallError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        (self.work)(target, state)
    }

    async fn migrate(&self, _collector: &str, old: u32, _state: &[u8]) -> Option<Vec<u8>> {
        self.migrates.get(&old).cloned()
    }
}
