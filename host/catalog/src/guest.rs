//! A plugin as the rooms above the sandbox see it.
//!
//! One trait between what is served and how it runs, so that catalog and background can be tested with plugins that are
//! plain functions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outrigger_api::manifest::{Manifest, ResourceName};
use outrigger_sandbox::{Admitted, Answered, Ask, CallError, Collected, Counts, Outcome, Plugin, Request};

use crate::Namespaces;

/// One version of a plugin, ready to be called.
#[async_trait]
pub trait Guest: Send + Sync {
    /// What it says of itself.
    fn manifest(&self) -> &Manifest;

    /// Names its bytes: lower-case hexadecimal SHA-256.
    fn digest(&self) -> &str;

    /// The plugin in the sandbox, for those who look on: its limits, counts, failures. `None` for what is not run there.
    fn sandboxed(&self) -> Option<&Plugin> {
        None
    }

    /// What it did so far; `None` for what is not run in the sandbox.
    fn counts(&self) -> Option<Counts> {
        self.sandboxed().map(Plugin::counts)
    }

    /// Where it may follow a resource (list and watch), by its manifest and by the operator; `None` if nowhere.
    fn may_follow(&self, resource: &ResourceName) -> Option<Namespaces> {
        Namespaces::asked(self.manifest(), resource)
    }

    /// One tick of one collector for one target.
    ///
    /// # Errors
    /// What the guest refused, or how it failed; its old state is still good.
    async fn collect(&self, collector: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError>;

    /// Carries state over from another schema number; `None` if the plugin does not.
    async fn migrate(&self, collector: &str, old: u32, state: &[u8]) -> Option<Vec<u8>>;

    /// Asks the responder.
    ///
    /// # Errors
    /// What the guest refused, or how it failed. A sink may have been written to before.
    async fn respond(&self, request: Arc<Request>, ask: Ask, deadline: Duration) -> Result<Answered, CallError> {
        let _ = (request, ask, deadline);
        Err(self.lacks("responder"))
    }

    /// Asks the strategy about one write; `old` is empty for a create, `object` for a delete.
    ///
    /// # Errors
    /// How it failed; a refusal of the write is none.
    async fn admit(&self, request: Arc<Request>, object: &[u8], old: &[u8], deadline: Duration) -> Result<Admitted, CallError> {
        let _ = (request, object, old, deadline);
        Err(self.lacks("strategy"))
    }

    /// Objects of one resource as another version says them, in their order, as many as came in.
    ///
    /// # Errors
    /// What the strategy refused, or how it failed.
    async fn convert(
        &self,
        resource: &str,
        version: &str,
        objects: &[Vec<u8>],
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, CallError> {
        let _ = (resource, version, objects, deadline);
        Err(self.lacks("strategy"))
    }

    /// Brings the world in step with one object of a controller.
    ///
    /// # Errors
    /// What the guest refused, or how it failed; the key is to be tried again.
    async fn reconcile(&self, controller: &str, key: &str, deadline: Duration) -> Result<Outcome, CallError> {
        let _ = (controller, key, deadline);
        Err(self.lacks("controller"))
    }

    /// The plugin's own test of itself; fine if it has none.
    ///
    /// # Errors
    /// What it found, or how it failed.
    async fn self_test(&self, deadline: Duration) -> Result<(), CallError> {
        let _ = deadline;
        Ok(())
    }

    /// What a call of a role gets that the plugin does not play.
    fn lacks(&self, role: &'static str) -> CallError {
        CallError::NoSuchRole {
            plugin: self.manifest().name.clone(),
            role,
        }
    }
}

#[async_trait]
impl Guest for Plugin {
    fn manifest(&self) -> &Manifest {
        Plugin::manifest(self)
    }

    fn digest(&self) -> &str {
        &self.inspection().digest
    }

    fn sandboxed(&self) -> Option<&Plugin> {
        Some(self)
    }

    fn may_follow(&self, resource: &ResourceName) -> Option<Namespaces> {
        Namespaces::allowed(self.grants().object_rules().iter(), resource)
    }

    async fn collect(&self, collector: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError> {
        Plugin::collect(self, collector, target, state, deadline).await
    }

    async fn migrate(&self, collector: &str, old: u32, state: &[u8]) -> Option<Vec<u8>> {
        Plugin::migrate(self, collector, old, state).await.ok().flatten()
    }

    async fn respond(&self, request: Arc<Request>, ask: Ask, deadline: Duration) -> Result<Answered, CallError> {
        Plugin::respond(self, request, ask, deadline).await
    }

    async fn admit(&self, request: Arc<Request>, object: &[u8], old: &[u8], deadline: Duration) -> Result<Admitted, CallError> {
        Plugin::admit(self, request, object, old, deadline).await
    }

    async fn convert(
        &self,
        resource: &str,
        version: &str,
        objects: &[Vec<u8>],
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, CallError> {
        Plugin::convert(self, resource, version, objects, deadline).await
    }

    async fn reconcile(&self, controller: &str, key: &str, deadline: Duration) -> Result<Outcome, CallError> {
        Plugin::reconcile(self, controller, key, deadline).await
    }

    async fn self_test(&self, deadline: Duration) -> Result<(), CallError> {
        Plugin::self_test(self, deadline).await
    }
}
