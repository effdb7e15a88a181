//! How connections and certificates come to their end.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use outrigger_server::{Authority, Drained, ServerOptions};
use tokio::net::TcpStream;

use crate::world::{BOTH, HOUR, Protocol, Setup, World, request, thing};

#[tokio::test]
async fn a_drain_loses_nothing() {
    let world = World::start().await;
    let mut waiting = Vec::new();
    for protocol in BOTH.into_iter().cycle().take(8) {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        waiting.push(tokio::spawn(async move {
            let answer = alice.get(&thing("wait"), &[]).await;
            (answer.code, answer.body)
        }));
    }
    let mut watches = Vec::new();
    let mut watchers = Vec::new();
    for protocol in BOTH {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        watches.push(
            alice
                .send(request(Method::GET, "/apis/test.example.com/v1/things?watch=1", &[], ""))
                .await
                .unwrap(),
        );
        watchers.push(alice);
    }
    let mut fresh = Vec::new();
    for protocol in BOTH {
        fresh.push(world.connect(protocol, world.client("alice", None)).await);
    }
    world.until_waiting(8).await;
    world.shutdown.cancel();
    for watch in watches {
        let seen = watch.into_body().collect().await.expect("a watch ends properly").to_bytes();
        assert_eq!(seen, "first\n");
    }
    for mut connection in fresh {
        assert_eq!(
            connection.get(&thing("a"), &[]).await.code,
            200,
            "a connection that has asked nothing yet"
        );
    }
    world.endpoint.gate.add_permits(8);
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), (200, "waited".into()));
    }
    drop(watchers);
    assert_eq!(world.done.await.unwrap(), Drained { cut_off: 0 });
    assert!(TcpStream::connect(world.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn while_it_waits_to_close_the_port_readyz_is_red_and_requests_are_served() {
    let options = ServerOptions {
        shutdown_delay: HOUR,
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    assert_eq!(world.connect(Protocol::H1, None).await.get("/readyz", &[]).await.code, 200);
    world.shutdown.cancel();
    let ready = world.connect(Protocol::H1, None).await.get("/readyz", &[]).await;
    assert_eq!(ready.code, 500);
    assert!(
        ready.text().contains("[-]shutdown failed: reason withheld\n"),
        "{}",
        ready.text()
    );
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
    world.done.abort();
}

#[tokio::test]
async fn what_is_still_there_at_the_deadline_is_cut_off() {
    let options = ServerOptions {
        drain: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    let stuck = tokio::spawn(async move { alice.send(request(Method::GET, &thing("wait"), &[], "")).await.is_err() });
    world.until_waiting(1).await;
    world.shutdown.cancel();
    assert_eq!(world.done.await.unwrap(), Drained { cut_off: 1 });
    assert!(stuck.await.unwrap());
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let options = ServerOptions {
        idle: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let mut busy = world.connect(Protocol::H2, world.client("alice", None)).await;
    let watch = busy
        .send(request(Method::GET, "/apis/test.example.com/v1/things?watch=1", &[], ""))
        .await
        .unwrap();
    let mut idle = world.connect(Protocol::H2, world.client("alice", None)).await;
    assert_eq!(idle.get(&thing("a"), &[]).await.code, 200);
    let crate::world::Connected::H2(idle) = &idle else {
        unreachable!("it is HTTP/2")
    };
    while !idle.is_closed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(busy.get(&thing("a"), &[]).await.code, 200);
    drop(watch);
}

#[tokio::test]
async fn a_new_certificate_needs_no_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let authority = Authority::create("serving").unwrap();
    let put = || {
        let pair = authority.serving(&["localhost".into()], HOUR).unwrap();
        std::fs::write(&key, &pair.key).unwrap();
        std::fs::write(&certificate, &pair.certificate).unwrap();
    };
    put();
    let files = Some((certificate.clone(), key.clone()));
    let serving_ca = Some(authority.pem().to_owned());
    let world = World::with(Setup {
        files,
        serving_ca,
        ..Setup::default()
    })
    .await;
    let alice = || world.client("alice", None);
    let (mut before, first) = world.try_connect(Protocol::H2, alice()).await.unwrap();
    put();
    assert!(world.certificates.refresh().await.unwrap());
    let (mut after, second) = world.try_connect(Protocol::H2, alice()).await.unwrap();
    assert_ne!(first, second);
    for connection in [&mut before, &mut after] {
        assert_eq!(connection.get(&thing("a"), &[]).await.code, 200);
    }
}
