//! OpenAPI v2 and v3 of what is served: what `kubectl explain`, server-side apply and the aggregator's merge read.
//!
//! Both are made from one list of operations (`paths`) and one set of definitions (`definitions`); `v3` and `v2` only spell
//! them. kube-apiserver takes the v2 document apart and merges it with those of all other servers, and
//! kube-controller-manager builds its garbage collector's types from the result: **one malformed schema here harms the
//! cluster**, so plugin schemas pass [`sanitise()`] first and nothing else of a plugin's gets in.
//!
//! Promises: the same [`ServedGroup`]s always give the same bytes (kube-apiserver merges again whenever the hash changes);
//! definition names and kinds are unique, whatever plugins call themselves (a kind that is there twice stops
//! kube-controller-manager's and kubectl's type parsers); only the verbs served are published.
//!
//! A field of type string and format `quantity` is published as upstream's Quantity, so that `kubectl explain` and the type
//! parsers see the type that they know.
//!
//! # Which kinds have a PATCH path?
//! kubectl asks this document, before it creates, replaces or applies an object with validation, whether the kind's
//! PATCH takes `fieldValidation`, and gives up with "Path not found for GVK" if there is no PATCH at all (cli-runtime
//! `query_param_verifier_v3.go`), although the server would have taken a POST. So every kind that can be created, updated or
//! patched has a PATCH path, also where `patch` is not served (the server then answers 405, which kubectl reports as it
//! is). A read-only kind has none: a document that offers writes nobody takes would mislead generated clients, and
//! kubectl's refusal is the truth; metrics-server's document reads the same.

mod definitions;
mod gnostic;
mod parameters;
mod paths;
mod sanitise;
mod v2;
mod v3;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::discovery::{ServedGroup, hash};
use definitions::Definitions;

pub use gnostic::{Encoding, Specification};
pub use sanitise::{Sanitised, sanitise};

/// Title and version of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// Such as `Outrigger`.
    pub title: &'a str,
    /// The host's version.
    pub version: &'a str,
}

/// The OpenAPI v3 document of one group version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupVersionDocument {
    /// Below `/openapi/v3/`: `apis/GROUP/VERSION`, or `api/VERSION` for core.
    pub path: String,
    /// The document as JSON.
    pub json: Vec<u8>,
    /// Upper-case SHA-512 of `json`: the `hash` parameter of its URL and, quoted, its ETag.
    pub hash: String,
}

/// The answer to `/openapi/v3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    paths: Vec<(String, String)>,
}

/// The OpenAPI v2 document of everything.
#[must_use]
pub fn v2(groups: &[ServedGroup], about: About<'_>) -> Value {
    let definitions = Definitions::of(groups);
    v2::document(&paths::of(groups, &definitions), &definitions, about)
}

/// The OpenAPI v3 documents, one for each group version, in the order of `groups`.
#[must_use]
pub fn v3(groups: &[ServedGroup], about: About<'_>) -> Vec<GroupVersionDocument> {
    let definitions = Definitions::of(groups);
    let document = |api: &paths::GroupVersion| {
        let json = v3::document(api, &definitions, about).to_string().into_bytes();
        GroupVersionDocument {
            path: api.root.trim_start_matches('/').to_owned(),
            hash: hash(&json),
            json,
        }
    };
    paths::of(groups, &definitions).iter().map(document).collect()
}

// === impl Index ===

impl Index {
    /// The index of these documents (kube-openapi `handler3`): the hash in each URL lets clients cache for ever.
    #[must_use]
    pub fn of(documents: &[GroupVersionDocument]) -> Self {
        let entry = |d: &GroupVersionDocument| (d.path.clone(), format!("/openapi/v3/{}?hash={}", d.path, d.hash));
        let mut paths: Vec<_> = documents.iter().map(entry).collect();
        paths.sort();
        Self { paths }
    }
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |(path, url): &(String, String)| (path.clone(), json!({ "serverRelativeURL": url }));
        json!({ "paths": self.paths.iter().map(one).collect::<Map<_, _>>() }).serialize(serializer)
    }
}
