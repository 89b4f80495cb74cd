//! Stores and interfaces with one thing wrong: the model finds each, and says which rule it breaks.

use std::sync::Arc;

use session_conformance::Rule::{self, I1, I2, I3, I4, I5, I6, I7, I8, I9};
use session_conformance::browser::Browser;
use session_memory::{MemoryConfig, MemoryStore};

use crate::wrong::{Fault, StoreFault, WrongInterface, WrongStore};
use crate::{block_on, in_memory};

/// More than enough for each: most are found within a hundred.
const RUNS: u64 = 20_000;

/// The model finds what is wrong, and cites one of these rules.
fn is_caught(browser: &Browser, name: &str, rules: &[Rule]) {
    let found = block_on(async {
        for seed in 1..=RUNS {
            if let Err(found) = browser.run(seed).await.unwrap() {
                return Some(found);
            }
        }
        None
    });
    let found = found.unwrap_or_else(|| panic!("{name} is not caught in {RUNS} runs"));
    println!("{name}, by run {}: {found}\n", found.seed);
    assert!(rules.contains(&found.violation.rule), "{name} is caught, but on another rule: {found}");
    assert!(found.schedule.len() <= 16, "{name}: it could be told shorter: {found}");
}

fn store(fault: StoreFault, rules: &[Rule]) {
    let browser = Browser::with_new_stores(move |clock| {
        let inner = MemoryStore::new(MemoryConfig::default().with_clock(clock));
        Arc::new(WrongStore::new(Arc::new(inner), fault))
    });
    is_caught(&browser, &format!("{fault:?}"), rules);
}

fn interface(fault: Fault, rules: &[Rule]) {
    let last = Arc::default();
    let wrong = move |manager| WrongInterface { manager, fault, last: Arc::clone(&last) };
    is_caught(&in_memory().with_interface(wrong), &format!("{fault:?}"), rules);
}

#[test]
fn i1_the_secret_opens_and_the_key_stays() {
    interface(Fault::SecretIsNotCompared, &[I5]);
    // The record of another session is not opened: whoever asks for the own one does not get it, or the other.
    store(StoreFault::LoadGoesAstray, &[I9]);
}

#[test]
fn i2_a_change_of_id_is_one_compare_and_set_save() {
    // A move is a new session beside the one that others see end: which of the rules breaks first, the seed says.
    interface(Fault::ChangeOfIdMoves, &[I2, I4, I5, I8]);
    store(StoreFault::SaveOverwrites, &[I2]);
}

#[test]
fn i3_renewed_ids_open_for_a_while_and_others_are_superseded() {
    interface(Fault::RenewalClosesAtOnce, &[I9]);
    interface(Fault::SupersededBeginsAnew, &[I3]);
}

#[test]
fn i4_sign_out_wins() {
    interface(Fault::SignOutNeedsCurrentId, &[I4]);
    interface(Fault::RefusedSignOutIsOk, &[I4]);
    store(StoreFault::SaveUpserts, &[I4]);
    store(StoreFault::DeleteComparesRevision, &[I4]);
    store(StoreFault::RevocationLeavesOne, &[I4]);
}

#[test]
fn i5_old_authority_writes_nothing_and_is_told_so() {
    interface(Fault::OldAuthorityWrites, &[I5]);
    interface(Fault::DropsInSilence, &[I5, I9]);
    store(StoreFault::TouchIsUnconditional, &[I5]);
}

#[test]
fn i6_a_sign_in_owns_the_outcome() {
    interface(Fault::SupersededSignInIsDropped, &[I6]);
}

#[test]
fn i7_another_owners_data_never_stays() {
    interface(Fault::NextOwnerGetsEntries, &[I7]);
    store(StoreFault::OwnersStay, &[I5, I7]);
}

#[test]
fn i8_the_cookie_is_sent_if_it_is_new_and_removed_by_who_ended_the_session() {
    interface(Fault::EachChangeSendsCookie, &[I8]);
    interface(Fault::RemovesWhatOthersEnded, &[I8]);
    interface(Fault::ChangeIsNotTold, &[I8, I9]);
    interface(Fault::DroppedBeginsAnew, &[I1, I5, I8, I9]);
}
