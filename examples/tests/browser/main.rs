//! The page in a real browser. Without chromium and chromedriver every case is reported as ignored, and with
//! `SESSION_REQUIRE=all` as failed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy does not take the helpers of a test for tests")]

mod driver;
mod servers;
mod tabs;

use std::process::ExitCode;
use std::time::Duration;

use driver::{Browser, Cookie};
use libtest_mimic::{Arguments, Failed, Trial};
use servers::Servers;
use session_core::{Policy, SessionManager, Timestamp};
use session_memory::MemoryStore;
use tabs::Tabs;

type Case = (&'static str, fn());

const CASES: [Case; 11] = [
    ("browser::the_counter_counts_and_signing_in_changes_the_id", counter_and_sign_in),
    ("browser::the_cookie_is_stored_with_its_attributes", cookie_attributes),
    ("browser::a_second_device_is_listed_and_revoked", second_device),
    ("browser::signing_out_everywhere_else_keeps_this_device", everywhere_else),
    ("browser::after_signing_out_the_back_button_shows_no_session", back_button),
    ("browser::ten_tabs_go_on_while_one_signs_in_and_out_in_memory", tabs_in_memory),
    ("browser::ten_tabs_go_on_while_one_signs_in_and_out_in_sqlite", tabs_in_sqlite),
    ("browser::ten_tabs_stay_signed_in_while_the_id_is_renewed", tabs_and_renewal),
    ("browser::a_form_that_is_sent_twice_signs_in", sent_twice),
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

fn tabs_in_memory() {
    let servers = Servers::new();
    sign_in_and_out(&servers.page());
}

fn tabs_in_sqlite() {
    let servers = Servers::new();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("sessions.db").display());
    sign_in_and_out(&servers.page_on(&url));
}

fn sign_in_and_out(page: &str) {
    let mut tabs = Tabs::new(page.to_owned());
    tabs.visit();
    for _ in 0..3 {
        tabs.sign_in("ada");
        tabs.sign_out();
    }
    tabs.sign_in("ada");
    tabs.check();
}

fn tabs_and_renewal() {
    let servers = Servers::new();
    let policy = Policy::default().with_renewal_after(Some(Duration::from_millis(200)));
    let policy = policy.with_renewal_grace(Duration::from_secs(1));
    let sessions = SessionManager::new(MemoryStore::default()).with_policy(policy);
    let mut tabs = Tabs::new(servers.page_of(sessions, Duration::ZERO));
    tabs.sign_in("ada");
    tabs.visit();
    tabs.rest(Duration::from_secs(5));
    tabs.check();
}

/// The browser does not wait for the answer to the first: what that changed, the second has to cope with.
fn sent_twice() {
    let servers = Servers::new();
    let sessions = SessionManager::new(MemoryStore::default());
    let (page, browser) = (servers.page_of(sessions, Duration::from_secs(1)), Browser::start());
    for name in ["#sign-in", "#sign-out", "#sign-in"] {
        browser.open(&page);
        if name == "#sign-in" {
            browser.write("#name", "ada");
        }
        browser.script(TWICE, &[name.into()]);
        browser.wait_for_text(if name == "#sign-in" { "Your devices" } else { "Not signed in" });
    }
}

/// The second time while the first is on its way, as with a double click.
const TWICE: &str = "
    const form = document.querySelector(arguments[0]).form;
    form.requestSubmit();
    setTimeout(() => form.requestSubmit(), 300);
";

fn host_cookie() {
    let servers = Servers::new();
    let (page, browser) = (servers.bare_https(Policy::default()), Browser::start());
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
    // The server holds the idle timeout; the cookie lasts as long as the session can.
    let longest = Duration::from_secs(15);
    let servers = Servers::new();
    let policy = Policy::default().with_absolute_lifetime(Some(longest));
    let (page, browser) = (servers.bare_https(policy), Browser::start());
    browser.open(&format!("{page}/keep"));
    let wanted = Timestamp::now().saturating_add(longest).as_millis() / 1_000;
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
