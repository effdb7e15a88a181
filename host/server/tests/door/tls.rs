//! What handshakes agree on, and which certificate a client sees.

use std::path::Path;

use outrigger_server::{Authority, MinVersion, Named, ServerOptions, Suites, TlsOptions};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion};

use crate::world::{HOUR, Protocol, Setup, World, thing};

fn suites(min_version: MinVersion, names: &[&str]) -> TlsOptions {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    TlsOptions {
        suites: Suites::new(min_version, &names, &[]).unwrap(),
        http1_only: false,
    }
}

#[tokio::test]
async fn versions_and_suites_are_those_of_the_flags() {
    let aes_256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    for (name, tls, tls12, tls13) in [
        ("as they come", TlsOptions::default(), true, true),
        ("1.3", suites(MinVersion::Tls13, &[]), false, true),
        ("one suite", suites(MinVersion::Tls12, &[aes_256]), true, true),
        (
            "a suite that our key cannot use",
            suites(MinVersion::Tls12, &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]),
            false,
            true,
        ),
        (
            "suites of 1.3 alone",
            suites(MinVersion::Tls12, &["TLS_AES_128_GCM_SHA256"]),
            false,
            true,
        ),
    ] {
        let world = World::with(Setup { tls, ..Setup::default() }).await;
        for (version, works) in [(&TLS12, tls12), (&TLS13, tls13)] {
            let config = world.config(Protocol::H2, None, &[version]);
            let stream = world.dial(config, "localhost").await;
            assert_eq!(stream.is_ok(), works, "{name}: {:?}", version.version);
            if let Ok(stream) = stream
                && version.version == ProtocolVersion::TLSv1_2
                && name == "one suite"
            {
                let agreed = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
                assert_eq!(agreed, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
            }
        }
    }
}

#[tokio::test]
async fn http2_can_be_off() {
    let tls = TlsOptions {
        http1_only: true,
        ..TlsOptions::default()
    };
    let world = World::with(Setup { tls, ..Setup::default() }).await;
    let config = world.config(Protocol::H2, None, rustls::DEFAULT_VERSIONS);
    assert!(world.dial(config, "localhost").await.is_err(), "there is nothing to agree on");
    let mut alice = world.connect(Protocol::H1, world.client("alice", None)).await;
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
}

fn put(dir: &Path, authority: &Authority, file: &str, names: &[&str]) -> (Named, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let pair = authority.serving(&names, HOUR).unwrap();
    let [certificate, key] = ["crt", "key"].map(|kind| dir.join(format!("{file}.{kind}")));
    std::fs::write(&key, &pair.key).unwrap();
    std::fs::write(&certificate, &pair.certificate).unwrap();
    let named = Named {
        certificate,
        key,
        names: Vec::new(),
    };
    (named, CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap())
}

#[tokio::test]
async fn a_client_that_names_a_host_sees_its_certificate_also_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create("serving").unwrap();
    let (main, of_main) = put(dir.path(), &authority, "main", &["localhost"]);
    let (first, of_first) = put(dir.path(), &authority, "first", &["a.example.com"]);
    let (wild, of_wild) = put(dir.path(), &authority, "wild", &["*.example.com"]);
    let world = World::with(Setup {
        files: Some((main.certificate, main.key)),
        serving_ca: Some(authority.pem().to_owned()),
        named: vec![first, wild],
        ..Setup::default()
    })
    .await;
    let shown = async |name: &str| {
        let config = world.config(Protocol::H2, None, rustls::DEFAULT_VERSIONS);
        let stream = world.dial(config, name).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    assert_eq!(shown("localhost").await, of_main);
    assert_eq!(shown("a.example.com").await, of_first);
    assert_eq!(shown("b.example.com").await, of_wild);
    let mut open = world.connect(Protocol::H2, world.client("alice", None)).await;
    let (_, renewed) = put(dir.path(), &authority, "first", &["a.example.com"]);
    assert!(world.certificates.refresh().await.unwrap());
    assert_eq!(shown("a.example.com").await, renewed);
    assert_eq!(shown("b.example.com").await, of_wild);
    assert_eq!(open.get(&thing("a"), &[]).await.code, 200, "who is connected stays so");
}

#[tokio::test]
async fn a_port_can_be_shared_by_those_who_agree() {
    let shared = |address| Setup {
        options: ServerOptions {
            share_port: true,
            ..ServerOptions::default()
        },
        address,
        ..Setup::default()
    };
    let first = World::with(shared(None)).await;
    let second = World::with(shared(Some(first.address))).await;
    assert_eq!(first.address, second.address);
    second.shutdown.cancel();
    second.done.await.unwrap();
    let mut alice = first.connect(Protocol::H1, first.client("alice", None)).await;
    assert_eq!(alice.get(&thing("a"), &[]).await.code, 200);
    let alone = World::start().await;
    let address = Some(alone.address);
    let taken = tokio::spawn(async move { World::with(shared(address)).await.address }).await;
    assert!(taken.is_err(), "it was not shared");
}
