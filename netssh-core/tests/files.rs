//! Tests file transfers by SFTP and SCP, to and from a real sshd.

use std::time::Duration;

use netssh_core::{Protocol, Session, TransferOptions};
use sha2::{Digest, Sha256};
use test_devices::{Linux, LinuxOptions};

use crate::support::{endpoint, linux, within};

fn by(protocol: Protocol) -> TransferOptions<'static> {
    TransferOptions {
        protocol: Some(protocol),
        ..TransferOptions::default()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns bytes without a pattern that could hide a wrong order.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

async fn of(host: &Linux) -> Session {
    Session::connect(&endpoint(&host.ssh, "linux"))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_by_either_protocol() {
    let mut session = linux().await;
    for protocol in [Protocol::Sftp, Protocol::Scp] {
        for (name, length) in [("empty", 0), ("small file's name", 5), ("large", 20 << 20)] {
            let sent = content(length);
            let path = test_devices::linux()
                .ssh
                .home()
                .join(format!("{protocol:?} {name}"));
            let remote = path.to_str().unwrap();
            let mut seen = Vec::new();
            let mut progress = |done, size| seen.push((done, size));
            let options = TransferOptions {
                progress: Some(&mut progress),
                ..by(protocol)
            };
            let size = sent.len() as u64;
            let up = session
                .upload(&mut sent.as_slice(), size, remote, options)
                .await
                .unwrap();
            assert_eq!((up.bytes, up.protocol), (size, protocol));
            assert_eq!(up.sha256, sha256(&sent));
            assert_eq!(std::fs::read(&path).unwrap(), sent, "{protocol:?} {name}");
            assert!(seen.is_sorted() && seen.last().is_none_or(|last| *last == (size, size)));
            let mut received = Vec::new();
            let down = session
                .download(remote, &mut received, by(protocol))
                .await
                .unwrap();
            assert_eq!(received, sent, "{protocol:?} {name}");
            assert_eq!(down.sha256, up.sha256);
        }
    }
    // The command line remained at its prompt all the time.
    assert_eq!(session.exec("echo here").await.unwrap().output, "here");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_or_read_says_why() {
    let mut session = linux().await;
    let home = test_devices::linux().ssh.home();
    let directory = home.to_str().unwrap();
    for protocol in [Protocol::Sftp, Protocol::Scp] {
        for (path, words) in [
            (format!("{directory}/nowhere/file"), "o such file"),
            ("/proc/version".to_owned(), "ermission denied"),
        ] {
            let error = session
                .upload(&mut &b"text"[..], 4, &path, by(protocol))
                .await
                .unwrap_err();
            assert_eq!(error.code(), "refused", "{protocol:?}: {error}");
            assert!(error.to_string().contains(words), "{protocol:?}: {error}");
        }
        for (path, words) in [
            (format!("{directory}/nowhere"), "o such file"),
            (directory.to_owned(), "directory"),
        ] {
            let error = session
                .download(&path, &mut Vec::new(), by(protocol))
                .await
                .unwrap_err();
            assert_eq!(error.code(), "refused", "{protocol:?}: {error}");
            let text = error.to_string();
            assert!(
                text.contains(words) || text.contains("not a regular file"),
                "{text}"
            );
        }
    }
    let options = TransferOptions {
        limit: 10,
        ..TransferOptions::default()
    };
    let error = session
        .download("/etc/passwd", &mut Vec::new(), options)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "invalid");
    assert!(error.to_string().contains("at most 10"), "{error}");
    for path in ["", "a\nb"] {
        let error = session
            .download(path, &mut Vec::new(), by(Protocol::Sftp))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "invalid");
    }
    let error = session
        .upload(
            &mut &b"short"[..],
            100,
            &format!("{directory}/short"),
            by(Protocol::Sftp),
        )
        .await
        .unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
    assert!(!home.join("short").exists());
    assert_eq!(session.exec("echo here").await.unwrap().output, "here");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_the_devices_refusal() {
    let mut session = linux().await;
    let sent = content(100_000);
    let error = session
        .upload(
            &mut sent.as_slice(),
            100_000,
            "/dev/full",
            by(Protocol::Sftp),
        )
        .await
        .unwrap_err();
    assert_eq!(error.code(), "refused", "{error}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scp_is_for_devices_without_sftp() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            sshd_config: "Subsystem sftp /nonexistent".into(),
            ..LinuxOptions::default()
        })
    });
    let mut session = of(&host).await;
    let path = host.ssh.home().join("file");
    let up = session
        .upload(
            &mut &b"text"[..],
            4,
            path.to_str().unwrap(),
            TransferOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(up.protocol, Protocol::Scp);
    assert_eq!(std::fs::read(path).unwrap(), b"text");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_either_says_so() {
    let router = test_devices::frr();
    let mut session = crate::support::frr().await;
    // This user may run only vtysh.
    let limit = Duration::from_secs(10);
    let options = TransferOptions {
        idle_timeout: Duration::from_secs(2),
        ..TransferOptions::default()
    };
    let error = within(limit, session.upload(&mut &b"text"[..], 4, "file", options))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unsupported", "{error}");
    assert!(
        session.exec("show version").await.unwrap().is_success(),
        "{}",
        router.hostname
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_dropped_half_way_leaves_the_cli_alone() {
    let mut session = linux().await;
    let path = test_devices::linux().ssh.home().join("half");
    let (reader, mut writer) = tokio::io::duplex(1 << 16);
    let mut reader = reader;
    tokio::io::AsyncWriteExt::write_all(&mut writer, &content(1 << 15))
        .await
        .unwrap();
    // The rest of the file never arrives.
    let upload = session.upload(
        &mut reader,
        1 << 20,
        path.to_str().unwrap(),
        by(Protocol::Sftp),
    );
    let begun = async {
        while std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = upload => panic!("{done:?}"),
        () = within(Duration::from_secs(10), begun) => {}
    }
    assert_eq!(session.exec("echo here").await.unwrap().output, "here");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_in_the_middle_is_an_error_at_once() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut session = of(&host).await;
    let (reader, mut writer) = tokio::io::duplex(1 << 16);
    let mut reader = reader;
    tokio::io::AsyncWriteExt::write_all(&mut writer, &content(1 << 15))
        .await
        .unwrap();
    let path = host.ssh.home().join("half");
    let cut = async {
        while std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::block_in_place(|| host.ssh.kill_sessions());
        // Writes more, so that the upload notices the closed connection.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &content(1 << 15)).await;
        std::future::pending::<()>().await;
    };
    let upload = session.upload(
        &mut reader,
        1 << 20,
        path.to_str().unwrap(),
        by(Protocol::Sftp),
    );
    let error = within(Duration::from_secs(10), async {
        tokio::select! { done = upload => done.unwrap_err(), () = cut => unreachable!() }
    })
    .await;
    assert_eq!(error.code(), "disconnected", "{error}");
    assert!(!session.is_usable());
    session.close().await;
}
