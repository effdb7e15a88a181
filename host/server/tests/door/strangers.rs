//! What somebody without a name can do with HTTP/2: get an answer, and no more.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{get, preface, reset};
use crate::world::{BOTH, Protocol, World, request, thing};

/// Long enough for any machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes until the server has had enough, however much that is; reads along, so that nobody waits for anybody.
async fn until_cut_off(world: &World, chunk: impl Fn(u32) -> Vec<u8>) {
    let (mut reader, mut writer) = tokio::io::split(world.raw(Protocol::H2, None).await);
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
    });
    let writing = async {
        writer.write_all(&preface()).await.unwrap();
        for stream in (1..2_000_000).step_by(2) {
            if writer.write_all(&chunk(stream)).await.is_err() || reading.is_finished() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("a million streams and nobody minds");
    };
    tokio::time::timeout(PATIENCE, writing).await.expect("it goes on and on");
    reading.await.unwrap();
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection_and_costs_little() {
    let world = World::start().await;
    until_cut_off(&world, |stream| [get(stream, &thing("a")), reset(stream)].concat()).await;
    let taken = world.metric("authentication_attempts{result=\"success\"}").await;
    assert!(taken < 500, "{taken} requests were looked at");
    for protocol in BOTH {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        assert_eq!(alice.get(&thing("a"), &[]).await.code, 200, "{protocol:?}");
    }
}

#[tokio::test]
async fn who_goes_on_after_goaway_is_cut_off() {
    let world = World::start().await;
    until_cut_off(&world, |stream| get(stream, "/readyz")).await;
    let taken = world.metric("authentication_attempts{result=\"success\"}").await;
    assert!(taken < 1500, "{taken} requests were looked at");
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
}

#[tokio::test]
async fn strangers_for_whom_the_aggregator_speaks_cut_nobody_off() {
    let world = World::start().await;
    let aggregator = world.connect(Protocol::H2, world.aggregator()).await;
    let mut bobs = aggregator.again();
    let bob = tokio::spawn(async move { bobs.get(&thing("wait"), &[("x-remote-user", "bob")]).await.code });
    world.until_waiting(1).await;
    let strangers: Vec<_> = (0..500)
        .map(|_| {
            let mut aggregator = aggregator.again();
            let nobody = [
                ("x-remote-user", "system:anonymous"),
                ("x-remote-group", "system:unauthenticated"),
            ];
            let request = request(Method::GET, "/readyz", &nobody, "");
            tokio::spawn(async move { aggregator.send(request).await.is_ok() })
        })
        .collect();
    let mut answered = 0;
    for stranger in strangers {
        answered += usize::from(stranger.await.unwrap());
    }
    assert!(answered >= 1, "the others came after GOAWAY");
    world.endpoint.gate.add_permits(1);
    assert_eq!(bob.await.unwrap(), 200);
}
