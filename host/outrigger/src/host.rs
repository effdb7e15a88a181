//! What `serve` and `run` have in common: the plugins' side of the house, and the door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use outrigger_api::discovery::VersionInfo;
use outrigger_api::manifest::Resource;
use outrigger_auth::{Authenticator, Authorizer, SharedTrust};
use outrigger_background::{Collectors, ControllerOptions, Controllers, Options, Replicas, Targets, Watches};
use outrigger_catalog::{Catalog, Folder};
use outrigger_resources::{NamespaceIndex, ReadMetrics, Resources};
use outrigger_sandbox::{Allocation, ArtifactCache, Compiler, Engine, EngineOptions, Kubelet};
use outrigger_server::{
    Certificates, Chain, ChainParts, Health, Limits, Metrics, Observation, Optional, OwnStream, Routes, Server, ServerOptions,
    SharedCa, Tls, TlsOptions, process,
};
use outrigger_storage::{LiveIndex, Shelf};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::laptop::OwnNamespaces;
use crate::loader::{Loader, default_cache};
use crate::means::Means;
use crate::observe::{LoadSeries, PluginSeries, RowSeries};
use crate::operator::Operator;
use crate::own_series::OwnSeries;
use crate::rights::Rights;
use crate::stored_series::StoredSeries;
use crate::{debug, flags, memory, tidy};

/// What a way of running plugs into the house.
pub(crate) struct World {
    pub(crate) targets: Arc<dyn Targets>,
    pub(crate) live: Arc<dyn LiveIndex>,
    pub(crate) kubelet: Arc<dyn Kubelet>,
    /// Whether the live objects are known by now.
    pub(crate) synced: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where objects may be made; the host's own namespaces if none.
    pub(crate) namespaces: Option<Arc<dyn NamespaceIndex>>,
    /// Resources of the host's own.
    pub(crate) built_in: Vec<Resource>,
    /// With whom collectors share their targets, if with anybody.
    pub(crate) replicas: Option<Arc<dyn Replicas>>,
    /// Capabilities that every plugin has without being named.
    pub(crate) granted_to_all: &'static [&'static str],
}

/// How the door opens.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) certificates: Arc<Certificates>,
    /// What `certificates` shows, if replicas share an authority.
    pub(crate) shared_ca: Option<Arc<SharedCa>>,
    /// What other replicas listen to, if they do.
    pub(crate) stream: Option<OwnStream>,
    pub(crate) trust: SharedTrust,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
    pub(crate) tls: TlsOptions,
    pub(crate) limits: Limits,
    pub(crate) optional: Optional,
    pub(crate) observation: Observation,
    pub(crate) options: ServerOptions,
}

/// The plugins' side of the house.
pub(crate) struct Host {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) collectors: Arc<Collectors>,
    pub(crate) controllers: Arc<Controllers>,
    folder: Arc<Folder>,
    synced: Arc<dyn Fn() -> bool + Send + Sync>,
    namespaces: Arc<dyn NamespaceIndex>,
    scanned: Arc<AtomicBool>,
    compiled: Option<(ArtifactCache, Engine)>,
    pub(crate) rights: Arc<Rights>,
}

/// The shortest interval: kubelets measure no more often.
const SHORTEST: Duration = Duration::from_secs(1);
/// Where the metrics plugin's rows are, for the readiness of metrics-server's name.
const METRICS: &str = "metrics.k8s.io";
/// How long other plugins' groups wait for the first metrics at start.
const PATIENCE: Duration = Duration::from_secs(60);

// === impl Host ===

impl Host {
    /// Builds it; nothing runs yet.
    pub(crate) fn new(flags: &flags::Plugins, world: World, shelf: Shelf, registry: &mut Registry) -> Result<Self> {
        if flags.metric_resolution.is_some_and(|r| r < SHORTEST) {
            anyhow::bail!("metric-resolution should be a time duration of at least 1s");
        }
        let engine = Engine::new(&EngineOptions {
            compiler: Some(Compiler::this()),
            ..EngineOptions::default()
        })
        .context("the Wasm engine cannot be built")?;
        let pooling = Gauge::<i64>::default();
        pooling.set(i64::from(matches!(engine.allocation(), Allocation::Pool { .. })));
        registry.register(
            "outrigger_engine_pooling",
            "1 if instances come from the pool, 0 if each is mapped anew (slower)",
            pooling,
        );
        let cache = match flags.compile_cache.clone().or_else(default_cache) {
            Some(folder) => match ArtifactCache::open(&folder) {
                Ok(cache) => Some(cache),
                Err(error) if flags.compile_cache.is_some() => return Err(error).context("--compile-cache"),
                Err(error) => {
                    tracing::warn!("compiled plugins are not kept: {error}; give --compile-cache a folder of this user's own");
                    None
                }
            },
            None => None,
        };
        let operator = Operator::read(flags, world.granted_to_all)?;
        let compiled = cache.clone().map(|cache| (cache, engine.clone()));
        let objects = Arc::new(shelf);
        let means = Means::open(world.kubelet, flags.state_dir.as_deref(), objects.clone()).context("--state-dir")?;
        let shelf = means.shelf();
        let rights = Arc::new(Rights::new(operator, means));
        let loader = Loader {
            engine,
            cache,
            rights: rights.clone(),
            keeps: objects.store().is_some(),
        };
        let catalog = Arc::new(Catalog::new(world.built_in, world.live).keeping(objects));
        let namespaces = world.namespaces.unwrap_or_else(|| Arc::new(OwnNamespaces(catalog.clone())));
        let loads = LoadSeries::register(registry);
        RowSeries::register(registry).count(catalog.clone());
        registry.register_collector(Box::new(PluginSeries::of(catalog.clone())));
        registry.register_collector(Box::new(OwnSeries::of(catalog.clone(), shelf)));
        registry.register_collector(Box::new(StoredSeries::of(catalog.clone())));
        let folder = Folder::new(
            flags.plugins.clone(),
            catalog.clone(),
            Arc::new(loader),
            Box::new(move |path, outcome| loads.heard(path, outcome)),
        );
        let options = Options {
            interval: flags.metric_resolution,
            concurrency: flags.collect_concurrency.max(1),
            ..Options::default()
        };
        let metrics = outrigger_background::Metrics::register(registry);
        let collectors = Collectors::new(catalog.clone(), world.targets, options, metrics);
        let collectors = Arc::new(match world.replicas {
            Some(replicas) => collectors.sharing(replicas),
            None => collectors,
        });
        let controllers = Arc::new(Controllers::new(catalog.clone(), ControllerOptions::default(), registry));
        Ok(Self {
            catalog,
            collectors,
            controllers,
            folder: Arc::new(folder),
            synced: world.synced,
            namespaces,
            scanned: Arc::default(),
            compiled,
            rights,
        })
    }

    /// Starts what runs without a request: the folder is followed, collectors tick.
    pub(crate) fn start(&self, tasks: &TaskTracker, watches: Arc<dyn Watches>, stop: &CancellationToken) {
        if let Some((cache, engine)) = &self.compiled {
            let (cache, engine) = (cache.clone(), engine.clone());
            tasks.spawn(tidy::follow(cache, engine, self.catalog.clone(), stop.clone()));
        }
        tasks.spawn(self.rights.clone().follow(stop.clone()));
        let (folder, scanned, stop_folder) = (self.folder.clone(), self.scanned.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = folder.scan().await {
                tracing::error!("the plugin folder cannot be read, nothing is served from it: {error}");
            }
            scanned.store(true, Ordering::Release);
            folder.follow(stop_folder).await;
        });
        tasks.spawn(self.collectors.clone().run(watches, stop.clone()));
        tasks.spawn(memory::follow(self.catalog.clone(), stop.clone()));
    }

    /// Starts the controllers, which work while `leading`. `over` is cancelled when the last of them has ended after `stop`.
    pub(crate) fn control(
        &self,
        tasks: &TaskTracker,
        watches: Arc<dyn Watches>,
        leading: watch::Receiver<bool>,
        stop: &CancellationToken,
        over: CancellationToken,
    ) {
        let run = self.controllers.clone().run(watches, leading, stop.clone());
        tasks.spawn(async move {
            run.await;
            over.cancel();
        });
    }

    /// Says whether it is known by now what there is: the plugins in the folder, and the cluster's nodes and pods.
    pub(crate) fn settled(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let (scanned, synced) = (self.scanned.clone(), self.synced.clone());
        move || scanned.load(Ordering::Acquire) && synced()
    }

    /// Opens the door. `shutdown` closes it.
    pub(crate) async fn open(&self, door: Door, mut registry: Registry, shutdown: &CancellationToken) -> Result<Server> {
        let metrics = Metrics::new(&mut registry);
        let version = VersionInfo::of(env!("CARGO_PKG_VERSION"), "", "");
        process::register(&mut registry, &version);
        let ready = self.settled();
        let watching = outrigger_resources::Options {
            min_request_timeout: door.limits.min_request_timeout,
        };
        let resources =
            Resources::new(self.catalog.clone(), ReadMetrics::register(&mut registry), watching).within(self.namespaces.clone());
        let routes = Routes::new(self.catalog.clone(), resources, ready);
        let chain = Chain::new(ChainParts {
            authenticator: door.authenticator,
            authorizer: door.authorizer,
            health: self.health(shutdown.clone(), door.shared_ca),
            metrics,
            registry: Arc::new(registry),
            version,
            plugins: Some(debug::document(
                self.catalog.clone(),
                self.collectors.clone(),
                self.controllers.clone(),
            )),
            stream: door.stream,
            endpoint: Arc::new(routes),
            limits: door.limits,
            optional: door.optional,
            observation: door.observation,
            draining: CancellationToken::new(),
        });
        let tls = Tls::new(door.certificates, door.trust, door.tls);
        Server::bind(door.address, tls, Arc::new(chain), door.options)
            .await
            .with_context(|| format!("cannot listen on {}", door.address))
    }

    /// metrics-server's checks under metrics-server's names, and our own.
    fn health(&self, shutdown: CancellationToken, shared_ca: Option<Arc<SharedCa>>) -> Health {
        let (scanned, synced, collectors) = (self.scanned.clone(), self.synced.clone(), self.collectors.clone());
        let (catalog, passed, loaded) = (self.catalog.clone(), AtomicBool::new(false), self.scanned.clone());
        let (begun, kept) = (Instant::now(), self.catalog.clone());
        let health = match shared_ca {
            Some(ca) => Health::new(shutdown).readyz("serving-ca", move || ca.check()),
            None => Health::new(shutdown),
        };
        health
            .readyz("plugins-loaded", move || {
                scanned
                    .load(Ordering::Acquire)
                    .then_some(())
                    .ok_or_else(|| "plugins are still being loaded".into())
            })
            .readyz("metric-storage-ready", move || {
                if passed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let outcome = stored(&catalog, begun);
                if outcome.is_ok() && loaded.load(Ordering::Acquire) {
                    passed.store(true, Ordering::Relaxed);
                }
                outcome
            })
            .readyz("metric-informer-sync", move || {
                synced()
                    .then_some(())
                    .ok_or_else(|| "nodes and pods are not known yet".into())
            })
            // Upstream's name for its watch caches.
            .readyz("poststarthook/storage-readiness", move || {
                match kept.shelf().all().iter().find_map(|kept| kept.check().err()) {
                    // A store that does not come must not take the other groups out of their Service.
                    Some(why) if begun.elapsed() < PATIENCE => Err(why.to_string()),
                    _ => Ok(()),
                }
            })
            .livez("metric-collection-timely", move || collectors.timely())
    }
}

/// Whether there are metrics to serve, if metrics are served at all: metrics-server's gate for a new replica.
///
/// It is asked until it has passed once. Later on dead kubelets (or one broken plugin) are answered with a 503 on those very
/// resources; a red `/readyz` would take the process out of its Service, and with it every other group, discovery, and so the deletion
/// of namespaces. For the same reason other plugins wait no longer than [`PATIENCE`].
fn stored(catalog: &Catalog, begun: Instant) -> Result<(), String> {
    let now = SystemTime::now();
    if catalog.snapshot().plugins().len() > 1 && begun.elapsed() > PATIENCE {
        return Ok(());
    }
    let snapshot = catalog.snapshot();
    let mut metrics = snapshot
        .tables()
        .filter(|(_, resource, _)| resource.split('/').next() == Some(METRICS))
        .peekable();
    // One of them is enough, as for metrics-server: a cluster in which no pod runs yet has nodes.
    if metrics.peek().is_none() || metrics.any(|(_, _, table)| table.snapshot().iter(now).next().is_some()) {
        return Ok(());
    }
    Err("no metrics to serve yet".to_owned())
}
