//! Tests keyboard-interactive questions of a scripted server: which get the password, which a
//! configured answer, and which none.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netssh_core::{Answer, Endpoint, Pattern, Platform, SecretString, Session};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{self, Auth, ChannelOpenHandle, Config, Msg, Response};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::within;

const USER: &str = "admin";
const PASSWORD: &str = "correct horse";

/// One step of a server's script.
#[derive(Clone)]
enum Step {
    /// Asks questions and accepts any answers.
    Ask {
        name: &'static str,
        instructions: &'static str,
        prompts: Vec<(Cow<'static, str>, bool)>,
    },
    /// Refuses the method and offers others.
    Refuse(Vec<MethodKind>),
    /// Accepts this factor and demands another.
    Partial(Vec<MethodKind>),
}

fn ask(prompts: &[(&str, bool)]) -> Step {
    ask_under("", "", prompts)
}

fn ask_under(name: &'static str, instructions: &'static str, prompts: &[(&str, bool)]) -> Step {
    let prompts = prompts.iter();
    Step::Ask {
        name,
        instructions,
        prompts: prompts
            .map(|(prompt, echo)| (Cow::Owned((*prompt).to_owned()), *echo))
            .collect(),
    }
}

fn hidden(prompt: &str) -> Step {
    ask(&[(prompt, false)])
}

/// The server's script; the login succeeds at its end.
#[derive(Clone)]
struct Script {
    offered: Vec<MethodKind>,
    steps: Vec<Step>,
}

/// The secrets that the server received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// By keyboard-interactive, one list per round.
    answers: Vec<Vec<String>>,
    /// By the method `password`.
    passwords: Vec<String>,
    accepted: bool,
}

struct Server {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(offered: &[MethodKind], steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(Config {
            methods: MethodSet::from(offered),
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))],
            ..Config::default()
        });
        let seen = Arc::new(Mutex::new(Seen::default()));
        let script = Script {
            offered: offered.to_vec(),
            steps,
        };
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let client = Client {
                    script: script.clone(),
                    seen: Arc::clone(&shared),
                    at: 0,
                };
                if let Ok(session) = server::run_stream(Arc::clone(&config), stream, client).await {
                    tokio::spawn(session);
                }
            }
        });
        Self { port, seen, task }
    }

    /// Starts a server that offers only keyboard-interactive.
    async fn asking(steps: Vec<Step>) -> Self {
        Self::start(&[MethodKind::KeyboardInteractive], steps).await
    }

    fn endpoint(&self, answers: &[(&str, &str)]) -> Endpoint {
        let platform = Platform::named("cisco_ios").unwrap();
        let mut endpoint = Endpoint::new("127.0.0.1", USER, platform);
        endpoint.port = self.port;
        endpoint.credentials.password = Some(SecretString::from(PASSWORD));
        endpoint.credentials.answers = answers
            .iter()
            .map(|(question, answer)| Answer::new(Pattern::new(question).unwrap(), *answer))
            .collect();
        endpoint
    }

    /// Logs in and returns the secrets that the server received.
    async fn let_in(&self, endpoint: &Endpoint) -> Seen {
        let session = within(Duration::from_secs(20), Session::connect(endpoint)).await;
        session.unwrap().close().await;
        let seen = self.seen.lock().unwrap().clone();
        assert!(seen.accepted);
        seen
    }

    /// Fails to log in; returns the error and the secrets that the server received.
    async fn kept_out(&self, endpoint: &Endpoint) -> (String, Seen) {
        let session = within(Duration::from_secs(20), Session::connect(endpoint)).await;
        let error = session.unwrap_err();
        assert_eq!(error.code(), "authentication", "{error}");
        let text = error.to_string();
        assert!(!text.contains(PASSWORD), "{text}");
        let seen = self.seen.lock().unwrap().clone();
        assert!(!seen.accepted);
        (text, seen)
    }
}

struct Client {
    script: Script,
    seen: Arc<Mutex<Seen>>,
    at: usize,
}

impl Client {
    fn step(&mut self) -> Auth {
        let step = self.script.steps.get(self.at).cloned();
        self.at += 1;
        match step {
            None => {
                self.seen.lock().unwrap().accepted = true;
                Auth::Accept
            }
            Some(Step::Ask {
                name,
                instructions,
                prompts,
            }) => Auth::Partial {
                name: name.into(),
                instructions: instructions.into(),
                prompts: prompts.into(),
            },
            Some(Step::Refuse(offered)) => reject(&offered, false),
            Some(Step::Partial(offered)) => reject(&offered, true),
        }
    }
}

fn reject(offered: &[MethodKind], partial_success: bool) -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from(offered)),
        partial_success,
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        assert_eq!(user, USER);
        if !self.script.offered.contains(&MethodKind::Password) && self.at == 0 {
            return Ok(reject(&self.script.offered, false));
        }
        let mut seen = self.seen.lock().unwrap();
        seen.passwords.push(password.to_owned());
        if password != PASSWORD {
            return Ok(reject(&self.script.offered, false));
        }
        seen.accepted = true;
        Ok(Auth::Accept)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        assert_eq!(user, USER);
        if let Some(response) = response {
            let answers = response.map(|answer| String::from_utf8(answer.to_vec()).unwrap());
            self.seen.lock().unwrap().answers.push(answers.collect());
        }
        Ok(self.step())
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        session.data(id, "r1#")
    }

    /// Echoes lines and shows the prompt again.
    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let typed = String::from_utf8_lossy(data).replace('\n', "\r\nr1#");
        session.data(id, typed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_the_password_get_the_password() {
    for prompt in [
        "Password: ",
        "password:",
        "Password for admin@bsd1:",
        "(admin@r1) Password: ",
        "admin@r1's password: ",
        "admin's Password: ",
        "Enter password:",
        "Please enter your password: ",
        "TACACS Password: ",
        "LDAP Password: ",
        "Passwort: ",
        "Mot de passe : ",
        "Contraseña: ",
        "密码：",
        "请输入密码:",
        "Authorized users only.\nPassword: ",
    ] {
        let server = Server::asking(vec![hidden(prompt)]).await;
        let seen = server.let_in(&server.endpoint(&[])).await;
        assert_eq!(seen.answers, [[PASSWORD]], "{prompt:?}");
        assert!(seen.passwords.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_questions_get_their_configured_answer_or_none() {
    for (prompt, echo, pattern) in [
        (
            "Do you accept the terms of use (yes/no)? ",
            false,
            "(?i)accept",
        ),
        (
            "Do you accept the password policy (yes/no)?",
            false,
            "policy",
        ),
        ("Select a role [1-3]: ", false, r"role \[1-3\]"),
        (
            "Change your password now (yes/no)?",
            false,
            "(?i)^change your",
        ),
        ("Verification code: ", false, "^Verification code: $"),
        ("Password & verification code: ", false, "&"),
        ("Enter PASSCODE:", false, "PASSCODE"),
        ("One-time password (OATH) for `admin': ", false, "OATH"),
        ("Passcode or option (1-3): ", true, "option"),
        ("Response: ", false, "Response"),
        ("Second Factor (optional): ", false, "Second"),
        ("PIN:", false, "PIN"),
        ("New password: ", false, "^New"),
        ("Current password: ", false, "^Current"),
        ("Enable password:", false, "Enable"),
        ("Password for root:", false, "root"),
        ("root@r1's password: ", false, "root"),
        ("Username: ", true, "Username"),
        ("Password: ", true, "^Password: $"),
        ("动态密码:", false, "动态"),
        ("Banner\r\nSelect a realm: ", false, "^Select a realm: $"),
        ("", false, "^$"),
    ] {
        let server = Server::asking(vec![ask(&[(prompt, echo)])]).await;
        let (error, seen) = server.kept_out(&server.endpoint(&[])).await;
        assert_eq!(seen, Seen::default(), "{prompt:?}");
        let line = prompt.lines().last().unwrap_or_default().trim();
        assert!(error.contains(line), "{prompt:?}: {error}");
        let says_what_to_do = error.contains("`answers`") || error.contains("a new password");
        assert!(says_what_to_do, "{prompt:?}: {error}");

        let answered = server.endpoint(&[(pattern, "an answer")]);
        let seen = server.let_in(&answered).await;
        assert_eq!(seen.answers, [["an answer"]], "{prompt:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_for_a_new_password_fails_the_login() {
    let server = Server::asking(vec![hidden("Password: "), hidden("New password: ")]).await;
    let (error, seen) = server.kept_out(&server.endpoint(&[])).await;
    assert_eq!(seen.answers, [[PASSWORD]]);
    assert!(error.contains("log in by hand and set one"), "{error}");
    assert!(error.contains("New password:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_around_a_question_is_considered_and_quoted() {
    let under = |instructions| ask_under("SecurID", instructions, &[("Password: ", false)]);
    let server = Server::asking(vec![under("Enter the code that your token shows")]).await;
    let (error, seen) = server.kept_out(&server.endpoint(&[])).await;
    assert_eq!(seen, Seen::default());
    assert!(error.contains("the code that your token shows"), "{error}");
    assert!(error.contains("SecurID"), "{error}");
    let seen = server
        .let_in(&server.endpoint(&[("Password", "123456")]))
        .await;
    assert_eq!(seen.answers, [["123456"]]);

    let server = Server::asking(vec![under("Authorized use only")]).await;
    let seen = server.let_in(&server.endpoint(&[])).await;
    assert_eq!(seen.answers, [[PASSWORD]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_without_questions_get_an_empty_reply() {
    let notice = || ask_under("Notice", "Authorized use only", &[]);
    let steps = vec![notice(), notice(), hidden("Password: "), notice(), notice()];
    let server = Server::asking(steps).await;
    let seen = server.let_in(&server.endpoint(&[])).await;
    let nothing = Vec::<String>::new();
    let expected = [
        nothing.clone(),
        nothing.clone(),
        vec![PASSWORD.to_owned()],
        nothing.clone(),
        nothing,
    ];
    assert_eq!(seen.answers, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_questions_are_an_error() {
    let server = Server::asking(vec![ask(&[]); 1000]).await;
    let (error, _) = server.kept_out(&server.endpoint(&[])).await;
    assert!(error.contains("keeps asking"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_in_one_request_are_answered_together_or_not_at_all() {
    let both = || ask(&[("Password: ", false), ("Verification code: ", true)]);
    let server = Server::asking(vec![both()]).await;
    let (error, seen) = server.kept_out(&server.endpoint(&[])).await;
    assert_eq!(seen, Seen::default(), "the password is not sent in vain");
    assert!(error.contains("Verification code"), "{error}");
    let seen = server.let_in(&server.endpoint(&[("code", "123456")])).await;
    assert_eq!(seen.answers, [[PASSWORD, "123456"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_again_is_a_refusal() {
    let server = Server::asking(vec![hidden("Password: "), hidden("Password: ")]).await;
    let (error, seen) = server.kept_out(&server.endpoint(&[])).await;
    assert_eq!(seen.answers, [[PASSWORD]]);
    assert!(
        error.contains("refused user admin with this password"),
        "{error}"
    );

    let server = Server::asking(vec![hidden("Role: "), hidden("Role: ")]).await;
    let (error, seen) = server.kept_out(&server.endpoint(&[("Role", "1")])).await;
    assert_eq!(seen.answers, [["1"]]);
    assert!(error.contains("with the answer configured"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_question_for_a_password_has_its_own_answer() {
    let server = Server::asking(vec![hidden("Password: "), hidden("Password: ")]).await;
    let seen = server
        .let_in(&server.endpoint(&[("Password", "second")]))
        .await;
    assert_eq!(seen.answers, [[PASSWORD], ["second"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_refused_before_the_password_was_sent_leaves_the_other() {
    let offered = vec![MethodKind::Password];
    for steps in [
        vec![Step::Refuse(offered.clone())],
        vec![ask(&[]), Step::Refuse(offered.clone())],
        vec![hidden("Role: "), Step::Refuse(offered.clone())],
    ] {
        let server = Server::asking(steps).await;
        let seen = server.let_in(&server.endpoint(&[("Role", "1")])).await;
        assert_eq!(seen.passwords, [PASSWORD]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_sent_once_whatever_the_method() {
    let both = [MethodKind::KeyboardInteractive, MethodKind::Password];
    // By keyboard-interactive, to its own question or as a configured answer.
    for (prompt, answers) in [
        ("Password: ", &[][..]),
        ("Ops word: ", &[("Ops word", PASSWORD)][..]),
    ] {
        let server = Server::asking(vec![hidden(prompt), Step::Refuse(both.to_vec())]).await;
        let (error, seen) = server.kept_out(&server.endpoint(answers)).await;
        assert_eq!(seen.answers, [[PASSWORD]]);
        assert!(seen.passwords.is_empty(), "{prompt}: {seen:?}");
        assert!(error.contains("with this password"), "{error}");
    }
    // By the method `password`.
    let server = Server::start(&both, vec![hidden("Password: ")]).await;
    let mut endpoint = server.endpoint(&[]);
    endpoint.credentials.password = Some(SecretString::from("wrong"));
    let (_, seen) = server.kept_out(&endpoint).await;
    assert_eq!((seen.passwords.len(), seen.answers.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_after_the_first() {
    let interactive = vec![MethodKind::KeyboardInteractive];
    let steps = vec![
        hidden("Password: "),
        Step::Partial(interactive),
        hidden("Verification code: "),
    ];
    let server = Server::asking(steps).await;
    let seen = server.let_in(&server.endpoint(&[("code", "123456")])).await;
    assert_eq!(seen.answers, [[PASSWORD], ["123456"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_names_its_own_questions_for_the_password() {
    let server = Server::asking(vec![hidden("Ops word: ")]).await;
    let mut endpoint = server.endpoint(&[]);
    let mut platform = Platform::clone(&endpoint.platform);
    platform.login.password_questions = vec![Pattern::new("^Ops word: $").unwrap()];
    endpoint.platform = Arc::new(platform);
    let seen = server.let_in(&endpoint).await;
    assert_eq!(seen.answers, [[PASSWORD]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_a_missing_password_is_named_in_the_error() {
    let server = Server::asking(vec![hidden("Password: ")]).await;
    let mut endpoint = server.endpoint(&[("Role", "1")]);
    endpoint.credentials.password = None;
    let (error, seen) = server.kept_out(&endpoint).await;
    assert_eq!(seen, Seen::default());
    assert!(error.contains("\"Password:\""), "{error}");
}
