//! Operations that wait while others of their kind are with the database are sent to it together.
//!
//! A few may be with the database at once, each by itself: nothing waits while the database keeps up. What comes
//! beyond that waits until one of these is done, and is then sent in one statement with all that waited. Nobody
//! waits for company. An operation that cannot be answered in company (the statement failed, or its row was locked)
//! is done by itself, so one never takes the answer of another.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// The most operations in one statement.
pub const MOST: usize = 64;

/// Sends operations of one kind.
#[async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// What is to be done.
    type Operation: Send;
    /// What came of it.
    type Answer: Send;

    /// How many of so many that wait one statement takes: at least one of them, at most [`MOST`].
    fn fitting(&self, waiting: usize) -> usize;

    /// Whether two operations must not be in one statement.
    fn clash(one: &Self::Operation, other: &Self::Operation) -> bool;

    /// The answers, in the order of the operations.
    async fn carry(&self, operations: Vec<Self::Operation>) -> Vec<Told<Self::Answer>>;
}

/// What an operation that waited is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<A> {
    /// It was done, with this outcome.
    Answer(A),
    /// It did not take effect: do it by itself.
    Alone,
    /// Whether it took effect is not known.
    Lost,
}

/// The operations of one kind.
pub struct Together<C: Carrier> {
    carrier: C,
    /// How many statements of this kind may be with the database at once.
    places: usize,
    state: Mutex<State<C>>,
}

struct State<C: Carrier> {
    taken: usize,
    /// Empty unless all places are taken.
    waiting: VecDeque<Waiting<C>>,
}

struct Waiting<C: Carrier> {
    operation: C::Operation,
    answer: oneshot::Sender<Told<C::Answer>>,
}

/// What to do with an operation.
#[derive(Debug)]
pub enum Turn<C: Carrier> {
    /// Do it now, by itself, and hold this meanwhile.
    Now(Place<C>),
    /// It is going to be done with others.
    Later(Reply<C::Answer>),
}

impl<C: Carrier> fmt::Debug for Together<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (taken, waiting) = (state.taken, state.waiting.len());
        drop(state);
        let mut f = f.debug_struct("Together");
        f.field("places", &self.places).field("taken", &taken).field("waiting", &waiting).finish()
    }
}

impl<C: Carrier> Together<C> {
    /// Operations of one kind, of which so many may be with the database at once before others wait.
    pub fn new(carrier: C, places: usize) -> Arc<Self> {
        let state = Mutex::new(State { taken: 0, waiting: VecDeque::new() });
        Arc::new(Self { carrier, places, state })
    }

    /// A place if one is free, else one in the queue for the operation.
    pub fn join(self: &Arc<Self>, operation: impl FnOnce() -> C::Operation) -> Turn<C> {
        let mut state = self.state();
        if state.taken < self.places {
            state.taken += 1;
            return Turn::Now(Place(Some(self.clone())));
        }
        let (answer, reply) = oneshot::channel();
        state.waiting.push_back(Waiting { operation: operation(), answer });
        Turn::Later(Reply(reply))
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sent next, or nothing: then the place is free.
    fn next(&self) -> Vec<Waiting<C>> {
        let mut state = self.state();
        let mut next: Vec<Waiting<C>> = Vec::with_capacity(state.waiting.len().min(MOST));
        let mut later = Vec::new();
        while next.len() < MOST
            && let Some(one) = state.waiting.pop_front()
        {
            if one.answer.is_closed() {
                // Nobody wants it any more.
            } else if next.iter().any(|other| C::clash(&one.operation, &other.operation)) {
                later.push(one);
            } else {
                next.push(one);
            }
        }
        // What is left over came after what is sent; among themselves they keep their order, but for clashes.
        let surplus = next.split_off(self.carrier.fitting(next.len()).min(next.len()));
        for one in later.into_iter().chain(surplus).rev() {
            state.waiting.push_front(one);
        }
        if next.is_empty() {
            state.taken -= 1;
        }
        next
    }

    /// Gives a place up when nobody can send what waits: each does it by itself.
    fn give_up(&self) {
        let waiting = {
            let mut state = self.state();
            state.taken -= 1;
            std::mem::take(&mut state.waiting)
        };
        for one in waiting {
            let _ = one.answer.send(Told::Alone);
        }
    }
}

/// The answer that is to come.
#[derive(Debug)]
pub struct Reply<A>(oneshot::Receiver<Told<A>>);

impl<A> Reply<A> {
    /// Waits for it.
    pub async fn told(self) -> Told<A> {
        // Nobody is left to answer when the runtime that sent it has ended.
        self.0.await.unwrap_or(Told::Lost)
    }
}

/// A place at the database. Given up, it goes to those who wait.
#[derive(Debug)]
pub struct Place<C: Carrier>(Option<Arc<Together<C>>>);

impl<C: Carrier> Drop for Place<C> {
    fn drop(&mut self) {
        let Some(together) = self.0.take() else { return };
        let runtime = {
            let mut state = together.state();
            if state.waiting.is_empty() {
                state.taken -= 1;
                return;
            }
            Handle::try_current()
        };
        let sender = Sender(Some(together));
        if let Ok(runtime) = runtime {
            runtime.spawn(sender.send_all());
        }
    }
}

/// Sends what waits, until nothing does. It is a task of its own, so no dropped future takes the answers of others
/// with it.
struct Sender<C: Carrier>(Option<Arc<Together<C>>>);

impl<C: Carrier> Sender<C> {
    async fn send_all(mut self) {
        while let Some(together) = &self.0 {
            let next = together.next();
            if next.is_empty() {
                self.0 = None;
                return;
            }
            let (operations, answers): (Vec<_>, Vec<_>) =
                next.into_iter().map(|one| (one.operation, one.answer)).unzip();
            let told = together.carrier.carry(operations).await;
            for (answer, told) in answers.into_iter().zip(told) {
                let _ = answer.send(told);
            }
            // Those who were answered go first: what they ask for next is sent with what waits already.
            yield_now().await;
        }
    }
}

/// The runtime ended, or there was none.
impl<C: Carrier> Drop for Sender<C> {
    fn drop(&mut self) {
        if let Some(together) = self.0.take() {
            together.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each number with its double, and tells what it was given.
    struct Doubling(Mutex<Vec<Vec<u32>>>);

    #[async_trait]
    impl Carrier for Doubling {
        type Operation = u32;
        type Answer = u32;

        fn fitting(&self, waiting: usize) -> usize {
            waiting.min(4)
        }

        fn clash(one: &u32, other: &u32) -> bool {
            one == other
        }

        async fn carry(&self, operations: Vec<u32>) -> Vec<Told<u32>> {
            yield_now().await;
            self.0.lock().unwrap().push(operations.clone());
            operations.iter().map(|number| Told::Answer(2 * number)).collect()
        }
    }

    fn wait(together: &Arc<Together<Doubling>>, number: u32) -> Reply<u32> {
        match together.join(|| number) {
            Turn::Later(reply) => reply,
            Turn::Now(_) => panic!("a place was free"),
        }
    }

    fn take(together: &Arc<Together<Doubling>>) -> Place<Doubling> {
        match together.join(|| unreachable!()) {
            Turn::Now(place) => place,
            Turn::Later(_) => panic!("no place was free"),
        }
    }

    #[tokio::test]
    async fn nothing_waits_while_a_place_is_free() {
        let together = Together::new(Doubling(Mutex::default()), 2);
        for _ in 0..3 {
            let places = (take(&together), take(&together));
            drop(places);
        }
        assert!(together.carrier.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_waits_is_sent_together_and_each_has_its_own_answer() {
        let together = Together::new(Doubling(Mutex::default()), 1);
        let place = take(&together);
        // Two of one kind are not sent together, what nobody waits for is not sent, and four fit.
        let replies = [1, 2, 2, 3, 9, 4, 5].map(|number| (number, wait(&together, number)));
        drop(place);
        for (number, reply) in replies {
            if number != 9 {
                assert_eq!(reply.told().await, Told::Answer(2 * number));
            }
        }
        let sent = together.carrier.0.lock().unwrap().concat();
        assert_eq!(sent.iter().filter(|number| **number != 9).collect::<Vec<_>>(), [&1, &2, &3, &2, &4, &5]);
        yield_now().await;
        drop(take(&together));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_sent() {
        let together = Together::new(Doubling(Mutex::default()), 1);
        let place = take(&together);
        drop(wait(&together, 9));
        let reply = wait(&together, 1);
        drop(place);
        assert_eq!(reply.told().await, Told::Answer(2));
        assert_eq!(*together.carrier.0.lock().unwrap(), [vec![1]]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_after_it_was_sent_shifts_no_answer() {
        let together = Together::new(Doubling(Mutex::default()), 1);
        let place = take(&together);
        let [first, second, third] = [1, 2, 3].map(|number| wait(&together, number));
        drop(place);
        // Far enough for all three to be on their way.
        yield_now().await;
        drop(second);
        assert_eq!(first.told().await, Told::Answer(2));
        assert_eq!(third.told().await, Told::Answer(6));
        assert_eq!(*together.carrier.0.lock().unwrap(), [vec![1, 2, 3]]);
    }

    #[test]
    fn without_a_runtime_each_is_done_by_itself() {
        let together = Together::new(Doubling(Mutex::default()), 1);
        let place = take(&together);
        let reply = wait(&together, 1);
        drop(place);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(reply.told()), Told::Alone);
        drop(take(&together));
    }

    #[test]
    fn a_runtime_that_ends_gives_its_place_back() {
        let together = Together::new(Doubling(Mutex::default()), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sent, waiting) = runtime.block_on(async {
            let place = take(&together);
            let sent = wait(&together, 1);
            drop(place);
            // Far enough for the first to be on its way.
            yield_now().await;
            (sent, wait(&together, 2))
        });
        drop(runtime);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(sent.told()), Told::Lost);
        assert_eq!(runtime.block_on(waiting.told()), Told::Alone);
        drop(take(&together));
    }
}
