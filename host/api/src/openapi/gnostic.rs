//! OpenAPI documents in protobuf: gnostic's messages (gnostic-models `openapiv2/OpenAPIv2.proto`, `openapiv3/OpenAPIv3.proto`), as
//! kube-openapi serves them (`handler.ToProtoBinary`, `handler3.ToV3ProtoBinary`).
//!
//! The tables name what our documents can contain: our own paths and operations, upstream's definitions, and every keyword
//! that [`sanitise`](super::sanitise()) lets through. Where gnostic's parser loses something, these lose it as well (a default in v3 that is
//! an object or a list); `e2e/documents` holds the two against each other.

mod v2;
mod v3;

use serde_json::Value;

use crate::media::first_of;
use crate::message::{Shape, write};
use crate::status::Status;

const V2_SUBTYPES: [&str; 3] = [
    "json",
    "com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const V3_SUBTYPES: [&str; 3] = [
    "json",
    "com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
const V2_ACCEPTED: [&str; 2] = [
    "application/json",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const V3_ACCEPTED: [&str; 2] = [
    "application/json",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
];

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Specification {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

/// The encodings of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Compact JSON.
    Json,
    /// gnostic's protobuf, without an envelope.
    Protobuf,
}

// === impl Specification ===

impl Specification {
    /// What the client reads best (kube-openapi `handler.go`, `handler3/handler.go`): parameters other than `q` are not looked at,
    /// the spelling with `@` is an old name of the same, and YAML there is none.
    ///
    /// # Errors
    /// 406 with the media types that can be had.
    pub fn negotiate(self, accept: Option<&str>) -> Result<Encoding, Status> {
        let (subs, accepted) = match self {
            Self::V2 => (&V2_SUBTYPES, &V2_ACCEPTED),
            Self::V3 => (&V3_SUBTYPES, &V3_ACCEPTED),
        };
        match first_of(accept, subs) {
            Some("json") => Ok(Encoding::Json),
            Some(_) => Ok(Encoding::Protobuf),
            None => Err(Status::not_acceptable(accepted)),
        }
    }

    /// The `Content-Type` of an encoding; for either spelling the new one.
    #[must_use]
    pub fn content_type(self, encoding: Encoding) -> &'static str {
        let [json, protobuf] = match self {
            Self::V2 => V2_ACCEPTED,
            Self::V3 => V3_ACCEPTED,
        };
        match encoding {
            Encoding::Json => json,
            Encoding::Protobuf => protobuf,
        }
    }

    /// The protobuf form of a document of this format, from its JSON.
    #[must_use]
    pub fn protobuf(self, json: &Value) -> Vec<u8> {
        write(self.shape(), json)
    }

    /// The first place in a document that the tables do not name, and so would be lost; for tests.
    #[must_use]
    pub fn unnamed(self, json: &Value) -> Option<String> {
        crate::message::unnamed(self.shape(), json)
    }

    fn shape(self) -> &'static Shape {
        match self {
            Self::V2 => &v2::DOCUMENT,
            Self::V3 => &v3::DOCUMENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_picked_as_kube_openapi_picks_them() {
        use Encoding::{Json, Protobuf};
        // Answers of kube-apiserver 1.36.3.
        for (accept, v2, v3) in [
            (None, Some(Json), Some(Json)),
            (Some(""), Some(Json), Some(Json)),
            (Some("*/*"), Some(Json), Some(Json)),
            (Some("application/*"), Some(Json), Some(Json)),
            (Some("application/json;as=Table"), Some(Json), Some(Json)),
            (Some("application/yaml"), None, None),
            (Some("application/yaml,application/json"), Some(Json), Some(Json)),
            (Some("text/html;q=1,*/*;q=.1"), Some(Json), Some(Json)),
            (
                Some("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"),
                Some(Protobuf),
                None,
            ),
            (
                Some("application/com.github.proto-openapi.spec.v2.v1.0+protobuf"),
                Some(Protobuf),
                None,
            ),
            (
                Some("application/com.github.proto-openapi.spec.v3@v1.0+protobuf"),
                None,
                Some(Protobuf),
            ),
            (
                Some("application/com.github.proto-openapi.spec.v3.v1.0+protobuf, */*"),
                Some(Json),
                Some(Protobuf),
            ),
            (Some("application/vnd.kubernetes.protobuf"), None, None),
        ] {
            assert_eq!(Specification::V2.negotiate(accept).ok(), v2, "{accept:?}");
            assert_eq!(Specification::V3.negotiate(accept).ok(), v3, "{accept:?}");
        }
    }

    #[test]
    fn nothing_of_our_documents_is_lost() {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut seen = 0;
        for name in ["metrics", "fleet"] {
            for entry in std::fs::read_dir(golden.join(name)).unwrap() {
                let path = entry.unwrap().path();
                let file = path.file_name().unwrap().to_str().unwrap();
                let specification = match file {
                    "openapi-v2.json" => Specification::V2,
                    _ if file.starts_with("openapi-v3-") => Specification::V3,
                    _ => continue,
                };
                let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                assert_eq!(specification.unnamed(&document), None, "{path:?}");
                assert!(!specification.protobuf(&document).is_empty());
                seen += 1;
            }
        }
        assert_eq!(seen, 7);
    }
}
