//! The search for an order: Wing and Gong's, with Lowe's memory of what was tried.

use std::collections::HashSet;
use std::hash::Hash;

/// When an operation was called and, unless it is pending, answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) called: usize,
    pub(crate) answered: Option<usize>,
}

/// Whether the operations can be put in an order in which each follows every operation that was answered before
/// it was called, and in which `step` agrees with each.
///
/// `step` takes the state before an operation and the operation's number, and gives the state after it, or `None`
/// when the operation's answer does not fit. Pending operations may take effect, or not.
pub(crate) fn linearizable<S: Clone + Eq + Hash>(
    spans: &[Span],
    initial: S,
    step: impl Fn(&S, usize) -> Option<S>,
) -> bool {
    let events = events(spans);
    let mut left = spans.iter().filter(|span| span.answered.is_some()).count();
    let mut done = Done(vec![0; spans.len().div_ceil(64)]);
    let mut tried = HashSet::new();
    // Operations put in order so far, each with the state before it and the place in `events` to go on from when
    // it turns out to be wrong.
    let mut order: Vec<(usize, S, usize)> = Vec::new();
    let (mut state, mut at) = (initial, 0);
    while left > 0 {
        let pending = |operation: usize| spans[operation].answered.is_none();
        match events.get(at) {
            Some((operation, _)) if done.has(*operation) => at += 1,
            // A call: the operation may be the next one.
            Some((operation, true)) => {
                let next = step(&state, *operation);
                // A pending operation that changes nothing need not be put in.
                let next = next.filter(|next| !pending(*operation) || *next != state);
                done.flip(*operation);
                match next {
                    Some(next) if tried.insert((done.clone(), next.clone())) => {
                        left -= usize::from(!pending(*operation));
                        order.push((*operation, std::mem::replace(&mut state, next), at + 1));
                        at = 0;
                    }
                    _ => {
                        done.flip(*operation);
                        at += 1;
                    }
                }
            }
            // An answer of an operation that is not in the order yet, and nothing that may come before it: back.
            _ => match order.pop() {
                None => return false,
                Some((operation, before, go_on)) => {
                    done.flip(operation);
                    left += usize::from(!pending(operation));
                    (state, at) = (before, go_on);
                }
            },
        }
    }
    true
}

/// Calls (`true`) and answers in the order of time, by the numbers of their operations.
fn events(spans: &[Span]) -> Vec<(usize, bool)> {
    let mut events = Vec::new();
    for (operation, span) in spans.iter().enumerate() {
        events.push((span.called, operation, true));
        events.extend(span.answered.map(|time| (time, operation, false)));
    }
    events.sort_unstable();
    events.into_iter().map(|(_, operation, call)| (operation, call)).collect()
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn has(&self, operation: usize) -> bool {
        self.0[operation / 64] >> (operation % 64) & 1 == 1
    }

    fn flip(&mut self, operation: usize) {
        self.0[operation / 64] ^= 1 << (operation % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A register: `(true, n)` wrote n, `(false, n)` read n.
    type Op = (bool, u8);

    fn register(ops: &[Op]) -> impl Fn(&u8, usize) -> Option<u8> {
        |state, at| match ops[at] {
            (true, value) => Some(value),
            (false, value) => (value == *state).then_some(*state),
        }
    }

    /// Every order of every subset of the pending operations, tried one by one.
    fn brute_force(spans: &[Span], ops: &[Op], state: u8, done: &mut Vec<usize>) -> bool {
        if (0..spans.len()).all(|at| done.contains(&at) || spans[at].answered.is_none()) {
            return true;
        }
        for at in 0..spans.len() {
            let early = |other: usize| {
                !done.contains(&other)
                    && other != at
                    && spans[other].answered.is_some_and(|answered| answered < spans[at].called)
            };
            if done.contains(&at) || (0..spans.len()).any(early) {
                continue;
            }
            if let Some(next) = register(ops)(&state, at) {
                done.push(at);
                if brute_force(spans, ops, next, done) {
                    return true;
                }
                done.pop();
            }
        }
        false
    }

    fn check(history: &[(usize, Option<usize>, Op)]) -> bool {
        let spans: Vec<_> = history
            .iter()
            .map(|(called, answered, _)| Span { called: *called, answered: *answered })
            .collect();
        let ops: Vec<_> = history.iter().map(|(_, _, op)| *op).collect();
        linearizable(&spans, 0, register(&ops))
    }

    #[test]
    fn known_histories_are_judged_right() {
        let (write, read) = (|n| (true, n), |n| (false, n));
        assert!(check(&[]));
        assert!(check(&[(1, Some(2), write(1)), (3, Some(4), read(1))]));
        assert!(!check(&[(1, Some(2), write(1)), (3, Some(4), read(0))]), "a stale read");
        assert!(
            check(&[(1, Some(4), write(1)), (2, Some(3), read(0))]),
            "a read during the write, before it"
        );
        assert!(check(&[(1, Some(4), write(1)), (2, Some(3), read(1))]), "and after it");
        let back = [(1, Some(8), write(1)), (2, Some(3), read(1)), (4, Some(5), read(0))];
        assert!(!check(&back), "new, then old again");
        assert!(check(&[(1, None, write(1)), (2, Some(3), read(0)), (4, Some(5), read(1))]), "pending: late");
        assert!(check(&[(1, None, write(1)), (2, Some(3), read(0))]), "pending: never");
        let flicker = [(1, None, write(1)), (2, Some(3), read(1)), (4, Some(5), read(0))];
        assert!(!check(&flicker), "pending: once it took effect it stays");
        assert!(!check(&[(2, Some(3), read(1)), (4, None, write(1))]), "pending: not before its call");
    }

    #[test]
    fn the_search_agrees_with_trying_every_order() {
        let (mut good, mut bad) = (0, 0);
        for seed in 0..4_000 {
            let mut random = Random::new(seed);
            let (mut spans, mut ops) = (Vec::new(), Vec::new());
            // Times are made distinct by their low digits.
            for at in 0..2 + random.below(6) {
                let called = random.below(12) * 100 + at * 2;
                let answered = (random.below(5) > 0).then(|| called + random.below(6) * 100 + 1);
                spans.push(Span { called, answered });
                ops.push((random.below(2) == 0, u8::try_from(random.below(3)).unwrap()));
            }
            let wanted = brute_force(&spans, &ops, 0, &mut Vec::new());
            assert_eq!(linearizable(&spans, 0, register(&ops)), wanted, "seed {seed}: {spans:?} {ops:?}");
            if wanted { good += 1 } else { bad += 1 }
        }
        assert!(good > 500 && bad > 500, "both kinds: {good} good, {bad} bad");
    }
}
