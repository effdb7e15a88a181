//! `outrigger serve`: behind kube-apiserver's aggregation layer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use outrigger_auth::{
    Authenticator, Authorities, Authorizer, Bearer, FrontProxy, HeaderNames, SharedTrust, Trust, authorize, bearer,
};
use outrigger_cluster::{
    Cluster, ClusterOptions, KubeletAccess, KubeletClient, KubeletOptions, NodeIndex, PodIndex, RequestHeaderTrust, Reviews,
    kubelet, nodes, pods, trust,
};
use outrigger_server::{Certificates, Limits, ServerOptions, Source, certificates};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::{self, Serve};
use crate::host::{Door, Host, World};
use crate::join::{Access, ClusterLive, ClusterTargets, Kubelets, Tokens};
use crate::observe::KubeletSeries;
use crate::stop;

/// Serves until a signal.
pub(crate) async fn serve(flags: Serve) -> Result<()> {
    let shutdown = stop::on_signal()?;
    let tasks = TaskTracker::new();
    // What serves requests outlives the port: it ends when everything is answered.
    let end = CancellationToken::new();

    let main = connect(flags.kubeconfig.as_deref()).await?;
    let authentication = connect_or(&main, flags.authentication.authentication_kubeconfig.as_deref()).await?;
    let authorization = connect_or(&main, flags.authorization.authorization_kubeconfig.as_deref()).await?;

    let mut registry = Registry::default();
    let options = kubelet_options(&flags.kubelet, flags.plugins.collect_concurrency);
    let wrong: Vec<String> = options.validate().iter().map(ToString::to_string).collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    let (node_index, following) = nodes::follow(main.client.clone(), options.node_selector.as_deref(), end.clone());
    own(&tasks, following);
    let (pod_index, following) = pods::follow(main.client.clone(), end.clone());
    own(&tasks, following);
    let series = Arc::new(KubeletSeries::register(&mut registry));
    own(&tasks, kubelet::forget_gone(&node_index, series.clone(), end.clone()));
    let access = KubeletAccess::from_config(&main.config, &options)?;
    let client = KubeletClient::new(options, access, env!("CARGO_PKG_VERSION"), node_index.clone(), series)?;

    let host = Host::new(&flags.plugins, world(node_index, pod_index, Arc::new(client)), &mut registry)?;
    host.start(&tasks, &end);

    let trust = trusted(&flags.authentication, &authentication, &tasks, &end).await?;
    let certificates = Certificates::open(source(&flags.serving)).await?;
    let (fresh, stop_fresh) = (certificates.clone(), end.clone());
    tasks.spawn(async move { fresh.keep_fresh(certificates::CHECK_EVERY, stop_fresh).await });

    let tokens = Arc::new(Tokens(Reviews::new(authentication.client)));
    let good_for = flags.authentication.authentication_token_webhook_cache_ttl;
    let bearer = Bearer::new(
        tokens,
        &bearer::Options {
            good_for,
            ..bearer::Options::default()
        },
    );
    let options = authorize::Options {
        always_allow_paths: flags.authorization.authorization_always_allow_paths.clone(),
        allow_for: flags.authorization.authorization_webhook_cache_authorized_ttl,
        deny_for: flags.authorization.authorization_webhook_cache_unauthorized_ttl,
        ..authorize::Options::default()
    };
    let authorizer = Authorizer::delegated(Arc::new(Access(Reviews::new(authorization.client))), &options)
        .context("--authorization-always-allow-paths")?;
    let door = Door {
        address: SocketAddr::new(flags.serving.bind_address, flags.serving.secure_port),
        certificates,
        authenticator: Authenticator::new(trust.clone(), Some(bearer), true),
        trust,
        authorizer,
        limits: Limits {
            request_timeout: flags.serving.request_timeout,
            max_reading: flags.serving.max_requests_inflight,
            max_writing: flags.serving.max_mutating_requests_inflight,
        },
        options: ServerOptions {
            shutdown_delay: flags.serving.shutdown_delay_duration,
            ..ServerOptions::default()
        },
    };
    let server = host.open(door, registry, &shutdown).await?;
    let drained = server.run(shutdown).await;
    end.cancel();
    tasks.close();
    tasks.wait().await;
    if drained.cut_off > 0 {
        bail!("{} connections were cut off at the end of the drain", drained.cut_off);
    }
    Ok(())
}

fn world(nodes: Arc<NodeIndex>, pods: Arc<PodIndex>, client: Arc<KubeletClient>) -> World {
    let (of_nodes, of_pods) = (nodes.clone(), pods.clone());
    World {
        targets: Arc::new(ClusterTargets(nodes.clone())),
        live: Arc::new(ClusterLive { nodes, pods }),
        kubelet: Arc::new(Kubelets(client)),
        synced: Arc::new(move || of_nodes.synced() && of_pods.synced()),
        built_in: Vec::new(),
        granted_to_all: &[],
    }
}

/// A task of a room joins those that are awaited at the end.
fn own(tasks: &TaskTracker, task: tokio::task::JoinHandle<()>) {
    tasks.spawn(async move {
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!("a background task panicked: {error}");
        }
    });
}

async fn connect(kubeconfig: Option<&Path>) -> Result<Cluster> {
    let options = ClusterOptions {
        kubeconfig: kubeconfig.map(Path::to_owned),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    Ok(outrigger_cluster::connect(&options).await?)
}

async fn connect_or(main: &Cluster, kubeconfig: Option<&Path>) -> Result<Cluster> {
    match kubeconfig {
        Some(path) => connect(Some(path)).await,
        None => Ok(main.clone()),
    }
}

fn kubelet_options(flags: &flags::Kubelet, concurrency: usize) -> KubeletOptions {
    KubeletOptions {
        port: flags.kubelet_port,
        use_node_status_port: flags.kubelet_use_node_status_port,
        preferred_address_types: flags.kubelet_preferred_address_types.clone(),
        request_timeout: flags.kubelet_request_timeout,
        insecure_tls: flags.kubelet_insecure_tls,
        certificate_authority: flags.kubelet_certificate_authority.clone(),
        client_certificate: flags.kubelet_client_certificate.clone(),
        client_key: flags.kubelet_client_key.clone(),
        node_selector: flags.node_selector.clone(),
        completely_insecure: flags.deprecated_kubelet_completely_insecure,
        max_in_flight: concurrency,
        ..KubeletOptions::default()
    }
}

fn source(flags: &flags::Serving) -> Source {
    match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => Source::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        _ => {
            let mut names = flags.cert_names.clone();
            names.extend(["localhost".into(), "127.0.0.1".into()]);
            if !flags.bind_address.is_unspecified() {
                names.push(flags.bind_address.to_string());
            }
            Source::Own {
                dir: Some(flags.cert_dir.clone()),
                names,
            }
        }
    }
}

/// Whom to believe: flags first, and what they leave open from the ConfigMap, followed live.
async fn trusted(
    flags: &flags::Authentication,
    cluster: &Cluster,
    tasks: &TaskTracker,
    end: &CancellationToken,
) -> Result<SharedTrust> {
    let given = Given::read(flags)?;
    let complete = given.client_ca.is_some() && given.proxy_ca.is_some();
    if flags.authentication_skip_lookup || complete {
        return Ok(given.trust(&RequestHeaderTrust::default())?.shared());
    }
    let first = match trust::read(&cluster.client).await {
        Ok(found) => found.unwrap_or_default(),
        Err(error) if flags.authentication_tolerate_lookup_failure => {
            tracing::warn!("going on without kube-system/extension-apiserver-authentication: {error}");
            RequestHeaderTrust::default()
        }
        Err(error) => return Err(error.into()),
    };
    let shared = given.trust(&first)?.shared();
    let (mut changes, following) = trust::follow(cluster.client.clone(), first, end.clone());
    own(tasks, following);
    let swap = shared.clone();
    tasks.spawn(async move {
        while changes.changed().await.is_ok() {
            let now = changes.borrow_and_update().clone();
            match given.trust(&now) {
                Ok(trust) => {
                    swap.store(Arc::new(trust));
                    tracing::info!("the aggregator's trust has changed");
                }
                Err(error) => tracing::error!("the aggregator's new trust cannot be used, the old one stays: {error:#}"),
            }
        }
    });
    Ok(shared)
}

/// What the flags say of trust; they win over the ConfigMap.
struct Given {
    client_ca: Option<Vec<u8>>,
    proxy_ca: Option<Vec<u8>>,
    allowed_names: Vec<String>,
    names: HeaderNames,
}

// === impl Given ===

impl Given {
    fn read(flags: &flags::Authentication) -> Result<Self> {
        let read = |file: &Option<PathBuf>| {
            file.as_ref()
                .map(|f| std::fs::read(f).with_context(|| f.display().to_string()))
                .transpose()
        };
        Ok(Self {
            client_ca: read(&flags.client_ca_file).context("--client-ca-file")?,
            proxy_ca: read(&flags.requestheader_client_ca_file).context("--requestheader-client-ca-file")?,
            allowed_names: flags.requestheader_allowed_names.clone(),
            names: HeaderNames {
                user: flags.requestheader_username_headers.clone(),
                uid: flags.requestheader_uid_headers.clone(),
                group: flags.requestheader_group_headers.clone(),
                extra_prefixes: flags.requestheader_extra_headers_prefix.clone(),
            },
        })
    }

    /// With a CA for the proxy on the command line, all about the proxy comes from there; else from the ConfigMap.
    fn trust(&self, found: &RequestHeaderTrust) -> Result<Trust> {
        let of_configmap = || HeaderNames {
            user: found.username_headers.clone(),
            uid: found.uid_headers.clone(),
            group: found.group_headers.clone(),
            extra_prefixes: found.extra_headers_prefix.clone(),
        };
        let proxy = match (&self.proxy_ca, &found.requestheader_client_ca_pem) {
            (Some(pem), _) => Some(FrontProxy::new(
                Authorities::from_pem(pem)?,
                self.allowed_names.clone(),
                &self.names,
            )?),
            (None, Some(pem)) => Some(FrontProxy::new(
                Authorities::from_pem(pem.as_bytes())?,
                found.allowed_names.clone(),
                &of_configmap(),
            )?),
            (None, None) => None,
        };
        let clients = match (&self.client_ca, &found.client_ca_pem) {
            (Some(pem), _) => Some(Authorities::from_pem(pem)?),
            (None, Some(pem)) => Some(Authorities::from_pem(pem.as_bytes())?),
            (None, None) => None,
        };
        Ok(Trust::new(proxy, clients))
    }
}
