//! One connection to one server of etcd: TCP, TLS, HTTP/2, and a first question that shows that it is an etcd that will do.
//!
//! It is hyper's connection without tonic's channel around it, for three reasons: it knows whether a request has left, so that a write is
//! only called unknown when it is; it ends when it ends, so that certificates are read anew for the next and another server can be tried; and a
//! request is not passed through one more task. What gRPC is stays with tonic.
//!
//! A connection that is silent is pinged as upstream does it (30 s, 10 s for the answer), so one that has died is found out.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::options::Server;
use super::trouble::{Lost, causes, words};
use super::wire;

/// The files that say who etcd is and who we are. They are read for each connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// A connection. Dropped, it is closed.
pub(super) struct Line {
    server: Server,
    sender: SendRequest<tonic::body::Body>,
    /// Why it ended; TLS refusals of a client's certificate come only here.
    ended: Arc<OnceLock<String>>,
    driver: AbortHandle,
    /// Which cluster it leads to.
    pub(super) cluster: u64,
}

/// Pings when idle, and how long one may take (storagebackend/factory/etcd3.go).
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// Unread bytes of one answer, and of all. A line has one watch on it or short answers, so a slow reader stops only itself.
const STREAM_WINDOW: u32 = 4 << 20;
const LINE_WINDOW: u32 = 8 << 20;

// === impl Line ===

impl Line {
    /// Comes to a server and asks it what it is. The caller sets the deadline.
    pub(super) async fn dial(server: &Server, files: &Files) -> Result<Self, String> {
        let tcp = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|e| causes(&e))?;
        // A request is one small write; to wait for more to send would double its time.
        tcp.set_nodelay(true).map_err(|e| causes(&e))?;
        let ended = Arc::new(OnceLock::new());
        let (sender, driver) = if server.tls {
            let config = files.config().await?;
            let name = ServerName::try_from(server.host.clone()).map_err(|e| causes(&e))?;
            let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
                .connect(name, tcp)
                .await
                .map_err(|e| format!("TLS: {}{}", causes(&e), plain_hint(&e)))?;
            handshake(TokioIo::new(tls), &ended).await?
        } else {
            handshake(TokioIo::new(tcp), &ended).await?
        };
        let mut line = Self {
            server: server.clone(),
            sender,
            ended,
            driver,
            cluster: 0,
        };
        let asked = line.ask(wire::STATUS, wire::StatusRequest {}).await;
        let status: wire::StatusResponse = asked.map_err(|status| {
            let why = line.why(&status);
            // What etcd says itself has no other cause.
            let said = std::error::Error::source(&status).is_none();
            let hint = match (server.tls, &files.identity) {
                _ if said => "",
                // What speaks TLS or HTTP/1 hangs up, or answers what is no HTTP/2.
                (false, _) => "; perhaps it wants https, or is no etcd",
                // In TLS 1.3 a client's certificate is judged behind the handshake, and who writes then may hear no more than that nobody listens.
                (true, None) => "; perhaps it wants a client's certificate",
                (true, Some(_)) => "; perhaps it does not accept the client's certificate",
            };
            format!("{why}{hint}")
        })?;
        if status.is_learner {
            return Err("it is a learner, which answers no reads".to_owned());
        }
        if is_too_old(&status.version) {
            return Err(format!(
                "etcd {} cannot say how far a watch has come; 3.5.13 or newer is needed (or 3.4.31)",
                status.version
            ));
        }
        line.cluster = status.header.unwrap_or_default().cluster_id;
        Ok(line)
    }

    /// One question, one answer.
    pub(super) async fn ask<Q, A>(&self, path: PathAndQuery, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = self.grpc().unary(must_lead(Request::new(question)), path, codec).await?;
        Ok(answer.into_inner())
    }

    /// A watch: questions as they come, answers as they come.
    pub(super) async fn watch(
        &self,
        questions: impl Stream<Item = wire::WatchRequest> + Send + 'static,
    ) -> Result<Streaming<wire::WatchResponse>, Status> {
        let codec: ProstCodec<wire::WatchRequest, wire::WatchResponse> = ProstCodec::default();
        let answer = self
            .grpc()
            .streaming(must_lead(Request::new(questions)), wire::WATCH, codec)
            .await?;
        Ok(answer.into_inner())
    }

    /// Whether anything can still be sent on it.
    pub(super) fn is_alive(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whose it is, for messages.
    pub(super) fn name(&self) -> String {
        self.server.name()
    }

    /// The best that can be said of a failure on it: why the connection ended, if it has.
    pub(super) fn why(&self, status: &Status) -> String {
        let said = words(status);
        match self.ended.get() {
            Some(why) if !said.contains(why.as_str()) => format!("{said}: {why}"),
            _ => said,
        }
    }

    fn grpc(&self) -> Grpc<Sending> {
        let sending = Sending {
            sender: self.sender.clone(),
            ended: Arc::clone(&self.ended),
        };
        // Pages of a list are bounded by what is asked for, and one event may be as large as etcd's operator allows.
        Grpc::with_origin(sending, self.server.url.clone()).max_decoding_message_size(usize::MAX)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What speaks no TLS hangs up, or answers something else. A certificate that is refused is another matter.
fn plain_hint(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if error.kind() == std::io::ErrorKind::UnexpectedEof || matches!(inner, Some(rustls::Error::InvalidMessage(_))) {
        "; perhaps it wants http, or is no etcd"
    } else {
        ""
    }
}

/// A member without a leader says so at once instead of answering from the past or waiting (clientv3's `WithRequireLeader`).
fn must_lead<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

async fn handshake<I>(io: I, ended: &Arc<OnceLock<String>>) -> Result<(SendRequest<tonic::body::Body>, AbortHandle), String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINE_WINDOW)
        .handshake(io)
        .await
        .map_err(|e| causes(&e))?;
    let ended = Arc::clone(ended);
    let driver = tokio::spawn(async move {
        let end = connection.await;
        let _ = ended.set(end.map_or_else(|e| causes(&e), |()| "the connection was closed".to_owned()));
    });
    Ok((sender, driver.abort_handle()))
}

/// Older ones may say that a watch has come further than it has (etcd issue 15220); upstream's `feature_support_checker.go` has the same
/// bounds. What has another kind of version is not etcd but speaks its protocol, and is believed.
fn is_too_old(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next(), parts.next()) {
        (Some(major), Some(minor), Some(patch)) => {
            let least = match (major, minor) {
                (3, 4) => 31,
                (3, 5) => 13,
                (..3, _) | (3, ..4) => return true,
                _ => 0,
            };
            patch < least
        }
        _ => false,
    }
}

// === impl Files ===

impl Files {
    pub(super) async fn config(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| causes(&e))?
            .with_root_certificates(self.roots().await?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = CertificateDer::pem_slice_iter(&read(cert).await?)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| content(cert, &e))?;
                let secret = PrivateKeyDer::from_pem_slice(&read(key).await?).map_err(|e| content(key, &e))?;
                builder.with_client_auth_cert(chain, secret).map_err(|e| content(cert, &e))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    async fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for certificate in CertificateDer::pem_slice_iter(&read(ca).await?) {
            let certificate = certificate.map_err(|e| content(ca, &e))?;
            roots.add(certificate).map_err(|e| content(ca, &e))?;
        }
        if roots.is_empty() {
            return Err(format!("{} has no certificate", ca.display()));
        }
        Ok(roots)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|e| format!("{}: {e}", path.display()))
}

fn content(path: &Path, error: &dyn std::error::Error) -> String {
    format!("{}: {}", path.display(), causes(error))
}

// === Sending ===

/// Puts a request on the connection, and knows afterwards whether it was there.
struct Sending {
    sender: SendRequest<tonic::body::Body>,
    ended: Arc<OnceLock<String>>,
}

impl tower::Service<http::Request<tonic::body::Body>> for Sending {
    type Response = http::Response<Incoming>;
    type Error = Lost;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Lost>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let sent = self.sender.try_send_request(request);
        let ended = Arc::clone(&self.ended);
        Box::pin(async move {
            sent.await.map_err(|mut failed| {
                let unsent = failed.take_message().is_some();
                let error = failed.into_error();
                let why = match ended.get() {
                    Some(why) => why.clone(),
                    None => causes(&error),
                };
                if unsent || is_refused(&error) {
                    Lost::Unsent(why)
                } else {
                    Lost::Broken(why)
                }
            })
        })
    }
}

/// Whether the server says that it has not begun with it (RFC 9113, 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_remote() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_etcds_are_not_trusted() {
        for (version, expected) in [
            ("3.6.16", false),
            ("3.5.13", false),
            ("3.5.12", true),
            ("3.4.31", false),
            ("3.4.30", true),
            ("3.3.27", true),
            ("2.3.8", true),
            ("4.0.0", false),
            ("3.7.0-alpha.0", false),
            ("", false),
            ("v1", false),
        ] {
            assert_eq!(is_too_old(version), expected, "{version}");
        }
    }
}
