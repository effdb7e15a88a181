//! What is off unless an operator or a header asks for it: CORS, HSTS, GOAWAY, Retry-After in a shutdown, impersonation.

use std::sync::Arc;

use http::Method;
use outrigger_server::filters::cors::Cors;
use outrigger_server::filters::goaway::Goaway;
use outrigger_server::filters::hsts::Hsts;
use outrigger_server::{Drained, Optional};
use tokio::net::TcpStream;

use crate::world::{Answer, BOTH, Connected, Protocol, Setup, World, request, thing};

async fn with(optional: Optional) -> World {
    World::with(Setup {
        optional,
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn browsers_of_allowed_origins_are_let_in() {
    let cors = Cors::new(&["//example\\.com(:|$)".into()]).unwrap();
    let world = with(Optional {
        cors,
        ..Optional::default()
    })
    .await;
    let origin = ("origin", "https://example.com");
    for protocol in BOTH {
        let preflight = request(Method::OPTIONS, &thing("a"), &[origin], "");
        let answer = world.connect(protocol, None).await.ask(preflight).await;
        assert_eq!(
            (answer.code, answer.body.len()),
            (204, 0),
            "nobody needs a name for a preflight"
        );
        for (header, value) in [
            ("access-control-allow-origin", "https://example.com"),
            ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE, PATCH"),
            (
                "access-control-allow-headers",
                "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
            ),
            ("access-control-expose-headers", "Date"),
            ("access-control-allow-credentials", "true"),
        ] {
            assert_eq!(answer.header(header), value, "{header}");
        }
        let evil = ("origin", "https://example.com.evil.org");
        for (name, client, given, code, marked) in [
            (
                "allowed",
                world.client("alice", None),
                &[origin][..],
                200,
                "https://example.com",
            ),
            ("allowed and refused", None, &[origin], 403, "https://example.com"),
            ("not allowed", world.client("alice", None), &[evil], 200, ""),
            ("no browser", world.client("alice", None), &[], 200, ""),
        ] {
            let answer = world.connect(protocol, client).await.get(&thing("a"), given).await;
            assert_eq!(
                (answer.code, answer.header("access-control-allow-origin")),
                (code, marked),
                "{name}"
            );
        }
        let preflight = request(Method::OPTIONS, &thing("a"), &[evil], "");
        assert_eq!(world.connect(protocol, None).await.ask(preflight).await.code, 403);
    }
    let off = World::start().await;
    let answer = off
        .connect(Protocol::H2, off.client("alice", None))
        .await
        .get(&thing("a"), &[origin])
        .await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    assert_eq!(answer.header("strict-transport-security"), "");
}

#[tokio::test]
async fn hsts_is_on_every_answer() {
    let hsts = Hsts::new(&["max-age=31536000".into(), "includeSubDomains".into()]).unwrap();
    let world = with(Optional {
        hsts,
        ..Optional::default()
    })
    .await;
    for (client, path, code) in [
        (world.client("alice", None), thing("a"), 200),
        (None, thing("a"), 403),
        (None, "/healthz".into(), 200),
        (world.client("alice", None), thing("panic"), 500),
    ] {
        let answer = world.connect(Protocol::H1, client).await.get(&path, &[]).await;
        let header = answer.header("strict-transport-security");
        assert_eq!((answer.code, header), (code, "max-age=31536000; includeSubDomains"), "{path}");
    }
}

#[tokio::test]
async fn goaway_sends_http2_elsewhere_and_loses_nothing() {
    let world = with(Optional {
        goaway: Some(Goaway::always()),
        ..Optional::default()
    })
    .await;
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
    let Connected::H2(sender) = &alice else {
        unreachable!("it is HTTP/2")
    };
    while !sender.is_closed() {
        tokio::task::yield_now().await;
    }
    let mut alice = world.connect(Protocol::H1, world.client("alice", None)).await;
    for _ in 0..3 {
        assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
    }
}

#[tokio::test]
async fn newcomers_are_told_to_come_back_until_everybody_is_answered() {
    let world = with(Optional {
        retry_after: Some(Arc::default()),
        ..Optional::default()
    })
    .await;
    let mut waiting = Vec::new();
    for protocol in BOTH {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        waiting.push(tokio::spawn(async move { alice.get(&thing("wait"), &[]).await.code }));
    }
    world.until_waiting(2).await;
    world.shutdown.cancel();
    let ask = |protocol, headers: &'static [(&str, &str)], path: String| {
        let connected = world.connect(protocol, world.client("bob", None));
        async move { connected.await.get(&path, headers).await }
    };
    for protocol in BOTH {
        // The flag is raised a moment after the token.
        let refused: Answer = loop {
            let answer = ask(protocol, &[], thing("a")).await;
            if answer.code != 200 {
                break answer;
            }
        };
        assert_eq!((refused.code, refused.header("retry-after")), (429, "5"), "{protocol:?}");
        assert_eq!(
            refused.status().2,
            "The apiserver is shutting down, please try again later.",
            "{protocol:?}"
        );
        if protocol == Protocol::H1 {
            assert_eq!(refused.header("connection"), "close");
        }
        assert_eq!(ask(protocol, &[], "/livez".into()).await.code, 200, "probes go on");
        let aggregator = &[("user-agent", "kube-apiserver/v1.36.3")];
        assert_eq!(
            ask(protocol, aggregator, thing("a")).await.code,
            200,
            "and so does kube-apiserver"
        );
    }
    world.endpoint.gate.add_permits(2);
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), 200);
    }
    assert_eq!(world.done.await.unwrap(), Drained { cut_off: 0 });
    assert!(TcpStream::connect(world.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn who_may_act_as_another_is_the_other_for_everybody() {
    let world = World::start().await;
    let bob = ("Impersonate-User", "bob");
    for protocol in BOTH {
        for (name, client, headers, code, said) in [
            ("a user", "alice", &[bob][..], 200, "bob system:authenticated "),
            (
                "with groups",
                "alice",
                &[
                    bob,
                    ("Impersonate-Group", "ops"),
                    ("Impersonate-Uid", "7"),
                    ("Impersonate-Extra-a", "b"),
                ],
                200,
                "bob ops,system:authenticated ",
            ),
            (
                "the other's permissions count",
                "alice",
                &[("Impersonate-User", "denied")],
                403,
                r#"User \"denied\" cannot get resource \"things\""#,
            ),
            (
                "who may not",
                "denied",
                &[bob],
                403,
                r#"users \"bob\" is forbidden: User \"denied\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"#,
            ),
            (
                "nobody knows",
                "lost",
                &[bob],
                403,
                r#"User \"lost\" cannot impersonate resource \"users\""#,
            ),
            (
                "groups without a user",
                "alice",
                &[("Impersonate-Group", "ops")],
                400,
                "requested [{Group  ops    }] without impersonating a user",
            ),
        ] {
            let answer = world
                .connect(protocol, world.client(client, None))
                .await
                .get(&thing("a"), headers)
                .await;
            assert_eq!(answer.code, code, "{name}: {}", answer.text());
            assert!(answer.text().contains(said), "{name}: {}", answer.text());
        }
    }
    let mut aggregator = world.connect(Protocol::H2, world.aggregator()).await;
    let carol = aggregator.get(&thing("a"), &[("X-Remote-User", "carol"), bob]).await;
    assert!(carol.text().starts_with("bob "), "{}", carol.text());
}
