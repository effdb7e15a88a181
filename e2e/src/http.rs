//! A client that sends exactly what it is told and shows exactly what comes back: one connection per request, no pool, no
//! retry, no redirect. Tests are plain threads, so it blocks; inside an async task use [`Client::send`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::pki::{self, Pair};

/// The longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::expect_used, reason = "without a runtime no test can run")]
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for clients and kubelets")
});

/// The runtime of clients and fake kubelets.
#[must_use]
pub fn runtime() -> &'static tokio::runtime::Runtime {
    &RUNTIME
}

/// One way to one server: its address, whom it must be, and who we are.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    host: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    headers: HeaderMap,
}

/// One HTTP/2 connection, which carries many requests at once. It ends with its last clone.
#[derive(Debug, Clone)]
pub struct Connection {
    send: SendRequest<Full<Bytes>>,
    host: String,
    headers: HeaderMap,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

// === impl Client ===

impl Client {
    /// Plain HTTP.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            tls: None,
            headers: HeaderMap::new(),
        }
    }

    /// HTTPS to a server that must show a certificate for `name`, signed by an authority in the file `ca`; `user` is our own.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn new(address: SocketAddr, name: &str, ca: &Path, user: Option<&Pair>) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(pki::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(pki::roots(ca)?);
        let config = match user {
            Some(pair) => {
                let (chain, key) = pair.load()?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        let tls = Some((Arc::new(config), ServerName::try_from(name.to_owned())?));
        Ok(Self {
            address,
            host: name.to_owned(),
            tls,
            headers: HeaderMap::new(),
        })
    }

    /// The same, with a header on every request.
    ///
    /// # Errors
    /// The value cannot stand in a header.
    pub fn with(mut self, name: &'static str, value: &str) -> Result<Self> {
        self.headers.append(name, value.parse()?);
        Ok(self)
    }

    /// The same by another address that leads to the server.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// GET, whatever the answer.
    ///
    /// # Errors
    /// No answer: the connection, the handshake or the body failed.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path, &[], Bytes::new())
    }

    /// GET with headers for this request alone.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.request(Method::GET, path, headers, Bytes::new())
    }

    /// GET of a document: fails unless the answer is 200.
    ///
    /// # Errors
    /// See [`Client::get`]; another status; something that is not JSON.
    pub fn document(&self, path: &str) -> Result<Value> {
        self.get(path)?.ok()?.json()
    }

    /// Any request, blocking.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        RUNTIME.block_on(self.send(method, path, headers, body))
    }

    /// Any request, for async callers.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        let what = format!("{method} {path} at {}", self.address);
        match tokio::time::timeout(PATIENCE, self.exchange(method, path, headers, body)).await {
            Ok(answer) => answer.context(what),
            Err(_) => bail!("{what}: no answer in {PATIENCE:?}"),
        }
    }

    /// A new TLS connection that speaks the protocol `alpn`.
    ///
    /// # Errors
    /// The client has no TLS, or there is no connection.
    pub async fn dial(&self, alpn: &[u8]) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let (config, name) = self.tls.as_ref().context("a client without TLS")?;
        let mut config = ClientConfig::clone(config);
        config.alpn_protocols = vec![alpn.to_vec()];
        // A resumed session shows the certificate of the one before; Go's clients resume none either.
        config.resumption = rustls::client::Resumption::disabled();
        let tcp = TcpStream::connect(self.address).await.context("cannot connect")?;
        tcp.set_nodelay(true)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name.clone(), tcp).await.context("no handshake")
    }

    /// Opens a connection for many requests.
    ///
    /// # Errors
    /// A client without TLS, or there is no connection.
    pub async fn connect(&self) -> Result<Connection> {
        let io = TokioIo::new(self.dial(b"h2").await?);
        let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(Connection {
            send,
            host: self.host.clone(),
            headers: self.headers.clone(),
        })
    }

    /// The name that the server is called by.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    async fn exchange(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(body))?;
        request.headers_mut().extend(self.headers.clone());
        let tcp = TcpStream::connect(self.address).await.context("cannot connect")?;
        match &self.tls {
            None => Self::converse(tcp, request).await,
            Some((config, name)) => {
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                Self::converse(connector.connect(name.clone(), tcp).await.context("no handshake")?, request).await
            }
        }
    }

    async fn converse(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Full<Bytes>>) -> Result<Answer> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the body broke off")?.to_bytes();
        connection.abort();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a request, and reads the answer to its end.
    ///
    /// # Errors
    /// No answer: the connection is gone, or the body breaks off.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        let what = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.host));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(body))?;
        request.headers_mut().extend(self.headers.clone());
        let mut send = self.send.clone();
        let answer = async {
            send.ready().await?;
            let (head, body) = send.send_request(request).await?.into_parts();
            let body = body.collect().await.context("the body broke off")?.to_bytes();
            anyhow::Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.with_context(|| what),
            Err(_) => bail!("{what}: no answer in {PATIENCE:?}"),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Itself, if it is a 2xx.
    ///
    /// # Errors
    /// Any other status, with the body's text.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.status.is_success(), "{}: {}", self.status, self.text());
        Ok(self)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
