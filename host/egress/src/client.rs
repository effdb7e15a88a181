//! One request to the outside, from a name to an answer.
//!
//! HTTP/1.1, one connection for each request: no pool means no connection that was judged under an older grant, and nothing of one
//! plugin that another could ride on. Redirects come back as they are (status and `Location`); a plugin that follows one asks again
//! and is judged again, so there is no way off the list. Which headers may be set is decided here too: what belongs to the connection
//! is the host's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::address::{Network, Refusal, judge};
use crate::roots::{Roots, RootsError};

/// Turns names into addresses: the system, or a test's own.
pub trait Resolve: Send + Sync {
    /// All addresses of a name.
    fn resolve<'a>(&'a self, host: &'a str) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

/// Where one plugin's requests may lead, and whom they believe.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    /// Networks that are allowed though they are not public.
    pub allow_private: Vec<Network>,
    /// Whom to believe instead of the system's authorities.
    pub roots: Option<Roots>,
    /// `User-Agent` of requests that bring none.
    pub agent: Option<HeaderValue>,
}

/// Sends requests of one plugin.
#[derive(Clone)]
pub struct Client {
    egress: Egress,
    resolver: Arc<dyn Resolve>,
}

/// Why there is no answer. The sentences name the host, never a header or the query.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Every address of the name is refused.
    #[error("{host} is at {address}, which is {why}; the operator may allow it by allowPrivate")]
    Refused {
        /// The name.
        host: String,
        /// One of its addresses.
        address: IpAddr,
        /// What is wrong with it.
        why: Refusal,
    },
    /// The name has no address.
    #[error("{host} has no address: {why}")]
    NoAddress {
        /// The name.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// Nobody to talk to, or not the right one.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// The name.
        host: String,
        /// What went wrong last.
        why: String,
    },
    /// The other side broke off.
    #[error("{host} broke off: {why}")]
    Broken {
        /// The name.
        host: String,
        /// What went wrong.
        why: String,
    },
    /// There is nobody to believe.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The answer is over the budget.
    #[error("the answer of {host} has more than {most} bytes")]
    TooLarge {
        /// The name.
        host: String,
        /// The budget.
        most: usize,
    },
    /// No answer in time.
    #[error("{host} gave no answer in time")]
    Timeout {
        /// The name.
        host: String,
    },
}

/// What belongs to a connection and not to a request (RFC 9110, 7.6.1), and what the host writes itself.
const NOT_THE_CALLERS: [HeaderName; 9] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
];
/// What is left out of answers, for the same reason.
const NOT_THE_ANSWERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 16 << 10;
/// One address that does not answer must not use up the time of the others.
const DIAL: Duration = Duration::from_secs(5);

// === impl Client ===

impl Client {
    /// A client that asks the system for addresses.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self::with(egress, Arc::new(SystemResolver))
    }

    /// A client with a resolver of its own.
    #[must_use]
    pub fn with(egress: Egress, resolver: Arc<dyn Resolve>) -> Self {
        Self { egress, resolver }
    }

    /// Sends one request; the answer has at most `most` bytes of head and body together, and all is over at `deadline`.
    ///
    /// # Errors
    /// See [`EgressError`]. An answer with an error's status is an answer.
    pub async fn send(&self, request: Request<Bytes>, most: usize, deadline: Instant) -> Result<Response<Bytes>, EgressError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        match tokio::time::timeout_at(deadline, self.exchange(request, &host, most)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(EgressError::Timeout { host }),
        }
    }

    async fn exchange(&self, request: Request<Bytes>, host: &str, most: usize) -> Result<Response<Bytes>, EgressError> {
        let (secure, port) = place(request.uri())?;
        let request = self.tidy(request)?;
        let addresses = self.addresses(host).await?;
        let stream = dial(host, &addresses, port).await?;
        if !secure {
            return talk(stream, request, host, most).await;
        }
        let roots = match &self.egress.roots {
            Some(roots) => roots.clone(),
            None => Roots::system()?,
        };
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| EgressError::Invalid(format!("{host:?} is not a host's name")))?;
        let stream = TlsConnector::from(roots.config())
            .connect(name, stream)
            .await
            .map_err(|e| EgressError::Unreachable {
                host: host.to_owned(),
                why: e.to_string(),
            })?;
        talk(stream, request, host, most).await
    }

    /// Addresses of the host that requests may go to; each of them was judged.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let all = match literal {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host).await.map_err(|e| EgressError::NoAddress {
                host: host.to_owned(),
                why: e.to_string(),
            })?,
        };
        let mut refused = None;
        let mut good = Vec::new();
        for address in all {
            match judge(address, &self.egress.allow_private) {
                Ok(()) => good.push(address),
                Err(why) => refused = refused.or(Some((address, why))),
            }
        }
        match (good.is_empty(), refused) {
            (false, _) => Ok(good),
            (true, Some((address, why))) => Err(EgressError::Refused {
                host: host.to_owned(),
                address,
                why,
            }),
            (true, None) => Err(EgressError::NoAddress {
                host: host.to_owned(),
                why: "the name is known, but leads nowhere".into(),
            }),
        }
    }

    /// The request as it is sent: in origin form, with the host's own headers.
    fn tidy(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, EgressError> {
        let (mut parts, body) = request.into_parts();
        let bytes: usize = parts.headers.iter().map(|(k, v)| k.as_str().len() + v.len()).sum();
        if parts.headers.len() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
            return Err(EgressError::Invalid(format!(
                "the request has {} headers with {bytes} bytes; the most is {MOST_HEADERS} with {MOST_HEADER_BYTES}",
                parts.headers.len()
            )));
        }
        let ours =
            |name: &HeaderName| NOT_THE_CALLERS.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection");
        if let Some(name) = parts.headers.keys().find(|name| ours(name)) {
            return Err(EgressError::Invalid(format!("the header {name} is the host's to set")));
        }
        if [Method::CONNECT, Method::TRACE].contains(&parts.method) {
            return Err(EgressError::Invalid(format!(
                "the method {} is not for plugins",
                parts.method
            )));
        }
        let authority = parts.uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = HeaderValue::from_str(authority)
            .map_err(|_| EgressError::Invalid(format!("{authority:?} cannot stand in a header")))?;
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(agent) = &self.egress.agent {
            parts.headers.entry(header::USER_AGENT).or_insert_with(|| agent.clone());
        }
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        parts.uri = path
            .parse::<Uri>()
            .map_err(|_| EgressError::Invalid("the URL's path cannot be sent".into()))?;
        Ok(Request::from_parts(parts, Full::new(body)))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("egress", &self.egress).finish_non_exhaustive()
    }
}

/// Whether TLS is spoken, and on which port.
fn place(uri: &Uri) -> Result<(bool, u16), EgressError> {
    let invalid = |why: &str| Err(EgressError::Invalid(why.to_owned()));
    let secure = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return invalid("the URL begins neither with https:// nor with http://"),
    };
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return invalid("a URL must not carry a user's name; use the header Authorization");
    }
    match uri.port_u16() {
        Some(0) => invalid("port 0 is no port"),
        Some(port) => Ok((secure, port)),
        // A port that is none, or is empty, is not read as one.
        None if uri.authority().map(http::uri::Authority::as_str) != uri.host() => invalid("the URL's port is none"),
        None => Ok((secure, if secure { 443 } else { 80 })),
    }
}

async fn dial(host: &str, addresses: &[IpAddr], port: u16) -> Result<TcpStream, EgressError> {
    let mut last = String::new();
    for address in addresses {
        match tokio::time::timeout(DIAL, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                // Small requests, one answer: waiting to fill a packet helps nobody. A socket that refuses this still works.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(e)) => last = e.to_string(),
            Err(_) => last = format!("no connection within {DIAL:?}"),
        }
    }
    Err(EgressError::Unreachable {
        host: host.to_owned(),
        why: last,
    })
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>, host: &str, most: usize) -> Result<Response<Bytes>, EgressError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let broken = |why: String| EgressError::Broken {
        host: host.to_owned(),
        why,
    };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(e.to_string()))?;
    let asked = async move {
        let answer = sender.send_request(request).await.map_err(|e| broken(e.to_string()))?;
        read(answer, host, most).await
    };
    let (mut asked, mut connection) = (std::pin::pin!(asked), std::pin::pin!(connection));
    // The connection is driven here and by nobody else: when this future goes, so does it.
    tokio::select! {
        biased;
        outcome = &mut asked => return outcome,
        // What it had to say is in the answer's queue, or an error is.
        _ = &mut connection => {}
    }
    asked.await
}

async fn read(answer: Response<hyper::body::Incoming>, host: &str, most: usize) -> Result<Response<Bytes>, EgressError> {
    let too_large = || EgressError::TooLarge {
        host: host.to_owned(),
        most,
    };
    let (mut parts, mut body) = answer.into_parts();
    parts.headers = passed(parts.headers);
    let head: usize = parts.headers.iter().map(|(k, v)| k.as_str().len() + v.len()).sum();
    let mut left = most.checked_sub(head).ok_or_else(too_large)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| EgressError::Broken {
            host: host.to_owned(),
            why: e.to_string(),
        })?;
        if let Ok(data) = frame.into_data() {
            left = left.checked_sub(data.len()).ok_or_else(too_large)?;
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Response::from_parts(parts, bytes.freeze()))
}

fn passed(mut headers: HeaderMap) -> HeaderMap {
    for name in NOT_THE_ANSWERS {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect()) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A name server that says something else each time.
    struct Fickle(Mutex<Vec<Vec<IpAddr>>>, AtomicUsize);

    impl Resolve for Fickle {
        fn resolve<'a>(
            &'a self,
            _: &'a str,
        ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>> {
            self.1.fetch_add(1, Ordering::SeqCst);
            let next = self.0.lock().unwrap().remove(0);
            Box::pin(async move { Ok(next) })
        }
    }

    fn fickle(answers: &[&[&str]]) -> Arc<Fickle> {
        let parse = |all: &&[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(Fickle(Mutex::new(answers.iter().map(parse).collect()), AtomicUsize::new(0)))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn loopback() -> Egress {
        Egress {
            allow_private: vec!["127.0.0.0/8".parse().unwrap()],
            ..Egress::default()
        }
    }

    fn get(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    /// Says the same to everybody; what was asked is kept.
    async fn server(says: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 8192];
                let n = stream.read(&mut head).await.unwrap_or(0);
                kept.lock().unwrap().push(String::from_utf8_lossy(&head[..n]).into_owned());
                let _ = stream.write_all(says.as_bytes()).await;
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn a_request_goes_where_the_name_leads_and_nowhere_twice() {
        let (address, asked) =
            server("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\nconnection: close\r\n\r\nship").await;
        let names = fickle(&[&["127.0.0.1"], &["10.0.0.1"]]);
        let client = Client::with(loopback(), names.clone());
        let mut request = get(&format!("http://harbor.example.com:{}/tide?at=noon", address.port()));
        request
            .headers_mut()
            .insert("authorization", HeaderValue::from_static("Bearer x"));
        let answer = client.send(request, 1 << 20, soon()).await.unwrap();
        assert_eq!(answer.status(), 302, "a redirect is the caller's");
        assert_eq!(answer.headers()["location"], "http://169.254.169.254/");
        assert!(!answer.headers().contains_key("connection"));
        assert_eq!(&answer.body()[..], b"ship");
        assert_eq!(names.1.load(Ordering::SeqCst), 1, "one lookup");
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        let head = asked[0].to_lowercase();
        assert!(head.starts_with("get /tide?at=noon http/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("host: harbor.example.com:{}\r\n", address.port())),
            "{head}"
        );
        assert!(head.contains("authorization: bearer x\r\n"), "{head}");
    }

    #[tokio::test]
    async fn addresses_that_are_not_public_are_not_reached() {
        let (address, asked) = server("HTTP/1.1 200 OK\r\n\r\n").await;
        let port = address.port();
        for (name, url, leads, egress) in [
            ("literal", format!("http://127.0.0.1:{port}/"), "", Egress::default()),
            (
                "short literal",
                format!("http://127.1:{port}/"),
                "127.0.0.1",
                Egress::default(),
            ),
            (
                "name",
                format!("http://harbor.example.com:{port}/"),
                "127.0.0.1",
                Egress::default(),
            ),
            ("mapped", format!("http://[::ffff:127.0.0.1]:{port}/"), "", Egress::default()),
            ("metadata", "http://harbor.example.com/".into(), "169.254.169.254", loopback()),
            ("next door", "http://harbor.example.com/".into(), "10.0.0.1", loopback()),
        ] {
            let leads: Vec<&str> = leads.split(',').filter(|a| !a.is_empty()).collect();
            let client = Client::with(egress, fickle(&[&leads]));
            let error = client.send(get(&url), 1024, soon()).await.unwrap_err();
            assert!(matches!(error, EgressError::Refused { .. }), "{name}: {error}");
        }
        assert!(asked.lock().unwrap().is_empty());
        // Of several addresses only those that may be reached are.
        let client = Client::with(loopback(), fickle(&[&["10.0.0.1", "127.0.0.1"]]));
        let answer = client.send(get(&format!("http://x.example.com:{port}/")), 1024, soon()).await;
        assert_eq!(answer.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_said() {
        let client = Client::with(loopback(), fickle(&[]));
        for (url, header, want) in [
            ("ftp://example.com/", None, "neither with https"),
            ("http://user:word@example.com/", None, "user's name"),
            ("http://example.com/", Some(("host", "other.example.com")), "the header host"),
            (
                "http://example.com/",
                Some(("connection", "keep-alive")),
                "the header connection",
            ),
            (
                "http://example.com/",
                Some(("transfer-encoding", "chunked")),
                "the header transfer-encoding",
            ),
            (
                "http://example.com/",
                Some(("content-length", "3")),
                "the header content-length",
            ),
            (
                "http://example.com/",
                Some(("proxy-connection", "x")),
                "the header proxy-connection",
            ),
        ] {
            let mut request = get(url);
            if let Some((name, value)) = header {
                request.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let error = client.send(request, 1024, soon()).await.unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains("word"), "{url}: {error}");
        }
        let connect = Request::connect("http://example.com/").body(Bytes::new()).unwrap();
        assert!(matches!(
            client.send(connect, 1024, soon()).await,
            Err(EgressError::Invalid(_))
        ));
    }

    #[tokio::test]
    async fn answers_end_at_their_budget_and_in_time() {
        let (address, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n0123456789").await;
        let client = Client::new(loopback());
        let url = format!("http://{address}/");
        let head = "content-length10".len();
        assert_eq!(client.send(get(&url), head + 10, soon()).await.unwrap().body().len(), 10);
        let error = client.send(get(&url), head + 9, soon()).await.unwrap_err();
        assert!(matches!(error, EgressError::TooLarge { .. }), "{error}");

        let (silent, _) = server("").await;
        let error = client
            .send(
                get(&format!("http://{silent}/")),
                1024,
                Instant::now() + Duration::from_millis(200),
            )
            .await
            .unwrap_err();
        assert!(
            matches!(error, EgressError::Timeout { .. } | EgressError::Broken { .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn certificates_are_verified() {
        let made = rcgen::generate_simple_self_signed(["harbor.example.com".to_owned()]).unwrap();
        let dir = std::env::temp_dir().join(format!("outrigger-egress-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let ca = dir.join("ca.crt");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut head = vec![0; 8192];
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        let known = Egress {
            roots: Some(Roots::file(&ca).unwrap()),
            ..loopback()
        };
        let ask = async |egress: Egress, host: &str| {
            let client = Client::with(egress, fickle(&[&["127.0.0.1"]]));
            client.send(get(&format!("https://{host}:{port}/")), 1024, soon()).await
        };
        assert_eq!(&ask(known.clone(), "harbor.example.com").await.unwrap().body()[..], b"ok");
        let other = ask(known, "other.example.com").await.unwrap_err();
        assert!(matches!(other, EgressError::Unreachable { .. }), "another name: {other}");
        let stranger = ask(loopback(), "harbor.example.com").await.unwrap_err();
        assert!(
            matches!(stranger, EgressError::Unreachable { .. } | EgressError::Roots(_)),
            "an unknown authority: {stranger}"
        );
        std::fs::write(&ca, "nothing").unwrap();
        assert!(matches!(Roots::file(&ca), Err(RootsError::Empty { .. })));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
