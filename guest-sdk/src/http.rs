//! Requests to the outside, and their answers.
//!
//! The host sends them, to granted hosts alone, and holds the limits: size, time, and where a name may lead. A redirect is an answer
//! like any other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// A request, sent with [`Http::send`](crate::Http::send).
///
/// ```
/// # use outrigger_sdk::http::Request;
/// let request = Request::post("https://api.example.com/books").json(&["moby-dick"]).header("Accept", "application/json");
/// assert_eq!((request.method.as_str(), request.body.as_slice()), ("POST", &br#"["moby-dick"]"#[..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` …
    pub method: String,
    /// With scheme and host.
    pub url: String,
    /// Names and values, in their order.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// What has no form in JSON; it fails the request.
    pub(crate) wrong: Option<Error>,
}

/// An answer, with its whole body.
///
/// ```
/// # use outrigger_sdk::{Error, http::Response};
/// let response = Response::new(200, r#"{"title": "Moby-Dick"}"#).header("Content-Type", "application/json");
/// assert_eq!(response.get("content-type"), Some("application/json"));
/// let book: outrigger_sdk::serde_json::Value = response.ok().unwrap().json().unwrap();
/// assert_eq!(book["title"], "Moby-Dick");
/// assert!(matches!(Response::new(404, "no such book").ok(), Err(Error::NotFound(_))));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names and values, in their order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

// === impl Request ===

impl Request {
    /// With this method, without headers and body.
    #[must_use]
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            wrong: None,
        }
    }

    /// GET.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// POST.
    #[must_use]
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// PUT.
    #[must_use]
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// DELETE.
    #[must_use]
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// With this body and its content type. What has no form in JSON fails the request.
    #[must_use]
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = body,
            Err(e) => self.wrong = Some(Error::Failed(format!("the body has no form in JSON: {e}"))),
        }
        self.header("Content-Type", "application/json")
    }
}

// === impl Response ===

impl Response {
    /// An answer without headers, for tests.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// One more header, for tests.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The first header of this name, however it is spelt.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The answer if it is a success (2xx).
    ///
    /// # Errors
    /// The error that says the same: [`Error::NotFound`] for 404 and 410, [`Error::Conflict`] for 409 and 412,
    /// [`Error::Invalid`] for 400 and 422, [`Error::Timeout`] for 408 and 504, [`Error::Exhausted`] for 429, and
    /// [`Error::Unavailable`] for what is the other side's fault. The body is not in the text.
    pub fn ok(self) -> Result<Self, Error> {
        let why = || format!("the other side answered {}", self.status);
        match self.status {
            200..300 => Ok(self),
            400 | 422 => Err(Error::Invalid(why())),
            404 | 410 => Err(Error::NotFound(why())),
            408 | 504 => Err(Error::Timeout(why())),
            409 | 412 => Err(Error::Conflict(why())),
            429 => Err(Error::Exhausted(why())),
            500..600 => Err(Error::Unavailable(why())),
            _ => Err(Error::Failed(why())),
        }
    }

    /// The body as a type.
    ///
    /// # Errors
    /// [`Error::Failed`] if it does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
