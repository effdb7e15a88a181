//! Identity from the caller's own certificate: common name → user, organizations → groups
//! (apiserver `authentication/request/x509`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use outrigger_api::identity::Identity;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authenticate::Refusal;
use crate::trust::Authorities;

/// The extra attribute that names the credential (`user.CredentialIDKey`).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// The subject attribute that carries a UID (apiserver `x509.UIDOID`).
const UID: &str = "1.3.6.1.4.1.57683.2";

/// Who a chain says that its holder is; `None` without a common name, which is no opinion and no error.
pub(crate) fn identify(
    clients: &Authorities,
    chain: &[CertificateDer<'static>],
    now: Duration,
) -> Result<Option<Arc<Identity>>, Refusal> {
    clients.verify(chain, now).map_err(|source| Refusal::Untrusted {
        authority: "client",
        source,
    })?;
    let leaf = chain.first().ok_or(Refusal::Unreadable)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| Refusal::Unreadable)?;
    let Some(name) = common_name(&certificate)? else {
        return Ok(None);
    };
    let subject = certificate.subject();
    let groups = subject
        .iter_organization()
        .map(|o| o.as_str().map(str::to_owned).map_err(|_| Refusal::Unreadable))
        .collect::<Result<Vec<_>, _>>()?;
    let mut uids = subject.iter_attributes().filter(|a| a.attr_type().to_id_string() == UID);
    let uid = match (uids.next(), uids.next()) {
        (None, _) => String::new(),
        (Some(uid), None) => uid.as_str().map_err(|_| Refusal::Unreadable)?.to_owned(),
        // Two answers to one question are none.
        (Some(_), Some(_)) => return Err(Refusal::Unreadable),
    };
    let mut id = String::from("X509SHA256=");
    for byte in Sha256::digest(leaf) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])]);
    Ok(Some(Arc::new(
        Identity {
            name,
            uid,
            groups,
            extra,
        }
        .authenticated(),
    )))
}

/// The subject's common name; the last one, as Go reads it. `None` if there is none or it is empty.
pub(crate) fn common_name(certificate: &X509Certificate<'_>) -> Result<Option<String>, Refusal> {
    let Some(name) = certificate.subject().iter_common_name().last() else {
        return Ok(None);
    };
    let name = name.as_str().map_err(|_| Refusal::Unreadable)?;
    Ok((!name.is_empty()).then(|| name.to_owned()))
}
