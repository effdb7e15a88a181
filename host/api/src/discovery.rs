//! What is served, and the documents that say so: `/api`, `/apis` and everything below up to the resources.
//!
//! The catalog hands over what it serves as [`ServedGroup`]s; discovery and OpenAPI are pure functions of them. The
//! documents are types that serialise with upstream's keys in upstream's order, so the same groups always give the same
//! bytes and the same [`etag`]. They are never made from what a plugin says while it runs: discovery that fails or flickers
//! stops namespace deletion in the whole cluster.

mod documents;
mod messages;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha512};

use crate::manifest::{Backing, Resource, Subresource, Verb};

pub use documents::{ApiGroup, ApiGroupDiscoveryList, ApiGroupList, ApiResourceList, ApiVersions, RootPaths, VersionInfo};
pub use messages::protobuf;

/// One API group with everything that is served in it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedGroup {
    /// The group's name; empty for core, which is served under `/api`.
    pub name: String,
    /// Its versions, preferred first. [`sort_versions`] gives the order that Kubernetes would take.
    pub versions: Vec<ServedVersion>,
}

/// One version of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedVersion {
    /// Such as `v1` or `v1beta1`.
    pub version: String,
    /// Its resources, in the order in which discovery lists them.
    pub resources: Vec<ServedResource>,
}

/// One resource in one version.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedResource {
    /// As the manifest has it.
    pub resource: Resource,
    /// What may be done with it, in Kubernetes' words (`get`, `list`, `watch` …): what stands behind it decides.
    pub verbs: Vec<String>,
}

// === impl ServedGroup ===

impl ServedGroup {
    /// Whether this is the core group, served under `/api`.
    #[must_use]
    pub fn is_core(&self) -> bool {
        self.name.is_empty()
    }

    /// `GROUP/VERSION`, or `VERSION` for core, as `apiVersion` spells it.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        if self.is_core() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.name)
        }
    }

    fn root(&self) -> String {
        if self.is_core() {
            "/api".to_owned()
        } else {
            format!("/apis/{}", self.name)
        }
    }
}

// === impl ServedResource ===

impl ServedResource {
    /// The kind of a subresource's documents.
    #[must_use]
    pub fn kind_of<'s>(&'s self, part: &'s Subresource) -> &'s str {
        if part.kind.is_empty() {
            &self.resource.kind
        } else {
            &part.kind
        }
    }

    /// Group and version of a subresource's documents, if they are not the resource's: a stored resource scales as all others do.
    #[must_use]
    pub fn foreign(&self, part: &Subresource) -> Option<Foreign> {
        let scales = matches!(self.resource.backing, Backing::Stored { scale: Some(_), .. });
        (scales && part.name == "scale").then_some(SCALE)
    }
}

/// Group and version of a subresource's documents where they are not the resource's.
pub type Foreign = (&'static str, &'static str);

/// Of a `Scale`, whatever it scales.
const SCALE: Foreign = ("autoscaling", "v1");

/// What may be done with a subresource, sorted. Of a stream the HTTP methods say it, as authorization reads them.
#[must_use]
pub fn subresource_verbs(part: &Subresource) -> Vec<String> {
    let mut verbs = BTreeSet::new();
    for verb in &part.verbs {
        match verb {
            Verb::Connect if part.methods.is_empty() => verbs.extend(["create", "get"]),
            Verb::Connect => verbs.extend(part.methods.iter().filter_map(|method| match method.as_str() {
                "GET" | "HEAD" => Some("get"),
                "POST" => Some("create"),
                "PUT" => Some("update"),
                "PATCH" => Some("patch"),
                "DELETE" => Some("delete"),
                _ => None,
            })),
            Verb::Update => verbs.extend(["patch", "update"]),
            Verb::Get => verbs.extend(["get"]),
            Verb::List | Verb::Create | Verb::Delete => {}
        }
    }
    verbs.into_iter().map(str::to_owned).collect()
}

/// Upper-case hexadecimal SHA-512: what upstream calls a document's hash (`discovery/aggregated/etag.go`).
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    Sha512::digest(bytes)
        .iter()
        .fold(String::with_capacity(128), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02X}");
            out
        })
}

/// The ETag of a document: its [`hash`] in quotes. A request whose `If-None-Match` equals it gets 304; the answer carries
/// `Vary: Accept` and `Cache-Control: public`.
#[must_use]
pub fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hash(bytes))
}

/// Puts versions into the order of Kubernetes' version priority, highest first.
pub fn sort_versions(versions: &mut [ServedVersion]) {
    versions.sort_by(|a, b| compare_versions(&b.version, &a.version));
}

/// Kubernetes' version priority (apimachinery `version.CompareKubeAwareVersionStrings`): `v2` over `v1` over `v2beta1` over
/// `v1beta2` over `v1beta1` over `v1alpha1` over everything of another shape; of two such, the alphabetically earlier has the priority.
/// `Greater` means that `a` has the priority.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// (stability, major, minor) of `vMAJOR[{alpha|beta}MINOR]`; GA is the most stable.
fn parse_version(version: &str) -> Option<(u8, u64, u64)> {
    let number = |s: &str| s.parse::<u64>().ok().filter(|_| s.bytes().all(|b| b.is_ascii_digit()));
    let rest = version.strip_prefix('v')?;
    for (stability, word) in [(0, "alpha"), (1, "beta")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_kubernetes_order() {
        // apimachinery version/helpers_test.go, highest priority first.
        let order = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v1beta1",
            "v12alpha1",
            "v11alpha2",
            "foo1",
            "foo10",
            "v1+2",
            "w",
        ];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(compare_versions(a, b), j.cmp(&i), "{a} against {b}");
            }
        }
        let mut versions: Vec<_> = order
            .iter()
            .rev()
            .map(|v| ServedVersion {
                version: (*v).to_owned(),
                resources: vec![],
            })
            .collect();
        sort_versions(&mut versions);
        assert_eq!(versions.iter().map(|v| v.version.as_str()).collect::<Vec<_>>(), order);
    }

    #[test]
    fn verbs_of_subresources_are_those_of_their_methods() {
        for (part, want) in [
            (Subresource::part("status", [Verb::Get, Verb::Update]), "get patch update"),
            (Subresource::part("scale", [Verb::Get]), "get"),
            (Subresource::connect("exec"), "create get"),
            (Subresource::connect("log").method("GET"), "get"),
            (
                Subresource::connect("proxy").method("HEAD").method("PUT").method("DELETE"),
                "delete get update",
            ),
        ] {
            assert_eq!(subresource_verbs(&part).join(" "), want, "{}", part.name);
        }
    }

    #[test]
    fn an_etag_is_quoted_upper_case_sha_512() {
        let tag = etag(b"abc");
        assert_eq!(tag.len(), 130);
        assert!(
            tag.starts_with("\"DDAF35A193617ABACC417349AE204131") && tag.ends_with("2A9AC94FA54CA49F\""),
            "{tag}"
        );
    }
}
