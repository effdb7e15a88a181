//! Streams of a plugin through the whole door: HTTP bodies on both protocols, WebSockets, drains, clients that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::Method;
use http_body_util::BodyExt;
use outrigger_api::manifest::{Resource, Scope, Subresource, Verb};
use outrigger_catalog::Catalog;
use outrigger_catalog::testing::Native;
use outrigger_resources::{Options, ReadMetrics, Resources};
use outrigger_sandbox::{Answered, Ask, CallError, Input, Request, Sink};
use outrigger_server::{Drained, Routes};
use outrigger_storage::Nothing;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::world::{BOTH, Protocol, Setup, World, request};

const PATH: &str = "/apis/test.example.com/v1/things/a/talk";
const ROOT: (&str, Option<&str>) = ("root", Some("system:masters"));

/// How many guests are talking.
type Talking = Arc<AtomicUsize>;

struct Here(Talking);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Says back what it hears; with `?endless` it talks on and on.
async fn talk(request: &Request, mut from: Box<dyn Input>, mut to: Box<dyn Sink>) -> Result<(), outrigger_sandbox::HostError> {
    to.start(200, "text/plain").await?;
    if request.parameters.iter().any(|(k, _)| k == "endless") {
        loop {
            to.write(vec![b'x'; 16 << 10].into()).await?;
        }
    }
    loop {
        let heard = from.read(1 << 20).await?;
        if heard.is_empty() {
            return Ok(());
        }
        to.write(heard).await?;
    }
}

async fn world() -> (World, Talking) {
    let talking = Talking::default();
    let count = Arc::clone(&talking);
    let resource = Resource::virtual_("Thing", "things", Scope::Cluster, [Verb::Get])
        .group("test.example.com")
        .version("v1")
        .subresource(Subresource::connect("talk").protocol("echo.example.com"));
    let native = Native::responding("talker", "1", resource, move |request, ask| {
        count.fetch_add(1, Ordering::SeqCst);
        let here = Here(Arc::clone(&count));
        async move {
            let _here = here;
            let Ask::Connect(from, to) = ask else { panic!("{ask:?}") };
            let outcome = talk(&request, from, to).await;
            outcome.map(|()| Answered::default()).map_err(|error| CallError::Refused {
                plugin: "talker".into(),
                call: "connect".into(),
                error,
                fields: Vec::new(),
            })
        }
    });
    let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(Nothing)));
    catalog.replace(vec![native.installed("talker.wasm")]);
    let resources = Resources::new(Arc::clone(&catalog), ReadMetrics::default(), Options::default());
    let world = World::with(Setup {
        behind: Some(Arc::new(Routes::new(catalog, resources, || true))),
        ..Setup::default()
    });
    (world.await, talking)
}

async fn until(talking: &Talking, guests: usize) {
    while talking.load(Ordering::SeqCst) != guests {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn socket(world: &World, query: &str, protocol: &str) -> Result<Socket, tungstenite::Error> {
    let stream = world.raw(Protocol::H1, world.client(ROOT.0, ROOT.1)).await;
    let request = http::Request::get(format!("wss://localhost{PATH}{query}"))
        .header("host", "localhost")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .header("sec-websocket-protocol", protocol)
        .body(())
        .unwrap();
    tokio_tungstenite::client_async(request, stream)
        .await
        .map(|(socket, _)| socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_go_through_on_both_protocols() {
    let (world, talking) = world().await;
    for protocol in BOTH {
        let mut root = world.connect(protocol, world.client(ROOT.0, ROOT.1)).await;
        // More than an object may have.
        let answer = root.ask(request(Method::POST, PATH, &[], vec![b'y'; 8 << 20])).await;
        assert_eq!((answer.code, answer.body.len()), (200, 8 << 20));
        assert_eq!(answer.headers["content-type"], "text/plain");
    }
    until(&talking, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_guest() {
    let (world, talking) = world().await;
    for protocol in BOTH {
        let mut root = world.connect(protocol, world.client(ROOT.0, ROOT.1)).await;
        let path = format!("{PATH}?endless=1");
        let mut body = root.send(request(Method::GET, &path, &[], "")).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        assert_eq!(talking.load(Ordering::SeqCst), 1);
        drop(body);
        drop(root);
        until(&talking, 0).await;
    }
    let mut socket = socket(&world, "?endless=1", "echo.example.com").await.unwrap();
    socket.next().await.unwrap().unwrap();
    assert_eq!(talking.load(Ordering::SeqCst), 1);
    drop(socket);
    until(&talking, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_said_back_until_one_is_too_long() {
    let (world, talking) = world().await;
    let mut socket = socket(&world, "", "other, echo.example.com").await.unwrap();
    for message in [Message::text("as text"), Message::binary(vec![1; 1 << 19])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data(), message.into_data());
    }
    socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("x".into()));
    // It may be cut off while it is still sending.
    let _ = socket.send(Message::binary(vec![1; (1 << 20) + 1])).await;
    while let Some(Ok(_)) = socket.next().await {}
    until(&talking, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered() {
    let (world, talking) = world().await;
    let mut socket = socket(&world, "", "echo.example.com").await.unwrap();
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    until(&talking, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_streams_properly() {
    let (world, talking) = world().await;
    let mut socket = socket(&world, "", "echo.example.com").await.unwrap();
    let mut root = world.connect(Protocol::H2, world.client(ROOT.0, ROOT.1)).await;
    let path = format!("{PATH}?endless=1");
    let mut body = root.send(request(Method::GET, &path, &[], "")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(talking.load(Ordering::SeqCst), 2);
    world.shutdown.cancel();
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("not a close");
    };
    assert_eq!(u16::from(close.code), 1001);
    while let Some(Ok(_)) = socket.next().await {}
    reading.await.unwrap();
    until(&talking, 0).await;
    drop(root);
    assert_eq!(world.done.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_do_not_fit_are_refused() {
    let (world, talking) = world().await;
    for (protocol, key, version, code) in [
        ("other", "AAAAAAAAAAAAAAAAAAAAAA==", "13", 400),
        ("echo.example.com", "short", "13", 400),
        ("echo.example.com", "AAAAAAAAAAAAAAAAAAAAAA==", "8", 400),
    ] {
        let mut root = world.connect(Protocol::H1, world.client(ROOT.0, ROOT.1)).await;
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", version),
            ("sec-websocket-key", key),
            ("sec-websocket-protocol", protocol),
        ];
        let answer = root.get(PATH, &headers).await;
        assert_eq!(answer.code, code, "{protocol} {key} {version}");
        assert!(answer.text().contains("\"kind\":\"Status\""), "{}", answer.text());
    }
    assert_eq!(talking.load(Ordering::SeqCst), 0);
}
