//! Certificates that TLS accepts and refuses, and the error messages.

use tempfile::TempDir;

use super::redis::{RedisOn, Served};
use super::redis_servers::{LOCALHOST, Tls, authority, sign};
use super::{Fixture, job, queues};
use crate::backend::{BackendError, QueueBackend, RedisBackend, RedisSettings, TlsSettings};
use kqueue_config::Pop;

/// Requests the size of a queue from a server with this certificate.
async fn ask(
    dir: TempDir,
    certificate: &str,
    change: impl FnOnce(&mut RedisSettings, &Tls),
) -> Result<(), BackendError> {
    let served = Tls::with(dir, certificate, &[]);
    let mut settings = RedisSettings { username: None, password: None, ..served.settings() };
    change(&mut settings, &served);
    let backend = RedisBackend::connect(settings, Pop::Safe)?;
    backend.sizes(&queues(&["default"])).await.map(|_| ())
}

fn tls(settings: &mut RedisSettings) -> &mut TlsSettings {
    settings.tls.as_mut().unwrap()
}

fn assert_says(result: Result<(), BackendError>, part: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(part) && error.contains("redis") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn what_cannot_be_trusted_is_refused_in_one_line() {
    let wrong_ca = ask(Tls::certificates(), "server", |s, served| {
        authority(served.server.dir.path(), "other");
        tls(s).cafile = served.file("other.crt");
    });
    assert_says(wrong_ca.await, "UnknownIssuer");
    let native = ask(Tls::certificates(), "server", |s, _| tls(s).cafile = None);
    assert_says(native.await, "UnknownIssuer");
    let wrong_name = ask(Tls::certificates(), "server", |s, _| s.host = "tls://127.0.0.1".to_owned());
    assert_says(wrong_name.await, "127.0.0.1");
    let plain = ask(Tls::certificates(), "server", |s, _| (s.host, s.tls) = ("localhost".to_owned(), None));
    assert!(plain.await.is_err());
    let no_file = ask(Tls::certificates(), "server", |s, served| tls(s).cafile = served.file("none.crt"));
    let error = no_file.await.unwrap_err();
    assert!(matches!(&error, BackendError::Settings(why) if why.contains("none.crt")), "{error}");
}

#[tokio::test]
async fn dates_count() {
    let dir = Tls::certificates();
    sign(dir.path(), "old", "/CN=x", LOCALHOST, "-startdate 20200101000000Z -enddate 20200201000000Z");
    assert_says(ask(dir, "old", |_, _| ()).await, "xpired");
    // Listed as trusted itself, but expired.
    let dir = Tls::certificates();
    sign(dir.path(), "old", "/CN=x", LOCALHOST, "-startdate 20200101000000Z -enddate 20200201000000Z");
    assert_says(ask(dir, "old", |s, served| tls(s).cafile = served.file("old.crt")).await, "xpired");
}

#[tokio::test]
async fn what_php_takes_is_taken() {
    // A name in the common name only, wildcards too.
    let dir = Tls::certificates();
    sign(dir.path(), "common", "/O=CN/CN=localhost", "", "");
    ask(dir, "common", |_, _| ()).await.unwrap();
    let dir = Tls::certificates();
    sign(dir.path(), "wild", "/CN=*.shop.example", "", "");
    let wild = |name: &'static str| move |s: &mut RedisSettings, _: &Tls| tls(s).peer_name = Some(name.to_owned());
    ask(dir, "wild", wild("cache.shop.example")).await.unwrap();
    let dir = Tls::certificates();
    sign(dir.path(), "wild", "/CN=*.shop.example", "", "");
    assert_says(ask(dir, "wild", wild("shop.example")).await, "shop.example");

    // A self-signed certificate, as its own CA file or with any allowed.
    let own = || {
        let dir = tempfile::tempdir().unwrap();
        authority(dir.path(), "ca");
        dir
    };
    ask(own(), "ca", |_, _| ()).await.unwrap();
    ask(own(), "ca", |s, _| (tls(s).cafile, tls(s).allow_self_signed) = (None, true)).await.unwrap();
    assert_says(ask(own(), "ca", |s, _| tls(s).cafile = None).await, "certificate");

    // An address in the certificate, and one that is not verified.
    let dir = Tls::certificates();
    sign(dir.path(), "address", "/CN=x", "-addext subjectAltName=IP:127.0.0.1", "");
    ask(dir, "address", |s, _| s.host = "tls://127.0.0.1".to_owned()).await.unwrap();
    let unlooked = ask(own(), "ca", |s, _| {
        s.host = "tls://127.0.0.1".to_owned();
        *tls(s) = TlsSettings { verify_peer: false, verify_peer_name: false, ..TlsSettings::default() };
    });
    unlooked.await.unwrap();
    // As in PHP, the name is verified separately from the signature.
    let unnamed = ask(own(), "ca", |s, _| {
        s.host = "tls://127.0.0.1".to_owned();
        *tls(s) = TlsSettings { verify_peer: false, ..TlsSettings::default() };
    });
    assert_says(unnamed.await, "127.0.0.1");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let dir = Tls::certificates();
    sign(dir.path(), "client", "/CN=client", "", "");
    let served = Tls::with(dir, "server", &["--tls-auth-clients", "yes"]);
    let with = |cert: Option<&str>| {
        let mut settings = RedisSettings { username: None, password: None, ..served.settings() };
        tls(&mut settings).local_cert = cert.and_then(|name| served.file(&format!("{name}.crt")));
        tls(&mut settings).local_pk = cert.and_then(|name| served.file(&format!("{name}.key")));
        RedisBackend::connect(settings, Pop::Safe).unwrap()
    };
    assert_eq!(with(Some("client")).sizes(&queues(&["default"])).await.unwrap().len(), 1);
    assert_says(with(None).sizes(&queues(&["default"])).await.map(|_| ()), "ertificate");
}

/// Renewed files are read by the next connection.
#[tokio::test]
async fn renewed_files_are_read_again() {
    let mut f = RedisOn::<Tls>::start_private().await;
    let b = f.backend();
    f.push("default", &job("a")).await;
    assert_eq!(super::take(&b, &["default"], 1).await.len(), 1);
    f.go_away().await;
    let dir = f.served.server.dir.path().to_owned();
    authority(&dir, "ca");
    sign(&dir, "server", "/CN=server", LOCALHOST, "");
    assert!(b.sizes(&queues(&["default"])).await.is_err());
    f.come_back().await;
    // The first attempt still uses the outdated files.
    let again = [b.sizes(&queues(&["default"])).await, b.sizes(&queues(&["default"])).await];
    assert!(again[1].is_ok(), "{again:?}");
}
