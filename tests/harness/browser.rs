//! A real browser, driven over the `WebDriver` protocol: chromium with chromedriver.
//!
//! A page needs time to update, so every operation retries until it succeeds or the deadline
//! passes. Selectors are CSS, or `XPath` if they begin with `//`.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{Client, DEADLINE};

/// Keys without a text.
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const TAB: &str = "\u{e004}";

/// The field of a `WebDriver` response that identifies an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The interval between polls of the page, which leave the processor to the browser.
const PAUSE: Duration = Duration::from_millis(50);
/// Limit for closing the browser, after which it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A browser with its own profile, closed on drop. A failing test leaves a screenshot.
pub(crate) struct Browser {
    driver: Driver,
    client: Client,
    session: String,
    site: Client,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser for the host behind `site`.
    pub(crate) async fn start(site: &Client) -> Self {
        let chromium = installed("chromium");
        let profile = tempfile::tempdir().unwrap();
        let (driver, url) = Driver::start();
        let client = Client::new(&url);
        let answer = client
            .post(
                "/session",
                &json!({ "capabilities": { "alwaysMatch": {
                    "goog:loggingPrefs": { "browser": "ALL" },
                    "goog:chromeOptions": { "binary": chromium, "args": [
                        "--headless",
                        // Tests may run as root, in a container.
                        "--no-sandbox",
                        "--disable-dev-shm-usage",
                        "--disable-gpu",
                        "--disable-quic",
                        "--disable-sync",
                        "--disable-background-networking",
                        "--disable-component-update",
                        "--no-first-run",
                        "--window-size=1280,900",
                        // The browser ends with chromedriver, even if that is killed.
                        "--remote-debugging-pipe",
                        format!("--user-data-dir={}", profile.path().display()),
                    ] },
                } } }),
            )
            .await;
        let session = answer.body["value"]["sessionId"].as_str();
        let session = session.unwrap_or_else(|| panic!("chromium does not start: {}", answer.text));
        Self {
            session: session.to_owned(),
            driver,
            client,
            site: site.clone(),
            _profile: profile,
        }
    }

    /// Opens a page of the site, such as `/board`.
    pub(crate) async fn open(&self, path: &str) {
        let url = json!({ "url": self.site.url(path) });
        self.act("/url", &url).await.unwrap();
    }

    /// Waits until the page is below `path`, and returns the rest of its path.
    pub(crate) async fn lands_below(&self, path: &str) -> String {
        self.until(&format!("it is one below {path}"), async || {
            let shown = self.script("return location.pathname").await;
            let shown = shown.as_str().unwrap_or_default();
            let rest = shown.strip_prefix(path).filter(|rest| !rest.is_empty());
            rest.map(str::to_owned)
                .ok_or_else(|| format!("it is {shown}"))
        })
        .await
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.with(selector, "/click", &json!({})).await;
    }

    /// Replaces the text of an input.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.with(selector, "/clear", &json!({})).await;
        self.with(selector, "/value", &json!({ "text": text }))
            .await;
    }

    /// Presses keys at the focus: their texts, or the codes of `WebDriver` for keys without one.
    pub(crate) async fn press(&self, keys: &[&str]) {
        let strokes = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let actions: Vec<Value> = strokes.collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.act("/actions", &body).await.unwrap();
    }

    /// Waits until a box is scrolled to the end of its content.
    pub(crate) async fn scrolls_to_end(&self, selector: &str) {
        let left = format!(
            "const box = document.querySelector('{selector}');
            return box.scrollHeight - box.scrollTop - box.clientHeight"
        );
        self.until(&format!("{selector} shows its end"), async || {
            let left = self.script(&left).await;
            let at_end = left.as_f64().is_some_and(|left| left < 24.0);
            expect(at_end, || format!("{left} pixels are below it"))
        })
        .await;
    }

    /// Waits until the element with the focus has this label or text.
    pub(crate) async fn focuses(&self, name: &str) {
        let focused = "const focused = document.activeElement;
            return focused.getAttribute('aria-label') ?? focused.textContent";
        self.until(&format!("{name:?} has the focus"), async || {
            let found = self.script(focused).await;
            expect(found == name, || format!("it is on {found}"))
        })
        .await;
    }

    /// Waits until an element contains a text.
    pub(crate) async fn shows(&self, selector: &str, text: &str) {
        self.until(&format!("{selector} shows {text:?}"), async || {
            let shown = self.text(selector).await?;
            expect(shown.contains(text), || format!("it shows {shown:?}"))
        })
        .await;
    }

    /// Waits until no element matches.
    pub(crate) async fn lacks(&self, selector: &str) {
        self.until(&format!("{selector} is gone"), async || {
            let found = self.act("/elements", &locate(selector)).await?;
            expect(found == json!([]), || "it is there".to_owned())
        })
        .await;
    }

    /// Runs JavaScript in the page and returns its result.
    pub(crate) async fn script(&self, script: &str) -> Value {
        let script = json!({ "script": script, "args": [] });
        self.act("/execute/sync", &script).await.unwrap()
    }

    /// Runs JavaScript in each page that is opened from now on, before the page's own.
    pub(crate) async fn before_each_page(&self, script: &str) {
        let command = json!({
            "cmd": "Page.addScriptToEvaluateOnNewDocument", "params": { "source": script },
        });
        self.act("/goog/cdp/execute", &command).await.unwrap();
    }

    /// Returns the messages on the browser's console since the last call.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self
            .act("/se/log", &json!({ "type": "browser" }))
            .await
            .unwrap();
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Polls until `look` succeeds.
    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            match look().await {
                Ok(seen) => return seen,
                Err(error) if Instant::now() > end => {
                    panic!("the page never came so far that {what}: {error}")
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Acts on an element. Retries while the element does not exist, is hidden, or is being
    /// replaced.
    async fn with(&self, selector: &str, action: &str, body: &Value) {
        self.until(&format!("{selector} takes a {action}"), async || {
            let element = self.element(selector).await?;
            self.act(&format!("/element/{element}{action}"), body).await
        })
        .await;
    }

    async fn text(&self, selector: &str) -> Result<String, String> {
        let element = self.element(selector).await?;
        let text = self.ask(&format!("/element/{element}/text")).await?;
        Ok(text.as_str().unwrap().to_owned())
    }

    async fn element(&self, selector: &str) -> Result<String, String> {
        let found = self.act("/element", &locate(selector)).await?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    async fn ask(&self, command: &str) -> Result<Value, String> {
        let answer = self.client.get(&self.command(command)).await;
        value_of(answer.status, answer.body)
    }

    async fn act(&self, command: &str, body: &Value) -> Result<Value, String> {
        let answer = self.client.post(&self.command(command), body).await;
        value_of(answer.status, answer.body)
    }

    fn command(&self, command: &str) -> String {
        format!("/session/{}{command}", self.session)
    }

    /// Stores a screenshot of a failed test. Must not panic: it runs while a panic unwinds.
    async fn report(&self) {
        let take = self
            .client
            .request(Method::GET, &self.command("/screenshot"));
        let Ok(answer) = take.send().await else {
            return;
        };
        let Ok(answer) = answer.json::<Value>().await else {
            return;
        };
        let Some(image) = answer["value"].as_str() else {
            return;
        };
        let Ok(image) = BASE64.decode(image.as_bytes()) else {
            return;
        };
        let test = std::thread::current()
            .name()
            .unwrap_or("test")
            .replace("::", "-");
        let path = std::env::temp_dir().join(format!("{test}-{}.png", std::process::id()));
        if std::fs::write(&path, image).is_ok() {
            eprintln!("what the browser showed: {}", path.display());
        }
    }

    async fn quit(&self) {
        let quit = self.client.request(Method::DELETE, &self.command(""));
        let _ = quit.send().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closing the browser removes its processes and files.
        let close = async {
            if std::thread::panicking() {
                self.report().await;
            }
            self.quit().await;
        };
        tokio::task::block_in_place(|| {
            let _ =
                Handle::current().block_on(async { tokio::time::timeout(PATIENCE, close).await });
        });
        self.driver.kill();
    }
}

/// The chromedriver process.
struct Driver(Child);

impl Driver {
    /// Starts chromedriver, and returns its URL once it listens.
    fn start() -> (Self, String) {
        let mut child = Command::new(installed("chromedriver"))
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let driver = Self(child);
        let (found, listening) = mpsc::channel();
        std::thread::spawn(move || read_port(stdout, &found));
        let port = listening
            .recv_timeout(DEADLINE)
            .expect("chromedriver says where it listens");
        (driver, format!("http://127.0.0.1:{port}"))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Finds the port in `ChromeDriver was started successfully on port 40123.`, and reads on to the
/// end so that chromedriver never blocks.
fn read_port(stdout: impl Read, found: &mpsc::Sender<u16>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let port = line
            .split_once("successfully on port ")
            .map(|(_, port)| port);
        if let Some(port) = port.and_then(|port| port.trim_end_matches('.').parse().ok()) {
            let _ = found.send(port);
        }
    }
}

fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed; run: cargo xtask setup"))
}

fn locate(selector: &str) -> Value {
    let using = if selector.starts_with("//") {
        "xpath"
    } else {
        "css selector"
    };
    json!({ "using": using, "value": selector })
}

fn value_of(status: u16, mut body: Value) -> Result<Value, String> {
    let value = body["value"].take();
    if status == 200 {
        return Ok(value);
    }
    Err(format!("{}: {}", value["error"], value["message"]))
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
