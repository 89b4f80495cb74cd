//! The page in a real browser. Without chromium and chromedriver every case is reported as ignored, and with
//! `SESSION_REQUIRE=all` as failed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy does not take the helpers of a test for tests")]

mod driver;
mod servers;

use std::process::ExitCode;
use std::time::Duration;

use driver::{Browser, Cookie};
use libtest_mimic::{Arguments, Failed, Trial};
use servers::Servers;
use session_core::Timestamp;

type Case = (&'static str, fn());

const CASES: [Case; 7] = [
    ("browser::the_counter_counts_and_signing_in_changes_the_id", counter_and_sign_in),
    ("browser::the_cookie_is_stored_with_its_attributes", cookie_attributes),
    ("browser::a_second_device_is_listed_and_revoked", second_device),
    ("browser::signing_out_everywhere_else_keeps_this_device", everywhere_else),
    ("browser::after_signing_out_the_back_button_shows_no_session", back_button),
    ("browser::over_https_the_host_cookie_is_kept_and_removed", host_cookie),
    ("browser::a_lasting_cookie_ends_with_its_session", expiry),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = driver::missing();
    let required = std::env::var("SESSION_REQUIRE").is_ok_and(|required| required == "all");
    let trial = |&(name, case): &Case| {
        let run = move || match missing {
            Some(program) => {
                Err(Failed::from(format!("{program} is missing: apt-get install chromium chromium-driver")))
            }
            None => {
                case();
                Ok(())
            }
        };
        Trial::test(name, run).with_ignored_flag(missing.is_some() && !required)
    };
    libtest_mimic::run(&arguments, CASES.iter().map(trial).collect()).exit_code()
}

fn counter_and_sign_in() {
    let servers = Servers::new();
    let (page, browser) = (servers.page(), Browser::start());
    browser.open(&page);
    browser.wait_for_text("1\nvisit in this session");
    browser.click("#again");
    browser.wait_for_text("2\nvisits in this session");
    browser.picture("signed-out");
    let before = browser.cookies();
    sign_in(&browser, "Ada Lovelace");
    browser.wait_for_text("Welcome, Ada Lovelace.");
    browser.picture("signed-in");
    assert_ne!(browser.cookies()[0].value, before[0].value, "the id is the one from before the sign-in");
    browser.open(&page);
    assert!(!browser.text().contains("Welcome"), "the message came twice");
}

fn cookie_attributes() {
    let servers = Servers::new();
    let (page, browser) = (servers.page(), Browser::start());
    browser.open(&page);
    let cookies = browser.cookies();
    let [Cookie { name, http_only, secure, same_site, expiry, .. }] = &cookies[..] else {
        panic!("{cookies:?}")
    };
    assert_eq!(
        (name.as_str(), http_only, secure, same_site.as_str(), expiry),
        ("session", &true, &false, "Lax", &None)
    );
    assert_eq!(browser.script_cookies(), "", "scripts see the cookie");
}

fn second_device() {
    let servers = Servers::new();
    let (page, laptop, phone) = (servers.page(), Browser::start(), Browser::start());
    for browser in [&laptop, &phone] {
        browser.open(&page);
        sign_in(browser, "ada");
        browser.wait_for_text("Your devices");
    }
    laptop.open(&page);
    assert_eq!(laptop.count(".devices li"), 2);
    laptop.picture("two-devices");
    laptop.click(".devices li:nth-child(2) button");
    laptop.wait_for_text("was signed out.");
    laptop.picture("revoked");
    assert_eq!(laptop.count(".devices li"), 1);
    phone.open(&page);
    phone.wait_for_text("Not signed in");
    laptop.open(&page);
    laptop.wait_for_text("Your devices");
}

fn everywhere_else() {
    let servers = Servers::new();
    let (page, this, other) = (servers.page(), Browser::start(), Browser::start());
    for browser in [&this, &other] {
        browser.open(&page);
        sign_in(browser, "ada");
        browser.wait_for_text("Your devices");
    }
    this.click("#elsewhere");
    this.wait_for_text("One other device was signed out.");
    other.open(&page);
    other.wait_for_text("Not signed in");
    this.open(&page);
    this.wait_for_text("Your devices");
}

fn back_button() {
    let servers = Servers::new();
    let (page, browser) = (servers.page(), Browser::start());
    browser.open(&page);
    sign_in(&browser, "ada");
    browser.wait_for_text("Your devices");
    browser.click("#sign-out");
    browser.wait_for_text("You are signed out.");
    browser.back();
    browser.wait_for_text("Not signed in");
    assert!(!browser.text().contains("Your devices"), "the browser kept the page");
}

fn host_cookie() {
    let servers = Servers::new();
    let (page, browser) = (servers.bare_https(Duration::from_secs(3600)), Browser::start());
    browser.open(&format!("{page}/begin"));
    let cookies = browser.cookies();
    let [cookie] = &cookies[..] else { panic!("{cookies:?}") };
    assert_eq!((cookie.name.as_str(), cookie.same_site.as_str()), ("__Host-session", "Lax"));
    assert!(cookie.secure && cookie.http_only && cookie.expiry.is_none(), "{cookie:?}");
    browser.open(&format!("{page}/see"));
    browser.wait_for_text("a session");
    browser.open(&format!("{page}/end"));
    browser.wait_for_text("ended");
    browser.wait_for_cookies(<[Cookie]>::is_empty);
    browser.open(&format!("{page}/see"));
    browser.wait_for_text("nothing");
}

fn expiry() {
    let idle = Duration::from_secs(15);
    let servers = Servers::new();
    let (page, browser) = (servers.bare_https(idle), Browser::start());
    browser.open(&format!("{page}/keep"));
    let wanted = Timestamp::now().saturating_add(idle).as_millis() / 1_000;
    let expiry = browser.cookies()[0].expiry.unwrap();
    assert!(
        (wanted - 30..=wanted + 1).contains(&expiry),
        "the browser keeps it until {expiry}, not {wanted}"
    );
    browser.wait_for_cookies(<[Cookie]>::is_empty);
    browser.open(&format!("{page}/see"));
    browser.wait_for_text("nothing");
}

fn sign_in(browser: &Browser, name: &str) {
    browser.write("#name", name);
    browser.click("#sign-in");
}
