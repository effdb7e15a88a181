//! OpenAPI documents in protobuf: gnostic's messages (gnostic-models `openapiv2/OpenAPIv2.proto`, `openapiv3/OpenAPIv3.proto`), as
//! kube-openapi serves them (`handler.ToProtoBinary`, `handler3.ToV3ProtoBinary`).
//!
//! The tables name what our documents can contain: our own paths and operations, upstream's definitions, and every keyword
//! that [`sanitise`](super::sanitise()) lets through. Where gnostic's parser loses something, these lose it as well (a default in v3 that is
//! an object or a list); `e2e/documents` holds the two against each other.

mod v2;
mod v3;

use serde_json::Value;

use crate::message::{Shape, write};

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Specification {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

// === impl Specification ===

impl Specification {
    /// The `Content-Type` of the protobuf form.
    #[must_use]
    pub fn protobuf_type(self) -> &'static str {
        match self {
            Self::V2 => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            Self::V3 => "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        }
    }

    /// The protobuf form of a document of this format, from its JSON.
    #[must_use]
    pub fn protobuf(self, json: &Value) -> Vec<u8> {
        write(self.shape(), json)
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
    use crate::message::unnamed;

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
                assert_eq!(unnamed(specification.shape(), &document), None, "{path:?}");
                assert!(!specification.protobuf(&document).is_empty());
                seen += 1;
            }
        }
        assert_eq!(seen, 7);
    }
}
