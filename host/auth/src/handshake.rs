//! The TLS side of client certificates: anybody's certificate may come in, and its holder must prove that the key is theirs.
//!
//! One port serves the aggregator, Prometheus, kubelet probes and people with tokens. Refusing an unknown certificate in the
//! handshake would lock out callers who have another way to say who they are, and it would tie what a connection may do to the
//! trust at the time it was opened. So the handshake checks possession (the TLS signature) and nothing else;
//! [`crate::Peer`] is judged per request.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::trust::Trust;

/// Asks for a certificate, hints at the authorities we know, takes any, and verifies that its key is there.
#[derive(Debug)]
pub struct Possession {
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
}

// === impl Possession ===

impl Possession {
    /// For handshakes under a trust. The trust is only used for hints.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>, trust: Arc<Trust>) -> Self {
        Self { provider, trust }
    }
}

impl ClientCertVerifier for Possession {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trust.hints()
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
