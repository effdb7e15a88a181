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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, url: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse().unwrap(), &url.parse().unwrap()).unwrap()
    }

    /// apiserver `TestGetAPIRequestInfo`: method, URL, verb, group, version, namespace, resource, subresource, name,
    /// parts.
    #[test]
    fn resource_requests_as_upstream_reads_them() {
        for (method, url, want) in [
            // resource paths
            ("GET", "/api/v1/namespaces", "list||v1||namespaces|||namespaces"),
            (
                "GET",
                "/api/v1/namespaces/other",
                "get||v1|other|namespaces||other|namespaces/other",
            ),
            ("GET", "/api/v1/namespaces/other/pods", "list||v1|other|pods|||pods"),
            ("GET", "/api/v1/namespaces/other/pods/foo", "get||v1|other|pods||foo|pods/foo"),
            (
                "HEAD",
                "/api/v1/namespaces/other/pods/foo",
                "get||v1|other|pods||foo|pods/foo",
            ),
            ("GET", "/api/v1/pods", "list||v1||pods|||pods"),
            ("HEAD", "/api/v1/pods", "list||v1||pods|||pods"),
            // special verbs
            (
                "GET",
                "/api/v1/proxy/namespaces/other/pods/foo",
                "proxy||v1|other|pods||foo|pods/foo",
            ),
            (
                "GET",
                "/api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/subresource",
                "proxy||v1|other|pods||foo|pods/foo/subpath/not/a/subresource",
            ),
            ("GET", "/api/v1/watch/pods", "watch||v1||pods|||pods"),
            ("GET", "/api/v1/pods?watch=true", "watch||v1||pods|||pods"),
            ("GET", "/api/v1/pods?watch=false", "list||v1||pods|||pods"),
            ("GET", "/api/v1/watch/namespaces/other/pods", "watch||v1|other|pods|||pods"),
            ("GET", "/api/v1/namespaces/other/pods?watch=1", "watch||v1|other|pods|||pods"),
            ("GET", "/api/v1/namespaces/other/pods?watch=0", "list||v1|other|pods|||pods"),
            // subresource identification
            (
                "GET",
                "/api/v1/namespaces/other/pods/foo/status",
                "get||v1|other|pods|status|foo|pods/foo/status",
            ),
            (
                "GET",
                "/api/v1/namespaces/other/pods/foo/proxy/subpath",
                "get||v1|other|pods|proxy|foo|pods/foo/proxy/subpath",
            ),
            (
                "PUT",
                "/api/v1/namespaces/other/finalize",
                "update||v1|other|namespaces|finalize|other|namespaces/other/finalize",
            ),
            (
                "PUT",
                "/api/v1/namespaces/other/status",
                "update||v1|other|namespaces|status|other|namespaces/other/status",
            ),
            // verb identification
            (
                "PATCH",
                "/api/v1/namespaces/other/pods/foo",
                "patch||v1|other|pods||foo|pods/foo",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/other/pods/foo",
                "delete||v1|other|pods||foo|pods/foo",
            ),
            ("POST", "/api/v1/namespaces/other/pods", "create||v1|other|pods|||pods"),
            // deletecollection verb identification
            ("DELETE", "/api/v1/nodes", "deletecollection||v1||nodes|||nodes"),
            (
                "DELETE",
                "/api/v1/namespaces",
                "deletecollection||v1||namespaces|||namespaces",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/other/pods",
                "deletecollection||v1|other|pods|||pods",
            ),
            (
                "DELETE",
                "/apis/extensions/v1/namespaces/other/pods",
                "deletecollection|extensions|v1|other|pods|||pods",
            ),
            // api group and version identification
            (
                "POST",
                "/apis/extensions/v1/namespaces/other/pods",
                "create|extensions|v1|other|pods|||pods",
            ),
            (
                "POST",
                "/apis/extensions/v1beta3/namespaces/other/pods",
                "create|extensions|v1beta3|other|pods|||pods",
            ),
            // ours: escapes, methods that mean nothing, slashes at the ends
            ("GET", "/apis/g/v1/things/a%20b", "get|g|v1||things||a b|things/a b"),
            ("GET", "/apis/g/v1/things/a%2Fb", "get|g|v1||things|b|a|things/a/b"),
            ("OPTIONS", "/api/v1/pods", "||v1||pods|||pods"),
            ("GET", "//api/v1/pods//", "list||v1||pods|||pods"),
        ] {
            let info = parse(method, url);
            assert!(info.is_resource_request, "{url}");
            assert_eq!(
                info.api_prefix,
                if info.api_group.is_empty() { "api" } else { "apis" },
                "{url}"
            );
            let parts = info.parts.join("/");
            let place = [info.verb, info.api_group, info.api_version, info.namespace];
            let got = place.into_iter().chain([info.resource, info.subresource, info.name, parts]);
            assert_eq!(got.collect::<Vec<_>>().join("|"), want, "{method} {url}");
        }
    }

    /// apiserver `TestGetNonAPIRequestInfo` and the error cases of `TestGetAPIRequestInfo`.
    #[test]
    fn other_requests_have_the_method_for_a_verb() {
        for (url, resource) in [
            ("/api/version/resource", true),
            ("/apis/group/version/resource/name/subresource", true),
            ("/api/version/resource/name/subresource", true),
            ("/apis/batch/v1/job", true),
            ("/apis/batch/v1/job/foo", true),
            ("/apis/batch/v1/job/foo/scale", true),
            ("/not-api/version/resource", false),
            ("/apis/extensions/v1beta1", false),
            ("/apis/extensions/v1beta1/", false),
            ("/api/version", false),
            ("/api/version/", false),
            ("/apis/group/version/", false),
            ("/badprefix/version/resource", false),
            ("/apis/version/resource", false),
            ("/api", false),
            ("/", false),
        ] {
            let info = parse("POST", url);
            assert_eq!(info.is_resource_request, resource, "{url}");
            assert_eq!(info.verb, if resource { info.verb.as_str() } else { "post" }, "{url}");
            assert_eq!(info.path, url);
        }
    }

    /// apiserver `TestSelectorParsing`: method, URL, name, verb, field selector, label selector.
    #[test]
    fn selectors_as_upstream_reads_them() {
        for (method, url, want) in [
            ("GET", "resource", "|list||"),
            (
                "GET",
                "resource?fieldSelector=metadata.name=name1",
                "name1|list|metadata.name=name1|",
            ),
            (
                "GET",
                "resource?watch=true&fieldSelector=metadata.name=name1",
                "name1|watch|metadata.name=name1|",
            ),
            (
                "GET",
                "resource?fieldSelector=foo=bar&labelSelector=baz=qux",
                "|list|foo=bar|baz=qux",
            ),
            (
                "GET",
                "resource?fieldSelector=metadata.name=name1,foo",
                "|list|metadata.name=name1,foo|",
            ),
            (
                "GET",
                "resource?fieldSelector=metadata.name=name1,foo&watch=true",
                "|watch|metadata.name=name1,foo|",
            ),
            (
                "GET",
                "resource?fieldSelector=metadata.name=name1,foo&watch=false",
                "|list|metadata.name=name1,foo|",
            ),
            (
                "DELETE",
                "resource?fieldSelector=foo=bar&labelSelector=baz=qux",
                "|deletecollection|foo=bar|baz=qux",
            ),
            (
                "GET",
                "resource?fieldSelector=metadata.name=foo&fieldSelector=metadata.name=bar&labelSelector=foo=bar&labelSelector=foo=baz",
                "foo|list|metadata.name=foo|foo=bar",
            ),
            (
                "GET",
                "resource/name?fieldSelector=foo=bar&labelSelector=foo=bar",
                "name|get||",
            ),
            (
                "GET",
                "watch/resource?fieldSelector=metadata.name=foo&labelSelector=foo=bar",
                "|watch||",
            ),
            (
                "GET",
                "watch/resource/name?fieldSelector=metadata.name=foo&labelSelector=foo=bar",
                "name|watch||",
            ),
            // ours: names that cannot stand in a path, options that cannot be read
            ("GET", "resource?fieldSelector=metadata.name=..", "|list|metadata.name=..|"),
            ("GET", "resource?fieldSelector=metadata.name=a/b", "|list|metadata.name=a/b|"),
            (
                "GET",
                "resource?fieldSelector=metadata.name=a&limit=x",
                "|list|metadata.name=a|",
            ),
            (
                "GET",
                "resource?fieldSelector=metadata.name=a,foo=b",
                "a|list|metadata.name=a,foo=b|",
            ),
        ] {
            let info = parse(method, &format!("/apis/group/version/{url}"));
            let got = [info.name, info.verb, info.field_selector, info.label_selector].join("|");
            assert_eq!(got, want, "{method} {url}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (url, want) in [
            (
                "/api/v1/watch",
                "unable to determine kind and namespace from url, /api/v1/watch",
            ),
            (
                "/apis/g/v1/proxy?a=b",
                "unable to determine kind and namespace from url, /apis/g/v1/proxy?a=b",
            ),
            ("/api/v1/pods/%zz", "the path of the URL has an invalid escape"),
            ("/api/v1/pods/%ff", "the path of the URL has an invalid escape"),
        ] {
            let status = RequestInfo::parse(&Method::GET, &url.parse().unwrap()).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, want), "{url}");
        }
    }
}
