//! Identity from headers that the front proxy set (apiserver `authentication/request/headerrequest`).
//!
//! Headers are believed only on a connection whose certificate the requestheader CA issued, under an allowed name. Without
//! that they are noise. A header that names nobody is refused rather than passed on: a proxy that forwards a blank user must not be
//! taken for the proxy itself.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use outrigger_api::identity::Identity;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authenticate::Refusal;
use crate::trust::FrontProxy;
use crate::x509::common_name;

/// Whether a chain is the front proxy's.
pub(crate) fn verify_proxy(proxy: &FrontProxy, chain: &[CertificateDer<'static>], now: Duration) -> Result<(), Refusal> {
    proxy.authorities.verify(chain, now).map_err(|source| Refusal::Untrusted {
        authority: "requestheader",
        source,
    })?;
    if proxy.allowed_names.is_empty() {
        return Ok(());
    }
    let leaf = chain.first().ok_or(Refusal::Unreadable)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| Refusal::Unreadable)?;
    let name = common_name(&certificate)?.unwrap_or_default();
    if proxy.allowed_names.contains(&name) {
        Ok(())
    } else {
        Err(Refusal::NameNotAllowed(name))
    }
}

/// Whom a verified front proxy speaks for; `None` if it names nobody at all and so speaks for itself.
pub(crate) fn identify(proxy: &FrontProxy, headers: &HeaderMap) -> Result<Option<Identity>, Refusal> {
    let Some(name) = first(headers, &proxy.user)? else {
        return if proxy.user.iter().any(|name| headers.contains_key(name)) {
            Err(Refusal::BlankUser)
        } else {
            Ok(None)
        };
    };
    let mut groups = Vec::new();
    for header in &proxy.group {
        for value in headers.get_all(header) {
            let group = text(header, value.as_bytes())?;
            if !group.is_empty() {
                groups.push(group.to_owned());
            }
        }
    }
    let identity = Identity {
        name: name.to_owned(),
        uid: first(headers, &proxy.uid)?.unwrap_or_default().to_owned(),
        groups,
        extra: extra(proxy, headers)?,
    };
    Ok(Some(identity.authenticated()))
}

fn extra(proxy: &FrontProxy, headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Prefixes first, so that values of one key keep the order of the configured prefixes.
    for prefix in &proxy.extra_prefixes {
        for (header, value) in headers {
            if let Some(key) = header.as_str().strip_prefix(prefix.as_str()) {
                extra
                    .entry(decoded(key))
                    .or_default()
                    .push(text(header, value.as_bytes())?.to_owned());
            }
        }
    }
    Ok(extra)
}

/// Percent-decoded; a key that is not well-formed stays as it came (`unescapeExtraKey`).
fn decoded(key: &str) -> String {
    let well_formed = key.match_indices('%').all(|(at, _)| {
        key.as_bytes()
            .get(at + 1..at + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    match percent_decode_str(key).decode_utf8() {
        Ok(decoded) if well_formed => decoded.into_owned(),
        _ => key.to_owned(),
    }
}

/// The first of some headers that says anything but blanks.
fn first<'h>(headers: &'h HeaderMap, names: &[HeaderName]) -> Result<Option<&'h str>, Refusal> {
    for name in names {
        if let Some(value) = headers.get(name) {
            let value = text(name, value.as_bytes())?;
            if !value.trim().is_empty() {
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}

fn text<'h>(name: &HeaderName, value: &'h [u8]) -> Result<&'h str, Refusal> {
    std::str::from_utf8(value).map_err(|_| Refusal::NotText(name.clone()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::trust::{Authorities, HeaderNames};

    fn proxy() -> FrontProxy {
        let names = HeaderNames {
            user: vec!["X-Remote-User".into(), "X-Other-User".into()],
            extra_prefixes: vec!["X-Remote-Extra-".into(), "X-More-".into()],
            ..HeaderNames::default()
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        FrontProxy::new(Authorities::from_pem(pem.as_bytes()).unwrap(), Vec::new(), &names).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        map
    }

    #[test]
    fn headers_name_the_user() {
        type Row = (
            &'static str,
            &'static [(&'static str, &'static str)],
            Option<(&'static str, &'static str, &'static [&'static str])>,
        );
        let rows: &[Row] = &[
            ("no header", &[], None),
            ("groups without a user", &[("x-remote-group", "a")], None),
            (
                "user alone",
                &[("X-Remote-User", "Bob")],
                Some(("Bob", "", &["system:authenticated"])),
            ),
            (
                "second user header",
                &[("x-other-user", "eve")],
                Some(("eve", "", &["system:authenticated"])),
            ),
            (
                "first blank, second set",
                &[("x-remote-user", ""), ("x-other-user", "eve")],
                Some(("eve", "", &["system:authenticated"])),
            ),
            (
                "groups in order, blank ones dropped, uid",
                &[
                    ("x-remote-user", "bob"),
                    ("x-remote-uid", "7"),
                    ("x-remote-group", "b"),
                    ("x-remote-group", ""),
                    ("x-remote-group", "a"),
                ],
                Some(("bob", "7", &["b", "a", "system:authenticated"])),
            ),
            (
                "not twice",
                &[("x-remote-user", "bob"), ("x-remote-group", "system:authenticated")],
                Some(("bob", "", &["system:authenticated"])),
            ),
            (
                "anonymous stays so",
                &[
                    ("x-remote-user", "system:anonymous"),
                    ("x-remote-group", "system:unauthenticated"),
                ],
                Some(("system:anonymous", "", &["system:unauthenticated"])),
            ),
        ];
        for (name, given, want) in rows {
            let got = identify(&proxy(), &headers(given)).unwrap();
            let got = got.as_ref().map(|i| {
                (
                    i.name.as_str(),
                    i.uid.as_str(),
                    i.groups.iter().map(String::as_str).collect::<Vec<_>>(),
                )
            });
            assert_eq!(got, want.map(|(n, u, g)| (n, u, g.to_vec())), "{name}");
        }
    }

    #[test]
    fn blank_and_unreadable_users_are_refused() {
        for (name, value) in [("empty", ""), ("blank", "   ")] {
            let refused = identify(&proxy(), &headers(&[("x-remote-user", value)]));
            assert!(matches!(refused, Err(Refusal::BlankUser)), "{name}");
        }
        let mut map = HeaderMap::new();
        map.insert("x-remote-user", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(matches!(identify(&proxy(), &map), Err(Refusal::NotText(_))));
    }

    #[test]
    fn extra_keys_are_decoded() {
        let rows = [
            ("x-remote-extra-Scopes", "scopes"),
            ("x-remote-extra-alpha.example.com%2Ffoo", "alpha.example.com/foo"),
            ("x-remote-extra-a%2", "a%2"),
            ("x-remote-extra-a%zz", "a%zz"),
            ("x-remote-extra-a%ff", "a%ff"),
            ("x-more-k", "k"),
        ];
        for (header, key) in rows {
            let got = identify(&proxy(), &headers(&[("x-remote-user", "bob"), (header, "1"), (header, "2")]))
                .unwrap()
                .unwrap();
            assert_eq!(
                got.extra,
                BTreeMap::from([(key.to_owned(), vec!["1".to_owned(), "2".to_owned()])]),
                "{header}"
            );
        }
    }
}
