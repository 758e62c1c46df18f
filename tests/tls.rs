//! Tests TLS of the listener with certificates of the real openssl, and clients that verify them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::{Certificate, ClientBuilder, Identity};
use serde_json::json;

use crate::harness::{DEADLINE, Server, scheduler};

/// A certificate with its key, as files.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Creates a certificate for 127.0.0.1 that is valid for this number of days, signed by itself.
fn certificate(directory: &Path, name: &str, days: &str) -> Files {
    let files = Files {
        certificate: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    };
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-subj", "/CN=scheduler", "-days", days])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&files.key)
        .arg("-out")
        .arg(&files.certificate)
        .output()
        .expect("openssl is not installed; run: cargo xtask setup");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    files
}

fn environment(files: &Files) -> [(&str, &str); 2] {
    [
        (
            "SCHEDULER_SERVER_TLS_CERT_FILE",
            files.certificate.to_str().unwrap(),
        ),
        ("SCHEDULER_SERVER_TLS_KEY_FILE", files.key.to_str().unwrap()),
    ]
}

/// A client that trusts this certificate alone, and opens a connection for each request.
fn trusting(certificate: &Path) -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = std::fs::read(certificate).unwrap();
    ClientBuilder::new()
        .timeout(DEADLINE)
        .pool_max_idle_per_host(0)
        .tls_certs_only([Certificate::from_pem(&pem).unwrap()])
}

fn run(test: impl Future<Output = ()>) {
    crate::harness::run(test);
}

#[test]
fn a_client_that_trusts_the_certificate_is_served() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path(), "own", "30");
        let server = Server::start_with(directory.path(), &environment(&files));
        let url = server.client.url("/api/me");
        assert!(url.starts_with("https://"), "{url}");
        let client = trusting(&files.certificate).build().unwrap();
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.headers()["strict-transport-security"],
            "max-age=31536000"
        );
        // A page of the server itself, which has the scheme https.
        let origin = server.client.url("");
        let changed = client
            .post(server.client.url("/api/pauses"))
            .header("origin", origin)
            .json(&json!({ "name": "p" }))
            .send();
        assert_eq!(changed.await.unwrap().status(), 201);
        let other = certificate(directory.path(), "other", "30");
        let distrusting = trusting(&other.certificate).build().unwrap();
        let refused = distrusting.get(&url).send().await.unwrap_err();
        assert!(refused.is_connect(), "{refused:?}");
        let plain = url.replacen("https", "http", 1);
        assert!(
            client.get(&plain).send().await.is_err(),
            "plain HTTP is not answered"
        );
    });
}

#[test]
fn the_command_line_verifies_the_certificate() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path(), "own", "30");
        let server = Server::start_with(directory.path(), &environment(&files));
        let list = |trusted: Option<&Path>| {
            let mut command = scheduler();
            command.args(["plugin", "list", "--url", &server.client.url("")]);
            command.envs(trusted.map(|file| ("SSL_CERT_FILE", file)));
            command.output().unwrap()
        };
        let trusted = list(Some(&files.certificate));
        let error = String::from_utf8_lossy(&trusted.stderr);
        assert_eq!(trusted.status.code(), Some(0), "{error}");
        let unknown = list(None);
        assert_eq!(unknown.status.code(), Some(3));
        let error = String::from_utf8_lossy(&unknown.stderr);
        assert!(error.contains("certificate"), "{error}");
    });
}

#[test]
fn a_changed_certificate_is_used_and_an_invalid_one_is_not() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path(), "own", "30");
        let log = directory.path().join("log");
        let server = Server::start_logged(
            directory.path(),
            &environment(&files),
            Some(File::create(&log).unwrap()),
        );
        let url = server.client.url("/health");
        let old = std::fs::read(&files.certificate).unwrap();
        let logged = async |text: &str| {
            let waiting = async {
                while !std::fs::read_to_string(&log).unwrap().contains(text) {
                    tokio::task::yield_now().await;
                }
            };
            let seen = tokio::time::timeout(DEADLINE, waiting).await;
            seen.unwrap_or_else(|_| panic!("{text} is not logged"));
        };
        let old_file = directory.path().join("old.crt");
        std::fs::write(&old_file, &old).unwrap();
        // Another certificate without its key; an expired one; none at all.
        let other = certificate(directory.path(), "other", "30");
        std::fs::copy(&other.certificate, &files.certificate).unwrap();
        logged("do not fit").await;
        let client = trusting(&old_file).build().unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        std::fs::write(&files.certificate, "nothing").unwrap();
        logged("has no certificate").await;
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        // Both files of the other one.
        std::fs::copy(&other.key, &files.key).unwrap();
        std::fs::copy(&other.certificate, &files.certificate).unwrap();
        logged("the certificate was replaced").await;
        let client = trusting(&other.certificate).build().unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    });
}

#[test]
fn an_invalid_certificate_prevents_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let files = certificate(directory.path(), "own", "30");
    let other = certificate(directory.path(), "other", "30");
    let expired = expired(directory.path());
    let missing = directory.path().join("missing");
    for (certificate, key, said) in [
        (&files.certificate, &other.key, "do not fit"),
        (&expired.certificate, &expired.key, "has expired"),
        (&files.key, &files.key, "has no certificate"),
        (
            &files.certificate,
            &files.certificate,
            "expected a private key",
        ),
        (&missing, &files.key, "failed to read"),
    ] {
        let mut command = Server::command(directory.path());
        command
            .env("SCHEDULER_SERVER_TLS_CERT_FILE", certificate)
            .env("SCHEDULER_SERVER_TLS_KEY_FILE", key);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains(said) && error.contains("server.tls_"),
            "{said}: {error}"
        );
        assert!(!error.contains("PRIVATE KEY"), "{error}");
    }
    let mut command = Server::command(directory.path());
    command.env("SCHEDULER_SERVER_TLS_CERT_FILE", &files.certificate);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("server.tls_key_file"), "{error}");
}

/// Creates a certificate whose period of validity is over.
fn expired(directory: &Path) -> Files {
    let files = certificate(directory, "expired", "30");
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        let made = command.args(arguments).current_dir(directory).output();
        let made = made.unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    let authority = "[ca]\ndefault_ca = a\n[a]\nnew_certs_dir = .\ndatabase = index\nserial = serial\n\
                     default_md = sha256\npolicy = p\nx509_extensions = e\n[p]\ncommonName = supplied\n\
                     [e]\nbasicConstraints = CA:FALSE\n";
    std::fs::write(directory.join("authority"), authority).unwrap();
    std::fs::write(directory.join("index"), "").unwrap();
    openssl(&[
        "req",
        "-new",
        "-key",
        "expired.key",
        "-subj",
        "/CN=scheduler",
        "-out",
        "request",
    ]);
    let sign = "ca -batch -selfsign -notext -rand_serial -config authority -keyfile expired.key \
                -in request -out expired.crt -startdate 20200101000000Z -enddate 20200201000000Z";
    openssl(&sign.split_whitespace().collect::<Vec<_>>());
    files
}

#[test]
fn a_client_certificate_is_required_where_an_authority_is_named() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path(), "own", "30");
        let client_files = certificate(directory.path(), "client", "30");
        let [first, second] = environment(&files);
        let authority = client_files.certificate.to_str().unwrap();
        let environment = [
            first,
            second,
            ("SCHEDULER_SERVER_TLS_CLIENT_CA_FILE", authority),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let url = server.client.url("/health");
        let without = trusting(&files.certificate).build().unwrap();
        assert!(without.get(&url).send().await.is_err());
        let mut identity = std::fs::read(&client_files.key).unwrap();
        identity.extend(std::fs::read(&client_files.certificate).unwrap());
        let identity = Identity::from_pem(&identity).unwrap();
        let with = trusting(&files.certificate)
            .identity(identity)
            .build()
            .unwrap();
        assert_eq!(with.get(&url).send().await.unwrap().status(), 200);
    });
}

/// Clients that never finish a handshake hold up no others, and are closed.
#[test]
fn unfinished_handshakes_lock_nobody_out() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path(), "own", "30");
        let [first, second] = environment(&files);
        let environment = [
            first,
            second,
            ("SCHEDULER_SERVER_MAX_CONNECTIONS", "20"),
            ("SCHEDULER_SERVER_HEADER_TIMEOUT_SECONDS", "1"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let address = server.client.url("").replace("https://", "");
        let mut idle = Vec::new();
        for _ in 0..30 {
            idle.push(tokio::net::TcpStream::connect(&address).await.unwrap());
        }
        let client = trusting(&files.certificate).build().unwrap();
        let answer = client
            .get(server.client.url("/health"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        for mut stream in idle {
            let mut rest = Vec::new();
            let closing = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
            let closed = tokio::time::timeout(DEADLINE, closing).await;
            let _ = closed.expect("the server closes it");
        }
    });
}
