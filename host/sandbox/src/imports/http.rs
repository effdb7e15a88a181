//! `http`: one request to a granted host.
//!
//! The URL is read once; what the rules judge is what is sent. Where the host's name leads is judged by whoever sends.

use ::http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::bindings::outrigger::plugin::http;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::Capability;
use crate::log::visible;

impl http::Host for Call {
    async fn send(&mut self, request: http::Request) -> Result<http::Response, Error> {
        self.admit(Capability::Http)?;
        let request = read(request)?;
        let (host, port) = place(request.uri())?;
        if !self.granted.effective.allows_host(host, port) {
            let asked = self.granted.requested.allows_host(host, port);
            let what = format!("requests to {}:{port}", visible(host, 253));
            return Err(self.deny_argument(Capability::Http, asked, &what));
        }
        let Some(client) = self.granted.http.clone() else {
            return Err(super::nobody("hosts outside"));
        };
        let (places, deadline, most) = (self.granted.egress.clone(), self.host_deadline(), self.answers_left);
        let name = host.to_owned();
        let place = async { places.acquire().await.ok() };
        let Ok(_place) = tokio::time::timeout_at(deadline.into(), place).await else {
            return Err(Error::Exhausted(format!(
                "plugin {} has as many requests under way as it may; ask again later",
                self.plugin
            )));
        };
        let answer = super::within(deadline, &name, client.send(request, most, deadline)).await?;
        let headers: Vec<(String, String)> = answer
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let head: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.spend(head + answer.body().len())?;
        Ok(http::Response {
            status: answer.status().as_u16(),
            headers,
            body: answer.into_body().into(),
        })
    }
}

fn read(request: http::Request) -> Result<Request<bytes::Bytes>, Error> {
    let invalid = |what: &str, text: &str| Error::Invalid(format!("{:?} is not {what}", visible(text, 64)));
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("an HTTP method", &request.method))?;
    // The URL may carry a credential in its query: it is not repeated.
    let uri: Uri = request.url.parse().map_err(|_| Error::Invalid("the URL is none".into()))?;
    let mut built = Request::new(request.body.into());
    *built.method_mut() = method;
    *built.uri_mut() = uri;
    for (name, value) in &request.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("the name of a header", name))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::Invalid(format!("the value of the header {key} cannot stand in one")))?;
        if built.headers_mut().try_append(key, value).is_err() {
            return Err(Error::Invalid("the request has too many headers".into()));
        }
    }
    Ok(built)
}

/// Host and port that the request names.
fn place(uri: &Uri) -> Result<(&str, u16), Error> {
    let scheme = uri.scheme_str().unwrap_or_default();
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err(Error::Invalid("the URL begins neither with https:// nor with http://".into())),
    };
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(Error::Invalid(
            "a URL must not carry a user's name; use the header Authorization".into(),
        ));
    }
    let port = match uri.port() {
        Some(port) => port.as_u16(),
        // A port that is none, or is empty, is not read as one.
        None if uri.authority().map(::http::uri::Authority::as_str) != uri.host() => {
            return Err(Error::Invalid("the URL's port is none".into()));
        }
        None => usual,
    };
    match uri.host() {
        Some(host) if !host.is_empty() => Ok((host, port)),
        _ => Err(Error::Invalid("the URL names no host".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_once() {
        for (url, want) in [
            ("https://example.com/a?b", Some(("example.com", 443))),
            ("http://example.com", Some(("example.com", 80))),
            ("https://example.com:8443/", Some(("example.com", 8443))),
            ("https://[::1]:8443/", Some(("[::1]", 8443))),
            ("https://example.com@evil.org/", None),
            ("https://user:word@example.com/", None),
            ("ftp://example.com/", None),
            ("example.com", None),
            ("/path", None),
            ("https://example.com\\@evil.org/", None),
            ("https://", None),
            ("https://example.com:/", None),
            ("https://example.com:99999/", None),
            ("https://exa mple.com/", None),
        ] {
            let request = http::Request {
                method: "GET".into(),
                url: url.into(),
                headers: Vec::new(),
                body: Vec::new(),
            };
            let read = read(request).ok();
            let found = read.as_ref().and_then(|r| place(r.uri()).ok());
            assert_eq!(found, want, "{url}");
        }
    }
}
