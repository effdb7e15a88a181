//! Identity headers, on connections that may speak for others and on connections that may not.
#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use outrigger_api::identity::{AUTHENTICATED, UNAUTHENTICATED};
use outrigger_auth::{Authenticator, Authorities, FrontProxy, HeaderNames, Peer, Trust};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

struct Door {
    authenticator: Authenticator,
    proxy: Peer,
    stranger: Peer,
    runtime: tokio::runtime::Runtime,
}

/// An authority and a client certificate of it.
fn authority(name: &str) -> (String, Peer) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{name} authority"));
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    (ca.pem(), Peer::new(&[leaf.der().clone()]))
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let (pem, proxy) = authority("front-proxy-client");
    let (_, stranger) = authority("front-proxy-client");
    let authorities = Authorities::from_pem(pem.as_bytes()).unwrap();
    let front = FrontProxy::new(authorities, vec!["front-proxy-client".into()], &HeaderNames::default()).unwrap();
    Door {
        authenticator: Authenticator::new(Trust::new(Some(front), None).shared(), None, true),
        proxy,
        stranger,
        runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
    }
});

/// Lines of `name: value`, as bytes; a short name stands for one of the headers in question.
fn headers(bytes: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in bytes.split(|b| *b == b'\n').take(64) {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let name: &[u8] = match name {
            b"u" => b"x-remote-user",
            b"i" => b"x-remote-uid",
            b"g" => b"x-remote-group",
            b"a" => b"authorization",
            other => other,
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

fuzz_target!(|bytes: &[u8]| {
    let door = &*DOOR;
    let ask = |peer: &Peer| {
        let mut map = headers(bytes);
        let outcome = door.runtime.block_on(door.authenticator.authenticate(peer, &mut map));
        for name in map.keys() {
            let name = name.as_str();
            let claims = ["x-remote-user", "x-remote-uid", "x-remote-group", "authorization"].contains(&name);
            assert!(!claims && !name.starts_with("x-remote-extra-"), "{name} went through");
        }
        outcome
    };
    // No certificate: anonymous, whatever the headers say.
    let nobody = ask(&Peer::unknown()).unwrap();
    assert!(
        nobody.name == "system:anonymous" && nobody.is_in(UNAUTHENTICATED) && nobody.extra.is_empty(),
        "{nobody:?}"
    );
    // A certificate of another authority: nobody at all.
    assert!(ask(&door.stranger).is_err());
    // The front proxy: exactly whom the header names.
    let sent = headers(bytes);
    let user = sent.get("x-remote-user").map(HeaderValue::as_bytes);
    match ask(&door.proxy) {
        Ok(identity) if sent.contains_key("x-remote-user") => {
            assert_eq!(Some(identity.name.as_bytes()), user, "{identity:?}");
            assert!(!identity.name.trim().is_empty());
            let groups: Vec<_> = sent.get_all("x-remote-group").iter().map(HeaderValue::as_bytes).collect();
            for group in &identity.groups {
                assert!(
                    group == AUTHENTICATED || groups.contains(&group.as_bytes()),
                    "{group:?} came from nowhere"
                );
            }
        }
        Ok(identity) => assert_eq!(identity.name, "system:anonymous"),
        Err(_) => {}
    }
    // The same headers, the same person.
    let names = |outcome: Result<Arc<outrigger_api::identity::Identity>, _>| outcome.ok().map(|i| i.name.clone());
    assert_eq!(names(ask(&door.proxy)), names(ask(&door.proxy)));
});
