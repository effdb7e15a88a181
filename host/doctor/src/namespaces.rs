//! Namespaces that cannot go because some API does not answer: the damage that one broken APIService does to everybody.

use k8s_openapi::List;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use crate::apiservice::{At, Named};
use crate::condition::Condition;
use crate::report::Row;
use crate::world::World;

/// The namespace controller's word (`status.conditions`).
const DISCOVERY: &str = "NamespaceDeletionDiscoveryFailure";

/// Looks at all namespaces.
pub(crate) async fn look(world: &World, all: &[APIService]) -> Vec<Row> {
    match world.read::<List<Namespace>>("/api/v1/namespaces").await {
        Ok(namespaces) => judge(&namespaces.items, all),
        Err(error) => vec![Row::new("namespaces", error.skip("list namespaces"))],
    }
}

fn judge(namespaces: &[Namespace], all: &[APIService]) -> Vec<Row> {
    let mut rows = Vec::new();
    for namespace in namespaces {
        let Some(name) = namespace.metadata.name.as_deref() else {
            continue;
        };
        if namespace.metadata.deletion_timestamp.is_none() {
            continue;
        }
        let conditions = namespace
            .status
            .as_ref()
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let Some(failure) = conditions.iter().find(|c| c.type_ == DISCOVERY && c.status == "True") else {
            continue;
        };
        let why = failure.message.clone().unwrap_or_default();
        let at_fault = at_fault(&why, all);
        rows.push(Row::new(
            format!("namespace/{name}"),
            Condition::NamespaceStuck {
                namespace: name.into(),
                apiservices: if at_fault.is_empty() {
                    "an API group".into()
                } else {
                    format!("APIService {}", at_fault.join(", "))
                },
                why,
            },
        ));
    }
    if rows.is_empty() {
        rows.push(Row::fine("namespaces", "none is held up by an API that does not answer"));
    }
    rows
}

/// The APIServices that the message names; if it names none, those that are not available.
fn at_fault(message: &str, all: &[APIService]) -> Vec<String> {
    let words: Vec<&str> = message
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"'))
        .map(|word| word.trim_end_matches(':'))
        .collect();
    let remote = || {
        all.iter()
            .filter(|s| At::of(s).is_some())
            .filter_map(|s| Some((s, Named::of(s)?)))
    };
    let named: Vec<String> = remote()
        .filter(|(_, named)| words.contains(&named.version().as_str()))
        .map(|(_, named)| named.name.to_owned())
        .collect();
    if !named.is_empty() {
        return named;
    }
    remote()
        .filter(|(service, _)| {
            let conditions = service
                .status
                .as_ref()
                .and_then(|s| s.conditions.as_deref())
                .unwrap_or_default();
            conditions.iter().any(|c| c.type_ == "Available" && c.status != "True")
        })
        .map(|(_, named)| named.name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(version: &str, available: &str) -> APIService {
        serde_json::from_value(json!({"metadata": {"name": format!("{version}.metrics.k8s.io")},
            "spec": {"group": "metrics.k8s.io", "version": version, "groupPriorityMinimum": 1, "versionPriority": 1,
                "service": {"name": "x", "namespace": "y"}},
            "status": {"conditions": [{"type": "Available", "status": available}]}}))
        .unwrap()
    }

    fn namespace(name: &str, deleted: bool, message: Option<&str>) -> Namespace {
        let mut object = json!({"metadata": {"name": name}, "status": {}});
        if deleted {
            object["metadata"]["deletionTimestamp"] = Value::from("2026-11-21T15:00:00Z");
        }
        if let Some(message) = message {
            object["status"]["conditions"] = json!([{"type": DISCOVERY, "status": "True", "message": message}]);
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn who_holds_up_a_namespace_is_named() {
        let all = [service("v1", "True"), service("v1beta1", "False")];
        let says = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: ";
        let named = format!("{says}metrics.k8s.io/v1: stale GroupVersion discovery: metrics.k8s.io/v1");
        for (case, namespaces, expected) in [
            ("none", vec![namespace("a", false, None)], None),
            ("on its way", vec![namespace("a", true, None)], None),
            (
                "an old condition of one that lives",
                vec![namespace("a", false, Some(&named))],
                None,
            ),
            (
                "named, not its namesake",
                vec![namespace("a", true, Some(&named))],
                Some("APIService v1.metrics.k8s.io"),
            ),
            (
                "not named",
                vec![namespace("a", true, Some("it is complicated"))],
                Some("APIService v1beta1.metrics.k8s.io"),
            ),
        ] {
            let rows = judge(&namespaces, &all);
            let found = match &rows[0].finding {
                crate::report::Finding::Own(Condition::NamespaceStuck { apiservices, .. }) => Some(apiservices.as_str()),
                _ => None,
            };
            assert_eq!((rows.len(), found), (1, expected), "{case}");
        }
    }
}
