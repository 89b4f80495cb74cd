//! Draws steps at random: such as there is an occasion for, and those that race more often.

use session_core::SessionLimit;

use super::Setting;
use super::play::{Can, World};
use super::schedule::{ALL_SLOTS, ATTACKER, Act, Fault, OPERATOR, Pause, Person, Renewal, SLOTS, Step};
use crate::random::Random;

pub(super) fn setting(random: &mut Random, has_owner_index: bool) -> Setting {
    let limit = match random.below(100) {
        _ if !has_owner_index => None,
        0..12 => Some(SessionLimit::EndOldest(1)),
        12..20 => Some(SessionLimit::EndOldest(2)),
        20..26 => Some(SessionLimit::Refuse(1)),
        _ => None,
    };
    let renewal = match random.below(10) {
        0..3 => Renewal::Never,
        3..8 => Renewal::ByAge,
        _ => Renewal::AtOnce,
    };
    Setting { renewal, limit }
}

/// How many steps a run has.
pub(super) fn length(random: &mut Random) -> usize {
    10 + random.below(35)
}

/// The step with which a run begins, if it is a special one.
pub(super) fn first(random: &mut Random) -> Option<Step> {
    (random.below(10) < 4).then(|| Step::Plant { signed_in: random.below(4) == 0 })
}

pub(super) fn step(world: &World, random: &mut Random) -> Step {
    loop {
        let step = match random.below(100) {
            0..32 => begin(world, random),
            32..64 => go_on(world, random),
            64..82 => answer(world, random),
            82..88 => attack(world, random),
            88..92 if world.desk.has_clock() => Some(Step::Wait(pause(random))),
            92..95 => outside(world, random),
            95..97 => operate(world, random),
            97 => slot(world, random, Can::Call).map(|slot| Step::Drop { slot }),
            98..100 => Some(Step::Spy),
            _ => None,
        };
        if let Some(step) = step {
            return step;
        }
    }
}

/// One of the slots that can do that.
fn slot(world: &World, random: &mut Random, can: Can) -> Option<u8> {
    let slots: Vec<u8> = (0..ALL_SLOTS)
        .filter(|slot| world.can(*slot) == can)
        .filter_map(|slot| slot.try_into().ok())
        .collect();
    slots.get(random.below(slots.len())).copied()
}

fn begin(world: &World, random: &mut Random) -> Option<Step> {
    let slot = slot(world, random, Can::Begin).filter(|slot| *slot < SLOTS)?;
    let act = match random.below(100) {
        0..18 => Act::Read,
        18..38 => Act::Write,
        38..52 => Act::Update,
        52..55 => Act::Stock,
        55..59 => Act::Consume,
        59..71 => Act::SignIn(Person::Ada),
        71..76 => Act::SignIn(Person::Bob),
        76..84 => Act::SignOut,
        84..95 => Act::Rotate,
        _ => Act::Regenerate,
    };
    Some(Step::Begin { slot, act, server: server(random), retries: random.below(2) == 0 })
}

fn server(random: &mut Random) -> u8 {
    u8::from(random.below(2) == 0)
}

fn go_on(world: &World, random: &mut Random) -> Option<Step> {
    let slot = slot(world, random, Can::Call)?;
    Some(match random.below(100) {
        0..50 => Step::Call { slot, fault: Fault::None },
        50..52 => Step::Call { slot, fault: Fault::Refused },
        52..55 => Step::Call { slot, fault: Fault::AnswerLost },
        55..56 => Step::Call { slot, fault: Fault::Crash },
        _ => Step::Finish { slot },
    })
}

fn answer(world: &World, random: &mut Random) -> Option<Step> {
    let slot = slot(world, random, Can::Deliver)?;
    Some(if random.below(12) == 0 { Step::Lose { slot } } else { Step::Deliver { slot } })
}

fn attack(world: &World, random: &mut Random) -> Option<Step> {
    if world.stolen.is_empty() || world.can(usize::from(ATTACKER)) != Can::Begin {
        return None;
    }
    let act = match random.below(100) {
        0..40 => Act::Read,
        40..60 => Act::Write,
        60..70 => Act::Update,
        70..80 => Act::SignOut,
        80..90 => Act::SignIn(Person::Mallory),
        _ => Act::Rotate,
    };
    Some(Step::Attack { cookie: small(random, world.stolen.len()), act, server: server(random) })
}

fn pause(random: &mut Random) -> Pause {
    match random.below(100) {
        0..20 => Pause::Moment,
        20..40 => Pause::Grace,
        40..55 => Pause::Superseded,
        55..80 => Pause::Renewal,
        80..93 => Pause::HalfIdle,
        _ => Pause::Idle,
    }
}

fn outside(world: &World, random: &mut Random) -> Option<Step> {
    let sessions = world.desk.history(|it| it.sessions.len());
    let person = if random.below(3) == 0 { Person::Bob } else { Person::Ada };
    Some(match random.below(8) {
        0..3 if sessions > 0 => Step::Revoke { session: small(random, sessions) },
        3..5 => Step::RevokeAll(person),
        5..7 => Step::RevokeOthers(person),
        7 if sessions > 0 => Step::Expire { session: small(random, sessions) },
        _ => return None,
    })
}

fn operate(world: &World, random: &mut Random) -> Option<Step> {
    let sessions = world.desk.history(|it| it.sessions.len());
    let free = sessions > 0 && world.can(usize::from(OPERATOR)) == Can::Begin;
    free.then(|| Step::Operate { session: small(random, sessions), server: server(random) })
}

fn small(random: &mut Random, end: usize) -> u8 {
    u8::try_from(random.below(end)).unwrap_or(0)
}
