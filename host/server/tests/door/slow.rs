//! Clients that take their time: with their headers, their bodies, or their answers. Each is ended, and nobody else notices.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_server::{Limits, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::frames::{block, frame, preface};
use crate::world::{BOTH, Connected, Protocol, Setup, World, request, thing};

const PATIENCE: Duration = Duration::from_secs(60);
const NOW_AND_THEN: Duration = Duration::from_millis(20);

fn one_seat() -> Limits {
    Limits {
        max_reading: 1,
        ..Limits::default()
    }
}

/// Writes a byte now and then until the server has closed; gives what it said.
async fn dribble(mut stream: TlsStream<TcpStream>, next: impl Fn() -> Vec<u8>) -> Vec<u8> {
    let mut said = Vec::new();
    let dribbling = async {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(n) => said.extend_from_slice(&buffer[..n]),
                },
                () = tokio::time::sleep(NOW_AND_THEN) => {
                    if stream.write_all(&next()).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, dribbling).await.expect("it is never closed");
    said
}

#[tokio::test]
async fn a_dribbled_head_over_http1_ends() {
    let options = ServerOptions {
        read_header: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut stream = world.raw(Protocol::H1, None).await;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        .await
        .unwrap();
    let said = dribble(stream, || b"x".to_vec()).await;
    assert!(!said.starts_with(b"HTTP/1.1 200"), "{said:?}");
    // One head that is finished gives no right to dribble the next.
    let mut stream = world.raw(Protocol::H1, None).await;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /readyz HTTP/1.1\r\nX-Slow: ")
        .await
        .unwrap();
    let said = dribble(stream, || b"x".to_vec()).await;
    assert!(said.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_dribbled_head_over_http2_ends() {
    let options = ServerOptions {
        ping: (Duration::from_millis(100), Duration::from_millis(200)),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut stream = world.raw(Protocol::H2, None).await;
    let head = frame(0x1, 0x1, 1, &block(2, "/readyz"));
    stream.write_all(&[preface(), head].concat()).await.unwrap();
    // CONTINUATION without end; whoever is in the middle of a head may send nothing else, so no ping is answered either.
    dribble(stream, || frame(0x9, 0, 1, &[])).await;
    let mut stream = world.raw(Protocol::H2, None).await;
    stream
        .write_all(&[preface(), vec![0, 0, 200, 0x1, 0x5, 0, 0, 0, 1]].concat())
        .await
        .unwrap();
    dribble(stream, || vec![0x82]).await;
}

#[tokio::test]
async fn half_a_greeting_over_http2_ends() {
    let options = ServerOptions {
        idle: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut silent = world.raw(Protocol::H2, None).await;
    silent.write_all(&preface()[..10]).await.unwrap();
    dribble(silent, Vec::new).await;
}

#[tokio::test]
async fn a_dribbled_body_is_504() {
    let world = World::start().await;
    let path = format!("{}?timeout=300ms", thing("read"));
    let mut stream = world.raw(Protocol::H1, world.client("alice", None)).await;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = dribble(stream, || b"x".to_vec()).await;
    assert!(said.starts_with(b"HTTP/1.1 504"), "{:?}", String::from_utf8_lossy(&said));

    let mut stream = world.raw(Protocol::H1, world.client("alice", None)).await;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = dribble(stream, || b"1\r\nx\r\n".to_vec()).await;
    assert!(said.starts_with(b"HTTP/1.1 504"), "{:?}", String::from_utf8_lossy(&said));

    let (sender, connection) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(world.raw(Protocol::H2, world.client("alice", None)).await),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let drops = futures::stream::unfold((), |()| async {
        tokio::time::sleep(NOW_AND_THEN).await;
        Some((Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"x"))), ()))
    });
    let (parts, _) = request(Method::PUT, &path, &[], "").into_parts();
    let body = http_body_util::StreamBody::new(Box::pin(drops));
    let answer = sender
        .clone()
        .send_request(http::Request::from_parts(parts, body))
        .await
        .unwrap();
    assert_eq!(answer.status(), 504);
}

#[tokio::test]
async fn a_body_without_an_announced_length_ends_at_three_mebibytes() {
    let world = World::start().await;
    for protocol in BOTH {
        for (chunks, code) in [(3, 200), (4, 413)] {
            let io = TokioIo::new(world.raw(protocol, world.client("alice", None)).await);
            let chunk = || Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(vec![b'x'; 1 << 20])));
            let body = http_body_util::StreamBody::new(futures::stream::iter((0..chunks).map(move |_| chunk())));
            let (parts, _) = request(Method::PUT, &thing("read"), &[], "").into_parts();
            let request = http::Request::from_parts(parts, body);
            let status = match protocol {
                Protocol::H1 => {
                    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await.unwrap().status()
                }
                Protocol::H2 => {
                    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await.unwrap().status()
                }
            };
            assert_eq!(status, code, "{chunks} MiB over {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_head_beyond_one_mebibyte_is_431() {
    let world = World::start().await;
    let mut stream = world.raw(Protocol::H1, None).await;
    let head = format!(
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Long: {}",
        "x".repeat((1 << 20) + 100_000)
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let mut said = vec![0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 431");
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    let long = "x".repeat(40_000);
    let headers: Vec<(&str, &str)> = (0..30).map(|_| ("x-long", long.as_str())).collect();
    assert_eq!(alice.get(&thing("a"), &headers).await.code, 431);
    assert_eq!(
        alice.get(&thing("a"), &headers[..20]).await.code,
        200,
        "and the connection serves on"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_read_over_http2_costs_its_stream_alone() {
    let world = World::with(Setup {
        limits: one_seat(),
        ..Setup::default()
    })
    .await;
    let io = TokioIo::new(world.raw(Protocol::H2, world.client("alice", None)).await);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1024)
        .handshake::<_, Full<Bytes>>(io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut alice = Connected::H2(sender);
    let unread = request(Method::GET, &format!("{}?timeout=300ms", thing("large")), &[], "");
    let unread = alice.send(unread).await.unwrap();
    assert_eq!(unread.status(), 200);
    let waiting = tokio::time::timeout(PATIENCE, world.until_there_is_a_seat());
    waiting.await.expect("the seat is never given back");
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200, "its neighbours are unharmed");
    assert!(unread.into_body().collect().await.is_err(), "and the rest never comes");
}

#[tokio::test]
async fn an_answer_that_is_not_read_over_http1_costs_the_connection() {
    let options = ServerOptions {
        idle: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        limits: one_seat(),
        options,
        ..Setup::default()
    })
    .await;
    let mut stream = world.raw(Protocol::H1, world.client("alice", None)).await;
    let head = format!("GET {}?timeout=300ms HTTP/1.1\r\nHost: localhost\r\n\r\n", thing("large"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 15];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200 OK");
    let waiting = tokio::time::timeout(PATIENCE, world.until_there_is_a_seat());
    waiting.await.expect("the seat is never given back");
}

#[tokio::test]
async fn who_asks_and_asks_and_never_reads_is_cut_off() {
    let options = ServerOptions {
        idle: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut stream = world.raw(Protocol::H1, None).await;
    let asking = async {
        let requests = "GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
        while stream.write_all(requests.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it is never cut off");
}

#[tokio::test]
async fn a_large_answer_that_is_read_arrives_whole() {
    let world = World::with(Setup {
        limits: one_seat(),
        ..Setup::default()
    })
    .await;
    for protocol in BOTH {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        for _ in 0..2 {
            let answer = alice.get(&thing("large"), &[]).await;
            assert_eq!((answer.code, answer.body.len()), (200, 16 << 20), "{protocol:?}");
            assert_eq!(answer.header("content-length"), (16 << 20).to_string(), "{protocol:?}");
        }
    }
}
