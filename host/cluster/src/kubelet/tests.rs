//! The kubelet client against real TLS servers on loopback, most of them bad ones.

#![allow(clippy::type_complexity, reason = "a table of cases says more than its type")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::{Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::nodes::Address;
use crate::scripted::until;

type Body = BoxBody<Bytes, Infallible>;
type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(http::request::Parts) -> Answering + Send + Sync>;

/// A CA of kubelets.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    fn serving(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> rustls::ServerConfig {
        let mut parameters = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    fn authority(&self) -> Authority {
        Authority::Der(vec![CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap().to_vec()])
    }
}

/// A kubelet on loopback; ends with the test's runtime.
struct Kubelet {
    at: SocketAddr,
    connections: Arc<AtomicUsize>,
}

async fn listen(serve: impl Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static) -> Kubelet {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(socket));
        }
    });
    Kubelet { at, connections }
}

/// Serves HTTP over TLS, or without if there is no TLS.
async fn serve(tls: Option<rustls::ServerConfig>, handler: Handler) -> Kubelet {
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    listen(move |socket| {
        let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
        Box::pin(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answering = handler(request.into_parts().0);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            match acceptor {
                None => drop(server.serve_connection(TokioIo::new(socket), service).await),
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        })
    })
    .await
}

fn handler<F: Future<Output = Response<Body>> + Send + 'static>(
    answer: impl Fn(http::request::Parts) -> F + Send + Sync + 'static,
) -> Handler {
    Arc::new(move |request| Box::pin(answer(request)))
}

fn say(status: u16, text: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Full::new(Bytes::from(text.to_owned())).boxed())
        .unwrap()
}

fn saying(status: u16, text: &'static str) -> Handler {
    handler(move |_| async move { say(status, text) })
}

fn nodes(at: SocketAddr) -> Arc<dyn NodeLookup> {
    Arc::new(vec![Arc::new(Node {
        name: "n1".into(),
        labels: Arc::default(),
        addresses: [Address {
            kind: "InternalIP".into(),
            address: at.ip().to_string().into(),
        }]
        .into(),
        kubelet_port: Some(at.port()),
        ready: true,
    })])
}

fn options() -> KubeletOptions {
    KubeletOptions {
        use_node_status_port: true,
        request_timeout: Duration::from_secs(3),
        ..KubeletOptions::default()
    }
}

fn access(authority: Authority) -> KubeletAccess {
    KubeletAccess {
        authority: Some(authority),
        token: Some(Token::Text("secret".into())),
        ..KubeletAccess::default()
    }
}

fn client(at: SocketAddr, options: KubeletOptions, access: KubeletAccess) -> KubeletClient {
    KubeletClient::new(options, access, "test", nodes(at), Arc::new(())).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[derive(Default)]
struct Heard(Mutex<Vec<(String, bool)>>, Mutex<Vec<String>>);

impl KubeletObserver for Heard {
    fn request(&self, node: &str, _: Duration, ok: bool) {
        self.0.lock().unwrap().push((node.to_owned(), ok));
    }
    fn gone(&self, node: &str) {
        self.1.lock().unwrap().push(node.to_owned());
    }
}

#[tokio::test]
async fn a_summary_comes_over_one_kept_connection() {
    let ca = Ca::new("kubelets");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let kubelet = serve(
        Some(ca.serving(&["127.0.0.1"], |_| {})),
        handler(move |request| {
            let header = |name: &str| {
                request
                    .headers
                    .get(name)
                    .map(|v| v.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            };
            let line = (
                request.uri.path_and_query().unwrap().to_string(),
                header("authorization"),
                header("user-agent"),
            );
            log.lock().unwrap().push((request.version, line));
            async { say(200, "{\"node\":{}}") }
        }),
    )
    .await;
    let heard = Arc::new(Heard::default());
    let client = KubeletClient::new(
        options(),
        access(ca.authority()),
        "1.2",
        nodes(kubelet.at),
        Arc::clone(&heard) as _,
    )
    .unwrap();
    assert_eq!(client.summary("n1", false, soon()).await.unwrap(), "{\"node\":{}}");
    assert_eq!(client.summary("n1", true, soon()).await.unwrap(), "{\"node\":{}}");
    let line = |path: &str| {
        (
            Version::HTTP_2,
            (path.to_owned(), "Bearer secret".to_owned(), "outrigger/1.2".to_owned()),
        )
    };
    assert_eq!(
        *asked.lock().unwrap(),
        [line("/stats/summary"), line("/stats/summary?only_cpu_and_memory=true")]
    );
    assert_eq!(kubelet.connections.load(Ordering::SeqCst), 1);

    let error = client.summary("n2", true, soon()).await.unwrap_err();
    assert!(matches!(error, KubeletError::NoSuchNode { .. }));
    assert_eq!(
        *heard.0.lock().unwrap(),
        [("n1".to_owned(), true), ("n1".to_owned(), true)],
        "strangers are not counted"
    );
}

#[tokio::test]
async fn each_certificate_fault_has_its_own_words() {
    let (ca, other) = (Ca::new("kubelets"), Ca::new("others"));
    let old = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let cases = [
        (
            "no IP among the names",
            ca.serving(&["n1"], |_| {}),
            "certificate_name",
            "it is for DnsName(\"n1\")",
        ),
        (
            "no names at all",
            ca.serving(&[], |_| {}),
            "certificate_name",
            "serverTLSBootstrap",
        ),
        (
            "another IP",
            ca.serving(&["10.0.0.1"], |_| {}),
            "certificate_name",
            "--kubelet-preferred-address-types",
        ),
        (
            "another CA",
            other.serving(&["127.0.0.1"], |_| {}),
            "certificate_untrusted",
            "--kubelet-certificate-authority",
        ),
        ("expired", ca.serving(&["127.0.0.1"], old), "certificate_time", "renew"),
    ];
    for (name, tls, reason, words) in cases {
        let kubelet = serve(Some(tls), saying(200, "never heard")).await;
        let error = client(kubelet.at, options(), access(ca.authority()))
            .summary("n1", true, soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    // Insecure believes them all, and still speaks TLS.
    let kubelet = serve(Some(other.serving(&["elsewhere"], old)), saying(200, "heard")).await;
    let anybody = KubeletAccess {
        token: Some(Token::Text("t".into())),
        ..KubeletAccess::default()
    };
    assert_eq!(
        client(kubelet.at, options(), anybody)
            .summary("n1", true, soon())
            .await
            .unwrap(),
        "heard"
    );
}

#[tokio::test]
async fn a_name_that_is_dialled_is_what_must_be_certified() {
    let ca = Ca::new("kubelets");
    let kubelet = serve(Some(ca.serving(&["localhost"], |_| {})), saying(200, "by name")).await;
    let node = Node {
        name: "n1".into(),
        labels: Arc::default(),
        addresses: [("InternalIP", "127.0.0.1"), ("Hostname", "localhost")]
            .map(|(kind, address)| Address {
                kind: kind.into(),
                address: address.into(),
            })
            .into(),
        kubelet_port: Some(kubelet.at.port()),
        ready: true,
    };
    let client = KubeletClient::new(
        options(),
        access(ca.authority()),
        "test",
        Arc::new(vec![Arc::new(node)]),
        Arc::new(()),
    )
    .unwrap();
    assert_eq!(client.summary("n1", true, soon()).await.unwrap(), "by name");
}

#[tokio::test]
async fn a_nodes_name_may_be_what_is_certified() {
    let ca = Ca::new("kubelets");
    let by_name = || KubeletOptions {
        verify_by_node_name: true,
        ..options()
    };
    let two = |first: SocketAddr, second: SocketAddr| -> Arc<dyn NodeLookup> {
        let named = |name: &str, at| {
            Arc::new(Node {
                name: name.into(),
                ..Node::clone(&nodes(at).node("n1").unwrap())
            })
        };
        Arc::new(vec![named("n1", first), named("n2.example.com", second)])
    };
    let ask = |nodes: Arc<dyn NodeLookup>, options: KubeletOptions| {
        KubeletClient::new(options, access(ca.authority()), "test", nodes, Arc::new(())).unwrap()
    };
    let first = serve(Some(ca.serving(&["n1"], |_| {})), saying(200, "first")).await;
    let second = serve(Some(ca.serving(&["n2.example.com"], |_| {})), saying(200, "second")).await;

    let client = ask(two(first.at, second.at), by_name());
    for _ in 0..2 {
        assert_eq!(client.summary("n1", true, soon()).await.unwrap(), "first");
        assert_eq!(client.summary("n2.example.com", true, soon()).await.unwrap(), "second");
    }
    assert_eq!(first.connections.load(Ordering::SeqCst), 1, "connections are kept");

    // n1 says that it lives where n2 does: the connection that is there was verified for another.
    let client = ask(two(second.at, second.at), by_name());
    assert_eq!(client.summary("n2.example.com", true, soon()).await.unwrap(), "second");
    let error = client.summary("n1", true, soon()).await.unwrap_err();
    assert_eq!(error.reason(), "certificate_name", "{error}");
    let said = error.to_string();
    assert!(
        said.contains("is not for n1; it is for DnsName(\"n2.example.com\")")
            && said.contains("leave out --kubelet-verify-by-node-name"),
        "{said}"
    );

    // By address, the same kubelets are not believed, and the sentence knows what would help.
    let error = ask(two(first.at, second.at), options())
        .summary("n1", true, soon())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("give --kubelet-verify-by-node-name"), "{error}");

    let by_address = serve(Some(ca.serving(&["127.0.0.1"], |_| {})), saying(200, "never heard")).await;
    let error = ask(nodes(by_address.at), by_name())
        .summary("n1", true, soon())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "certificate_name", "{error}");
}

#[tokio::test]
async fn refusals_and_redirects() {
    let ca = Ca::new("kubelets");
    let followed = serve(Some(ca.serving(&["127.0.0.1"], |_| {})), saying(200, "stolen")).await;
    let elsewhere = format!("https://{}/stats/summary", followed.at);
    let cases: [(&str, u16, &str, &str, &str); 7] = [
        ("401", 401, "Unauthorized", "unauthorized", "webhook"),
        ("403", 403, "Forbidden (user=sa, verb=get)\nx", "forbidden", "nodes/stats"),
        ("302", 302, "", "redirect", "not followed"),
        ("307", 307, "", "redirect", "not followed"),
        (
            "500",
            500,
            "internal error: failed to list pod stats",
            "status",
            "failed to list pod stats",
        ),
        ("204", 204, "", "status", "204"),
        ("404", 404, "404 page not found", "status", "page not found"),
    ];
    for (name, status, text, reason, words) in cases {
        let to = elsewhere.clone();
        let kubelet = serve(
            Some(ca.serving(&["127.0.0.1"], |_| {})),
            handler(move |_| {
                let mut answer = say(status, text);
                answer.headers_mut().insert("location", to.parse().unwrap());
                async { answer }
            }),
        )
        .await;
        let error = client(kubelet.at, options(), access(ca.authority()))
            .summary("n1", true, soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(!error.to_string().contains('\n'), "{name}: one line");
    }
    assert_eq!(followed.connections.load(Ordering::SeqCst), 0, "nobody was sent elsewhere");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_early() {
    let ca = Ca::new("kubelets");
    for (name, alpn) in [("HTTP/2", &b"h2"[..]), ("HTTP/1.1", b"http/1.1")] {
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let mut tls = ca.serving(&["127.0.0.1"], |_| {});
        tls.alpn_protocols = vec![alpn.to_vec()];
        let kubelet = serve(
            Some(tls),
            handler(move |_| {
                let count = Arc::clone(&count);
                // 200 MiB in pieces of 64 KiB, without a length.
                let frames = futures::stream::unfold((0u32, count), |(n, count)| async move {
                    count.fetch_add(64 << 10, Ordering::SeqCst);
                    (n < 3200).then(|| (Ok(Frame::data(Bytes::from(vec![b' '; 64 << 10]))), (n + 1, count)))
                });
                async { Response::new(BodyExt::boxed(StreamBody::new(frames))) }
            }),
        )
        .await;
        let options = KubeletOptions {
            max_response_bytes: 1 << 20,
            request_timeout: Duration::from_secs(10),
            ..options()
        };
        let error = client(kubelet.at, options, access(ca.authority()))
            .summary("n1", true, soon())
            .await
            .unwrap_err();
        assert!(
            matches!(error, KubeletError::TooLarge { limit: 1_048_576, .. }),
            "{name}: {error}"
        );
        assert!(
            sent.load(Ordering::SeqCst) < 64 << 20,
            "{name}: {} bytes were taken",
            sent.load(Ordering::SeqCst)
        );
    }
}

#[tokio::test]
async fn limits_of_size_are_exact() {
    let ca = Ca::new("kubelets");
    let kubelet = serve(Some(ca.serving(&["127.0.0.1"], |_| {})), saying(200, "0123456789")).await;
    for (limit, fits) in [(9, false), (10, true), (11, true)] {
        let options = KubeletOptions {
            max_response_bytes: limit,
            ..options()
        };
        let answer = client(kubelet.at, options, access(ca.authority()))
            .summary("n1", true, soon())
            .await;
        assert_eq!(answer.is_ok(), fits, "{limit}: {answer:?}");
    }
}

#[tokio::test]
async fn who_says_nothing_costs_no_more_than_the_timeout() {
    let ca = Ca::new("kubelets");
    let tls = || ca.serving(&["127.0.0.1"], |_| {});
    let accepts_only = listen(|socket| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(socket);
        })
    })
    .await;
    let never_answers = serve(Some(tls()), handler(|_| std::future::pending())).await;
    let drips = serve(
        Some(tls()),
        handler(|_| {
            let frames = futures::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok(Frame::data(Bytes::from_static(b" "))), ()))
            });
            async { Response::new(BodyExt::boxed(StreamBody::new(frames))) }
        }),
    )
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let cases = [
        ("accepts, no handshake", accepts_only.at, "unreachable", 700, 1500),
        ("never answers", never_answers.at, "timeout", 1000, 1800),
        ("drips", drips.at, "timeout", 1000, 1800),
        ("nobody listens", nobody, "unreachable", 0, 700),
    ];
    for (name, at, reason, least, most) in cases {
        let options = KubeletOptions {
            request_timeout: Duration::from_secs(1),
            ..options()
        };
        let client = client(at, options, access(ca.authority()));
        let start = Instant::now();
        let error = client.summary("n1", true, soon()).await.unwrap_err();
        let took = start.elapsed().as_millis();
        assert_eq!(error.reason(), reason, "{name}: {error}");
        assert!((least..most).contains(&took), "{name}: {took} ms");
        // The caller's own deadline counts when it is sooner.
        let start = Instant::now();
        let _ = client
            .summary("n1", true, Instant::now() + Duration::from_millis(100))
            .await
            .unwrap_err();
        assert!(start.elapsed() < Duration::from_millis(600), "{name}: deadline of the caller");
    }
}

#[tokio::test]
async fn noise_is_no_answer() {
    let ca = Ca::new("kubelets");
    let mut tls = ca.serving(&["127.0.0.1"], |_| {});
    tls.alpn_protocols = Vec::new();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let garbage = listen(move |socket| {
        let acceptor = acceptor.clone();
        Box::pin(async move {
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let _ = stream.write_all(b"\x00\x01 this is no HTTP \r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        })
    })
    .await;
    let breaks_off = serve(
        Some(ca.serving(&["127.0.0.1"], |_| {})),
        handler(|_| {
            let mut answer = say(200, "short");
            answer
                .headers_mut()
                .insert("content-length", HeaderValue::from_static("1000"));
            async { answer }
        }),
    )
    .await;
    let plain = listen(|mut socket| {
        Box::pin(async move {
            let _ = socket
                .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request")
                .await;
            let _ = socket.shutdown().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        })
    })
    .await;
    for (name, at, reason) in [
        ("garbage", garbage.at, "broken"),
        ("cut", breaks_off.at, "broken"),
        ("no TLS", plain.at, "tls"),
    ] {
        let error = client(at, options(), access(ca.authority()))
            .summary("n1", true, soon())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{name}: {error}");
    }
}

#[tokio::test]
async fn one_bad_kubelet_holds_up_nobody_and_turns_are_kept() {
    let ca = Ca::new("kubelets");
    let hang = serve(Some(ca.serving(&["127.0.0.1"], |_| {})), handler(|_| std::future::pending())).await;
    let options = KubeletOptions {
        max_in_flight: 1,
        ..options()
    };
    let client = Arc::new(client(hang.at, options, access(ca.authority())));
    let first = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.summary("n1", true, soon()).await }
    });
    until("the first is being asked", || hang.connections.load(Ordering::SeqCst) == 1).await;
    let error = client
        .summary("n1", true, Instant::now() + Duration::from_millis(100))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "busy", "{error}");
    // A dropped question gives its turn back.
    first.abort();
    let error = client
        .summary("n1", true, Instant::now() + Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "timeout", "{error}");
}

#[tokio::test]
async fn plain_http_carries_no_credential() {
    let seen = Arc::new(Mutex::new(None));
    let log = Arc::clone(&seen);
    let kubelet = serve(
        None,
        handler(move |request| {
            *log.lock().unwrap() = Some(request.headers.contains_key("authorization"));
            async { say(200, "{}") }
        }),
    )
    .await;
    let access = KubeletAccess {
        plain: true,
        token: Some(Token::Text("secret".into())),
        ..KubeletAccess::default()
    };
    let options = KubeletOptions {
        completely_insecure: true,
        ..options()
    };
    assert_eq!(
        client(kubelet.at, options, access).summary("n1", true, soon()).await.unwrap(),
        "{}"
    );
    assert_eq!(*seen.lock().unwrap(), Some(false));
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn rotated_tokens_and_authorities_count_and_broken_ones_do_not() {
    let (ca, next_ca) = (Ca::new("kubelets"), Ca::new("kubelets, next year"));
    let folder = tempfile::tempdir().unwrap();
    let (token, authority) = (folder.path().join("token"), folder.path().join("ca.crt"));
    std::fs::write(&token, "first\n").unwrap();
    std::fs::write(&authority, &ca.pem).unwrap();
    let echo = || {
        handler(|request: http::request::Parts| async move {
            say(200, request.headers.get("authorization").unwrap().to_str().unwrap())
        })
    };
    let kubelet = serve(Some(ca.serving(&["127.0.0.1"], |_| {})), echo()).await;
    let renewed = serve(Some(next_ca.serving(&["127.0.0.1"], |_| {})), echo()).await;
    let access = KubeletAccess {
        authority: Some(Authority::File(authority.clone())),
        token: Some(Token::File(token.clone())),
        ..KubeletAccess::default()
    };
    let both: Arc<dyn NodeLookup> = Arc::new(
        [("old", kubelet.at), ("new", renewed.at)]
            .map(|(name, at)| {
                Arc::new(Node {
                    name: name.into(),
                    ..Node::clone(&nodes(at).node("n1").unwrap())
                })
            })
            .to_vec(),
    );
    let client = KubeletClient::new(options(), access, "test", both, Arc::new(())).unwrap();
    let steps: [(&str, Option<&str>, Option<&str>, &str, Result<&str, &str>); 6] = [
        ("as it was", None, None, "old", Ok("Bearer first")),
        ("next CA not known yet", None, None, "new", Err("certificate_untrusted")),
        ("token rotated", Some("second"), None, "old", Ok("Bearer second")),
        ("empty token: the last good one", Some(""), None, "old", Ok("Bearer second")),
        (
            "broken CA: the last good one",
            None,
            Some("nonsense"),
            "old",
            Ok("Bearer second"),
        ),
        ("both CAs", Some("third"), Some("both"), "new", Ok("Bearer third")),
    ];
    for (name, new_token, new_authority, node, expected) in steps {
        if let Some(text) = new_token {
            replace(&token, text);
        }
        if let Some(text) = new_authority {
            replace(
                &authority,
                &if text == "both" {
                    format!("{}{}", ca.pem, next_ca.pem)
                } else {
                    text.to_owned()
                },
            );
        }
        if new_token.or(new_authority).is_some() {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let got = client.summary(node, true, soon()).await;
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{name}"),
            (Err(error), Err(reason)) => assert_eq!(error.reason(), reason, "{name}: {error}"),
            (got, expected) => panic!("{name}: {got:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn targets() {
    let node = |addresses: &[(&str, &str)], port| Node {
        name: "n1".into(),
        labels: Arc::default(),
        addresses: addresses
            .iter()
            .map(|(k, a)| Address {
                kind: (*k).into(),
                address: (*a).into(),
            })
            .collect(),
        kubelet_port: port,
        ready: false,
    };
    let status_port = KubeletOptions {
        use_node_status_port: true,
        ..KubeletOptions::default()
    };
    let flags = KubeletOptions {
        port: 1234,
        ..KubeletOptions::default()
    };
    let by_name = KubeletOptions {
        verify_by_node_name: true,
        ..KubeletOptions::default()
    };
    let ip = |a| [("InternalIP", a)];
    type Expected = Result<&'static str, &'static str>;
    let cases: [(&str, &[(&str, &str)], Option<u16>, &KubeletOptions, bool, Expected); 14] = [
        (
            "IPv4",
            &ip("10.0.0.1"),
            None,
            &flags,
            false,
            Ok("https://10.0.0.1:1234/stats/summary"),
        ),
        (
            "IPv6 in brackets",
            &ip("fd00::1"),
            None,
            &flags,
            false,
            Ok("https://[fd00::1]:1234/stats/summary"),
        ),
        (
            "host name",
            &[("Hostname", "node-1.x")],
            None,
            &flags,
            false,
            Ok("https://node-1.x:1234/stats/summary"),
        ),
        (
            "status port",
            &ip("10.0.0.1"),
            Some(99),
            &status_port,
            false,
            Ok("https://10.0.0.1:99/stats/summary"),
        ),
        (
            "no status port",
            &ip("10.0.0.1"),
            None,
            &status_port,
            false,
            Ok("https://10.0.0.1:10250/stats/summary"),
        ),
        (
            "status port not wanted",
            &ip("10.0.0.1"),
            Some(99),
            &flags,
            false,
            Ok("https://10.0.0.1:1234/stats/summary"),
        ),
        (
            "plain",
            &ip("10.0.0.1"),
            None,
            &flags,
            true,
            Ok("http://10.0.0.1:1234/stats/summary"),
        ),
        (
            "by the node's name",
            &ip("10.0.0.1"),
            None,
            &by_name,
            false,
            Ok("https://n1:10250/stats/summary"),
        ),
        ("by its name, but nowhere", &[], None, &by_name, false, Err("no_address")),
        ("a path", &[("Hostname", "evil/x")], None, &flags, false, Err("no_address")),
        (
            "another authority",
            &[("Hostname", "me@evil")],
            None,
            &flags,
            false,
            Err("no_address"),
        ),
        (
            "a port of its own",
            &[("Hostname", "evil:80")],
            None,
            &flags,
            false,
            Err("no_address"),
        ),
        ("empty", &[("Hostname", "")], None, &flags, false, Err("no_address")),
        ("no wanted type", &[("Mesh", "m")], None, &flags, false, Err("no_address")),
    ];
    for (name, addresses, port, options, plain, expected) in cases {
        let got = Target::of(&node(addresses, port), options, plain, SUMMARY);
        match (&got, expected) {
            (Ok(target), Ok(uri)) => assert_eq!(target.uri, uri, "{name}"),
            (Err(error), Err(reason)) => assert_eq!(error.reason(), reason, "{name}: {error}"),
            _ => panic!("{name}: {got:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn what_the_cluster_connection_lends() {
    let mut config = kube::Config::new("https://api".parse().unwrap());
    let defaults = KubeletOptions::default();
    assert!(matches!(
        KubeletAccess::from_config(&config, &defaults),
        Err(AccessError::NoAuthority)
    ));
    config.root_cert = Some(vec![vec![1]]);
    config.auth_info.token = Some("t".to_owned().into());
    let access = |config: &kube::Config, change: fn(&mut KubeletOptions)| {
        let mut options = KubeletOptions::default();
        change(&mut options);
        format!("{:?}", KubeletAccess::from_config(config, &options).unwrap())
    };
    let shape = |verifies, certificate, token, plain| {
        format!("KubeletAccess {{ verifies: {verifies}, certificate: {certificate}, token: {token}, plain: {plain} }}")
    };
    assert_eq!(access(&config, |_| {}), shape(true, false, true, false));
    assert_eq!(access(&config, |o| o.insecure_tls = true), shape(false, false, true, false));
    assert_eq!(
        access(&config, |o| o.completely_insecure = true),
        shape(false, false, false, true)
    );
    let pair: fn(&mut KubeletOptions) = |o| {
        o.client_certificate = Some("c".into());
        o.client_key = Some("k".into());
    };
    assert_eq!(
        access(&config, pair),
        shape(true, true, true, false),
        "the token stays beside a certificate"
    );
    config.accept_invalid_certs = true;
    assert_eq!(access(&config, |_| {}), shape(true, false, true, false), "not inherited");
    config.auth_info.token = None;
    config.auth_info.exec = Some(serde_json::from_str("{\"command\":\"aws\"}").unwrap());
    assert!(matches!(
        KubeletAccess::from_config(&config, &defaults),
        Err(AccessError::Program)
    ));
    assert_eq!(access(&config, pair), shape(true, true, false, false));
}

#[tokio::test]
async fn nodes_that_go_are_told() {
    use crate::scripted::{Server, event, list, watch};
    let node = |name: &str, version: u32| format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}"#);
    let (events, first) = watch();
    let server = Server::start(vec![list("2", "", &[node("a", 1), node("b", 2)]), first]).await;
    let cancel = CancellationToken::new();
    let (index, following) = crate::nodes::follow(server.client.clone(), None, cancel.clone());
    until("first list", || index.synced()).await;
    let heard = Arc::new(Heard::default());
    let telling = forget_gone(&index, Arc::clone(&heard) as _, cancel.clone());
    events.send(event("DELETED", &node("a", 3))).unwrap();
    until("a is forgotten", || *heard.1.lock().unwrap() == ["a"]).await;
    cancel.cancel();
    following.await.unwrap();
    telling.await.unwrap();
}
