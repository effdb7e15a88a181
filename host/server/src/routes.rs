//! Where a permitted request goes: discovery and OpenAPI to the catalog's documents, a resource to what stands behind it.
//!
//! Everything here is answered from one snapshot of the catalog, taken once per request, so a swap of a plugin never shows
//! through the middle of an answer.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::Response;
use http::header::{self, HeaderName, HeaderValue};
use outrigger_api::media::is_pretty;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::{Catalog, Snapshot};
use outrigger_resources::{Answer, Tables};

use crate::call::{Body, Call, Endpoint};
use crate::documents;
use crate::metrics::DeprecatedApi;
use crate::refusal::Client;
use crate::warnings::Warnings;

/// The endpoint behind the filters.
pub struct Routes {
    catalog: Arc<Catalog>,
    tables: Tables,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// What the headers of a request say about its answer.
struct Wish<'a> {
    accept: Option<&'a str>,
    pretty: bool,
}

/// Bodies above this are compressed for clients that can read it (apiserver `responsewriters/writers.go`).
const GZIP_ABOVE: usize = 128 << 10;
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

// === impl Routes ===

impl Routes {
    /// Routes over a catalog. `ready` says whether the catalog is filled by now: before that nothing is known to be absent.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, tables: Tables, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            catalog,
            tables,
            ready: Box::new(ready),
        }
    }

    async fn resource(&self, snapshot: &Snapshot, info: &RequestInfo, query: &Query, wish: &Wish<'_>) -> Result<Answer, Status> {
        let served = snapshot
            .resource(&info.api_group, &info.api_version, &info.resource)
            .ok_or_else(Status::generic_not_found)?;
        self.tables.read(served, info, query, wish.accept, wish.pretty).await
    }
}

#[async_trait]
impl Endpoint for Routes {
    fn ready(&self) -> bool {
        (self.ready)()
    }

    fn serves(&self, info: &RequestInfo) -> bool {
        let known = || {
            self.catalog
                .snapshot()
                .resource(&info.api_group, &info.api_version, &info.resource)
                .is_some()
        };
        info.subresource.is_empty() && known()
    }

    async fn answer(&self, call: Call) -> Response<Body> {
        let Call {
            info,
            parts,
            warnings,
            audit,
            ..
        } = call;
        let text = |name: HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let wish = Wish {
            accept: text(header::ACCEPT),
            pretty: is_pretty(&query, text(header::USER_AGENT)),
        };
        let snapshot = self.catalog.snapshot();
        if !info.is_resource_request {
            let answered = documents::answer(snapshot.documents(), &info.path, &parts, &query).await;
            return answered.unwrap_or_else(|status| Client::of(&parts).refuse(&status));
        }
        let deprecated = deprecation(&snapshot, &info, &warnings);
        let attach = |mut response: Response<Body>| {
            if let Some(api) = deprecated.clone() {
                response.extensions_mut().insert(api);
            }
            response
        };
        let response = match self.resource(&snapshot, &info, &query, &wish).await {
            Ok(Answer::Document { content_type, body }) => whole(content_type, body),
            Ok(Answer::Events { content_type, events }) => return attach(streamed(content_type, events)),
            Err(status) => return attach(Client::of(&parts).refuse(&status)),
        };
        if audit.wants_response_object() && is_protobuf(&response) {
            // The audit log wants JSON, whatever the client wanted.
            let accept = wish.accept.map(|a| a.replace(PROTOBUF, "application/json"));
            let wish = Wish {
                accept: accept.as_deref(),
                pretty: false,
            };
            if let Ok(Answer::Document { body, .. }) = self.resource(&snapshot, &info, &query, &wish).await {
                audit.response_object(body.into());
            }
        }
        let gzip = text(header::ACCEPT_ENCODING).is_some_and(accepts_gzip);
        attach(match compressed(response, gzip).await {
            Ok(response) => response,
            Err(status) => Client::of(&parts).refuse(&status),
        })
    }
}

/// Warns of a deprecated version, in the words that a CRD's would have (apiextensions `defaultDeprecationWarning`), and says what to
/// count. Whoever asks is told, also if the answer is a refusal.
fn deprecation(snapshot: &Snapshot, info: &RequestInfo, warnings: &Warnings) -> Option<DeprecatedApi> {
    let served = snapshot.resource(&info.api_group, &info.api_version, &info.resource)?;
    let resource = &served.resource;
    let of = |version: &str| resource.deprecated.iter().find(|d| d.version == version);
    let deprecated = of(&info.api_version)?;
    if deprecated.warning.is_empty() {
        let name = |version: &str| format!("{}/{version} {}", resource.group, resource.kind);
        let instead = resource.versions.iter().find(|v| of(v).is_none());
        let instead = instead.map(|v| format!("; use {}", name(v))).unwrap_or_default();
        warnings.add(&format!("{} is deprecated{instead}", name(&info.api_version)));
    } else {
        warnings.add(&deprecated.warning);
    }
    Some(DeprecatedApi {
        group: info.api_group.clone(),
        version: info.api_version.clone(),
        resource: info.resource.clone(),
        // A path under a resource that has none is the client's invention, and no label.
        subresource: String::new(),
        removed_release: deprecated.removed_release.clone(),
    })
}

fn is_protobuf(response: &Response<Vec<u8>>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|k| k.as_bytes().starts_with(PROTOBUF.as_bytes()))
}

fn whole(content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A watch. Its headers leave at once, before there is any event.
fn streamed(content_type: &'static str, events: BoxStream<'static, Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(events.map(Ok::<_, Infallible>)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether an `Accept-Encoding` takes gzip.
pub(crate) fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|p| p.replace(' ', "").trim_start_matches("q=").parse() == Ok(0.0_f32))
    })
}

/// Large bodies compressed, off the threads that serve.
pub(crate) async fn compressed(response: Response<Vec<u8>>, gzip: bool) -> Result<Response<Body>, Status> {
    if !gzip || response.body().len() <= GZIP_ABOVE {
        return Ok(response.map(Body::from));
    }
    let (mut parts, body) = response.into_parts();
    let work = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        encoder.write_all(&body).and_then(|()| encoder.finish())
    });
    let small = work.await.map_err(Status::internal_error)?.map_err(Status::internal_error)?;
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts
        .headers
        .append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Ok(Response::from_parts(parts, Body::from(small)))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use outrigger_api::manifest::{Resource, Scope};

    use super::*;

    #[test]
    fn a_deprecated_version_is_said_and_counted() {
        let berths = Resource::table("Berth", "berths", Scope::Cluster)
            .group("harbor.example.com")
            .version("v1")
            .version("v1beta1")
            .version("v1alpha1")
            .deprecated("v1beta1", "")
            .deprecated("v1alpha1", "it goes");
        let snapshot = Catalog::new(vec![berths], Arc::new(outrigger_storage::Nothing)).snapshot();
        for (path, want) in [
            ("v1/berths", None),
            (
                "v1beta1/berths/a",
                Some("299 - \"harbor.example.com/v1beta1 Berth is deprecated; use harbor.example.com/v1 Berth\""),
            ),
            ("v1alpha1/berths", Some("299 - \"it goes\"")),
            ("v1alpha1/others", None),
        ] {
            let uri = format!("/apis/harbor.example.com/{path}").parse().unwrap();
            let info = RequestInfo::parse(&Method::GET, &uri).unwrap();
            let warnings = Warnings::default();
            let api = deprecation(&snapshot, &info, &warnings);
            let mut headers = http::HeaderMap::new();
            warnings.write(&mut headers);
            assert_eq!(headers.get(header::WARNING).map(|v| v.to_str().unwrap()), want, "{path}");
            assert_eq!(api.map(|a| a.version), want.map(|_| info.api_version.clone()), "{path}");
        }
    }

    #[test]
    fn gzip_is_taken_when_offered() {
        for (header, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(header), expected, "{header:?}");
        }
    }
}
