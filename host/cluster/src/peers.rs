//! What other replicas bring: one stream from each that is alive.
//!
//! A stream is HTTP: a GET of [`PATH`] at the replica's own port, with the credentials that this host has towards kube-apiserver (its
//! service account), so that the answering side authenticates and authorizes it as any other request. The replica's certificate is
//! verified for the name that kube-apiserver verifies too, by the authority of the `caBundle`. The body is frames of a length of four
//! bytes and a message: first all that is known there, then an empty one, then what each tick brings; more empty ones only say that the connection
//! lives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use kube::Config;
use kube::client::Body;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::causes::causes;
use crate::client;
use crate::replicas::Replicas;

/// Where a replica says what it brings.
pub const PATH: &str = "/outrigger/v1/collected";
/// An empty frame is sent after so long a silence.
pub const BEAT: Duration = Duration::from_secs(2);
/// Bytes of a frame at most: what one tick may bring, and room.
pub const FRAME: usize = 64 << 20;
/// After so long a silence the connection is dead.
const SILENCE: Duration = Duration::from_secs(7);

/// Who is asked, and who hears it.
pub struct Peers {
    /// Who is alive.
    pub replicas: Arc<Replicas>,
    /// Credentials, and the rest of how to connect; the server's URL, name and authorities are replaced.
    pub config: Config,
    /// The name in replicas' certificates.
    pub server_name: String,
    /// Whom to believe, in DER; none while that is not known.
    pub authorities: Arc<dyn Fn() -> Option<Vec<Vec<u8>>> + Send + Sync>,
    /// Hears each message; a sentence if it was of no use.
    pub heard: Arc<dyn Fn(Bytes) -> Result<(), String> + Send + Sync>,
}

// === impl Peers ===

impl Peers {
    /// Keeps one stream from each live replica, until the end.
    pub async fn follow(self: Arc<Self>, end: CancellationToken) {
        let mut live = self.replicas.live();
        let mut streams: BTreeMap<SocketAddr, CancellationToken> = BTreeMap::new();
        let tasks = TaskTracker::new();
        loop {
            let now = live.borrow_and_update().replicas.clone();
            streams.retain(|replica, gone| {
                let stays = now.contains(replica);
                if !stays {
                    gone.cancel();
                }
                stays
            });
            for replica in now.iter().filter(|replica| **replica != self.replicas.address()) {
                streams.entry(*replica).or_insert_with(|| {
                    let gone = end.child_token();
                    let (peers, replica, until) = (self.clone(), *replica, gone.clone());
                    tasks.spawn(async move { until.run_until_cancelled(peers.listen(replica)).await });
                    gone
                });
            }
            tokio::select! {
                () = end.cancelled() => break,
                changed = live.changed() => if changed.is_err() { break },
            }
        }
        for gone in streams.values() {
            gone.cancel();
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Listens to one replica for ever.
    async fn listen(&self, replica: SocketAddr) {
        let _known = Known(&self.replicas, replica);
        let mut backoff = Backoff::new(Duration::from_millis(200), 2.0, Duration::from_secs(5), 0.5);
        let mut told = String::new();
        loop {
            let mut lived = false;
            let why = self.stream(replica, &mut lived).await;
            self.replicas.connected(replica, false);
            self.replicas.met(replica);
            // It may have left.
            self.replicas.nudge();
            if lived {
                backoff.reset();
                told.clear();
            }
            if why == told {
                debug!(%replica, "still: {why}");
            } else {
                warn!(%replica, "what this replica collects does not come here, and its targets are asked from here when they are late: {why}");
                told = why;
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    /// One connection, from its beginning to its end; why it ended.
    async fn stream(&self, replica: SocketAddr, lived: &mut bool) -> String {
        let Some(authorities) = (self.authorities)() else {
            return "the authority that replicas share is not known yet".to_owned();
        };
        let mut config = self.config.clone();
        let Ok(url) = format!("https://{replica}").parse() else {
            return "its address makes no URL".to_owned();
        };
        config.cluster_url = url;
        config.root_cert = Some(authorities);
        config.tls_server_name = Some(self.server_name.clone());
        config.accept_invalid_certs = false;
        let client = match client::client(&config) {
            Ok(client) => client,
            Err(error) => return causes(&error),
        };
        let Ok(request) = http::Request::get(PATH).body(Body::empty()) else {
            return "its path makes no request".to_owned();
        };
        let response = match tokio::time::timeout(SILENCE, client.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return causes(&error),
            Err(_) => return format!("no answer within {SILENCE:?}"),
        };
        let status = response.status();
        if !status.is_success() {
            return match status.as_u16() {
                401 | 403 => format!("it answers {status}: this account needs get on the non-resource URL {PATH}"),
                404 => format!("it answers {status}: it does not share its work"),
                _ => format!("it answers {status}"),
            };
        }
        info!(%replica, "what this replica collects comes here");
        *lived = true;
        self.replicas.connected(replica, true);
        let body = response.into_body().into_data_stream().map_err(std::io::Error::other);
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec();
        let mut frames = FramedRead::new(StreamReader::new(body), codec);
        let mut useless = String::new();
        loop {
            match tokio::time::timeout(SILENCE, frames.next()).await {
                // Behind all that it knew.
                Ok(Some(Ok(frame))) if frame.is_empty() => self.replicas.met(replica),
                Ok(Some(Ok(frame))) => {
                    if let Err(why) = (self.heard)(frame.freeze())
                        && why != useless
                    {
                        debug!(%replica, "not taken: {why}");
                        useless = why;
                    }
                }
                Ok(Some(Err(error))) => return format!("the connection broke: {}", causes(&error)),
                Ok(None) => return "it ended the connection".to_owned(),
                Err(_) => return format!("nothing was heard for {SILENCE:?}"),
            }
        }
    }
}

/// Forgets a connection when whoever kept it ends.
struct Known<'a>(&'a Replicas, SocketAddr);

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.0.connected(self.1, false);
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
