//! watch: from which version, which events in which order, in which form, and how it ends.

use serde_json::json;

use crate::creating::made;
use crate::script::{
    ALPHA, BETA, Case, FISCHERS, MERGE, PARTIAL, PARTIAL_LIST, PROTOBUF, Step, TABLE, delete, fischer, flunder_with, get, patch,
    post, put,
};

/// All of a watch's initial state, with the bookmark that ends it.
const ALL: &str = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

pub(crate) fn cases() -> Vec<Case> {
    vec![starts(), initial(), selectors(), forms(), live(), bookmarks(), places()]
}

/// A watch that ends by itself after a second.
fn watch(how: impl Into<String>, path: &str, query: &str) -> Step {
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("&{query}")
    };
    get(how, format!("{path}?watch=1&timeoutSeconds=1{query}"))
        .numbers()
        .meanwhile()
}

/// a and b are made, a is changed, c is made, b goes.
fn history() -> Vec<Step> {
    let tiered = |name: &'static str, tier: &str| {
        post(
            format!("{name} is made"),
            ALPHA,
            &flunder_with(
                name,
                json!({"metadata": {"labels": {"tier": tier}}, "spec": {"reference": "x"}}),
            ),
        )
        .kept(name)
    };
    vec![
        tiered("a", "1"),
        tiered("b", "1"),
        put(
            "a changes",
            format!("{ALPHA}/a"),
            "a",
            json!({"metadata": {"labels": {"tier": "2"}}}),
        )
        .kept("changed"),
        tiered("c", "2"),
        delete("b goes", format!("{ALPHA}/b")),
        put(
            "a changes back",
            format!("{ALPHA}/a"),
            "changed",
            json!({"metadata": {"labels": {"tier": "1"}}}),
        )
        .kept("back"),
        get("all of them", ALPHA).kept("all"),
    ]
}

fn starts() -> Case {
    let mut steps = history();
    for (how, query) in [
        ("from now on", ""),
        ("from zero", "resourceVersion=0"),
        ("from the first", "resourceVersion={a:rv}"),
        ("from the change", "resourceVersion={changed:rv}"),
        ("from the last", "resourceVersion={back:rv}"),
        ("from the list", "resourceVersion={all:rv}"),
        ("from the beginning", "resourceVersion=1"),
        ("from the future", "resourceVersion=9000000000000000000"),
        ("from nonsense", "resourceVersion=abc"),
        ("from a negative version", "resourceVersion=-1"),
        ("with a limit", "limit=1"),
        ("with a token", "continue=nonsense"),
        ("a rule", "resourceVersionMatch=NotOlderThan&resourceVersion={a:rv}"),
        ("an exact rule", "resourceVersionMatch=Exact&resourceVersion={a:rv}"),
        ("pretty", "resourceVersion={a:rv}&pretty=1"),
        ("a timeout that is none", "timeout=x"),
    ] {
        steps.push(watch(how, ALPHA, query));
        if how.starts_with("from") {
            steps.push(watch(format!("{how}, the other version"), BETA, query));
        }
    }
    steps.push(get(
        "timeoutSeconds that are none",
        format!("{ALPHA}?watch=1&timeoutSeconds=x"),
    ));
    steps.push(get(
        "watch=true",
        format!("{ALPHA}?watch=true&timeoutSeconds=1&resourceVersion={{a:rv}}"),
    ));
    Case::new("watch: starts", steps)
}

fn initial() -> Case {
    let mut steps = history();
    for (how, query) in [
        ("plain", ALL.to_owned()),
        ("at zero", format!("{ALL}&resourceVersion=0")),
        ("at the first", format!("{ALL}&resourceVersion={{a:rv}}")),
        ("at the list", format!("{ALL}&resourceVersion={{all:rv}}")),
        ("with labels", format!("{ALL}&labelSelector=tier=1")),
        ("with labels that nothing has", format!("{ALL}&labelSelector=none=1")),
        (
            "without bookmarks",
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
        ),
        ("without a rule", "sendInitialEvents=true".to_owned()),
        (
            "with another rule",
            "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion={a:rv}".to_owned(),
        ),
        (
            "none",
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true".to_owned(),
        ),
        (
            "none, from the first",
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={a:rv}"
                .to_owned(),
        ),
        (
            "that are none",
            "sendInitialEvents=x&resourceVersionMatch=NotOlderThan".to_owned(),
        ),
    ] {
        steps.push(watch(how, ALPHA, &query));
    }
    steps.push(watch("in the other version", BETA, ALL));
    Case::new("watch: initial events", steps)
}

fn selectors() -> Case {
    let mut steps = history();
    for (how, selector) in [
        ("in and out", "labelSelector=tier=1"),
        ("out and in", "labelSelector=tier=2"),
        ("never in", "labelSelector=tier=3"),
        ("not in", "labelSelector=tier!=1"),
        ("a name", "fieldSelector=metadata.name=a"),
        ("another name", "fieldSelector=metadata.name=b"),
        ("not a name", "fieldSelector=metadata.name!=a"),
        ("a namespace", "fieldSelector=metadata.namespace={ns}"),
        ("an unknown field", "fieldSelector=spec.reference=x"),
        ("bad labels", "labelSelector=a=b=c"),
    ] {
        steps.push(watch(how, ALPHA, &format!("resourceVersion={{a:rv}}&{selector}")));
        steps.push(watch(
            format!("{how}, from zero"),
            BETA,
            &format!("resourceVersion=0&{selector}"),
        ));
    }
    Case::new("watch: selectors", steps)
}

fn forms() -> Case {
    let mut steps = history();
    for (form, accept) in [
        ("JSON", "application/json"),
        ("JSON, streamed", "application/json;stream=watch"),
        ("YAML", "application/yaml"),
        ("protobuf", PROTOBUF),
        (
            "client-go's protobuf",
            "application/vnd.kubernetes.protobuf;stream=watch,application/json",
        ),
        ("a Table", TABLE),
        ("a Table v1beta1", "application/json;as=Table;v=v1beta1;g=meta.k8s.io"),
        ("metadata", PARTIAL),
        (
            "metadata in protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
        ("a list's metadata", PARTIAL_LIST),
        ("HTML", "text/html"),
    ] {
        steps.push(watch(format!("as {form}"), BETA, "resourceVersion={a:rv}").accept(accept));
        steps.push(watch(format!("as {form}, initial events"), ALPHA, ALL).accept(accept));
    }
    for include in ["None", "Metadata", "Object", "All"] {
        steps.push(
            watch(
                format!("as a Table with objects {include}"),
                ALPHA,
                &format!("resourceVersion={{a:rv}}&includeObject={include}"),
            )
            .accept(TABLE),
        );
    }
    steps.push(watch("too old, as a Table", ALPHA, "resourceVersion=1").accept(TABLE));
    steps.push(watch("too old, as metadata", ALPHA, "resourceVersion=1").accept(PARTIAL));
    Case::new("watch: forms", steps)
}

/// What happens while somebody watches.
fn live() -> Case {
    let watch = |how: &str, path: &str, query: &str| {
        get(how, format!("{path}?watch=1&timeoutSeconds=4&{query}"))
            .numbers()
            .meanwhile()
    };
    Case::new(
        "watch: live",
        [
            made("a"),
            watch("all", ALPHA, "resourceVersion={a:rv}"),
            watch("all in the other version", BETA, "resourceVersion={a:rv}"),
            watch("some", ALPHA, "resourceVersion={a:rv}&labelSelector=in=1"),
            watch("one", ALPHA, "resourceVersion={a:rv}&fieldSelector=metadata.name=b"),
            patch(
                "a comes in",
                format!("{ALPHA}/a"),
                MERGE,
                json!({"metadata": {"labels": {"in": "1"}}}),
            ),
            patch(
                "nothing changes",
                format!("{ALPHA}/a"),
                MERGE,
                json!({"metadata": {"labels": {"in": "1"}}}),
            ),
            made("b"),
            patch(
                "a goes out",
                format!("{ALPHA}/a"),
                MERGE,
                json!({"metadata": {"labels": null}}),
            ),
            patch(
                "b is held",
                format!("{ALPHA}/b"),
                MERGE,
                json!({"metadata": {"finalizers": ["example.com/stay"]}}),
            ),
            delete("b shall go", format!("{ALPHA}/b")),
            patch(
                "b goes",
                format!("{ALPHA}/b"),
                MERGE,
                json!({"metadata": {"finalizers": null}}),
            ),
            delete("a goes", format!("{ALPHA}/a")),
            delete("nothing goes", format!("{ALPHA}/a")),
        ],
    )
}

fn bookmarks() -> Case {
    let mut steps = history();
    let watch = |how: &str, query: &str| {
        let path = format!("{ALPHA}?watch=1&timeoutSeconds=4&allowWatchBookmarks=true&{query}");
        get(how, path).numbers().meanwhile().bookmarks()
    };
    steps.push(watch("the last one", "resourceVersion={a:rv}"));
    steps.push(watch("the last one as metadata", "resourceVersion={a:rv}").accept(PARTIAL));
    Case::new("watch: bookmarks", steps)
}

fn places() -> Case {
    let mut steps = history();
    steps.push(post("cluster-scoped is made", FISCHERS, &fischer("a")).kept("f"));
    let one = "fieldSelector=metadata.name={ns}-a&resourceVersion=0";
    steps.extend([
        watch("cluster-scoped", FISCHERS, one),
        watch("a name", &format!("{ALPHA}/a"), ""),
        watch(
            "all namespaces",
            "/apis/wardle.example.com/v1alpha1/flunders",
            "resourceVersion={a:rv}&fieldSelector=metadata.namespace={ns}",
        ),
        watch(
            "a namespace that is not there",
            "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders",
            ALL,
        ),
        watch(
            "the prefix",
            "/apis/wardle.example.com/v1alpha1/watch/namespaces/{ns}/flunders",
            "resourceVersion={a:rv}",
        ),
        watch(
            "the prefix of a name",
            "/apis/wardle.example.com/v1alpha1/watch/namespaces/{ns}/flunders/a",
            "resourceVersion={a:rv}",
        ),
        watch(
            "the prefix of everything",
            "/apis/wardle.example.com/v1alpha1/watch/flunders",
            "resourceVersion={a:rv}&fieldSelector=metadata.namespace={ns}",
        ),
        watch(
            "the prefix of a cluster-scoped one",
            "/apis/wardle.example.com/v1alpha1/watch/fischers/{ns}-a",
            "resourceVersion=0",
        ),
        watch("a status", &format!("{ALPHA}/a/status"), ""),
    ]);
    Case::new("watch: places", steps)
}
