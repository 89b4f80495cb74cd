//! The page's binary itself, over TCP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not take the helpers of a test for tests"
)]

#[path = "common/program.rs"]
mod program;

use std::process::Command;

use program::{Program, request};

const WEB: &str = env!("CARGO_BIN_EXE_web");

fn visits(answer: &str) -> u64 {
    answer.split("id=\"visits\">").nth(1).expect(answer).split('<').next().unwrap().parse().unwrap()
}

#[test]
fn visits_over_many_connections_at_once_are_counted_once_each() {
    let web = Program::start(WEB, &[]);
    let first = request(web.address(), "GET", "/", "");
    let (_, cookie) = first.split_once("set-cookie: ").expect(&first);
    let cookie = cookie.split(';').next().unwrap();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let browser =
            || (0..5).map(|_| visits(&request(web.address(), "GET", "/", cookie))).collect::<Vec<_>>();
        let browsers: Vec<_> = (0..8).map(|_| scope.spawn(browser)).collect();
        browsers.into_iter().flat_map(|browser| browser.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=41).collect::<Vec<u64>>());
}

#[test]
fn behind_https_the_cookie_is_the_safe_default() {
    let web = Program::start(WEB, &["--behind-https"]);
    let answer = request(web.address(), "GET", "/", "");
    assert!(answer.contains("set-cookie: __Host-session="), "{answer}");
    assert!(answer.contains("; Path=/; HttpOnly; Secure; SameSite=Lax\r\n"), "{answer}");
}

#[test]
fn what_cannot_work_is_said_before_the_page_starts() {
    for (arguments, wanted) in [
        (["--store", "carrier-pigeon://x"], "unknown storage \"carrier-pigeon\"; supported: memory:"),
        (["--listen", "nowhere"], "not an address and port"),
        (["--speed", "fast"], "unknown argument \"--speed\""),
    ] {
        let output = Command::new(WEB).args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(wanted), "{told}");
    }
}
