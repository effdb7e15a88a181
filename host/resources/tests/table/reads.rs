//! One object and whole lists.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_api::protobuf;
use outrigger_catalog::{Served, Standing};

use crate::world::{ask, body, json, names, nodes, pods};

#[tokio::test]
async fn an_object_reads_as_upstreams() {
    let pods = pods();
    let body = body(&pods, "namespaces/shop/pods/web", "application/json").await;
    let revision =
        json(&pods, "namespaces/shop/pods", "application/json").await["items"][0]["metadata"]["resourceVersion"].clone();
    let expected = concat!(
        r#"{"kind":"PodMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"web","namespace":"shop","resourceVersion":"REV","#,
        r#""creationTimestamp":"2026-11-21T10:41:40Z","labels":{"app":"web","tier":"front"}},"window":"15s","containers":[{"cpu":"50m"}]}"#,
        "\n"
    );
    let expected = expected.replace("REV", revision.as_str().unwrap());
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[tokio::test]
async fn lists_hold_what_lives_and_is_selected() {
    for (path, expected) in [
        ("pods", vec!["mail/in", "shop/web"]),
        ("namespaces/shop/pods", vec!["shop/web"]),
        ("namespaces/none/pods", vec![]),
        ("pods?labelSelector=tier%3Dfront", vec!["shop/web"]),
        ("pods?labelSelector=app+notin+(web)", vec!["mail/in"]),
        ("pods?fieldSelector=metadata.name%3Din", vec!["mail/in"]),
        ("pods?fieldSelector=metadata.namespace!%3Dmail", vec!["shop/web"]),
        ("pods?labelSelector=tier%3Dfront&fieldSelector=metadata.name%3Din", vec![]),
    ] {
        let pods = pods();
        let list = json(&pods, path, "application/json").await;
        assert_eq!(list["kind"], "PodMetricsList", "{path}");
        let revision = pods.table.snapshot().revision().to_string();
        assert_eq!(list["metadata"], serde_json::json!({"resourceVersion": revision}), "{path}");
        assert_eq!(names(&list), expected, "{path}");
    }
}

#[tokio::test]
async fn refusals_use_metrics_servers_words() {
    let (pods, nodes) = (pods(), nodes());
    for (served, method, path, code, message) in [
        (&nodes, "GET", "nodes/gone", 404, r#"node "gone" not found"#),
        (&nodes, "GET", "nodes/n1", 404, r#"nodemetrics.metrics.k8s.io "n1" not found"#),
        (&pods, "GET", "namespaces/shop/pods/gone", 404, r#"pods "gone" not found"#),
        (
            &pods,
            "GET",
            "namespaces/shop/pods/deleted",
            404,
            r#"pods "deleted" not found"#,
        ),
        (
            &pods,
            "GET",
            "namespaces/shop/pods/new",
            404,
            r#"podmetrics.metrics.k8s.io "shop/new" not found"#,
        ),
        (
            &pods,
            "GET",
            "namespaces/shop/pods/web/log",
            404,
            "the server could not find the requested resource",
        ),
        (
            &pods,
            "DELETE",
            "namespaces/shop/pods/web",
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            &pods,
            "POST",
            "namespaces/shop/pods",
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            &pods,
            "GET",
            "pods?fieldSelector=spec.x%3D1",
            400,
            r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
    ] {
        let status = ask(served, method, path, "application/json").await.unwrap_err();
        assert_eq!((status.code, &*status.message), (code, message), "{method} {path}");
    }
    assert_eq!(ask(&pods, "GET", "pods", "text/html").await.unwrap_err().code, 406);
}

#[tokio::test]
async fn other_forms() {
    let table = json(&pods(), "pods", "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(table["columnDefinitions"][1]["name"], "cpu");
    assert_eq!(table["rows"][1]["cells"], serde_json::json!(["web", "50m"]));
    assert_eq!(table["rows"][1]["object"]["metadata"]["namespace"], "shop");
    let partial = json(
        &pods(),
        "pods",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )
    .await;
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(partial["items"][0].get("window"), None);
    let yaml = body(&pods(), "namespaces/shop/pods/web", "application/yaml").await;
    assert!(String::from_utf8(yaml).unwrap().contains("window: 15s"));
}

#[tokio::test]
async fn protobuf_is_spliced_from_the_rows() {
    let accept = "application/vnd.kubernetes.protobuf,application/json";
    let answer = ask(&pods(), "GET", "namespaces/mail/pods", accept).await.unwrap();
    assert_eq!(answer.content_type(), protobuf::CONTENT_TYPE);
    let unknown = protobuf::open(&body(&pods(), "namespaces/mail/pods", accept).await).unwrap();
    assert_eq!(unknown.type_meta.unwrap().kind, "PodMetricsList");
    let end = &unknown.raw[unknown.raw.len() - 4..];
    assert_eq!(end, [0x1a, 0x02, 0x08, 0x0f], "the row's own bytes close the last item");
    let nodes = ask(&nodes(), "GET", "nodes", accept).await.unwrap();
    assert_eq!(
        nodes.content_type(),
        "application/json",
        "no protobuf declared: the next type that is accepted"
    );
}

#[tokio::test]
async fn what_nobody_knows_is_503_and_never_an_empty_list() {
    let known = pods();
    let standing = Arc::new(Standing::collected());
    standing.expect(&["summaries/n1".into()].into());
    let served = Served::new(known.resource.clone(), "v1beta1", "metrics".into(), known.table.clone()).standing(standing.clone());
    let served = Arc::new(served);
    for (method, path, code) in [
        ("GET", "pods", 503),
        ("GET", "namespaces/shop/pods/web", 503),
        ("GET", "namespaces/shop/pods?watch=1", 503),
        ("DELETE", "namespaces/shop/pods/web", 405),
    ] {
        let status = ask(&served, method, path, "").await.err().unwrap();
        assert_eq!(status.code, code, "{method} {path}");
        if code == 503 {
            assert_eq!(status.retry_after(), Some(1));
            assert_eq!(status.message, "pods.metrics.k8s.io: nothing has been collected yet");
        }
    }
    standing.succeeded("summaries/n1", SystemTime::now(), Duration::from_secs(60));
    assert!(ask(&served, "GET", "pods", "").await.is_ok());
}
