//! Tests the pool: reuse of sessions, limits, rate limits of logins, circuit breakers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netssh_core::{
    BreakerOptions, Fault, LoginHistory, LoginHistoryError, LoginRate, LoginRecord, Pool,
    PoolOptions, SecretString, Session, SessionLog, SessionLogEntry,
};
use netssh_lab::{Faults, Lab, LabDevice};

use tokio::task::JoinHandle;

use crate::lab::endpoint;
use crate::support::{endpoint as of_device, wait_for_sessions, within};

const SOON: Duration = Duration::from_secs(10);

async fn lab() -> Lab {
    Lab::start(LabDevice::cisco_ios("r1")).await.unwrap()
}

/// Waits until the device has this number of sessions.
async fn open_sessions(lab: &Lab, count: usize) {
    within(SOON, async {
        while lab.open_sessions() != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_user_pays_no_login() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions::default());
    for user in 0..3 {
        let mut session = pool.open(&endpoint(&lab)).await.unwrap();
        assert_eq!(session.is_reused(), user > 0);
        assert!(session.exec("show version").await.unwrap().is_success());
        session.release().await;
        assert_eq!(pool.idle_sessions(), 1);
    }
    assert_eq!(lab.logins(), 1);
    pool.close().await;
    assert_eq!(pool.idle_sessions(), 0);
    open_sessions(&lab, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_and_save_leave_a_session_fit_for_others() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions::default());
    let mut session = pool.open(&endpoint(&lab)).await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    configuration.line("hostname r2").await.unwrap();
    configuration.leave().await.unwrap();
    session.save().await.unwrap();
    session.release().await;
    assert!(pool.open(&endpoint(&lab)).await.unwrap().is_reused() || lab.logins() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_thrown_away() {
    let lab = Lab::start(LabDevice {
        faults: Faults {
            never_answer: Some("show clock".into()),
            ..Faults::default()
        },
        ..LabDevice::cisco_ios("r1")
    })
    .await
    .unwrap();
    let pool = Pool::new(PoolOptions::default());
    for (case, command) in ["terminal length 10", "disable", "enable"]
        .iter()
        .enumerate()
    {
        let mut session = pool.open(&endpoint(&lab)).await.unwrap();
        assert!(!session.is_reused());
        let _ = session.exec(command).await;
        session.release().await;
        assert_eq!(pool.idle_sessions(), 0, "{command}");
        assert_eq!(lab.logins(), case + 1);
    }
    // In configuration mode.
    let mut session = pool.open(&endpoint(&lab)).await.unwrap();
    session.configuration().await.unwrap();
    session.release().await;
    assert_eq!(pool.idle_sessions(), 0);
    // Interrupted in the middle of a command.
    let mut session = pool.open(&endpoint(&lab)).await.unwrap();
    let cut = session.exec_timeout("show clock", Duration::from_millis(50));
    assert_eq!(cut.await.unwrap_err().code(), "timeout");
    session.release().await;
    assert_eq!(pool.idle_sessions(), 0);
    open_sessions(&lab, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_device_has_ended_is_not_given_out() {
    let router = test_devices::Frr::start();
    let endpoint = of_device(&router.ssh, "frr");
    let pool = Pool::new(PoolOptions::default());
    let session = pool.open(&endpoint).await.unwrap();
    session.release().await;
    assert_eq!(pool.idle_sessions(), 1);
    tokio::task::block_in_place(|| router.ssh.kill_sessions());
    let mut session = pool.open(&endpoint).await.unwrap();
    assert!(!session.is_reused());
    assert!(session.exec("show version").await.unwrap().is_success());
    session.release().await;
    pool.close().await;
    wait_for_sessions(&router.ssh, 0);
}

#[derive(Debug)]
struct Named(&'static str);

impl SessionLog for Named {
    fn write(&self, _: &SessionLogEntry) {}

    fn name(&self) -> &str {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_credentials_get_a_session_of_their_own() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions::default());
    pool.open(&endpoint(&lab)).await.unwrap().release().await;
    let mut other = endpoint(&lab);
    other.enable_secret = None;
    let session = pool.open(&other).await.unwrap();
    assert!(!session.is_reused());
    assert_eq!(session.prompt(), "r1>");
    session.release().await;
    let mut logged = endpoint(&lab);
    logged.session_log = Some(Arc::new(Named("other")));
    let session = pool.open(&logged).await.unwrap();
    assert!(!session.is_reused(), "its log would be another one's");
    session.release().await;
    let session = pool.open(&logged).await.unwrap();
    assert!(session.is_reused());
    session.release().await;
    let mut wrong = endpoint(&lab);
    wrong.credentials.password = Some(SecretString::from("wrong"));
    let error = pool.open(&wrong).await.unwrap_err();
    assert_eq!(error.code(), "authentication");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_closed_when_its_time_is_over() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions {
        idle_time: Duration::from_millis(100),
        ..PoolOptions::default()
    });
    pool.open(&endpoint(&lab)).await.unwrap().release().await;
    open_sessions(&lab, 0).await;
    assert_eq!(pool.idle_sessions(), 0);
    let none = Pool::new(PoolOptions {
        idle_time: Duration::ZERO,
        ..PoolOptions::default()
    });
    none.open(&endpoint(&lab)).await.unwrap().release().await;
    assert_eq!(none.idle_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_no_more_sessions_than_it_may() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions {
        sessions_per_device: 2,
        wait: Duration::from_millis(200),
        ..PoolOptions::default()
    });
    let one = pool.open(&endpoint(&lab)).await.unwrap();
    let two = pool.open(&endpoint(&lab)).await.unwrap();
    let error = pool.open(&endpoint(&lab)).await.unwrap_err();
    assert_eq!(error.code(), "busy");
    assert!(error.to_string().contains("all 2"), "{error}");
    one.release().await;
    two.release().await;
    // Both are idle: the pool closes one to log in with other credentials.
    let mut other = endpoint(&lab);
    other.enable_secret = None;
    let session = pool.open(&other).await.unwrap();
    assert_eq!(pool.idle_sessions(), 1);
    open_sessions(&lab, 2).await;
    session.release().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_idle_sessions_is_bounded() {
    let pool = Pool::new(PoolOptions {
        idle_sessions: 2,
        ..PoolOptions::default()
    });
    let labs = [lab().await, lab().await, lab().await];
    for lab in &labs {
        pool.open(&endpoint(lab)).await.unwrap().release().await;
    }
    assert_eq!(pool.idle_sessions(), 2);
    open_sessions(&labs[0], 0).await;
    assert!(pool.open(&endpoint(&labs[2])).await.unwrap().is_reused());
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_to_one_device_do_not_pile_up() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions {
        sessions_per_device: 10,
        ..PoolOptions::default()
    });
    let mut wrong = endpoint(&lab);
    wrong.credentials.password = Some(SecretString::from("wrong"));
    let tries = (0..10).map(|_| {
        let (pool, wrong) = (pool.clone(), wrong.clone());
        tokio::spawn(async move { pool.open(&wrong).await.unwrap_err().code() })
    });
    for outcome in tries.collect::<Vec<_>>() {
        assert_eq!(outcome.await.unwrap(), "authentication");
    }
    // Callers that waited during a refused login did not send the same password again.
    assert!(lab.refused_logins() < 10, "{}", lab.refused_logins());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_says_while_nobody_listens_does_not_pile_up() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions::default());
    let session = pool.open(&endpoint(&lab)).await.unwrap();
    session.release().await;
    let mut session = pool.open(&endpoint(&lab)).await.unwrap();
    assert!(session.is_reused());
    assert!(session.exec("show version").await.unwrap().is_success());
    session.release().await;
}

/// A wrong password must not lock an account.
#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_not_tried_a_third_time() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions::default());
    let mut wrong = endpoint(&lab);
    wrong.credentials.password = Some(SecretString::from("wrong"));
    for _ in 0..2 {
        let error = pool.open(&wrong).await.unwrap_err();
        assert_eq!(error.code(), "authentication", "{error}");
    }
    for _ in 0..3 {
        let error = pool.open(&wrong).await.unwrap_err();
        assert_eq!(error.code(), "unavailable", "{error}");
        assert!(
            error.to_string().contains("open for another 60 s"),
            "{error}"
        );
    }
    let open = pool.open_breakers();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].address.ends_with(&lab.addr().port().to_string()));
    // A correct password is another set of credentials.
    pool.open(&endpoint(&lab)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_gone_is_left_alone_and_found_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let pool = Pool::new(PoolOptions {
        breaker: BreakerOptions {
            pause: Duration::from_millis(300),
            longest_pause: Duration::from_millis(300),
            ..BreakerOptions::default()
        },
        ..PoolOptions::default()
    });
    let mut gone = endpoint(&lab().await);
    gone.port = address.port();
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(pool.open(&gone).await.unwrap_err().code());
    }
    assert_eq!(codes, ["network", "network", "network", "unavailable"]);
    // One attempt after the pause.
    within(SOON, async {
        while pool.open(&gone).await.unwrap_err().code() != "network" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(pool.open(&gone).await.unwrap_err().code(), "unavailable");
    assert_eq!(
        pool.open_breakers()[0].address,
        format!("127.0.0.1:{}", address.port())
    );
}

/// Returns a pool without reuse, so that each caller logs in, with a rate limit of `logins` per
/// [`WINDOW`].
fn slow_pool(logins: u32) -> Pool {
    Pool::new(PoolOptions {
        idle_time: Duration::ZERO,
        login_rate: LoginRate {
            logins,
            within: WINDOW,
        },
        ..PoolOptions::default()
    })
}

const WINDOW: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_too_often_waits() {
    let (lab, other) = (lab().await, lab().await);
    let pool = slow_pool(2);
    let users = (0..5).map(|_| {
        let (pool, endpoint) = (pool.clone(), endpoint(&lab));
        tokio::spawn(async move {
            let session = pool.open(&endpoint).await.unwrap();
            let at = Instant::now();
            session.release().await;
            at
        })
    });
    let users = users.collect::<Vec<_>>();
    let session = within(SOON, pool.open(&endpoint(&other))).await;
    let of_other = Instant::now();
    session.unwrap().release().await;
    let mut at = Vec::new();
    for user in users {
        at.push(within(SOON, user).await.unwrap());
    }
    at.sort_unstable();
    assert_eq!(lab.logins(), 5, "all of them were let in");
    assert!(of_other < at[4], "another device has a minute of its own");
    for three in at.windows(3) {
        // The device counts a login before `open` returns.
        assert!(three[2] - three[0] > WINDOW, "{:?}", three[2] - three[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_count_and_the_wait_has_a_bound() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions {
        wait: Duration::from_millis(100),
        login_rate: LoginRate::per_minute(1),
        ..PoolOptions::default()
    });
    let mut wrong = endpoint(&lab);
    wrong.credentials.password = Some(SecretString::from("wrong"));
    let error = pool.open(&wrong).await.unwrap_err();
    assert_eq!(error.code(), "authentication");
    let error = within(SOON, pool.open(&endpoint(&lab))).await.unwrap_err();
    assert_eq!(error.code(), "busy");
    assert!(
        error.to_string().contains("login rate limit reached"),
        "{error}"
    );
    assert_eq!(lab.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_beside_the_pool_count_and_do_not_wait() {
    let lab = lab().await;
    let pool = slow_pool(2);
    let endpoint_of_lab = endpoint(&lab);
    let beside = || pool.beside(&endpoint_of_lab, Session::connect(&endpoint_of_lab));
    for _ in 0..2 {
        let (session, permit) = within(SOON, beside()).await.unwrap();
        session.close().await;
        drop(permit);
    }
    let ended = Instant::now();
    let error = within(SOON, beside()).await.unwrap_err();
    assert_eq!(error.code(), "unavailable");
    assert!(error.to_string().contains("login rate limit"), "{error}");
    assert_eq!(lab.logins(), 2);
    let session = within(SOON, pool.open(&endpoint(&lab))).await.unwrap();
    assert!(ended.elapsed() >= WINDOW / 2, "{:?}", ended.elapsed());
    session.release().await;
    pool.close().await;
    assert!(beside().await.is_err());
}

/// Different passwords in succession, as a program that guesses would send them.
#[tokio::test(flavor = "multi_thread")]
async fn logins_beside_the_pool_with_wrong_passwords_are_stopped() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions::default());
    let mut codes = Vec::new();
    for number in 0..8 {
        let mut wrong = endpoint(&lab);
        wrong.credentials.password = Some(SecretString::from(format!("wrong{number}")));
        let refused = pool.beside(&wrong, Session::connect(&wrong)).await;
        codes.push(refused.unwrap_err().code().to_owned());
    }
    let tried = codes.iter().filter(|code| *code == "authentication");
    assert_eq!(tried.count(), 5, "{codes:?}");
    assert!(
        codes[5..].iter().all(|code| code == "unavailable"),
        "{codes:?}"
    );
    // A job uses the right password.
    pool.open(&endpoint(&lab)).await.unwrap().release().await;
    pool.close().await;
}

/// A cancelled wait neither blocks other callers nor counts as a login.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_next_login_can_be_given_up() {
    let lab = lab().await;
    let pool = slow_pool(1);
    let begun = Instant::now();
    pool.open(&endpoint(&lab)).await.unwrap().release().await;
    let endpoint = endpoint(&lab);
    for _ in 0..3 {
        let waiting = tokio::time::timeout(WINDOW / 20, pool.open(&endpoint));
        assert!(waiting.await.is_err());
    }
    let session = within(SOON, pool.open(&endpoint)).await.unwrap();
    assert!(begun.elapsed() > WINDOW);
    assert!(begun.elapsed() < WINDOW * 3, "those who gave up count");
    session.release().await;
    assert_eq!(lab.logins(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_log_in_takes_a_session_that_is_given_back() {
    let lab = lab().await;
    let pool = Pool::new(PoolOptions {
        login_rate: LoginRate::per_minute(1),
        ..PoolOptions::default()
    });
    let first = pool.open(&endpoint(&lab)).await.unwrap();
    let waiting = (0..3).map(|_| {
        let (pool, endpoint) = (pool.clone(), endpoint(&lab));
        tokio::spawn(async move {
            let session = pool.open(&endpoint).await.unwrap();
            assert!(session.is_reused());
            session.release().await;
        })
    });
    let waiting = waiting.collect::<Vec<_>>();
    first.release().await;
    for user in waiting {
        within(SOON, user).await.unwrap();
    }
    assert_eq!(lab.logins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_devices_share_few_connections() {
    let mut labs = Vec::new();
    for _ in 0..4 {
        labs.push(lab().await);
    }
    let pool = Pool::new(PoolOptions {
        connections: 2,
        ..PoolOptions::default()
    });
    // Idle sessions make room.
    for lab in labs.iter().chain(&labs) {
        let session = within(SOON, pool.open(&endpoint(lab))).await.unwrap();
        session.release().await;
        assert!(pool.idle_sessions() <= 2);
    }
    // The pool waits for sessions in use.
    let first = pool.open(&endpoint(&labs[0])).await.unwrap();
    let second = pool.open(&endpoint(&labs[1])).await.unwrap();
    let (noted, mut notes) = tokio::sync::mpsc::unbounded_channel();
    let (waiting, third) = (pool.clone(), endpoint(&labs[2]));
    let third = tokio::spawn(async move {
        let note = move |why: &str| noted.send(why.to_owned()).unwrap();
        waiting.open_noting(&third, &note).await
    });
    let note = within(SOON, notes.recv()).await.unwrap();
    assert_eq!(
        note,
        "connection limit reached: all 2 connections that the server has file descriptors for are in \
         use"
    );
    first.release().await;
    let third = within(SOON, third).await.unwrap().unwrap();
    // A login outside of the pool counts until its connection ends.
    drop(second);
    let opened = pool
        .beside(&endpoint(&labs[3]), std::future::ready(Ok(())))
        .await;
    let ((), console) = opened.unwrap();
    let fourth = endpoint(&labs[3]);
    let mut fourth = Box::pin(pool.open(&fourth));
    assert!(
        tokio::time::timeout(WINDOW / 20, &mut fourth)
            .await
            .is_err()
    );
    drop(console);
    within(SOON, fourth).await.unwrap().release().await;
    third.release().await;
    pool.close().await;
    for lab in &labs {
        open_sessions(lab, 0).await;
    }
}

/// A login history in memory that can be made to fail.
#[derive(Debug, Default)]
struct Stored {
    records: Mutex<HashMap<String, LoginRecord>>,
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl LoginHistory for Stored {
    async fn store(&self, address: &str, record: &LoginRecord) -> Result<(), LoginHistoryError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err("no space left on the disk".into());
        }
        let mut records = self.records.lock().unwrap();
        records.insert(address.to_owned(), record.clone());
        Ok(())
    }

    fn digest(&self, credentials: &[u8; 32]) -> String {
        format!("{:x?}", &credentials[..4])
    }
}

impl Stored {
    /// Creates the pool of the next process.
    fn restarted(self: &Arc<Self>, options: PoolOptions) -> Pool {
        let records = self.records.lock().unwrap().clone();
        Pool::with_history(
            options,
            Arc::clone(self) as _,
            records.into_iter().collect(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_refused_password() {
    let lab = lab().await;
    let stored = Arc::new(Stored::default());
    let mut wrong = endpoint(&lab);
    wrong.credentials.password = Some("wrong".into());
    for _ in 0..2 {
        let pool = stored.restarted(PoolOptions::default());
        let error = pool.open(&wrong).await.unwrap_err();
        assert_eq!(error.code(), "authentication");
        pool.close().await;
    }
    let pool = stored.restarted(PoolOptions::default());
    assert_eq!(pool.open(&wrong).await.unwrap_err().code(), "unavailable");
    assert_eq!(lab.refused_logins(), 2);
    // A changed setting does not change the credentials.
    wrong.timeouts.command += Duration::from_secs(1);
    assert_eq!(pool.open(&wrong).await.unwrap_err().code(), "unavailable");
    pool.open(&endpoint(&lab)).await.unwrap().release().await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_reset_the_login_rate() {
    let lab = lab().await;
    let stored = Arc::new(Stored::default());
    let options = PoolOptions {
        login_rate: LoginRate::per_minute(2),
        ..PoolOptions::default()
    };
    for _ in 0..2 {
        let pool = stored.restarted(options);
        pool.open(&endpoint(&lab)).await.unwrap().release().await;
        pool.close().await;
    }
    let pool = stored.restarted(options);
    let (noted, mut notes) = tokio::sync::mpsc::unbounded_channel();
    let third = endpoint(&lab);
    let waiting = tokio::spawn(async move {
        let note = move |why: &str| noted.send(why.to_owned()).unwrap();
        pool.open_noting(&third, &note).await.map(drop)
    });
    let note = within(SOON, notes.recv()).await.unwrap();
    assert!(note.starts_with("login rate limit reached"), "{note}");
    waiting.abort();
    assert_eq!(lab.logins(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_sent_before_the_login_is_stored() {
    let lab = lab().await;
    let stored = Arc::new(Stored::default());
    stored.fails.store(true, Ordering::Relaxed);
    let pool = stored.restarted(PoolOptions::default());
    for _ in 0..4 {
        let error = pool.open(&endpoint(&lab)).await.unwrap_err();
        assert_eq!((error.code(), error.fault()), ("server", Fault::Server));
        assert!(
            error.to_string().ends_with("no space left on the disk"),
            "{error}"
        );
        let endpoint = endpoint(&lab);
        let beside = pool.beside(&endpoint, Session::connect(&endpoint)).await;
        assert_eq!(beside.unwrap_err().code(), "server");
    }
    assert_eq!((lab.logins(), lab.refused_logins()), (0, 0));
    assert!(pool.open_breakers().is_empty());
    stored.fails.store(false, Ordering::Relaxed);
    pool.open(&endpoint(&lab)).await.unwrap().release().await;
}

/// Begins a login outside of the pool, which ends only when it is aborted.
async fn begun_beside(pool: &Pool, lab: &Lab) -> JoinHandle<()> {
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (pool, endpoint) = (pool.clone(), endpoint(lab));
    let login = tokio::spawn(async move {
        let login = async move {
            begin.send(()).unwrap();
            std::future::pending::<Result<(), netssh_core::Error>>().await
        };
        let _ = pool.beside(&endpoint, login).await;
    });
    within(SOON, begun).await.unwrap();
    login
}

/// The process is killed in the middle of a login, repeatedly.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_begun_and_never_ended_counts() {
    let lab = lab().await;
    let stored = Arc::new(Stored::default());
    let address = format!("127.0.0.1:{}", lab.addr().port());
    let mut codes = Vec::new();
    for _ in 0..3 {
        let pool = stored.restarted(PoolOptions::default());
        let login = match pool.open(&endpoint(&lab)).await {
            Ok(session) => {
                drop(session);
                begun_beside(&pool, &lab).await
            }
            Err(error) => {
                codes.push(error.code());
                break;
            }
        };
        // The state at the time of the kill; later writes are discarded.
        let pending = stored.records.lock().unwrap()[&address].clone();
        assert_eq!(pending.pending.len(), 1);
        login.abort();
        let _ = login.await;
        pool.close().await;
        stored
            .records
            .lock()
            .unwrap()
            .insert(address.clone(), pending);
        codes.push("killed");
    }
    assert_eq!(
        codes,
        ["killed", "killed", "killed"],
        "a login that works counts anew"
    );
    {
        let pool = stored.restarted(PoolOptions::default());
        let login = begun_beside(&pool, &lab).await;
        let pending = stored.records.lock().unwrap()[&address].clone();
        login.abort();
        let _ = login.await;
        pool.close().await;
        stored
            .records
            .lock()
            .unwrap()
            .insert(address.clone(), pending);
    }
    let pool = stored.restarted(PoolOptions::default());
    let error = pool.open(&endpoint(&lab)).await.unwrap_err();
    assert_eq!(error.code(), "unavailable");
    assert!(
        error.to_string().contains("stopped during the login"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_known_says_nothing_about_a_device() {
    let pool = Pool::new(PoolOptions::default());
    let mut unknown = endpoint(&lab().await);
    unknown.host = "no-such-device.invalid".into();
    for _ in 0..4 {
        let error = pool.open(&unknown).await.unwrap_err();
        assert_eq!(error.code(), "network", "{error}");
    }
    assert!(pool.open_breakers().is_empty());
}
