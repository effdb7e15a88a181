//! Who this kubelet is, and whom it knows: certificates and a token in a folder, made where they are absent.
//!
//! A cluster's kubelet gets these from the cluster; here there is none, so the first start makes a CA, a serving certificate,
//! a client certificate and a token. The CA's key is thrown away: nobody can sign more. What is there already is used as it is
//! and never overwritten, so an operator may put own files in.
//!
//! Private keys and the token are readable by their owner alone.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Shown to whoever asks with a token. Its `Debug` form does not show it.
#[derive(Clone)]
pub struct Token(String);

/// Years for which certificates are good: longer than a laptop.
const YEARS: i32 = 10;

/// The files of a folder.
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// TLS from `ca.crt`, `tls.crt` and `tls.key` in a folder. With neither of the last two there, all are made, and a
/// `client.crt` and `client.key` that the CA knows. `names` are what the serving certificate is for: IPs and DNS names.
///
/// # Errors
/// A file cannot be read or written, or is not what its name says; of certificate and key only one is there.
pub fn tls(folder: &Path, names: &[String]) -> anyhow::Result<ServerConfig> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    match (certificate.exists(), key.exists()) {
        (false, false) => make(folder, names).with_context(|| format!("making certificates in {}", folder.display()))?,
        (true, true) => {}
        (false, true) => anyhow::bail!("{} is there, but {} is not", key.display(), certificate.display()),
        (true, false) => anyhow::bail!("{} is there, but {} is not", certificate.display(), key.display()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = if folder.join(CA).exists() {
        let mut roots = RootCertStore::empty();
        for ca in certificates(&folder.join(CA))? {
            roots.add(ca)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        // A token will do instead.
        verifier.allow_unauthenticated().build()?
    } else {
        Arc::new(NoClientAuth)
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&certificate)?, read_key(&key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates of a PEM file.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(file).with_context(|| file.display().to_string())?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", file.display());
    Ok(found)
}

/// The private key of a PEM file.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn read_key(file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let pem = fs::read(file).with_context(|| file.display().to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).with_context(|| format!("{} holds no private key", file.display()))
}

fn make(folder: &Path, names: &[String]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut params = named("local-kubelet-ca", &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let leaf = |name: &str, names: &[String], usage| -> anyhow::Result<(String, String)> {
        let mut params = named(name, names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &ca)?.pem(), key.serialize_pem()))
    };
    let client = leaf("local-kubelet-client", &[], ExtendedKeyUsagePurpose::ClientAuth)?;
    let server = leaf("local-kubelet", names, ExtendedKeyUsagePurpose::ServerAuth)?;
    // The serving pair last: with it there, the folder is whole.
    write(&folder.join(CA), &ca.pem(), 0o644)?;
    write(&folder.join("client.crt"), &client.0, 0o644)?;
    write(&folder.join("client.key"), &client.1, 0o600)?;
    write(&folder.join(KEY), &server.1, 0o600)?;
    write(&folder.join(CERTIFICATE), &server.0, 0o644)
}

fn named(name: &str, names: &[String]) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, name);
    // A clock that is a little behind is common.
    let yesterday = jiff::Zoned::now().date().yesterday()?;
    let day = |years| {
        let date = yesterday.saturating_add(jiff::Span::new().years(years));
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(0), day(YEARS));
    Ok(params)
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(())
}

// === impl Token ===

impl Token {
    /// The token in a file, made if the file is absent.
    ///
    /// # Errors
    /// The file cannot be read or written, or is empty.
    pub fn from_file(file: &Path) -> anyhow::Result<Self> {
        if !file.exists() {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut random = [0; 32];
            let provider = rustls::crypto::ring::default_provider();
            provider
                .secure_random
                .fill(&mut random)
                .map_err(|_| anyhow::anyhow!("no randomness"))?;
            let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            write(file, &text, 0o600).with_context(|| format!("writing {}", file.display()))?;
        }
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        anyhow::ensure!(!text.trim().is_empty(), "{} is empty", file.display());
        Ok(Self(text.trim().to_owned()))
    }

    /// True for the same token; takes as long for any other of its length.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        self.0.len() == other.len() && self.0.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_kept_and_secret_where_it_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let read =
            || ["ca.crt", "tls.crt", "tls.key", "client.crt", "client.key"].map(|f| fs::read(folder.path().join(f)).unwrap());
        tls(folder.path(), &names).unwrap();
        let first = read();
        tls(folder.path(), &names).unwrap();
        assert_eq!(first, read(), "a second start changes nothing");
        for secret in ["tls.key", "client.key"] {
            let mode = fs::metadata(folder.path().join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        fs::remove_file(folder.path().join("tls.crt")).unwrap();
        assert!(
            tls(folder.path(), &names).unwrap_err().to_string().contains("tls.crt is not"),
            "an operator's key stays"
        );
    }

    #[test]
    fn a_token_is_made_once_and_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper/token");
        let token = Token::from_file(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            (text.len(), fs::metadata(&file).unwrap().permissions().mode() & 0o777),
            (64, 0o600)
        );
        assert!(token.is(&text) && Token::from_file(&file).unwrap().is(&text));
        for wrong in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase().replace(char::is_alphabetic, "x"),
        ] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert!(!format!("{token:?}").contains(&text));
        fs::write(&file, "\n").unwrap();
        assert!(Token::from_file(&file).is_err());
    }
}
