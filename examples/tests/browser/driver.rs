//! Chromium, driven through chromedriver by the WebDriver protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

/// How long a page may take: a loaded machine is slow, and a wrong page is wrong for ever.
const PATIENCE: Duration = Duration::from_secs(30);

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,1000",
];

/// Which program is missing, if one is.
pub(crate) fn missing() -> Option<&'static str> {
    ["chromium", "chromedriver"].into_iter().find(|program| {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    })
}

/// A chromedriver of its own, with one browser: a profile that nobody else has.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

/// A cookie as the browser stores it.
#[derive(Debug, PartialEq)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) http_only: bool,
    pub(crate) secure: bool,
    pub(crate) same_site: String,
    /// Seconds since 1970; none when it ends with the browser.
    pub(crate) expiry: Option<i64>,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port(&mut driver);
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port, session: String::new(), profile };
        let flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        let profile = format!("--user-data-dir={}", browser.profile.path().display());
        let flags = [flags, vec![profile]].concat();
        let options = json!({ "args": flags });
        let wanted = json!({ "goog:chromeOptions": options, "acceptInsecureCerts": true });
        let answer = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/session/{}", answer["sessionId"].as_str().unwrap());
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub(crate) fn back(&self) {
        self.post("/back", &json!({}));
    }

    pub(crate) fn click(&self, css: &str) {
        let element = self.wait_for(css);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    pub(crate) fn write(&self, css: &str, text: &str) {
        let element = self.wait_for(css);
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// The text of the page.
    pub(crate) fn text(&self) -> String {
        let element = self.wait_for("body");
        self.get(&format!("/element/{element}/text")).as_str().unwrap().to_owned()
    }

    /// Waits until the page says `wanted`.
    pub(crate) fn wait_for_text(&self, wanted: &str) {
        self.until(
            || self.text().contains(wanted),
            || format!("{wanted:?} did not come; there is {:?}", self.text()),
        );
    }

    pub(crate) fn count(&self, css: &str) -> usize {
        self.find(css).len()
    }

    pub(crate) fn cookies(&self) -> Vec<Cookie> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let cookie = |cookie: &Value| Cookie {
            name: text(&cookie["name"]),
            value: text(&cookie["value"]),
            http_only: cookie["httpOnly"] == true,
            secure: cookie["secure"] == true,
            same_site: text(&cookie["sameSite"]),
            expiry: cookie["expiry"].as_i64(),
        };
        self.get("/cookie").as_array().unwrap().iter().map(cookie).collect()
    }

    /// Waits until the browser's jar is as `fits` wants it.
    pub(crate) fn wait_for_cookies(&self, fits: impl Fn(&[Cookie]) -> bool) {
        self.until(|| fits(&self.cookies()), || format!("there are {:?}", self.cookies()));
    }

    /// What scripts of the page see of its cookies.
    pub(crate) fn script_cookies(&self) -> String {
        self.script("return document.cookie", &[]).as_str().unwrap().to_owned()
    }

    /// Runs a script in the tab, and gives what it returns.
    pub(crate) fn script(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// The tab that everything is done in.
    pub(crate) fn tab(&self) -> String {
        self.get("/window").as_str().unwrap().to_owned()
    }

    pub(crate) fn new_tab(&self) -> String {
        self.post("/window/new", &json!({ "type": "tab" }))["handle"].as_str().unwrap().to_owned()
    }

    pub(crate) fn switch(&self, tab: &str) {
        self.post("/window", &json!({ "handle": tab }));
    }

    /// Leaves a picture in cargo's directory for tests, for people to look at.
    pub(crate) fn picture(&self, name: &str) {
        let text = self.get("/screenshot");
        let png = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(path, png).unwrap();
    }

    fn wait_for(&self, css: &str) -> String {
        let mut found = Vec::new();
        self.until(
            || {
                found = self.find(css);
                !found.is_empty()
            },
            || format!("{css} is not on the page: {:?}", self.get("/source")),
        );
        found.swap_remove(0)
    }

    fn find(&self, css: &str) -> Vec<String> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": css }));
        let id = |element: &Value| element.as_object()?.values().next()?.as_str().map(str::to_owned);
        found.as_array().unwrap().iter().filter_map(id).collect()
    }

    pub(crate) fn until(&self, mut done: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "{}", otherwise());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str) -> Value {
        self.call("GET", &format!("{}{path}", self.session), &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_call(method, path, body).unwrap();
        let value = answer["value"].clone();
        // An element of a page that is just being left: the caller looks again.
        if value["error"] == "stale element reference" {
            return Value::String(String::new());
        }
        assert!(value.get("error").is_none(), "{method} {path}: {value}");
        value
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(4 * PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        serde_json::from_slice(&answer).map_err(std::io::Error::other)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; chromedriver alone would leave it running.
        let _ = self.try_call("DELETE", &self.session, &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn port(driver: &mut Child) -> u16 {
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return port.trim_end_matches('.').parse().unwrap();
        }
    }
    panic!("chromedriver did not say on which port it listens");
}
