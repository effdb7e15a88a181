//! Who gets in as whom.

use outrigger_server::Authority;
use outrigger_server::authority::PemPair;

use crate::world::{BOTH, HOUR, Protocol, World, thing};

/// Name, certificate, headers, code, what the answer says.
type Row<'a> = (&'a str, Option<PemPair>, Vec<(&'a str, &'a str)>, u16, &'a str);

const BOB: (&str, &str) = ("X-Remote-User", "bob");
const GROUP: (&str, &str) = ("X-Remote-Group", "ops");

#[tokio::test]
async fn callers_are_who_they_can_prove_to_be() {
    let world = World::start().await;
    let stranger = Authority::create("front").unwrap();
    let forbidden = "forbidden";
    for protocol in BOTH {
        let rows: Vec<Row<'_>> = vec![
            ("nobody", None, vec![], 403, forbidden),
            ("forged header", None, vec![BOB], 403, forbidden),
            (
                "the aggregator",
                world.aggregator(),
                vec![BOB, GROUP],
                200,
                "bob ops,system:authenticated ",
            ),
            ("the aggregator for nobody", world.aggregator(), vec![], 401, "Unauthorized"),
            (
                "the aggregator for a blank user",
                world.aggregator(),
                vec![("X-Remote-User", "")],
                401,
                "Unauthorized",
            ),
            (
                "a name that may not",
                Some(world.front.client("eve", None, HOUR).unwrap()),
                vec![BOB],
                401,
                "Unauthorized",
            ),
            (
                "an authority of the same name",
                Some(stranger.client("front-proxy-client", None, HOUR).unwrap()),
                vec![BOB],
                401,
                "Unauthorized",
            ),
            (
                "a client",
                world.client("alice", Some("devs")),
                vec![BOB],
                200,
                "alice devs,system:authenticated ",
            ),
            (
                "one whom the cluster denies",
                world.client("denied", None),
                vec![],
                403,
                forbidden,
            ),
            (
                "one about whom the cluster is silent",
                world.client("lost", None),
                vec![],
                500,
                "Internal error occurred",
            ),
        ];
        for (name, client, headers, code, said) in rows {
            let answer = world.connect(protocol, client).await.get(&thing("a"), &headers).await;
            assert_eq!(answer.code, code, "{name} over {protocol:?}: {}", answer.text());
            assert!(answer.text().contains(said), "{name} over {protocol:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn one_connection_carries_many_users() {
    let world = World::start().await;
    for protocol in BOTH {
        let mut aggregator = world.connect(protocol, world.aggregator()).await;
        for (user, code) in [("bob", 200), ("denied", 403), ("eve", 200), ("lost", 500), ("bob", 200)] {
            assert_eq!(
                aggregator.get(&thing("a"), &[("x-remote-user", user)]).await.code,
                code,
                "{user}"
            );
        }
    }
}

#[tokio::test]
async fn a_stranger_gets_one_answer_per_http2_connection() {
    let world = World::start().await;
    let mut stranger = world.connect(Protocol::H2, None).await;
    assert_eq!(stranger.get("/readyz", &[]).await.code, 200);
    // GOAWAY is on its way; sooner or later the client has read it.
    while stranger
        .send(crate::world::request(http::Method::GET, "/readyz", &[], ""))
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    let mut over_http1 = world.connect(Protocol::H1, None).await;
    for _ in 0..3 {
        assert_eq!(over_http1.get("/readyz", &[]).await.code, 200);
    }
}

#[tokio::test]
async fn open_paths_are_open_and_the_others_are_not() {
    let world = World::start().await;
    for (path, anonymous, alice) in [
        ("/healthz", 200, 200),
        ("/livez", 200, 200),
        ("/readyz?verbose", 200, 200),
        ("/readyz/ping", 403, 200),
        ("/readyz/nope", 403, 404),
        ("/metrics", 403, 200),
        ("/version", 403, 200),
    ] {
        for (client, code) in [(None, anonymous), (world.client("alice", None), alice)] {
            assert_eq!(
                world.connect(Protocol::H1, client).await.get(path, &[]).await.code,
                code,
                "{path}"
            );
        }
    }
}
