//! Discovery's messages (apimachinery `meta/v1/generated.proto`, api `apidiscovery/v2/generated.proto`): what our documents say of them.

use serde_json::Value;

use crate::message::{Field, Kind, Shape};
use crate::meta::TypeMeta;
use crate::protobuf;

/// A discovery document in protobuf, from its JSON; `None` if it has no kind that this room knows.
#[must_use]
pub fn protobuf(json: &Value) -> Option<Vec<u8>> {
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kind");
    let shape = match kind {
        "APIVersions" => &VERSIONS,
        "APIGroupList" => &GROUPS,
        "APIGroup" => &GROUP,
        "APIResourceList" => &RESOURCES,
        "APIGroupDiscoveryList" => &AGGREGATED,
        _ => return None,
    };
    let api_version = text("apiVersion");
    let raw = crate::message::write(shape, json);
    Some(protobuf::envelope(TypeMeta { api_version, kind }, &raw))
}

/// Keys of a document that stand in its frame.
const API_VERSION: Field = Field("apiVersion", 0, Kind::Frame);
const KIND: Field = Field("kind", 0, Kind::Frame);

static VERSIONS: Shape = Shape::Fields(&[
    API_VERSION,
    KIND,
    Field("versions", 1, Kind::Texts),
    Field("serverAddressByClientCIDRs", 2, Kind::Many(&ADDRESS)),
]);
static ADDRESS: Shape = Shape::Fields(&[Field("clientCIDR", 1, Kind::Text), Field("serverAddress", 2, Kind::Text)]);

static GROUPS: Shape = Shape::Fields(&[API_VERSION, KIND, Field("groups", 1, Kind::Many(&GROUP))]);
static GROUP: Shape = Shape::Fields(&[
    API_VERSION,
    KIND,
    Field("name", 1, Kind::Text),
    Field("versions", 2, Kind::Many(&GROUP_VERSION)),
    Field("preferredVersion", 3, Kind::One(&GROUP_VERSION)),
]);
static GROUP_VERSION: Shape = Shape::Fields(&[Field("groupVersion", 1, Kind::Text), Field("version", 2, Kind::Text)]);

static RESOURCES: Shape = Shape::Fields(&[
    API_VERSION,
    KIND,
    Field("groupVersion", 1, Kind::Text),
    Field("resources", 2, Kind::Many(&RESOURCE)),
]);
static RESOURCE: Shape = Shape::Fields(&[
    Field("name", 1, Kind::Text),
    Field("namespaced", 2, Kind::Flag),
    Field("kind", 3, Kind::Text),
    Field("verbs", 4, Kind::Words),
    Field("shortNames", 5, Kind::Texts),
    Field("singularName", 6, Kind::Text),
    Field("categories", 7, Kind::Texts),
    Field("group", 8, Kind::Text),
    Field("version", 9, Kind::Text),
    Field("storageVersionHash", 10, Kind::Text),
]);

static AGGREGATED: Shape = Shape::Fields(&[
    API_VERSION,
    KIND,
    Field("metadata", 1, Kind::One(&Shape::Fields(&[]))),
    Field("items", 2, Kind::Many(&DISCOVERED_GROUP)),
]);
static DISCOVERED_GROUP: Shape = Shape::Fields(&[
    Field("metadata", 1, Kind::One(&Shape::Fields(&[Field("name", 1, Kind::Text)]))),
    Field("versions", 2, Kind::Many(&DISCOVERED_VERSION)),
]);
static DISCOVERED_VERSION: Shape = Shape::Fields(&[
    Field("version", 1, Kind::Text),
    Field("resources", 2, Kind::Many(&DISCOVERED_RESOURCE)),
    Field("freshness", 3, Kind::Text),
]);
static DISCOVERED_RESOURCE: Shape = Shape::Fields(&[
    Field("resource", 1, Kind::Text),
    Field("responseKind", 2, Kind::One(&GVK)),
    Field("scope", 3, Kind::Text),
    Field("singularResource", 4, Kind::Text),
    Field("verbs", 5, Kind::Texts),
    Field("shortNames", 6, Kind::Texts),
    Field("categories", 7, Kind::Texts),
    Field("subresources", 8, Kind::Many(&DISCOVERED_SUBRESOURCE)),
]);
static DISCOVERED_SUBRESOURCE: Shape = Shape::Fields(&[
    Field("subresource", 1, Kind::Text),
    Field("responseKind", 2, Kind::One(&GVK)),
    Field("acceptedTypes", 3, Kind::Many(&GVK)),
    Field("verbs", 4, Kind::Texts),
]);
static GVK: Shape = Shape::Fields(&[
    Field("group", 1, Kind::Text),
    Field("version", 2, Kind::Text),
    Field("kind", 3, Kind::Text),
]);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::unnamed;

    fn golden(name: &str, file: &str) -> Value {
        let path = format!("{}/tests/golden/{name}/{file}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn nothing_of_our_documents_is_lost() {
        for (name, file, shape) in [
            ("fleet", "api.json", &VERSIONS),
            ("fleet", "apis.json", &GROUPS),
            ("fleet", "apis-harbor.example.com.json", &GROUP),
            ("fleet", "resources-harbor.example.com-v1.json", &RESOURCES),
            ("fleet", "resources-v1.json", &RESOURCES),
            ("fleet", "apis-aggregated.json", &AGGREGATED),
            ("metrics", "apis-aggregated.json", &AGGREGATED),
        ] {
            assert_eq!(unnamed(shape, &golden(name, file)), None, "{name}/{file}");
        }
    }

    #[test]
    fn a_document_stands_in_kubernetes_envelope() {
        let group = json!({
            "kind": "APIGroup", "apiVersion": "v1", "name": "apps",
            "versions": [{ "groupVersion": "apps/v1", "version": "v1" }],
            "preferredVersion": { "groupVersion": "apps/v1", "version": "v1" },
        });
        // kube-apiserver 1.36.3's answer for apps, but for the empty fields that gogo writes.
        let want = b"k8s\0\x0a\x0e\x0a\x02v1\x12\x08APIGroup\x12\x24\x0a\x04apps\x12\x0d\x0a\x07apps/v1\x12\x02v1\x1a\x0d\x0a\x07apps/v1\x12\x02v1";
        let ours = protobuf(&group).unwrap();
        assert_eq!(ours, want);
        // Core's lists have no version, also in the envelope.
        let core = protobuf(&golden("fleet", "resources-v1.json")).unwrap();
        assert!(core.starts_with(b"k8s\0\x0a\x11\x12\x0fAPIResourceList"), "{core:?}");
        assert_eq!(protobuf(&json!({ "paths": [] })), None);
    }
}
