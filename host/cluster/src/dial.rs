//! A connection that is there in time or not at all: TCP and TLS under one deadline.
//!
//! hyper's connector bounds TCP alone; a peer that accepts and then says nothing would hold the handshake for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName};
use hyper_util::client::legacy::connect::HttpConnector;
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

/// Dials http and https.
#[derive(Clone)]
pub(crate) struct Dialer {
    https: HttpsConnector<HttpConnector>,
    within: Duration,
}

// === impl Dialer ===

impl Dialer {
    /// Dials with these TLS settings. HTTP/2 is offered first. `server_name` is what the certificate must be for, if not the
    /// URI's host.
    pub(crate) fn new(mut tls: ClientConfig, server_name: Option<ServerName<'static>>, within: Duration) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut tcp = HttpConnector::new();
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
