//! One request, and who sends it.

use std::fmt;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::differential::Outcome;
use outrigger_e2e::differential::compare::{self, Aspect, Body, Read};
use outrigger_e2e::http::{Answer, Client};
use serde_json::Value;

use crate::house::House;

/// The version of the API that both servers have.
pub(crate) const BASE: &str = "/apis/metrics.k8s.io/v1beta1";

/// One request. `{rv}` in its path is the server's own resourceVersion of all pods, `{continue}` a token of the server's own after
/// two of them, `{etag}` in a header what the server gives for the same request.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) who: Who,
    /// Numbers in messages differ from server to server.
    pub(crate) numbers: bool,
    /// Only status and headers are compared.
    pub(crate) bodiless: bool,
}

/// Who sends a request, straight to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The aggregator, for a user of `system:masters`.
    Master,
    /// The aggregator, with the row's own identity headers.
    Proxy,
    /// No certificate.
    Nobody,
    /// A certificate of the cluster's authority: user `direct`, no group.
    Direct,
    /// A certificate of an authority that nobody knows.
    Stranger,
}

/// One of the two servers, and ways to it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) proxy: Client,
    pub(crate) nobody: Client,
    pub(crate) direct: Client,
    pub(crate) stranger: Client,
}

/// GET as an administrator.
pub(crate) fn get(name: impl Into<String>, path: impl Into<String>) -> Row {
    Row {
        name: name.into(),
        method: Method::GET,
        path: path.into(),
        headers: Vec::new(),
        body: Bytes::new(),
        who: Who::Master,
        numbers: false,
        bodiless: false,
    }
}

/// GET of something under [`BASE`].
pub(crate) fn read(name: impl Into<String>, below: &str) -> Row {
    get(name, format!("{BASE}{below}"))
}

// === impl Row ===

impl Row {
    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }

    pub(crate) fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// As the aggregator speaks for this user.
    pub(crate) fn user(self, user: &str) -> Self {
        self.by(Who::Proxy).header("x-remote-user", user)
    }

    pub(crate) fn numbers(mut self) -> Self {
        self.numbers = true;
        self
    }

    pub(crate) fn bodiless(mut self) -> Self {
        self.bodiless = true;
        self
    }

    /// Sends it to one of the two.
    pub(crate) fn ask(&self, server: &Server) -> Result<Answer> {
        let client = match self.who {
            Who::Master => &server
                .proxy
                .clone()
                .with("x-remote-user", "judge")?
                .with("x-remote-group", "system:masters")?,
            Who::Proxy => &server.proxy,
            Who::Nobody => &server.nobody,
            Who::Direct => &server.direct,
            Who::Stranger => &server.stranger,
        };
        let path = self.filled(client)?;
        let etag = match self.headers.iter().any(|(_, value)| value.contains("{etag}")) {
            true => {
                let others: Vec<(&str, &str)> = self
                    .headers
                    .iter()
                    .filter(|(_, v)| !v.contains("{etag}"))
                    .map(|(n, v)| (*n, &**v))
                    .collect();
                let answer = client.get_with(&path, &others)?;
                let etag = answer.headers.get("etag").context("no ETag")?.to_str()?;
                etag.to_owned()
            }
            false => String::new(),
        };
        let headers: Vec<(&str, String)> = self.headers.iter().map(|(n, v)| (*n, v.replace("{etag}", &etag))).collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, &**v)).collect();
        client.request(self.method.clone(), &path, &headers, self.body.clone())
    }

    fn filled(&self, client: &Client) -> Result<String> {
        let mut path = self.path.clone();
        if path.contains("{rv}") {
            let list = client.document(&format!("{BASE}/pods"))?;
            let version = list["metadata"]["resourceVersion"]
                .as_str()
                .context("a list without resourceVersion")?;
            path = path.replace("{rv}", version);
        }
        if path.contains("{continue}") {
            let list = client.document(&format!("{BASE}/pods?limit=2"))?;
            let token = list["metadata"]["continue"].as_str().context("a page without continue")?;
            path = path.replace("{continue}", token);
        }
        if path.contains("{hash}") {
            let index: Value = client.document("/openapi/v3")?;
            let url = index["paths"][self
                .path
                .trim_start_matches("/openapi/v3/")
                .split('?')
                .next()
                .unwrap_or_default()]["serverRelativeURL"]
                .as_str()
                .with_context(|| format!("no such document: {index}"))?;
            let hash = url.rsplit_once("hash=").context("no hash")?.1;
            path = path.replace("{hash}", hash);
        }
        Ok(path)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in &self.headers {
            write!(f, " -H '{name}: {value}'")?;
        }
        if !self.body.is_empty() {
            write!(f, " ({} bytes)", self.body.len())?;
        }
        if self.who != Who::Master {
            write!(f, " as {:?}", self.who)?;
        }
        Ok(())
    }
}

impl House {
    /// What differs in the answers to it.
    pub(crate) fn compared(&self, row: &Row) -> Outcome {
        Outcome::of(&row.name, row, self.both(row))
    }

    fn both(&self, row: &Row) -> Result<Vec<Aspect>> {
        let (ours, theirs) = (
            row.ask(&self.ours).context("ours")?,
            row.ask(&self.theirs).context("the peer's")?,
        );
        let body = |answer: &Answer| -> Read {
            let Body { value, form } = compare::body(&self.decoder, answer)?;
            let value = compare::clean(value, row.numbers);
            Ok(Body { value, form })
        };
        let bodies = (ours.status == theirs.status && !row.bodiless).then(|| (body(&ours), body(&theirs)));
        Ok(compare::answers(&ours, &theirs, bodies))
    }
}
