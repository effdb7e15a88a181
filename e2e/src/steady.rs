//! A client that keeps its connection, as every real one does, and is as patient as Go's: a request that died with a connection that
//! had served before, without a word of its answer, is sent once more on a new one (net/http `shouldRetryRequest`; HTTP/2 after
//! GOAWAY). Whatever else goes wrong is a failure.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::CertificateDer;

use crate::http::{Answer, Client};

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive.
    H1,
    /// HTTP/2.
    H2,
}

/// One way to one server over one connection at a time.
#[derive(Debug)]
pub struct Steady {
    client: Client,
    protocol: Protocol,
    connection: Option<Connection>,
    /// Connections so far.
    pub dialled: usize,
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    served: usize,
    certificate: CertificateDer<'static>,
}

#[derive(Debug)]
enum Sender {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

// === impl Steady ===

impl Steady {
    /// No connection yet.
    #[must_use]
    pub fn new(client: Client, protocol: Protocol) -> Self {
        Self {
            client,
            protocol,
            connection: None,
            dialled: 0,
        }
    }

    /// The certificate that the server showed on the present connection.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.as_ref().map(|c| &c.certificate)
    }

    /// GET, over the connection that there is, or a new one.
    ///
    /// # Errors
    /// No answer that a well-behaved client would have had.
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.dial().await?,
            };
            if !connection.sender.is_ready().await {
                if connection.served == 0 {
                    bail!("the connection was closed before anything was asked");
                }
                continue;
            }
            let uri = match self.protocol {
                Protocol::H1 => path.to_owned(),
                Protocol::H2 => format!("https://{}{path}", self.client.host()),
            };
            let request = Request::get(uri).header("host", self.client.host()).body(Empty::new())?;
            match connection.sender.send(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = body.collect().await.context("the body broke off")?.to_bytes();
                    connection.served += 1;
                    self.connection = Some(connection);
                    return Ok(Answer {
                        status: head.status,
                        headers: head.headers,
                        body,
                    });
                }
                Err(_) if connection.served > 0 => {}
                Err(error) => return Err(error).context("a new connection brought no answer"),
            }
        }
    }

    async fn dial(&mut self) -> Result<Connection> {
        self.dialled += 1;
        let alpn: &[u8] = match self.protocol {
            Protocol::H1 => b"http/1.1",
            Protocol::H2 => b"h2",
        };
        let stream = self.client.dial(alpn).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.context("a certificate")?.clone().into_owned();
        let io = TokioIo::new(stream);
        let sender = match self.protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::H1(sender)
            }
            Protocol::H2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::H2(sender)
            }
        };
        Ok(Connection {
            sender,
            served: 0,
            certificate,
        })
    }
}

// === impl Sender ===

impl Sender {
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::H1(sender) => sender.ready().await.is_ok(),
            Self::H2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<hyper::Response<Incoming>> {
        match self {
            Self::H1(sender) => sender.send_request(request).await,
            Self::H2(sender) => sender.send_request(request).await,
        }
    }
}
