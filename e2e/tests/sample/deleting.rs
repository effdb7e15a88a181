//! delete and deletecollection: preconditions, policies, finalizers, what is answered.

use http::Method;
use serde_json::{Value, json};

use crate::creating::made;
use crate::script::{
    ALPHA, BETA, Case, FISCHERS, JSON, PARTIAL, PARTIAL_LIST, PROTOBUF, Step, TABLE, delete, fischer, flunder, flunder_with, get,
    object, post, step,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        plain(),
        preconditions(),
        policies(),
        bodies(),
        held(),
        collections(),
        collections_refused(),
        forms(),
    ]
}

fn at(name: &str) -> String {
    format!("{ALPHA}/{name}")
}

/// DELETE with options in the body.
fn with(how: &str, path: String, options: &Value) -> Step {
    delete(how, path).sends(JSON, options.to_string())
}

fn options(more: Value) -> Value {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
    crate::script::merge(&mut options, more);
    options
}

fn plain() -> Case {
    Case::new(
        "delete: plain",
        [
            delete("missing", at("none")),
            delete("missing in the other version", format!("{BETA}/none")),
            made("a"),
            delete("one", at("a")),
            delete("one again", at("a")),
            get("gone", at("a")),
            made("b"),
            delete("in the other version", format!("{BETA}/b")),
            made("c"),
            delete("dry", format!("{}?dryRun=All", at("c"))),
            get("still there", at("c")),
            delete("a dry run that is none", format!("{}?dryRun=x", at("c"))),
            delete("cluster-scoped, missing", format!("{FISCHERS}/none")),
            post("cluster-scoped is made", FISCHERS, &fischer("a")),
            delete("cluster-scoped", format!("{FISCHERS}/{{ns}}-a")),
            delete("without its namespace", "/apis/wardle.example.com/v1alpha1/flunders/c"),
            delete(
                "a namespace that is not there",
                "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders/c",
            ),
            delete(
                "a collection without a namespace",
                "/apis/wardle.example.com/v1alpha1/flunders",
            ),
            post("made again", ALPHA, &flunder("a")),
            delete(
                "unsafe",
                format!("{}?ignoreStoreReadErrorWithClusterBreakingPotential=true", at("a")),
            ),
            get("what is left", ALPHA),
        ],
    )
}

fn preconditions() -> Case {
    let only = |what: Value| options(json!({"preconditions": what}));
    Case::new(
        "delete: preconditions",
        [
            made("a"),
            with(
                "another uid",
                at("a"),
                &only(json!({"uid": "11111111-2222-3333-4444-555555555555"})),
            ),
            with("an empty uid", at("a"), &only(json!({"uid": ""}))),
            with("another version", at("a"), &only(json!({"resourceVersion": "1"}))),
            with("both wrong", at("a"), &only(json!({"uid": "x", "resourceVersion": "1"}))),
            with("a version that is none", at("a"), &only(json!({"resourceVersion": "abc"}))),
            with("missing", at("none"), &only(json!({"uid": "x"}))),
            with(
                "the right uid, the wrong version",
                at("a"),
                &only(json!({"uid": "{a:uid}", "resourceVersion": "1"})),
            ),
            with(
                "all right, dry",
                format!("{}?dryRun=All", at("a")),
                &only(json!({"uid": "{a:uid}", "resourceVersion": "{a:rv}"})),
            ),
            with("a dry run in the body", at("a"), &options(json!({"dryRun": ["All"]}))),
            get("still there", at("a")),
            with(
                "all right",
                at("a"),
                &only(json!({"uid": "{a:uid}", "resourceVersion": "{a:rv}"})),
            ),
            get("gone", at("a")),
        ],
    )
}

fn policies() -> Case {
    let mut steps = Vec::new();
    for (name, how, query) in [
        ("background", "in the background", "propagationPolicy=Background"),
        ("foreground", "in the foreground", "propagationPolicy=Foreground"),
        ("orphan", "orphaning", "propagationPolicy=Orphan"),
        ("orphans", "orphanDependents", "orphanDependents=true"),
        ("noorphans", "no orphanDependents", "orphanDependents=false"),
        ("grace", "with grace", "gracePeriodSeconds=30"),
        ("nograce", "without grace", "gracePeriodSeconds=0"),
        ("negative", "with negative grace", "gracePeriodSeconds=-1"),
        (
            "dryforeground",
            "in the foreground, dry",
            "propagationPolicy=Foreground&dryRun=All",
        ),
    ] {
        steps.push(made(name));
        steps.push(delete(how, format!("{}?{query}", at(name))));
        steps.push(get(format!("{how}: after"), at(name)));
    }
    steps.push(made("z"));
    for (how, query) in [
        ("a policy that is none", "propagationPolicy=Nonsense"),
        ("an empty policy", "propagationPolicy="),
        ("both", "propagationPolicy=Foreground&orphanDependents=true"),
        ("orphanDependents that are none", "orphanDependents=x"),
        ("grace that is none", "gracePeriodSeconds=x"),
    ] {
        steps.push(delete(how, format!("{}?{query}", at("z"))));
        steps.push(post(format!("{how}: z is there"), ALPHA, &flunder("z")));
    }
    steps.extend([
        with(
            "both in the body",
            at("z"),
            &options(json!({"propagationPolicy": "Orphan", "orphanDependents": false})),
        ),
        with(
            "the body before the query",
            format!("{}?propagationPolicy=Nonsense", at("z")),
            &options(json!({"propagationPolicy": "Background"})),
        ),
        get("what is left", ALPHA),
        get("what is left, as a Table", BETA).accept(TABLE),
    ]);
    Case::new("delete: policies", steps)
}

fn bodies() -> Case {
    let mut steps = Vec::new();
    for (name, how, kind, body) in [
        ("a", "nothing", JSON, String::new()),
        ("b", "an empty object", JSON, "{}".to_owned()),
        ("c", "null", JSON, "null".to_owned()),
        ("d", "an array", JSON, "[]".to_owned()),
        ("e", "no JSON", JSON, "hello".to_owned()),
        (
            "f",
            "meta's options",
            JSON,
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions"}).to_string(),
        ),
        (
            "g",
            "the group's options",
            JSON,
            json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "DeleteOptions"}).to_string(),
        ),
        (
            "h",
            "another group's options",
            JSON,
            json!({"apiVersion": "apps/v1", "kind": "DeleteOptions"}).to_string(),
        ),
        (
            "i",
            "an unknown group's options",
            JSON,
            json!({"apiVersion": "example.com/v1", "kind": "DeleteOptions"}).to_string(),
        ),
        (
            "j",
            "options without a version",
            JSON,
            json!({"kind": "DeleteOptions"}).to_string(),
        ),
        ("k", "a version without a kind", JSON, json!({"apiVersion": "v1"}).to_string()),
        (
            "l",
            "another kind",
            JSON,
            json!({"apiVersion": "v1", "kind": "CreateOptions"}).to_string(),
        ),
        ("m", "a Pod", JSON, json!({"apiVersion": "v1", "kind": "Pod"}).to_string()),
        ("n", "a Flunder", JSON, flunder("n").to_string()),
        ("o", "an unknown field", JSON, options(json!({"nonsense": 1})).to_string()),
        (
            "p",
            "a policy that is a number",
            JSON,
            options(json!({"propagationPolicy": 5})).to_string(),
        ),
        (
            "q",
            "preconditions that are text",
            JSON,
            options(json!({"preconditions": "x"})).to_string(),
        ),
        (
            "r",
            "YAML",
            "application/yaml",
            "kind: DeleteOptions\napiVersion: v1\n".to_owned(),
        ),
        ("s", "text", "text/plain", "{}".to_owned()),
        ("t", "no content type", "", "{}".to_owned()),
        ("u", "a bad dry run", JSON, options(json!({"dryRun": ["x"]})).to_string()),
        ("v", "too much", JSON, " ".repeat((3 << 20) + 1)),
    ] {
        steps.push(made(name));
        let ask = delete(how, at(name)).sends(kind, body);
        steps.push(if how == "too much" { ask.h2() } else { ask });
    }
    steps.push(get("what is left", ALPHA));
    Case::new("delete: bodies", steps)
}

fn held() -> Case {
    let make = |name: &'static str| {
        post(
            format!("{name} is made"),
            ALPHA,
            &flunder_with(name, json!({"metadata": {"finalizers": ["example.com/stay"]}})),
        )
        .kept(name)
    };
    Case::new(
        "delete: held",
        [
            make("a"),
            delete("it stays", at("a")),
            delete("it stays again", at("a")),
            delete(
                "it stays in the foreground",
                format!("{}?propagationPolicy=Foreground", at("a")),
            ),
            delete("it stays orphaning", format!("{}?propagationPolicy=Orphan", at("a"))),
            delete(
                "it stays in the background",
                format!("{}?propagationPolicy=Background", at("a")),
            ),
            delete("no orphanDependents", format!("{}?orphanDependents=false", at("a"))),
            get("as it is", at("a")).kept("b"),
            with(
                "the version from before",
                at("a"),
                &options(json!({"preconditions": {"resourceVersion": "{a:rv}"}})),
            ),
            with(
                "the version of now",
                at("a"),
                &options(json!({"preconditions": {"resourceVersion": "{b:rv}"}})),
            ),
            post("another of its name", ALPHA, &flunder("a")),
            make("c"),
            delete("dry", format!("{}?dryRun=All", at("c"))),
            get("not even begun", at("c")),
            delete("as a Table", at("c")).accept(TABLE),
            delete("as metadata", at("c")).accept(PARTIAL),
            delete("in the other version", format!("{BETA}/c")),
            make("d"),
            delete("with grace", format!("{}?gracePeriodSeconds=30", at("d"))),
        ],
    )
}

fn three() -> Vec<Step> {
    [("a", "1"), ("b", "2"), ("c", "1")]
        .iter()
        .map(|(name, tier)| {
            post(
                format!("{name} is made"),
                ALPHA,
                &flunder_with(name, json!({"metadata": {"labels": {"tier": tier}}})),
            )
        })
        .collect()
}

fn collections() -> Case {
    let mut steps = three();
    steps.extend([
        delete("dry", format!("{ALPHA}?dryRun=All")),
        get("still there", ALPHA),
        delete("by labels that nothing has", format!("{ALPHA}?labelSelector=none=1")),
        delete("by labels", format!("{ALPHA}?labelSelector=tier=2")),
        get("without b", ALPHA),
        delete("by name", format!("{ALPHA}?fieldSelector=metadata.name=c")),
        get("without c", ALPHA),
        delete("all", ALPHA),
        get("nothing", ALPHA),
        delete("nothing is left", ALPHA),
    ]);
    steps.extend(three().into_iter().map(|mut step| {
        step.name = format!("{} again", step.name);
        step
    }));
    steps.extend([
        delete("one at a time", format!("{ALPHA}?limit=1")).kept("page"),
        get("what that left", ALPHA),
        post(
            "one that is held",
            ALPHA,
            &flunder_with("d", json!({"metadata": {"finalizers": ["example.com/stay"]}})),
        ),
        delete("all, one is held", format!("{BETA}?propagationPolicy=Background")),
        get("the held one", ALPHA),
        delete(
            "in a namespace that is not there",
            "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders",
        ),
        post(
            "cluster-scoped is made",
            FISCHERS,
            &object(
                "v1alpha1",
                "Fischer",
                json!({"metadata": {"name": "{ns}-x", "labels": {"case": "{ns}"}}}),
            ),
        ),
        delete("cluster-scoped", format!("{FISCHERS}?labelSelector=case={{ns}}")),
        get("cluster-scoped: gone", format!("{FISCHERS}/{{ns}}-x")),
    ]);
    Case::new("delete: collections", steps)
}

fn collections_refused() -> Case {
    let mut steps = three();
    for (how, query) in [
        ("bad labels", "labelSelector=a=b=c"),
        ("an unknown field", "fieldSelector=spec.reference=x"),
        ("a limit that is none", "limit=x"),
        ("a bad token", "continue=nonsense"),
        ("a bad dry run", "dryRun=x"),
        ("a bad policy", "propagationPolicy=x"),
        ("a version that is none", "resourceVersion=abc"),
        ("a rule without a version", "resourceVersionMatch=Exact"),
    ] {
        steps.push(delete(how, format!("{ALPHA}?{query}")));
    }
    steps.extend([
        get("all are there", ALPHA),
        with(
            "a uid that none has",
            ALPHA.to_owned(),
            &options(json!({"preconditions": {"uid": "x"}})),
        ),
        with(
            "a version that none has",
            ALPHA.to_owned(),
            &options(json!({"preconditions": {"resourceVersion": "1"}})),
        ),
        with("no options", ALPHA.to_owned(), &json!([])),
        with("a Pod", ALPHA.to_owned(), &json!({"apiVersion": "v1", "kind": "Pod"})),
        get("what is left", ALPHA),
    ]);
    Case::new("delete: collections refused", steps)
}

fn forms() -> Case {
    let mut steps = Vec::new();
    for (name, form, accept) in [
        ("a", "a Table", TABLE),
        ("b", "metadata", PARTIAL),
        ("c", "a list's metadata", PARTIAL_LIST),
        ("d", "YAML", "application/yaml"),
        ("e", "protobuf", PROTOBUF),
        ("f", "HTML", "text/html"),
        (
            "g",
            "metadata in protobuf",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ),
    ] {
        steps.push(made(name));
        steps.push(delete(format!("one as {form}"), at(name)).accept(accept));
        steps.push(get(format!("one as {form}: after"), at(name)));
    }
    for (form, accept) in [
        ("a Table", TABLE),
        ("metadata", PARTIAL_LIST),
        ("an object's metadata", PARTIAL),
        ("YAML", "application/yaml"),
        ("protobuf", PROTOBUF),
        ("HTML", "text/html"),
        (
            "the metadata client's",
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
             application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        ),
    ] {
        steps.push(post(
            format!("one for {form}"),
            format!("{ALPHA}?form={}", form.len()),
            &object("v1alpha1", "Flunder", json!({"metadata": {"generateName": "gen-"}})),
        ));
        steps.push(step(Method::DELETE, format!("all as {form}"), ALPHA).accept(accept));
        steps.push(get(format!("all as {form}: after"), ALPHA));
        steps.push(delete(format!("all after {form}"), ALPHA));
    }
    Case::new("delete: forms", steps)
}
