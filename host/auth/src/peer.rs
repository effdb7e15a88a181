//! The other end of a connection: the certificates it showed, and what we concluded from them.
//!
//! The handshake has proven that the peer holds the leaf's key; whether anybody vouches for the chain is judged when a request
//! asks, against the trust of that moment. One aggregator connection carries every user of a cluster, so the judgement is kept
//! with the connection: until the trust changes, or for [`REJUDGE`], so that an expiring certificate does not live on in a
//! connection that stays open for days.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use outrigger_api::identity::Identity;
use rustls_pki_types::CertificateDer;

use crate::authenticate::Refusal;
use crate::trust::Trust;
use crate::{requestheader, x509};

/// How long a judgement stands under unchanged trust.
const REJUDGE: Duration = Duration::from_secs(10);

/// One connection's client certificates (none, for most clients), with the judgement about them.
#[derive(Debug, Default)]
pub struct Peer {
    chain: Vec<CertificateDer<'static>>,
    judgement: ArcSwapOption<Judgement>,
}

/// What a chain is worth under one trust. `None` where that way in is not configured.
#[derive(Debug)]
pub(crate) struct Judgement {
    generation: u64,
    made: Instant,
    /// Whether the peer is the front proxy.
    pub(crate) front_proxy: Option<Result<(), Refusal>>,
    /// Who the peer is by its own certificate; `None` inside for a certificate without a common name.
    pub(crate) client: Option<Result<Option<Arc<Identity>>, Refusal>>,
}

// === impl Peer ===

impl Peer {
    /// A peer that proved possession of the chain's leaf (leaf first).
    #[must_use]
    pub fn new(chain: &[CertificateDer<'_>]) -> Self {
        Self {
            chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
            judgement: ArcSwapOption::empty(),
        }
    }

    /// A peer that showed nothing.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Leaf first; empty if none was shown.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The judgement under a trust; `None` for a peer without certificates, about whom there is nothing to judge.
    pub(crate) fn judgement(&self, trust: &Trust) -> Option<Arc<Judgement>> {
        if self.chain.is_empty() {
            return None;
        }
        if let Some(made) = self.judgement.load_full()
            && made.generation == trust.generation()
            && made.made.elapsed() < REJUDGE
        {
            return Some(made);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let fresh = Arc::new(Judgement {
            generation: trust.generation(),
            made: Instant::now(),
            front_proxy: trust
                .front_proxy()
                .map(|proxy| requestheader::verify_proxy(proxy, &self.chain, now)),
            client: trust.clients().map(|clients| x509::identify(clients, &self.chain, now)),
        });
        self.judgement.store(Some(Arc::clone(&fresh)));
        Some(fresh)
    }
}
