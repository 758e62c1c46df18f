//! Tests the devices themselves: they start, coexist, and leave nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_devices::{Frr, Linux};

#[test]
fn devices_coexist_and_are_gone_afterwards() {
    let one = Frr::start();
    let two = Linux::start();
    assert_ne!(one.ssh.port, two.ssh.port);
    assert!(one.running_config().contains("description edge1#"));
    assert_eq!(one.ssh.open_sessions(), 0);
    let (router, host) = (one.ssh.username.clone(), two.ssh.username.clone());
    let home = two.ssh.home();
    drop(one);
    drop(two);
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    assert!(!passwd.contains(&router) && !passwd.contains(&host));
    assert!(!home.exists());
}

#[test]
fn a_router_forgets_on_reset() {
    let router = Frr::start();
    let before = router.running_config();
    let _ = router.vtysh(&[
        "configure terminal",
        "interface eth0",
        "description changed",
    ]);
    assert!(router.running_config().contains("description changed"));
    router.reset();
    assert_eq!(router.running_config(), before);
}

/// Not a test: the process that `nothing_is_left_after_kill_9` starts and kills.
#[test]
#[ignore = "started by nothing_is_left_after_kill_9"]
fn hold_devices_until_killed() {
    let router = test_devices::frr();
    let host = test_devices::linux();
    println!("\nholding {} {}", router.ssh.username, host.ssh.username);
    println!("holding {}", host.ssh.home().display());
    std::thread::park();
}

#[test]
fn nothing_is_left_after_kill_9() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "hold_devices_until_killed",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let held: Vec<String> = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .filter_map(|line| line.strip_prefix("holding ").map(str::to_owned))
        .take(2)
        .collect();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let is_left = || {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        held[0].split(' ').any(|account| passwd.contains(account)) || Path::new(&held[1]).exists()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_left() {
        assert!(Instant::now() < deadline, "{held:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
