//! Tests the database's files: damaged, deleted, replaced, shared, backed up, restored, on a full
//! disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host::storage::sqlite::SqliteStorage;
use host::storage::{HealthStore as _, JobStore as _};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use uuid::Uuid;

use crate::harness::{Client, DEADLINE, Server, clean, new_job, playbook, run, scheduler};

const PAGE: u64 = 4096;
const CHECK: Duration = Duration::from_secs(60);

fn url_of(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

async fn open(file: &Path) -> anyhow::Result<SqliteStorage> {
    SqliteStorage::open(&url_of(file), 2, CHECK).await
}

async fn refusal(file: &Path) -> String {
    match open(file).await {
        Ok(_) => panic!("{} is taken", file.display()),
        Err(error) => format!("{error:#}"),
    }
}

async fn plain(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    options.connect().await.unwrap()
}

/// Creates a database with some jobs, and closes it.
async fn some_database(directory: &Path) -> PathBuf {
    let file = directory.join("scheduler.db");
    let storage = open(&file).await.unwrap();
    for _ in 0..200 {
        let job = new_job(Uuid::now_v7());
        storage.add_job(&job, &[], None).await.unwrap();
    }
    storage.close().await;
    file
}

fn overwrite(file: &Path, page: u64) {
    let mut file = File::options().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start((page - 1) * PAGE)).unwrap();
    let rubbish: Vec<u8> = (0..PAGE).map(|n| (n * 31 % 251) as u8 | 1).collect();
    file.write_all(&rubbish).unwrap();
    file.sync_all().unwrap();
}

/// Returns the root pages of tables and indexes, by name.
async fn roots(file: &Path) -> Vec<(String, i64)> {
    let mut connection = plain(file).await;
    let roots = sqlx::query_as(
        "SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0 ORDER BY rootpage",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    roots
}

/// Runs `scheduler serve`, which must fail, and returns its message.
fn refused(directory: &Path) -> String {
    let output = Server::command(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// Runs `scheduler db`; returns its exit code and its output.
fn db(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = scheduler()
        .arg("db")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&text).into_owned();
    (output.status.code(), said)
}

pub(crate) async fn submit(client: &Client, seconds: f64) -> String {
    let job = json!({ "plugin": "noop", "params": { "seconds": seconds } });
    let answer = client.post("/api/jobs", &job).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn until(client: &Client, path: &str, is: impl Fn(u16, &Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = client.get(path).await;
        if is(answer.status, &answer.body) {
            return answer.body;
        }
        assert!(begun.elapsed() < DEADLINE, "{path}: {}", answer.body);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn until_status(client: &Client, id: &str, status: &str) -> Value {
    until(client, &format!("/api/jobs/{id}"), |_, job| {
        job["status"] == status
    })
    .await
}

/// Asserts that the server reports an unusable database and accepts nothing.
async fn expect_unusable(client: &Client, reason: &str) {
    let health = until(client, "/health", |status, _| status == 503).await;
    let problem = health["storage"]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains(reason), "{health}");
    assert!(problem.contains("scheduler db restore"), "{health}");
    let job = json!({ "plugin": "noop" });
    let connection = json!({
        "name": "r1", "host": "192.0.2.1", "username": "u", "password": "p", "device_type": "linux",
    });
    for (path, body) in [("/api/jobs", job), ("/api/connections", connection)] {
        let answer = client.post(path, &body).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert_eq!(answer.body["type"], "/problems/database-unusable");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{detail}");
    }
}

#[test]
fn rubbish_in_the_first_page_of_any_table_or_index_stops_the_start() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = some_database(directory.path()).await;
        let copy = directory.path().join("copy.db");
        let roots = roots(&file).await;
        assert!(roots.len() > 20, "{roots:?}");
        for (name, page) in roots {
            std::fs::copy(&file, &copy).unwrap();
            overwrite(&copy, page.unsigned_abs());
            let said = refusal(&copy).await;
            for expected in ["copy.db", "damaged", "scheduler db check", "restore"] {
                assert!(said.contains(expected), "{name}: {said}");
            }
            for suffix in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(directory.path().join(format!("copy.db{suffix}")));
            }
        }
    });
}

#[test]
fn a_file_that_is_not_a_database_stops_the_start() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scheduler.db");
        std::fs::write(&file, vec![7; 8 * PAGE as usize]).unwrap();
        let said = refusal(&file).await;
        assert!(
            said.contains("damaged") && said.contains("restore"),
            "{said}"
        );
    });
}

/// Simulates copies of the database and of its log that were made at different times.
#[test]
fn a_log_of_another_time_stops_the_start() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = some_database(directory.path()).await;
        let (early, wal) = (
            directory.path().join("copy.db"),
            directory.path().join("copy.db-wal"),
        );
        std::fs::copy(&file, &early).unwrap();
        let mut connection = plain(&file).await;
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                    INSERT INTO meta SELECT 'key' || i, randomblob(500) FROM n";
        for statement in [
            fill,
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "DELETE FROM meta WHERE key LIKE 'key1%'",
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        std::fs::copy(directory.path().join("scheduler.db-wal"), &wal).unwrap();
        connection.close().await.unwrap();
        let said = refusal(&early).await;
        assert!(
            said.contains("damaged") && said.contains("restore"),
            "{said}"
        );
    });
}

#[test]
fn a_check_ends_with_its_time_and_the_start_goes_its_way() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = some_database(directory.path()).await;
        let storage = SqliteStorage::open(&url_of(&file), 2, Duration::from_nanos(1)).await;
        storage.unwrap().close().await;
    });
}

#[test]
fn damage_at_run_time_stops_new_work_and_lets_running_jobs_end() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scheduler.db");
        Server::start(directory.path()).terminate();
        let roots = roots(&file).await;
        let pages = roots
            .iter()
            .filter(|(name, _)| name.contains("notifications"));
        let log = tempfile::NamedTempFile::new().unwrap();
        let environment = [("SCHEDULER_WORKER_CONCURRENCY", "1")];
        let server =
            Server::start_logged(directory.path(), &environment, Some(log.reopen().unwrap()));
        let client = &server.client;
        let running = submit(client, 3.0).await;
        until_status(client, &running, "running").await;
        let waiting = submit(client, 0.0).await;
        pages.for_each(|(_, page)| overwrite(&file, page.unsigned_abs()));
        // Any statement that reads a damaged page detects the damage.
        let answer = client.get("/api/notifications").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.body["type"], "/problems/database-unusable");
        expect_unusable(client, "damaged").await;
        until_status(client, &running, "completed").await;
        let job = client.get(&format!("/api/jobs/{waiting}")).await.body;
        assert_eq!(job["status"], "pending", "no more jobs are taken: {job}");
        let mut text = String::new();
        File::open(log.path())
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let said = text
            .lines()
            .filter(|line| line.contains("the database is unusable"));
        assert_eq!(said.count(), 1, "{text}");
        assert_eq!(server.terminate(), Some(0));
        let said = refused(directory.path());
        assert!(said.contains("damaged"), "{said}");
        let (code, said) = db(directory.path(), &["check"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("restore a backup"), "{said}");
    });
}

#[test]
fn a_deleted_or_replaced_file_stops_new_work_at_once() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("was deleted or moved away", |directory| {
            std::fs::remove_file(directory.join("scheduler.db")).unwrap();
        }),
        // A new connection of the server may have created another one.
        ("while the server was running", |directory| {
            std::fs::remove_file(directory.join("scheduler.db-wal")).unwrap();
        }),
        ("was replaced by another file", |directory| {
            let file = directory.join("scheduler.db");
            std::fs::copy(&file, directory.join("other.db")).unwrap();
            std::fs::rename(directory.join("other.db"), file).unwrap();
        }),
        ("was replaced by another file", |directory| {
            let file = directory.join("scheduler.db-shm");
            std::fs::copy(&file, directory.join("other")).unwrap();
            std::fs::rename(directory.join("other"), file).unwrap();
        }),
    ];
    run(async move {
        for (reason, change) in changes {
            let directory = tempfile::tempdir().unwrap();
            let server = Server::start(directory.path());
            submit(&server.client, 0.0).await;
            change(directory.path());
            // The first submission is refused, before any periodic check of the files.
            let answer = server
                .client
                .post("/api/jobs", &json!({ "plugin": "noop" }))
                .await;
            assert_eq!(answer.status, 503, "{reason}: {}", answer.body);
            let listed = server.client.get("/api/jobs").await.body;
            // A reader that opens the files only now may find no job, or no file.
            let jobs = listed["jobs"].as_array().map_or(0, Vec::len);
            assert!(jobs <= 1, "what was refused is not there: {listed}");
            expect_unusable(&server.client, reason).await;
            assert_eq!(server.terminate(), Some(0));
        }
    });
}

/// If only the log was deleted, a clean stop writes its contents to the database.
#[test]
fn a_clean_stop_keeps_what_a_deleted_log_held() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path());
        let id = submit(&server.client, 0.0).await;
        until_status(&server.client, &id, "completed").await;
        std::fs::remove_file(directory.path().join("scheduler.db-wal")).unwrap();
        expect_unusable(&server.client, "while the server was running").await;
        assert_eq!(server.terminate(), Some(0));
        let server = Server::start(directory.path());
        until_status(&server.client, &id, "completed").await;
    });
}

#[test]
fn a_key_without_its_database_stops_the_start() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Server::start(directory.path()).terminate(), Some(0));
        for empty in [false, true] {
            std::fs::remove_file(directory.path().join("scheduler.db")).unwrap();
            if empty {
                File::create(directory.path().join("scheduler.db")).unwrap();
            }
            let said = refused(directory.path());
            for expected in ["scheduler.db", "scheduler.key", "db restore", "db init"] {
                assert!(said.contains(expected), "{said}");
            }
            let (code, said) = db(directory.path(), &["init"]);
            assert_eq!(code, Some(0), "{said}");
            let (code, said) = db(directory.path(), &["init"]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("already exists"), "{said}");
            assert_eq!(Server::start(directory.path()).terminate(), Some(0));
        }
    });
}

#[test]
fn a_database_has_one_server_whatever_it_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let other = tempfile::tempdir_in(directory.path()).unwrap();
    let file = directory.path().join("scheduler.db");
    let expect_refused = |name: &Path| {
        let output = Server::command(other.path())
            .env("SCHEDULER_DATABASE_URL", url_of(name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("in use by another server"), "{said}");
        assert!(said.contains(&name.display().to_string()), "{said}");
    };
    let (soft, hard) = (other.path().join("soft.db"), other.path().join("hard.db"));
    std::os::unix::fs::symlink(&file, &soft).unwrap();
    std::fs::hard_link(&file, &hard).unwrap();
    expect_refused(&soft);
    expect_refused(&hard);
    std::fs::remove_file(directory.path().join("scheduler.db.lock")).unwrap();
    expect_refused(&file);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_newer_schema_is_refused_in_our_words() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = some_database(directory.path()).await;
        let mut connection = plain(&file).await;
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9000, 'later', 1, x'00', 1)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        let started = refused(directory.path());
        let (_, checked) = db(directory.path(), &["check"]);
        let (_, backed_up) = db(directory.path(), &["backup", "b.db"]);
        std::fs::rename(&file, directory.path().join("newer.db")).unwrap();
        let (_, restored) = db(directory.path(), &["restore", "newer.db"]);
        for said in [started, checked, backed_up, restored] {
            for expected in ["newer version", "schema 9000", "expected at most"] {
                assert!(said.contains(expected), "{said}");
            }
        }
        assert!(!file.exists() && !directory.path().join("b.db").exists());
    });
}

#[test]
fn a_backup_of_a_running_server_is_restored() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let server = Server::start(directory.path());
        let connection = json!({
            "name": "r1", "host": "192.0.2.1", "username": "u", "password": "hunter22",
            "device_type": "linux",
        });
        let answer = server.client.post("/api/connections", &connection).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let before = submit(&server.client, 0.0).await;
        until_status(&server.client, &before, "completed").await;

        let (code, said) = db(directory.path(), &["check"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("no damage found"), "{said}");
        let (code, said) = db(directory.path(), &["backup", "backup.db"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("scheduler.key"), "{said}");
        assert!(said.contains("1 connection"), "{said}");
        let mode = std::fs::metadata(path("backup.db")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        for (arguments, expected) in [
            (["backup", "backup.db"].as_slice(), "--replace"),
            (
                &["backup", "--replace", "scheduler.db"],
                "the database itself",
            ),
            (&["restore", "backup.db"], "in use by another server"),
        ] {
            let (code, said) = db(directory.path(), arguments);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
        let (code, said) = db(directory.path(), &["backup", "--replace", "backup.db"]);
        assert_eq!(code, Some(0), "{said}");

        let after = submit(&server.client, 0.0).await;
        until_status(&server.client, &after, "completed").await;
        // Leaves data in the log that the database does not contain.
        server.kill();

        let (code, said) = db(directory.path(), &["restore", "backup.db"]);
        assert_eq!(code, Some(0), "{said}");
        for left in ["backup.db-wal", "backup.db-shm"] {
            assert!(!path(left).exists(), "{left}");
        }
        let names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            !names.iter().any(|name| name.ends_with(".tmp")),
            "{names:?}"
        );
        let replaced = names
            .iter()
            .find(|name| name.starts_with("scheduler.db.replaced-") && name.ends_with('Z'))
            .unwrap();
        assert!(said.contains(replaced.as_str()), "{said}");
        let mode = std::fs::metadata(path("scheduler.db"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);

        let server = Server::start(directory.path());
        until_status(&server.client, &before, "completed").await;
        let lost = server.client.get(&format!("/api/jobs/{after}")).await;
        assert_eq!(lost.status, 404, "it came after the backup");
        let answer = server.client.get("/api/connections/r1").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        server.terminate();

        // The replaced database is complete: a wrong restore loses nothing.
        let (code, said) = db(directory.path(), &["restore", replaced]);
        assert_eq!(code, Some(0), "{said}");
        let server = Server::start(directory.path());
        until_status(&server.client, &after, "completed").await;
    });
}

#[test]
fn a_damaged_or_foreign_backup_changes_nothing() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let file = some_database(directory.path()).await;
        let path = |name: &str| directory.path().join(name);
        let before = std::fs::read(&file).unwrap();
        std::fs::copy(&file, path("damaged.db")).unwrap();
        let roots = roots(&file).await;
        let (_, page) = roots.iter().find(|(name, _)| name == "jobs").unwrap();
        overwrite(&path("damaged.db"), page.unsigned_abs());
        std::fs::write(path("text.db"), "no database").unwrap();
        File::create(path("empty.db")).unwrap();
        for (backup, expected) in [
            ("damaged.db", "damaged.db"),
            ("text.db", "text.db"),
            ("empty.db", "not a database of the scheduler"),
            ("missing.db", "missing.db"),
            ("scheduler.db", "the database itself"),
        ] {
            let (code, said) = db(directory.path(), &["restore", backup]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(expected), "{backup}: {said}");
            assert!(std::fs::read(&file).unwrap() == before, "{backup}");
        }
        std::fs::rename(path("damaged.db"), &file).unwrap();
        let (code, said) = db(directory.path(), &["backup", "b.db"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(!path("b.db").exists(), "a damaged copy is not kept");
    });
}

#[test]
fn storing_a_schedule_does_not_read_the_others() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path());
        let schedule = |name: &str| {
            json!({
                "name": name, "plugin": "noop", "cron_expression": "0 3 * * *", "timezone": "UTC",
            })
        };
        let answer = server.client.post("/api/schedules", &schedule("a")).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        // An invalid row does not affect later ones.
        let mut connection = plain(&directory.path().join("scheduler.db")).await;
        sqlx::query("UPDATE schedules SET created_at = 'never'")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let answer = server.client.post("/api/schedules", &schedule("b")).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    });
}

/// A file system of a few megabytes, in the server's own mount namespace.
pub(crate) struct SmallDisk {
    pub(crate) directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Creates the directory, and checks that a file system can be mounted.
    ///
    /// # Panics
    /// If the kernel does not allow mounts, with a hint.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Self { directory };
        let tried = disk.mounted(&Command::new("true")).output().unwrap();
        assert!(
            tried.status.success(),
            "a small file system cannot be mounted: run the tests as root, or allow user namespaces \
             (sysctl -w kernel.unprivileged_userns_clone=1): {}",
            String::from_utf8_lossy(&tried.stderr)
        );
        disk
    }

    /// Wraps a command: mounts a new file system at the directory, and runs the command there.
    pub(crate) fn mounted(&self, command: &Command) -> Command {
        self.mounted_of(6, command)
    }

    /// Wraps a command like [`Self::mounted`], with this size in MiB.
    pub(crate) fn mounted_of(&self, mib: u32, command: &Command) -> Command {
        let script =
            format!("mount -t tmpfs -o size={mib}m tmpfs \"$0\" && cd \"$0\" && exec \"$@\"");
        self.within(&script, command)
    }

    pub(crate) fn within(&self, script: &str, command: &Command) -> Command {
        let mut within = clean(Command::new("unshare"));
        // Root may mount without a user namespace, which some systems do not allow.
        if !rustix::process::geteuid().is_root() {
            within.args(["--user", "--map-root-user"]);
        }
        within
            .args(["--mount", "sh", "-c", script])
            .arg(self.directory.path())
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        within
    }

    fn serve(&self) -> Server {
        let mut server = Server::command(self.directory.path());
        // Allows the server to use the last byte.
        server.env("SCHEDULER_DATABASE_MIN_FREE_MB", "0");
        Server::spawn(self.mounted(&server), None)
    }

    /// Starts a server, stops it cleanly, fills the disk to its last byte, and starts the server
    /// again.
    fn serve_twice(&self, first: &str) -> (Server, PathBuf) {
        let script = format!(
            "mount -t tmpfs -o size=6m tmpfs \"$0\" && cd \"$0\" && {first} &&
             {{ dd if=/dev/zero of=filler bs=4k; dd if=/dev/zero of=filler2 bs=1; }} 2>/dev/null;
             exec \"$@\""
        );
        let mut server = Server::command(self.directory.path());
        server.env("SCHEDULER_DATABASE_MIN_FREE_MB", "0");
        let server = Server::spawn(self.within(&script, &server), None);
        let files = self.files(&server);
        (server, files)
    }

    /// Returns the file system's path outside of the namespace.
    pub(crate) fn files(&self, server: &Server) -> PathBuf {
        let path = self.directory.path().strip_prefix("/").unwrap();
        Path::new("/proc")
            .join(server.id().to_string())
            .join("root")
            .join(path)
    }
}

pub(crate) fn fill(files: &Path) {
    let mut filler = File::create(files.join("filler")).unwrap();
    for size in [4096, 1] {
        while filler.write_all(&vec![1; size]).is_ok() {}
    }
}

pub(crate) fn free(files: &Path) {
    for name in ["filler", "filler2"] {
        let _ = std::fs::remove_file(files.join(name));
    }
}

/// Submits jobs until the database, which has some free pages of its own, is full.
async fn submit_until_full(client: &Client) {
    let begun = Instant::now();
    loop {
        let job = json!({ "plugin": "noop", "scheduled_for": "2999-01-01T00:00:00Z" });
        let answer = client.post("/api/jobs", &job).await;
        if answer.status == 507 {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{}", answer.body);
    }
}

async fn expect_full(client: &Client) {
    let health = until(client, "/health", |status, _| status == 503).await;
    assert_eq!(health["storage"]["disk_full"], true, "{health}");
    let problem = health["storage"]["problem"].as_str().unwrap();
    assert!(problem.contains("disk is full"), "{problem}");
}

#[test]
fn a_running_job_is_cancelled_on_a_full_disk() {
    run(async {
        let disk = SmallDisk::new();
        let server = disk.serve();
        let (client, files) = (&server.client, disk.files(&server));
        let id = submit(client, 3600.0).await;
        until_status(client, &id, "running").await;
        fill(&files);
        submit_until_full(client).await;
        expect_full(client).await;

        let answer = client.act(&format!("/api/jobs/{id}/cancel")).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let warning = answer.body["warning"].as_str().unwrap();
        assert!(
            warning.contains("failed to store the cancellation"),
            "{warning}"
        );
        let said = scheduler()
            .args(["job", "cancel", &id, "--url", &client.url("")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("failed to store the cancellation"), "{said}");
        let job = client.get(&format!("/api/jobs/{id}")).await.body;
        assert_eq!(job["status"], "running", "its end cannot be stored: {job}");

        free(&files);
        let job = until_status(client, &id, "cancelled").await;
        assert_eq!(job["error_code"], "cancelled", "{job}");
        until(client, "/health", |status, _| status == 200).await;
    });
}

#[test]
fn a_job_that_fails_on_a_full_disk_names_the_disk() {
    run(async {
        // A value of this size that does not fit leaves enough space for the end of the job.
        const STORES: &str = r#"
            let text = "x"; while text.len < 500000 { text += text; }
            for number in 0..200 { storage::set("key" + number, text); }
        "#;
        let disk = SmallDisk::new();
        let scripts = tempfile::tempdir().unwrap();
        std::fs::write(scripts.path().join("stores.rhai"), playbook(STORES)).unwrap();
        let mut command = Server::command(scripts.path());
        command
            .env("SCHEDULER_PLUGINS_SCRIPTS_DIR", scripts.path())
            .env("SCHEDULER_DATABASE_MIN_FREE_MB", "0")
            // `playbook` declares that it may submit any plugin.
            .env("SCHEDULER_POLICY_QUEUE_SUBMIT", "*");
        let server = Server::spawn(disk.mounted(&command), None);
        let client = &server.client;
        let answer = client
            .post("/api/jobs", &json!({ "plugin": "stores" }))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let id = answer.body["id"].as_str().unwrap();
        let is_final =
            |_: u16, job: &Value| job["status"] == "failed" || job["status"] == "completed";
        // Recording the end of the job needs some space, too.
        let path = format!("/api/jobs/{id}");
        let ended = until(client, &path, is_final).await;
        assert_eq!(ended["status"], "failed", "{ended}");
        let message = ended["error_message"].as_str().unwrap();
        assert!(message.contains("disk is full"), "{message}");
    });
}

#[test]
fn a_server_starts_on_a_full_disk_and_recovers_by_itself() {
    run(async {
        let disk = SmallDisk::new();
        let program = env!("CARGO_BIN_EXE_scheduler");
        for signal in ["KILL", "TERM"] {
            // Waits until the server listens, then ends it.
            let first = format!(
                "{{ {program} serve 2>log & server=$!;
                    until grep -q listening log; do :; done;
                    kill -{signal} $server; wait $server; rm log; true; }}"
            );
            let (server, files) = disk.serve_twice(&first);
            let client = &server.client;
            expect_full(client).await;
            for path in ["/api/jobs", "/api/connections", "/api/plugins"] {
                let answer = client.get(path).await;
                assert_eq!(answer.status, 200, "{signal}: {path}: {}", answer.body);
            }
            let answer = client.post("/api/jobs", &json!({ "plugin": "noop" })).await;
            assert_eq!(answer.status, 507, "{signal}: {}", answer.body);
            free(&files);
            until(client, "/health", |status, _| status == 200).await;
            let id = submit(client, 0.0).await;
            until_status(client, &id, "completed").await;
            assert_eq!(server.terminate(), Some(0), "{signal}");
        }
    });
}

/// Like a quota, a limit of file sizes makes SQLite report "disk I/O error".
#[test]
fn a_limit_of_file_sizes_is_a_full_disk() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::command(directory.path());
        let mut limited = clean(Command::new("sh"));
        // In blocks of 512 bytes: 2 MiB.
        limited
            .args(["-c", "ulimit -f 4096 && exec \"$0\" \"$@\""])
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .envs(
                server
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        let server = Server::spawn(limited, None);
        let client = &server.client;
        let begun = Instant::now();
        let refused = loop {
            let job = json!({
                "plugin": "noop", "description": "x".repeat(1000),
                "scheduled_for": "2999-01-01T00:00:00Z",
            });
            let answer = client.post("/api/jobs", &job).await;
            if answer.status != 202 {
                break answer;
            }
            assert!(begun.elapsed() < DEADLINE);
        };
        assert_eq!(refused.status, 507, "{}", refused.body);
        assert_eq!(refused.body["type"], "/problems/disk-full");
        let jobs = client.get("/api/jobs").await;
        assert_eq!(jobs.status, 200, "it still answers: {}", jobs.body);
        assert_eq!(server.terminate(), Some(0));
    });
}
