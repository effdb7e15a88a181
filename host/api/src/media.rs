//! What the client wants to read: the Accept header parsed once (apiserver `endpoints/handlers/negotiation`).

/// The answer's form and encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Media {
    /// How bytes are made.
    pub encoding: Encoding,
    /// What they say.
    pub form: Form,
}

/// How bytes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`; `pretty` indents by two spaces.
    Json {
        /// Indent.
        pretty: bool,
    },
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What the answer says of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The objects.
    Object,
    /// `as=Table;g=meta.k8s.io`.
    Table(MetaVersion),
    /// `as=PartialObjectMetadata` or `…List`, `g=meta.k8s.io;v=v1`.
    PartialMetadata,
}

/// Versions of meta.k8s.io.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaVersion {
    /// v1.
    V1,
    /// v1beta1.
    V1beta1,
}
