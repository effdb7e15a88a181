//! What makes a policy wrong, in upstream's sentences (apiserver `pkg/apis/audit/validation`).

use outrigger_api::manifest::is_dns_subdomain;
use outrigger_api::quote::Quoted;
use serde_json::Value;

use crate::level::{Level, Stage};
use crate::policy::{Document, GroupResources, RuleDocument};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Everything that is wrong.
pub(crate) fn validate(policy: &Document) -> Vec<String> {
    let mut wrong = Vec::new();
    omit_stages(&policy.omit_stages, "omitStages", &mut wrong);
    for (i, rule) in policy.rules.iter().enumerate() {
        self::rule(rule, &format!("rules[{i}]"), &mut wrong);
    }
    wrong
}

/// Fields that no policy has, with their paths.
pub(crate) fn unknown_fields(policy: &Value) -> Vec<String> {
    const POLICY: [&str; 6] = ["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"];
    const RULE: [&str; 9] = [
        "level",
        "users",
        "userGroups",
        "verbs",
        "resources",
        "namespaces",
        "nonResourceURLs",
        "omitStages",
        "omitManagedFields",
    ];
    const RESOURCES: [&str; 3] = ["group", "resources", "resourceNames"];
    let mut found = Vec::new();
    let mut look = |value: &Value, at: &str, known: &[&str]| {
        for name in value.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !known.contains(&name.as_str()) {
                found.push(format!("unknown field {}", Quoted(&format!("{at}{name}"))));
            }
        }
    };
    look(policy, "", &POLICY);
    for (i, rule) in list(policy, "rules").enumerate() {
        look(rule, &format!("rules[{i}]."), &RULE);
        for (k, resources) in list(rule, "resources").enumerate() {
            look(resources, &format!("rules[{i}].resources[{k}]."), &RESOURCES);
        }
    }
    found
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn rule(rule: &RuleDocument, at: &str, wrong: &mut Vec<String>) {
    match rule.level.as_str() {
        "" => wrong.push(format!("{at}.level: Required value")),
        level if Level::ALL.iter().all(|l| l.name() != level) => {
            let all = Level::ALL.map(|l| Quoted(l.name()).to_string()).join(", ");
            wrong.push(format!(
                "{at}.level: Unsupported value: {}: supported values: {all}",
                Quoted(level)
            ));
        }
        _ => {}
    }
    for (i, url) in rule.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let invalid = format!("{at}.nonResourceURLs[{i}]: Invalid value: {}", Quoted(url));
        if !url.starts_with('/') {
            wrong.push(format!("{invalid}: non-resource URL rules must begin with a '/' character"));
        }
        if url.find('*').is_some_and(|place| place + 1 < url.len()) {
            wrong.push(format!(
                "{invalid}: non-resource URL wildcards '*' must be the final character of the rule"
            ));
        }
    }
    // Upstream names the field without the number of the entry.
    for of in &rule.resources {
        group_resources(of, &format!("{at}.resources"), wrong);
    }
    omit_stages(&rule.omit_stages, &format!("{at}.omitStages"), wrong);
    let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if of_resources && !rule.non_resource_urls.is_empty() {
        wrong.push(format!(
            "{at}.nonResourceURLs: Invalid value: {}: rules cannot apply to both regular resources and non-resource URLs",
            json(&rule.non_resource_urls)
        ));
    }
}

fn group_resources(of: &GroupResources, at: &str, wrong: &mut Vec<String>) {
    let group = of.group.as_str();
    if !matches!(group, "" | "*") && !is_dns_subdomain(group) {
        wrong.push(format!("{at}.group: Invalid value: {}: {SUBDOMAIN}", Quoted(group)));
    }
    if !of.resource_names.is_empty() && of.resources.is_empty() {
        wrong.push(format!(
            "{at}.resourceNames: Invalid value: {}: using resourceNames requires at least one resource",
            json(&of.resource_names)
        ));
    }
}

fn omit_stages(stages: &[String], at: &str, wrong: &mut Vec<String>) {
    for (i, stage) in stages.iter().enumerate() {
        if Stage::ALL.iter().all(|s| s.name() != stage) {
            let all = Stage::ALL.map(Stage::name).join(",");
            wrong.push(format!(
                "{at}[{i}]: Invalid value: {}: allowed stages are {all}",
                Quoted(stage)
            ));
        }
    }
}

fn json(texts: &[String]) -> String {
    Value::from(texts).to_string()
}
