//! Tests keepalives: detection of a peer that disappears without closing the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netssh_core::{Console, Session};
use test_devices::Sshd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{endpoint, within};

/// A TCP proxy that can begin to drop all traffic, as a dead link does.
struct Link {
    port: u16,
    dead: Arc<AtomicBool>,
}

impl Link {
    async fn to(ssh: &Sshd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Self {
            port: listener.local_addr().unwrap().port(),
            dead: Arc::default(),
        };
        let (target, dead) = (ssh.port, Arc::clone(&link.dead));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(carry(near_read, far_write, Arc::clone(&dead)));
                tokio::spawn(carry(far_read, near_write, Arc::clone(&dead)));
            }
        });
        link
    }

    fn cut(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    dead: Arc<AtomicBool>,
) {
    let mut buffer = [0; 4096];
    while let Ok(count) = from.read(&mut buffer).await {
        if dead.load(Ordering::SeqCst) {
            continue;
        }
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_link_ends_the_command_and_the_console() {
    let ssh = &test_devices::linux().ssh;
    let link = Link::to(ssh).await;
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.port = link.port;
    endpoint.timeouts.keepalive = Duration::from_millis(200);
    let mut session = Session::connect(&endpoint).await.unwrap();
    let mut console = Console::open(&endpoint, "xterm", 80, 24).await.unwrap();
    // While the link is up, the server answers keepalives during a silence longer than their limit.
    let reply = session.exec("sleep 1.5; echo alive").await.unwrap();
    assert_eq!(reply.output, "alive");
    link.cut();
    let started = Instant::now();
    let ending = async {
        loop {
            if let Err(error) = console.read().await {
                return error;
            }
        }
    };
    let (command, console_error) = within(Duration::from_secs(5), async {
        tokio::join!(session.exec("echo gone"), ending)
    })
    .await;
    let error = command.unwrap_err();
    assert_eq!(error.code(), "disconnected");
    assert!(error.to_string().contains("keepalive timeout"), "{error}");
    assert_eq!(console_error.code(), "disconnected");
    assert!(started.elapsed() < Duration::from_secs(3));
    within(Duration::from_secs(2), session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_before_the_login() {
    // A server that takes longer to check the password than the keepalive limit.
    let host = tokio::task::block_in_place(|| {
        test_devices::Linux::start_with(&test_devices::LinuxOptions {
            keyboard_interactive: true,
            ..test_devices::LinuxOptions::default()
        })
    });
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.timeouts.keepalive = Duration::from_millis(20);
    // PAM waits two seconds before it refuses a password.
    endpoint.credentials.password = Some("wrong".to_owned().into());
    let started = Instant::now();
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert!(
        started.elapsed() > Duration::from_millis(500),
        "no delay, so no test"
    );
    assert_eq!(error.code(), "authentication", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_means_never() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.timeouts.keepalive = Duration::ZERO;
    let mut session = Session::connect(&endpoint).await.unwrap();
    assert_eq!(session.exec("echo hello").await.unwrap().output, "hello");
    session.close().await;
}
