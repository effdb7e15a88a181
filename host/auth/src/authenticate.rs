//! Who is calling: each way of knowing in upstream's order (apiserver `authenticatorfactory/delegating.go`).
//!
//! requestheader → client certificate → bearer token → anonymous. The first that says yes wins. One that says no (an untrusted
//! certificate, a bad token) does not end it, a later one may still say yes; but if none does, the caller is refused and not
//! taken for anonymous. Whatever the outcome, the request leaves here without `Authorization` and without any header that could
//! claim an identity.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName};
use outrigger_api::identity::Identity;
use outrigger_api::status::Status;

use crate::bearer::Bearer;
use crate::peer::Peer;
use crate::requestheader;
use crate::reviews::NoAnswer;
use crate::trust::{SharedTrust, Trust};

/// Finds out who is calling.
#[derive(Debug)]
pub struct Authenticator {
    trust: SharedTrust,
    bearer: Option<Bearer>,
    anonymous: bool,
}

/// One way of knowing said no.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The certificate does not lead to an authority that we know, is not valid now, or is not for clients.
    #[error("the certificate is not one of the {authority} CA's: {source}")]
    Untrusted {
        /// `client` or `requestheader`.
        authority: &'static str,
        /// webpki's reason.
        source: webpki::Error,
    },
    /// The requestheader CA vouches for the certificate, under a name that may not speak for others.
    #[error("a certificate with common name {0:?} may not speak for others")]
    NameNotAllowed(String),
    /// The certificate's subject cannot be read.
    #[error("the certificate's subject cannot be read")]
    Unreadable,
    /// The front proxy spoke for nobody.
    #[error("the front proxy sent a blank user name")]
    BlankUser,
    /// An identity header is not UTF-8.
    #[error("header {0} is not UTF-8")]
    NotText(HeaderName),
    /// The token is nobody's.
    #[error("invalid bearer token")]
    BadToken,
    /// The token could not be reviewed.
    #[error("the bearer token could not be reviewed: {0}")]
    NoReview(#[source] Arc<NoAnswer>),
    /// No way of knowing had an opinion, and anonymous callers are not taken.
    #[error("no credentials")]
    NoCredentials,
}

/// Nobody said yes. The reasons are for the log: the caller learns nothing but 401.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unauthenticated(pub Vec<Refusal>);

// === impl Authenticator ===

impl Authenticator {
    /// Under a trust that may be swapped at any time. Without `bearer` nobody reads tokens; with `anonymous`, callers without
    /// any credentials are `system:anonymous`.
    #[must_use]
    pub fn new(trust: SharedTrust, bearer: Option<Bearer>, anonymous: bool) -> Self {
        Self {
            trust,
            bearer,
            anonymous,
        }
    }

    /// The trust, for the handshake's hints and to swap it.
    #[must_use]
    pub fn trust(&self) -> &SharedTrust {
        &self.trust
    }

    /// Who is calling. `headers` lose everything that claims an identity, whatever the outcome.
    ///
    /// # Errors
    /// [`Unauthenticated`] if nobody vouches for the caller and somebody objects.
    pub async fn authenticate(&self, peer: &Peer, headers: &mut HeaderMap) -> Result<Arc<Identity>, Unauthenticated> {
        let trust = self.trust.load_full();
        let outcome = self.decide(&trust, peer, headers).await;
        trust.strip(headers);
        outcome
    }

    async fn decide(&self, trust: &Trust, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Identity>, Unauthenticated> {
        let mut refusals = Vec::new();
        if let Some(judgement) = peer.judgement(trust) {
            match (trust.front_proxy(), &judgement.front_proxy) {
                (Some(proxy), Some(Ok(()))) => match requestheader::identify(proxy, headers) {
                    Ok(Some(identity)) => return Ok(Arc::new(identity)),
                    Ok(None) => {}
                    // Final: the proxy speaks for somebody whom we cannot name. Its own identity, or a token that it
                    // forwards, would be the wrong one.
                    Err(refusal) => return Err(Unauthenticated(vec![refusal])),
                },
                (_, Some(Err(refusal))) => refusals.push(refusal.clone()),
                _ => {}
            }
            match &judgement.client {
                Some(Ok(Some(identity))) => return Ok(Arc::clone(identity)),
                Some(Err(refusal)) => refusals.push(refusal.clone()),
                Some(Ok(None)) | None => {}
            }
        }
        if let Some(bearer) = &self.bearer {
            match bearer.identify(headers).await {
                Ok(Some(identity)) => return Ok(identity),
                Ok(None) => {}
                Err(refusal) => refusals.push(refusal),
            }
        }
        if !refusals.is_empty() {
            return Err(Unauthenticated(refusals));
        }
        if self.anonymous {
            static ANONYMOUS: LazyLock<Arc<Identity>> = LazyLock::new(|| Arc::new(Identity::anonymous()));
            return Ok(Arc::clone(&ANONYMOUS));
        }
        Err(Unauthenticated(vec![Refusal::NoCredentials]))
    }
}

// === impl Unauthenticated ===

impl Unauthenticated {
    /// In upstream's words (`filters.Unauthorized`).
    #[must_use]
    pub fn status(&self) -> Status {
        Status::unauthorized()
    }
}
