//! Tests authentication: users, logins, tokens, and what each role may do.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Output, Stdio};
use std::sync::Arc;

use chrono::TimeDelta;
use host::api::{Access, OPERATIONS};
use host::config::AuthMode;
use host::model::{Permission, Role, now};
use host::wire::{
    JobList, MeResponse, ProofKind, SessionList, TokenList, TokenResponse, UserList, UserResponse,
};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::{Answer, Browser, TestHost, run, scheduler};

const PASSWORD: &str = "correct horse battery";

/// A playbook that returns what a device might have said.
const SAYS: &str = r#"
    fn describe() { #{ summary: "Says something", targets: "none" } }
    fn run(job, params) { log::info("the log tells"); "the result tells" }
"#;

/// A host with authentication, and its first user `root`.
struct Guarded {
    host: TestHost,
    root: Caller,
}

/// The sender of a request.
#[derive(Clone)]
enum Caller {
    Nobody,
    Cookie(String),
    Token(String),
}

impl Guarded {
    async fn start() -> Self {
        let host = TestHost::with_scripts_and(&[("says", SAYS)], |config| {
            config.auth.mode = Some(AuthMode::Local);
        })
        .await;
        let code = host.app.auth.begin_setup().await.unwrap();
        let code = code.expect("there are no users yet");
        let setup = json!({ "code": code.expose_secret(), "name": "root", "password": PASSWORD });
        let created = host.client.post("/api/setup", &setup).await;
        assert_eq!(created.status, 200, "{}", created.text);
        let root = cookie_of(&created);
        Self { host, root }
    }

    async fn send(
        &self,
        caller: &Caller,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.host.client.request(method, path);
        request = match caller {
            Caller::Nobody => request,
            Caller::Cookie(cookie) => request.header(COOKIE, cookie),
            Caller::Token(token) => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.host.client.send(request).await
    }

    async fn get(&self, caller: &Caller, path: &str) -> Answer {
        self.send(caller, Method::GET, path, None).await
    }

    async fn post(&self, caller: &Caller, path: &str, body: Value) -> Answer {
        self.send(caller, Method::POST, path, Some(body)).await
    }

    async fn put(&self, caller: &Caller, path: &str, body: Value) -> Answer {
        self.send(caller, Method::PUT, path, Some(body)).await
    }

    async fn delete(&self, caller: &Caller, path: &str) -> Answer {
        self.send(caller, Method::DELETE, path, None).await
    }

    async fn add_user(&self, name: &str, role: Role, permissions: &[Permission]) {
        let user = json!({
            "name": name, "role": role, "permissions": permissions, "password": PASSWORD,
        });
        let created = self.post(&self.root, "/api/users", user).await;
        assert_eq!(created.status, 201, "{}", created.text);
    }

    async fn log_in(&self, name: &str) -> Caller {
        let login = json!({ "name": name, "password": PASSWORD });
        let answer = self.post(&Caller::Nobody, "/api/login", login).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        cookie_of(&answer)
    }

    /// Creates a user of this role, and returns a token of the user.
    async fn caller(&self, name: &str, role: Role, permissions: &[Permission]) -> Caller {
        self.add_user(name, role, permissions).await;
        let session = self.log_in(name).await;
        self.token_of(&session, json!({ "name": "t", "expires_at": tomorrow() }))
            .await
    }

    async fn token_of(&self, session: &Caller, token: Value) -> Caller {
        let created = self.post(session, "/api/tokens", token).await;
        assert_eq!(created.status, 201, "{}", created.text);
        Caller::Token(read::<TokenResponse>(&created).token.unwrap())
    }

    /// Returns the status of a request that requires an account alone.
    async fn status_of(&self, caller: &Caller) -> u16 {
        self.get(caller, "/api/me").await.status
    }
}

fn read<T: DeserializeOwned>(answer: &Answer) -> T {
    serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text))
}

fn tomorrow() -> chrono::DateTime<chrono::Utc> {
    now() + TimeDelta::days(1)
}

fn cookie_of(answer: &Answer) -> Caller {
    let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    Caller::Cookie(cookie.split(';').next().unwrap().to_owned())
}

fn kind(answer: &Answer) -> &str {
    answer.body["type"].as_str().unwrap_or_default()
}

/// Returns a path with ids that do not exist.
fn concrete(path: &str) -> String {
    let path = path.replace("{id}", "0198c5f6-0000-7000-8000-000000000000");
    format!("/api{}", path.replace("{name}", "nobody-of-this-name"))
}

#[test]
fn each_operation_of_the_specification_says_what_it_requires() {
    let specification = serde_json::to_value(host::api::specification()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in specification["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path = path.strip_prefix("/api").unwrap();
            let required = operation["x-permission"].as_str();
            assert!(required.is_some(), "{method} {path} is not in OPERATIONS");
            documented.insert((method.to_uppercase(), path.to_owned()));
        }
    }
    let listed: BTreeSet<_> = OPERATIONS
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(listed, documented, "each operation that is listed exists");
}

/// The matrix for reviewers: the operations of each role.
#[test]
fn each_role_gets_through_to_its_operations_alone() {
    run(async {
        let guarded = Guarded::start().await;
        let mut callers = vec![("nobody", Caller::Nobody)];
        for role in Role::ALL {
            let caller = guarded.caller(role.as_str(), role, &[]).await;
            callers.push((role.as_str(), caller));
        }
        let mut matrix = String::new();
        for (name, _) in &callers {
            let _ = write!(matrix, "{name:<9}");
        }
        matrix.push('\n');
        for (method, path, access) in OPERATIONS {
            for (name, caller) in &callers {
                let method: Method = method.parse().unwrap();
                let answer = guarded.send(caller, method, &concrete(path), None).await;
                let is_denied = match (kind(&answer), answer.status) {
                    ("/problems/unauthenticated", 401) => true,
                    ("/problems/forbidden", 403) => true,
                    ("/problems/session-required", 403) => false,
                    (_, 401 | 403 | 500..) => panic!("{path} for {name}: {}", answer.text),
                    _ => false,
                };
                let role = Role::parse(name);
                let expected = match (access, role) {
                    (Access::Public, _) => true,
                    (_, None) => false,
                    (Access::Authenticated, Some(_)) => true,
                    (Access::Requires(permission), Some(role)) => {
                        role.permissions().contains(permission)
                    }
                };
                assert_eq!(!is_denied, expected, "{path} for {name}: {}", answer.text);
                let _ = write!(matrix, "{:<9}", if is_denied { "-" } else { "yes" });
            }
            let _ = writeln!(matrix, "{method} {path}");
        }
        insta::assert_snapshot!("matrix", matrix);
    });
}

#[test]
fn the_first_user_is_set_up_once_with_the_code() {
    run(async {
        let host = TestHost::start_with(|config| config.auth.mode = Some(AuthMode::Local)).await;
        let setup = |code: &str| json!({ "code": code, "name": "root", "password": PASSWORD });
        let code = host.app.auth.begin_setup().await.unwrap().unwrap();
        let code = code.expose_secret();
        let wrong = host.client.post("/api/setup", &setup("wrong")).await;
        assert_eq!(wrong.status, 409, "{}", wrong.text);
        let weak = json!({ "code": code, "name": "root", "password": "short" });
        let weak = host.client.post("/api/setup", &weak).await;
        assert_eq!(weak.status, 422);
        assert_eq!(weak.body["errors"][0]["pointer"], "/password");
        let first = host.client.post("/api/setup", &setup(code)).await;
        let me: MeResponse = read(&first);
        assert_eq!(me.role, Some(Role::Admin));
        assert_eq!(me.permissions.len(), Permission::ALL.len());
        let again = host.client.post("/api/setup", &setup(code)).await;
        assert_eq!(again.status, 409, "{}", again.text);
        assert!(host.app.auth.begin_setup().await.unwrap().is_none());
    });
}

#[test]
fn a_login_is_a_session_in_a_cookie() {
    run(async {
        let guarded = Guarded::start().await;
        guarded
            .add_user("anna", Role::Operator, &[Permission::TerminalsOpen])
            .await;
        let session = guarded.log_in("ANNA").await;
        let me: MeResponse = read(&guarded.get(&session, "/api/me").await);
        assert_eq!(me.name.as_deref(), Some("anna"));
        assert_eq!(
            (me.role, me.proof),
            (Some(Role::Operator), ProofKind::Session)
        );
        assert!(me.permissions.contains(&Permission::TerminalsOpen));
        assert!(!me.permissions.contains(&Permission::UsersRead));
        let other = guarded.log_in("anna").await;
        let sessions: SessionList = read(&guarded.get(&other, "/api/sessions").await);
        let current: Vec<_> = sessions
            .sessions
            .iter()
            .map(|session| session.current)
            .collect();
        assert_eq!(current.len(), 2);
        assert_eq!(current.iter().filter(|current| **current).count(), 1);
        // The dashboard's own prefix is the same API.
        assert_eq!(guarded.get(&session, "/board/api/me").await.status, 200);
        assert_eq!(
            guarded.get(&Caller::Nobody, "/board/api/me").await.status,
            401
        );
        let left = guarded
            .send(&session, Method::POST, "/api/logout", None)
            .await;
        assert_eq!(left.status, 204);
        assert!(
            left.headers[SET_COOKIE]
                .to_str()
                .unwrap()
                .contains("Max-Age=0")
        );
        assert_eq!(guarded.status_of(&session).await, 401);
        assert_eq!(guarded.status_of(&other).await, 200);
    });
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    run(async {
        let guarded = Guarded::start().await;
        guarded.add_user("anna", Role::Viewer, &[]).await;
        guarded.add_user("gone", Role::Viewer, &[]).await;
        let disabled = json!({ "name": "gone", "role": "viewer", "disabled": true });
        let disabled = guarded
            .put(&guarded.root, "/api/users/gone", disabled)
            .await;
        assert_eq!(disabled.status, 200, "{}", disabled.text);
        let log_in = async |name: &str, password: &str| {
            let login = json!({ "name": name, "password": password });
            let answer = guarded.post(&Caller::Nobody, "/api/login", login).await;
            assert!(!answer.headers.contains_key(SET_COOKIE));
            (answer.status, answer.text)
        };
        let wrong = log_in("anna", "wrong password").await;
        assert_eq!(wrong.0, 401);
        assert_eq!(log_in("nobody", PASSWORD).await, wrong);
        assert_eq!(log_in("gone", PASSWORD).await, wrong, "disabled");
    });
}

#[test]
fn guessing_is_slowed_down_and_locks_nobody_out() {
    run(async {
        let guarded = Guarded::start().await;
        guarded.add_user("anna", Role::Viewer, &[]).await;
        let session = guarded.log_in("anna").await;
        let mut refused = None;
        for number in 0..10 {
            let login = json!({ "name": "anna", "password": format!("guess number {number}") });
            let answer = guarded.post(&Caller::Nobody, "/api/login", login).await;
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
            assert_eq!(answer.status, 401);
        }
        let refused = refused.expect("the limit is reached");
        let wait: u32 = refused.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        assert_eq!(guarded.status_of(&session).await, 200);
    });
}

#[test]
fn a_change_of_access_or_password_ends_sessions() {
    run(async {
        let guarded = Guarded::start().await;
        let root = &guarded.root;
        guarded.add_user("anna", Role::Operator, &[]).await;
        let (own, other) = (guarded.log_in("anna").await, guarded.log_in("anna").await);
        let change =
            |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
        let path = "/api/me/password";
        let wrong = guarded
            .put(&own, path, change("wrong", "another horse"))
            .await;
        assert_eq!(wrong.status, 422);
        assert_eq!(wrong.body["errors"][0]["pointer"], "/current_password");
        let weak = guarded.put(&own, path, change(PASSWORD, "short")).await;
        assert_eq!(weak.body["errors"][0]["pointer"], "/new_password");
        let changed = guarded
            .put(&own, path, change(PASSWORD, "another horse"))
            .await;
        assert_eq!(changed.status, 204, "{}", changed.text);
        assert_eq!(guarded.status_of(&own).await, 200);
        assert_eq!(guarded.status_of(&other).await, 401);
        // A change of the role applies to tokens at once and ends sessions.
        let created = json!({ "name": "t", "expires_at": tomorrow() });
        let token = guarded.token_of(&own, created).await;
        assert_eq!(
            guarded
                .post(&token, "/api/jobs", json!({ "plugin": "says" }))
                .await
                .status,
            202
        );
        let demoted = json!({ "name": "anna", "role": "viewer" });
        assert_eq!(
            guarded.put(root, "/api/users/anna", demoted).await.status,
            200
        );
        assert_eq!(guarded.status_of(&own).await, 401);
        let denied = guarded
            .post(&token, "/api/jobs", json!({ "plugin": "says" }))
            .await;
        assert_eq!((denied.status, kind(&denied)), (403, "/problems/forbidden"));
        let disabled = json!({ "name": "anna", "role": "viewer", "disabled": true });
        assert_eq!(
            guarded.put(root, "/api/users/anna", disabled).await.status,
            200
        );
        assert_eq!(guarded.status_of(&token).await, 401);
    });
}

#[test]
fn a_token_allows_what_its_user_may_do_and_no_more() {
    run(async {
        let guarded = Guarded::start().await;
        guarded.add_user("anna", Role::Operator, &[]).await;
        let session = guarded.log_in("anna").await;
        let limited = json!({
            "name": "limited", "expires_at": tomorrow(),
            "permissions": ["jobs.read", "users.write", "connections.write"],
        });
        let limited = guarded.token_of(&session, limited).await;
        let me: MeResponse = read(&guarded.get(&limited, "/api/me").await);
        assert_eq!(me.permissions, BTreeSet::from([Permission::JobsRead]));
        assert_eq!(guarded.get(&limited, "/api/jobs").await.status, 200);
        let denied = guarded
            .post(&limited, "/api/jobs", json!({ "plugin": "says" }))
            .await;
        assert_eq!(denied.status, 403);
        assert!(denied.text.contains("jobs.submit"), "{}", denied.text);
        // A token makes no tokens and changes no password.
        let another = json!({ "name": "another", "expires_at": tomorrow() });
        let another = guarded.post(&limited, "/api/tokens", another).await;
        assert_eq!(kind(&another), "/problems/session-required");
        let tokens: TokenList = read(&guarded.get(&session, "/api/tokens").await);
        assert_eq!(tokens.tokens.len(), 1);
        let listed = &tokens.tokens[0];
        assert!(
            listed.token.is_none() && listed.last_used_at.is_some(),
            "{listed:?}"
        );
        assert_eq!(listed.last_address.as_deref(), Some("127.0.0.1"));
        let revoked = guarded
            .delete(&limited, &format!("/api/tokens/{}", listed.id))
            .await;
        assert_eq!(revoked.status, 204);
        let gone = guarded.get(&limited, "/api/me").await;
        assert_eq!(gone.status, 401);
        assert!(
            gone.headers["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        for expires_at in [now() - TimeDelta::seconds(1), now() + TimeDelta::days(400)] {
            let token = json!({ "name": "u", "expires_at": expires_at });
            let refused = guarded.post(&session, "/api/tokens", token).await;
            assert_eq!(refused.body["errors"][0]["pointer"], "/expires_at");
        }
    });
}

#[test]
fn what_is_no_valid_token_or_cookie_is_rejected() {
    run(async {
        let guarded = Guarded::start().await;
        let valid = guarded.caller("anna", Role::Admin, &[]).await;
        let Caller::Token(text) = &valid else {
            unreachable!()
        };
        let (user, stored) = {
            let user = guarded.host.app.auth.user("anna").await.unwrap();
            let tokens = guarded.host.app.auth.tokens("anna").await.unwrap();
            (user, tokens[0].clone())
        };
        let send = async |name: &str, value: String| {
            let request = guarded.host.client.request(Method::GET, "/api/me");
            let answer = guarded.host.client.send(request.header(name, value)).await;
            assert_eq!(answer.status, 401, "{}", answer.text);
            assert!(!answer.text.contains(text), "{}", answer.text);
            answer.body["detail"].as_str().unwrap().to_owned()
        };
        let mut other = text.clone();
        other.replace_range(10..11, if &text[10..11] == "0" { "1" } else { "0" });
        for malformed in [
            String::new(),
            "Bearer".to_owned(),
            format!("Basic {text}"),
            format!("Bearer {}", &text[..text.len() - 1]),
            format!("Bearer {text}0"),
            format!("Bearer {other}"),
            "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned(),
        ] {
            let detail = send("authorization", malformed.clone()).await;
            assert!(
                detail.starts_with("invalid Authorization header"),
                "{malformed}: {detail}"
            );
        }
        for cookie in [
            "scheduler-session=".to_owned(),
            format!("scheduler-session={text}"),
            format!("scheduler-session={}", "0".repeat(64)),
            "other=1".to_owned(),
        ] {
            send("cookie", cookie).await;
        }
        // An expired token of the same user.
        let storage = &guarded.host.app.storage;
        storage.remove_token(user.id, stored.id).await.unwrap();
        let expired = host::model::ApiToken {
            expires_at: now() - TimeDelta::seconds(1),
            ..stored
        };
        storage.add_token(&expired, 9).await.unwrap();
        let detail = send("authorization", format!("Bearer {text}")).await;
        assert!(detail.contains("expired"), "{detail}");
    });
}

#[test]
fn a_viewer_sees_jobs_without_what_devices_said() {
    run(async {
        let guarded = Guarded::start().await;
        let operator = guarded.caller("olga", Role::Operator, &[]).await;
        let viewer = guarded.caller("vera", Role::Viewer, &[]).await;
        let submitted = guarded
            .post(&operator, "/api/jobs", json!({ "plugin": "says" }))
            .await;
        let id = submitted.body["id"].as_str().unwrap();
        guarded
            .host
            .app
            .jobs
            .wait(id.parse().unwrap())
            .await
            .unwrap();
        let path = format!("/api/jobs/{id}");
        let whole = guarded.get(&operator, &path).await;
        assert!(whole.text.contains("the result tells"), "{}", whole.text);
        assert_eq!(whole.body["submitted_by"], "olga");
        let seen = guarded.get(&viewer, &path).await;
        assert_eq!(seen.body["status"], "completed");
        assert!(!seen.text.contains("tells"), "{}", seen.text);
        let list: JobList = read(&guarded.get(&viewer, "/api/jobs").await);
        assert_eq!(list.jobs[0].submitted_by.as_deref(), Some("olga"));
        for outputs in ["results", "logs", "events", "compare?with=previous"] {
            let denied = guarded.get(&viewer, &format!("{path}/{outputs}")).await;
            assert_eq!(denied.status, 403, "{}", denied.text);
            assert!(denied.text.contains("jobs.outputs"), "{}", denied.text);
        }
    });
}

#[test]
fn inline_connections_and_redirections_need_permissions_of_their_own() {
    run(async {
        let guarded = Guarded::start().await;
        let connection = json!({
            "name": "r1", "host": "192.0.2.1", "username": "u", "device_type": "linux",
        });
        let created = guarded
            .post(&guarded.root, "/api/connections", connection.clone())
            .await;
        assert_eq!(created.status, 201, "{}", created.text);
        let editor = [Permission::ConnectionsWrite];
        let editor = guarded.caller("edith", Role::Operator, &editor).await;
        let elsewhere = json!({
            "name": "r1", "host": "192.0.2.2", "username": "u", "device_type": "linux",
        });
        let denied = guarded
            .put(&editor, "/api/connections/r1", elsewhere.clone())
            .await;
        assert_eq!(denied.status, 403, "{}", denied.text);
        assert!(denied.text.contains("connections.trust"), "{}", denied.text);
        let tagged = json!({ "tags": ["core"], "name": "r1", "host": "192.0.2.1", "username": "u", "device_type": "linux" });
        assert_eq!(
            guarded
                .put(&editor, "/api/connections/r1", tagged)
                .await
                .status,
            200
        );
        let moved = guarded
            .put(&guarded.root, "/api/connections/r1", elsewhere)
            .await;
        assert_eq!(moved.status, 200, "{}", moved.text);
        let inline = json!({ "plugin": "ssh-command", "connection": connection });
        let denied = guarded.post(&editor, "/api/jobs", inline).await;
        assert_eq!(denied.status, 403, "{}", denied.text);
        assert!(
            denied.text.contains("connections.inline"),
            "{}",
            denied.text
        );
        let scheduled = json!({ "plugin": "says", "cron_expression": "0 0 1 1 *" });
        let denied = guarded.post(&editor, "/api/jobs", scheduled).await;
        assert!(denied.text.contains("schedules.write"), "{}", denied.text);
    });
}

#[test]
fn a_schedule_runs_for_its_owner() {
    run(async {
        let guarded = Guarded::start().await;
        let author = guarded.caller("anna", Role::Author, &[]).await;
        let schedule = json!({ "name": "s", "plugin": "says", "cron_expression": "* * * * *" });
        let created = guarded
            .post(&author, "/api/schedules", schedule.clone())
            .await;
        assert_eq!(created.status, 201, "{}", created.text);
        assert_eq!(created.body["owner"], "anna");
        let triggered = guarded
            .send(
                &guarded.root,
                Method::POST,
                "/api/schedules/s/trigger",
                None,
            )
            .await;
        let id = triggered.body["id"].as_str().unwrap();
        let job = guarded.get(&author, &format!("/api/jobs/{id}")).await;
        assert_eq!(job.body["submitted_by"], "root", "who triggered it");
        let auth = &guarded.host.app.auth;
        assert_eq!(auth.denies_submission("anna").await.unwrap(), None);
        let demoted = json!({ "name": "anna", "role": "viewer" });
        guarded.put(&guarded.root, "/api/users/anna", demoted).await;
        let reason = auth.denies_submission("anna").await.unwrap().unwrap();
        assert!(reason.contains("jobs.submit"), "{reason}");
        let replaced = guarded
            .put(&guarded.root, "/api/schedules/s", schedule)
            .await;
        assert_eq!(replaced.body["owner"], "root", "who wrote it last");
    });
}

#[test]
fn an_idempotency_key_belongs_to_its_user() {
    run(async {
        let guarded = Guarded::start().await;
        let anna = guarded.caller("anna", Role::Operator, &[]).await;
        let ben = guarded.caller("ben", Role::Operator, &[]).await;
        let submit = async |caller: &Caller| {
            let Caller::Token(token) = caller else {
                unreachable!()
            };
            let request = guarded.host.client.request(Method::POST, "/api/jobs");
            let request = request.bearer_auth(token).header("Idempotency-Key", "one");
            let answer = guarded
                .host
                .client
                .send(request.json(&json!({ "plugin": "says" })));
            answer.await.body["id"].clone()
        };
        let first = submit(&anna).await;
        assert_eq!(submit(&anna).await, first);
        assert_ne!(submit(&ben).await, first);
    });
}

#[test]
fn the_last_admin_cannot_be_removed() {
    run(async {
        let guarded = Guarded::start().await;
        let root = &guarded.root;
        for change in [
            json!({ "name": "root", "role": "operator" }),
            json!({ "name": "root", "role": "admin", "disabled": true }),
        ] {
            let refused = guarded.put(root, "/api/users/root", change).await;
            assert_eq!(refused.status, 409, "{}", refused.text);
        }
        let refused = guarded.delete(root, "/api/users/root").await;
        assert_eq!(refused.status, 409, "{}", refused.text);
        guarded.add_user("second", Role::Admin, &[]).await;
        assert_eq!(guarded.delete(root, "/api/users/second").await.status, 204);
        let users: UserList = read(&guarded.get(root, "/api/users").await);
        let names: Vec<_> = users.users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["root"]);
    });
}

#[test]
fn invalid_users_are_rejected_with_the_field() {
    run(async {
        let guarded = Guarded::start().await;
        for (user, pointer) in [
            (
                json!({ "name": "a b", "role": "viewer", "password": PASSWORD }),
                "/name",
            ),
            (json!({ "name": "anna", "role": "viewer" }), "/password"),
            (
                json!({ "name": "anna", "role": "viewer", "password": "short" }),
                "/password",
            ),
            (
                json!({ "name": "anna", "role": "root", "password": PASSWORD }),
                "/role",
            ),
            (
                json!({ "name": "anna", "role": "viewer", "password": PASSWORD, "permissions": ["all"] }),
                "/permissions/0",
            ),
            (
                json!({ "name": "bot", "role": "viewer", "kind": "service", "password": PASSWORD }),
                "/password",
            ),
        ] {
            let refused = guarded.post(&guarded.root, "/api/users", user).await;
            assert_eq!(refused.status, 422, "{}", refused.text);
            assert_eq!(
                refused.body["errors"][0]["pointer"], pointer,
                "{}",
                refused.text
            );
            assert!(!refused.text.contains(PASSWORD), "{}", refused.text);
        }
        let again = json!({ "name": "ROOT", "role": "viewer", "password": PASSWORD });
        assert_eq!(
            guarded
                .post(&guarded.root, "/api/users", again)
                .await
                .status,
            409
        );
    });
}

#[test]
fn a_service_account_has_tokens_and_no_login() {
    run(async {
        let guarded = Guarded::start().await;
        let bot = json!({ "name": "bot", "kind": "service", "role": "operator" });
        let created = guarded.post(&guarded.root, "/api/users", bot).await;
        assert_eq!(read::<UserResponse>(&created).password_changed_at, None);
        let login = json!({ "name": "bot", "password": PASSWORD });
        assert_eq!(
            guarded
                .post(&Caller::Nobody, "/api/login", login)
                .await
                .status,
            401
        );
        let token = json!({ "name": "t", "user": "bot", "expires_at": tomorrow() });
        let token = guarded.token_of(&guarded.root, token).await;
        let me: MeResponse = read(&guarded.get(&token, "/api/me").await);
        assert_eq!(
            (me.name.as_deref(), me.proof),
            (Some("bot"), ProofKind::Token)
        );
        // Others neither create nor see tokens of the account.
        guarded.add_user("anna", Role::Author, &[]).await;
        let anna = guarded.log_in("anna").await;
        let token = json!({ "name": "u", "user": "bot", "expires_at": tomorrow() });
        assert_eq!(guarded.post(&anna, "/api/tokens", token).await.status, 403);
        assert_eq!(guarded.get(&anna, "/api/tokens?user=bot").await.status, 403);
        assert_eq!(
            guarded.get(&anna, "/api/sessions?user=root").await.status,
            403
        );
    });
}

#[test]
fn an_event_stream_ends_when_its_caller_logs_out() {
    run(async {
        let guarded = Guarded::start().await;
        let session = guarded.log_in("root").await;
        let later = json!({ "plugin": "says", "scheduled_for": now() + TimeDelta::hours(1) });
        let job = guarded.post(&session, "/api/jobs", later).await;
        let path = format!("/api/jobs/{}/events", job.body["id"].as_str().unwrap());
        let Caller::Cookie(cookie) = &session else {
            unreachable!()
        };
        let request = guarded.host.client.request(Method::GET, &path);
        let stream = request.header(COOKIE, cookie).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        guarded
            .send(&session, Method::POST, "/api/logout", None)
            .await;
        let ended = tokio::time::timeout(crate::harness::DEADLINE, stream.text()).await;
        ended.expect("the stream ends").unwrap();
    });
}

#[test]
fn health_has_no_details_for_strangers() {
    run(async {
        let guarded = Guarded::start().await;
        for path in ["/health", "/api/health"] {
            let health = guarded.get(&Caller::Nobody, path).await;
            assert_eq!(health.status, 200);
            assert_eq!(health.body, json!({ "status": "healthy" }));
        }
        let health = guarded.get(&guarded.root, "/api/health").await;
        assert_eq!(health.body["storage"]["status"], "healthy");
    });
}

/// The dashboard's page holds nothing secret and shows the login.
#[test]
fn pages_and_the_documentation_are_public() {
    run(async {
        let guarded = Guarded::start().await;
        for path in ["/board", "/api/openapi.json"] {
            assert_eq!(
                guarded.get(&Caller::Nobody, path).await.status,
                200,
                "{path}"
            );
        }
        let unknown = guarded.get(&Caller::Nobody, "/api/unknown").await;
        assert_eq!(unknown.status, 404);
    });
}

#[test]
fn the_dashboard_sets_up_the_first_user_and_logs_out_and_in() {
    run(async {
        let host = TestHost::start_with(|config| config.auth.mode = Some(AuthMode::Local)).await;
        let code = host.app.auth.begin_setup().await.unwrap().unwrap();
        let browser = Browser::start(&host.client).await;
        browser.open("/board/jobs").await;
        browser.shows("h1", "Log in").await;
        let setup = format!("/board/setup#{}", code.expose_secret());
        browser.open(&setup).await;
        browser.shows("h1", "Set up the first user").await;
        browser.fill("input[name=username]", "root").await;
        browser.fill("input[name=password]", PASSWORD).await;
        browser.fill("input[name=again]", "another password").await;
        browser.click("button[type=submit]").await;
        browser
            .shows(".field-invalid .field-problem", "differ")
            .await;
        browser.fill("input[name=again]", PASSWORD).await;
        browser.click("button[type=submit]").await;
        browser.shows(".account", "root").await;
        browser.shows("h1", "Jobs").await;
        browser.click(".account button").await;
        browser.shows("h1", "Log in").await;
        browser.fill("input[name=username]", "root").await;
        browser
            .fill("input[type=password]", "a wrong password")
            .await;
        browser.click("button[type=submit]").await;
        browser
            .shows(".notice-error", "wrong user name or password")
            .await;
        browser.fill("input[type=password]", PASSWORD).await;
        browser.click("button[type=submit]").await;
        browser.shows(".account", "root").await;
    });
}

#[test]
fn without_authentication_there_are_no_users() {
    run(async {
        let host = TestHost::start().await;
        let me: MeResponse = read(&host.client.get("/api/me").await);
        assert!(!me.authentication);
        assert_eq!(me.permissions.len(), Permission::ALL.len());
        assert_eq!(host.client.get("/api/users").await.status, 409);
        let login = json!({ "name": "root", "password": PASSWORD });
        let answer = host.client.post("/api/login", &login).await;
        assert_eq!(
            (answer.status, kind(&answer)),
            (409, "/problems/authentication-off")
        );
    });
}

#[test]
fn passwords_tokens_and_cookies_are_not_stored() {
    run(async {
        let guarded = Guarded::start().await;
        let token = guarded.caller("anna", Role::Admin, &[]).await;
        let session = guarded.log_in("anna").await;
        let (Caller::Token(token), Caller::Cookie(cookie)) = (&token, &session) else {
            unreachable!()
        };
        let secrets = [PASSWORD, token, cookie.split_once('=').unwrap().1];
        guarded.host.app.storage.ping().await.unwrap();
        let directory = guarded.host.path("");
        let mut files = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            files += 1;
            for secret in secrets {
                let secret = secret.as_bytes();
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "{}", path.display());
            }
        }
        assert!(files >= 3, "the database, its log and the key");
    });
}

/// Runs a client command with a home directory of its own.
async fn client(
    guarded: &Arc<Guarded>,
    home: &std::path::Path,
    arguments: &[&str],
    stdin: &str,
) -> Output {
    let mut command = scheduler();
    command
        .args(arguments)
        .env("SCHEDULER_URL", guarded.host.client.url(""))
        .env("XDG_STATE_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let stdin = stdin.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    });
    ended.await.unwrap()
}

#[test]
fn the_command_line_logs_in_and_out() {
    run(async {
        let guarded = Arc::new(Guarded::start().await);
        let home = tempfile::tempdir().unwrap();
        let command = async |arguments: &[&str], stdin: &str| {
            let output = client(&guarded, home.path(), arguments, stdin).await;
            let code = output.status.code().unwrap();
            let text = format!(
                "{}{}",
                String::from_utf8(output.stdout).unwrap(),
                String::from_utf8(output.stderr).unwrap()
            );
            assert!(!text.contains(PASSWORD), "{text}");
            (code, text)
        };
        let (code, text) = command(&["job", "list"], "").await;
        assert_eq!(code, 6, "{text}");
        assert!(
            text.contains("hint: log in with `scheduler login NAME`"),
            "{text}"
        );
        let stdin = format!("{PASSWORD}\n");
        let (code, text) = command(&["login", "root", "--password-stdin"], &stdin).await;
        assert_eq!(code, 0, "{text}");
        let file = home.path().join("scheduler/tokens.json");
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let (_, text) = command(&["whoami"], "").await;
        assert!(
            text.contains("root") && text.contains("users.write"),
            "{text}"
        );
        let add = [
            "user",
            "add",
            "anna",
            "--role",
            "viewer",
            "--password-stdin",
        ];
        let (code, text) = command(&add, &stdin).await;
        assert_eq!(code, 0, "{text}");
        let service = ["user", "add", "bot", "--role", "operator", "--service"];
        assert_eq!(command(&service, "").await.0, 0);
        let create = [
            "token",
            "create",
            "ci",
            "--user",
            "bot",
            "--permission",
            "jobs.read",
            "--password-stdin",
        ];
        let (code, text) = command(&create, &stdin).await;
        assert_eq!(code, 0, "{text}");
        let token = text.lines().find(|line| line.starts_with("jst_")).unwrap();
        assert_eq!(
            guarded.status_of(&Caller::Token(token.to_owned())).await,
            200
        );
        let (_, text) = command(&["token", "list", "--user", "bot"], "").await;
        assert!(text.contains("ci") && text.contains("jobs.read"), "{text}");
        let (code, text) = command(&["token", "revoke", "ci", "--user", "bot"], "").await;
        assert_eq!(code, 0, "{text}");
        let edit = [
            "user",
            "edit",
            "anna",
            "--role",
            "reader",
            "--permission",
            "terminals.open",
        ];
        assert_eq!(command(&edit, "").await.0, 0);
        let (_, text) = command(&["user", "list"], "").await;
        assert!(
            text.contains("reader") && text.contains("terminals.open"),
            "{text}"
        );
        let (_, text) = command(&["session", "list"], "").await;
        assert!(text.contains("127.0.0.1"), "{text}");
        assert_eq!(command(&["user", "rm", "anna"], "").await.0, 0);
        let (code, text) = command(&["logout"], "").await;
        assert_eq!(code, 0, "{text}");
        assert_eq!(command(&["whoami"], "").await.0, 6);
        // A token in the environment needs no login.
        let request = guarded.host.client.request(Method::GET, "/api/me");
        let answer = guarded
            .host
            .client
            .send(request.header(AUTHORIZATION, "Bearer x"))
            .await;
        assert_eq!(answer.status, 401);
    });
}
