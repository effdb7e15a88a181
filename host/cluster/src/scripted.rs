//! A kube-apiserver that says what its script says, for tests: one answer per request, in order, on loopback.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// One answer.
pub(crate) enum Step {
    /// A status and a JSON body.
    Say(u16, String),
    /// 200 and lines as they are sent; ends when the sender is dropped.
    Watch(mpsc::UnboundedReceiver<String>),
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) accept: String,
    pub(crate) agent: String,
    /// As whom, and in which group.
    pub(crate) impersonating: [String; 2],
    pub(crate) body: String,
}

pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) config: Config,
    asked: Arc<Mutex<Vec<Asked>>>,
    left: Arc<Mutex<VecDeque<Step>>>,
    task: JoinHandle<()>,
}

/// A watch's answer and the end that feeds it.
pub(crate) fn watch() -> (mpsc::UnboundedSender<String>, Step) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Step::Watch(receiver))
}

/// A watch event as one line.
pub(crate) fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// A list's JSON.
pub(crate) fn list(version: &str, next: &str, items: &[String]) -> Step {
    let items = items.join(",");
    Step::Say(
        200,
        format!(
            "{{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{version}\",\"continue\":\"{next}\"}},\
             \"items\":[{items}]}}"
        ),
    )
}

/// A refusal.
pub(crate) fn status(code: u16, reason: &str) -> Step {
    Step::Say(code, status_json(code, reason))
}

pub(crate) fn status_json(code: u16, reason: &str) -> String {
    format!(
        "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\"message\":\"scripted\",\
         \"reason\":\"{reason}\",\"code\":{code}}}"
    )
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Server {
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        // Never used over http; keeps the system's roots out of the test.
        config.root_cert = Some(Vec::new());
        config
            .headers
            .push((http::header::USER_AGENT, http::HeaderValue::from_static("outrigger/test")));
        let client = crate::client::client(&config).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(VecDeque::from(script)));
        let (log, script) = (Arc::clone(&asked), Arc::clone(&left));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                let service = service_fn(move |request| answer(request, Arc::clone(&log), Arc::clone(&script)));
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self {
            client,
            config,
            asked,
            left,
            task,
        }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn then(&self, step: Step) {
        self.left.lock().unwrap().push_back(step);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<VecDeque<Step>>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let header = |name: http::HeaderName| {
        head.headers
            .get(name)
            .map_or_else(String::new, |v| v.to_str().unwrap().to_owned())
    };
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        accept: header(http::header::ACCEPT),
        agent: header(http::header::USER_AGENT),
        impersonating: ["impersonate-user", "impersonate-group"].map(|name| header(http::HeaderName::from_static(name))),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    log.lock().unwrap().push(asked);
    // Who asks beyond the script waits until it goes on.
    let step = loop {
        let next = script.lock().unwrap().pop_front();
        match next {
            Some(step) => break step,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let (code, body) = match step {
        Step::Say(code, text) => (code, Full::new(Bytes::from(text)).boxed()),
        Step::Watch(lines) => {
            let frames = futures::stream::unfold(lines, |mut lines| async move {
                let line = lines.recv().await?;
                Some((Ok(Frame::data(Bytes::from(line))), lines))
            });
            (200, BodyExt::boxed(StreamBody::new(frames)))
        }
    };
    Ok(Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(body)
        .unwrap())
}
