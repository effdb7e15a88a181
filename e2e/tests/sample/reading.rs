//! get and list: versions, pages, selectors, forms.

use http::Method;
use serde_json::{Value, json};

use crate::creating::{Tap, made};
use crate::script::{
    ALPHA, BETA, Case, FISCHERS, PARTIAL, PARTIAL_LIST, PROTOBUF, Step, TABLE, fischer, flunder_with, get, post, put, step, token,
};

const FUTURE: &str = "9000000000000000000";
const TABLE_BETA: &str = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        gets(),
        lists(),
        pages(),
        combinations(),
        selectors(),
        cluster(),
        forms(),
        lone(),
    ];
    // Each waits three seconds for a version that does not come.
    cases.push(Case::new(
        "future: get",
        [made("a"), get("a", format!("{ALPHA}/a?resourceVersion={FUTURE}")).numbers()],
    ));
    cases.push(Case::new(
        "future: list",
        [get("all", format!("{ALPHA}?resourceVersion={FUTURE}")).numbers()],
    ));
    cases.push(Case::new(
        "future: list, exact",
        [get("all", format!("{ALPHA}?resourceVersion={FUTURE}&resourceVersionMatch=Exact")).numbers()],
    ));
    cases
}

fn gets() -> Case {
    let mut steps = vec![
        made("a"),
        put("a is changed", format!("{ALPHA}/a"), "a", json!({"spec": {"reference": "x"}})).kept("b"),
        get("missing", format!("{ALPHA}/none")),
        get("missing in the other version", format!("{BETA}/none")),
        get("missing, as a Table", format!("{ALPHA}/none")).accept(TABLE),
        get("missing, as YAML", format!("{ALPHA}/none")).accept("application/yaml"),
        get("missing, as protobuf", format!("{ALPHA}/none")).accept(PROTOBUF),
        get(
            "a namespace that is not there",
            "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders/a",
        ),
        get("without its namespace", "/apis/wardle.example.com/v1alpha1/flunders/a"),
        get(
            "a cluster-scoped one in a namespace",
            "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/fischers/bans",
        ),
        get("cluster-scoped", format!("{FISCHERS}/bans")),
        get("cluster-scoped, missing", format!("{FISCHERS}/none")),
        step(Method::HEAD, "HEAD", format!("{ALPHA}/a")),
        get("pretty", format!("{ALPHA}/a?pretty=1")),
        get("a timeout that is none", format!("{ALPHA}/a?timeout=x")),
        get("export", format!("{ALPHA}/a?export=true")),
        get("a Table with an unknown include", format!("{ALPHA}/a?includeObject=x")).accept(TABLE),
    ];
    for (how, version) in [
        ("none", ""),
        ("zero", "0"),
        ("its own", "{b:rv}"),
        ("an earlier one", "{a:rv}"),
        ("one", "1"),
        ("nonsense", "abc"),
        ("a negative one", "-1"),
        ("a huge one", "99999999999999999999999"),
    ] {
        steps.push(get(format!("at a version: {how}"), format!("{ALPHA}/a?resourceVersion={version}")).numbers());
    }
    for (form, accept) in [
        ("a Table", TABLE),
        ("a Table v1beta1", TABLE_BETA),
        ("metadata", PARTIAL),
        ("a list's metadata", PARTIAL_LIST),
        (
            "metadata in YAML",
            "application/yaml;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
        (
            "metadata in protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
        ("YAML", "application/yaml"),
        ("protobuf", PROTOBUF),
        ("protobuf or JSON", "application/vnd.kubernetes.protobuf,application/json"),
        ("HTML", "text/html"),
        ("anything", "*/*"),
        ("CBOR", "application/cbor"),
    ] {
        for (version, path) in [("", ALPHA), (", the other version", BETA)] {
            steps.push(get(format!("as {form}{version}"), format!("{path}/a")).accept(accept));
        }
    }
    for include in ["None", "Metadata", "Object"] {
        steps.push(
            get(
                format!("as a Table with objects {include}"),
                format!("{BETA}/a?includeObject={include}"),
            )
            .accept(TABLE),
        );
    }
    Case::new("get", steps)
}

/// Five, and one that has gone again.
fn five() -> Vec<Step> {
    let mut steps: Vec<Step> = [
        ("a", "1", "x"),
        ("b", "2", "x"),
        ("c", "1", "y"),
        ("d", "2", "y"),
        ("e", "3", ""),
    ]
    .iter()
    .map(|(name, tier, reference)| {
        let more = json!({"metadata": {"labels": {"tier": tier, "case": "{ns}"}}, "spec": {"reference": reference}});
        post(format!("{name} is made"), ALPHA, &flunder_with(name, more)).kept(if *name == "a" { "a" } else { "other" })
    })
    .collect();
    steps.push(get("all of them", ALPHA).kept("all"));
    steps.push(get("the first two", format!("{ALPHA}?limit=2")).kept("page"));
    steps
}

fn lists() -> Case {
    let mut steps = five();
    for (how, query) in [
        ("in the other version", ""),
        ("at version zero", "resourceVersion=0"),
        ("at the list's version", "resourceVersion={all:rv}"),
        (
            "not older than the list",
            "resourceVersion={all:rv}&resourceVersionMatch=NotOlderThan",
        ),
        ("exactly at the list", "resourceVersion={all:rv}&resourceVersionMatch=Exact"),
        (
            "exactly at the first object",
            "resourceVersion={a:rv}&resourceVersionMatch=Exact",
        ),
        (
            "not older than the first object",
            "resourceVersion={a:rv}&resourceVersionMatch=NotOlderThan",
        ),
        ("at the first object", "resourceVersion={a:rv}"),
        ("two at the first object", "resourceVersion={a:rv}&limit=2"),
        ("at nonsense", "resourceVersion=abc"),
        ("initial events", "sendInitialEvents=true"),
        ("bookmarks", "allowWatchBookmarks=true"),
        ("timeoutSeconds", "timeoutSeconds=5"),
        ("watch that is none", "watch=x&timeoutSeconds=1"),
        ("pretty", "pretty=1"),
    ] {
        steps.push(get(how, format!("{BETA}?{query}")).numbers());
    }
    steps.push(get(
        "all namespaces",
        "/apis/wardle.example.com/v1alpha1/flunders?labelSelector=case={ns}",
    ));
    steps.push(
        get(
            "all namespaces, two",
            "/apis/wardle.example.com/v1beta1/flunders?labelSelector=case={ns}&limit=2",
        )
        .kept("wide"),
    );
    steps.push(get(
        "all namespaces, the next two",
        "/apis/wardle.example.com/v1beta1/flunders?labelSelector=case={ns}&limit=2&continue={wide:continue}",
    ));
    steps.push(get(
        "an empty namespace",
        "/apis/wardle.example.com/v1beta1/namespaces/none-such/flunders",
    ));
    steps.push(step(Method::HEAD, "HEAD", ALPHA));
    Case::new("list", steps)
}

fn pages() -> Case {
    let mut steps = five();
    steps.extend([
        get("the next two", format!("{ALPHA}?limit=2&continue={{page:continue}}")).kept("next"),
        get("the last one", format!("{ALPHA}?limit=2&continue={{next:continue}}")),
        get("the rest in one", format!("{ALPHA}?continue={{page:continue}}")),
        get(
            "the next two in the other version",
            format!("{BETA}?limit=2&continue={{page:continue}}"),
        ),
    ]);
    // What happens between two pages is not seen.
    steps.extend([
        step(Method::DELETE, "c goes", format!("{ALPHA}/c")),
        post("bb comes", ALPHA, &flunder_with("bb", json!({}))),
        get("the next two, still", format!("{ALPHA}?limit=2&continue={{page:continue}}")),
        get("all as they are", ALPHA),
    ]);
    for (how, query) in [
        ("a limit of all", "limit=5"),
        ("a limit of more", "limit=500"),
        ("a limit of zero", "limit=0"),
        ("a negative limit", "limit=-1"),
        ("a limit that is none", "limit=x"),
        ("a limit and labels", "limit=1&labelSelector=tier=1"),
        ("a limit and a name", "limit=1&fieldSelector=metadata.name=b"),
        ("a limit from the cache", "limit=2&resourceVersion=0"),
        ("a token with a version", "continue={page:continue}&resourceVersion=1"),
        ("a token with version zero", "continue={page:continue}&resourceVersion=0"),
        ("a token with a rule", "continue={page:continue}&resourceVersionMatch=Exact"),
        ("a bad token", "continue=nonsense"),
        ("a bad token and a limit", "limit=2&continue=nonsense"),
    ] {
        steps.push(get(how, format!("{ALPHA}?{query}")).numbers());
    }
    for (how, said) in [
        ("of another form", json!({"v": "meta.k8s.io/v2", "rv": 1, "start": "a"})),
        ("that climbs", json!({"v": "meta.k8s.io/v1", "rv": 1, "start": "../etc"})),
        ("without a start", json!({"v": "meta.k8s.io/v1", "rv": 1})),
        ("without a version", json!({"v": "meta.k8s.io/v1", "start": "a"})),
        ("of version zero", json!({"v": "meta.k8s.io/v1", "rv": 0, "start": "a\u{0}"})),
        (
            "of a negative version",
            json!({"v": "meta.k8s.io/v1", "rv": -1, "start": "b\u{0}"}),
        ),
        (
            "of the future",
            json!({"v": "meta.k8s.io/v1", "rv": 9_000_000_000_000_000_000_u64, "start": "b\u{0}"}),
        ),
    ] {
        steps.push(get(format!("a token {how}"), format!("{ALPHA}?continue={}", token(&said))).numbers());
    }
    for (form, accept) in [("a Table", TABLE), ("metadata", PARTIAL_LIST), ("YAML", "application/yaml")] {
        steps.push(get(format!("a page as {form}"), format!("{ALPHA}?limit=2")).accept(accept));
        steps.push(
            get(
                format!("the next page as {form}"),
                format!("{ALPHA}?limit=2&continue={{page:continue}}"),
            )
            .accept(accept),
        );
    }
    Case::new("pages", steps)
}

/// Upstream's TestListOptions: limit × continue × resourceVersion × resourceVersionMatch.
fn combinations() -> Case {
    let mut steps = five();
    for limit in ["", "limit=2"] {
        for token in ["", "continue={page:continue}"] {
            for version in ["", "resourceVersion=0", "resourceVersion=1", "resourceVersion={all:rv}"] {
                for rule in ["", "NotOlderThan", "Exact", "Nearest"] {
                    let rule = if rule.is_empty() {
                        String::new()
                    } else {
                        format!("resourceVersionMatch={rule}")
                    };
                    let query: Vec<&str> = [limit, token, version, &rule].into_iter().filter(|p| !p.is_empty()).collect();
                    let query = query.join("&");
                    steps.push(get(format!("with {query}"), format!("{ALPHA}?{query}")).numbers());
                }
            }
        }
    }
    Case::new("list options", steps)
}

fn selectors() -> Case {
    let mut steps = five();
    for selector in [
        "tier=1",
        "tier==1",
        "tier!=1",
        "tier in (1,3)",
        "tier notin (1,3)",
        "tier",
        "!tier",
        "tier>1",
        "tier<3",
        "tier=1,case={ns}",
        "none=1",
        "",
        "tier=1=2",
        "tier in",
        "a b",
        "tier=a b",
        "=1",
        "tier>x",
    ] {
        let query = selector.replace(' ', "%20").replace('>', "%3E").replace('<', "%3C");
        steps.push(get(format!("labels {selector:?}"), format!("{ALPHA}?labelSelector={query}")));
    }
    for selector in [
        "metadata.name=b",
        "metadata.name==b",
        "metadata.name!=b",
        "metadata.name=none",
        "metadata.name=b,metadata.name=c",
        "metadata.name=b,metadata.namespace={ns}",
        "metadata.namespace={ns}",
        "metadata.namespace=elsewhere",
        "metadata.namespace!={ns}",
        "spec.reference=x",
        "status=x",
        "metadata.uid=x",
        "nonsense",
        "metadata.name",
        "=",
        "",
    ] {
        steps.push(get(
            format!("fields {selector:?}"),
            format!("{BETA}?fieldSelector={selector}"),
        ));
    }
    steps.push(get(
        "both",
        format!("{ALPHA}?labelSelector=tier=1&fieldSelector=metadata.name=c"),
    ));
    steps.push(get(
        "a cluster-scoped one's namespace",
        format!("{FISCHERS}?fieldSelector=metadata.namespace=x"),
    ));
    steps.push(get(
        "a cluster-scoped one's name",
        format!("{FISCHERS}?fieldSelector=metadata.name=bans"),
    ));
    Case::new("selectors", steps)
}

fn cluster() -> Case {
    let labelled = |name: &str| fischer(name).tap(|o| o["metadata"]["labels"] = json!({"case": "{ns}"}));
    let mine = format!("{FISCHERS}?labelSelector=case={{ns}}");
    Case::new(
        "cluster-scoped lists",
        [
            post("a is made", FISCHERS, &labelled("a")).kept("a"),
            post("b is made", FISCHERS, &labelled("b")),
            post(
                "c is made",
                FISCHERS,
                &labelled("c").tap(|o| o["disallowedFlunders"] = json!(["none-such"])),
            ),
            get("all", &mine),
            get("two", format!("{mine}&limit=2")).kept("page"),
            get("the rest", format!("{mine}&limit=2&continue={{page:continue}}")),
            get("as a Table", &mine).accept(TABLE),
            get("as metadata", &mine).accept(PARTIAL_LIST),
            get("in a namespace", "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/fischers"),
            get("in a version that it has not", "/apis/wardle.example.com/v1beta1/fischers"),
        ],
    )
}

fn forms() -> Case {
    let mut steps = five();
    for (form, accept) in [
        ("JSON", "application/json"),
        ("a Table", TABLE),
        ("a Table v1beta1", TABLE_BETA),
        ("metadata", PARTIAL_LIST),
        ("an object's metadata", PARTIAL),
        (
            "metadata in protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        ),
        (
            "the metadata client's",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
             application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
        ),
        ("YAML", "application/yaml"),
        ("protobuf", PROTOBUF),
        ("protobuf or JSON", "application/vnd.kubernetes.protobuf,application/json"),
        (
            "kubectl's",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        ),
        ("HTML", "text/html"),
    ] {
        steps.push(get(format!("as {form}"), ALPHA).accept(accept));
        steps.push(get(format!("as {form}, the other version"), BETA).accept(accept));
        steps.push(get(format!("as {form}, none"), format!("{ALPHA}?labelSelector=none=1")).accept(accept));
    }
    for include in ["None", "Metadata", "Object", "All"] {
        steps.push(
            get(
                format!("as a Table with objects {include}"),
                format!("{BETA}?includeObject={include}"),
            )
            .accept(TABLE),
        );
    }
    Case::new("list forms", steps)
}

/// What is not a collection and not an object.
fn lone() -> Case {
    let mut steps = vec![made("a")];
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE, Method::POST] {
        for part in ["status", "scale", "nonsense"] {
            let ask = step(method.clone(), format!("{method} {part}"), format!("{ALPHA}/a/{part}"));
            steps.push(match method {
                Method::PUT | Method::POST => ask.sends("application/json", "{}"),
                Method::PATCH => ask.sends("application/merge-patch+json", "{}"),
                _ => ask,
            });
        }
    }
    for method in [Method::PUT, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        let ask = step(method.clone(), format!("{method} of a collection"), ALPHA);
        steps.push(match method {
            Method::PUT => ask.sends("application/json", "{}"),
            Method::PATCH => ask.sends("application/merge-patch+json", "{}"),
            _ => ask,
        });
    }
    for (how, path) in [
        (
            "an unknown resource",
            "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/things",
        ),
        ("an unknown version", "/apis/wardle.example.com/v2/namespaces/{ns}/flunders"),
        ("an unknown group", "/apis/example.com/v1/namespaces/{ns}/flunders"),
        (
            "the kind for the resource",
            "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/Flunder",
        ),
        (
            "a slash at the end",
            "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/flunders/",
        ),
        ("two slashes", "/apis/wardle.example.com/v1alpha1/namespaces/{ns}//flunders"),
        (
            "far below",
            "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/flunders/a/b/c",
        ),
        (
            "a proxy",
            "/apis/wardle.example.com/v1alpha1/proxy/namespaces/{ns}/flunders/a",
        ),
        ("the group", "/apis/wardle.example.com"),
        ("the old version's resources", "/apis/wardle.example.com/v1alpha1"),
        ("the new version's resources", "/apis/wardle.example.com/v1beta1"),
    ] {
        steps.push(get(how, path));
    }
    for (how, path) in [("groups", "/apis"), ("the group, protobuf", "/apis/wardle.example.com")] {
        let accept = if how == "groups" {
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        } else {
            PROTOBUF
        };
        steps.push(get(how, path).accept(accept));
    }
    steps.push(
        step(Method::PATCH, "PATCH of a version", "/apis/wardle.example.com/v1alpha1")
            .sends("application/merge-patch+json", "{}"),
    );
    let whole: Value = json!({});
    steps.push(post("POST to a version", "/apis/wardle.example.com/v1alpha1", &whole));
    Case::new("paths", steps)
}
