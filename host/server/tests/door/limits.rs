//! What one caller can take from the others: nothing.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use outrigger_server::{Limits, ServerOptions};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{BOTH, Protocol, Setup, World, request, thing};

const LIMIT: usize = 3 * 1024 * 1024;

#[tokio::test]
async fn bodies_end_at_three_mebibytes() {
    let world = World::start().await;
    for protocol in BOTH {
        for (size, code) in [(0, 200), (LIMIT, 200), (LIMIT + 1, 413)] {
            let mut alice = world.connect(protocol, world.client("alice", None)).await;
            let body = Bytes::from(vec![b'x'; size]);
            let answer = alice.ask(request(Method::PUT, &thing("read"), &[], body)).await;
            assert_eq!(answer.code, code, "{size} over {protocol:?}");
            match code {
                200 => assert_eq!(answer.text(), size.to_string()),
                _ => assert_eq!(answer.status().2, "Request entity too large: limit is 3145728"),
            }
        }
    }
}

#[tokio::test]
async fn who_finds_no_seat_is_told_when_to_come_back() {
    let limits = Limits {
        max_reading: 1,
        max_writing: 1,
        ..Limits::default()
    };
    let world = World::with(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let waiting = |method: Method| {
        let client = world.client("alice", None);
        let world = &world;
        async move {
            world
                .connect(Protocol::H2, client)
                .await
                .ask(request(method, &thing("wait"), &[], ""))
                .await
                .code
        }
    };
    let trying = async {
        world.until_waiting(2).await;
        let mut bob = world.connect(Protocol::H2, world.client("bob", None)).await;
        for (method, name) in [(Method::GET, "a"), (Method::PUT, "a")] {
            let answer = bob.ask(request(method, &thing(name), &[], "")).await;
            assert_eq!((answer.code, answer.header("retry-after")), (429, "1"));
            assert_eq!(answer.status().1, "TooManyRequests");
        }
        let mut root = world
            .connect(Protocol::H2, world.client("root", Some("system:masters")))
            .await;
        assert_eq!(root.get(&thing("a"), &[]).await.code, 200, "masters need no seat");
        assert_eq!(bob.get("/readyz", &[]).await.code, 200, "probes need no seat");
        let watch = bob
            .send(request(Method::GET, "/apis/test.example.com/v1/things?watch=1", &[], ""))
            .await
            .unwrap();
        assert_eq!(watch.status(), 200, "watches need no seat");
        world.endpoint.gate.add_permits(2);
    };
    let (reading, writing, ()) = tokio::join!(waiting(Method::GET), waiting(Method::PUT), trying);
    assert_eq!((reading, writing), (200, 200));
    let mut bob = world.connect(Protocol::H2, world.client("bob", None)).await;
    assert_eq!(bob.get(&thing("a"), &[]).await.code, 200, "the seat is free again");
}

#[tokio::test]
async fn a_streamed_answer_keeps_its_seat_until_its_deadline() {
    let limits = Limits {
        max_reading: 1,
        ..Limits::default()
    };
    let world = World::with(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    let endless = alice
        .send(request(
            Method::GET,
            &format!("{}?timeout=100ms", thing("never-ends")),
            &[],
            "",
        ))
        .await
        .unwrap();
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 429);
    assert!(
        http_body_util::BodyExt::collect(endless.into_body()).await.is_err(),
        "it breaks off"
    );
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
}

#[tokio::test]
async fn slow_handshakes_delay_nobody_and_end() {
    let options = ServerOptions {
        handshake: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    let mut alice = world.connect(Protocol::H1, world.client("alice", None)).await;
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed without a byte");
    }
    let metrics = world
        .connect(Protocol::H1, world.client("alice", None))
        .await
        .get("/metrics", &[])
        .await;
    assert!(metrics.text().contains("\napiserver_tls_handshake_errors_total 20\n"));
}

#[tokio::test]
async fn a_user_may_be_in_many_groups() {
    let world = World::start().await;
    let groups: Vec<String> = (0..500).map(|n| format!("team-{n}")).collect();
    let mut headers = vec![("x-remote-user", "bob")];
    headers.extend(groups.iter().map(|g| ("x-remote-group", g.as_str())));
    for protocol in BOTH {
        let answer = world
            .connect(protocol, world.aggregator())
            .await
            .get(&thing("a"), &headers)
            .await;
        assert_eq!(answer.code, 200, "{protocol:?}");
        assert!(answer.text().contains("team-499"));
    }
}

#[tokio::test]
async fn one_connection_carries_a_thousand_requests_at_once() {
    let limits = Limits {
        max_reading: 0,
        ..Limits::default()
    };
    let world = World::with(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let aggregator = world.connect(Protocol::H2, world.aggregator()).await;
    let asking: Vec<_> = (0..1000)
        .map(|n| {
            let mut aggregator = aggregator.again();
            tokio::spawn(async move {
                let user = format!("user-{n}");
                aggregator.get(&thing("wait"), &[("x-remote-user", &user)]).await.code
            })
        })
        .collect();
    world.until_waiting(1000).await;
    world.endpoint.gate.add_permits(1000);
    for answer in asking {
        assert_eq!(answer.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_thousand_equal_requests_are_one_review() {
    let limits = Limits {
        max_reading: 0,
        ..Limits::default()
    };
    let world = World::with(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let connections = [
        world.connect(Protocol::H2, world.aggregator()).await,
        world.connect(Protocol::H2, world.aggregator()).await,
    ];
    let asking: Vec<_> = (0..1000)
        .map(|n| {
            let mut aggregator = connections[n % 2].again();
            tokio::spawn(async move { aggregator.get(&thing("a"), &[("x-remote-user", "patient")]).await.code })
        })
        .collect();
    while world
        .metric("apiserver_current_inflight_requests{request_kind=\"readOnly\"}")
        .await
        < 1000
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.cluster.gate.add_permits(1);
    for answer in asking {
        assert_eq!(answer.await.unwrap(), 200);
    }
    assert_eq!(world.cluster.asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(world.metric("authorization_attempts_total{result=\"allowed\"}").await >= 1000);
}
