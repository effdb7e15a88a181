//! Paging, the rules of resourceVersion, and watches of rows that stand still.

use http::Method;

use crate::row::{Row, Who, read};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const FUTURE: &str = "9000000000000000000";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = combinations();
    for (how, query) in [
        ("limit of one", "limit=1"),
        ("limit of all", "limit=5"),
        ("limit of more", "limit=500"),
        ("a limit that is none", "limit=x"),
        ("a negative limit", "limit=-1"),
        ("an empty limit", "limit="),
        ("two limits", "limit=1&limit=2"),
        ("a limit and labels", "limit=1&labelSelector=app=burner"),
        ("a limit and a field", "limit=1&fieldSelector=metadata.namespace=shop"),
        ("a last page", "limit=500&continue={continue}"),
        ("the rest without limit", "continue={continue}"),
        ("a future version", "resourceVersion=9000000000000000000"),
        (
            "a future version, not older",
            "resourceVersion=9000000000000000000&resourceVersionMatch=NotOlderThan",
        ),
        (
            "a future version, exact",
            "resourceVersion=9000000000000000000&resourceVersionMatch=Exact",
        ),
        ("a future version, a page", "resourceVersion=9000000000000000000&limit=2"),
        ("a negative version", "resourceVersion=-1"),
        ("a version with zeros", "resourceVersion=000"),
        ("a huge version", "resourceVersion=99999999999999999999999"),
        ("send initial events", "sendInitialEvents=true"),
        ("send no initial events", "sendInitialEvents=false"),
        ("initial events that are none", "sendInitialEvents=x"),
        ("bookmarks", "allowWatchBookmarks=true"),
        ("bookmarks that are none", "allowWatchBookmarks=x"),
        ("timeoutSeconds", "timeoutSeconds=5"),
        ("timeoutSeconds that are none", "timeoutSeconds=x"),
        ("watch that is none", "watch=x&timeoutSeconds=1"),
        ("watch=false", "watch=false"),
        ("watch=0", "watch=0"),
    ] {
        rows.push(read(format!("list: {how}"), &format!("/pods?{query}")).numbers());
    }
    for (form, accept) in [
        ("a Table", TABLE),
        ("protobuf", "application/vnd.kubernetes.protobuf"),
        ("YAML", "application/yaml"),
        ("metadata", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        (
            "metadata in protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        ),
    ] {
        rows.push(read(format!("page: {form}"), "/pods?limit=2").accept(accept));
        rows.push(read(format!("next page: {form}"), "/pods?limit=2&continue={continue}").accept(accept));
        rows.push(read(format!("a bad token: {form}"), "/pods?limit=2&continue=nonsense").accept(accept));
    }
    rows.push(read(
        "next page: of a namespace",
        "/namespaces/shop/pods?limit=2&continue={continue}",
    ));
    rows.push(read(
        "a token of another shape",
        "/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9ldGMifQ",
    ));
    rows.push(read(
        "a token of another version",
        "/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjIiLCJydiI6MSwic3RhcnQiOiJhIn0",
    ));
    for (how, query) in [
        ("none", "resourceVersion="),
        ("zero", "resourceVersion=0"),
        ("its own", "resourceVersion={rv}"),
        ("one", "resourceVersion=1"),
        ("the future's", "resourceVersion=9000000000000000000"),
        ("none at all", "resourceVersion=abc"),
        ("exact", "resourceVersion={rv}&resourceVersionMatch=Exact"),
    ] {
        rows.push(
            read(
                format!("get at a version: {how}"),
                &format!("/namespaces/shop/pods/pair?{query}"),
            )
            .numbers(),
        );
    }
    rows.extend(watches());
    rows
}

/// Upstream's TestListOptions: limit × continue × resourceVersion × resourceVersionMatch.
fn combinations() -> Vec<Row> {
    let mut rows = Vec::new();
    for limit in ["", "limit=0", "limit=2"] {
        for token in ["", "continue={continue}", "continue=nonsense"] {
            for version in [
                "",
                "resourceVersion=0",
                "resourceVersion=1",
                "resourceVersion={rv}",
                "resourceVersion=abc",
            ] {
                for rule in ["", "NotOlderThan", "Exact", "Nearest"] {
                    let rule = if rule.is_empty() {
                        String::new()
                    } else {
                        format!("resourceVersionMatch={rule}")
                    };
                    let query: Vec<&str> = [limit, token, version, &rule].into_iter().filter(|p| !p.is_empty()).collect();
                    let query = query.join("&");
                    rows.push(read(format!("options: {query}"), &format!("/pods?{query}")).numbers());
                }
            }
        }
    }
    rows
}

/// Every watch ends by its own timeout, so the whole stream is compared.
fn watches() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("from now on", ""),
        ("from zero", "&resourceVersion=0"),
        ("from its own version", "&resourceVersion={rv}"),
        ("from the future", "&resourceVersion=9000000000000000000"),
        ("from the beginning", "&resourceVersion=1"),
        ("from nonsense", "&resourceVersion=abc"),
        ("from a negative version", "&resourceVersion=-1"),
        ("with bookmarks, from zero", "&resourceVersion=0&allowWatchBookmarks=true"),
        (
            "with bookmarks, from its own version",
            "&resourceVersion={rv}&allowWatchBookmarks=true",
        ),
        ("initial events", "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
        (
            "initial events and bookmarks",
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        ),
        (
            "initial events at a version",
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={rv}",
        ),
        (
            "initial events at zero",
            "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0",
        ),
        ("initial events without a rule", "&sendInitialEvents=true"),
        (
            "initial events, exact",
            "&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion={rv}",
        ),
        (
            "initial events, an unknown rule",
            "&sendInitialEvents=true&resourceVersionMatch=Nearest",
        ),
        (
            "no initial events",
            "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        ),
        (
            "no initial events at a version",
            "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={rv}",
        ),
        ("no initial events without a rule", "&sendInitialEvents=false"),
        ("a rule without initial events", "&resourceVersionMatch=NotOlderThan"),
        (
            "a rule and a version without initial events",
            "&resourceVersionMatch=NotOlderThan&resourceVersion={rv}",
        ),
        (
            "an exact rule without initial events",
            "&resourceVersionMatch=Exact&resourceVersion={rv}",
        ),
        ("with a limit", "&limit=2"),
        ("with a token", "&continue={continue}"),
        ("with a bad token", "&continue=nonsense"),
        ("with labels", "&labelSelector=app=burner"),
        ("with bad labels", "&labelSelector=app=burner=x"),
        ("with a name", "&fieldSelector=metadata.name=burner"),
        ("with an unknown field", "&fieldSelector=spec.nodeName=ash"),
        ("pretty", "&pretty=1"),
        ("with a timeout", "&timeout=1s"),
        ("with no timeout", "&timeout=x"),
        ("a Table's objects", "&includeObject=Object"),
    ]
    .into_iter()
    .map(|(how, query)| read(format!("watch: {how}"), &format!("/pods?watch=1&timeoutSeconds=1{query}")).numbers())
    .collect();
    for (how, query) in [
        ("watch=true", "watch=true&timeoutSeconds=1"),
        ("no watch, but bookmarks", "allowWatchBookmarks=1&timeoutSeconds=1"),
        (
            "timeoutSeconds negative",
            "watch=1&timeoutSeconds=-1&timeout=1s&resourceVersion=abc",
        ),
        ("timeoutSeconds nonsense", "watch=1&timeoutSeconds=x"),
        ("twice", "watch=1&watch=0&timeoutSeconds=1"),
    ] {
        rows.push(read(format!("watch: {how}"), &format!("/pods?{query}")).numbers());
    }
    for (form, accept) in [
        ("JSON", "application/json"),
        ("JSON, streamed", "application/json;stream=watch"),
        ("YAML", "application/yaml"),
        ("YAML or JSON", "application/yaml,application/json"),
        ("protobuf", "application/vnd.kubernetes.protobuf"),
        ("protobuf, streamed", "application/vnd.kubernetes.protobuf;stream=watch"),
        (
            "client-go's protobuf",
            "application/vnd.kubernetes.protobuf;stream=watch,application/json",
        ),
        ("HTML", "text/html"),
        ("anything", "*/*"),
        ("a Table", TABLE),
        ("a Table v1beta1", "application/json;as=Table;v=v1beta1;g=meta.k8s.io"),
        (
            "a Table in protobuf",
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "kubectl's",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        ),
        ("metadata", PARTIAL),
        (
            "metadata in protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
        (
            "metadata in protobuf, streamed",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1;stream=watch",
        ),
        (
            "a list's metadata",
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        ),
    ] {
        let all = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        rows.push(read(format!("watch as {form}"), &format!("/pods?{all}")).accept(accept));
        rows.push(
            read(
                format!("watch as {form}, from zero"),
                "/pods?watch=1&timeoutSeconds=1&resourceVersion=0",
            )
            .accept(accept),
        );
    }
    for include in ["None", "Metadata", "Object", "All"] {
        rows.push(
            read(
                format!("watch as a Table with objects {include}"),
                &format!("/pods?watch=1&timeoutSeconds=1&includeObject={include}"),
            )
            .accept(TABLE),
        );
    }
    for (how, path) in [
        ("a name", "/namespaces/shop/pods/pair?watch=1&timeoutSeconds=1"),
        ("a namespace", "/namespaces/shop/pods?watch=1&timeoutSeconds=1"),
        ("an empty namespace", "/namespaces/default/pods?watch=1&timeoutSeconds=1"),
        (
            "an empty namespace's initial events",
            "/namespaces/default/pods?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        ),
        ("nodes", "/nodes?watch=1&timeoutSeconds=1"),
        (
            "one node by selector",
            "/nodes?watch=1&timeoutSeconds=1&fieldSelector=metadata.name=ash",
        ),
        ("the prefix", "/watch/pods?timeoutSeconds=1"),
        ("the prefix of nodes", "/watch/nodes?timeoutSeconds=1"),
        ("the prefix of a namespace", "/watch/namespaces/shop/pods?timeoutSeconds=1"),
        ("the prefix of a name", "/watch/namespaces/shop/pods/pair?timeoutSeconds=1"),
        ("the prefix of a node", "/watch/nodes/ash?timeoutSeconds=1"),
        ("the prefix of a missing node", "/watch/nodes/oak?timeoutSeconds=1"),
        ("the prefix of nothing", "/watch?timeoutSeconds=1"),
        ("the prefix and an unknown resource", "/watch/things?timeoutSeconds=1"),
        ("an unknown resource", "/things?watch=1&timeoutSeconds=1"),
        ("a subresource", "/nodes/ash/status?watch=1&timeoutSeconds=1"),
    ] {
        rows.push(read(format!("watch of {how}"), path).numbers());
    }
    rows.push(read("watch: HEAD", "/pods?watch=1&timeoutSeconds=1").method(Method::HEAD));
    rows.push(
        read("watch: POST", "/pods?watch=1&timeoutSeconds=1")
            .method(Method::POST)
            .body("application/json", "{"),
    );
    rows.push(read("watch: by a reader", "/namespaces/shop/pods?watch=1&timeoutSeconds=1").user("reader"));
    rows.push(read("watch: by nobody", "/pods?watch=1&timeoutSeconds=1").by(Who::Nobody));
    rows.push(
        read(
            "watch: at the future, a get",
            &format!("/namespaces/shop/pods/pair?resourceVersion={FUTURE}"),
        )
        .numbers(),
    );
    rows
}
