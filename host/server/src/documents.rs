//! Discovery and OpenAPI over HTTP: which form of a document a client gets, and what it may do with it.
//!
//! The headers are upstream's: of aggregated discovery apiserver's `discovery/aggregated/etag.go`, of OpenAPI kube-openapi's
//! `handler/handler.go` and `handler3/handler.go`, of the path index apiserver's `routes/index.go`.
//!
//! Where we differ, on purpose:
//! - Discovery that is not aggregated has an ETag too, and all discovery says `Vary: Accept`.
//! - A 406 and a 404 below `/openapi` are a `Status` and not an empty body (for an unknown group version a library server
//!   answers 200 with nothing in it, kube-apiserver 404).
//! - OpenAPI v3 is compressed as v2 is.
//! - `Expires` is in GMT, as HTTP wants it, wherever the host stands.
//! - No `Last-Modified`: it would be another one in each replica. No ranges: nobody reads half a document.
//! - Methods other than GET and HEAD get 405 everywhere; upstream answers some of these paths whatever the method.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use outrigger_api::encode;
use outrigger_api::media::{DiscoveryForm, Encoding, is_pretty};
use outrigger_api::openapi::{self, Specification};
use outrigger_api::query::Query;
use outrigger_api::status::Status;
use outrigger_catalog::{Document, Documents, Form, Kind};

use crate::call::Body;
use crate::routes::{accepts_gzip, compressed};

/// Discovery above this is compressed for clients that can read it (apiserver `responsewriters/writers.go`).
const GZIP_DISCOVERY_ABOVE: usize = 128 << 10;
/// OpenAPI from this size on (NYTimes/gziphandler's default, which kube-openapi takes).
const GZIP_OPENAPI_FROM: usize = 1_400;
/// How long a document whose URL carries its hash may be kept.
const ONE_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Held by whoever makes a form.
static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A request for a document.
struct Wish<'a> {
    headers: &'a HeaderMap,
    accept: Option<&'a str>,
    query: &'a Query,
}

/// Answers a path that is no resource.
pub(crate) async fn answer(documents: &Documents, path: &str, parts: &Parts, query: &Query) -> Result<Response<Body>, Status> {
    let path = match path {
        "/index.html" => "/",
        // Discovery does not mind a slash at its end (go-restful); OpenAPI's paths are exact.
        _ if path.len() > 1 && !path.starts_with("/openapi") => path.trim_end_matches('/'),
        _ => path,
    };
    let plain = documents.at(path).ok_or_else(Status::generic_not_found)?;
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let wish = Wish {
        headers: &parts.headers,
        accept: parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()),
        query,
    };
    match plain.kind() {
        Kind::Index => wish.index(plain, path),
        Kind::Discovery => wish.discovery(plain, documents.aggregated_at(path)).await,
        Kind::OpenApi(specification) => wish.openapi(plain, specification, path).await,
    }
}

// === impl Wish ===

impl Wish<'_> {
    /// `/`, for people, always indented; `/openapi/v3`, for clients. Neither asks what the client accepts.
    fn index(&self, document: &Document, path: &str) -> Result<Response<Body>, Status> {
        let body = match path {
            "/" => encode::indent(document.json()).into(),
            _ => document.json().clone(),
        };
        let mut response = if path != "/" && self.holds(document) {
            not_modified()
        } else {
            whole("application/json", body)
        };
        if path != "/" {
            response.headers_mut().insert(header::ETAG, etag(document)?);
        }
        Ok(response)
    }

    async fn discovery(&self, plain: &Arc<Document>, aggregated: Option<&Arc<Document>>) -> Result<Response<Body>, Status> {
        let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
        let pretty = is_pretty(self.query, agent);
        let (form, encoding) = match aggregated {
            Some(_) => DiscoveryForm::negotiate(self.accept, pretty)?,
            None => (DiscoveryForm::Plain, DiscoveryForm::negotiate_plain(self.accept, pretty)?),
        };
        let document = aggregated.filter(|_| form == DiscoveryForm::Aggregated).unwrap_or(plain);
        let mut response = if self.holds(document) {
            not_modified()
        } else {
            let content_type = form.content_type(encoding);
            match encoding {
                Encoding::Json { pretty: false } => self.kept(document, false, content_type, GZIP_DISCOVERY_ABOVE + 1).await?,
                Encoding::Protobuf => self.kept(document, true, content_type, GZIP_DISCOVERY_ABOVE + 1).await?,
                // For people: made when asked for, and forgotten.
                Encoding::Json { pretty: true } | Encoding::Yaml => {
                    let text = encode::text(document.json().to_vec(), encoding).map_err(Status::internal_error)?;
                    let mut response = Response::new(text);
                    let headers = response.headers_mut();
                    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                    compressed(response, self.gzip()).await?
                }
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag(document)?);
        headers.append(header::VARY, HeaderValue::from_static("Accept"));
        if form == DiscoveryForm::Aggregated {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        }
        Ok(response)
    }

    async fn openapi(
        &self,
        document: &Arc<Document>,
        specification: Specification,
        path: &str,
    ) -> Result<Response<Body>, Status> {
        let encoding = specification.negotiate(self.accept)?;
        let content_type = specification.content_type(encoding);
        let hash = self.query.first("hash").filter(|hash| !hash.is_empty());
        let right = document.etag().trim_matches('"');
        let mut response = match hash {
            Some(hash) if specification == Specification::V3 && hash != right => moved(&format!("{path}?hash={right}"))?,
            _ if self.holds(document) => not_modified(),
            _ => {
                let protobuf = encoding == openapi::Encoding::Protobuf;
                self.kept(document, protobuf, content_type, GZIP_OPENAPI_FROM).await?
            }
        };
        let moved = response.status() == StatusCode::MOVED_PERMANENTLY;
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag(document)?);
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.append(header::VARY, HeaderValue::from_static("Accept"));
        if specification == Specification::V3 && hash.is_some() && !moved {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            headers.insert(header::EXPIRES, http_date(SystemTime::now() + ONE_YEAR)?);
        }
        Ok(response)
    }

    /// A form that is kept once it is made; compressed from so many bytes on, if the client can read it.
    async fn kept(
        &self,
        document: &Arc<Document>,
        protobuf: bool,
        content_type: &'static str,
        gzip_from: usize,
    ) -> Result<Response<Body>, Status> {
        let plain = form(document, Form { protobuf, gzip: false }).await?;
        if plain.len() < gzip_from {
            return Ok(whole(content_type, plain));
        }
        let mut response = if self.gzip() {
            let small = form(document, Form { protobuf, gzip: true }).await?;
            let mut response = whole(content_type, small);
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        } else {
            whole(content_type, plain)
        };
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        Ok(response)
    }

    fn gzip(&self) -> bool {
        let offered = self.headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
        offered.is_some_and(accepts_gzip)
    }

    /// Whether the client has this very document (RFC 9110, 13.1.2).
    fn holds(&self, document: &Document) -> bool {
        let held = self.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
        held.unwrap_or_default().split(',').map(str::trim).any(|one| {
            let one = one.strip_prefix("W/").unwrap_or(one);
            one == "*" || one == document.etag()
        })
    }
}

/// A form of a document, made if need be, on a thread that ends with the memory that it took on the way: what is kept is
/// copied out (RATIONALE.md has the same of compilations). Few are ever made: three for each document of a snapshot.
async fn form(document: &Arc<Document>, form: Form) -> Result<Bytes, Status> {
    if let Some(kept) = document.kept(form) {
        return Ok(kept.clone());
    }
    // One at a time: a burst of first requests makes one, and the others find it.
    let _turn = MAKING.lock().await;
    if let Some(kept) = document.kept(form) {
        return Ok(kept.clone());
    }
    let (done, made) = tokio::sync::oneshot::channel();
    let (copied, until_copied) = std::sync::mpsc::channel::<()>();
    let of = Arc::clone(document);
    let work = move || {
        let form = of.make(form).map(Arc::new);
        // Whoever asked may have gone: then nobody copies, and the other end is closed.
        let _ = done.send(form.clone());
        let _ = until_copied.recv();
        drop(form);
    };
    std::thread::Builder::new()
        .name("documents".into())
        .spawn(work)
        .map_err(Status::internal_error)?;
    let made = made.await.map_err(Status::internal_error)?;
    let made = made.ok_or_else(|| Status::internal_error("the document has no such form"))?;
    let kept = document.keep(form, &made);
    // What a thread took, the same thread gives back, or its heap outlives it.
    drop(made);
    drop(copied);
    Ok(kept)
}

fn whole(content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_modified() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn moved(to: &str) -> Result<Response<Body>, Status> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let to = HeaderValue::from_str(to).map_err(Status::internal_error)?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

fn etag(document: &Document) -> Result<HeaderValue, Status> {
    HeaderValue::from_str(document.etag()).map_err(Status::internal_error)
}

/// As RFC 9110 (5.6.7) writes times.
fn http_date(time: SystemTime) -> Result<HeaderValue, Status> {
    let time = jiff::Timestamp::try_from(time).map_err(Status::internal_error)?;
    let text: Cow<'static, str> = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .map_err(Status::internal_error)?
        .into();
    HeaderValue::from_str(&text).map_err(Status::internal_error)
}

#[cfg(test)]
mod tests;
