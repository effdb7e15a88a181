//! Where a permitted request goes: discovery and OpenAPI to the catalog's documents, a resource to what stands behind it.
//!
//! Everything here is answered from one snapshot of the catalog, taken once per request, so a swap of a plugin never shows
//! through the middle of an answer.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::BodyDataStream;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use outrigger_api::manifest::Backing;
use outrigger_api::media::is_pretty;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::{Catalog, Served, Snapshot};
use outrigger_resources::{Answer, Asked, BrokenOff, Resources};
use outrigger_sandbox::{ContractError, HostError, Input};
use tokio::time::Instant;

use crate::call::{self, Body, Call, Endpoint};
use crate::documents;
use crate::metrics::DeprecatedApi;
use crate::refusal::Client;
use crate::warnings::Warnings;
use crate::websocket;

/// The endpoint behind the filters.
pub struct Routes {
    catalog: Arc<Catalog>,
    resources: Resources,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A request's body as a guest reads it.
struct Upload {
    body: BodyDataStream,
    rest: Bytes,
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
    pub fn new(catalog: Arc<Catalog>, resources: Resources, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            catalog,
            resources,
            ready: Box::new(ready),
        }
    }

    /// A request for a resource that is served.
    async fn resource(
        &self,
        served: &Arc<Served>,
        call: &mut Call,
        query: &Query,
        wish: &Wish<'_>,
    ) -> Result<Response<Body>, Status> {
        let stream = Resources::stream(served, &call.info.subresource);
        let content_type = text(&call.parts.headers, header::CONTENT_TYPE).map(str::to_owned);
        let method = call.parts.method.clone();
        let body = std::mem::take(&mut call.body);
        let (from, body) = match (stream, call.info.verb.as_str()) {
            (Some(_), _) => (Some(body), Bytes::new()),
            (None, "create" | "update" | "patch" | "delete" | "deletecollection") => (None, call::read(body).await?),
            (None, _) => (None, Bytes::new()),
        };
        let warnings = call.warnings.clone();
        let warn = move |text: &str| warnings.add(text);
        let now = Instant::now();
        let asked = Asked {
            served,
            info: &call.info,
            query,
            accept: wish.accept,
            pretty: wish.pretty,
            method: method.as_str(),
            content_type: content_type.as_deref(),
            body: &body,
            caller: &call.identity,
            audit_id: &call.audit_id,
            // A stream is as long as the plugin's own limit.
            deadline: call.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(now)),
            warn: &warn,
            permission: &call.permission,
        };
        let answer = match (stream, from) {
            (Some(stream), _) if websocket::is_request(&call.parts.headers) => {
                let ends = (&call.handover, call.draining.clone());
                return websocket::answer(&self.resources, &asked, stream, &mut call.parts, ends);
            }
            (Some(_), Some(from)) => return streamed(self.resources.connect(&asked, Box::new(Upload::of(from))).await?),
            _ => self.resources.answer(&asked).await?,
        };
        let gzip = text(&call.parts.headers, header::ACCEPT_ENCODING).is_some_and(accepts_gzip);
        let response = match answer {
            Answer::Document {
                code,
                content_type,
                body,
            } => whole(code, content_type, body),
            Answer::Stream {
                code,
                content_type,
                body,
            } if gzip => return compressing(code, &content_type, body),
            answer => return streamed(answer),
        };
        let is_table = matches!(served.resource.backing, Backing::Table { .. });
        if is_table && call.audit.wants_response_object() && is_protobuf(&response) {
            // The audit log wants JSON, whatever the client wanted.
            let accept = wish.accept.map(|a| a.replace(PROTOBUF, "application/json"));
            let asked = Asked {
                accept: accept.as_deref(),
                pretty: false,
                ..asked
            };
            if let Ok(Answer::Document { body, .. }) = self.resources.answer(&asked).await {
                call.audit.response_object(body.into());
            }
        }
        compressed(response, gzip).await
    }
}

#[async_trait]
impl Endpoint for Routes {
    fn ready(&self) -> bool {
        (self.ready)()
    }

    fn serves(&self, info: &RequestInfo) -> bool {
        let snapshot = self.catalog.snapshot();
        let served = snapshot.resource(&info.api_group, &info.api_version, &info.resource);
        served.is_some_and(|served| {
            let mut parts = served.resource.subresources.iter();
            info.subresource.is_empty() || parts.any(|part| part.name == info.subresource)
        })
    }

    fn stays_open(&self, info: &RequestInfo) -> bool {
        let snapshot = self.catalog.snapshot();
        let served = snapshot.resource(&info.api_group, &info.api_version, &info.resource);
        served.is_some_and(|served| Resources::stream(served, &info.subresource).is_some())
    }

    async fn answer(&self, mut call: Call) -> Response<Body> {
        let client = Client::of(&call.parts);
        let query = Query::parse(call.parts.uri.query().unwrap_or_default());
        let accept = text(&call.parts.headers, header::ACCEPT).map(str::to_owned);
        let wish = Wish {
            accept: accept.as_deref(),
            pretty: is_pretty(&query, text(&call.parts.headers, header::USER_AGENT)),
        };
        let snapshot = self.catalog.snapshot();
        let info = &call.info;
        if !info.is_resource_request {
            let answered = documents::answer(snapshot.documents(), &info.path, &call.parts, &query).await;
            return answered.unwrap_or_else(|status| client.refuse(&status));
        }
        let deprecated = deprecation(&snapshot, info, &call.warnings);
        let served = snapshot.resource(&info.api_group, &info.api_version, &info.resource).cloned();
        drop(snapshot);
        let answered = match served {
            Some(served) => self.resource(&served, &mut call, &query, &wish).await,
            None => Err(Status::generic_not_found()),
        };
        let mut response = answered.unwrap_or_else(|status| client.refuse(&status));
        if let Some(api) = deprecated {
            response.extensions_mut().insert(api);
        }
        response
    }
}

// === impl Upload ===

impl Upload {
    fn of(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            rest: Bytes::new(),
        }
    }
}

#[async_trait]
impl Input for Upload {
    async fn read(&mut self, most: usize) -> Result<Bytes, HostError> {
        while self.rest.is_empty() {
            match self.body.next().await {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Err(ContractError::Unavailable(format!("the body broke off: {error}"))),
                None => return Ok(Bytes::new()),
            }
        }
        Ok(self.rest.split_to(most.min(self.rest.len())))
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

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn whole(code: u16, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What is made while it is read. The headers of a watch leave at once, before there is any event.
fn streamed(answer: Answer) -> Result<Response<Body>, Status> {
    let kind = HeaderValue::from_str(answer.content_type()).map_err(Status::internal_error)?;
    let (code, body) = match answer {
        Answer::Events { events, .. } => (200, Body::from_stream(events.map(Ok::<_, Infallible>))),
        Answer::Stream { code, body, .. } => (code, Body::from_stream(body)),
        Answer::Document { code, body, .. } => (code, Body::from(body)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).map_err(Status::internal_error)?;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// A list that is compressed piece by piece as it is written.
fn compressing(
    code: u16,
    content_type: &str,
    body: BoxStream<'static, Result<Bytes, BrokenOff>>,
) -> Result<Response<Body>, Status> {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let pieces = futures::stream::unfold(Some((body, encoder)), |state| async move {
        let (mut body, mut encoder) = state?;
        loop {
            let piece = match body.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(broken)) => return Some((Err(broken), None)),
                // Writing to memory does not fail.
                None => return Some((encoder.finish().map(Bytes::from).map_err(|_| BrokenOff), None)),
            };
            if encoder.write_all(&piece).is_err() {
                return Some((Err(BrokenOff), None));
            }
            let small = std::mem::take(encoder.get_mut());
            if !small.is_empty() {
                return Some((Ok(small.into()), Some((body, encoder))));
            }
        }
    });
    let mut response = streamed(Answer::Stream {
        code,
        content_type: content_type.to_owned(),
        body: pieces.boxed(),
    })?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Ok(response)
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
