//! `/version`: what the host is, as indented JSON and nothing else (apiserver `server/routes/version.go`).
//!
//! HEAD is answered as GET is; upstream's router knows GET alone and says 405.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response};
use outrigger_api::media::first_of;
use outrigger_api::status::Status;

use crate::call::Body;

/// The answer, if this is the path. It may end in a slash.
pub(crate) fn answer(path: &str, parts: &Parts, version: &Bytes) -> Option<Result<Response<Body>, Status>> {
    matches!(path, "/version" | "/version/").then(|| {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return Err(Status::method_not_allowed());
        }
        let accept = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        if first_of(accept, &["json"]).is_none() {
            // go-restful's words.
            let message = "406: Not Acceptable\n\nAvailable representations: application/json";
            return Err(Status::failure(406, "NotAcceptable", message));
        }
        let mut response = Response::new(Body::from(version.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_version_is_told_as_upstream_tells_it() {
        // (method, path, Accept, kube-apiserver 1.36.3's code); HEAD is 405 there.
        for (method, path, accept, want) in [
            ("GET", "/version", None, Some(200)),
            ("GET", "/version/", None, Some(200)),
            ("GET", "/version", Some("*/*"), Some(200)),
            ("GET", "/version", Some("application/json"), Some(200)),
            ("GET", "/version", Some("application/yaml,*/*"), Some(200)),
            ("HEAD", "/version", None, Some(200)),
            ("GET", "/version", Some("text/html"), Some(406)),
            ("GET", "/version", Some("application/yaml"), Some(406)),
            ("GET", "/version", Some("application/vnd.kubernetes.protobuf"), Some(406)),
            ("POST", "/version", None, Some(405)),
            ("OPTIONS", "/version", None, Some(405)),
            ("GET", "/version/x", None, None),
            ("GET", "/versions", None, None),
        ] {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let got = answer(path, &parts, &Bytes::from_static(b"{}"));
            let code = got.map(|answer| answer.map_or_else(|status| status.code, |ok| ok.status().as_u16()));
            assert_eq!(code, want, "{method} {path} {accept:?}");
        }
    }
}
