//! The certificate that we serve under, of the moment: from files that somebody else renews, or our own.
//!
//! Handshakes take whatever [`Certificates`] holds; [`Certificates::keep_fresh`] looks every few seconds whether the files say
//! something else, or our own leaf nears its end, and swaps it. A certificate that cannot be read never replaces one that can.
//!
//! Our own lie in `--cert-dir`: `ca.crt` and `ca.key` (made once and kept, so that a `caBundle` stays true), `apiserver.crt` and
//! `apiserver.key`. An `apiserver.crt` there without a `ca.crt` is somebody's own pair: it is served and never written over, as
//! upstream does it. Without a directory everything lives in memory, and the CA with it.
//!
//! A third way has no files at all: [`Source::Lent`] shows what somebody else hands in ([`crate::shared_ca`]), and until then a certificate
//! that nobody vouches for, so that probes are answered from the start.
//!
//! Beside this main certificate there may be others for [`Named`] hosts; they are looked at in the same way.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_util::sync::CancellationToken;
use webpki::{EndEntityCert, KeyUsage};

use crate::authority::{Authority, AuthorityError, PemPair};
use crate::named::ByName;
pub use crate::named::Named;

/// How long our own serving certificates last.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before its end a leaf is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How often files are looked at.
pub const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Where the serving certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `--tls-cert-file` (with intermediates) and `--tls-private-key-file`.
    Files {
        /// Certificate chain, leaf first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Our own, in `--cert-dir`, or in memory.
    Own {
        /// The directory; made if it is missing.
        dir: Option<PathBuf>,
        /// DNS names and IP addresses: `SERVICE.NAMESPACE.svc`, `localhost`, `127.0.0.1`, …
        names: Vec<String>,
    },
    /// Whatever is handed to [`Certificates::adopt`].
    Lent {
        /// As for our own.
        names: Vec<String>,
    },
}

/// The certificate of the moment.
pub struct Certificates {
    provider: Arc<CryptoProvider>,
    source: Source,
    current: ArcSwap<Loaded>,
    authority: ArcSwapOption<Authority>,
    named: Vec<Named>,
    others: ArcSwap<Others>,
}

/// Why there is no certificate, or none newer.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written; if it is our own, give a directory that can be written, or none.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{0} does not hold {1} in PEM")]
    Pem(PathBuf, &'static str),
    /// Certificate and key do not fit each other, or the key's kind is unknown.
    #[error("the serving certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// Our own cannot be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What is served, and the text that it came from.
pub(crate) struct Loaded {
    pair: PemPair,
    pub(crate) key: Arc<CertifiedKey>,
}

/// The certificates for names: as they were read, and as they are looked up.
#[derive(Default)]
struct Others {
    loaded: Vec<Arc<Loaded>>,
    by_name: ByName,
}

// === impl Certificates ===

impl Certificates {
    /// Reads or makes the first certificate.
    ///
    /// # Errors
    /// [`CertificateError`] if there is none: a server without a certificate does not start.
    pub async fn open(source: Source) -> Result<Arc<Self>, CertificateError> {
        Self::open_with(source, Vec::new()).await
    }

    /// As [`Certificates::open`], with further certificates for hosts that clients name.
    ///
    /// # Errors
    /// [`CertificateError`] if any of them cannot be read.
    pub async fn open_with(source: Source, named: Vec<Named>) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (loaded, authority) = obtain(&provider, &source, None).await?;
        let (current, authority) = (ArcSwap::from_pointee(loaded), ArcSwapOption::new(authority));
        let mut others = Vec::with_capacity(named.len());
        for pair in &named {
            others.push(Arc::new(from_files(&provider, &pair.certificate, &pair.key).await?));
        }
        let others = ArcSwap::from_pointee(Others::new(&named, others));
        Ok(Arc::new(Self {
            provider,
            source,
            current,
            authority,
            named,
            others,
        }))
    }

    /// The CA certificate for `caBundle`; `None` if the certificate is somebody else's.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        self.authority.load().as_ref().map(|a| a.pem().to_owned())
    }

    /// Our own CA, to issue client certificates from.
    #[must_use]
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.load_full()
    }

    /// The certificate chain that is served now, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.current.load().pair.certificate.clone()
    }

    /// Looks once; `true` if another certificate is served from now on.
    ///
    /// # Errors
    /// [`CertificateError`]; what was served is served on. One that cannot be read does not keep the others from being renewed.
    pub async fn refresh(&self) -> Result<bool, CertificateError> {
        let (main, others) = (self.refresh_main().await, self.refresh_named().await);
        Ok(main? | others?)
    }

    async fn refresh_named(&self) -> Result<bool, CertificateError> {
        let held = self.others.load_full();
        let (mut loaded, mut failed, mut changed) = (Vec::with_capacity(held.loaded.len()), None, false);
        for (pair, last) in self.named.iter().zip(&held.loaded) {
            match from_files(&self.provider, &pair.certificate, &pair.key).await {
                Ok(now) if now.pair != last.pair => {
                    loaded.push(Arc::new(now));
                    changed = true;
                }
                Ok(_) => loaded.push(Arc::clone(last)),
                Err(error) => {
                    loaded.push(Arc::clone(last));
                    failed = Some(error);
                }
            }
        }
        if changed {
            self.others.store(Arc::new(Others::new(&self.named, loaded)));
        }
        failed.map_or(Ok(changed), Err)
    }

    /// Serves under this pair from the next handshake on.
    ///
    /// # Errors
    /// [`CertificateError`] if it cannot be used; what was served is served on.
    pub fn adopt(&self, pair: PemPair) -> Result<(), CertificateError> {
        let loaded = load(&self.provider, pair, Path::new("memory"))?;
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    async fn refresh_main(&self) -> Result<bool, CertificateError> {
        if matches!(self.source, Source::Lent { .. }) {
            return Ok(false);
        }
        if matches!(&self.source, Source::Own { dir: None, names } if is_valid(&self.certificate_pem(), self.ca_pem().as_deref(), names))
        {
            return Ok(false);
        }
        let (loaded, authority) = obtain(&self.provider, &self.source, self.authority.load_full()).await?;
        if loaded.pair == self.current.load().pair {
            return Ok(false);
        }
        self.authority.store(authority);
        self.current.store(Arc::new(loaded));
        Ok(true)
    }

    /// Looks again and again until `stop`; the caller owns the future.
    pub async fn keep_fresh(&self, every: Duration, stop: CancellationToken) {
        let mut failing = false;
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let refreshed = self.refresh().await;
            match &refreshed {
                Ok(true) => tracing::info!("serving under another certificate"),
                Ok(false) => {}
                // Said once, not every few seconds.
                Err(error) if failing => tracing::debug!(%error, "the serving certificate still cannot be renewed"),
                Err(error) => tracing::error!(%error, "the serving certificate cannot be renewed; the last one stays"),
            }
            failing = refreshed.is_err();
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name()
            && let Some(key) = self.others.load().by_name.get(name)
        {
            return Some(key);
        }
        Some(Arc::clone(&self.current.load().key))
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

// === impl Others ===

impl Others {
    fn new(named: &[Named], loaded: Vec<Arc<Loaded>>) -> Self {
        let pairs = named.iter().zip(&loaded);
        let by_name = ByName::new(pairs.map(|(pair, loaded)| (pair.names.as_slice(), Arc::clone(&loaded.key))));
        Self { loaded, by_name }
    }
}

type Obtained = (Loaded, Option<Arc<Authority>>);

/// What the source says now. An authority in memory is handed back in, or it would be lost.
async fn obtain(
    provider: &CryptoProvider,
    source: &Source,
    authority: Option<Arc<Authority>>,
) -> Result<Obtained, CertificateError> {
    match source {
        Source::Files { certificate, key } => Ok((from_files(provider, certificate, key).await?, None)),
        Source::Own { dir: None, names } => {
            let authority = match authority {
                Some(authority) => authority,
                None => Arc::new(new_authority()?),
            };
            let pair = authority.serving(names, LIFETIME)?;
            Ok((load(provider, pair, Path::new("memory"))?, Some(authority)))
        }
        Source::Own { dir: Some(dir), names } => own(provider, dir, names).await,
        Source::Lent { names } => {
            let pair = new_authority()?.serving(names, LIFETIME)?;
            Ok((load(provider, pair, Path::new("memory"))?, None))
        }
    }
}

async fn from_files(provider: &CryptoProvider, certificate: &Path, key: &Path) -> Result<Loaded, CertificateError> {
    let pair = PemPair {
        certificate: read(certificate).await?,
        key: read(key).await?,
    };
    load(provider, pair, certificate)
}

async fn own(provider: &CryptoProvider, dir: &Path, names: &[String]) -> Result<Obtained, CertificateError> {
    let [ca, ca_key, leaf, leaf_key] = ["ca.crt", "ca.key", "apiserver.crt", "apiserver.key"].map(|name| dir.join(name));
    if exists(&leaf).await && exists(&leaf_key).await && !exists(&ca).await {
        return Ok((from_files(provider, &leaf, &leaf_key).await?, None));
    }
    let kept = match (read(&ca).await, read(&ca_key).await) {
        (Ok(certificate), Ok(key)) => Authority::from_pem(&certificate, &key).ok(),
        _ => None,
    };
    let authority = match kept.filter(|kept| is_valid(kept.pem(), None, &[])) {
        Some(kept) => kept,
        None => {
            let made = new_authority()?;
            tokio::fs::create_dir_all(dir)
                .await
                .map_err(|source| CertificateError::File {
                    path: dir.into(),
                    source,
                })?;
            write(&ca_key, made.key_pem(), 0o600).await?;
            write(&ca, made.pem().to_owned(), 0o644).await?;
            tracing::info!(dir = %dir.display(), "made a certificate authority");
            made
        }
    };
    if let Ok(kept) = from_files(provider, &leaf, &leaf_key).await
        && is_valid(&kept.pair.certificate, Some(authority.pem()), names)
    {
        return Ok((kept, Some(Arc::new(authority))));
    }
    let pair = authority.serving(names, LIFETIME)?;
    write(&leaf_key, pair.key.clone(), 0o600).await?;
    write(&leaf, pair.certificate.clone(), 0o644).await?;
    Ok((load(provider, pair, &leaf)?, Some(Arc::new(authority))))
}

fn new_authority() -> Result<Authority, AuthorityError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Two authorities of one name and different keys confuse clients that look issuers up by name.
    Authority::create(&format!("outrigger-ca@{}", now.as_secs()))
}

/// Whether a certificate will be good for a while: still valid when it would be renewed, issued by the CA (if one is given), and
/// for all names.
fn is_valid(certificate: &str, ca: Option<&str>, names: &[String]) -> bool {
    let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let Some(leaf) = parse(certificate) else { return false };
    let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + RENEW_BEFORE;
    let Some(ca) = ca else {
        return x509_parser::parse_x509_certificate(&leaf)
            .is_ok_and(|(_, c)| u64::try_from(c.validity().not_after.timestamp()).is_ok_and(|end| end > later.as_secs()));
    };
    let Some(ca) = parse(ca) else { return false };
    let (Ok(anchor), Ok(leaf)) = (webpki::anchor_from_trusted_cert(&ca), EndEntityCert::try_from(&leaf)) else {
        return false;
    };
    let anchors = [anchor];
    let time = UnixTime::since_unix_epoch(later);
    let issued = leaf
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &[],
            time,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .is_ok();
    issued
        && names.iter().all(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
        })
}

pub(crate) fn load(provider: &CryptoProvider, pair: PemPair, path: &Path) -> Result<Loaded, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| CertificateError::Pem(path.into(), "a certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
        .map_err(|_| CertificateError::Pem(path.with_extension("key"), "a private key"))?;
    let key = CertifiedKey::from_der(chain, key, provider)?;
    Ok(Loaded {
        pair,
        key: Arc::new(key),
    })
}

async fn exists(path: &Path) -> bool {
    tokio::fs::try_exists(path).await.unwrap_or(false)
}

async fn read(path: &Path) -> Result<String, CertificateError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| CertificateError::File {
            path: path.into(),
            source,
        })
}

/// Writes beside and renames, so that nobody ever reads half a file.
async fn write(path: &Path, text: String, mode: u32) -> Result<(), CertificateError> {
    let target = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let beside = target.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &target)
    })
    .await
    .unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    written.map_err(|source| CertificateError::File {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    async fn own_in(dir: &Path, sans: &[&str]) -> Arc<Certificates> {
        Certificates::open(Source::Own {
            dir: Some(dir.into()),
            names: names(sans),
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn our_own_are_kept_while_they_fit() {
        let dir = tempfile::tempdir().unwrap();
        let sans = ["metrics.kube-system.svc", "localhost", "127.0.0.1"];
        let first = own_in(dir.path(), &sans).await;
        for (file, mode) in [
            ("ca.crt", 0o644),
            ("ca.key", 0o600),
            ("apiserver.crt", 0o644),
            ("apiserver.key", 0o600),
        ] {
            assert_eq!(
                dir.path().join(file).metadata().unwrap().permissions().mode() & 0o777,
                mode,
                "{file}"
            );
        }
        assert!(is_valid(&first.certificate_pem(), first.ca_pem().as_deref(), &names(&sans)));
        assert!(!first.refresh().await.unwrap(), "nothing has changed");

        let again = own_in(dir.path(), &sans).await;
        assert_eq!(again.certificate_pem(), first.certificate_pem());
        assert_eq!(again.ca_pem(), first.ca_pem());

        let renamed = own_in(dir.path(), &["other.kube-system.svc"]).await;
        assert_ne!(
            renamed.certificate_pem(),
            first.certificate_pem(),
            "another name needs another leaf"
        );
        assert_eq!(renamed.ca_pem(), first.ca_pem(), "the CA is kept");

        std::fs::write(dir.path().join("apiserver.crt"), "nonsense").unwrap();
        let healed = own_in(dir.path(), &sans).await;
        assert_eq!(healed.ca_pem(), first.ca_pem());
        assert!(is_valid(&healed.certificate_pem(), healed.ca_pem().as_deref(), &names(&sans)));
    }

    #[tokio::test]
    async fn a_leaf_near_its_end_is_renewed_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = own_in(dir.path(), &["localhost"]).await;
        let short = certificates
            .authority()
            .unwrap()
            .serving(&names(&["localhost"]), RENEW_BEFORE / 2)
            .unwrap();
        std::fs::write(dir.path().join("apiserver.key"), &short.key).unwrap();
        std::fs::write(dir.path().join("apiserver.crt"), &short.certificate).unwrap();
        let ca = certificates.ca_pem();
        assert!(certificates.refresh().await.unwrap());
        assert_ne!(certificates.certificate_pem(), short.certificate);
        assert_eq!(certificates.ca_pem(), ca);
    }

    #[tokio::test]
    async fn somebodys_own_pair_is_served_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = Authority::create("theirs")
            .unwrap()
            .serving(&names(&["their.name"]), LIFETIME)
            .unwrap();
        std::fs::write(dir.path().join("apiserver.crt"), &theirs.certificate).unwrap();
        std::fs::write(dir.path().join("apiserver.key"), &theirs.key).unwrap();
        let certificates = own_in(dir.path(), &["localhost"]).await;
        assert_eq!(certificates.certificate_pem(), theirs.certificate);
        assert_eq!(certificates.ca_pem(), None);
        assert!(!dir.path().join("ca.crt").exists());
    }

    #[tokio::test]
    async fn a_broken_file_never_replaces_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("test").unwrap();
        let [first, second] = [0, 1].map(|_| authority.serving(&names(&["localhost"]), LIFETIME).unwrap());
        let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let put = |pair: &PemPair| {
            std::fs::write(&certificate, &pair.certificate).unwrap();
            std::fs::write(&key, &pair.key).unwrap();
        };
        put(&first);
        let source = Source::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let certificates = Certificates::open(source).await.unwrap();
        let broken = [
            ("not PEM", "x".to_owned()),
            ("not its key", second.certificate.clone()),
            ("empty", String::new()),
        ];
        for (name, text) in broken {
            std::fs::write(&certificate, text).unwrap();
            assert!(certificates.refresh().await.is_err(), "{name}");
            assert_eq!(certificates.certificate_pem(), first.certificate, "{name}");
        }
        put(&second);
        assert!(certificates.refresh().await.unwrap());
        assert_eq!(certificates.certificate_pem(), second.certificate);
        let missing = Source::Files {
            certificate: dir.path().join("none"),
            key,
        };
        assert!(matches!(
            Certificates::open(missing).await,
            Err(CertificateError::File { .. })
        ));
    }

    #[tokio::test]
    async fn files_are_looked_at_until_told_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = own_in(dir.path(), &["localhost"]).await;
        let first = certificates.certificate_pem();
        let stop = CancellationToken::new();
        let keeper = tokio::spawn({
            let (certificates, stop) = (Arc::clone(&certificates), stop.clone());
            async move { certificates.keep_fresh(Duration::from_millis(1), stop).await }
        });
        let theirs = certificates
            .authority()
            .unwrap()
            .serving(&names(&["localhost", "more"]), LIFETIME)
            .unwrap();
        std::fs::write(dir.path().join("apiserver.key"), &theirs.key).unwrap();
        std::fs::write(dir.path().join("apiserver.crt"), &theirs.certificate).unwrap();
        // Between the two writes the pair did not fit, so the keeper may have made one of its own; either way it is another.
        while certificates.certificate_pem() == first {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
        keeper.await.unwrap();
    }

    #[tokio::test]
    async fn named_certificates_are_renewed_each_on_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("test").unwrap();
        let put = |name: &str| {
            let pair = authority.serving(&names(&[name]), LIFETIME).unwrap();
            let files = ["crt", "key"].map(|kind| dir.path().join(format!("{name}.{kind}")));
            std::fs::write(&files[0], &pair.certificate).unwrap();
            std::fs::write(&files[1], &pair.key).unwrap();
            let [certificate, key] = files;
            Named {
                certificate,
                key,
                names: Vec::new(),
            }
        };
        let named = vec![put("a.com"), put("b.com")];
        let main = Source::Own {
            dir: None,
            names: names(&["localhost"]),
        };
        let certificates = Certificates::open_with(main.clone(), named.clone()).await.unwrap();
        let held = |name: &str| certificates.others.load().by_name.get(name).unwrap();
        let (a, b) = (held("a.com"), held("b.com"));
        assert!(!certificates.refresh().await.unwrap(), "nothing has changed");
        put("b.com");
        std::fs::write(&named[0].certificate, "nonsense").unwrap();
        assert!(certificates.refresh().await.is_err());
        assert!(Arc::ptr_eq(&held("a.com"), &a), "the last good one stays");
        assert!(!Arc::ptr_eq(&held("b.com"), &b), "and keeps nobody from being renewed");
        assert!(matches!(
            Certificates::open_with(main, named).await,
            Err(CertificateError::Pem(..))
        ));
    }
}
