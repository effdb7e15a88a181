//! `outrigger serve`: behind kube-apiserver's aggregation layer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use outrigger_auth::{
    Authenticator, Authorities, Authorizer, Bearer, FrontProxy, HeaderNames, SharedTrust, Trust, authorize, bearer,
};
use outrigger_cluster::{
    Cluster, ClusterOptions, KubeletAccess, KubeletClient, KubeletOptions, Namespaces, NodeIndex, Personas, PodIndex,
    RequestHeaderTrust, Reviews, Watched, WatchedOptions, kubelet, nodes, pods, trust,
};
use outrigger_server::{Certificates, Source, certificates};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::{self, Serve};
use crate::host::{Door, Host, World};
use crate::join::{Access, ClusterLive, ClusterNamespaces, ClusterTargets, ClusterWatches, Kubelets, Reviewing, Tokens};
use crate::means::OfCluster;
use crate::observe::KubeletSeries;
use crate::opening::Opening;
use crate::{observation, stop};

/// Serves until a signal.
pub(crate) async fn serve(mut flags: Serve) -> Result<()> {
    let opening = Opening::read(&flags.serving)?;
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

    let shelf = flags.keeping.open(&tasks, &end).await?;
    flags.plugins.state_dir = flags.plugins.state_dir.or_else(|| flags.keeping.data_dir.clone());
    let mut world = world(node_index, pod_index, Arc::new(client));
    let namespaces = Namespaces::new(main.client.clone(), tasks.clone(), end.clone());
    world.namespaces = Some(Arc::new(ClusterNamespaces(namespaces)));
    let crew = flags
        .sharing
        .crew(&flags.serving, &main, flags.leading.lease(), &mut registry)?;
    world.replicas = crew.as_ref().map(|crew| crew.line(&tasks, &end));
    let host = Host::new(&flags.plugins, world, shelf, &mut registry)?;
    let rights = host.rights.clone();
    let personas: Personas = Arc::new(move |plugin| Some(rights.persona(plugin)));
    let watched = Watched::new(main.clone(), WatchedOptions::default(), personas, end.clone());
    host.rights
        .lend(OfCluster::new(main.client.clone(), watched.clone(), &tasks, &end));
    let watches = Arc::new(ClusterWatches(watched.clone()));
    tasks.spawn(async move { watched.ended().await });
    host.start(&tasks, watches.clone(), &end);
    // Controllers stop with the signal and not with the last answer: another replica takes over at once.
    let over = CancellationToken::new();
    let leading = flags
        .leading
        .stand(&main, host.controllers.wanted(), &tasks, &mut registry, over.clone())?;
    host.control(&tasks, watches, leading, &shutdown, over);

    let trust = trusted(&flags.authentication, &authentication, &tasks, &end).await?;
    let names = names(&flags.serving);
    let own = if flags.ca.lends() {
        Source::Lent { names: names.clone() }
    } else {
        source(&flags.serving, names.clone())
    };
    let certificates = Certificates::open_with(own, flags.serving.tls_sni_cert_key.clone()).await?;
    let (fresh, stop_fresh) = (certificates.clone(), end.clone());
    tasks.spawn(async move { fresh.keep_fresh(certificates::CHECK_EVERY, stop_fresh).await });
    let trusted = flags
        .ca
        .keep(names, &main, host.catalog.clone(), &certificates, &tasks, &end)?;
    if let Some(crew) = &crew {
        let name = flags.serving.cert_names.first().map(String::as_str);
        let (collectors, settled) = (host.collectors.clone(), host.settled());
        // The place is given up with the signal: the others take over while this one still answers.
        crew.work(collectors, settled, &main, name, trusted.publication, &tasks, &shutdown)?;
    }

    let measured = outrigger_auth::Metrics::register(&mut registry);
    let reviews = |client| Reviews::new(client).observed(Arc::new(Reviewing(measured.clone())));
    let tokens = Arc::new(Tokens(reviews(authentication.client)));
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
    let authorizer = Authorizer::delegated(Arc::new(Access(reviews(authorization.client))), &options)
        .context("--authorization-always-allow-paths")?
        .measured(measured.clone());
    let observation = flags.observation.open(&mut registry)?;
    let door = Door {
        address: SocketAddr::new(flags.serving.bind_address, flags.serving.secure_port),
        certificates,
        shared_ca: trusted.shared,
        stream: crew.map(|crew| crew.stream(host.collectors.clone())),
        authenticator: Authenticator::new(trust.clone(), Some(bearer), true).measured(measured),
        trust,
        authorizer,
        tls: opening.tls,
        limits: opening.limits,
        optional: opening.optional,
        observation: observation.clone(),
        options: opening.options,
    };
    let server = host.open(door, registry, &shutdown).await?;
    let drained = server.run(shutdown).await;
    // Behind the last answer, so that every request is in the log.
    observation::close(&observation).await;
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
        namespaces: None,
        built_in: Vec::new(),
        replicas: None,
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
        verify_by_node_name: flags.kubelet_verify_by_node_name,
        certificate_authority: flags.kubelet_certificate_authority.clone(),
        client_certificate: flags.kubelet_client_certificate.clone(),
        client_key: flags.kubelet_client_key.clone(),
        node_selector: flags.node_selector.clone(),
        completely_insecure: flags.deprecated_kubelet_completely_insecure,
        max_in_flight: concurrency,
        ..KubeletOptions::default()
    }
}

/// What our own certificates are for.
fn names(flags: &flags::Serving) -> Vec<String> {
    let mut names = flags.cert_names.clone();
    names.extend(["localhost".into(), "127.0.0.1".into()]);
    if !flags.bind_address.is_unspecified() {
        names.push(flags.bind_address.to_string());
    }
    names
}

fn source(flags: &flags::Serving, names: Vec<String>) -> Source {
    match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => Source::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        _ => Source::Own {
            dir: Some(flags.cert_dir.clone()),
            names,
        },
    }
}

/// Whom to believe: flags first, and what they leave open from the ConfigMap. Both are followed live.
async fn trusted(
    flags: &flags::Authentication,
    cluster: &Cluster,
    tasks: &TaskTracker,
    end: &CancellationToken,
) -> Result<SharedTrust> {
    let given = Given::read(flags).await?;
    let complete = given.client_ca.is_some() && given.proxy_ca.is_some();
    if flags.authentication_skip_lookup || complete {
        let shared = given.trust(&RequestHeaderTrust::default())?.shared();
        let (_never, unchanged) = watch::channel(Arc::new(RequestHeaderTrust::default()));
        tasks.spawn(keep_trust(given, unchanged, shared.clone(), end.clone()));
        return Ok(shared);
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
    let (changes, following) = trust::follow(cluster.client.clone(), first, end.clone());
    own(tasks, following);
    tasks.spawn(keep_trust(given, changes, shared.clone(), end.clone()));
    Ok(shared)
}

/// Swaps the trust when the ConfigMap or a CA file of the command line says something else. What cannot be used changes nothing.
async fn keep_trust(
    mut given: Given,
    mut changes: watch::Receiver<Arc<RequestHeaderTrust>>,
    shared: SharedTrust,
    end: CancellationToken,
) {
    let mut failing = false;
    loop {
        let next = async {
            // Without a ConfigMap to follow only the files are left.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let read = tokio::select! {
            () = end.cancelled() => return,
            () = next => None,
            () = tokio::time::sleep(certificates::CHECK_EVERY) => match given.reread().await {
                Ok(None) => {
                    failing = false;
                    continue;
                }
                read => Some(read),
            },
        };
        let now = changes.borrow_and_update().clone();
        let (candidate, trust) = match read {
            None => (None, given.trust(&now)),
            Some(Ok(candidate)) => {
                let trust = candidate.as_ref().unwrap_or(&given).trust(&now);
                (candidate, trust)
            }
            Some(Err(error)) => (None, Err(error)),
        };
        match trust {
            Ok(trust) => {
                given = candidate.unwrap_or(given);
                shared.store(Arc::new(trust));
                failing = false;
                tracing::info!("the trust in callers' certificates has changed");
            }
            // Said once, not every few seconds.
            Err(error) if failing => tracing::debug!("the new trust still cannot be used: {error:#}"),
            Err(error) => {
                failing = true;
                tracing::error!("the new trust in callers' certificates cannot be used, the old one stays: {error:#}");
            }
        }
    }
}

/// What the flags say of trust; they win over the ConfigMap.
#[derive(Clone)]
struct Given {
    client_ca_file: Option<PathBuf>,
    proxy_ca_file: Option<PathBuf>,
    client_ca: Option<Vec<u8>>,
    proxy_ca: Option<Vec<u8>>,
    allowed_names: Vec<String>,
    names: HeaderNames,
}

// === impl Given ===

impl Given {
    async fn read(flags: &flags::Authentication) -> Result<Self> {
        Ok(Self {
            client_ca: read(flags.client_ca_file.as_deref()).await.context("--client-ca-file")?,
            proxy_ca: read(flags.requestheader_client_ca_file.as_deref())
                .await
                .context("--requestheader-client-ca-file")?,
            client_ca_file: flags.client_ca_file.clone(),
            proxy_ca_file: flags.requestheader_client_ca_file.clone(),
            allowed_names: flags.requestheader_allowed_names.clone(),
            names: HeaderNames {
                user: flags.requestheader_username_headers.clone(),
                uid: flags.requestheader_uid_headers.clone(),
                group: flags.requestheader_group_headers.clone(),
                extra_prefixes: flags.requestheader_extra_headers_prefix.clone(),
            },
        })
    }

    /// As it is now, if a file says something else than before.
    async fn reread(&self) -> Result<Option<Self>> {
        let client_ca = read(self.client_ca_file.as_deref()).await.context("--client-ca-file")?;
        let proxy_ca = read(self.proxy_ca_file.as_deref())
            .await
            .context("--requestheader-client-ca-file")?;
        if client_ca == self.client_ca && proxy_ca == self.proxy_ca {
            return Ok(None);
        }
        Ok(Some(Self {
            client_ca,
            proxy_ca,
            ..self.clone()
        }))
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

async fn read(file: Option<&Path>) -> Result<Option<Vec<u8>>> {
    match file {
        Some(file) => Ok(Some(tokio::fs::read(file).await.with_context(|| file.display().to_string())?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use outrigger_server::Authority;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ca_files_are_followed_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        let put = |text: &str| std::fs::write(&file, text).unwrap();
        let authority = |name| Authority::create(name).unwrap().pem().to_owned();
        put(&authority("first"));
        let given = Given {
            client_ca: read(Some(&file)).await.unwrap(),
            client_ca_file: Some(file.clone()),
            proxy_ca_file: None,
            proxy_ca: None,
            allowed_names: Vec::new(),
            names: HeaderNames::default(),
        };
        let shared = given.trust(&RequestHeaderTrust::default()).unwrap().shared();
        let (configmap, changes) = watch::channel(Arc::new(RequestHeaderTrust::default()));
        let end = CancellationToken::new();
        let keeping = tokio::spawn(keep_trust(given, changes, shared.clone(), end.clone()));
        let looks = || tokio::time::sleep(certificates::CHECK_EVERY * 3);
        let hints = || shared.load().hints().len();
        let generation = || shared.load().generation();

        let first = generation();
        looks().await;
        assert_eq!(generation(), first, "nothing has changed");
        for broken in ["nonsense", ""] {
            put(broken);
            looks().await;
            assert_eq!(generation(), first, "{broken:?} replaces nothing");
        }
        put(&(authority("second") + &authority("third")));
        looks().await;
        assert_eq!(hints(), 2);
        configmap.send_replace(Arc::new(RequestHeaderTrust {
            requestheader_client_ca_pem: Some(authority("front")),
            username_headers: vec!["x-remote-user".into()],
            ..RequestHeaderTrust::default()
        }));
        looks().await;
        assert_eq!(hints(), 3, "the ConfigMap and the files count together");
        end.cancel();
        keeping.await.unwrap();
    }
}
