//! TLS with certificates on both sides; and whoever is not the etcd that was meant: one sentence each, in bounded time.

use std::path::Path;

use outrigger_e2e::etcd::{Etcd, Kind};
use outrigger_e2e::pki::Authority;
use outrigger_e2e::scratch;
use outrigger_storage::store::etcd::{Etcd as Store, EtcdOptions};
use outrigger_storage::store::{Expected, Store as _, StoreError};
use tokio::net::TcpListener;

use crate::house::{DEADLINE, changes, hurried, open, options, put, ship, ships};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_on_both_sides() {
    let folder = scratch::folder("certificates").unwrap();
    let authority = Authority::new(&folder, "etcd-ca").unwrap();
    let stranger = Authority::new(&folder, "other-ca").unwrap();
    let pair = authority.server("etcd", &["127.0.0.1"]).unwrap();
    let kind = Kind {
        tls: Some((&authority, &pair)),
        ..Kind::default()
    };
    let etcd = Etcd::start("tls", &kind).unwrap();
    let client = authority.user("outrigger", None).unwrap();
    let unknown = stranger.user("outrigger", None).unwrap();
    let good = EtcdOptions {
        ca: Some(authority.certificate()),
        cert: Some(client.certificate.clone()),
        key: Some(client.key.clone()),
        timeouts: hurried(),
        ..options(&[etcd.url()])
    };

    let store = open(good.clone()).await;
    let mut watch = store.watch(&ships(), 1).await.unwrap();
    let revision = put(&store, &ship("a"), Expected::Absent, "1").await.unwrap();
    assert_eq!(changes(&mut watch).await.unwrap()[0].revision, revision);

    let plain = Etcd::start("no-tls", &Kind::default()).unwrap();
    let path = |path: &Path| path.display().to_string();
    for (name, options, words) in [
        (
            "a server of another authority",
            EtcdOptions {
                ca: Some(stranger.certificate()),
                ..good.clone()
            },
            "invalid peer certificate: UnknownIssuer".to_owned(),
        ),
        (
            "no certificate of ours",
            EtcdOptions {
                cert: None,
                key: None,
                ..good.clone()
            },
            "ertificate".to_owned(),
        ),
        (
            "a certificate that etcd does not know",
            EtcdOptions {
                cert: Some(unknown.certificate.clone()),
                key: Some(unknown.key.clone()),
                ..good.clone()
            },
            "connection error: ".to_owned(),
        ),
        (
            "no TLS to an etcd that wants it",
            EtcdOptions {
                servers: vec![etcd.url().replace("https", "http")],
                ..good.clone()
            },
            "perhaps it wants https".to_owned(),
        ),
        (
            "TLS to an etcd that has none",
            EtcdOptions {
                servers: vec![plain.url().replace("http", "https")],
                ..good.clone()
            },
            "perhaps it wants http,".to_owned(),
        ),
        (
            "a CA that is not there",
            EtcdOptions {
                ca: Some(folder.join("none.crt")),
                ..good.clone()
            },
            path(&folder.join("none.crt")),
        ),
        (
            "a key that is none",
            EtcdOptions {
                key: Some(client.certificate.clone()),
                ..good.clone()
            },
            path(&client.certificate),
        ),
    ] {
        let error = refused(options).await;
        println!("{name}: {error}");
        assert!(error.contains(&words), "{name}: {error}");
    }

    // The files are read anew for every connection: worn ones are refused, mended ones are taken.
    let kept = std::fs::read(&client.certificate).unwrap();
    std::fs::write(&client.certificate, "worn").unwrap();
    etcd.kill();
    etcd.again().unwrap();
    let error = store.get(&ship("a")).await.unwrap_err();
    println!("a worn certificate: {error}");
    assert!(matches!(&error, StoreError::Unavailable(_)), "{error}");
    std::fs::write(&client.certificate, kept).unwrap();
    let mut found = store.get(&ship("a")).await;
    for _ in 0..20 {
        if found.is_ok() {
            break;
        }
        found = store.get(&ship("a")).await;
    }
    assert_eq!(found.unwrap().unwrap().revision, revision);
    let revision = put(&store, &ship("b"), Expected::Absent, "1").await.unwrap();
    assert_eq!(changes(&mut watch).await.unwrap()[0].revision, revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_etcd() {
    // Says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Says something else.
    let chatty = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chatty_at = chatty.local_addr().unwrap();
    let talk = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = chatty.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for (name, server, words) in [
        ("nobody", "http://127.0.0.1:1".to_owned(), "refused"),
        (
            "no such host",
            "http://no-such-host.invalid:2379".to_owned(),
            "no-such-host.invalid",
        ),
        (
            "silent",
            format!("http://{}", silent.local_addr().unwrap()),
            "no answer within",
        ),
        ("HTTP/1", format!("http://{chatty_at}"), "is no etcd"),
    ] {
        let error = refused(EtcdOptions {
            timeouts: hurried(),
            ..options(&[server])
        })
        .await;
        println!("{name}: {error}");
        assert!(error.contains(words), "{name}: {error}");
        assert!(!error.contains('\n'), "one sentence: {error}");
    }
    talk.abort();
}

/// What `open` says within its deadline.
async fn refused(options: EtcdOptions) -> String {
    let opened = tokio::time::timeout(DEADLINE, Store::open(options)).await;
    opened.expect("an answer").expect_err("a refusal").to_string()
}
