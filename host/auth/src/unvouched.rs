//! Somebody speaks for others, and nobody vouches for him: most often the aggregator itself, with a certificate of an authority that
//! is not (yet) the one in the ConfigMap. Everybody is a stranger then, and each request alone looks like any refusal. So it is
//! said in one sentence, once for each trust and again after a while, since anybody may send such headers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::authenticate::Refusal;
use crate::trust::FrontProxy;

/// Whether it has been said.
#[derive(Debug, Default)]
pub(crate) struct Unvouched(Mutex<Option<(u64, Instant)>>);

/// Said again after so long.
const AGAIN: Duration = Duration::from_secs(600);

// === impl Unvouched ===

impl Unvouched {
    /// A request whose connection the front proxy's authority does not vouch for; `refusal` is its judgement on the certificate, if
    /// there is one. Costs one lookup unless the request claims to speak for somebody.
    pub(crate) fn note(&self, generation: u64, proxy: &FrontProxy, headers: &HeaderMap, refusal: Option<&Refusal>) -> bool {
        let Some(header) = proxy.user.iter().find(|name| headers.contains_key(*name)) else {
            return false;
        };
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|(of, when)| of == generation && when.elapsed() < AGAIN) {
            return false;
        }
        *said = Some((generation, Instant::now()));
        drop(said);
        let why = refusal.map_or_else(|| "no certificate came with it".to_owned(), ToString::to_string);
        tracing::warn!(
            "a request names its user in {header} and is not believed: {why}. If it comes from kube-apiserver's aggregator, then the \
             certificate of kube-apiserver's --proxy-client-cert-file must be signed by a CA of its --requestheader-client-ca-file and \
             have one of the names in --requestheader-allowed-names, as ConfigMap kube-system/extension-apiserver-authentication has \
             them (or the flags of the same names here)"
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Authorities, HeaderNames};

    #[test]
    fn it_is_said_once_for_each_trust() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let authorities = Authorities::from_pem(pem.as_bytes()).unwrap();
        let proxy = FrontProxy::new(authorities, vec![], &HeaderNames::default()).unwrap();
        let mut speaks = HeaderMap::new();
        speaks.insert("x-remote-user", "bob".parse().unwrap());
        let unvouched = Unvouched::default();
        for (name, generation, headers, said) in [
            ("an ordinary request", 1, &HeaderMap::new(), false),
            ("the first", 1, &speaks, true),
            ("the second", 1, &speaks, false),
            ("under another trust", 2, &speaks, true),
            ("again", 2, &speaks, false),
        ] {
            assert_eq!(unvouched.note(generation, &proxy, headers, None), said, "{name}");
        }
    }
}
