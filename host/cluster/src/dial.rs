//! A connection that is there in time or not at all: TCP and TLS under one deadline.
//!
//! hyper's connector bounds TCP alone; a peer that accepts and then says nothing would hold the handshake for ever.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// TCP keep-alive of idle connections; a peer that vanished is noticed after about a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// No connection in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(crate) struct DialTimeout(pub(crate) Duration);

/// Where somebody is dialled, by the name that a URI has for him and his certificate must be for: an IP address or a host name.
pub(crate) type Directory = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Dials http and https.
#[derive(Clone)]
pub(crate) struct Dialer {
    https: HttpsConnector<HttpConnector<Resolver>>,
    within: Duration,
}

/// Names to addresses: by the directory first, if there is one, then as the system does it.
#[derive(Clone)]
struct Resolver {
    directory: Option<Directory>,
    system: GaiResolver,
}

// === impl Dialer ===

impl Dialer {
    /// Dials with these TLS settings. HTTP/2 is offered first. `server_name` is what the certificate must be for, if not the
    /// URI's host.
    pub(crate) fn new(tls: ClientConfig, server_name: Option<ServerName<'static>>, within: Duration) -> Self {
        Self::with(tls, server_name, within, None)
    }

    /// The same, but the URI's host is a name in this directory, and in no other.
    pub(crate) fn by(directory: Directory, tls: ClientConfig, within: Duration) -> Self {
        Self::with(tls, None, within, Some(directory))
    }

    fn with(
        mut tls: ClientConfig,
        server_name: Option<ServerName<'static>>,
        within: Duration,
        directory: Option<Directory>,
    ) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut tcp = HttpConnector::new_with_resolver(Resolver {
            directory,
            system: GaiResolver::new(),
        });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_connect_timeout(Some(within));
        let resolver: Arc<dyn ResolveServerName + Send + Sync> = match server_name {
            Some(name) => Arc::new(FixedServerNameResolver::new(name)),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        Self {
            https: HttpsConnector::new(tcp, tls, false, resolver),
            within,
        }
    }
}

// === impl Resolver ===

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host = match &self.directory {
            None => name,
            Some(directory) => {
                let found = directory(name.as_str());
                if let Some(ip) = found.as_deref().and_then(|host| host.parse::<IpAddr>().ok()) {
                    // The port is the URI's.
                    return Box::pin(async move { Ok(vec![SocketAddr::new(ip, 0)].into_iter()) });
                }
                match found.and_then(|host| host.parse().ok()) {
                    Some(host) => host,
                    None => {
                        let gone = io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address any more"));
                        return Box::pin(async move { Err(gone) });
                    }
                }
            }
        };
        let resolving = self.system.call(host);
        Box::pin(async move { Ok(resolving.await?.collect::<Vec<_>>().into_iter()) })
    }
}

impl Service<Uri> for Dialer {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dialing = self.https.call(to);
        let within = self.within;
        Box::pin(async move {
            match tokio::time::timeout(within, dialing).await {
                Ok(done) => done,
                Err(_) => Err(DialTimeout(within).into()),
            }
        })
    }
}
