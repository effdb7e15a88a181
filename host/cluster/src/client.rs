//! The connection to kube-apiserver, made in one place.
//!
//! From a kubeconfig if one is named, else from the pod's service account. HTTP/2 where it is offered, so that a burst of
//! reviews needs one connection; pings find a dead one. Nothing is limited here: kube-apiserver's own fairness does it
//! better, and whoever asks (informers, reviews) brings back-off and deadlines of its own.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls_pki_types::ServerName;
use tower::{ServiceBuilder, service_fn};

use crate::causes::causes;
use crate::dial::Dialer;

const DIAL_DEADLINE: Duration = Duration::from_secs(10);
/// Until the head of an answer. kube-apiserver gives up on everything but watches after 60 s, and heads watches at once.
const HEAD_DEADLINE: Duration = Duration::from_secs(65);
/// As client-go: a silent HTTP/2 connection is pinged after 30 s and closed 15 s later.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_DEADLINE: Duration = Duration::from_secs(15);

/// How to reach kube-apiserver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// `--kubeconfig`; none for the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Our version, for the user agent `outrigger/VERSION`.
    pub version: String,
}

/// A connection to kube-apiserver, and what it was made from.
#[derive(Clone)]
pub struct Cluster {
    /// Asks kube-apiserver.
    pub client: Client,
    /// Addresses and credentials; the kubelet client inherits CA and token.
    pub config: Config,
}

/// Why there is no connection. Nothing has been sent yet when these appear: they are about settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error("cannot use kubeconfig {path:?}: {}; check --kubeconfig", causes(.source))]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: Box<KubeconfigError>,
    },
    /// Not in a pod, and no kubeconfig.
    #[error(
        "not in a pod with a service account ({}); give --kubeconfig, or do not turn automountServiceAccountToken off",
        causes(.0)
    )]
    NotInCluster(#[source] Box<InClusterError>),
    /// Certificates, keys or tokens cannot be used.
    #[error("cannot use the credentials for {server}: {}", causes(.source))]
    Credentials {
        /// kube-apiserver's URL.
        server: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
    /// `tls-server-name` is no name.
    #[error("tls-server-name {0:?} of the kubeconfig is neither a DNS name nor an IP address")]
    ServerName(String),
    /// The kubeconfig asks for a proxy.
    #[error("the kubeconfig asks for the proxy {0}, which is not supported; remove proxy-url or use a tunnel")]
    Proxy(String),
    /// The version cannot stand in a header.
    #[error("version {0:?} cannot stand in a User-Agent header")]
    Version(String),
}

/// Makes the connection's settings; the first request dials.
///
/// # Errors
/// Settings that cannot work; each says what to do.
pub async fn connect(options: &ClusterOptions) -> Result<Cluster, ClientError> {
    // rustls wants one provider per process; who comes first does not matter, there is only ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = match &options.kubeconfig {
        Some(path) => from_file(path.clone()).await?,
        None => Config::incluster().map_err(|source| ClientError::NotInCluster(Box::new(source)))?,
    };
    let agent = HeaderValue::from_str(&format!("outrigger/{}", options.version))
        .map_err(|_| ClientError::Version(options.version.clone()))?;
    config.headers.push((http::header::USER_AGENT, agent));
    let client = client(&config)?;
    Ok(Cluster { client, config })
}

/// Makes the connection as a person does with kubectl: the named kubeconfig, else `$KUBECONFIG`, else `~/.kube/config`, else
/// the pod's service account; `context` chooses one of the kubeconfig's.
///
/// # Errors
/// As [`connect`].
pub async fn connect_as(kubeconfig: Option<PathBuf>, context: Option<String>, version: &str) -> Result<Cluster, ClientError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = kubeconfig.clone().unwrap_or_else(|| "~/.kube/config".into());
    let failed = |source| ClientError::Kubeconfig {
        path: path.clone(),
        source: Box::new(source),
    };
    let read = match &kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let mut config = match read {
        Ok(read) => Config::from_custom_kubeconfig(read, &options).await.map_err(failed)?,
        Err(error) if kubeconfig.is_none() && options.context.is_none() => Config::incluster().map_err(|_| failed(error))?,
        Err(error) => return Err(failed(error)),
    };
    let agent = HeaderValue::from_str(&format!("outrigger/{version}")).map_err(|_| ClientError::Version(version.to_owned()))?;
    config.headers.push((http::header::USER_AGENT, agent));
    let client = client(&config)?;
    Ok(Cluster { client, config })
}

async fn from_file(path: PathBuf) -> Result<Config, ClientError> {
    let failed = |source| ClientError::Kubeconfig {
        path: path.clone(),
        source: Box::new(source),
    };
    let kubeconfig = Kubeconfig::read_from(&path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}

/// A client of these settings.
///
/// # Errors
/// As [`connect`].
pub fn client(config: &Config) -> Result<Client, ClientError> {
    let failed = |source| ClientError::Credentials {
        server: config.cluster_url.to_string(),
        source: Box::new(source),
    };
    if let Some(proxy) = &config.proxy_url {
        return Err(ClientError::Proxy(proxy.to_string()));
    }
    let server_name = match &config.tls_server_name {
        Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| ClientError::ServerName(name.clone()))?),
        None => None,
    };
    let tls = config.rustls_client_config().map_err(failed)?;
    let http: legacy::Client<Dialer, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_DEADLINE)
        .build(Dialer::new(tls, server_name, DIAL_DEADLINE));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(failed)?)
        .layer(config.extra_headers_layer().map_err(failed)?)
        .service(service_fn(move |request: http::Request<Body>| {
            let answer = http.request(request);
            async move {
                match tokio::time::timeout(HEAD_DEADLINE, answer).await {
                    Ok(answer) => answer.map_err(tower::BoxError::from),
                    Err(_) => Err(format!("no answer within {HEAD_DEADLINE:?}").into()),
                }
            }
        }));
    Ok(Client::new(service, config.default_namespace.clone()))
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.config.cluster_url)
            .finish_non_exhaustive()
    }
}
