//! How answers and refusals look.

use std::sync::atomic::Ordering;

use http::Method;

use crate::world::{BOTH, Connected, Protocol, World, request, thing};

#[tokio::test]
async fn a_refusal_is_a_status_in_the_encoding_asked_for() {
    let world = World::start().await;
    for (accept, content_type, start) in [
        ("", "application/json", &b"{"[..]),
        (
            "application/json",
            "application/json",
            b"{\"kind\":\"Status\",\"apiVersion\":\"v1\"",
        ),
        ("application/yaml", "application/yaml", b""),
        (
            "application/vnd.kubernetes.protobuf",
            "application/vnd.kubernetes.protobuf",
            b"k8s\0",
        ),
        (
            "application/vnd.kubernetes.protobuf,application/json",
            "application/vnd.kubernetes.protobuf",
            b"k8s\0",
        ),
        ("image/png", "application/json", b"{"),
    ] {
        let answer = world
            .connect(Protocol::H1, None)
            .await
            .get(&thing("a"), &[("accept", accept)])
            .await;
        assert_eq!((answer.code, answer.header("content-type")), (403, content_type), "{accept}");
        assert!(answer.body.starts_with(start), "{accept}: {:?}", answer.body);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn refusals_say_what_upstream_says() {
    let world = World::start().await;
    let forbidden = r#"things.test.example.com "a" is forbidden: User "system:anonymous" cannot get resource "things" in API group "test.example.com" at the cluster scope"#;
    let bad_timeout = r#"invalid timeout specified in the request URL - time: missing unit in duration "5""#;
    for (name, anonymous, path, want) in [
        ("resource", true, thing("a"), (403, "Forbidden", forbidden)),
        (
            "path",
            true,
            "/nope".into(),
            (
                403,
                "Forbidden",
                r#"forbidden: User "system:anonymous" cannot get path "/nope""#,
            ),
        ),
        (
            "timeout",
            true,
            format!("{}?timeout=5", thing("a")),
            (400, "BadRequest", bad_timeout),
        ),
        (
            "deadline",
            false,
            format!("{}?timeout=20ms", thing("wait")),
            (
                504,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            ),
        ),
    ] {
        let client = if anonymous { None } else { world.client("alice", None) };
        let (code, reason, message) = world.connect(Protocol::H1, client).await.get(&path, &[]).await.status();
        assert_eq!((code, reason.as_str(), message.as_str()), want, "{name}");
    }
}

#[tokio::test]
async fn answers_carry_the_audit_id_and_are_not_cached() {
    let world = World::start().await;
    for (client, path, code) in [
        (world.client("alice", None), thing("a"), 200),
        (None, thing("a"), 403),
        (None, "/livez".into(), 200),
    ] {
        let mut connection = world.connect(Protocol::H1, client).await;
        let answer = connection.get(&path, &[("audit-id", "from-the-aggregator")]).await;
        assert_eq!(
            (answer.code, answer.header("audit-id")),
            (code, "from-the-aggregator"),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), "no-cache, private");
        let made = [connection.get(&path, &[]).await, connection.get(&path, &[]).await];
        assert!(made.iter().all(|a| a.header("audit-id").len() == 36));
        assert_ne!(made[0].header("audit-id"), made[1].header("audit-id"));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_ready_is_503_and_never_404() {
    let world = World::start().await;
    world.endpoint.ready.store(false, Ordering::SeqCst);
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    for path in ["/openapi/v3", "/apis", "/nope"] {
        let answer = alice.get(path, &[]).await;
        assert_eq!((answer.code, answer.header("retry-after")), (503, "5"), "{path}");
        assert_eq!(answer.json()["details"]["retryAfterSeconds"], 5);
    }
    assert_eq!(alice.get("/livez", &[]).await.code, 200);
    world.endpoint.ready.store(true, Ordering::SeqCst);
    assert_eq!(alice.get("/apis", &[]).await.code, 200);
}

#[tokio::test]
async fn a_panic_harms_nobody_else() {
    let world = World::start().await;
    for protocol in BOTH {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        for _ in 0..2 {
            let (code, reason, message) = alice.get(&thing("panic"), &[]).await.status();
            assert_eq!((code, reason.as_str()), (500, "InternalError"), "{protocol:?}");
            assert!(!message.contains("as told"), "{message}");
            assert_eq!(
                alice.get(&thing("a"), &[]).await.code,
                200,
                "{protocol:?}: the same connection serves on"
            );
        }
    }
    let mut alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    // Whether the head had gone out before is the scheduler's business.
    if let Ok(late) = alice.send(request(Method::GET, &thing("panic-late"), &[], "")).await {
        assert!(http_body_util::BodyExt::collect(late.into_body()).await.is_err());
    }
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200, "only that stream is gone");
}

#[tokio::test]
async fn a_panic_among_neighbours_on_one_connection_is_its_own() {
    let world = World::start().await;
    let alice = world.connect(Protocol::H2, world.client("alice", None)).await;
    let Connected::H2(sender) = &alice else {
        unreachable!("it is HTTP/2")
    };
    let ask = |name: &str| {
        let mut mine = Connected::H2(sender.clone());
        let path = thing(name);
        tokio::spawn(async move { mine.get(&path, &[]).await })
    };
    let neighbours: Vec<_> = (0..8).map(|_| ask("wait")).collect();
    world.until_waiting(8).await;
    for panic in (0..8).map(|_| ask("panic")).collect::<Vec<_>>() {
        let (code, reason, _) = panic.await.unwrap().status();
        assert_eq!((code, reason.as_str()), (500, "InternalError"));
    }
    assert_eq!(ask("a").await.unwrap().code, 200, "while the neighbours are still under way");
    world.endpoint.gate.add_permits(8);
    for neighbour in neighbours {
        let answer = neighbour.await.unwrap();
        assert_eq!((answer.code, answer.text()), (200, "waited"));
    }
    assert!(!sender.is_closed(), "the connection lives on");
}

#[tokio::test]
async fn head_has_no_body() {
    let world = World::start().await;
    for protocol in BOTH {
        let mut alice = world.connect(protocol, world.client("alice", None)).await;
        let whole = alice.get(&thing("a"), &[]).await;
        let head = alice.ask(request(Method::HEAD, &thing("a"), &[], "")).await;
        assert_eq!((head.code, head.body.len()), (200, 0), "{protocol:?}");
        assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{protocol:?}");
    }
}

#[tokio::test]
async fn metrics_fit_their_content_type_and_count_what_was_served() {
    let world = World::start().await;
    let mut root = world
        .connect(Protocol::H2, world.client("root", Some("system:masters")))
        .await;
    for path in [
        thing("a"),
        thing("b"),
        thing("missing"),
        "/apis/test.example.com/v1/invented/x".into(),
    ] {
        root.get(&path, &[]).await;
    }
    let text = root.get("/metrics", &[]).await;
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let of_things = r#"verb="GET",dry_run="",group="test.example.com",version="v1",resource="things",subresource="",scope="resource",component="apiserver""#;
    for line in [
        "# TYPE apiserver_request_total counter".to_owned(),
        format!("apiserver_request_total{{{of_things},code=\"200\"}} 2"),
        format!("apiserver_request_total{{{of_things},code=\"404\"}} 1"),
        format!("apiserver_request_duration_seconds_count{{{of_things}}} 3"),
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0".to_owned(),
        "apiserver_tls_handshake_errors_total 0".to_owned(),
    ] {
        assert!(text.text().lines().any(|l| l == line), "{line}\n{}", text.text());
    }
    assert!(!text.text().contains("invented"));
    let open = root
        .get("/metrics", &[("accept", "application/openmetrics-text;version=1.0.0")])
        .await;
    assert_eq!(
        open.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.text().ends_with("# EOF\n"));
}
