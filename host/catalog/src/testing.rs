//! Plugins that are plain functions, for the tests of this room and of those above it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outrigger_api::manifest::{Collector, Each, Manifest, Resource, Scope};
use outrigger_sandbox::{Admitted, Answered, Ask, CallError, Collected, Outcome, Request};

use crate::{Guest, Installed};

type Work = dyn Fn(&str, &[u8]) -> Result<Collected, CallError> + Send + Sync;
type Responds = dyn Fn(Arc<Request>, Ask) -> Pin<Box<dyn Future<Output = Result<Answered, CallError>> + Send>> + Send + Sync;
type Admits = dyn Fn(&Request, &[u8], &[u8]) -> Result<Admitted, CallError> + Send + Sync;
type Converts = dyn Fn(&str, Vec<u8>) -> Result<Vec<u8>, CallError> + Send + Sync;
type Reconciling = Pin<Box<dyn Future<Output = Result<Outcome, CallError>> + Send>>;
type Reconcile = dyn Fn(String) -> Reconciling + Send + Sync;

/// A guest without Wasm.
pub struct Native {
    manifest: Manifest,
    digest: String,
    work: Box<Work>,
    responds: Option<Box<Responds>>,
    admits: Option<Box<Admits>>,
    converts: Option<Box<Converts>>,
    reconcile: Option<Box<Reconcile>>,
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
            responds: None,
            admits: None,
            converts: None,
            reconcile: None,
            migrates: BTreeMap::new(),
            hangs: false,
        }
    }

    /// A plugin with one virtual resource and a responder that is a function.
    #[must_use]
    pub fn responding<F>(
        name: &str,
        digest: &str,
        resource: Resource,
        responds: impl Fn(Arc<Request>, Ask) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Answered, CallError>> + Send + 'static,
    {
        Self {
            manifest: Manifest::new(name, "0.1.0").resource(resource),
            digest: digest.into(),
            work: Box::new(|_, _| Ok(Collected::default())),
            responds: Some(Box::new(move |request, ask| Box::pin(responds(request, ask)))),
            admits: None,
            converts: None,
            reconcile: None,
            migrates: BTreeMap::new(),
            hangs: false,
        }
    }

    /// A plugin with one stored resource and a strategy that is two functions: what may be stored (the request, the object, the old one), and
    /// an object as another version says it.
    #[must_use]
    pub fn deciding(
        name: &str,
        digest: &str,
        resource: Resource,
        admits: impl Fn(&Request, &[u8], &[u8]) -> Result<Admitted, CallError> + Send + Sync + 'static,
        converts: impl Fn(&str, Vec<u8>) -> Result<Vec<u8>, CallError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            manifest: Manifest::new(name, "0.1.0").resource(resource),
            digest: digest.into(),
            work: Box::new(|_, _| Ok(Collected::default())),
            responds: None,
            admits: Some(Box::new(admits)),
            converts: Some(Box::new(converts)),
            reconcile: None,
            migrates: BTreeMap::new(),
            hangs: false,
        }
    }

    /// A plugin of this manifest whose controllers all do this with a key.
    #[must_use]
    pub fn controlling<F>(manifest: Manifest, digest: &str, work: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Outcome, CallError>> + Send + 'static,
    {
        Self {
            manifest,
            digest: digest.into(),
            work: Box::new(|_, _| Ok(Collected::default())),
            responds: None,
            admits: None,
            converts: None,
            reconcile: Some(Box::new(move |key| Box::pin(work(key)))),
            migrates: BTreeMap::new(),
            hangs: false,
        }
    }

    /// The same with its manifest changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Manifest) -> Manifest) -> Self {
        self.manifest = change(self.manifest);
        self
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

    async fn respond(&self, request: Arc<Request>, ask: Ask, deadline: Duration) -> Result<Answered, CallError> {
        let Some(responds) = &self.responds else {
            return Err(self.lacks("responder"));
        };
        let call = request.verb.clone();
        let late = || CallError::Deadline {
            plugin: self.manifest.name.clone(),
            call,
            after: deadline,
            frames: Vec::new(),
        };
        tokio::time::timeout(deadline, responds(request, ask))
            .await
            .map_err(|_| late())?
    }

    async fn admit(&self, request: Arc<Request>, object: &[u8], old: &[u8], _deadline: Duration) -> Result<Admitted, CallError> {
        match &self.admits {
            Some(admits) => admits(&request, object, old),
            None => Err(self.lacks("strategy")),
        }
    }

    async fn convert(
        &self,
        _resource: &str,
        version: &str,
        objects: &[Vec<u8>],
        _deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, CallError> {
        match &self.converts {
            Some(converts) => objects.iter().map(|object| converts(version, object.clone())).collect(),
            None => Err(self.lacks("strategy")),
        }
    }

    async fn reconcile(&self, _controller: &str, key: &str, _deadline: Duration) -> Result<Outcome, CallError> {
        match &self.reconcile {
            Some(reconcile) => reconcile(key.to_owned()).await,
            None => Err(self.lacks("controller")),
        }
    }

    async fn migrate(&self, _collector: &str, old: u32, _state: &[u8]) -> Option<Vec<u8>> {
        self.migrates.get(&old).cloned()
    }
}
