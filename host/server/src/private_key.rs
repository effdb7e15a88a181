//! Private keys as other people's programs write them, in the one form that is signed with here.
//!
//! Outrigger writes PKCS#8. cert-manager and OpenSSL write PKCS#1 (`RSA PRIVATE KEY`) and SEC 1 (`EC PRIVATE KEY`) unless they are told
//! otherwise; ring and rcgen read neither. Both forms are what PKCS#8 wraps (RFC 5958): a version, the algorithm, and the key as it was.
//! The algorithm stands in the certificate that the key belongs to, so it is taken from there.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const VERSION_0: [u8; 3] = [0x02, 0x01, 0x00];

/// A key as PKCS#8 in PEM. `spki` is the SubjectPublicKeyInfo of its certificate, DER. None if there is no key, or none that fits.
pub(crate) fn pkcs8(pem: &str, spki: &[u8]) -> Option<String> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    let bare = match &key {
        PrivateKeyDer::Pkcs8(key) => return Some(armoured("PRIVATE KEY", key.secret_pkcs8_der())),
        PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
        PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
        _ => return None,
    };
    let mut inside = VERSION_0.to_vec();
    inside.extend_from_slice(algorithm(spki)?);
    inside.extend(element(OCTET_STRING, bare));
    Some(armoured("PRIVATE KEY", &element(SEQUENCE, &inside)))
}

/// DER in PEM.
pub(crate) fn armoured(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + &format!("-----END {label}-----\n")
}

/// The AlgorithmIdentifier, whole: the first element inside a SubjectPublicKeyInfo.
fn algorithm(spki: &[u8]) -> Option<&[u8]> {
    let (start, end) = content(spki)?;
    let inside = spki.get(start..end)?;
    let (_, end) = content(inside)?;
    inside.get(..end)
}

/// Where the content of the first element lies.
fn content(der: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*der.get(1)?);
    let (start, length) = match first.checked_sub(0x80) {
        None => (2, first),
        Some(bytes) => {
            let digits = der.get(2..2 + bytes).filter(|digits| digits.len() <= 4)?;
            let length = digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit));
            (2 + bytes, length)
        }
    };
    let end = start.checked_add(length)?;
    (end <= der.len()).then_some((start, end))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    let length = content.len().to_be_bytes();
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let digits: Vec<u8> = length.into_iter().skip_while(|digit| *digit == 0).collect();
            der.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
            der.extend(digits);
        }
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::tests::{CERT_MANAGER_EC, CERT_MANAGER_RSA};

    #[test]
    fn every_form_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let same = pkcs8(&key.serialize_pem(), &[]).unwrap();
        assert_eq!(
            rcgen::KeyPair::from_pem(&same).unwrap().public_key_raw(),
            key.public_key_raw()
        );
        for (name, (certificate, key)) in [("PKCS#1", CERT_MANAGER_RSA), ("SEC 1", CERT_MANAGER_EC)] {
            let der = rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
            let wrapped = pkcs8(key, parsed.public_key().raw).unwrap();
            let read = rcgen::KeyPair::from_pem(&wrapped).unwrap();
            assert_eq!(read.public_key_raw(), &*parsed.public_key().subject_public_key.data, "{name}");
        }
        for (name, pem, spki) in [
            ("no key", "nonsense", &[][..]),
            ("no algorithm", CERT_MANAGER_RSA.1, &[]),
            ("an algorithm that breaks off", CERT_MANAGER_RSA.1, &[0x30, 0x82, 0xff]),
            (
                "a length that is too long",
                CERT_MANAGER_RSA.1,
                &[0x30, 0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            ),
        ] {
            assert_eq!(pkcs8(pem, spki), None, "{name}");
        }
    }
}
