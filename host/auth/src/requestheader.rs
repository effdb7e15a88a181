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
pub(crate) fn decoded(key: &str) -> String {
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

    /// The cases of apiserver `requestheader_test.go` (`TestRequestHeader`); values are separated by `|`.
    #[test]
    fn upstreams_cases() {
        type Names<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);
        type Row<'a> = (&'a str, Names<'a>, &'a [(&'a str, &'a str)], Option<&'a str>);
        let user: &[&str] = &["X-Remote-User"];
        let groups: &[&str] = &["X-Remote-Group-1", "X-Remote-Group-2"];
        let extras: &[&str] = &["X-Remote-Extra-1-", "X-Remote-Extra-2-"];
        let bob = ("X-Remote-User", "Bob");
        let many = [
            bob,
            ("X-Remote-Uid", "2ca80fb0"),
            ("X-Group-Remote", "snorlax"),
            ("X-Remote-Group-1", "one-a|one-b"),
            ("X-Remote-Group-2", "two-a|two-b"),
            ("X-Remote-extra-1-key1", "alfa|bravo"),
            ("X-Remote-Extra-1-Key2", "charlie|delta"),
            ("X-Remote-Extra-1-", "india|juliet"),
            ("X-Remote-extra-2-", "kilo|lima"),
            ("X-Remote-extra-2-Key1", "echo|foxtrot"),
            ("X-Remote-Extra-2-key2", "golf|hotel"),
        ];
        let rows: &[Row<'_>] = &[
            ("user no match", (user, &[], &[], &[]), &[], None),
            ("user match", (user, &[], &[], &[]), &[bob], Some("Bob||")),
            (
                "user exact match",
                (user, &[], &[], &[]),
                &[
                    ("Prefixed-X-Remote-User-With-Suffix", "Bob"),
                    ("X-Remote-User-With-Suffix", "Bob"),
                ],
                None,
            ),
            (
                "user first match",
                (
                    &["X-Remote-User", "A-Second-X-Remote-User", "Another-X-Remote-User"],
                    &[],
                    &[],
                    &[],
                ),
                &[
                    ("X-Remote-User", "|first, second"),
                    ("A-Second-X-Remote-User", "second, first|second, second"),
                    ("Another-X-Remote-User", "third"),
                ],
                Some("second, first||"),
            ),
            (
                "user case-insensitive",
                (&["x-REMOTE-user"], &[], &[], &[]),
                &[bob],
                Some("Bob||"),
            ),
            ("groups none", (user, &[], &["X-Remote-Group"], &[]), &[bob], Some("Bob||")),
            (
                "groups all matches",
                (user, &[], groups, &[]),
                &[bob, ("X-Remote-Group-1", "one-a|one-b"), ("X-Remote-Group-2", "two-a|two-b")],
                Some("Bob||one-a,one-b,two-a,two-b"),
            ),
            (
                "groups case-insensitive",
                (user, &[], &["x-REMOTE-group"], &[]),
                &[bob, ("X-Remote-Group", "Users")],
                Some("Bob||Users"),
            ),
            ("uid none", (user, &["X-Remote-Uid"], &[], &[]), &[bob], Some("Bob||")),
            (
                "uid first match",
                (user, &["X-Remote-Uid-1", "X-Remote-Uid-2"], &[], &[]),
                &[bob, ("X-Remote-Uid-1", "8f5e"), ("X-Remote-Uid-2", "c764")],
                Some("Bob|8f5e|"),
            ),
            (
                "uid not asked for",
                (user, &[], &[], &[]),
                &[bob, ("X-Remote-Uid", "8f5e")],
                Some("Bob||"),
            ),
            (
                "extra prefixes, in letters of any case",
                (user, &["X-Remote-UID"], groups, extras),
                &many,
                Some(
                    "Bob|2ca80fb0|one-a,one-b,two-a,two-b|=india,juliet,kilo,lima|key1=alfa,bravo,echo,foxtrot|key2=charlie,delta,golf,hotel",
                ),
            ),
            (
                "escaped extra keys",
                (user, &[], &[], &["X-Remote-Extra-"]),
                &[
                    bob,
                    ("X-Remote-Extra-Alph4num3r1c", "1"),
                    ("X-Remote-Extra-Percent%20encoded", "2"),
                    ("X-Remote-Extra-Almost%zzpercent%xxencoded", "3"),
                    ("X-Remote-Extra-Example.com%2fpercent%2520encoded", "4"),
                    ("X-Remote-Extra-Example.com%2F%E4%BB%8A%E6%97%A5%E3%81%AF", "5"),
                ],
                Some(
                    "Bob|||almost%zzpercent%xxencoded=3|alph4num3r1c=1|example.com/percent%20encoded=4|example.com/今日は=5|percent encoded=2",
                ),
            ),
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let owned = |list: &[&str]| -> Vec<String> { list.iter().map(|n| (*n).to_owned()).collect() };
        for (name, (user, uid, group, extra), given, want) in rows {
            let names = HeaderNames {
                user: owned(user),
                uid: owned(uid),
                group: owned(group),
                extra_prefixes: owned(extra),
            };
            let authorities = Authorities::from_pem(pem.as_bytes()).unwrap();
            let proxy = FrontProxy::new(authorities, Vec::new(), &names).unwrap();
            let pairs: Vec<_> = given.iter().flat_map(|(n, vs)| vs.split('|').map(move |v| (*n, v))).collect();
            let got = identify(&proxy, &headers(&pairs)).unwrap().map(|i| {
                let groups = i
                    .groups
                    .iter()
                    .filter(|g| *g != "system:authenticated")
                    .cloned()
                    .collect::<Vec<_>>();
                let mut text = format!("{}|{}|{}", i.name, i.uid, groups.join(","));
                for (key, values) in &i.extra {
                    text += &format!("|{key}={}", values.join(","));
                }
                text
            });
            assert_eq!(got.as_deref(), *want, "{name}");
        }
    }
}
