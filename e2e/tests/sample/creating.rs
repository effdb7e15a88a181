//! create: what is made, what is refused, what is dropped, and what the server says of an object.

use http::Method;
use serde_json::{Value, json};

use crate::house::{BANNED, TERMINATING};
use crate::script::{
    ALPHA, BETA, Case, FISCHERS, JSON, PARTIAL, PARTIAL_LIST, PROTOBUF, Step, TABLE, fischer, flunder, flunder_with, get, object,
    post, step,
};

/// One more byte than a body may have.
const TOO_MUCH: usize = (3 << 20) + 1;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        plain(),
        names(),
        places(),
        types(),
        bodies(),
        unknown_fields(),
        fields_of_other_types(),
        options(),
        dry_runs(),
        system_fields(),
        labels_and_annotations(),
        finalizers(),
        owners(),
        rules(),
        bans(),
    ]
}

fn plain() -> Case {
    let beta = |name: &str, spec: Value| object("v1beta1", "Flunder", json!({"metadata": {"name": name}, "spec": spec}));
    Case::new(
        "create: plain",
        [
            post("an empty one", ALPHA, &flunder("a")).kept("a"),
            get("the empty one", format!("{ALPHA}/a")),
            get("the empty one in the other version", format!("{BETA}/a")),
            post(
                "a reference without its type",
                ALPHA,
                &flunder_with("b", json!({"spec": {"reference": "x"}})),
            ),
            get("its type by default", format!("{ALPHA}/b")),
            get("its type in the other version", format!("{BETA}/b")),
            post(
                "an empty reference type",
                ALPHA,
                &flunder_with("c", json!({"spec": {"reference": "x", "referenceType": ""}})),
            ),
            get("the empty type in the other version", format!("{BETA}/c")),
            post(
                "a fischer's reference",
                ALPHA,
                &flunder_with("d", json!({"spec": {"reference": "x", "referenceType": "Fischer"}})),
            ),
            get("the fischer's reference in the other version", format!("{BETA}/d")),
            post(
                "in the preferred version",
                BETA,
                &beta("e", json!({"flunderReference": "x", "referenceType": "Flunder"})),
            ),
            get("in the version from before", format!("{ALPHA}/e")),
            post(
                "a fischer's in the preferred version",
                BETA,
                &beta("f", json!({"fischerReference": "x", "referenceType": "Fischer"})),
            ),
            get("the fischer's in the version from before", format!("{ALPHA}/f")),
            post("nothing in the preferred version", BETA, &beta("g", json!({}))),
            get("nothing in the version from before", format!("{ALPHA}/g")),
            post(
                "empty references",
                BETA,
                &beta(
                    "h",
                    json!({"flunderReference": "", "fischerReference": "", "referenceType": ""}),
                ),
            ),
            post("a status", ALPHA, &flunder_with("i", json!({"status": {}}))),
            post(
                "a null spec",
                ALPHA,
                &flunder_with("j", json!({"status": {}})).tap(|o| o["spec"] = Value::Null),
            ),
            post("a cluster-scoped one", FISCHERS, &fischer("a")),
            get("the cluster-scoped one", format!("{FISCHERS}/{{ns}}-a")),
            post(
                "one with a list",
                FISCHERS,
                &fischer("b").tap(|o| o["disallowedFlunders"] = json!(["none-such"])),
            ),
            post(
                "one with an empty list",
                FISCHERS,
                &fischer("c").tap(|o| o["disallowedFlunders"] = json!([])),
            ),
            post("as a Table", ALPHA, &flunder("t")).accept(TABLE),
            post("as metadata", ALPHA, &flunder("u")).accept(PARTIAL),
            post("as a list's metadata", ALPHA, &flunder("v")).accept(PARTIAL_LIST),
            post("as YAML", ALPHA, &flunder("w")).accept("application/yaml"),
            post("as protobuf", ALPHA, &flunder("x")).accept(PROTOBUF),
            post("as protobuf or JSON", ALPHA, &flunder("y")).accept("application/vnd.kubernetes.protobuf,application/json"),
            post("as HTML", ALPHA, &flunder("z")).accept("text/html"),
            get("what was made after all", ALPHA),
        ],
    )
}

fn names() -> Case {
    let meta = |metadata: Value| object("v1alpha1", "Flunder", json!({"metadata": metadata}));
    let long = "n".repeat(70);
    let mut steps = vec![
        post("generated", ALPHA, &meta(json!({"generateName": "gen-"}))).kept("a"),
        get("the generated one", format!("{ALPHA}/{{a:name}}")),
        post("generated from much", ALPHA, &meta(json!({"generateName": long}))),
        post(
            "generated beside a name",
            ALPHA,
            &meta(json!({"generateName": "gen-", "name": "own"})),
        ),
        post("that one again", ALPHA, &meta(json!({"generateName": "gen-", "name": "own"}))),
        post("generated from bad letters", ALPHA, &meta(json!({"generateName": "Bad_"}))),
        post("generated from a slash", ALPHA, &meta(json!({"generateName": "a/b-"}))),
        post("none", ALPHA, &meta(json!({}))),
        post("none, generated from nothing", ALPHA, &meta(json!({"generateName": ""}))),
        post("no metadata", ALPHA, &object("v1alpha1", "Flunder", json!({}))),
        post("once", ALPHA, &flunder("once")),
        post("twice", ALPHA, &flunder("once")),
        post(
            "twice in the other version",
            BETA,
            &object("v1beta1", "Flunder", json!({"metadata": {"name": "once"}})),
        ),
        post("in the path", format!("{ALPHA}/once"), &flunder("once")),
        post("cluster-scoped, twice: first", FISCHERS, &fischer("once")),
        post("cluster-scoped, twice: second", FISCHERS, &fischer("once")),
    ];
    for (how, name) in [
        ("capitals", "Capital"),
        ("an underscore", "a_b"),
        ("a slash", "a/b"),
        ("a percent sign", "a%b"),
        ("a dot", "."),
        ("two dots", ".."),
        ("a space", "a b"),
        ("a hyphen first", "-a"),
        ("dots in it", "a.b.c"),
        ("253 letters", &"a".repeat(253)),
        ("254 letters", &"a".repeat(254)),
    ] {
        steps.push(post(format!("with {how}"), ALPHA, &flunder(name)));
    }
    Case::new("create: names", steps)
}

fn places() -> Case {
    let placed = |namespace: &str| flunder_with("a", json!({"metadata": {"namespace": namespace}}));
    Case::new(
        "create: places",
        [
            post("another namespace in the body", ALPHA, &placed("elsewhere")),
            post("the same namespace in the body", ALPHA, &placed("{ns}")),
            post(
                "a namespace for a cluster-scoped one",
                FISCHERS,
                &fischer("a").tap(|o| o["metadata"]["namespace"] = json!("elsewhere")),
            ),
            post(
                "a namespace that is not there",
                "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders",
                &flunder("a"),
            ),
            post(
                "a namespace that is not there, a bad object",
                "/apis/wardle.example.com/v1alpha1/namespaces/none-such/flunders",
                &flunder("A_b"),
            ),
            post(
                "a namespace that is going",
                format!("/apis/wardle.example.com/v1alpha1/namespaces/{TERMINATING}/flunders"),
                &flunder("a"),
            ),
            post(
                "a namespace that is going, generated",
                format!("/apis/wardle.example.com/v1alpha1/namespaces/{TERMINATING}/flunders"),
                &object("v1alpha1", "Flunder", json!({"metadata": {"generateName": "gen-"}})),
            ),
            post(
                "a namespace that is going, dry",
                format!("/apis/wardle.example.com/v1alpha1/namespaces/{TERMINATING}/flunders?dryRun=All"),
                &flunder("a"),
            ),
            post("no namespace", "/apis/wardle.example.com/v1alpha1/flunders", &flunder("a")),
            post(
                "no namespace, but in the body",
                "/apis/wardle.example.com/v1alpha1/flunders",
                &placed("{ns}"),
            ),
            post(
                "a cluster-scoped one in a namespace",
                "/apis/wardle.example.com/v1alpha1/namespaces/{ns}/fischers",
                &fischer("b"),
            ),
            post(
                "a version that it has not",
                "/apis/wardle.example.com/v1beta1/fischers",
                &fischer("c"),
            ),
            post(
                "a namespace with bad letters",
                "/apis/wardle.example.com/v1alpha1/namespaces/Bad_One/flunders",
                &flunder("a"),
            ),
        ],
    )
}

fn types() -> Case {
    let typed = |name: &str, api_version: Value, kind: Value| {
        let mut typed = json!({"metadata": {"name": name}});
        for (key, value) in [("apiVersion", api_version), ("kind", kind)] {
            if !value.is_null() {
                typed[key] = value;
            }
        }
        typed
    };
    let (version, kind) = (json!("wardle.example.com/v1alpha1"), json!("Flunder"));
    Case::new(
        "create: types",
        [
            post("none", ALPHA, &typed("a", Value::Null, Value::Null)),
            post("no version", ALPHA, &typed("b", Value::Null, kind.clone())),
            post("no kind", ALPHA, &typed("c", version.clone(), Value::Null)),
            post("another kind", ALPHA, &typed("d", version.clone(), json!("Fischer"))),
            post("an unknown kind", ALPHA, &typed("e", version.clone(), json!("Thing"))),
            post("a list", ALPHA, &typed("f", version.clone(), json!("FlunderList"))),
            post(
                "the other version",
                ALPHA,
                &typed("g", json!("wardle.example.com/v1beta1"), kind.clone()),
            ),
            post(
                "an unknown version",
                ALPHA,
                &typed("h", json!("wardle.example.com/v2"), kind.clone()),
            ),
            post("another group", ALPHA, &typed("i", json!("apps/v1"), kind.clone())),
            post("the core's group", ALPHA, &typed("j", json!("v1"), kind.clone())),
            post("two slashes", ALPHA, &typed("k", json!("a/b/c"), kind.clone())),
            post("the core's Pod", ALPHA, &typed("l", json!("v1"), json!("Pod"))),
            post("a number for a kind", ALPHA, &typed("m", version, json!(1))),
            post("a number for a version", ALPHA, &typed("n", json!(1), kind)),
        ],
    )
}

fn bodies() -> Case {
    let yaml = "apiVersion: wardle.example.com/v1alpha1\nkind: Flunder\nmetadata:\n  name: yaml\nspec:\n  reference: x\n";
    let raw = |name: &str, kind: &str, body: &str| step(Method::POST, name, ALPHA).sends(kind, body);
    let mut steps = vec![
        raw("nothing", JSON, ""),
        raw("spaces", JSON, "  "),
        raw("null", JSON, "null"),
        raw("an array", JSON, "[]"),
        raw("a string", JSON, "\"x\""),
        raw("a number", JSON, "1"),
        raw("an empty object", JSON, "{}"),
        raw("an open object", JSON, "{"),
        raw("no JSON", JSON, "hello"),
        raw("a name without quotes", JSON, "{a: 1}"),
        raw("YAML", "application/yaml", yaml),
        raw("YAML, said to be JSON", JSON, yaml),
        raw("bad YAML", "application/yaml", "a: [1"),
        raw("YAML that is text", "application/yaml", "hello"),
        raw("text", "text/plain", "{}"),
        raw("a form", "application/x-www-form-urlencoded", "a=b"),
        raw("CBOR", "application/cbor", "{}"),
        raw("a patch", "application/merge-patch+json", "{}"),
        raw("no media type at all", "nonsense", "{}"),
        step(Method::POST, "JSON in UTF-8", ALPHA).sends("application/json; charset=utf-8", flunder("utf").to_string()),
        step(Method::POST, "no content type", ALPHA).sends("", flunder("typeless").to_string()),
        step(Method::POST, "protobuf", ALPHA).bytes(PROTOBUF, &b"k8s\0\x0a\x00"[..]),
        step(Method::POST, "protobuf that is none", ALPHA).bytes(PROTOBUF, &b"hello"[..]),
        step(Method::POST, "JSON that is no UTF-8", ALPHA).bytes(JSON, &b"{\"kind\": \"\xff\"}"[..]),
        step(Method::POST, "too much", ALPHA).bytes(JSON, vec![b' '; TOO_MUCH]).h2(),
        step(Method::POST, "after the end", ALPHA).sends(JSON, format!("{} x", flunder("tail"))),
        step(Method::POST, "two", ALPHA).sends(JSON, format!("{}{}", flunder("one"), flunder("two"))),
    ];
    for rule in ["", "Ignore", "Warn", "Strict"] {
        let twice = format!(
            r#"{{"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {{"name": "twice{}", "labels": {{"a": "1", "a": "2"}}}}, "spec": {{"reference": "x", "reference": "y"}}, "spec": {{"reference": "z"}}}}"#,
            rule.to_lowercase()
        );
        let path = format!("{ALPHA}?fieldValidation={rule}");
        steps.push(step(Method::POST, format!("keys that stand there twice, {rule:?}"), &path).sends(JSON, &twice));
        let yaml = format!("{yaml}  reference: y\n").replace("name: yaml", &format!("name: yaml{}", rule.to_lowercase()));
        steps.push(
            step(Method::POST, format!("YAML keys that stand there twice, {rule:?}"), path).sends("application/yaml", yaml),
        );
    }
    Case::new("create: bodies", steps)
}

fn unknown_fields() -> Case {
    let mut steps = Vec::new();
    for rule in ["", "Ignore", "Warn", "Strict", "strict"] {
        let path = format!("{ALPHA}?fieldValidation={rule}");
        for (how, more) in [
            ("nowhere", json!({})),
            ("at the top", json!({"nonsense": 1})),
            ("in the spec", json!({"spec": {"nonsense": 1, "flunderReference": "x"}})),
            ("in the metadata", json!({"metadata": {"nonsense": {"a": 1}}})),
            ("in capitals", json!({"Spec": {"reference": "x"}})),
            (
                "in an owner",
                json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "nonsense": 1}]}}),
            ),
            (
                "everywhere",
                json!({"a": 1, "metadata": {"b": 1}, "spec": {"c": 1}, "status": {"d": 1}}),
            ),
        ] {
            let name = format!("{}-{}", how.replace(' ', "-"), rule.to_lowercase())
                .trim_end_matches('-')
                .to_owned();
            let name = if rule == "strict" { format!("{name}x") } else { name };
            steps.push(post(format!("{how}, {rule:?}"), &path, &flunder_with(&name, more)));
        }
    }
    steps.push(post(
        "of the other version",
        format!("{BETA}?fieldValidation=Strict"),
        &object(
            "v1beta1",
            "Flunder",
            json!({"metadata": {"name": "beta"}, "spec": {"reference": "x"}}),
        ),
    ));
    steps.push(post(
        "of a cluster-scoped one",
        format!("{FISCHERS}?fieldValidation=Strict"),
        &fischer("a").tap(|o| o["spec"] = json!({})),
    ));
    Case::new("create: unknown fields", steps)
}

fn fields_of_other_types() -> Case {
    let mut steps = Vec::new();
    for (how, change) in [
        ("a spec that is text", json!({"spec": "x"})),
        ("a spec that is an array", json!({"spec": []})),
        ("a reference that is a number", json!({"spec": {"reference": 5}})),
        ("a reference that is null", json!({"spec": {"reference": "x"}})),
        ("a status that is text", json!({"status": "x"})),
        ("metadata that is text", json!({"metadata": "x"})),
        ("metadata that is an array", json!({"metadata": []})),
        ("a name that is a number", json!({"metadata": {"name": 1}})),
        ("labels that are an array", json!({"metadata": {"labels": []}})),
        ("a label that is a number", json!({"metadata": {"labels": {"a": 1}}})),
        (
            "an annotation that is true",
            json!({"metadata": {"annotations": {"a": true}}}),
        ),
        ("finalizers that are text", json!({"metadata": {"finalizers": "x"}})),
        ("a generation that is text", json!({"metadata": {"generation": "x"}})),
        ("a generation with a fraction", json!({"metadata": {"generation": 1.5}})),
        ("a time that is none", json!({"metadata": {"creationTimestamp": "yesterday"}})),
        ("a time that is a number", json!({"metadata": {"creationTimestamp": 1}})),
        ("owners that are an object", json!({"metadata": {"ownerReferences": {}}})),
        ("an owner that is text", json!({"metadata": {"ownerReferences": ["x"]}})),
        (
            "a controller that is text",
            json!({"metadata": {"ownerReferences": [{"controller": "x"}]}}),
        ),
    ] {
        let name = how.replace(' ', "-");
        let mut body = flunder_with(&name, change);
        if how == "a reference that is null" {
            body["spec"]["reference"] = Value::Null;
        }
        steps.push(post(how, ALPHA, &body));
    }
    for (how, list) in [
        ("a list that is text", json!("x")),
        ("a list of numbers", json!([1])),
        ("a list with null", json!([null])),
        ("a list that is null", Value::Null),
    ] {
        let body = fischer(&how.replace(' ', "-")).tap(|o| o["disallowedFlunders"] = list);
        // A name that is empty would be banned: that of whatever has none yet.
        steps.push(post(how, format!("{FISCHERS}?dryRun=All"), &body));
    }
    Case::new("create: fields of other types", steps)
}

fn options() -> Case {
    let mut steps = Vec::new();
    let long = "m".repeat(128);
    let longer = "m".repeat(129);
    for (how, query) in [
        ("a dry run that is none", "dryRun=x".to_owned()),
        ("a dry run, empty", "dryRun=".to_owned()),
        ("a dry run, twice", "dryRun=All&dryRun=All".to_owned()),
        ("a dry run and nonsense", "dryRun=All&dryRun=x".to_owned()),
        ("a manager", "fieldManager=me".to_owned()),
        ("a long manager", format!("fieldManager={long}")),
        ("a manager that is too long", format!("fieldManager={longer}")),
        ("a manager that cannot be printed", "fieldManager=a%07b".to_owned()),
        ("a rule that is none", "fieldValidation=Sometimes".to_owned()),
        ("force", "force=true".to_owned()),
        ("pretty", "pretty=true".to_owned()),
        ("a timeout", "timeout=5s".to_owned()),
        ("a timeout that is none", "timeout=x".to_owned()),
        ("a version", "resourceVersion=5".to_owned()),
        ("labels", "labelSelector=a=b".to_owned()),
        ("an unknown one", "nonsense=1".to_owned()),
        (
            "several bad ones",
            format!("dryRun=x&fieldManager={longer}&fieldValidation=x"),
        ),
    ] {
        steps.push(post(how, format!("{ALPHA}?{query}"), &flunder(&how.replace([' ', ','], "-"))));
    }
    Case::new("create: options", steps)
}

fn dry_runs() -> Case {
    let dry = format!("{ALPHA}?dryRun=All");
    Case::new(
        "create: dry runs",
        [
            post("one", &dry, &flunder_with("a", json!({"spec": {"reference": "x"}}))),
            get("it is not there", format!("{ALPHA}/a")),
            post("of what is there: first", ALPHA, &flunder("b")),
            post("of what is there: second", &dry, &flunder("b")),
            post(
                "generated",
                &dry,
                &object("v1alpha1", "Flunder", json!({"metadata": {"generateName": "gen-"}})),
            ),
            post(
                "of what is wrong",
                &dry,
                &flunder_with("c", json!({"spec": {"referenceType": "Flunder"}})),
            ),
            post("of what is banned", &dry, &flunder(BANNED)),
            post(
                "with a version",
                &dry,
                &flunder_with("d", json!({"metadata": {"resourceVersion": "5"}})),
            ),
            get("nothing was made", ALPHA),
        ],
    )
}

fn system_fields() -> Case {
    let mut steps = Vec::new();
    for (how, meta) in [
        ("a version", json!({"resourceVersion": "5"})),
        ("version zero", json!({"resourceVersion": "0"})),
        ("an empty version", json!({"resourceVersion": ""})),
        ("a version that is none", json!({"resourceVersion": "abc"})),
        ("a uid", json!({"uid": "11111111-2222-3333-4444-555555555555"})),
        ("a selfLink", json!({"selfLink": "/x"})),
        ("a creation", json!({"creationTimestamp": "1999-01-01T00:00:00Z"})),
        (
            "a deletion",
            json!({"deletionTimestamp": "1999-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}),
        ),
        ("a generation", json!({"generation": 7})),
        ("a negative generation", json!({"generation": -1})),
        ("no managed fields", json!({"managedFields": []})),
        ("an empty managed field", json!({"managedFields": [{}]})),
        (
            "a managed field",
            json!({"managedFields": [{"manager": "me", "operation": "Apply", "apiVersion": "wardle.example.com/v1alpha1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]}),
        ),
        (
            "a bad managed field",
            json!({"managedFields": [{"manager": "me", "operation": "Nonsense"}]}),
        ),
    ] {
        let name = how.replace(' ', "-").to_lowercase();
        steps.push(post(how, ALPHA, &flunder_with(&name, json!({"metadata": meta}))));
        if how != "a version" && how != "a version that is none" {
            steps.push(get(format!("{how}, as it is kept"), format!("{ALPHA}/{name}")));
        }
    }
    Case::new("create: system fields", steps)
}

fn labels_and_annotations() -> Case {
    let mut steps = Vec::new();
    let (long, longer) = ("v".repeat(63), "v".repeat(64));
    for (how, meta) in [
        ("labels", json!({"labels": {"a": "b", "example.com/x": "y.z_1"}})),
        ("an empty label", json!({"labels": {"a": ""}})),
        ("empty labels", json!({"labels": {}, "annotations": {}})),
        ("a long value", json!({"labels": {"a": long}})),
        ("a value that is too long", json!({"labels": {"a": longer}})),
        ("a bad value", json!({"labels": {"a": "b c"}})),
        ("a bad key", json!({"labels": {"a b": "c"}})),
        ("an empty key", json!({"labels": {"": "c"}})),
        ("a key that is too long", json!({"labels": {longer: "c"}})),
        ("a key with a bad prefix", json!({"labels": {"A_B/c": "d"}})),
        ("a key with two slashes", json!({"labels": {"a/b/c": "d"}})),
        ("several bad labels", json!({"labels": {"a b": "c d", "e": "-"}})),
        ("an annotation", json!({"annotations": {"a": "b c\n", "example.com/X": "y"}})),
        ("a bad annotation", json!({"annotations": {"a b": "c"}})),
        ("an annotation in capitals", json!({"annotations": {"Example.com/X": "c"}})),
        (
            "annotations that are too much",
            json!({"annotations": {"a": "x".repeat(256 << 10)}}),
        ),
        ("a null label", json!({"labels": {"a": "b"}})),
        (
            "everything bad",
            json!({"labels": {"a": "b c"}, "annotations": {"a b": "c"}, "finalizers": ["a b"]}),
        ),
    ] {
        let mut body = flunder_with(&how.replace(' ', "-"), json!({"metadata": meta}));
        if how == "a null label" {
            body["metadata"]["labels"]["a"] = Value::Null;
        }
        steps.push(post(how, ALPHA, &body));
    }
    Case::new("create: labels", steps)
}

fn finalizers() -> Case {
    let mut steps = Vec::new();
    for (how, finalizers) in [
        ("one", json!(["example.com/a"])),
        ("one without a domain", json!(["plain"])),
        ("the orphan finalizer", json!(["orphan"])),
        ("the foreground finalizer", json!(["foregroundDeletion"])),
        ("both of them", json!(["orphan", "foregroundDeletion"])),
        ("the kubernetes finalizer", json!(["kubernetes"])),
        ("one twice", json!(["example.com/a", "example.com/a"])),
        ("an empty one", json!([""])),
        ("bad letters", json!(["a b"])),
        ("a bad domain", json!(["A_b/c"])),
        ("none", json!([])),
        ("null", json!([null])),
    ] {
        let name = format!("f-{}", how.replace(' ', "-"));
        steps.push(post(
            how,
            ALPHA,
            &flunder_with(&name, json!({"metadata": {"finalizers": finalizers}})),
        ));
    }
    Case::new("create: finalizers", steps)
}

fn owners() -> Case {
    let owner = |uid: &str, more: Value| {
        let mut owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": uid});
        crate::script::merge(&mut owner, more);
        owner
    };
    let mut steps = Vec::new();
    for (how, owners) in [
        ("one", json!([owner("u-1", json!({}))])),
        (
            "a controller",
            json!([owner("u-1", json!({"controller": true, "blockOwnerDeletion": true}))]),
        ),
        (
            "two controllers",
            json!([
                owner("u-1", json!({"controller": true})),
                owner("u-2", json!({"controller": true, "name": "d"}))
            ]),
        ),
        ("the same twice", json!([owner("u-1", json!({})), owner("u-1", json!({}))])),
        (
            "one uid, two names",
            json!([owner("u-1", json!({})), owner("u-1", json!({"name": "d"}))]),
        ),
        (
            "two that stand there twice",
            json!([
                owner("u-1", json!({})),
                owner("u-2", json!({})),
                owner("u-2", json!({})),
                owner("u-1", json!({}))
            ]),
        ),
        ("nothing said of it", json!([{}])),
        ("no name", json!([{"apiVersion": "v1", "kind": "ConfigMap", "uid": "u"}])),
        ("no uid", json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}])),
        ("no version", json!([{"kind": "ConfigMap", "name": "c", "uid": "u"}])),
        ("a bad version", json!([owner("u-1", json!({"apiVersion": "a/b/c"}))])),
        ("an event", json!([owner("u-1", json!({"kind": "Event"}))])),
        ("none", json!([])),
    ] {
        let name = format!("o-{}", how.replace([' ', ','], "-"));
        steps.push(post(
            how,
            ALPHA,
            &flunder_with(&name, json!({"metadata": {"ownerReferences": owners}})),
        ));
    }
    Case::new("create: owners", steps)
}

fn rules() -> Case {
    let mut steps = Vec::new();
    for (how, spec) in [
        ("a type and no reference", json!({"referenceType": "Flunder"})),
        ("a fischer's type and no reference", json!({"referenceType": "Fischer"})),
        ("an unknown type", json!({"referenceType": "Nonsense"})),
        (
            "an unknown type and a reference",
            json!({"reference": "x", "referenceType": "Nonsense"}),
        ),
    ] {
        steps.push(post(
            format!("before: {how}"),
            ALPHA,
            &flunder_with(&how.replace([' ', '\''], "-"), json!({"spec": spec})),
        ));
    }
    for (how, spec) in [
        ("both references", json!({"flunderReference": "x", "fischerReference": "y"})),
        (
            "both references and a type",
            json!({"flunderReference": "x", "fischerReference": "y", "referenceType": "Flunder"}),
        ),
        ("a reference and no type", json!({"flunderReference": "x"})),
        ("a fischer's and no type", json!({"fischerReference": "x"})),
        (
            "a reference of another type",
            json!({"flunderReference": "x", "referenceType": "Fischer"}),
        ),
        (
            "a fischer's of another type",
            json!({"fischerReference": "x", "referenceType": "Flunder"}),
        ),
        ("a type and no reference", json!({"referenceType": "Flunder"})),
        ("a fischer's type and no reference", json!({"referenceType": "Fischer"})),
        ("an unknown type", json!({"referenceType": "Nonsense"})),
        (
            "an unknown type and a reference",
            json!({"flunderReference": "x", "referenceType": "Nonsense"}),
        ),
    ] {
        let body = object(
            "v1beta1",
            "Flunder",
            json!({"metadata": {"name": how.replace([' ', '\''], "-")}, "spec": spec}),
        );
        steps.push(post(how, BETA, &body));
    }
    steps.push(post(
        "a bad object with a bad name",
        ALPHA,
        &flunder_with(
            "A_b",
            json!({"metadata": {"labels": {"a": "b c"}}, "spec": {"referenceType": "Flunder"}}),
        ),
    ));
    steps.push(post(
        "a bad object with a version",
        ALPHA,
        &flunder_with(
            "v",
            json!({"metadata": {"resourceVersion": "5"}, "spec": {"referenceType": "Flunder"}}),
        ),
    ));
    Case::new("create: rules", steps)
}

fn bans() -> Case {
    Case::new(
        "create: bans",
        [
            post("a banned name", ALPHA, &flunder(BANNED)),
            post(
                "in the other version",
                BETA,
                &object("v1beta1", "Flunder", json!({"metadata": {"name": BANNED}})),
            ),
            post(
                "and wrong",
                ALPHA,
                &flunder_with(BANNED, json!({"spec": {"referenceType": "Flunder"}})),
            ),
            post(
                "and not for a cluster-scoped one",
                format!("{FISCHERS}?dryRun=All"),
                &object("v1alpha1", "Fischer", json!({"metadata": {"name": BANNED}})),
            ),
            get("it is not there", format!("{ALPHA}/{BANNED}")),
        ],
    )
}

/// A change in the middle of an expression.
pub(crate) trait Tap: Sized {
    fn tap(self, change: impl FnOnce(&mut Self)) -> Self;
}

impl Tap for Value {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// What a case needs before it begins.
pub(crate) fn made(name: &'static str) -> Step {
    post(format!("{name} is made"), ALPHA, &flunder(name)).kept(name)
}
