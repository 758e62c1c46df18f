//! Tests logins: every kind of credential, right and wrong.

use std::time::{Duration, Instant};

use netssh_core::{Answer, Endpoint, Fault, Pattern, SecretString, Session};
use test_devices::{Agent, Authority, Linux, LinuxOptions};

use crate::support::{endpoint, wait_for_sessions, within};

async fn works(endpoint: &Endpoint) {
    let mut session = Session::connect(endpoint).await.unwrap();
    assert_eq!(
        session.exec("id -un").await.unwrap().output,
        endpoint.username
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_each_kind_of_key() {
    let ssh = &test_devices::linux().ssh;
    for (key, passphrase) in [
        (&ssh.private_key, None),
        (&ssh.rsa_private_key, None),
        (&ssh.ecdsa_private_key, None),
        (&ssh.encrypted_private_key, Some(&ssh.passphrase)),
    ] {
        let mut endpoint = endpoint(ssh, "linux");
        endpoint.credentials.password = None;
        endpoint.credentials.private_key = Some(SecretString::from(key.as_str()));
        endpoint.credentials.passphrase = passphrase.map(|text| SecretString::from(text.as_str()));
        works(&endpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_password_when_the_key_is_refused() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    let other = tokio::task::block_in_place(Linux::start);
    endpoint.credentials.private_key = Some(SecretString::from(other.ssh.private_key.as_str()));
    works(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keyboard_interactive() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            keyboard_interactive: true,
            ..LinuxOptions::default()
        })
    });
    works(&endpoint(&host.ssh, "linux")).await;
    let mut wrong = endpoint(&host.ssh, "linux");
    wrong.credentials.password = Some(SecretString::from("wrong"));
    let error = within(Duration::from_secs(8), Session::connect(&wrong))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "authentication", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_fails_within_seconds() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.credentials.password = Some(SecretString::from("not the password"));
    let started = Instant::now();
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (error.code(), error.fault()),
        ("authentication", Fault::Credentials)
    );
    let text = error.to_string();
    assert!(
        text.contains(&endpoint.username) && text.contains("password"),
        "{text}"
    );
    assert!(!text.contains("not the password"));
    wait_for_sessions(&host.ssh, 0);
    // sshd writes its log a little later.
    within(Duration::from_secs(5), async {
        while host.ssh.failed_passwords() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(host.ssh.failed_passwords(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_read_says_why() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.credentials.password = None;
    for (key, passphrase, hint) in [
        (ssh.encrypted_private_key.as_str(), None, "passphrase"),
        (
            ssh.encrypted_private_key.as_str(),
            Some("wrong"),
            "passphrase",
        ),
        ("no key at all", None, "failed to read the private key"),
    ] {
        endpoint.credentials.private_key = Some(SecretString::from(key));
        endpoint.credentials.passphrase = passphrase.map(SecretString::from);
        let error = Session::connect(&endpoint).await.unwrap_err();
        assert_eq!(error.code(), "authentication");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_is_tried() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.credentials.password = None;
    assert_eq!(
        Session::connect(&endpoint).await.unwrap_err().code(),
        "invalid"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_output_shows_no_secret() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.credentials.private_key = Some(SecretString::from(ssh.private_key.as_str()));
    endpoint.enable_secret = Some(SecretString::from("enable me"));
    let text = format!("{endpoint:?}");
    assert!(!text.contains(&ssh.password) && !text.contains("PRIVATE KEY"));
    assert!(!text.contains("enable me"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_leave_nothing_behind() {
    let host = tokio::task::block_in_place(Linux::start);
    let endpoint = endpoint(&host.ssh, "linux");
    for _ in 0..5 {
        let mut session = Session::connect(&endpoint).await.unwrap();
        session.exec("true").await.unwrap();
        session.close().await;
        // Dropped without a close; the connection still ends.
        drop(Session::connect(&endpoint).await.unwrap());
    }
    wait_for_sessions(&host.ssh, 0);
}

fn start(sshd_config: &str) -> Linux {
    tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            sshd_config: sshd_config.into(),
            ..LinuxOptions::default()
        })
    })
}

async fn refused(endpoint: &Endpoint) -> String {
    let connecting = within(Duration::from_secs(8), Session::connect(endpoint));
    let error = connecting.await.unwrap_err();
    assert_eq!(error.code(), "authentication", "{error}");
    error.to_string()
}

/// Starts a host that accepts only certificates (`TrustedUserCAKeys`).
fn certificates_only(authority: &Authority) -> Linux {
    start(&format!(
        "TrustedUserCAKeys {}\nAuthorizedKeysFile none\n",
        authority.file().display()
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_for_each_kind_of_key() {
    let authority = Authority::create();
    let host = certificates_only(&authority);
    let ssh = &host.ssh;
    for key in [
        &ssh.private_key,
        &ssh.rsa_private_key,
        &ssh.ecdsa_private_key,
    ] {
        let mut endpoint = endpoint(ssh, "linux");
        endpoint.credentials.password = None;
        endpoint.credentials.private_key = Some(SecretString::from(key.as_str()));
        endpoint.credentials.certificate = Some(authority.sign(key, &["-n", &ssh.username]));
        works(&endpoint).await;
        endpoint.credentials.certificate = None;
        refused(&endpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_fit_says_why() {
    let authority = Authority::create();
    let host = certificates_only(&authority);
    let ssh = &host.ssh;
    let (key, user) = (&ssh.private_key, ssh.username.as_str());
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.credentials.password = None;
    endpoint.credentials.private_key = Some(SecretString::from(key.as_str()));
    for (certificate, expected) in [
        (
            authority.sign(key, &["-n", user, "-V", "20010101:20020101"]),
            "not valid now (valid from 2001-01-01",
        ),
        (
            authority.sign(key, &["-n", "somebody"]),
            "valid for somebody, not for",
        ),
        (
            authority.sign(&ssh.rsa_private_key, &["-n", user]),
            "another private key",
        ),
        ("rubbish".into(), "invalid certificate"),
    ] {
        endpoint.credentials.certificate = Some(certificate);
        let text = refused(&endpoint).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_out_of_date_does_not_keep_the_password_from_working() {
    let ssh = &test_devices::linux().ssh;
    let authority = Authority::create();
    let old = ["-n", &ssh.username, "-V", "20010101:20020101"];
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.credentials.private_key = Some(SecretString::from(ssh.private_key.as_str()));
    endpoint.credentials.certificate = Some(authority.sign(&ssh.private_key, &old));
    works(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_keys_of_an_agent() {
    let ssh = &test_devices::linux().ssh;
    for keys in [
        &[&ssh.private_key][..],
        &[&ssh.rsa_private_key],
        &[&ssh.ecdsa_private_key],
    ] {
        let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        let agent = tokio::task::block_in_place(|| Agent::start(&keys));
        let mut endpoint = endpoint(ssh, "linux");
        endpoint.credentials.password = None;
        endpoint.credentials.agent = Some(agent.socket());
        works(&endpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_many_keys_leaves_a_try_for_the_password() {
    let host = tokio::task::block_in_place(Linux::start);
    let strangers: Vec<Linux> = (0..4)
        .map(|_| tokio::task::block_in_place(Linux::start))
        .collect();
    let keys: Vec<&str> = strangers
        .iter()
        .flat_map(|stranger| [&stranger.ssh.private_key, &stranger.ssh.ecdsa_private_key])
        .map(String::as_str)
        .collect();
    let agent = tokio::task::block_in_place(|| Agent::start(&keys));
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.credentials.agent = Some(agent.socket());
    works(&endpoint).await;
    endpoint.credentials.password = None;
    let text = refused(&endpoint).await;
    assert!(text.contains("at most 5 keys"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_no_use_says_why() {
    let agent = tokio::task::block_in_place(|| Agent::start(&[]));
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.credentials.agent = Some(agent.socket());
    works(&endpoint).await;
    endpoint.credentials.password = None;
    assert!(refused(&endpoint).await.contains("has no keys"));
    let gone = agent.socket();
    tokio::task::block_in_place(|| drop(agent));
    let text = refused(&endpoint).await;
    assert!(
        text.contains("failed to query the ssh-agent") && text.contains(gone.to_str().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_factors_in_either_order() {
    for methods in ["publickey,password", "password,publickey"] {
        let host = start(&format!("AuthenticationMethods {methods}\n"));
        let mut endpoint = endpoint(&host.ssh, "linux");
        endpoint.credentials.private_key = Some(SecretString::from(host.ssh.private_key.as_str()));
        works(&endpoint).await;
        assert_eq!(host.ssh.failed_passwords(), 0);
        let password = endpoint.credentials.password.take();
        refused(&endpoint).await;
        endpoint.credentials.password = password;
        endpoint.credentials.private_key = None;
        refused(&endpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_sent_once_where_both_methods_are_offered() {
    let host = start("UsePAM yes\nKbdInteractiveAuthentication yes\n");
    let mut endpoint = endpoint(&host.ssh, "linux");
    works(&endpoint).await;
    endpoint.credentials.password = Some(SecretString::from("wrong"));
    let text = refused(&endpoint).await;
    assert!(text.contains("with this password; it accepts"), "{text}");
    // A key that the host refuses first does not change that.
    let other = &test_devices::linux().ssh.private_key;
    endpoint.credentials.private_key = Some(SecretString::from(other.as_str()));
    refused(&endpoint).await;
    wait_for_sessions(&host.ssh, 0);
    let log = host.ssh.log();
    assert_eq!(host.ssh.failed_passwords(), 2, "{log:?}");
    assert!(
        !log.iter().any(|line| line.contains("Failed keyboard")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_on_a_wrong_password_has_refused_it() {
    let host = start("MaxAuthTries 1\n");
    let mut endpoint = endpoint(&host.ssh, "linux");
    works(&endpoint).await;
    endpoint.credentials.password = Some(SecretString::from("wrong"));
    let text = refused(&endpoint).await;
    assert!(text.contains("password"), "{text}");
}

/// Starts a host with a user that must choose a new password while logging in, at PAM's request.
fn with_expired_password() -> Linux {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            keyboard_interactive: true,
            ..LinuxOptions::default()
        })
    });
    let changed = std::process::Command::new("chage")
        .args(["--lastday", "0", &host.ssh.username])
        .status();
    assert!(changed.unwrap().success());
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_password_fails_the_login_with_a_hint() {
    let host = with_expired_password();
    let text = refused(&endpoint(&host.ssh, "linux")).await;
    assert!(text.contains("log in by hand and set one"), "{text}");
    assert!(text.to_lowercase().contains("current"), "{text}");
    assert!(!text.contains(&host.ssh.password));
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_as_configured() {
    let host = with_expired_password();
    let mut endpoint = endpoint(&host.ssh, "linux");
    let new = "correct-horse-9-battery";
    let old = host.ssh.password.clone();
    for (question, answer) in [
        ("(?i)current", old.as_str()),
        ("(?i)^new ", new),
        ("(?i)retype", new),
    ] {
        let answer = Answer::new(Pattern::new(question).unwrap(), answer);
        endpoint.credentials.answers.push(answer);
    }
    works(&endpoint).await;
    // Afterwards the new password is valid, and the old one is not.
    endpoint.credentials.answers.clear();
    refused(&endpoint).await;
    endpoint.credentials.password = Some(SecretString::from(new));
    works(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_alone_log_in_and_a_wrong_one_is_given_once() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            keyboard_interactive: true,
            ..LinuxOptions::default()
        })
    });
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.credentials.password = None;
    let answer = |answer: &str| Answer::new(Pattern::new("(?i)password").unwrap(), answer);
    endpoint.credentials.answers = vec![answer(&host.ssh.password)];
    works(&endpoint).await;
    endpoint.credentials.answers = vec![answer("wrong")];
    let text = refused(&endpoint).await;
    assert!(!text.contains("\"wrong\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_that_is_absurdly_much_work_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-a", "1", "-N", "secret", "-f"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    let key = std::fs::read_to_string(&file).unwrap();
    // The number of rounds is the last field of the header; here 2 billion.
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let mut bytes = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    let kdf = bytes.windows(6).position(|part| part == b"bcrypt").unwrap();
    // bcrypt, the options' length, the salt with its length, the rounds.
    let rounds = kdf + 6 + 4 + 4 + 16;
    assert_eq!(bytes[rounds..rounds + 4], [0, 0, 0, 1]);
    bytes[rounds] = 0x7f;
    let key = format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
        data_encoding::BASE64.encode(&bytes)
    );
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.credentials.private_key = Some(SecretString::from(key));
    endpoint.credentials.passphrase = Some(SecretString::from("secret"));
    let started = Instant::now();
    let text = refused(&endpoint).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(text.contains("rounds of bcrypt"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_formats_with_a_passphrase() {
    // OpenSSL's format, with PBKDF2: with a usual number of rounds, and with an absurd one.
    let ssh = &test_devices::linux().ssh;
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain.pem");
    std::fs::write(&plain, &ssh.rsa_private_key).unwrap();
    std::fs::set_permissions(&plain, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let converted = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-m", "PKCS8", "-N", "", "-f"])
        .arg(&plain)
        .output();
    assert!(converted.unwrap().status.success());
    for (rounds, works_out) in [("2048", true), ("50000000", false)] {
        let encrypted = directory.path().join(rounds);
        let made = std::process::Command::new("openssl")
            .args([
                "pkcs8",
                "-topk8",
                "-v2",
                "aes-256-cbc",
                "-passout",
                "pass:secret",
            ])
            .args(["-iter", rounds, "-in"])
            .arg(&plain)
            .arg("-out")
            .arg(&encrypted)
            .status();
        assert!(made.unwrap().success());
        let mut endpoint = endpoint(ssh, "linux");
        endpoint.credentials.password = None;
        let key = std::fs::read_to_string(&encrypted).unwrap();
        endpoint.credentials.private_key = Some(SecretString::from(key));
        endpoint.credentials.passphrase = Some(SecretString::from("secret"));
        if works_out {
            works(&endpoint).await;
        } else {
            let started = Instant::now();
            assert!(refused(&endpoint).await.contains("rounds of PBKDF2"));
            assert!(started.elapsed() < Duration::from_secs(2));
        }
    }
}
