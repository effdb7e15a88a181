//! The load generator: HTTP/2 frames over TLS, nothing in between.
//!
//! Windows are so large that no answer waits for the client, and a body is counted, not kept. What one request costs this
//! client is measured with everything else and printed, so that a bottleneck here is seen.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use outrigger_e2e::pki::{self, Pair};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

/// Bytes that may be under way in one answer, and on one connection.
const WINDOW: u32 = 64 << 20;

/// A server, and who we are to it.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    authority: String,
    headers: HeaderMap,
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Connection {
    target: Target,
    send: SendRequest<Bytes>,
}

/// What a request got.
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) bytes: usize,
}

/// Times of many requests.
pub(crate) struct Times {
    sorted: Vec<Duration>,
    pub(crate) took: Duration,
}

// === impl Target ===

impl Target {
    pub(crate) fn new(
        address: SocketAddr,
        name: &str,
        ca: &Path,
        user: Option<&Pair>,
        headers: &[(&'static str, &str)],
    ) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(pki::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(pki::roots(ca)?);
        let mut tls = match user {
            Some(pair) => {
                let (chain, key) = pair.load()?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(*name, value.parse()?);
        }
        Ok(Self {
            address,
            name: ServerName::try_from(name.to_owned())?,
            tls: Arc::new(tls),
            authority: format!("{name}:{}", address.port()),
            headers: all,
        })
    }

    /// Opens a connection; its task ends with the runtime.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.name.clone(), tcp)
            .await?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(1 << 20)
            .enable_push(false)
            .handshake(tls)
            .await?;
        tokio::spawn(connection);
        Ok(Connection {
            target: self.clone(),
            send,
        })
    }
}

// === impl Connection ===

impl Connection {
    /// A request of this path, to be sent many times.
    pub(crate) fn request(&self, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Result<Request<()>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.target.authority))
            .body(())?;
        request.headers_mut().extend(self.target.headers.clone());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse()?);
        }
        Ok(request)
    }

    /// Sends it and reads the answer to its end.
    pub(crate) async fn fetch(&self, request: Request<()>, body: Option<Bytes>) -> Result<Got> {
        let (status, mut stream) = self.open(request, body).await?;
        let mut bytes = 0;
        while let Some(chunk) = stream.data().await {
            let length = chunk?.len();
            bytes += length;
            stream.flow_control().release_capacity(length)?;
        }
        Ok(Got { status, bytes })
    }

    /// Sends it and keeps the answer.
    pub(crate) async fn read(&self, request: Request<()>, body: Option<Bytes>) -> Result<(StatusCode, Vec<u8>)> {
        let (status, mut stream) = self.open(request, body).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, bytes))
    }

    /// Sends it and reads the head of the answer.
    pub(crate) async fn open(&self, request: Request<()>, body: Option<Bytes>) -> Result<(StatusCode, h2::RecvStream)> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut upload) = send.send_request(request, body.is_none())?;
        if let Some(body) = body {
            upload.send_data(body, true)?;
        }
        let (head, stream) = response.await?.into_parts();
        Ok((head.status, stream))
    }
}

/// GETs one after the other over one connection, for `long`.
pub(crate) async fn one_by_one(
    target: &Target,
    path: &str,
    headers: &[(&'static str, &str)],
    long: Duration,
) -> Result<(Times, usize)> {
    let connection = target.connect().await?;
    let request = connection.request(Method::GET, path, headers)?;
    let (mut times, mut size) = (Vec::new(), 0);
    let begin = Instant::now();
    while begin.elapsed() < long || times.len() < 5 {
        let sent = Instant::now();
        let got = connection.fetch(request.clone(), None).await?;
        times.push(sent.elapsed());
        ensure!(got.status == StatusCode::OK, "{path}: {}", got.status);
        size = got.bytes;
    }
    Ok((Times::new(times, begin.elapsed()), size))
}

/// GETs, `in_flight` at any time, spread over `connections`, for `long`.
pub(crate) async fn all_at_once(
    target: &Target,
    path: &str,
    connections: usize,
    in_flight: usize,
    long: Duration,
) -> Result<Times> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(target.connect().await?);
    }
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connection in open.iter().cycle().take(in_flight) {
        let connection = connection.clone();
        let request = connection.request(Method::GET, path, &[])?;
        tasks.spawn(async move {
            let mut times = Vec::new();
            while begin.elapsed() < long {
                let sent = Instant::now();
                let got = connection.fetch(request.clone(), None).await?;
                times.push(sent.elapsed());
                ensure!(got.status == StatusCode::OK, "{}", got.status);
            }
            Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(some) = tasks.join_next().await {
        times.extend(some??);
    }
    Ok(Times::new(times, begin.elapsed()))
}

/// Sends JSON to paths, 16 requests in flight over one connection; a PATCH is a merge.
pub(crate) async fn send_all(target: &Target, method: Method, requests: Vec<(String, Bytes)>) -> Result<()> {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let connection = target.connect().await?;
    let mut tasks = tokio::task::JoinSet::new();
    let mut left = requests.into_iter();
    loop {
        while tasks.len() < 16 {
            let Some((path, body)) = left.next() else { break };
            let (connection, method) = (connection.clone(), method.clone());
            tasks.spawn(async move {
                let request = connection.request(method.clone(), &path, &[("content-type", kind)])?;
                let got = connection.fetch(request, Some(body)).await?;
                ensure!(got.status.is_success(), "{method} {path}: {}", got.status);
                Ok(())
            });
        }
        match tasks.join_next().await {
            Some(done) => done.context("a request's task")??,
            None => return Ok(()),
        }
    }
}

// === impl Times ===

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        Self { sorted: times, took }
    }

    /// Microseconds under which this part of a hundred lies.
    pub(crate) fn percentile(&self, part: usize) -> f64 {
        let index = (self.sorted.len() * part / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    /// Requests in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub(crate) fn rate(&self) -> f64 {
        self.sorted.len() as f64 / self.took.as_secs_f64()
    }
}
