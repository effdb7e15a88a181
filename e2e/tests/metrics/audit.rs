//! The audit log beside kube-apiserver's own: the same kinds of requests to both, and the same fields in both logs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::AUDIT_POLICY;
use outrigger_e2e::http::Client;
use outrigger_e2e::wait::{SOON, until};
use outrigger_e2e::{Outrigger, promise};
use serde_json::Value;

use crate::house::{house, options};

/// Where the two differ on purpose: request, field, and whose it is.
const DIFFERENCES: [(&str, &str, &str); 1] = [
    // What is asked for is in the core group there and in metrics.k8s.io here.
    ("", "objectRef.apiGroup", "ours"),
];

/// Stage and fields of each event of one request, in order.
fn events(log: &Path, audit_id: &str) -> Result<Vec<(String, BTreeSet<String>, Value)>> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let mut found = Vec::new();
    for line in text.lines().filter(|l| l.contains(audit_id)) {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if event["auditID"] == audit_id {
            let mut fields = BTreeSet::new();
            paths(&event, "", &mut fields);
            found.push((event["stage"].as_str().unwrap_or_default().to_owned(), fields, event));
        }
    }
    Ok(found)
}

/// Names of fields, down to the objects.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Some(fields) = value.as_object() else { return };
    for (name, value) in fields {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        if !matches!(
            path.as_str(),
            "requestObject" | "responseObject" | "user.extra" | "responseStatus.details"
        ) {
            paths(value, &path, found);
        }
        found.insert(path);
    }
}

#[test]
fn the_audit_log_has_kube_apiservers_fields() {
    promise(compare);
}

fn compare() -> Result<()> {
    let house = house()?;
    let folder = outrigger_e2e::scratch::folder("audit")?;
    let (policy, log) = (folder.join("policy.yaml"), folder.join("audit.log"));
    std::fs::write(&policy, AUDIT_POLICY)?;
    let mut options = options("audited", [127, 96, 0, 77]);
    options.arguments.extend([
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
    ]);
    let outrigger = Outrigger::start(&house.control_plane, &house.kubeconfig, &options)?;
    outrigger.ready()?;

    let ca = house.control_plane.ca();
    let (auditor, weak) = (ca.user("auditor", Some("system:masters"))?, ca.user("auditor-weak", None)?);
    let theirs = |user| Client::new(house.control_plane.address(), "localhost", &ca.certificate(), Some(user));
    let ours = |user| outrigger.client(Some(user));
    let nodes = house.control_plane.api().document("/api/v1/nodes")?;
    let node = nodes["items"][0]["metadata"]["name"].as_str().context("a node")?.to_owned();
    let row = format!("/apis/metrics.k8s.io/v1beta1/nodes/{node}");
    until("the node has a row", SOON, || ours(&auditor)?.get(&row)?.ok().map(drop))?;
    for (name, user, their_path, our_path, code) in [
        (
            "list",
            &auditor,
            "/api/v1/nodes".to_owned(),
            "/apis/metrics.k8s.io/v1beta1/nodes".to_owned(),
            200,
        ),
        (
            "get",
            &auditor,
            format!("/api/v1/nodes/{node}"),
            format!("/apis/metrics.k8s.io/v1beta1/nodes/{node}"),
            200,
        ),
        (
            "missing",
            &auditor,
            "/api/v1/namespaces/shop/pods/none".into(),
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/none".into(),
            404,
        ),
        ("path", &auditor, "/readyz".into(), "/readyz".into(), 200),
        (
            "forbidden",
            &weak,
            "/api/v1/nodes".into(),
            "/apis/metrics.k8s.io/v1beta1/nodes".into(),
            403,
        ),
    ] {
        let id = format!("compare-{name}");
        let headers = [
            ("audit-id", id.as_str()),
            ("user-agent", "e2e"),
            ("x-forwarded-for", "9.9.9.9"),
        ];
        for (client, path) in [(theirs(user)?, &their_path), (ours(user)?, &our_path)] {
            let answer = client.get_with(path, &headers)?;
            ensure!(
                answer.status.as_u16() == code,
                "{name} {path}: {} {}",
                answer.status,
                answer.text()
            );
        }
        let both = until("both logs have it", SOON, || {
            let both = (events(&house.control_plane.audit_log(), &id)?, events(&log, &id)?);
            ensure!(
                both.0.len() == 2 && both.1.len() == 2,
                "{} and {} events",
                both.0.len(),
                both.1.len()
            );
            Ok(both)
        })?;
        for ((stage, theirs, their_event), (our_stage, ours, our_event)) in both.0.iter().zip(&both.1) {
            ensure!(stage == our_stage, "{name}: {stage} and {our_stage}");
            let known = |side: &str, field: &&String| {
                DIFFERENCES
                    .iter()
                    .any(|(of, at, whose)| (of.is_empty() || *of == name) && at == field && *whose == side)
            };
            let missing: Vec<_> = theirs.difference(ours).filter(|f| !known("theirs", f)).collect();
            let more: Vec<_> = ours.difference(theirs).filter(|f| !known("ours", f)).collect();
            ensure!(
                missing.is_empty() && more.is_empty(),
                "{name} {stage}: missing {missing:?}, more {more:?}\n{their_event}\n{our_event}"
            );
            for field in [
                "/level",
                "/verb",
                "/user/username",
                "/user/groups",
                "/userAgent",
                "/sourceIPs/0",
                "/responseStatus/code",
                "/responseStatus/reason",
            ] {
                ensure!(
                    their_event.pointer(field) == our_event.pointer(field),
                    "{name} {stage} {field}\n{their_event}\n{our_event}"
                );
            }
        }
    }
    Ok(())
}
