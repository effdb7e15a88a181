//! What is asked of both.

use std::fmt;

use bytes::Bytes;
use http::Method;

use crate::house::BASE;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) who: Who,
    /// Only status and headers are compared.
    pub(crate) bodiless: bool,
}

/// Who sends a request, straight to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The aggregator, for a user of `system:masters`.
    Master,
    /// The aggregator, with the row's own identity headers.
    Proxy,
    /// No certificate.
    Nobody,
    /// A certificate of the cluster's authority: user `direct`, no group.
    Direct,
    /// A certificate of an authority that nobody knows.
    Stranger,
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const GROUPS: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [documents(), lists(), objects(), selectors(), refusals(), callers(), health()].concat()
}

fn get(name: impl Into<String>, path: impl Into<String>) -> Row {
    Row {
        name: name.into(),
        method: Method::GET,
        path: path.into(),
        headers: Vec::new(),
        body: Bytes::new(),
        who: Who::Master,
        bodiless: false,
    }
}

fn read(name: impl Into<String>, below: &str) -> Row {
    get(name, format!("{BASE}{below}"))
}

fn documents() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, path) in [
        ("groups", "/apis"),
        ("group", "/apis/metrics.k8s.io"),
        ("resources", "/apis/metrics.k8s.io/v1beta1"),
    ] {
        rows.push(get(format!("{what}: JSON"), path));
        rows.push(get(format!("{what}: YAML"), path).accept("application/yaml"));
        rows.push(get(format!("{what}: protobuf"), path).accept(PROTOBUF));
    }
    rows.push(get("groups: aggregated", "/apis").accept(GROUPS));
    rows.push(get("groups: aggregated, or else plain", "/apis").accept(&format!("{GROUPS},application/json")));
    rows.push(
        get("groups: aggregated as v2beta1", "/apis")
            .accept(&format!("{},application/json", GROUPS.replace("v=v2", "v=v2beta1"))),
    );
    rows.push(get("OpenAPI: v2", "/openapi/v2").bodiless());
    rows.push(get("OpenAPI: v3", "/openapi/v3"));
    rows.push(get("OpenAPI: v3 of the group", "/openapi/v3/apis/metrics.k8s.io/v1beta1").bodiless());
    rows.push(get("paths", "/"));
    rows.push(get("version", "/version").bodiless());
    rows.push(get("metrics", "/metrics").bodiless());
    rows.push(get("another group", "/apis/apps/v1"));
    rows.push(get("the newer version", "/apis/metrics.k8s.io/v1"));
    rows.push(get("the core group", "/api"));
    rows
}

fn lists() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, path) in [
        ("all pods", "/pods"),
        ("a namespace's pods", "/namespaces/yard/pods"),
        ("an empty namespace's pods", "/namespaces/default/pods"),
        ("an unknown namespace's pods", "/namespaces/nowhere/pods"),
        ("nodes", "/nodes"),
    ] {
        for (form, accept) in [
            ("JSON", "application/json"),
            ("YAML", "application/yaml"),
            ("protobuf", PROTOBUF),
            ("protobuf or anything", "application/vnd.kubernetes.protobuf,*/*"),
            ("a Table", TABLE),
            ("metadata", METADATA_LIST),
        ] {
            rows.push(read(format!("list of {what}: {form}"), path).accept(accept));
        }
    }
    rows.push(read("list: pretty", "/nodes?pretty=1"));
    rows.push(read("list: curl", "/nodes").header("user-agent", "curl/8.0"));
    rows.push(read("list: a page", "/pods?limit=1"));
    rows.push(read("list: a version", "/pods?resourceVersion=0"));
    rows.push(read("list: a bad version", "/pods?resourceVersion=x"));
    rows.push(read("list: a bad token", "/pods?limit=1&continue=x"));
    rows.push(read("list: a bad limit", "/pods?limit=x"));
    rows.push(read("list: a Table with objects", "/nodes?includeObject=Object").accept(TABLE));
    rows.push(read("list: a Table without objects", "/nodes?includeObject=None").accept(TABLE));
    rows.push(read("list: a Table with something", "/nodes?includeObject=Some").accept(TABLE));
    rows
}

fn objects() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, path) in [
        ("a node", "/nodes/ash"),
        ("a missing node", "/nodes/oak"),
        ("the dead node", "/nodes/dead"),
        ("the skipped node", "/nodes/skipped"),
        ("a pod", "/namespaces/shop/pods/burner"),
        ("a pod of two", "/namespaces/shop/pods/pair"),
        ("a pod with init container and sidecar", "/namespaces/shop/pods/helped"),
        ("a restarted pod", "/namespaces/shop/pods/again"),
        ("a sleeping pod", "/namespaces/shop/pods/asleep"),
        ("a half sleeping pod", "/namespaces/shop/pods/half-asleep"),
        ("a completed pod", "/namespaces/shop/pods/done"),
        ("a pending pod", "/namespaces/shop/pods/nowhere"),
        ("a pod on the dead node", "/namespaces/shop/pods/on-the-dead"),
        ("a pod on the skipped node", "/namespaces/shop/pods/on-the-skipped"),
        ("a missing pod", "/namespaces/shop/pods/nothing"),
        ("a pod of an unknown namespace", "/namespaces/nowhere/pods/burner"),
    ] {
        for (form, accept) in [
            ("JSON", "application/json"),
            ("protobuf", PROTOBUF),
            ("a Table", TABLE),
            ("metadata", METADATA),
        ] {
            rows.push(read(format!("get of {what}: {form}"), path).accept(accept));
        }
    }
    rows
}

fn selectors() -> Vec<Row> {
    let mut rows = Vec::new();
    for (how, query) in [
        ("a label", "labelSelector=app%3Dburner"),
        ("not a label", "labelSelector=app!%3Dburner"),
        ("a set of labels", "labelSelector=app+in+(burner,pair)"),
        ("no such label", "labelSelector=app%3Dnothing"),
        ("a bad label", "labelSelector=app%3Dburner%3Dx"),
        ("a bad operator", "labelSelector=app+like+burner"),
        ("a name", "fieldSelector=metadata.name%3Dburner"),
        ("not a name", "fieldSelector=metadata.name!%3Dburner"),
        ("a namespace", "fieldSelector=metadata.namespace%3Dyard"),
        (
            "name and namespace",
            "fieldSelector=metadata.name%3Dburner,metadata.namespace%3Dyard",
        ),
        ("an unknown field", "fieldSelector=spec.nodeName%3Dash"),
        ("a bad field", "fieldSelector=metadata.name"),
        ("both", "labelSelector=app%3Dburner&fieldSelector=metadata.namespace%3Dshop"),
    ] {
        rows.push(read(format!("pods by {how}"), &format!("/pods?{query}")));
    }
    rows.push(read("nodes by a label", "/nodes?labelSelector=kubernetes.io/hostname%3Dash"));
    rows.push(read(
        "nodes by the skip label",
        "/nodes?labelSelector=metrics-server-skip%3Dtrue",
    ));
    rows.push(read("nodes by a name", "/nodes?fieldSelector=metadata.name%3Dash"));
    rows.push(read("nodes by a namespace", "/nodes?fieldSelector=metadata.namespace%3Dshop"));
    rows.push(read(
        "a namespace's pods by another namespace",
        "/namespaces/shop/pods?fieldSelector=metadata.namespace%3Dyard",
    ));
    rows
}

fn refusals() -> Vec<Row> {
    let json = "application/json";
    vec![
        // Only that there is one: what it sends is another test's.
        read("a watch of pods", "/pods?watch=true&timeoutSeconds=1").bodiless(),
        read("a watch of nodes", "/nodes?watch=1&timeoutSeconds=1").bodiless(),
        read("a watch of old", "/watch/pods?timeoutSeconds=1").bodiless(),
        read("create a pod", "/namespaces/shop/pods")
            .method(Method::POST)
            .body(json, "{}"),
        read("replace a pod", "/namespaces/shop/pods/burner")
            .method(Method::PUT)
            .body(json, "{}"),
        read("patch a pod", "/namespaces/shop/pods/burner")
            .method(Method::PATCH)
            .body("application/merge-patch+json", "{}"),
        read("delete a pod", "/namespaces/shop/pods/burner").method(Method::DELETE),
        read("delete all pods", "/namespaces/shop/pods").method(Method::DELETE),
        read("delete a node", "/nodes/ash").method(Method::DELETE),
        read("an unknown resource", "/deployments"),
        read("an unknown subresource", "/nodes/ash/status"),
        read("a pod without a namespace", "/pods/burner"),
        read("a node in a namespace", "/namespaces/shop/nodes"),
        get("an unknown version", "/apis/metrics.k8s.io/v9/pods"),
        get("an unknown path", "/nowhere"),
        read("an unknown form", "/pods").accept("text/html"),
        read("CBOR", "/pods").accept("application/cbor"),
        read("a Table of no version", "/pods").accept("application/json;as=Table;v=v9;g=meta.k8s.io"),
        read("a Table in protobuf", "/pods").accept("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io"),
        read("a list as metadata of one", "/pods").accept(METADATA),
        read("HEAD of a pod", "/namespaces/shop/pods/burner").method(Method::HEAD),
        read("HEAD of a list", "/pods").method(Method::HEAD),
    ]
}

fn callers() -> Vec<Row> {
    let mut rows = Vec::new();
    for (who, row) in [
        ("nobody", read("", "/pods").by(Who::Nobody)),
        (
            "nobody with a name",
            read("", "/pods").by(Who::Nobody).header("x-remote-user", "judge"),
        ),
        (
            "nobody with a bad token",
            read("", "/pods").by(Who::Nobody).header("authorization", "Bearer x"),
        ),
        ("a stranger", read("", "/pods").by(Who::Stranger)),
        ("a certificate without rights", read("", "/pods").by(Who::Direct)),
        ("the aggregator for nobody", read("", "/pods").by(Who::Proxy)),
        ("a user without rights", read("", "/pods").user("somebody")),
        ("a reader of one namespace, everywhere", read("", "/pods").user("reader")),
        (
            "a reader of one namespace, there",
            read("", "/namespaces/shop/pods/burner").user("reader"),
        ),
        (
            "a reader of one namespace, elsewhere",
            read("", "/namespaces/yard/pods").user("reader"),
        ),
        ("a reader of pods, nodes", read("", "/nodes").user("reader")),
        (
            "a reader of one namespace, of what is not there",
            read("", "/namespaces/shop/pods/nothing").user("reader"),
        ),
        ("nobody, discovery", get("", "/apis").by(Who::Nobody)),
        ("a user without rights, metrics", get("", "/metrics").user("somebody")),
    ] {
        rows.push(Row {
            name: format!("as {who}"),
            ..row
        });
    }
    rows
}

fn health() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in ["healthz", "livez", "readyz"] {
        rows.push(get(format!("{path}: plain"), format!("/{path}")));
        rows.push(get(format!("{path}: verbose"), format!("/{path}?verbose")));
        rows.push(get(format!("{path}: by nobody"), format!("/{path}?verbose")).by(Who::Nobody));
        rows.push(get(format!("{path}: ping"), format!("/{path}/ping")));
        rows.push(get(format!("{path}: ping by nobody"), format!("/{path}/ping")).by(Who::Nobody));
        rows.push(get(format!("{path}: an unknown check"), format!("/{path}/unknown")));
    }
    for check in ["metric-storage-ready", "metric-informer-sync"] {
        rows.push(get(format!("readyz: {check}"), format!("/readyz/{check}")));
    }
    rows.push(get("livez: metric-collection-timely", "/livez/metric-collection-timely"));
    rows
}

// === impl Row ===

impl Row {
    fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    fn body(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }

    fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// As the aggregator speaks for this user.
    fn user(self, user: &str) -> Self {
        self.by(Who::Proxy).header("x-remote-user", user)
    }

    fn bodiless(mut self) -> Self {
        self.bodiless = true;
        self
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in &self.headers {
            write!(f, " -H '{name}: {value}'")?;
        }
        if self.who != Who::Master {
            write!(f, " as {:?}", self.who)?;
        }
        Ok(())
    }
}
