//! Each exception of rule I9, by the shortest schedule that shows it, beside one without it.

use session_conformance::browser::Act::{Read, Regenerate, Rotate, SignIn, SignOut, Write};
use session_conformance::browser::Exception::{self, E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11};
use session_conformance::browser::Person::{Ada, Bob};
use session_conformance::browser::Step::{self, Attack, Call, Deliver, Finish, Lose, Plant, RevokeAll, Wait};
use session_conformance::browser::{ATTACKER, Act, Fault, Pause, Renewal, Report, Setting};
use session_core::SessionLimit;

use crate::{block_on, in_memory};

fn begin(slot: u8, act: Act) -> Step {
    Step::Begin { slot, act, server: 0, retries: false }
}

fn finish(slot: u8) -> Step {
    Finish { slot }
}

fn deliver(slot: u8) -> Step {
    Deliver { slot }
}

/// A request from its beginning to its end.
fn whole(act: Act) -> [Step; 3] {
    [begin(3, act), finish(3), deliver(3)]
}

fn play(setting: Setting, schedule: &[Step]) -> Report {
    let report = block_on(in_memory().play(setting, schedule)).unwrap();
    assert_eq!(report.violation, None, "{:#?}", report.story);
    report
}

/// The schedule meets the exception, and no other one but phantoms.
fn meets(exception: Exception, setting: Setting, schedule: &[Step]) -> Report {
    let report = play(setting, schedule);
    let expected = |met: &Exception| *met == exception || *met == E5;
    assert!(report.exceptions.contains(&exception), "{:#?}", report.story);
    assert!(report.exceptions.iter().all(expected), "{:#?}", report.story);
    report
}

/// The schedule meets no exception, or phantoms at most.
fn meets_none(setting: Setting, schedule: &[Step]) {
    let report = play(setting, schedule);
    assert!(report.exceptions.iter().all(|met| *met == E5), "{:#?}", report.story);
}

fn plain() -> Setting {
    Setting { renewal: Renewal::Never, limit: None }
}

fn told(report: &Report, line: &str) -> bool {
    report.story.iter().any(|told| told.contains(line))
}

#[test]
fn e1_the_answer_of_a_renewal_comes_after_that_of_an_explicit_change() {
    let before = [&whole(Write)[..], &[Wait(Pause::Renewal), begin(0, Read), finish(0)]].concat();
    let sign_in = [begin(1, SignIn(Ada)), finish(1)];
    let late = [&before[..], &sign_in, &[deliver(1), deliver(0)]].concat();
    meets(E1, Setting::default(), &late);
    let in_time = [&before[..], &sign_in, &[deliver(0), deliver(1)]].concat();
    meets_none(Setting::default(), &in_time);
}

#[test]
fn e2_the_answer_of_an_explicit_change_is_lost_and_signing_in_works() {
    let lost = [&whole(Write)[..], &[begin(0, SignIn(Ada)), finish(0), Lose { slot: 0 }]].concat();
    meets(E2, plain(), &lost);
    let then = [&lost[..], &whole(Write), &whole(SignIn(Ada)), &whole(Read)].concat();
    let report = meets(E2, plain(), &then);
    assert!(told(&report, "C is done: Superseded, its changes dropped"), "{:#?}", report.story);
    assert!(told(&report, "E opens session 2, ada's"), "{:#?}", report.story);
}

#[test]
fn e3_two_explicit_changes_in_parallel_and_their_answers_come_out_of_order() {
    let both = [begin(0, Rotate), begin(1, SignIn(Ada)), finish(0), finish(1)];
    let before = [&whole(Write)[..], &both].concat();
    meets(E3, plain(), &[&before[..], &[deliver(1), deliver(0)]].concat());
    meets_none(plain(), &[&before[..], &[deliver(0), deliver(1)]].concat());
}

#[test]
fn e4_without_a_live_cookie_a_write_beside_a_sign_in_comes_last() {
    let both = [begin(0, Write), begin(1, SignIn(Ada)), finish(0), finish(1)];
    meets(E4, plain(), &[&both[..], &[deliver(1), deliver(0)]].concat());
    meets_none(plain(), &[&both[..], &[deliver(0), deliver(1)]].concat());
}

#[test]
fn e5_phantoms_that_nobody_can_open() {
    let crash = Call { slot: 0, fault: Fault::Crash };
    meets(E5, plain(), &[begin(0, SignIn(Ada)), crash]);
    let lost = Call { slot: 0, fault: Fault::AnswerLost };
    meets(E5, plain(), &[begin(0, SignIn(Ada)), lost]);
    let twice = [begin(0, SignIn(Ada)), begin(1, SignIn(Ada)), finish(0), finish(1), deliver(0), deliver(1)];
    meets(E5, plain(), &twice);
    // A request that tries again withdraws what it may have created.
    let again = Step::Begin { slot: 0, act: SignIn(Ada), server: 0, retries: true };
    assert_eq!(play(plain(), &[again, lost]).exceptions, []);
}

#[test]
fn e6_a_form_is_sent_twice_under_a_limit_of_one() {
    let one = Setting { limit: Some(SessionLimit::EndOldest(1)), ..plain() };
    let both = [begin(0, SignIn(Ada)), begin(1, SignIn(Ada)), finish(0), finish(1)];
    meets(E6, one, &[&both[..], &[deliver(1), deliver(0)]].concat());
    meets_none(one, &[&both[..], &[deliver(0), deliver(1)]].concat());
}

#[test]
fn e7_a_request_waits_longer_than_superseded_for_before_it_begins() {
    let before = [&whole(Write)[..], &[begin(0, Write)], &whole(SignIn(Ada))].concat();
    let late = [&before[..], &[Wait(Pause::Superseded), finish(0), deliver(0)]].concat();
    meets(E7, plain(), &late);
    let report = play(plain(), &[&before[..], &[finish(0), deliver(0)]].concat());
    assert_eq!(report.exceptions, []);
    assert!(told(&report, "B is done: Superseded, its changes dropped"), "{:#?}", report.story);
}

#[test]
fn e8_a_sign_in_under_way_during_a_revocation_begins_a_session_after_it() {
    meets(E8, plain(), &[begin(0, SignIn(Ada)), RevokeAll(Ada), finish(0)]);
    meets_none(plain(), &[begin(0, SignIn(Ada)), finish(0), RevokeAll(Ada)]);
    meets_none(plain(), &[RevokeAll(Ada), begin(0, SignIn(Ada)), finish(0)]);
}

#[test]
fn e9_a_sign_out_beside_a_sign_in_and_the_removal_comes_last() {
    let both = [begin(0, SignOut), begin(1, SignIn(Ada)), finish(0), finish(1)];
    let before = [&whole(Write)[..], &both].concat();
    meets(E9, plain(), &[&before[..], &[deliver(1), deliver(0)]].concat());
    meets_none(plain(), &[&before[..], &[deliver(0), deliver(1)]].concat());
    // Also where it takes a cookie away that opens nothing any more, since the answer of another sign-in was lost.
    let again = [deliver(1), begin(2, SignIn(Ada)), finish(2), Lose { slot: 2 }, deliver(0)];
    meets(E9, plain(), &[&before[..], &again].concat());
}

#[test]
fn e10_somebody_else_with_the_same_cookie_changes_the_id_before_anybody_signs_in() {
    let plant = Plant { signed_in: false };
    let attack = [Attack { cookie: 0, act: Rotate, server: 0 }, finish(ATTACKER)];
    let report = meets(E10, plain(), &[&[plant], &attack[..], &whole(SignIn(Ada))].concat());
    assert!(told(&report, "C is done: Created"), "{:#?}", report.story);
    // After the sign-in the same request changes nothing.
    meets_none(plain(), &[&[plant], &whole(SignIn(Ada))[..], &attack, &whole(Read)].concat());
}

#[test]
fn e11_the_answer_of_a_renewal_comes_after_that_of_the_next_one() {
    let renewal = [begin(0, Read), begin(1, Read), finish(0), finish(1), deliver(0)];
    let shown = [&whole(Read)[..], &[Wait(Pause::Grace)]].concat();
    let next = [&whole(Read)[..], &shown].concat();
    let setting = Setting { renewal: Renewal::AtOnce, limit: None };
    let before = [&whole(Write)[..], &renewal, &shown, &next].concat();
    meets(E11, setting, &[&before[..], &[deliver(1)]].concat());
    // In time it brings what the browser has already.
    let in_time = [&whole(Write)[..], &renewal, &shown, &[deliver(1)], &next].concat();
    meets_none(setting, &in_time);
}

#[test]
fn a_save_that_comes_when_its_session_is_over_leaves_it_expired() {
    let setting = Setting { renewal: Renewal::Never, limit: Some(SessionLimit::EndOldest(1)) };
    let under_way = [Plant { signed_in: false }, begin(0, SignIn(Ada)), Call { slot: 0, fault: Fault::None }];
    // It has made its record by then. The other one moves the expiry, so that the save finds its version.
    let later =
        [Wait(Pause::Renewal), begin(2, Read), finish(2), Wait(Pause::Renewal), Wait(Pause::HalfIdle)];
    let report = play(setting, &[&under_way[..], &later, &[finish(0)]].concat());
    assert!(told(&report, "B is done: Ended, its changes dropped"), "{:#?}", report.story);
}

/// A limit counts the owner's sessions, and ends one that is the owner's no more.
#[test]
fn a_limit_ends_no_session_that_became_another_owners() {
    let setting = Setting { renewal: Renewal::Never, limit: Some(SessionLimit::EndOldest(1)) };
    let call = Call { slot: 1, fault: Fault::None };
    let before = [&whole(Write)[..], &[begin(0, SignIn(Ada)), begin(1, SignIn(Ada)), finish(0)]].concat();
    let meanwhile = [&[deliver(0)], &whole(Regenerate)[..], &whole(SignIn(Bob))].concat();
    // The second one loads, looks, begins a session, lists both, and loads the first to end it.
    for calls in 0..=6 {
        let schedule = [&before[..], &vec![call; calls], &meanwhile, &[finish(1), deliver(1)]].concat();
        let report = play(setting, &schedule);
        assert!(told(&report, "is done"), "{:#?}", report.story);
    }
}
