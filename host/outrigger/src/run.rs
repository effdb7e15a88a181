//! `outrigger run`: this machine, no cluster.
//!
//! Everything it needs it makes under one folder: a CA, a serving certificate, a client certificate in a kubeconfig. Whoever
//! can read that folder is the administrator, so only its owner can.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use outrigger_api::identity::MASTERS;
use outrigger_auth::{Authenticator, Authorities, Authorizer, Trust, authorize};
use outrigger_cluster::kubelet::{Authority as KubeletCa, Token};
use outrigger_cluster::{ClusterOptions, KubeletAccess, KubeletClient, KubeletOptions, Watched, WatchedOptions};
use outrigger_server::{Certificates, Limits, Observation, Optional, ServerOptions, Source, TlsOptions};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::Run;
use crate::host::{Door, Host, World};
use crate::join::{ClusterWatches, Kubelets};
use crate::keeping::Backend;
use crate::laptop::{Machine, OneKubelet, built_in};
use crate::means::OfCluster;
use crate::observe::KubeletSeries;
use crate::{leading, show, stop};

/// How long the administrator's certificate is good; made anew at every start.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// The interval on a laptop, where one kubelet is asked.
const RESOLUTION: Duration = Duration::from_secs(10);

/// Serves until a signal.
pub(crate) async fn run(mut flags: Run) -> Result<()> {
    let shutdown = stop::on_signal()?;
    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    private(&flags.dir)?;
    flags.plugins.metric_resolution.get_or_insert(RESOLUTION);
    flags.plugins.compile_cache.get_or_insert_with(|| flags.dir.join("compiled"));
    flags.plugins.state_dir.get_or_insert_with(|| flags.dir.join("state"));
    if flags.keeping.etcd_servers.is_empty() && flags.keeping.storage_backend != Some(Backend::Memory) {
        flags.keeping.data_dir.get_or_insert_with(|| flags.dir.join("data"));
    }

    let mut registry = Registry::default();
    let kubelet = Arc::new(kubelet(&flags, &mut registry)?);
    let machine = Arc::new(Machine::discover(kubelet.clone()).await?);
    let world = World {
        targets: machine.clone(),
        live: machine.clone(),
        kubelet: Arc::new(Kubelets(kubelet)),
        synced: Arc::new(|| true),
        namespaces: None,
        built_in: built_in(),
        replicas: None,
        granted_to_all: &["kubelet", "config"],
    };
    let shelf = flags.keeping.open(&tasks, &end).await?;
    let host = Host::new(&flags.plugins, world, shelf, &mut registry)?;
    machine.refresh(&host.catalog).await?;
    tasks.spawn(machine.clone().follow(host.catalog.clone(), end.clone()));

    let names = vec!["localhost".into(), "127.0.0.1".into(), flags.listen.ip().to_string()];
    let certificates = Certificates::open(Source::Own {
        dir: Some(flags.dir.join("certificates")),
        names,
    })
    .await?;
    let authority = certificates.authority().ok_or_else(|| anyhow!("there is no CA of our own"))?;
    let client = authority.client("outrigger-admin", Some(MASTERS), LIFETIME)?;
    let trust = Trust::new(None, Some(Authorities::from_pem(authority.pem().as_bytes())?)).shared();
    let measured = outrigger_auth::Metrics::register(&mut registry);
    let door = Door {
        address: flags.listen,
        certificates,
        shared_ca: None,
        stream: None,
        authenticator: Authenticator::new(trust.clone(), None, true).measured(measured.clone()),
        trust,
        authorizer: Authorizer::local(&authorize::Options::default())?.measured(measured),
        tls: TlsOptions::default(),
        limits: Limits::default(),
        optional: Optional::default(),
        observation: Observation::default(),
        options: ServerOptions {
            drain: Duration::from_secs(5),
            ..ServerOptions::default()
        },
    };
    let server = host.open(door, registry, &shutdown).await?;
    let access = show::Access {
        address: server.address(),
        ca: authority.pem().to_owned(),
        certificate: client.certificate,
        key: client.key,
        kubeconfig: flags.dir.join("kubeconfig"),
    };
    access.write_kubeconfig()?;
    // This host is the cluster: what plugins follow is asked of it, as its administrator.
    let own = ClusterOptions {
        kubeconfig: Some(access.kubeconfig.clone()),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let own = outrigger_cluster::connect(&own).await?;
    let watched = Watched::new(own.clone(), WatchedOptions::default(), Arc::new(|_| None), end.clone());
    host.rights.lend(OfCluster::laptop(own.client.clone(), watched.clone()));
    let watches = Arc::new(ClusterWatches(watched.clone()));
    tasks.spawn(async move { watched.ended().await });
    host.start(&tasks, watches.clone(), &end);
    let over = CancellationToken::new();
    host.control(&tasks, watches, leading::alone(&tasks, over.clone()), &shutdown, over);
    let (node, resolution, stop) = (machine.name().to_owned(), flags.plugins.metric_resolution, shutdown.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = show::first_metrics(&access, &node, resolution.unwrap_or(RESOLUTION)) => {}
        }
    });
    server.run(shutdown).await;
    end.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn kubelet(flags: &Run, registry: &mut Registry) -> Result<KubeletClient> {
    let host = flags.kubelet.host().unwrap_or_default().trim_matches(['[', ']']);
    let host: IpAddr = match host {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host
            .parse()
            .with_context(|| format!("--kubelet {} must name an IP address", flags.kubelet))?,
    };
    let port = flags.kubelet.port_u16().unwrap_or(10250);
    let options = KubeletOptions {
        preferred_address_types: vec!["InternalIP".into()],
        use_node_status_port: true,
        ..KubeletOptions::default()
    };
    let access = KubeletAccess {
        authority: flags.kubelet_certificate_authority.clone().map(KubeletCa::File),
        token: flags.kubelet_token_file.clone().map(Token::File),
        plain: flags.kubelet.scheme_str() == Some("http"),
        ..KubeletAccess::default()
    };
    let series = Arc::new(KubeletSeries::register(registry));
    Ok(KubeletClient::new(
        options,
        access,
        env!("CARGO_PKG_VERSION"),
        Arc::new(OneKubelet { host, port }),
        series,
    )?)
}

/// A folder that only its owner can look into.
fn private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("--dir {}", dir.display()))
}
