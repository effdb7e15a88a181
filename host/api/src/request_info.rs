//! What a request wants: the URL and method parsed once, at the door (apiserver `endpoints/request/requestinfo.go`).

/// A parsed request. Field meanings are upstream's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// True if the path is `/api/V/RESOURCE…` or `/apis/G/V/RESOURCE…`.
    pub is_resource_request: bool,
    /// The URL's path, as sent.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; for non-resource
    /// requests the lower-case method.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// API group; empty for core.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// Object name; empty for none. `fieldSelector=metadata.name=x` fills it for list, watch and deletecollection.
    pub name: String,
    /// Path segments from the resource on.
    pub parts: Vec<String>,
    /// The `fieldSelector` query of list, watch and deletecollection, as sent.
    pub field_selector: String,
    /// The `labelSelector` query of list, watch and deletecollection, as sent.
    pub label_selector: String,
}
