//! WebSockets in front of a guest: the handshake, and one task that carries messages both ways (RFC 6455).
//!
//! The handshake answers 101 and leaves the conversation for the connection's own task ([`Handover`]): it has the connection's slot, is cut with it, and
//! ends when the server drains. Both ways have short queues: a guest that does not read holds up the client, and a client that does
//! not read holds up the guest. Pings go out while nothing else does; who answers nothing for two of them is gone.
//!
//! Subprotocols are agreed on as upstream's wsstream does it: the first of the client's that the plugin offers. The token that some clients hide among
//! them is gone before anybody comes here (auth).

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use outrigger_api::manifest::Subresource;
use outrigger_api::status::Status;
use outrigger_resources::{Asked, Conversation, Resources};
use outrigger_sandbox::{ContractError, HostError, Input, Sink};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use crate::call::Body;
use crate::connection::Handover;

/// Messages between guest and connection, each way.
const QUEUE: usize = 4;
/// Bytes of one message: what a guest can read at once.
const MESSAGE: usize = 1 << 20;
/// How often a silent client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// The longest from the 101 to the upgraded connection, and from our close to the client's.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a message may wait for a client that does not read.
const STALLED: Duration = Duration::from_secs(60);

/// The client's messages, for a guest.
struct Inbound(mpsc::Receiver<Bytes>);

/// A guest's messages, for the client.
struct Outbound(mpsc::Sender<Bytes>);

/// One end of a conversation.
struct Talk {
    conversation: Conversation,
    to_guest: mpsc::Sender<Bytes>,
    from_guest: mpsc::Receiver<Bytes>,
    draining: CancellationToken,
    audit_id: String,
}

/// Whether an upgrade to WebSocket is asked for (`wsstream.IsWebSocketRequest`).
pub(crate) fn is_request(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|v| v.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted)))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// The handshake.
///
/// # Errors
/// 400 for a handshake that is none, and for subprotocols of which the stream speaks none; 404 and 405 as for the same request without
/// an upgrade.
pub(crate) fn answer(
    resources: &Resources,
    asked: &Asked<'_>,
    stream: &Subresource,
    parts: &mut Parts,
    (handover, draining): (&Handover, CancellationToken),
) -> Result<Response<Body>, Status> {
    let bad = |why: &str| Status::bad_request(format!("the WebSocket handshake is not valid: {why}"));
    if parts.version != Version::HTTP_11 || parts.method != http::Method::GET {
        return Err(bad("it must be a GET of HTTP/1.1"));
    }
    let header = |name: header::HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    if header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(bad("Sec-WebSocket-Version must be 13"));
    }
    let key = header(header::SEC_WEBSOCKET_KEY).unwrap_or_default();
    let length = base64::engine::general_purpose::STANDARD.decode(key).map(|k| k.len());
    if length != Ok(16) {
        return Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    let accept = derive_accept_key(key.as_bytes());
    let protocol = agreed(&parts.headers, &stream.protocols)?;
    let upgrade = parts
        .extensions
        .remove::<OnUpgrade>()
        .ok_or_else(|| bad("this connection cannot be upgraded"))?;
    let (to_guest, inbound) = mpsc::channel(QUEUE);
    let (outbound, from_guest) = mpsc::channel(QUEUE);
    let conversation = resources.converse(asked, &protocol, Box::new(Inbound(inbound)), Box::new(Outbound(outbound)))?;
    let talk = Talk {
        conversation,
        to_guest,
        from_guest,
        draining,
        audit_id: asked.audit_id.to_owned(),
    };
    handover.leave(Box::pin(async move {
        match timeout(PATIENCE, upgrade).await {
            Ok(Ok(upgraded)) => talk.over(upgraded).await,
            Ok(Err(error)) => tracing::debug!(audit_id = talk.audit_id, %error, "the upgrade failed"),
            Err(_) => tracing::debug!(audit_id = talk.audit_id, "the upgrade took too long"),
        }
    }));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let text = |text: &str| HeaderValue::from_str(text).map_err(Status::internal_error);
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, text(&accept)?);
    if !protocol.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, text(&protocol)?);
    }
    Ok(response)
}

/// The first of the client's subprotocols that is offered. Who names none gets none.
fn agreed(headers: &HeaderMap, offered: &[String]) -> Result<String, Status> {
    if offered.is_empty() {
        return Err(Status::bad_request("this stream does not speak WebSocket"));
    }
    let wanted: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .collect();
    if wanted.is_empty() {
        return Ok(String::new());
    }
    let agreed = wanted.iter().find(|w| offered.iter().any(|o| o == *w));
    agreed.map(|p| (*p).to_owned()).ok_or_else(|| {
        Status::bad_request(format!(
            "requested protocol(s) are not supported: {wanted:?}; supports {offered:?}"
        ))
    })
}

// === impl Talk ===

impl Talk {
    async fn over(self, upgraded: Upgraded) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let audit_id = self.audit_id.clone();
        if let Err(why) = self.carry(socket).await {
            tracing::debug!(audit_id, "the WebSocket ended: {why}");
        }
    }

    async fn carry(self, socket: WebSocketStream<TokioIo<Upgraded>>) -> Result<(), String> {
        let Self {
            mut conversation,
            to_guest,
            mut from_guest,
            draining,
            audit_id,
        } = self;
        let (mut out, mut incoming) = socket.split();
        // The client's side: its messages, until it closes or is silent for too long.
        let read = async move {
            let mut to_guest = Some(to_guest);
            let mut heard = Instant::now();
            loop {
                let message = match timeout(PING, incoming.next()).await {
                    Ok(Some(Ok(message))) => message,
                    Ok(Some(Err(error))) => return Err(error.to_string()),
                    Ok(None) => return Ok(()),
                    Err(_) if heard.elapsed() > 2 * PING => return Err("nothing was heard of the client".to_owned()),
                    Err(_) => continue,
                };
                heard = Instant::now();
                let bytes = match message {
                    Message::Binary(bytes) => bytes,
                    Message::Text(text) => text.into(),
                    Message::Close(_) => return Ok(()),
                    _ => continue,
                };
                // An empty read is the end to a guest, so an empty message is none.
                if let Some(guest) = to_guest.as_ref().filter(|_| !bytes.is_empty())
                    && guest.send(bytes).await.is_err()
                {
                    to_guest = None;
                }
                // Waiting for the guest is not the client's silence.
                heard = heard.max(Instant::now());
            }
        };
        // The guest's side: it runs, and what it writes is sent.
        let write = async {
            let mut outcome = None;
            loop {
                let message = tokio::select! {
                    biased;
                    said = from_guest.recv() => match said {
                        Some(bytes) => Message::Binary(bytes),
                        None if outcome.is_some() => break,
                        // The sink is gone with the guest, whose outcome is next.
                        None => {
                            outcome = Some((&mut conversation).await);
                            break;
                        }
                    },
                    ended = &mut conversation, if outcome.is_none() => {
                        outcome = Some(ended);
                        continue;
                    }
                    () = tokio::time::sleep(PING) => Message::Ping(Bytes::new()),
                    () = draining.cancelled() => {
                        let _ = timeout(PATIENCE, out.send(Message::Close(Some(frame(CloseCode::Away, "the server shuts down"))))).await;
                        return Ok(());
                    }
                };
                let sent = timeout(STALLED, out.send(message)).await;
                sent.map_err(|_| "the client does not read".to_owned())?
                    .map_err(|e| e.to_string())?;
            }
            let close = match outcome {
                Some(Err(why)) => {
                    tracing::error!(audit_id, "a WebSocket is closed: {why}");
                    frame(CloseCode::Error, "the plugin failed")
                }
                _ => frame(CloseCode::Normal, ""),
            };
            let sent = timeout(PATIENCE, out.send(Message::Close(Some(close)))).await;
            sent.map_err(|_| "the client does not read".to_owned())?
                .map_err(|e| e.to_string())
        };
        tokio::pin!(read);
        tokio::select! {
            // The client is gone; dropping the other half ends the guest.
            ended = &mut read => return ended,
            ended = write => ended?,
        }
        // Our close is sent; the client's answer to it is waited for a while, so that it reads all that was sent before.
        let _ = timeout(PATIENCE, read).await;
        Ok(())
    }
}

fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

// === impl Inbound ===

#[async_trait]
impl Input for Inbound {
    async fn read(&mut self, most: usize) -> Result<Bytes, HostError> {
        match self.0.recv().await {
            Some(message) if message.len() > most => Err(ContractError::TooLarge(format!(
                "a message of {} bytes, and {most} were asked for",
                message.len()
            ))),
            Some(message) => Ok(message),
            None => Ok(Bytes::new()),
        }
    }
}

// === impl Outbound ===

#[async_trait]
impl Sink for Outbound {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        // The handshake was the start.
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        let sent = self.0.send(bytes).await;
        sent.map_err(|_| ContractError::Unavailable("nobody reads any more".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_protocol_of_the_clients_that_is_offered_is_taken() {
        let offered = ["v5.channel.k8s.io".to_owned(), "v4.channel.k8s.io".to_owned()];
        for (wanted, want) in [
            ("v4.channel.k8s.io, v5.channel.k8s.io", Ok("v4.channel.k8s.io")),
            ("x,v5.channel.k8s.io", Ok("v5.channel.k8s.io")),
            ("", Ok("")),
            ("x", Err(400)),
        ] {
            let mut headers = HeaderMap::new();
            if !wanted.is_empty() {
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, wanted.parse().unwrap());
            }
            let got = agreed(&headers, &offered);
            assert_eq!(got.as_deref().map_err(|s| s.code), want, "{wanted}");
            assert_eq!(agreed(&headers, &[]).unwrap_err().code, 400);
        }
    }
}
