//! What is served, and the documents that say so: `/api`, `/apis` and everything below up to the resources.
//!
//! The catalog hands over what it serves as [`ServedGroup`]s; discovery and OpenAPI are pure functions of them.

use std::cmp::Ordering;

use crate::manifest::Resource;

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
