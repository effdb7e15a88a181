//! Who is calling, whether they may, and requests that are turned away before anybody looks at the resource.

use http::Method;

use crate::row::{BASE, Row, Who, get, read};

/// What a Status is asked for in.
const ENCODINGS: [(&str, &str); 6] = [
    ("JSON", "application/json"),
    ("YAML", "application/yaml"),
    ("protobuf", "application/vnd.kubernetes.protobuf"),
    ("protobuf or JSON", "application/vnd.kubernetes.protobuf,application/json"),
    (
        "a Table or JSON",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    ),
    ("HTML", "text/html"),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = identities();
    for (how, accept) in ENCODINGS {
        rows.push(read(format!("forbidden: {how}"), "/pods").user("alice").accept(accept));
        rows.push(
            read(format!("unauthorized: {how}"), "/pods")
                .by(Who::Nobody)
                .header("authorization", "Bearer nonsense")
                .accept(accept),
        );
        rows.push(read(format!("anonymous: {how}"), "/pods").by(Who::Nobody).accept(accept));
    }
    for (what, path) in [
        ("groups", "/apis"),
        ("a group", "/apis/metrics.k8s.io"),
        ("OpenAPI", "/openapi/v2"),
        ("the version", "/version"),
        ("metrics", "/metrics"),
        ("paths", "/"),
        ("an unknown path", "/foo"),
        ("a health check", "/readyz/ping"),
        ("an unknown group", "/apis/unknown.k8s.io/v1/things"),
        ("a node", "/apis/metrics.k8s.io/v1beta1/nodes/ash"),
        ("a pod", "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/burner"),
        ("pods of a namespace", "/apis/metrics.k8s.io/v1beta1/namespaces/yard/pods"),
        (
            "a subresource",
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/burner/status",
        ),
        (
            "a name by selector",
            "/apis/metrics.k8s.io/v1beta1/nodes?fieldSelector=metadata.name=ash",
        ),
        ("a watch", "/apis/metrics.k8s.io/v1beta1/nodes?watch=1"),
        ("the watch prefix", "/apis/metrics.k8s.io/v1beta1/watch/nodes"),
    ] {
        rows.push(
            get(format!("may not: {what}"), path)
                .user("alice")
                .bodiless_if(path == "/apis" || path == "/openapi/v2" || path == "/version" || path == "/apis/metrics.k8s.io"),
        );
        rows.push(
            get(format!("may not, and nobody knows them: {what}"), path)
                .by(Who::Nobody)
                .bodiless_if(path == "/version"),
        );
    }
    for method in [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::HEAD,
    ] {
        rows.push(
            read(format!("may not: {method}"), "/nodes/ash")
                .user("alice")
                .method(method.clone()),
        );
        rows.push(
            read(format!("may not: {method} of all"), "/nodes")
                .user("alice")
                .method(method),
        );
    }
    rows.extend(limits());
    rows
}

fn identities() -> Vec<Row> {
    let shop = "/namespaces/shop/pods/burner";
    let proxy = |how: &str| read(format!("identity: {how}"), shop).by(Who::Proxy);
    let user = |how: &str| proxy(how).header("x-remote-user", "alice");
    vec![
        proxy("no user"),
        proxy("a blank user").header("x-remote-user", ""),
        proxy("a group alone").header("x-remote-group", "readers"),
        proxy("two users")
            .header("x-remote-user", "alice")
            .header("x-remote-user", "reader"),
        user("no right"),
        proxy("by name").header("x-remote-user", "reader"),
        proxy("by name in capitals").header("X-REMOTE-USER", "reader"),
        user("by group").header("x-remote-group", "readers"),
        user("by a second group")
            .header("x-remote-group", "others")
            .header("x-remote-group", "readers"),
        user("two groups in one header").header("x-remote-group", "others,readers"),
        user("masters by a second group")
            .header("x-remote-group", "others")
            .header("x-remote-group", "system:masters"),
        user("a uid").header("x-remote-uid", "42"),
        user("extra")
            .header("x-remote-extra-scopes", "read")
            .header("x-remote-extra-acme.com%2fproject", "one"),
        user("escapes in extra that are none").header("x-remote-extra-a%zz", "one"),
        user("an empty group").header("x-remote-group", ""),
        user("unauthenticated as a group").header("x-remote-group", "system:unauthenticated"),
        proxy("anonymous as a user").header("x-remote-user", "system:anonymous"),
        proxy("a service account").header("x-remote-user", "system:serviceaccount:shop:default"),
        proxy("a user with odd letters").header("x-remote-user", "Zo\u{eb} \"quoted\" <x>"),
        user("a token beside it").header("authorization", "Bearer nonsense"),
        read("identity: headers without a certificate", shop)
            .by(Who::Nobody)
            .header("x-remote-user", "reader"),
        read("identity: headers with a user's certificate", shop)
            .by(Who::Direct)
            .header("x-remote-user", "reader"),
        read("identity: headers with an unknown authority's certificate", shop)
            .by(Who::Stranger)
            .header("x-remote-user", "reader"),
        read("identity: a certificate", shop).by(Who::Direct),
        read("identity: a certificate and a wrong token", shop)
            .by(Who::Direct)
            .header("authorization", "Bearer nonsense"),
        read("identity: an unknown authority's certificate", shop).by(Who::Stranger),
        read("identity: nobody", shop).by(Who::Nobody),
        read("identity: a wrong token", shop)
            .by(Who::Nobody)
            .header("authorization", "Bearer nonsense"),
        read("identity: an empty token", shop)
            .by(Who::Nobody)
            .header("authorization", "Bearer "),
        read("identity: a password", shop)
            .by(Who::Nobody)
            .header("authorization", "Basic YTpi"),
        read("identity: a token in small letters", shop)
            .by(Who::Nobody)
            .header("authorization", "bearer nonsense"),
        read("impersonation: a user", shop).header("impersonate-user", "reader"),
        read("impersonation: a user without the right", "/nodes").header("impersonate-user", "alice"),
        read("impersonation: a group alone", shop).header("impersonate-group", "readers"),
        read("impersonation: not allowed", shop)
            .user("reader")
            .header("impersonate-user", "alice"),
    ]
}

fn limits() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("a second", "timeout=1s"),
        ("mixed units", "timeout=1m0.5s"),
        ("none", "timeout=0s"),
        ("empty", "timeout="),
        ("no unit", "timeout=5"),
        ("words", "timeout=soon"),
        ("negative", "timeout=-1s"),
        ("more than there is", "timeout=2h"),
        ("twice", "timeout=1s&timeout=x"),
    ]
    .into_iter()
    .map(|(how, query)| read(format!("timeout: {how}"), &format!("/nodes/ash?{query}")))
    .collect();
    let large = || vec![b' '; (3 << 20) + 1];
    let json = "application/json";
    rows.push(
        read("body: too large, to create", "/nodes")
            .method(Method::POST)
            .body(json, large()),
    );
    rows.push(
        read("body: too large, to replace", "/nodes/ash")
            .method(Method::PUT)
            .body(json, large()),
    );
    rows.push(
        read("body: too large, to delete", "/nodes/oak")
            .method(Method::DELETE)
            .body(json, large()),
    );
    rows.push(read("body: with a GET", "/nodes/ash").body(json, "{}"));
    rows.push(
        read("write: create from nothing", "/nodes")
            .method(Method::POST)
            .body(json, ""),
    );
    rows.push(
        read("write: create from no JSON", "/nodes")
            .method(Method::POST)
            .body(json, "{"),
    );
    rows.push(
        read("write: create from an unknown type", "/nodes")
            .method(Method::POST)
            .body("text/plain", "x"),
    );
    rows.push(
        read("write: create with a name", "/nodes/ash")
            .method(Method::POST)
            .body(json, "{}"),
    );
    rows.push(
        read("write: replace with no JSON", "/nodes/ash")
            .method(Method::PUT)
            .body(json, "{"),
    );
    rows.push(
        read("write: patch of an unknown type", "/nodes/ash")
            .method(Method::PATCH)
            .body("text/plain", "x"),
    );
    rows.push(
        read("write: patch with no JSON", "/nodes/ash")
            .method(Method::PATCH)
            .body("application/merge-patch+json", "{"),
    );
    rows.push(read("write: delete what is not there", "/nodes/oak").method(Method::DELETE));
    rows.push(read("write: delete in no namespace", "/pods").method(Method::DELETE));
    rows.push(
        read("write: to an unknown subresource", "/nodes/ash/status")
            .method(Method::PUT)
            .body(json, "{}"),
    );
    rows.push(
        get("write: an unknown verb", format!("{BASE}/nodes")).method(Method::from_bytes(b"PROPFIND").unwrap_or(Method::TRACE)),
    );
    rows.push(get("write: TRACE", format!("{BASE}/nodes")).method(Method::TRACE));
    rows.push(get("write: OPTIONS", format!("{BASE}/nodes")).method(Method::OPTIONS));
    rows.push(
        get("write: OPTIONS from a page", "/apis")
            .method(Method::OPTIONS)
            .header("origin", "https://example.com")
            .header("access-control-request-method", "GET"),
    );
    rows.push(get("CORS: GET from a page", "/apis/metrics.k8s.io").header("origin", "https://example.com"));
    rows
}

impl Row {
    fn bodiless_if(self, documents: bool) -> Row {
        if documents { self.bodiless() } else { self }
    }
}
