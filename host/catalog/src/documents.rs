//! Discovery and OpenAPI as finished bytes: made once per change of the catalog, answered from memory ever after.
//!
//! Five requests per APIService reach these every thirty seconds from each kube-apiserver, and every namespace deletion
//! in the cluster waits for them. So nothing here depends on a plugin that runs, and the same catalog gives the same
//! bytes and ETags in every replica and after every restart.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrigger_api::discovery::{
    ApiGroup, ApiGroupDiscoveryList, ApiGroupList, ApiResourceList, ApiVersions, RootPaths, ServedGroup, etag,
};
use outrigger_api::openapi::{self, About, Index};
use serde::Serialize;

/// One document, as compact JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The bytes.
    pub json: Bytes,
    /// Quoted hash of the bytes.
    pub etag: String,
}

/// All documents of one catalog snapshot, by path.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    plain: BTreeMap<String, Document>,
    aggregated: BTreeMap<&'static str, Document>,
}

/// Paths of the host's own that `/` lists.
const OWN_PATHS: [&str; 5] = ["/healthz", "/livez", "/metrics", "/readyz", "/version"];

// === impl Documents ===

impl Documents {
    /// Makes the documents of what is served.
    #[must_use]
    pub(crate) fn of(groups: &[ServedGroup]) -> Self {
        let mut plain = BTreeMap::new();
        let mut add = |path: String, document: Document| {
            plain.insert(path, document);
        };
        add("/".into(), document(&RootPaths::of(groups, OWN_PATHS)));
        add("/apis".into(), document(&ApiGroupList::of(groups)));
        let mut aggregated = BTreeMap::from([("/apis", document(&ApiGroupDiscoveryList::apis(groups)))]);
        if groups.iter().any(ServedGroup::is_core) {
            add("/api".into(), document(&ApiVersions::of(groups)));
            aggregated.insert("/api", document(&ApiGroupDiscoveryList::api(groups)));
        }
        for group in groups {
            let root = if group.is_core() {
                "/api".to_owned()
            } else {
                format!("/apis/{}", group.name)
            };
            for version in &group.versions {
                add(
                    format!("{root}/{}", version.version),
                    document(&ApiResourceList::of(group, version)),
                );
            }
            if let Some(one) = ApiGroup::of(group).filter(|_| !group.is_core()) {
                add(root, document(&one));
            }
        }
        let about = About {
            title: "Outrigger",
            version: concat!("v", env!("CARGO_PKG_VERSION")),
        };
        add("/openapi/v2".into(), document(&openapi::v2(groups, about)));
        let versions = openapi::v3(groups, about);
        add("/openapi/v3".into(), document(&Index::of(&versions)));
        for version in versions {
            let etag = format!("\"{}\"", version.hash);
            add(
                format!("/openapi/v3/{}", version.path),
                Document {
                    json: version.json.into(),
                    etag,
                },
            );
        }
        Self { plain, aggregated }
    }

    /// The document at a path: discovery, OpenAPI, or the path index at `/`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Document> {
        self.plain.get(path)
    }

    /// The aggregated form of discovery at `/apis`, and at `/api` where core is served.
    #[must_use]
    pub fn aggregated_at(&self, path: &str) -> Option<&Document> {
        self.aggregated.get(path)
    }
}

fn document(body: &impl Serialize) -> Document {
    // These types have string keys and no foreign Serialize impl: writing them to memory does not fail.
    let json = serde_json::to_vec(body).unwrap_or_default();
    let etag = etag(&json);
    Document { json: json.into(), etag }
}
