//! What a request wants: the URL and method parsed once, at the door (apiserver `endpoints/request/requestinfo.go`).
//!
//! Authorization, routing and handlers all take their answers from here, so they cannot understand one URL in two ways.
//! Segments are those of the *decoded* path, as in Go: `%2F` separates.

use http::{Method, Uri};

use crate::list_options::ListOptions;
use crate::query::{Query, decode};
use crate::status::Status;

/// A parsed request. Field meanings are upstream's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// True if the path is `/api/V/RESOURCE…` or `/apis/G/V/RESOURCE…`.
    pub is_resource_request: bool,
    /// The URL's path, percent escapes decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; for non-resource
    /// requests the lower-case method. Empty for a resource request with a method that means nothing, such as OPTIONS.
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
    /// Object name; empty for none. `fieldSelector=metadata.name=x` fills it for list and watch, unless the options cannot
    /// be read.
    pub name: String,
    /// Path segments from the resource on.
    pub parts: Vec<String>,
    /// The `fieldSelector` query of list, watch and deletecollection, as sent.
    pub field_selector: String,
    /// The `labelSelector` query of list, watch and deletecollection, as sent.
    pub label_selector: String,
}

// === impl RequestInfo ===

impl RequestInfo {
    /// Reads method and URL.
    ///
    /// # Errors
    /// 400 for a path with broken escapes (Go's server refuses those before any handler), and for `/proxy` and
    /// `/watch` without a resource, where upstream has 500.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, Status> {
        let path = decode(uri.path(), false).ok_or_else(|| Status::bad_request("the path of the URL has an invalid escape"))?;
        let mut info = Self {
            verb: method.as_str().to_ascii_lowercase(),
            path,
            ..Self::default()
        };
        let trimmed = info.path.trim_matches('/').to_owned();
        let parts: Vec<&str> = trimmed.split('/').collect();
        let (prefix, group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("api", "", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => ("apis", *group, *version, rest),
            ["apis", _, _] => {
                info.api_prefix = "apis".into();
                return Ok(info);
            }
            _ => return Ok(info),
        };
        info.is_resource_request = true;
        info.api_prefix = prefix.to_owned();
        info.api_group = group.to_owned();
        info.api_version = version.to_owned();

        let (verb_in_path, rest) = match rest {
            [verb @ ("proxy" | "watch"), rest @ ..] => {
                if rest.is_empty() {
                    let sentence = format!("unable to determine kind and namespace from url, {uri}");
                    return Err(Status::bad_request(sentence));
                }
                info.verb = (*verb).to_owned();
                (true, rest)
            }
            rest => {
                info.verb = verb(method).to_owned();
                (false, rest)
            }
        };
        info.place(rest);

        let query = Query::parse(uri.query().unwrap_or_default());
        if info.name.is_empty() && info.verb == "get" {
            info.verb = if query.flag("watch") == Some(true) {
                "watch".into()
            } else {
                "list".into()
            };
            if let Ok((_, terms)) = ListOptions::decode(&query)
                && let Some(name) = terms.exact("metadata.name").filter(|name| is_path_segment(name))
            {
                info.name = name.to_owned();
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".into();
        }
        // The deprecated /watch/ prefix does not support selectors consistently, so they are not used to authorize.
        if !verb_in_path && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
            info.field_selector = query.first("fieldSelector").unwrap_or_default().to_owned();
            info.label_selector = query.first("labelSelector").unwrap_or_default().to_owned();
        }
        Ok(info)
    }

    /// Namespace, resource, name and subresource from what follows the version and a verb.
    fn place(&mut self, rest: &[&str]) {
        let parts = match rest {
            ["namespaces", namespace, after @ ..] => {
                self.namespace = (*namespace).to_owned();
                match after {
                    // Subresources of the namespace itself.
                    [] | ["status" | "finalize", ..] => rest,
                    after => after,
                }
            }
            rest => rest,
        };
        self.parts = parts.iter().map(|part| (*part).to_owned()).collect();
        let part = |n: usize| parts.get(n).copied().unwrap_or_default().to_owned();
        self.resource = part(0);
        self.name = part(1);
        // Below proxy there are no subresources, only the path of whoever is behind it.
        if self.verb != "proxy" {
            self.subresource = part(2);
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Whether a name can stand in a path (apimachinery `IsPathSegmentName`).
fn is_path_segment(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}
