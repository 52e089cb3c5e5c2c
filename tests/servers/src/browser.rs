//! A browser for tests: Debian's Chromium without a window, driven over WebDriver by its chromedriver.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::account::Account;
use crate::folder::{self, Folder};
use crate::http1::{Message, connect, exchange};
use crate::keeper::Keeper;
use crate::programs;

/// How long the driver may take to start, and a page to show what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// No window, no use of a network but for what it is told to open, and an end when the driver's is: the pipe between the
/// two closes then. A root's Chromium can't have its own sandbox.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-popup-blocking",
    "--remote-debugging-pipe",
];

/// Runs the driver, whose program is the second argument, until it is told to end. Its browsers end with it, but not at once,
/// and would write into the folder that is being removed, the first argument: so it goes on until the last of them is gone.
const SCRIPT: &str = r#"
"$2" --port=0 &
driver=$!
trap 'kill -s KILL "$driver"' TERM
wait "$driver"
wait "$driver"
while grep -qs -- "--user-data-di[r]=$1" /proc/[0-9]*/cmdline; do sleep 0.05; done
"#;

/// What WebDriver calls a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own: no cookie is another's. It takes any certificate. Dropping it ends it.
pub struct Browser {
    /// The driver's.
    port: u16,
    /// `/session/ID`.
    session: String,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// Where it can't; the message says what to do, or shows the end of the driver's log.
    #[track_caller]
    pub fn start() -> Browser {
        static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
        let driver = DRIVER.get_or_init(|| Driver::start().map_err(|error| format!("{error:#}")));
        let driver = driver.as_ref().unwrap_or_else(|message| panic!("{message}"));
        match driver.new_browser() {
            Ok(browser) => browser,
            Err(error) => panic!("no browser: {error:#}. The driver's log:\n{}", driver.folder.end_of_log()),
        }
    }

    /// Opens a page, and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// The address that it shows.
    #[track_caller]
    pub fn url(&self) -> String {
        text(&self.get("/url"))
    }

    /// The page's source.
    #[track_caller]
    pub fn source(&self) -> String {
        text(&self.get("/source"))
    }

    /// The text of the page as a person sees it.
    #[track_caller]
    pub fn text(&self) -> String {
        self.text_of("body")
    }

    /// Waits for an element, by its CSS selector, and returns its text.
    #[track_caller]
    pub fn text_of(&self, css: &str) -> String {
        text(&self.get(&format!("{}/text", self.element(css))))
    }

    /// Whether the page has such an element now.
    #[track_caller]
    pub fn has(&self, css: &str) -> bool {
        self.post("/elements", &by(css)).as_array().is_some_and(|found| !found.is_empty())
    }

    /// Waits for a field, and types into it.
    #[track_caller]
    pub fn type_into(&self, css: &str, text: &str) {
        self.post(&format!("{}/value", self.element(css)), &json!({"text": text}));
    }

    /// Waits for an element, and clicks it.
    #[track_caller]
    pub fn click(&self, css: &str) {
        self.post(&format!("{}/click", self.element(css)), &json!({}));
    }

    /// Runs JavaScript in the page; what it returns.
    #[track_caller]
    pub fn evaluate(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until there are so many windows, and turns to the last in the driver's list: the newest, or the one left.
    #[track_caller]
    pub fn turn_to_last_of(&self, n_windows: usize) {
        let windows = || self.get("/window/handles").as_array().cloned().unwrap_or_default();
        self.wait_until(&format!("there are {n_windows} windows"), || windows().len() == n_windows);
        if let Some(last) = windows().last() {
            self.post("/window", &json!({"handle": last}));
        }
    }

    /// Waits until the address is as `is_there` wants it; the address.
    #[track_caller]
    pub fn await_url(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        self.wait_until(&format!("the address is {what}"), || is_there(&self.url()));
        self.url()
    }

    /// Waits until something holds.
    ///
    /// # Panics
    ///
    /// If it doesn't within half a minute, with what the page shows then.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "it never happened that {what}. {}", self.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The path of an element, once the page has it.
    #[track_caller]
    fn element(&self, css: &str) -> String {
        let mut found = None;
        self.wait_until(&format!("the page has {css}"), || {
            found = self.command("POST", "/element", Some(&by(css))).ok();
            found.is_some()
        });
        format!("/element/{}", text(&found.unwrap_or_default()[ELEMENT]))
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.command("GET", path, None).unwrap_or_else(|error| panic!("{path}: {error:#}. {}", self.state()))
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.command("POST", path, Some(body))
            .unwrap_or_else(|error| panic!("{path} {body}: {error:#}. {}", self.state()))
    }

    fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        command(self.port, method, &format!("{}{path}", self.session), body)
    }

    /// What it shows, for messages.
    fn state(&self) -> String {
        let shown = |path| self.command("GET", path, None).map(|value| text(&value)).unwrap_or_default();
        format!("It shows {}:\n{}", shown("/url"), shown("/source"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // One that doesn't end now ends with the driver.
        let _ = self.command("DELETE", "", None);
    }
}

/// The chromedriver of this process. It ends with it.
struct Driver {
    folder: Folder,
    port: u16,
    chromium: PathBuf,
    _keeper: Keeper,
}

impl Driver {
    fn start() -> Result<Driver> {
        let need = |name: &str| {
            programs::find(name).with_context(|| {
                format!(
                    "`{name}` isn't installed, which tests with a browser need: run `cargo xtask test` (or `cargo xtask \
                     servers`), which installs it, or install the Debian packages chromium and chromium-driver"
                )
            })
        };
        let (chromium, chromedriver) = (need("chromium")?, need("chromedriver")?);
        let account = Account::ours()?;
        let temporary = folder::temporary("browser", &account)?;
        let folder = Folder::at(temporary.path());
        let mut home = OsString::from("HOME=");
        home.push(folder.run());
        let script = ["sh", "-c", SCRIPT, "portcullis-test-browser"].map(OsString::from);
        let mut line = vec!["env".into(), home];
        line.extend(script);
        line.extend([folder.root().into(), chromedriver.into()]);
        let mut keeper = Keeper::of(&folder, "TERM", line)?;
        // From here on it's the keeper that removes it.
        let _ = temporary.keep();
        folder.fill(&account)?;
        keeper.start_server()?;
        let port = await_port(&folder, &keeper)?;
        Ok(Driver { folder, port, chromium, _keeper: keeper })
    }

    fn new_browser(&self) -> Result<Browser> {
        static N_PROFILES: AtomicUsize = AtomicUsize::new(0);
        let profile = self.folder.data().join(N_PROFILES.fetch_add(1, Ordering::Relaxed).to_string());
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"binary": self.chromium, "args": flags},
        }}});
        let made = command(self.port, "POST", "/session", Some(&wanted))?;
        Ok(Browser { port: self.port, session: format!("/session/{}", text(&made["sessionId"])) })
    }
}

fn await_port(folder: &Folder, keeper: &Keeper) -> Result<u16> {
    const SAID: &str = "was started successfully on port ";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = folder.end_of_log();
        let port = log.split_once(SAID).and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
        if let Some(port) = port {
            return Ok(port);
        }
        if keeper.server_has_ended() || Instant::now() > deadline {
            bail!("chromedriver doesn't start. Its log:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Gives the driver a command, on a connection of its own (W3C WebDriver, 6): the value that it answers with.
fn command(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let headers = [
        ("host", format!("127.0.0.1:{port}")),
        ("connection", "close".to_owned()),
        ("content-type", "application/json; charset=utf-8".to_owned()),
    ];
    let request = Message {
        line: format!("{method} {path} HTTP/1.1"),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
    };
    let answer = exchange(connect(port)?, &request).context("chromedriver doesn't answer")?;
    let value =
        serde_json::from_slice::<Value>(&answer.body).context("chromedriver's answer")?["value"].take();
    if answer.status() != Some(200) {
        bail!("{}: {}", text(&value["error"]), text(&value["message"]).lines().next().unwrap_or_default());
    }
    Ok(value)
}

fn by(css: &str) -> Value {
    json!({"using": "css selector", "value": css})
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
