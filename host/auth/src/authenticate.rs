//! Who is calling: each way of knowing in upstream's order (apiserver `authenticatorfactory/delegating.go`).
//!
//! requestheader → client certificate → bearer token → token among WebSocket subprotocols → anonymous. The first that says yes wins. One that says no (an untrusted
//! certificate, a bad token) does not end it, a later one may still say yes; but if none does, the caller is refused and not
//! taken for anonymous. Whatever the outcome, the request leaves here without `Authorization`, without a token among its
//! subprotocols, and without any header that could claim an identity.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::{HeaderMap, HeaderName};
use outrigger_api::identity::Identity;
use outrigger_api::status::Status;

use crate::bearer::Bearer;
use crate::metrics::{Authentication, Metrics};
use crate::peer::Peer;
use crate::reviews::NoAnswer;
use crate::trust::{SharedTrust, Trust};
use crate::unvouched::Unvouched;
use crate::{requestheader, websocket};

/// Finds out who is calling.
#[derive(Debug)]
pub struct Authenticator {
    trust: SharedTrust,
    bearer: Option<Bearer>,
    anonymous: bool,
    metrics: Option<Arc<Metrics>>,
    unvouched: Unvouched,
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
    /// The token could not be reviewed. The reviewer says why, once for all of them.
    #[error("the bearer token could not be reviewed")]
    NoReview(#[source] Arc<NoAnswer>),
    /// The token among the WebSocket subprotocols cannot be used.
    #[error("bearer token as WebSocket subprotocol: {0}")]
    Subprotocol(&'static str),
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
            metrics: None,
            unvouched: Unvouched::default(),
        }
    }

    /// Counts and times what happens here.
    #[must_use]
    pub fn measured(mut self, metrics: Arc<Metrics>) -> Self {
        self.bearer = self.bearer.map(|bearer| bearer.measured(Arc::clone(&metrics)));
        self.metrics = Some(metrics);
        self
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
        let started = self.metrics.as_ref().map(|metrics| (metrics, Instant::now()));
        let trust = self.trust.load_full();
        let outcome = self.decide(&trust, peer, headers).await;
        trust.strip(headers);
        websocket::strip(headers);
        if let Some((metrics, started)) = started {
            metrics.authenticated(Authentication::from(&outcome), started.elapsed());
        }
        outcome
    }

    /// Whether the other end is the front proxy, whomever it speaks for.
    #[must_use]
    pub fn is_front_proxy(&self, peer: &Peer) -> bool {
        peer.judgement(&self.trust.load())
            .is_some_and(|judgement| matches!(judgement.front_proxy, Some(Ok(()))))
    }

    async fn decide(&self, trust: &Trust, peer: &Peer, headers: &HeaderMap) -> Result<Arc<Identity>, Unauthenticated> {
        let mut refusals = Vec::new();
        let judgement = peer.judgement(trust);
        if let Some(proxy) = trust.front_proxy() {
            let verdict = judgement.as_deref().and_then(|j| j.front_proxy.as_ref());
            if !matches!(verdict, Some(Ok(()))) {
                let refusal = verdict.and_then(|v| v.as_ref().err());
                self.unvouched.note(trust.generation(), proxy, headers, refusal);
            }
        }
        if let Some(judgement) = judgement {
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
            match bearer.identify_websocket(headers).await {
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

// === impl Authentication ===

impl<'a> From<&'a Result<Arc<Identity>, Unauthenticated>> for Authentication<'a> {
    fn from(outcome: &'a Result<Arc<Identity>, Unauthenticated>) -> Self {
        match outcome {
            Ok(identity) => Self::Success(&identity.name),
            Err(Unauthenticated(refusals)) if matches!(refusals.as_slice(), [Refusal::NoCredentials]) => Self::Failure,
            Err(_) => Self::Error,
        }
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

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use http::HeaderValue;
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use rustls_pki_types::CertificateDer;

    use super::*;
    use crate::bearer::{Options, TokenReviewer};
    use crate::trust::{Authorities, FrontProxy, HeaderNames};

    struct Ca {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Ca {
        fn new(name: &str) -> Self {
            Self::until(name, 2100)
        }

        fn until(name: &str, year: i32) -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let pem = params.self_signed(&key).unwrap().pem();
            Self {
                pem,
                issuer: Issuer::new(params, key),
            }
        }

        fn authorities(&self) -> Authorities {
            Authorities::from_pem(self.pem.as_bytes()).unwrap()
        }

        fn peer(&self, change: impl FnOnce(&mut CertificateParams)) -> Peer {
            let mut params = CertificateParams::default();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(&mut params);
            let leaf = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
            Peer::new(&[CertificateDer::from(leaf)])
        }

        fn named(&self, name: &str) -> Peer {
            self.peer(|params| params.distinguished_name.push(DnType::CommonName, name))
        }
    }

    #[derive(Default)]
    struct Tokens(AtomicUsize);

    #[async_trait]
    impl TokenReviewer for Tokens {
        async fn review(&self, token: &str) -> Result<Option<Identity>, Box<dyn Error + Send + Sync>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            match token {
                "good" => Ok(Some(Identity {
                    name: "token-user".into(),
                    groups: vec![],
                    ..Identity::anonymous()
                })),
                "lost" => Err("no route".into()),
                _ => Ok(None),
            }
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn proxy(ca: &Ca, allowed: &[&str]) -> FrontProxy {
        let allowed = allowed.iter().map(|n| (*n).to_owned()).collect();
        FrontProxy::new(ca.authorities(), allowed, &HeaderNames::default()).unwrap()
    }

    const BOB: (&str, &str) = ("x-remote-user", "bob");
    const GOOD: (&str, &str) = ("authorization", "Bearer good");
    const BAD: (&str, &str) = ("authorization", "Bearer bad");
    const LOST: (&str, &str) = ("authorization", "Bearer lost");

    const UPGRADE: (&str, &str) = ("upgrade", "websocket");
    const CONNECTION: (&str, &str) = ("connection", "Upgrade");
    const WS_GOOD: (&str, &str) = (
        "sec-websocket-protocol",
        "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.Z29vZA",
    );
    const WS_BAD: (&str, &str) = (
        "sec-websocket-protocol",
        "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YmFk",
    );
    const WS_ALONE: (&str, &str) = ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.Z29vZA");

    #[tokio::test]
    async fn the_first_that_says_yes_wins_and_a_no_is_never_anonymous() {
        let (front, client, other) = (Ca::new("front"), Ca::new("client"), Ca::new("other"));
        let trust = Trust::new(Some(proxy(&front, &["front-proxy-client"])), Some(client.authorities())).shared();
        let authenticator = Authenticator::new(
            trust,
            Some(Bearer::new(Arc::new(Tokens::default()), &Options::default())),
            true,
        );
        let aggregator = || front.named("front-proxy-client");
        let server = |p: &mut CertificateParams| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let expired = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let early = |p: &mut CertificateParams| p.not_before = rcgen::date_time_ymd(2099, 1, 1);
        type Row<'a> = (&'a str, Peer, &'a [(&'static str, &'static str)], Option<&'a str>);
        let rows: Vec<Row<'_>> = vec![
            ("nothing", Peer::unknown(), &[], Some("system:anonymous")),
            ("forged header", Peer::unknown(), &[BOB], Some("system:anonymous")),
            ("the aggregator for bob", aggregator(), &[BOB], Some("bob")),
            ("the aggregator for nobody in particular", aggregator(), &[], None),
            (
                "the aggregator for nobody, with a token",
                aggregator(),
                &[GOOD],
                Some("token-user"),
            ),
            (
                "the aggregator for a blank user",
                aggregator(),
                &[("x-remote-user", " ")],
                None,
            ),
            (
                "the aggregator for a blank user, with a token",
                aggregator(),
                &[("x-remote-user", ""), GOOD],
                None,
            ),
            ("another name of the front CA", front.named("eve"), &[BOB], None),
            (
                "another name of the front CA, with a token",
                front.named("eve"),
                &[BOB, GOOD],
                Some("token-user"),
            ),
            ("a name in other letters", front.named("Front-Proxy-Client"), &[BOB], None),
            ("a client", client.named("alice"), &[], Some("alice")),
            ("a client who claims to be bob", client.named("alice"), &[BOB], Some("alice")),
            (
                "a client's certificate beats a token",
                client.named("alice"),
                &[GOOD],
                Some("alice"),
            ),
            ("another CA", other.named("front-proxy-client"), &[BOB], None),
            ("another CA, with a token", other.named("alice"), &[GOOD], Some("token-user")),
            ("another CA, with a bad token", other.named("alice"), &[BAD], None),
            ("not for clients", front.peer(server), &[BOB], None),
            ("a client's that is not for clients", client.peer(server), &[], None),
            ("expired", client.peer(expired), &[], None),
            ("not valid yet", client.peer(early), &[], None),
            ("rubbish", Peer::new(&[CertificateDer::from(vec![1, 2, 3])]), &[], None),
            ("a token", Peer::unknown(), &[GOOD], Some("token-user")),
            (
                "a token and a forged header",
                Peer::unknown(),
                &[GOOD, BOB],
                Some("token-user"),
            ),
            ("a bad token", Peer::unknown(), &[BAD], None),
            (
                "a WebSocket's token",
                Peer::unknown(),
                &[UPGRADE, CONNECTION, WS_GOOD],
                Some("token-user"),
            ),
            (
                "a WebSocket's bad token",
                Peer::unknown(),
                &[UPGRADE, CONNECTION, WS_BAD],
                None,
            ),
            (
                "a WebSocket's token, alone",
                Peer::unknown(),
                &[UPGRADE, CONNECTION, WS_ALONE],
                None,
            ),
            (
                "a good token beats a WebSocket's bad one",
                Peer::unknown(),
                &[GOOD, UPGRADE, CONNECTION, WS_BAD],
                Some("token-user"),
            ),
            (
                "a WebSocket's good token beats a bad one",
                Peer::unknown(),
                &[BAD, UPGRADE, CONNECTION, WS_GOOD],
                Some("token-user"),
            ),
            ("a token that nobody could review", Peer::unknown(), &[LOST], None),
            (
                "another scheme",
                Peer::unknown(),
                &[("authorization", "Basic Zm9vOmJhcg==")],
                Some("system:anonymous"),
            ),
        ];
        for (name, peer, given, want) in rows {
            for round in ["first", "from what is remembered"] {
                let mut given = headers(given);
                let got = authenticator.authenticate(&peer, &mut given).await;
                assert_eq!(got.as_ref().ok().map(|i| i.name.as_str()), want, "{name}, {round}: {got:?}");
                given.remove("upgrade");
                given.remove("connection");
                let left = given.remove("sec-websocket-protocol");
                assert!(left.is_none_or(|left| left == "v4.channel.k8s.io"), "{name}");
                assert!(given.is_empty(), "{name}: {given:?} is left");
                if let Ok(identity) = got {
                    assert_eq!(
                        identity.is_in("system:authenticated"),
                        identity.name != "system:anonymous",
                        "{name}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn certificates_say_groups_and_uid() {
        let ca = Ca::new("client");
        let authenticator = Authenticator::new(Trust::new(None, Some(ca.authorities())).shared(), None, true);
        let peer = ca.peer(|params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, "alice");
            name.push(DnType::OrganizationName, "system:masters");
            name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), "1234");
        });
        let alice = authenticator.authenticate(&peer, &mut HeaderMap::new()).await.unwrap();
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "1234"));
        assert_eq!(alice.groups, ["system:masters", "system:authenticated"]);
        let id = &alice.extra["authentication.kubernetes.io/credential-id"][0];
        assert!(id.starts_with("X509SHA256=") && id.len() == "X509SHA256=".len() + 64, "{id}");
    }

    /// The multi-level cases of apiserver `x509_test.go`.
    #[tokio::test]
    async fn a_chain_may_have_an_authority_in_between() {
        let root = Ca::new("root");
        for (name, year, shown, want) in [
            ("valid", 2100, true, Some("alice")),
            ("not shown", 2100, false, None),
            ("expired", 2001, true, None),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "between");
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let between = CertificateDer::from(params.signed_by(&key, &root.issuer).unwrap());
            let issuer = Issuer::new(params, key);
            let mut params = CertificateParams::default();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::CommonName, "alice");
            let leaf = CertificateDer::from(params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap());
            let chain = if shown { vec![leaf, between] } else { vec![leaf] };
            let trust = Trust::new(None, Some(root.authorities())).shared();
            let got = Authenticator::new(trust, None, true)
                .authenticate(&Peer::new(&chain), &mut HeaderMap::new())
                .await;
            assert_eq!(got.ok().map(|i| i.name.clone()).as_deref(), want, "{name}");
        }
    }

    /// Several authorities in one bundle, as while a CA is being replaced.
    #[tokio::test]
    async fn either_of_two_authorities_will_do() {
        let (old, new, other) = (Ca::new("old"), Ca::new("new"), Ca::new("other"));
        let both = Authorities::from_pem(format!("{}{}", old.pem, new.pem).as_bytes()).unwrap();
        let proxy = FrontProxy::new(both.clone(), Vec::new(), &HeaderNames::default()).unwrap();
        for (name, trust, given) in [
            ("front proxy", Trust::new(Some(proxy), None).shared(), &[BOB][..]),
            ("clients", Trust::new(None, Some(both)).shared(), &[]),
        ] {
            let authenticator = Authenticator::new(trust, None, true);
            for (ca, fine) in [(&old, true), (&new, true), (&other, false)] {
                let got = authenticator.authenticate(&ca.named("bob"), &mut headers(given)).await;
                assert_eq!(got.is_ok(), fine, "{name}");
            }
        }
    }

    #[tokio::test]
    async fn an_empty_list_allows_any_name_and_an_expired_root_none() {
        for (name, ca, allowed, want) in [
            ("any name", Ca::new("front"), &[][..], Some("bob")),
            ("one of several", Ca::new("front"), &["x", "eve"][..], Some("bob")),
            ("expired root", Ca::until("front", 2001), &[][..], None),
        ] {
            let authenticator = Authenticator::new(Trust::new(Some(proxy(&ca, allowed)), None).shared(), None, true);
            let got = authenticator.authenticate(&ca.named("eve"), &mut headers(&[BOB])).await;
            assert_eq!(got.ok().map(|i| i.name.clone()).as_deref(), want, "{name}");
        }
    }

    #[tokio::test]
    async fn new_trust_is_a_new_judgement() {
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        let trust = Trust::new(None, Some(old.authorities())).shared();
        let authenticator = Authenticator::new(Arc::clone(&trust), None, true);
        let alice = old.named("alice");
        assert!(authenticator.authenticate(&alice, &mut HeaderMap::new()).await.is_ok());
        trust.store(Arc::new(Trust::new(None, Some(new.authorities()))));
        assert!(authenticator.authenticate(&alice, &mut HeaderMap::new()).await.is_err());
        trust.store(Arc::new(Trust::nobody()));
        let nobody = authenticator.authenticate(&alice, &mut HeaderMap::new()).await.unwrap();
        assert_eq!(nobody.name, "system:anonymous", "without any CA a certificate is no opinion");
    }

    #[tokio::test]
    async fn tokens_are_reviewed_once_and_anonymous_can_be_off() {
        let tokens = Arc::new(Tokens::default());
        let bearer = Bearer::new(Arc::clone(&tokens) as Arc<dyn TokenReviewer>, &Options::default());
        let authenticator = Authenticator::new(Trust::nobody().shared(), Some(bearer), false);
        for (given, ok, reviews) in [
            (GOOD, true, 1),
            (GOOD, true, 1),
            (BAD, false, 2),
            (BAD, false, 2),
            (LOST, false, 3),
            (LOST, false, 4),
        ] {
            let got = authenticator.authenticate(&Peer::unknown(), &mut headers(&[given])).await;
            assert_eq!((got.is_ok(), tokens.0.load(Ordering::SeqCst)), (ok, reviews), "{given:?}");
        }
        let refused = authenticator
            .authenticate(&Peer::unknown(), &mut HeaderMap::new())
            .await
            .unwrap_err();
        assert!(matches!(refused.0.as_slice(), [Refusal::NoCredentials]));
        assert_eq!(refused.status().code, 401);
    }

    #[test]
    fn identity_headers_never_pass() {
        let ca = Ca::new("front");
        let names = HeaderNames {
            user: vec!["X-Mine".into()],
            extra_prefixes: vec!["X-Also-".into()],
            ..HeaderNames::default()
        };
        let trust = Trust::new(Some(FrontProxy::new(ca.authorities(), vec![], &names).unwrap()), None);
        let mut given = headers(&[
            ("authorization", "x"),
            ("x-remote-user", "x"),
            ("x-remote-group", "x"),
            ("x-remote-group", "y"),
            ("x-remote-uid", "x"),
            ("x-remote-extra-a", "x"),
            ("x-remote-extra-b", "x"),
            ("x-mine", "x"),
            ("x-also-c", "x"),
            ("accept", "stays"),
            ("x-remote", "stays"),
        ]);
        trust.strip(&mut given);
        assert_eq!(given, headers(&[("accept", "stays"), ("x-remote", "stays")]));
    }
}
