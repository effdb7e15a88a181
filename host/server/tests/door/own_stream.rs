//! The stream of the server's own to which other replicas listen: for whoever may `get` its path, for as long as the server serves.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use outrigger_server::{Body, Limits, OwnStream};

use super::world::{BOTH, Protocol, Setup, World, request, thing};

const PATH: &str = "/outrigger/v1/told";

/// One piece, and then silence.
fn stream() -> OwnStream {
    OwnStream {
        path: PATH,
        open: Arc::new(|| {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first\n"))]);
            Body::from_stream(first.chain(futures::stream::pending()))
        }),
    }
}

#[tokio::test]
async fn it_is_for_whoever_may_get_the_path() {
    let world = World::with(Setup {
        stream: Some(stream()),
        ..Setup::default()
    })
    .await;
    for protocol in BOTH {
        let mut nobody = world.connect(protocol, None).await;
        assert_eq!(nobody.get(PATH, &[]).await.code, 403);
        let mut denied = world.connect(protocol, world.client("denied", None)).await;
        let (code, _, message) = denied.get(PATH, &[]).await.status();
        assert_eq!(code, 403);
        assert!(message.contains("cannot get path \"/outrigger/v1/told\""), "{message}");
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        assert_eq!(alice.ask(request(Method::POST, PATH, &[], Bytes::new())).await.code, 405);
        let response = alice.send(request(Method::GET, PATH, &[], Bytes::new())).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first\n");
    }
}

#[tokio::test]
async fn it_takes_no_seat_and_ends_when_the_server_drains() {
    let world = World::with(Setup {
        stream: Some(stream()),
        limits: Limits {
            max_reading: 1,
            ..Limits::default()
        },
        ..Setup::default()
    })
    .await;
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    let response = alice.send(request(Method::GET, PATH, &[], Bytes::new())).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first\n");
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
    world.shutdown.cancel();
    // It ends, in whatever way, and the server with it.
    while let Some(Ok(_)) = body.frame().await {}
    assert_eq!(world.done.await.unwrap().cut_off, 0);
}
