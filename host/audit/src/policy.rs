//! Which requests are recorded, and how much of them: the policy file (apiserver `pkg/audit/policy`).
//!
//! The first rule that matches decides; what no rule matches is not recorded. A file is read strictly first; unknown fields are
//! only a warning, as upstream has it, so that a policy written for a newer server still loads. Everything that is wrong is said at
//! once, in upstream's words.

use std::path::Path;

use outrigger_api::identity::Identity;
use outrigger_api::quote::Quoted;
use outrigger_api::request_info::RequestInfo;
use serde::Deserialize;
use serde_json::Value;

use crate::level::{Level, Stage, Stages};
use crate::validation::{unknown_fields, validate};

/// A policy, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    otherwise: Verdict,
    warnings: Vec<String>,
}

/// What is recorded of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How much.
    pub level: Level,
    /// Stages without an event.
    pub omit: Stages,
    /// Whether `managedFields` are left out of objects.
    pub omit_managed_fields: bool,
}

/// Why a file is no policy.
#[derive(Debug, thiserror::Error)]
pub enum BadPolicy {
    /// It cannot be read.
    #[error("failed to read file path {}: {source}", Quoted(.path))]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is neither YAML nor JSON, or a field has the wrong type.
    #[error("failed decoding: {0}")]
    Decode(String),
    /// Another kind of document.
    #[error("unknown group version field {0} in policy")]
    Kind(String),
    /// Rules that mean nothing, in upstream's sentences.
    #[error("{0}")]
    Invalid(String),
    /// No rules at all.
    #[error("loaded illegal policy with 0 rules")]
    NoRules,
    /// Any of these, with the file's name.
    #[error("{why}: from file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        why: Box<BadPolicy>,
    },
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Document {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) rules: Vec<RuleDocument>,
    pub(crate) omit_stages: Vec<String>,
    pub(crate) omit_managed_fields: bool,
}

/// A rule as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RuleDocument {
    pub(crate) level: String,
    pub(crate) users: Vec<String>,
    pub(crate) user_groups: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) resources: Vec<GroupResources>,
    pub(crate) namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub(crate) non_resource_urls: Vec<String>,
    pub(crate) omit_stages: Vec<String>,
    pub(crate) omit_managed_fields: Option<bool>,
}

/// Resources of one group in a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GroupResources {
    pub(crate) group: String,
    pub(crate) resources: Vec<String>,
    pub(crate) resource_names: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    non_resource_urls: Vec<String>,
    verdict: Verdict,
}

// === impl Policy ===

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadPolicy`], with everything that is wrong.
    pub fn from_file(path: &Path) -> Result<Self, BadPolicy> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| BadPolicy::Read {
            path: name.clone(),
            source,
        })?;
        Self::parse(&text).map_err(|why| BadPolicy::File {
            path: name,
            why: Box::new(why),
        })
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// [`BadPolicy`], with everything that is wrong.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let mut value: Value = serde_saphyr::from_str(text).map_err(|e| BadPolicy::Decode(e.to_string()))?;
        without_nulls(&mut value);
        if !value.is_object() {
            return Err(BadPolicy::Decode("a policy is an object".into()));
        }
        let warnings = unknown_fields(&value);
        let document: Document = serde_json::from_value(value).map_err(|e| BadPolicy::Decode(e.to_string()))?;
        let (version, kind) = (&document.api_version, &document.kind);
        if version != "audit.k8s.io/v1" || kind != "Policy" {
            return Err(BadPolicy::Kind(format!("{version}, Kind={kind}")));
        }
        let wrong = validate(&document);
        match wrong.as_slice() {
            [] => {}
            [one] => return Err(BadPolicy::Invalid(one.clone())),
            many => return Err(BadPolicy::Invalid(format!("[{}]", many.join(", ")))),
        }
        if document.rules.is_empty() {
            return Err(BadPolicy::NoRules);
        }
        Ok(Self::of(document, warnings))
    }

    fn of(document: Document, warnings: Vec<String>) -> Self {
        let everywhere = stages(&document.omit_stages);
        let default = document.omit_managed_fields;
        let rule = |rule: RuleDocument| Rule {
            verdict: Verdict {
                // Validated: every name is a level's.
                level: Level::ALL.into_iter().find(|l| l.name() == rule.level).unwrap_or(Level::None),
                omit: everywhere.and(stages(&rule.omit_stages)),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(default),
            },
            users: rule.users,
            user_groups: rule.user_groups,
            verbs: rule.verbs,
            resources: rule.resources,
            namespaces: rule.namespaces,
            non_resource_urls: rule.non_resource_urls,
        };
        Self {
            rules: document.rules.into_iter().map(rule).collect(),
            otherwise: Verdict {
                level: Level::None,
                omit: everywhere,
                omit_managed_fields: default,
            },
            warnings,
        }
    }

    /// What is odd about the file, though it loads: fields that nobody knows.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What is recorded of a request; `identity` is `None` for a caller who could not be authenticated.
    #[must_use]
    pub fn evaluate(&self, identity: Option<&Identity>, info: &RequestInfo) -> Verdict {
        self.rules
            .iter()
            .find(|rule| rule.matches(identity, info))
            .map_or(self.otherwise, |rule| rule.verdict)
    }
}

// === impl Rule ===

impl Rule {
    fn matches(&self, identity: Option<&Identity>, info: &RequestInfo) -> bool {
        if !self.users.is_empty() && !identity.is_some_and(|i| self.users.contains(&i.name)) {
            return false;
        }
        let in_a_group = |i: &Identity| i.groups.iter().any(|g| self.user_groups.contains(g));
        if !self.user_groups.is_empty() && !identity.is_some_and(in_a_group) {
            return false;
        }
        if !self.verbs.is_empty() && !self.verbs.contains(&info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return self.matches_resource(info);
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource_request && self.non_resource_urls.iter().any(|spec| path_matches(&info.path, spec));
        }
        true
    }

    fn matches_resource(&self, info: &RequestInfo) -> bool {
        if !info.is_resource_request {
            return false;
        }
        // Objects without a namespace have the empty one.
        if !self.namespaces.is_empty() && !self.namespaces.contains(&info.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|of| of.matches(info))
    }
}

// === impl GroupResources ===

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.api_group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&info.name) {
            return false;
        }
        self.resources.iter().any(|spec| resource_matches(spec, info))
    }
}

/// `pods` is not `pods/log`; `*` is everything; `pods/*` is the pods with everything under them; `*/scale` is every scale.
fn resource_matches(spec: &str, info: &RequestInfo) -> bool {
    let (resource, subresource) = (info.resource.as_str(), info.subresource.as_str());
    let exact = match spec.split_once('/') {
        Some((of, sub)) => !subresource.is_empty() && of == resource && sub == subresource,
        None => subresource.is_empty() && spec == resource,
    };
    exact
        || spec == "*"
        || (!subresource.is_empty() && spec.strip_prefix("*/") == Some(subresource))
        || spec.strip_suffix("/*") == Some(resource)
}

fn path_matches(path: &str, spec: &str) -> bool {
    spec == "*" || spec == path || (spec.ends_with('*') && path.starts_with(spec.trim_end_matches('*')))
}

fn stages(names: &[String]) -> Stages {
    Stage::ALL
        .into_iter()
        .filter(|stage| names.iter().any(|n| n == stage.name()))
        .collect()
}

/// `rules: null` is no rules, as Go reads it.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, v| !v.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn policy(rules: &str) -> Policy {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).unwrap()
    }

    fn info(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse::<Method>().unwrap(), &uri.parse().unwrap()).unwrap()
    }

    fn tim() -> Identity {
        Identity {
            name: "tim@k8s.io".into(),
            groups: vec!["people".into(), "humans".into()],
            ..Identity::anonymous()
        }
    }

    /// The rows of upstream's `TestCreatePolicyRuleEvaluator`, and what its comments promise.
    #[test]
    fn rules_match_as_upstreams_do() {
        let pod = "/api/v1/namespaces/default/pods/busybox";
        let log = "/api/v1/namespaces/default/pods/busybox/log";
        let path = "/logs/kubelet.log";
        let tokens = "/apis/authentication.k8s.io/v1/tokenreviews";
        for (rule, method, uri, matches) in [
            ("{level: Metadata}", "GET", pod, true),
            ("{level: Metadata}", "GET", path, true),
            ("{level: Metadata, verbs: [create]}", "GET", pod, false),
            ("{level: Metadata, verbs: [get]}", "GET", pod, true),
            ("{level: Metadata, users: [tim@k8s.io]}", "GET", path, true),
            ("{level: Metadata, users: [nobody]}", "GET", path, false),
            ("{level: Metadata, userGroups: [people]}", "GET", path, true),
            ("{level: Metadata, userGroups: [cats]}", "GET", path, false),
            ("{level: Metadata, namespaces: [default]}", "GET", pod, true),
            ("{level: Metadata, namespaces: [other]}", "GET", pod, false),
            ("{level: Metadata, namespaces: [default]}", "GET", path, false),
            ("{level: Metadata, namespaces: ['']}", "POST", tokens, true),
            ("{level: Metadata, resources: [{resources: [pods]}]}", "GET", pod, true),
            ("{level: Metadata, resources: [{resources: [pods]}]}", "GET", log, false),
            ("{level: Metadata, resources: [{resources: [pods/log]}]}", "GET", log, true),
            ("{level: Metadata, resources: [{resources: [pods/*]}]}", "GET", log, true),
            ("{level: Metadata, resources: [{resources: [pods/*]}]}", "GET", pod, true),
            ("{level: Metadata, resources: [{resources: ['*/log']}]}", "GET", log, true),
            ("{level: Metadata, resources: [{resources: ['*/log']}]}", "GET", pod, false),
            ("{level: Metadata, resources: [{resources: ['*']}]}", "GET", log, true),
            ("{level: Metadata, resources: [{group: ''}]}", "GET", log, true),
            (
                "{level: Metadata, resources: [{group: '*', resources: [pods]}]}",
                "GET",
                pod,
                true,
            ),
            ("{level: Metadata, resources: [{group: apps}]}", "GET", pod, false),
            (
                "{level: Metadata, resources: [{group: authentication.k8s.io}]}",
                "POST",
                tokens,
                true,
            ),
            (
                "{level: Metadata, resources: [{resources: [pods], resourceNames: [busybox]}]}",
                "GET",
                pod,
                true,
            ),
            (
                "{level: Metadata, resources: [{resources: [pods], resourceNames: [other]}]}",
                "GET",
                pod,
                false,
            ),
            ("{level: Metadata, nonResourceURLs: [/logs*]}", "GET", path, true),
            ("{level: Metadata, nonResourceURLs: ['*']}", "GET", path, true),
            ("{level: Metadata, nonResourceURLs: [/logs]}", "GET", path, false),
            ("{level: Metadata, nonResourceURLs: [/logs*]}", "GET", pod, false),
            ("{level: Metadata, nonResourceURLs: ['*']}", "GET", pod, false),
        ] {
            let verdict = policy(&format!("rules: [{rule}]")).evaluate(Some(&tim()), &info(method, uri));
            assert_eq!(verdict.level == Level::Metadata, matches, "{rule} {method} {uri}");
        }
        let users = policy("rules: [{level: Metadata, users: ['']}]");
        assert_eq!(users.evaluate(None, &info("GET", path)).level, Level::None);
    }

    #[test]
    fn the_first_match_decides_and_stages_are_united() {
        let policy = policy(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
             - {level: None, users: [tim@k8s.io], verbs: [watch]}\n\
             - {level: Request, verbs: [get], omitStages: [Panic], omitManagedFields: false}\n\
             - {level: RequestResponse, users: [tim@k8s.io]}",
        );
        let ask = |method: &str, uri: &str| policy.evaluate(Some(&tim()), &info(method, uri));
        let get = ask("GET", "/api/v1/namespaces/a/pods/b");
        assert_eq!((get.level, get.omit_managed_fields), (Level::Request, false));
        let omitted = |v: Verdict| Stage::ALL.map(|s| v.omit.has(s));
        assert_eq!(omitted(get), [true, false, false, true]);
        let list = ask("GET", "/api/v1/pods");
        assert_eq!((list.level, list.omit_managed_fields), (Level::RequestResponse, true));
        assert_eq!(omitted(list), [true, false, false, false]);
        assert_eq!(ask("GET", "/api/v1/pods?watch=1").level, Level::None);
        let nobody = policy.evaluate(None, &info("POST", "/x"));
        assert_eq!((nobody.level, nobody.omit_managed_fields), (Level::None, true));
    }

    #[test]
    fn bad_files_are_refused_in_upstreams_words() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, want) in [
            (
                "kind: Policy\napiVersion: audit.k8s.io/v1beta1\nrules: [{level: None}]".to_owned(),
                "unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy",
            ),
            (head.to_owned(), "loaded illegal policy with 0 rules"),
            (format!("{head}rules: null"), "loaded illegal policy with 0 rules"),
            (
                format!("{head}rules: [{{level: Info}}]"),
                r#"rules[0].level: Unsupported value: "Info": supported values: "None", "Metadata", "Request", "RequestResponse""#,
            ),
            (format!("{head}rules: [{{users: [a]}}]"), "rules[0].level: Required value"),
            (
                format!("{head}rules: [{{level: None, nonResourceURLs: [logs, '/a*b']}}]"),
                r#"[rules[0].nonResourceURLs[0]: Invalid value: "logs": non-resource URL rules must begin with a '/' character, rules[0].nonResourceURLs[1]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule]"#,
            ),
            (
                format!("{head}rules: [{{level: None, nonResourceURLs: ['*'], namespaces: [a]}}]"),
                r#"rules[0].nonResourceURLs: Invalid value: ["*"]: rules cannot apply to both regular resources and non-resource URLs"#,
            ),
            (
                format!("{head}rules: [{{level: None, resources: [{{resourceNames: [x]}}]}}]"),
                r#"rules[0].resources.resourceNames: Invalid value: ["x"]: using resourceNames requires at least one resource"#,
            ),
            (
                format!("{head}omitStages: [Later]\nrules: [{{level: None}}]"),
                r#"omitStages[0]: Invalid value: "Later": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#,
            ),
        ] {
            assert_eq!(Policy::parse(&text).unwrap_err().to_string(), want, "{text}");
        }
        let group = format!("{head}rules: [{{level: None, resources: [{{group: apps/v1}}]}}]");
        let said = Policy::parse(&group).unwrap_err().to_string();
        assert!(
            said.starts_with("rules[0].resources.group: Invalid value: \"apps/v1\": a lowercase RFC 1123 subdomain must"),
            "{said}"
        );
        for text in ["]", "a string", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: 5"] {
            assert!(matches!(Policy::parse(text), Err(BadPolicy::Decode(_))), "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_a_warning() {
        let odd = policy("colour: red\nrules: [{level: None, users: [a], user: b, resources: [{group: apps, version: v1}]}]");
        assert_eq!(
            odd.warnings(),
            [
                r#"unknown field "colour""#,
                r#"unknown field "rules[0].user""#,
                r#"unknown field "rules[0].resources[0].version""#
            ]
        );
        let plain = policy("metadata: {name: x, creationTimestamp: null}\nrules: [{level: None}]");
        assert!(plain.warnings().is_empty(), "{:?}", plain.warnings());
    }
}
