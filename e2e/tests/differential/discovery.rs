//! What is served: discovery in every form, OpenAPI, the version, and paths that nobody serves.

use http::Method;

use crate::row::{BASE, Row, get};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Accept headers that discovery must tell apart.
const FORMS: [(&str, &str); 17] = [
    ("JSON", "application/json"),
    ("YAML", "application/yaml"),
    ("protobuf", "application/vnd.kubernetes.protobuf"),
    ("anything", "*/*"),
    ("HTML", "text/html"),
    (
        "a browser's",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("v2", V2),
    (
        "v2 in YAML",
        "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ),
    (
        "v2 in protobuf",
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ),
    (
        "v2beta1",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    ),
    ("v3", "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList"),
    (
        "another group's list",
        "application/json;g=example.com;v=v2;as=APIGroupDiscoveryList",
    ),
    ("another kind", "application/json;g=apidiscovery.k8s.io;v=v2;as=Table"),
    (
        "kubectl's",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
    ),
    (
        "the aggregator's",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList, application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    ),
    (
        "JSON before v2",
        "application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ),
    (
        "v2 without peers",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer",
    ),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, path) in [("groups", "/apis"), ("group", "/apis/metrics.k8s.io"), ("resources", BASE)] {
        rows.push(get(format!("{what}: no Accept"), path));
        for (form, accept) in FORMS {
            rows.push(get(format!("{what}: {form}"), path).accept(accept));
        }
        for (how, query) in [
            ("pretty", "pretty=1"),
            ("not pretty", "pretty=0"),
            ("timeout", "timeout=1s"),
            ("no timeout", "timeout=abc"),
            ("watch", "watch=1"),
        ] {
            rows.push(get(format!("{what}: {how}"), format!("{path}?{query}")));
        }
        for agent in ["curl/8.5.0", "Wget/1.21", "Mozilla/5.0 (X11)"] {
            rows.push(get(format!("{what}: by {agent}"), path).header("user-agent", agent));
        }
        rows.push(get(format!("{what}: a slash more"), format!("{path}/")));
        for method in methods() {
            rows.push(get(format!("{what}: {method}"), path).method(method));
        }
    }
    rows.push(get("groups: v2, known", "/apis").accept(V2).header("if-none-match", "{etag}"));
    rows.push(
        get("groups: v2, weakly known", "/apis")
            .accept(V2)
            .header("if-none-match", "W/{etag}"),
    );
    rows.push(
        get("groups: v2, one of several known", "/apis")
            .accept(V2)
            .header("if-none-match", "\"A\", {etag}"),
    );
    rows.push(get("groups: v2, any known", "/apis").accept(V2).header("if-none-match", "*"));
    rows.push(
        get("groups: v2, another known", "/apis")
            .accept(V2)
            .header("if-none-match", "\"ABC\""),
    );
    rows.push(get("groups: v2 of the core", "/api").accept(V2));
    rows.push(get("paths", "/"));
    rows.push(get("paths: YAML", "/").accept("application/yaml"));
    rows.push(get("paths: protobuf", "/").accept("application/vnd.kubernetes.protobuf"));
    rows.push(get("paths: POST", "/").method(Method::POST));
    rows.push(get("paths: HEAD", "/").method(Method::HEAD));
    rows.extend(openapi());
    rows.extend(nowhere());
    for (how, path) in [
        ("", "/version"),
        (": a slash more", "/version/"),
        (": pretty", "/version?pretty=1"),
        (": below", "/version/x"),
    ] {
        rows.push(get(format!("version{how}"), path));
    }
    rows.push(get("version: YAML", "/version").accept("application/yaml"));
    rows.push(get("version: HTML", "/version").accept("text/html"));
    for method in methods() {
        rows.push(get(format!("version: {method}"), "/version").method(method));
    }
    rows.push(get("metrics", "/metrics").bodiless());
    rows.push(get("metrics: JSON", "/metrics").accept("application/json").bodiless());
    rows.push(
        get("metrics: protobuf", "/metrics")
            .accept("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
            .bodiless(),
    );
    rows.push(
        get("metrics: OpenMetrics", "/metrics")
            .accept("application/openmetrics-text;version=1.0.0")
            .bodiless(),
    );
    rows.push(get("metrics: SLIs", "/metrics/slis").bodiless());
    rows
}

fn methods() -> [Method; 6] {
    [
        Method::HEAD,
        Method::OPTIONS,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ]
}

fn openapi() -> Vec<Row> {
    let mut rows = Vec::new();
    let document = "/openapi/v3/apis/metrics.k8s.io/v1beta1";
    for (what, path) in [
        ("OpenAPI v2", "/openapi/v2".to_owned()),
        ("OpenAPI v3", "/openapi/v3".to_owned()),
        ("OpenAPI v3 of a version", document.to_owned()),
        ("OpenAPI v3 by hash", format!("{document}?hash={{hash}}")),
    ] {
        // Bodies of documents are judged by Go's parsers and by kubectl explain; here: how they are served.
        let get = |how: &str| get(format!("{what}: {how}"), &*path).bodiless();
        rows.push(get("no Accept"));
        for (how, accept) in [
            ("JSON", "application/json"),
            ("anything", "*/*"),
            ("any application", "application/*"),
            ("protobuf v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"),
            (
                "protobuf v2, the old name",
                "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            ),
            ("protobuf v3", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"),
            (
                "protobuf v3, the old name",
                "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
            ),
            ("Kubernetes' protobuf", "application/vnd.kubernetes.protobuf"),
            ("YAML", "application/yaml"),
            ("HTML", "text/html"),
            (
                "the better one first",
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf, application/json;q=0.5",
            ),
        ] {
            rows.push(get(how).accept(accept));
        }
        rows.push(get("known").header("if-none-match", "{etag}"));
        rows.push(get("another known").header("if-none-match", "\"ABC\""));
        rows.push(get("POST").method(Method::POST));
        rows.push(get("HEAD").method(Method::HEAD));
        rows.push(get("gzip").header("accept-encoding", "gzip"));
    }
    rows.push(get("OpenAPI v3 by a wrong hash", format!("{document}?hash=ABC")));
    rows.push(get("OpenAPI v3 of an unknown version", "/openapi/v3/apis/metrics.k8s.io/v9"));
    rows.push(get("OpenAPI v3 of a group", "/openapi/v3/apis/metrics.k8s.io").bodiless());
    rows.push(get("OpenAPI v2: a slash more", "/openapi/v2/"));
    rows.push(get("OpenAPI v3: a slash more", "/openapi/v3/").bodiless());
    rows.push(get("OpenAPI: no version", "/openapi").bodiless());
    rows
}

/// Paths that nobody serves, or almost.
fn nowhere() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("an unknown path", "/foo"),
        ("an unknown path below", "/foo/bar"),
        ("an unknown group", "/apis/unknown.k8s.io"),
        ("a version of an unknown group", "/apis/unknown.k8s.io/v1"),
        ("a resource of an unknown group", "/apis/unknown.k8s.io/v1/things"),
        (
            "an object of an unknown group",
            "/apis/unknown.k8s.io/v1/namespaces/shop/things/one",
        ),
        ("an unknown version", "/apis/metrics.k8s.io/v9"),
        ("a resource of an unknown version", "/apis/metrics.k8s.io/v9/pods"),
        ("an unknown resource", "/apis/metrics.k8s.io/v1beta1/things"),
        ("an object of an unknown resource", "/apis/metrics.k8s.io/v1beta1/things/one"),
        (
            "an unknown resource in a namespace",
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/things",
        ),
        (
            "an unknown subresource",
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/burner/status",
        ),
        (
            "below a subresource",
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/burner/status/x",
        ),
        ("a subresource of a list", "/apis/metrics.k8s.io/v1beta1/nodes/ash/status"),
        ("a namespace itself", "/apis/metrics.k8s.io/v1beta1/namespaces/shop"),
        ("all namespaces", "/apis/metrics.k8s.io/v1beta1/namespaces"),
        (
            "a cluster's resource in a namespace",
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/nodes",
        ),
        (
            "a cluster's object in a namespace",
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/nodes/ash",
        ),
        (
            "a namespace's object in the cluster",
            "/apis/metrics.k8s.io/v1beta1/pods/burner",
        ),
        ("the core", "/api"),
        ("a version of the core", "/api/v1"),
        ("a resource of the core", "/api/v1/pods"),
        ("two slashes", "//"),
        ("two slashes first", "//apis"),
        ("two slashes before the group", "/apis//metrics.k8s.io"),
        ("two slashes before the version", "/apis/metrics.k8s.io//v1beta1"),
        ("two slashes before the resource", "/apis/metrics.k8s.io/v1beta1//pods"),
        ("an empty name", "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/"),
        ("an empty namespace", "/apis/metrics.k8s.io/v1beta1/namespaces//pods"),
        ("an escaped letter", "/apis/%6detrics.k8s.io/v1beta1"),
        ("an escaped slash", "/apis/metrics.k8s.io%2fv1beta1"),
        ("an escaped slash in a name", "/apis/metrics.k8s.io/v1beta1/nodes/a%2fb"),
        ("an escaped name", "/apis/metrics.k8s.io/v1beta1/nodes/%61sh"),
        ("an escaped space in a name", "/apis/metrics.k8s.io/v1beta1/nodes/a%20b"),
        ("a name in capitals", "/apis/metrics.k8s.io/v1beta1/nodes/ASH"),
        ("UTF-8 in a name", "/apis/metrics.k8s.io/v1beta1/nodes/%C3%A4sh"),
        ("bytes that are no UTF-8", "/apis/metrics.k8s.io/v1beta1/nodes/%ff"),
        ("a percent sign alone", "/apis/metrics.k8s.io/v1beta1/nodes/%"),
        ("a percent sign before letters", "/apis/metrics.k8s.io/v1beta1/nodes/%zz"),
        ("one dot", "/apis/./metrics.k8s.io"),
        ("two dots", "/apis/x/../metrics.k8s.io"),
        ("two dots as a name", "/apis/metrics.k8s.io/v1beta1/nodes/.."),
        ("too many dots", "/../../apis"),
        ("logs", "/logs"),
        ("the index page", "/index.html"),
        ("a favicon", "/favicon.ico"),
        ("the proxy prefix", "/apis/metrics.k8s.io/v1beta1/proxy/nodes/ash"),
    ]
    .into_iter()
    .map(|(name, path)| get(format!("nowhere: {name}"), path))
    .collect();
    for (how, accept) in [
        ("YAML", "application/yaml"),
        ("protobuf", "application/vnd.kubernetes.protobuf"),
        ("HTML", "text/html"),
        ("a Table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    ] {
        rows.push(get(format!("nowhere: an unknown resource, {how}"), format!("{BASE}/things")).accept(accept));
        rows.push(get(format!("nowhere: an unknown path, {how}"), "/foo").accept(accept));
        rows.push(get(format!("nowhere: an unknown object, {how}"), format!("{BASE}/nodes/oak")).accept(accept));
    }
    for method in methods() {
        rows.push(get(format!("nowhere: {method} of an unknown path"), "/foo").method(method.clone()));
        rows.push(get(format!("nowhere: {method} of an unknown resource"), format!("{BASE}/things")).method(method));
    }
    rows
}
