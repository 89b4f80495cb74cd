//! Many tabs of one browser that ask for the page all the time, while somebody signs in and out in another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use session_core::Timestamp;

use crate::driver::Browser;

const TABS: usize = 10;

/// In each tab: one request after another, and what came of it is told to the tab that watches.
const VISIT: &str = r#"
    const channel = new BroadcastChannel("tabs");
    let stopped = false;
    channel.onmessage = (event) => { stopped ||= event.data === "stop"; };
    const visit = async () => {
        const begun = Date.now();
        const answer = await fetch("/", { cache: "no-store" });
        const page = await answer.text();
        const find = (id) => (new RegExp(`id="${id}">([^<]*)<`).exec(page) ?? [])[1] ?? null;
        const visits = Number(find("visits"));
        return { begun, ended: Date.now(), status: answer.status, owner: find("owner"), key: find("key"), visits };
    };
    (async () => {
        while (!stopped) {
            const seen = await visit().catch((error) => ({ begun: Date.now(), error: String(error) }));
            channel.postMessage({ tab: arguments[0], ...seen });
        }
        channel.postMessage({ tab: arguments[0], stopped: true });
    })();
"#;

const LOOK: &str = "
    const text = (id) => document.getElementById(id)?.textContent;
    return { owner: text('owner'), key: text('key'), visits: text('visits') };
";

const WATCH: &str = r#"
    window.seen = [];
    window.stopped = 0;
    window.tabs = new BroadcastChannel("tabs");
    window.tabs.onmessage = (event) => {
        if (event.data.stopped) { window.stopped += 1; } else { window.seen.push(event.data); }
    };
"#;

/// How many visits the tab with the fewest has made since.
const FEWEST_SINCE: &str = r#"
    const counts = Array(arguments[1]).fill(0);
    for (const visit of window.seen) { counts[visit.tab] += visit.begun > arguments[0]; }
    return Math.min(...counts);
"#;

/// A browser with a tab to act in, a tab that watches, and ten that visit the page all the time.
pub(crate) struct Tabs {
    browser: Browser,
    page: String,
    actor: String,
    watcher: String,
    /// How many tabs make visits.
    visitors: usize,
    /// What the tab to act in was shown.
    shown: Vec<Visit>,
    /// Who was signed in since when, and until when for sure: until the next act began.
    spans: Vec<Span>,
}

struct Span {
    owner: Option<&'static str>,
    from: i64,
    until: i64,
}

/// One answer with the page.
#[derive(Clone, Debug)]
struct Visit {
    begun: i64,
    ended: i64,
    status: u64,
    owner: Option<String>,
    key: String,
    visits: u64,
}

impl Tabs {
    /// Opens the page in one tab. The others begin with [`visit`](Self::visit).
    pub(crate) fn new(page: String) -> Self {
        let browser = Browser::start();
        browser.open(&page);
        let (actor, watcher) = (browser.tab(), browser.new_tab());
        browser.switch(&watcher);
        // Scripts of the page itself may ask nobody (its Content-Security-Policy).
        browser.open(&format!("{page}/style.css"));
        browser.script(WATCH, &[]);
        browser.switch(&actor);
        let mut tabs =
            Self { browser, page, actor, watcher, visitors: 0, shown: Vec::new(), spans: Vec::new() };
        tabs.look();
        tabs.spans.push(Span { owner: None, from: now(), until: i64::MAX });
        tabs
    }

    /// From now on ten tabs visit the page, all the time.
    pub(crate) fn visit(&mut self) {
        for number in 0..TABS {
            self.browser.switch(&self.browser.new_tab());
            self.browser.open(&format!("{}/style.css", self.page));
            self.browser.script(VISIT, &[json!(number)]);
        }
        self.visitors = TABS;
        self.browser.switch(&self.actor);
        self.wait();
    }

    pub(crate) fn sign_in(&mut self, name: &'static str) {
        self.browser.write("#name", name);
        self.act("#sign-in", Some(name));
    }

    pub(crate) fn sign_out(&mut self) {
        self.act("#sign-out", None);
    }

    /// Clicks, waits for the answer, and then until every tab has made more visits.
    fn act(&mut self, button: &str, owner: Option<&'static str>) {
        if let Some(span) = self.spans.last_mut() {
            span.until = now();
        }
        self.browser.click(button);
        self.browser.wait_for_text(if owner.is_some() { "Your devices" } else { "Not signed in" });
        self.look();
        self.spans.push(Span { owner, from: now(), until: i64::MAX });
        self.wait();
    }

    /// Until every tab has made some visits from now on.
    fn wait(&self) {
        if self.visitors == 0 {
            return;
        }
        let start = now();
        self.browser.switch(&self.watcher);
        let fewest =
            || self.browser.script(FEWEST_SINCE, &[json!(start), json!(self.visitors)]).as_u64().unwrap();
        self.browser.until(
            || fewest() >= 3,
            || format!("a tab stands still: {}", self.browser.script("return window.seen.slice(-20)", &[])),
        );
        self.browser.switch(&self.actor);
    }

    pub(crate) fn rest(&self, time: Duration) {
        std::thread::sleep(time);
        self.wait();
    }

    /// Notes what the tab to act in shows.
    fn look(&mut self) {
        let page = self.browser.script(LOOK, &[]);
        let text = |name: &str| page[name].as_str().map(str::to_owned);
        let (key, visits) = (text("key").unwrap(), text("visits").unwrap().parse().unwrap());
        let at = now();
        self.shown.push(Visit { begun: at, ended: at, status: 200, owner: text("owner"), key, visits });
    }

    /// Stops all tabs and checks what they saw; how many visits there were.
    pub(crate) fn check(mut self) -> usize {
        self.browser.switch(&self.watcher);
        self.browser.script("window.tabs.postMessage('stop')", &[]);
        let stopped = || self.browser.script("return window.stopped", &[]).as_u64() == Some(TABS as u64);
        self.browser.until(stopped, || "the tabs do not stop".to_owned());
        let seen = self.browser.script("return window.seen", &[]);
        let visits: Vec<Visit> = seen.as_array().unwrap().iter().map(Visit::new).collect();
        self.browser.switch(&self.actor);
        self.browser.open(&self.page);
        self.look();

        for visit in &visits {
            self.check_owner(visit);
        }
        let last = self.spans.last().unwrap();
        assert_eq!(self.shown.last().unwrap().owner.as_deref(), last.owner, "as last acknowledged");
        check_counters(visits.iter().chain(&self.shown).filter(|visit| visit.status == 200));
        visits.len()
    }

    fn check_owner(&self, visit: &Visit) {
        let certain = self.spans.iter().find(|span| span.from < visit.begun && visit.ended < span.until);
        match certain {
            // Nobody was signed out by accident, nor signed in.
            Some(span) => {
                assert_eq!((visit.status, visit.owner.as_deref()), (200, span.owner), "{visit:?}");
            }
            // While somebody signs in or out, a page may also say that it has to look again.
            None => assert!([200, 409].contains(&visit.status), "{visit:?}"),
        }
    }
}

impl Visit {
    fn new(told: &Value) -> Self {
        let number = |name: &str| told[name].as_i64().unwrap_or_else(|| panic!("{told}"));
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        Self {
            begun: number("begun"),
            ended: number("ended"),
            status: number("status").unsigned_abs(),
            owner: text("owner"),
            key: text("key").unwrap_or_default(),
            visits: number("visits").unsigned_abs(),
        }
    }
}

/// In every session each number was shown once, and none is missing.
fn check_counters<'a>(visits: impl Iterator<Item = &'a Visit>) {
    let mut sessions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for visit in visits {
        sessions.entry(&visit.key).or_default().push(visit.visits);
    }
    for (key, mut numbers) in sessions {
        numbers.sort_unstable();
        let wanted: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, wanted, "the counter of session {key}");
    }
}

fn now() -> i64 {
    Timestamp::now().as_millis()
}
