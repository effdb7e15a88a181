//! A plugin as the rooms above the sandbox see it.
//!
//! One trait between what is served and how it runs, so that catalog and background can be tested with plugins that are
//! plain functions.

use std::time::Duration;

use async_trait::async_trait;
use outrigger_api::manifest::Manifest;
use outrigger_sandbox::{CallError, Collected, Counts, Plugin};

/// One version of a plugin, ready to be called.
#[async_trait]
pub trait Guest: Send + Sync {
    /// What it says of itself.
    fn manifest(&self) -> &Manifest;

    /// Names its bytes: lower-case hexadecimal SHA-256.
    fn digest(&self) -> &str;

    /// What it did so far; `None` for what is not run in the sandbox.
    fn counts(&self) -> Option<Counts> {
        None
    }

    /// One tick of one collector for one target.
    ///
    /// # Errors
    /// What the guest refused, or how it failed; its old state is still good.
    async fn collect(&self, collector: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError>;

    /// Carries state over from another schema number; `None` if the plugin does not.
    async fn migrate(&self, collector: &str, old: u32, state: &[u8]) -> Option<Vec<u8>>;
}

#[async_trait]
impl Guest for Plugin {
    fn manifest(&self) -> &Manifest {
        Plugin::manifest(self)
    }

    fn digest(&self) -> &str {
        &self.inspection().digest
    }

    fn counts(&self) -> Option<Counts> {
        Some(Plugin::counts(self))
    }

    async fn collect(&self, collector: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError> {
        Plugin::collect(self, collector, target, state, deadline).await
    }

    async fn migrate(&self, collector: &str, old: u32, state: &[u8]) -> Option<Vec<u8>> {
        Plugin::migrate(self, collector, old, state).await.ok().flatten()
    }
}
