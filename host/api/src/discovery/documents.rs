//! The documents below `/api` and `/apis`, `/` and `/version`: types that serialise with upstream's keys in upstream's order.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{ServedGroup, ServedResource, ServedVersion, subresource_verbs};
use crate::manifest::{Scope, Subresource};

/// `/api`: the versions of the core group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiVersions {
    kind: &'static str,
    versions: Vec<String>,
    #[serde(rename = "serverAddressByClientCIDRs")]
    server_addresses: [(); 0],
}

/// `/apis`: all groups but core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiGroupList {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    groups: Vec<ApiGroup>,
}

/// `/apis/GROUP`, and an item of [`ApiGroupList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiGroup {
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'static str,
    name: String,
    versions: Vec<GroupVersion>,
    preferred_version: GroupVersion,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
    version: String,
}

/// `/apis/GROUP/VERSION` and `/api/VERSION`: the resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiResourceList {
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'static str,
    group_version: String,
    resources: Vec<ApiResource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource {
    name: String,
    singular_name: String,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'static str,
    kind: String,
    verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    short_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
}

/// `/apis` and `/api` in one answer with everything below (apidiscovery.k8s.io/v2), for who
/// asks for the [aggregated form](crate::media::DiscoveryForm).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiGroupDiscoveryList {
    kind: &'static str,
    api_version: &'static str,
    metadata: Named,
    items: Vec<ApiGroupDiscovery>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Named {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ApiGroupDiscovery {
    metadata: Named,
    versions: Vec<ApiVersionDiscovery>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ApiVersionDiscovery {
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<ApiResourceDiscovery>,
    freshness: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResourceDiscovery {
    resource: String,
    response_kind: ResponseKind,
    scope: &'static str,
    singular_resource: String,
    verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    short_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subresources: Vec<ApiSubresourceDiscovery>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiSubresourceDiscovery {
    subresource: String,
    response_kind: ResponseKind,
    verbs: Vec<String>,
}

/// Group and version are empty where they are those of the list (apiserver `ConvertGroupVersionIntoToDiscovery`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ResponseKind {
    group: &'static str,
    version: &'static str,
    kind: String,
}

/// `/`: the paths that there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootPaths {
    paths: BTreeSet<String>,
}

/// `/version` (apimachinery `version.Info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    major: String,
    minor: String,
    git_version: String,
    git_commit: String,
    git_tree_state: &'static str,
    build_date: String,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
}

// === impl ApiVersions ===

impl ApiVersions {
    /// Of the core group among these. Addresses are left out: no client has used them for years, and behind a proxy we
    /// do not know ours.
    #[must_use]
    pub fn of(groups: &[ServedGroup]) -> Self {
        let core = groups.iter().filter(|g| g.is_core());
        let versions = core.flat_map(|g| &g.versions).map(|v| v.version.clone()).collect();
        Self {
            kind: "APIVersions",
            versions,
            server_addresses: [],
        }
    }
}

// === impl ApiGroupList ===

impl ApiGroupList {
    /// All groups but core, in this order.
    #[must_use]
    pub fn of(groups: &[ServedGroup]) -> Self {
        let items = groups.iter().filter_map(ApiGroup::of);
        let groups = items
            .map(|item| ApiGroup {
                kind: "",
                api_version: "",
                ..item
            })
            .collect();
        Self {
            kind: "APIGroupList",
            api_version: "v1",
            groups,
        }
    }
}

// === impl ApiGroup ===

impl ApiGroup {
    /// Nothing for core, and for a group without versions.
    #[must_use]
    pub fn of(group: &ServedGroup) -> Option<Self> {
        let version = |v: &ServedVersion| GroupVersion {
            group_version: group.api_version(&v.version),
            version: v.version.clone(),
        };
        let preferred_version = group.versions.first().filter(|_| !group.is_core()).map(version)?;
        let versions = group.versions.iter().map(version).collect();
        Some(Self {
            kind: "APIGroup",
            api_version: "v1",
            name: group.name.clone(),
            versions,
            preferred_version,
        })
    }
}

// === impl ApiResourceList ===

impl ApiResourceList {
    /// The resources of one version.
    #[must_use]
    pub fn of(group: &ServedGroup, version: &ServedVersion) -> Self {
        let resource = |served: &ServedResource| ApiResource {
            name: served.resource.plural.clone(),
            singular_name: served.resource.singular.clone(),
            namespaced: served.resource.scope == Scope::Namespaced,
            group: "",
            version: "",
            kind: served.resource.kind.clone(),
            verbs: served.verbs.clone(),
            short_names: served.resource.short_names.clone(),
            categories: served.resource.categories.clone(),
        };
        // A subresource stands behind its resource, under a name of two parts.
        let parts = |served: &ServedResource| {
            let mut parts: Vec<ApiResource> = served
                .resource
                .subresources
                .iter()
                .map(|part| part_of(served, part))
                .collect();
            parts.sort_by(|a, b| a.name.cmp(&b.name));
            parts
        };
        Self {
            kind: "APIResourceList",
            // Core's has none (apiserver `stripVersionNegotiatedSerializer`).
            api_version: if group.is_core() { "" } else { "v1" },
            group_version: group.api_version(&version.version),
            resources: version
                .resources
                .iter()
                .flat_map(|served| std::iter::once(resource(served)).chain(parts(served)))
                .collect(),
        }
    }
}

fn part_of(served: &ServedResource, part: &Subresource) -> ApiResource {
    let (group, version) = served.foreign(part).unwrap_or_default();
    ApiResource {
        name: format!("{}/{}", served.resource.plural, part.name),
        singular_name: String::new(),
        namespaced: served.resource.scope == Scope::Namespaced,
        group,
        version,
        kind: served.kind_of(part).to_owned(),
        verbs: subresource_verbs(part),
        short_names: Vec::new(),
        categories: Vec::new(),
    }
}

// === impl ApiGroupDiscoveryList ===

impl ApiGroupDiscoveryList {
    /// For `/apis`: all groups but core.
    #[must_use]
    pub fn apis(groups: &[ServedGroup]) -> Self {
        Self::of(groups.iter().filter(|g| !g.is_core()))
    }

    /// For `/api`: the core group, if it is served.
    #[must_use]
    pub fn api(groups: &[ServedGroup]) -> Self {
        Self::of(groups.iter().filter(|g| g.is_core()))
    }

    fn of<'a>(groups: impl Iterator<Item = &'a ServedGroup>) -> Self {
        let groups = groups.filter(|g| !g.versions.is_empty());
        let items = groups.map(|g| ApiGroupDiscovery {
            metadata: Named { name: g.name.clone() },
            versions: g.versions.iter().map(ApiVersionDiscovery::of).collect(),
        });
        let (kind, api_version) = ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2");
        Self {
            kind,
            api_version,
            metadata: Named::default(),
            items: items.collect(),
        }
    }
}

// === impl ApiVersionDiscovery ===

impl ApiVersionDiscovery {
    fn of(version: &ServedVersion) -> Self {
        let resource = |served: &ServedResource| ApiResourceDiscovery {
            resource: served.resource.plural.clone(),
            response_kind: ResponseKind {
                group: "",
                version: "",
                kind: served.resource.kind.clone(),
            },
            scope: match served.resource.scope {
                Scope::Cluster => "Cluster",
                Scope::Namespaced => "Namespaced",
            },
            singular_resource: served.resource.singular.clone(),
            verbs: served.verbs.clone(),
            short_names: served.resource.short_names.clone(),
            categories: served.resource.categories.clone(),
            subresources: {
                let mut parts: Vec<_> = served.resource.subresources.iter().collect();
                parts.sort_by(|a, b| a.name.cmp(&b.name));
                let part = |part: &Subresource| {
                    let (group, version) = served.foreign(part).unwrap_or_default();
                    ApiSubresourceDiscovery {
                        subresource: part.name.clone(),
                        response_kind: ResponseKind {
                            group,
                            version,
                            kind: served.kind_of(part).to_owned(),
                        },
                        verbs: subresource_verbs(part),
                    }
                };
                parts.into_iter().map(part).collect()
            },
        };
        let resources = version.resources.iter().map(resource).collect();
        Self {
            version: version.version.clone(),
            resources,
            freshness: "Current",
        }
    }
}

// === impl RootPaths ===

impl RootPaths {
    /// Discovery's and OpenAPI's paths of these groups and `others` (probes, metrics), sorted.
    #[must_use]
    pub fn of<'a>(groups: &[ServedGroup], others: impl IntoIterator<Item = &'a str>) -> Self {
        let mut paths: BTreeSet<String> = others.into_iter().map(str::to_owned).collect();
        paths.extend(["/apis", "/openapi/v2", "/openapi/v3", "/version"].map(str::to_owned));
        for group in groups {
            let root = group.root();
            for version in &group.versions {
                let path = format!("{root}/{}", version.version);
                paths.extend([format!("/openapi/v3{path}"), path]);
            }
            paths.insert(root);
        }
        Self { paths }
    }
}

// === impl VersionInfo ===

impl VersionInfo {
    /// Of a host of this version (`0.1.0`), commit and build date (RFC 3339); the last two may be empty.
    #[must_use]
    pub fn of(version: &str, commit: &str, build_date: &str) -> Self {
        let mut numbers = version.trim_start_matches('v').split('.');
        let mut number = || {
            numbers
                .next()
                .unwrap_or_default()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect()
        };
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            major: number(),
            minor: number(),
            git_version: format!("v{}", version.trim_start_matches('v')),
            git_commit: commit.to_owned(),
            git_tree_state: if commit.is_empty() { "" } else { "clean" },
            build_date: build_date.to_owned(),
            go_version: "",
            compiler: "rustc",
            platform: format!("{}/{architecture}", std::env::consts::OS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_as_upstreams() {
        for (version, major, minor, git) in [
            ("0.1.0", "0", "1", "v0.1.0"),
            ("v1.36.3-rc.1+x", "1", "36", "v1.36.3-rc.1+x"),
            ("", "", "", "v"),
        ] {
            let info = VersionInfo::of(version, "", "");
            assert_eq!(
                (info.major.as_str(), info.minor.as_str(), info.git_version.as_str()),
                (major, minor, git)
            );
        }
        let keys: Vec<_> = serde_json::to_value(VersionInfo::of("0.1.0", "abc", "2026-01-01T00:00:00Z"))
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(
            keys,
            [
                "major",
                "minor",
                "gitVersion",
                "gitCommit",
                "gitTreeState",
                "buildDate",
                "goVersion",
                "compiler",
                "platform"
            ]
        );
    }

    #[test]
    fn an_empty_host_has_empty_documents() {
        fn json(document: &impl Serialize) -> String {
            serde_json::to_string(document).unwrap()
        }
        assert_eq!(
            json(&ApiGroupList::of(&[])),
            r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#
        );
        assert_eq!(
            json(&ApiVersions::of(&[])),
            r#"{"kind":"APIVersions","versions":[],"serverAddressByClientCIDRs":[]}"#
        );
        let empty = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[]}"#;
        assert_eq!(json(&ApiGroupDiscoveryList::apis(&[])), empty);
    }
}
