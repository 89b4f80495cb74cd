//! The program `seeds` beside Flask: the tutorials as they are written for it get the same requests, and their answers
//! are compared. Without Flask every case is reported as ignored, and with `SESSION_REQUIRE=all` as failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

#[path = "../common/program.rs"]
mod program;
mod reference;

use std::net::SocketAddr;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use program::{Program, request};
use reference::address_of;

const ROUTES: [&str; 6] = ["/", "/get_session", "/login", "/get_user_data", "/set", "/get"];

/// Where `seeds` keeps sessions: in what, and its arguments for it.
type Storage = (&'static str, &'static [&'static str]);

const STORAGES: [Storage; 2] = [("signed_cookies", &[]), ("memory", &["--store", "memory:"])];

type Case = (&'static str, fn(Storage));

const CASES: [Case; 5] = [
    ("each_tutorial_answers_as_under_flask", each_tutorial),
    ("every_three_requests_answer_as_under_flask", every_three),
    ("browsers_side_by_side_answer_as_under_flask", side_by_side),
    ("a_forged_cookie_is_no_session_as_under_flask", forged),
    ("other_methods_and_paths_answer_as_under_flask", other_methods),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = reference::missing();
    let required = std::env::var("SESSION_REQUIRE").is_ok_and(|required| required == "all");
    let trial = |storage: Storage, (name, case): Case| {
        let missing = missing.clone();
        let is_ignored = missing.is_some() && !required;
        let run = move || match missing {
            Some(what) => Err(Failed::from(what)),
            None => {
                case(storage);
                Ok(())
            }
        };
        Trial::test(format!("flask::{}::{name}", storage.0), run).with_ignored_flag(is_ignored)
    };
    let trials = STORAGES.iter().flat_map(|&storage| CASES.iter().map(move |&case| trial(storage, case)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// A browser of each: one that visits `seeds` and one that visits Flask.
struct Pair {
    ours: Browser,
    flasks: Browser,
    storage: Storage,
    /// For the message when they differ.
    asked: Vec<String>,
}

struct Browser {
    server: SocketAddr,
    cookie: String,
}

struct Answer {
    status: String,
    head: String,
    body: String,
}

impl Pair {
    fn new(storage: Storage, ours: &Program, flasks: SocketAddr) -> Self {
        let browser = |server| Browser { server, cookie: String::new() };
        Self { ours: browser(ours.address()), flasks: browser(flasks), storage, asked: Vec::new() }
    }

    fn get(&mut self, path: &str) {
        let (ours, flasks) = self.ask("GET", path);
        assert_eq!(ours.body, flasks.body, "{:?}", self.asked);
    }

    /// Bodies are the caller's to compare: pages of errors are the framework's.
    fn ask(&mut self, method: &str, path: &str) -> (Answer, Answer) {
        self.asked.push(format!("{method} {path}"));
        let (ours, flasks) = (self.ours.ask(method, path), self.flasks.ask(method, path));
        assert_eq!(ours.status, flasks.status, "{:?}: {}{}", self.asked, ours.head, flasks.head);
        assert_eq!(ours.varies(), flasks.varies(), "{:?}: {}{}", self.asked, ours.head, flasks.head);
        // A store has no need to send the cookie again with each change.
        if self.storage.0 == "signed_cookies" {
            assert_eq!(
                ours.set_cookie().is_some(),
                flasks.set_cookie().is_some(),
                "{:?}: {}{}",
                self.asked,
                ours.head,
                flasks.head
            );
        }
        (ours, flasks)
    }
}

impl Browser {
    fn ask(&mut self, method: &str, path: &str) -> Answer {
        let text = request(self.server, method, path, &self.cookie);
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        let status = head.split(' ').nth(1).unwrap().to_owned();
        let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
        if let Some(cookie) = answer.set_cookie() {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        answer
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(header, value)| header.eq_ignore_ascii_case(name).then_some(value))
    }

    fn set_cookie(&self) -> Option<&str> {
        self.header("set-cookie")
    }

    fn varies(&self) -> bool {
        self.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("cookie"))
    }
}

fn seeds(storage: Storage) -> Program {
    Program::start(env!("CARGO_BIN_EXE_seeds"), storage.1)
}

fn each_tutorial(storage: Storage) {
    let ours = seeds(storage);
    for (program, paths) in [
        ("testing", ["/get_session", "/", "/get_session", "/", "/get_session"]),
        ("user", ["/get_user_data", "/login", "/get_user_data", "/login", "/get_user_data"]),
        ("key", ["/get", "/set", "/get", "/set", "/get"]),
    ] {
        let mut browsers = Pair::new(storage, &ours, address_of(program));
        for path in paths {
            browsers.get(path);
        }
    }
}

fn every_three(storage: Storage) {
    let ours = seeds(storage);
    for number in 0..ROUTES.len().pow(3) {
        let mut browsers = Pair::new(storage, &ours, address_of("together"));
        for place in 0..3 {
            browsers.get(ROUTES[number / ROUTES.len().pow(place) % ROUTES.len()]);
        }
        browsers.get("/get_session");
    }
}

fn side_by_side(storage: Storage) {
    let ours = seeds(storage);
    let new = || Pair::new(storage, &ours, address_of("together"));
    let mut browsers = [new(), new(), new()];
    // The usual constants of a linear congruential generator: the same sequence each time.
    let mut state: u32 = 1;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % limit
    };
    for _ in 0..200 {
        browsers[next(3)].get(ROUTES[next(ROUTES.len())]);
    }
}

fn forged(storage: Storage) {
    let ours = seeds(storage);
    for forged in ["session=forged", "session=", "session=eyJrZXkiOiJ2YWx1ZSJ9.awy4fw.AAAA", "other=1"] {
        let mut browsers = Pair::new(storage, &ours, address_of("together"));
        (browsers.ours.cookie, browsers.flasks.cookie) = (forged.to_owned(), forged.to_owned());
        for path in ["/get_session", "/get", "/set", "/get", "/get_session"] {
            browsers.get(path);
        }
    }
}

fn other_methods(storage: Storage) {
    let ours = seeds(storage);
    let mut browsers = Pair::new(storage, &ours, address_of("together"));
    // HEAD runs the handler, in both, and has no body.
    for path in ["/login", "/get_session", "/get", "/set", "/get"] {
        let (ours, flasks) = browsers.ask("HEAD", path);
        assert_eq!((ours.body.as_str(), flasks.body.as_str()), ("", ""));
        assert_eq!(ours.header("content-length"), flasks.header("content-length"), "{path}");
    }
    browsers.get("/get_session");
    for (method, path) in [("POST", "/login"), ("DELETE", "/"), ("GET", "/nowhere"), ("GET", "/login/")] {
        browsers.ask(method, path);
    }
    browsers.get("/get_session");
}
