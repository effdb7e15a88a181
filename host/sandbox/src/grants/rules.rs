//! Rules for objects, in RBAC's words, and what two of them have in common.
//!
//! `*` stands for everything in groups, resources and verbs, as in RBAC; manifests name what they need, so it comes from operators. No
//! namespaces: all of them, and what has none. A rule that names namespaces allows neither lists over all of them nor what is
//! cluster-scoped.

use outrigger_manifest::ObjectRule;

use crate::capabilities::Target;

const ANY: &str = "*";

/// Whether the rule allows this.
pub(super) fn allows(rule: &ObjectRule, of: &Target, verb: &str) -> bool {
    let named = |all: &[String], one: &str| all.iter().any(|a| a == one || a == ANY);
    named(&rule.api_groups, &of.group)
        && named_resource(&rule.resources, of)
        && named(&rule.verbs, verb)
        && (rule.namespaces.is_empty() || !of.namespace.is_empty() && rule.namespaces.contains(&of.namespace))
}

/// As RBAC: `pods` means pods and not `pods/log`; `*/scale` means that subresource of all.
fn named_resource(all: &[String], of: &Target) -> bool {
    all.iter().any(|a| match a.split_once('/') {
        _ if a == ANY => true,
        Some((resource, sub)) => sub == of.subresource && (resource == of.resource || resource == ANY),
        None => of.subresource.is_empty() && *a == of.resource,
    })
}

/// What both rules allow; none if that is nothing.
pub(super) fn meet(asked: &ObjectRule, granted: &ObjectRule) -> Option<ObjectRule> {
    let namespaces = match (asked.namespaces.is_empty(), granted.namespaces.is_empty()) {
        (true, _) => granted.namespaces.clone(),
        (_, true) => asked.namespaces.clone(),
        _ => common(&asked.namespaces, &granted.namespaces, |a, b| a == b),
    };
    let narrowed = !(asked.namespaces.is_empty() && granted.namespaces.is_empty());
    let met = ObjectRule {
        api_groups: common(&asked.api_groups, &granted.api_groups, |a, b| b == ANY || a == b),
        resources: common(&asked.resources, &granted.resources, |a, b| {
            let any_of = |b: &str| {
                b.strip_prefix("*/")
                    .is_some_and(|sub| a.split_once('/').is_some_and(|(_, s)| s == sub))
            };
            b == ANY || a == b || any_of(b)
        }),
        verbs: common(&asked.verbs, &granted.verbs, |a, b| b == ANY || a == b),
        namespaces,
    };
    let nothing =
        met.api_groups.is_empty() || met.resources.is_empty() || met.verbs.is_empty() || (narrowed && met.namespaces.is_empty());
    (!nothing).then_some(met)
}

/// Those of `asked` that `granted` covers.
fn common(asked: &[String], granted: &[String], covers: impl Fn(&str, &str) -> bool) -> Vec<String> {
    asked
        .iter()
        .filter(|a| granted.iter().any(|b| covers(a, b)))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], namespaces: &[&str]) -> ObjectRule {
        let own = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
        ObjectRule {
            api_groups: own(groups),
            resources: own(resources),
            verbs: own(verbs),
            namespaces: own(namespaces),
        }
    }

    #[test]
    fn rules_allow() {
        let target = |group: &str, plural: &str, namespace: &str| Target::new(group, "v1", plural, namespace).unwrap();
        let all = rule(&["*"], &["*"], &["*"], &[]);
        let pods = rule(&[""], &["pods"], &["get", "list"], &[]);
        let here = rule(&[""], &["pods"], &["get", "list"], &["harbor"]);
        let scale = rule(&["apps"], &["*/scale"], &["get"], &[]);
        for (name, rule, of, verb, want) in [
            ("all", &all, target("apps", "deployments/status", "x"), "delete", true),
            ("pods", &pods, target("", "pods", "x"), "get", true),
            ("pods everywhere", &pods, target("", "pods", ""), "list", true),
            ("another verb", &pods, target("", "pods", "x"), "delete", false),
            ("another group", &pods, target("metrics.k8s.io", "pods", "x"), "get", false),
            ("a subresource", &pods, target("", "pods/log", "x"), "get", false),
            ("here", &here, target("", "pods", "harbor"), "get", true),
            ("elsewhere", &here, target("", "pods", "kube-system"), "get", false),
            ("everywhere", &here, target("", "pods", ""), "list", false),
            ("scale", &scale, target("apps", "deployments/scale", "x"), "get", true),
            ("not scale", &scale, target("apps", "deployments", "x"), "get", false),
        ] {
            assert_eq!(allows(rule, &of, verb), want, "{name}");
        }
    }

    #[test]
    fn rules_meet() {
        let asked = rule(&["", "apps"], &["pods", "pods/log"], &["get", "list", "delete"], &[]);
        for (name, granted, want) in [
            ("all", rule(&["*"], &["*"], &["*"], &[]), Some(asked.clone())),
            (
                "narrower",
                rule(&[""], &["pods"], &["get"], &["harbor"]),
                Some(rule(&[""], &["pods"], &["get"], &["harbor"])),
            ),
            (
                "a subresource of all",
                rule(&[""], &["*/log"], &["get"], &[]),
                Some(rule(&[""], &["pods/log"], &["get"], &[])),
            ),
            ("another group", rule(&["batch"], &["*"], &["*"], &[]), None),
            ("other verbs", rule(&["*"], &["*"], &["create"], &[]), None),
        ] {
            assert_eq!(meet(&asked, &granted), want, "{name}");
        }
        let here = rule(&[""], &["pods"], &["get"], &["a", "b"]);
        assert_eq!(
            meet(&here, &rule(&[""], &["pods"], &["get"], &["c"])),
            None,
            "no namespace is not all"
        );
        assert_eq!(
            meet(&here, &rule(&[""], &["pods"], &["get"], &["b"])).unwrap().namespaces,
            ["b"]
        );
        assert_eq!(
            meet(&here, &rule(&[""], &["pods"], &["get"], &[])).unwrap().namespaces,
            ["a", "b"]
        );
    }
}
