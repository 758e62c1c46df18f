//! Tests the session logs of real sessions: their contents, and the secrets they must not contain.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netssh_core::{
    Console, Direction, Endpoint, Platform, SecretString, Session, SessionLog, SessionLogEntry,
    SessionLogFile,
};
use netssh_lab::{Lab, LabDevice};

use crate::console::read_until;
use crate::support::{endpoint, within};

#[derive(Debug, Default)]
struct Log(Mutex<Vec<SessionLogEntry>>);

impl SessionLog for Log {
    fn write(&self, entry: &SessionLogEntry) {
        self.0.lock().unwrap().push(entry.clone());
    }
}

impl Log {
    fn text(&self, direction: Direction) -> String {
        let entries = self.0.lock().unwrap();
        entries
            .iter()
            .filter(|entry| entry.direction == direction)
            .map(|entry| entry.text.as_str())
            .collect()
    }

    fn everything(&self) -> String {
        let entries = self.0.lock().unwrap();
        entries.iter().map(|entry| entry.text.as_str()).collect()
    }
}

fn logged(endpoint: &mut Endpoint) -> Arc<Log> {
    let log = Arc::new(Log::default());
    endpoint.session_log = Some(Arc::<Log>::clone(&log));
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_order_with_times() {
    let mut endpoint = endpoint(&test_devices::frr().ssh, "frr");
    let log = logged(&mut endpoint);
    let mut session = Session::connect(&endpoint).await.unwrap();
    session.exec("show version").await.unwrap();
    session.exec("show nonsense").await.unwrap();
    session.close().await;
    let entries = log.0.lock().unwrap();
    let position = |direction: Direction, text: &str| {
        entries
            .iter()
            .position(|entry| entry.direction == direction && entry.text.contains(text))
            .unwrap_or_else(|| panic!("no {text:?} in {entries:?}"))
    };
    let order = [
        position(Direction::Sent, "show version"),
        position(Direction::Received, "FRRouting"),
        position(Direction::Sent, "show nonsense"),
        position(Direction::Received, "Unknown command"),
        position(Direction::Sent, "exit"),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert!(entries.iter().map(|entry| entry.time).is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_device_prints_is_masked_however_it_comes() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    let log = logged(&mut endpoint);
    let mut session = Session::connect(&endpoint).await.unwrap();
    let (head, tail) = ssh.password.split_at(7);
    // In one piece, in two pieces with a pause between them, and in a sent command.
    let command = format!("printf 'one {head}'; sleep 0.2; printf '{tail} end\\n'");
    let reply = session.exec(&command).await.unwrap();
    assert_eq!(reply.output, format!("one {} end", ssh.password));
    let reply = session
        .exec(&format!("echo {}", ssh.password))
        .await
        .unwrap();
    assert_eq!(reply.output, ssh.password);
    session.close().await;
    let received = log.text(Direction::Received);
    assert!(received.contains("one *** end"), "{received}");
    assert!(log.text(Direction::Sent).contains("echo ***"));
    assert!(!log.everything().contains(&ssh.password));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enable_secret_is_masked() {
    let secret = "open-sesame";
    let mut device = LabDevice::cisco_ios("lab-r1");
    device.enable_secret = Some(secret.into());
    let lab = Lab::start(device).await.unwrap();
    let platform = Platform::named("cisco_ios").unwrap();
    let mut endpoint = Endpoint::new("127.0.0.1", &lab.device().username, platform);
    endpoint.port = lab.addr().port();
    endpoint.credentials.password = Some(SecretString::from(lab.device().password.as_str()));
    endpoint.enable_secret = Some(SecretString::from(secret));
    let log = logged(&mut endpoint);
    let session = Session::connect(&endpoint).await.unwrap();
    assert!(session.prompt().ends_with('#'));
    session.close().await;
    assert!(log.text(Direction::Sent).contains("***\n"));
    assert!(!log.everything().contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_typed_key_by_key_in_a_console_tells_three_keys_at_most() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    let log = logged(&mut endpoint);
    let mut console = Console::open(&endpoint, "xterm", 80, 24).await.unwrap();
    console.write(b"echo rea''dy; cat\n").await.unwrap();
    read_until(&mut console, "ready\r\n").await;
    let mut seen = String::new();
    for key in ssh.password.bytes().chain(*b"\x04\x04") {
        console.write(&[key]).await.unwrap();
        let bytes = within(Duration::from_secs(5), console.read())
            .await
            .unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
    }
    console.write(b"\nexit\n").await.unwrap();
    within(Duration::from_secs(5), async {
        while let Ok(Some(bytes)) = console.read().await {
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    })
    .await;
    assert!(seen.contains(&ssh.password), "{seen}");
    console.close().await;
    for direction in [Direction::Sent, Direction::Received] {
        let text = log.text(direction);
        assert!(!text.contains(&ssh.password[..4]), "{text}");
        assert!(text.contains("***"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_only_its_owner_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("session.log");
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.session_log = Some(Arc::new(SessionLogFile::open(&path, 1 << 20).unwrap()));
    for _ in 0..2 {
        let mut session = Session::connect(&endpoint).await.unwrap();
        session.exec("echo one; echo two").await.unwrap();
        session.close().await;
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("< two").count(), 2, "{text}");
    assert!(text.lines().all(|line| line.as_bytes()[23] == b'Z'));
}
