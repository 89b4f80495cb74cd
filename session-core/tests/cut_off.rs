//! A fault or a dropped future at each call of a commit, another writer, and a second commit.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use session_core::{ErrorKind, Outcome, Session, SessionId, SessionLimit};
use support::{Bench, Fault, MINUTE, ada, bench_with, bob, polled};

type Act = fn(&Session);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `n` is one more than before, or nobody knows.
    Counted,
    /// As `Counted`, and nothing of the old id opens.
    Rotated,
    /// The session is ada's.
    SignedIn,
    /// Bob has a session of his own, and of ada's nothing is left.
    Replaced,
    /// Nothing is left.
    Ended,
    /// As it was.
    Read,
}

struct Scene {
    name: &'static str,
    act: Act,
    kind: Kind,
    /// Whether another request writes first, so that the commit meets a conflict.
    conflict: bool,
    /// Whether the request begins without a session.
    fresh: bool,
}

fn count(session: &Session) {
    session.update("n", |n: Option<i64>| n.unwrap_or(0) + 1).unwrap();
}

const SCENES: [Scene; 14] = [
    scene("update", count, Kind::Counted),
    scene("update", count, Kind::Counted).conflicting(),
    scene(
        "rotate",
        |session| {
            session.rotate_id();
            count(session);
        },
        Kind::Rotated,
    ),
    scene(
        "rotate",
        |session| {
            session.rotate_id();
            count(session);
        },
        Kind::Rotated,
    )
    .conflicting(),
    scene("sign in", |session| session.sign_in(ada()), Kind::SignedIn),
    scene("sign in", |session| session.sign_in(ada()), Kind::SignedIn).conflicting(),
    scene("sign in", |session| session.sign_in(ada()), Kind::SignedIn).on_nothing(),
    scene("sign in as another", |session| session.sign_in(bob()), Kind::Replaced),
    scene("sign in as another", |session| session.sign_in(bob()), Kind::Replaced).conflicting(),
    scene("destroy", Session::destroy, Kind::Ended),
    scene("clear", Session::clear, Kind::Ended),
    scene("clear", Session::clear, Kind::Ended).conflicting(),
    scene("touch or renew", |_| (), Kind::Read),
    scene("touch or renew", |_| (), Kind::Read).conflicting(),
];

const fn scene(name: &'static str, act: Act, kind: Kind) -> Scene {
    Scene { name, act, kind, conflict: false, fresh: false }
}

impl Scene {
    const fn conflicting(mut self) -> Self {
        self.conflict = true;
        self
    }

    const fn on_nothing(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// The session of the request, ready to be committed, and the id that it was opened with.
    async fn begin(&self, bench: &Bench) -> (Session, SessionId) {
        let id = match self.kind {
            Kind::Replaced => bench.signed_in(ada()).await,
            _ => bench.stored().await,
        };
        bench.clock.advance(6 * MINUTE);
        let session = if self.fresh {
            assert!(bench.manager.revoke(id.key()).await.unwrap());
            bench.manager.open(None).await.unwrap()
        } else {
            bench.open(&id).await
        };
        (self.act)(&session);
        if self.conflict {
            write(bench, &id, "first").await;
        }
        bench.store.calls();
        (session, id)
    }
}

/// Somebody writes who needs no secret, so that the session is not superseded.
async fn write(bench: &Bench, id: &SessionId, name: &'static str) {
    let outcome = bench.manager.change(id.key(), |session| session.insert(name, 1)).await.unwrap();
    assert!(matches!(outcome, Outcome::Saved | Outcome::Ended));
    bench.store.calls();
}

fn benches(renews: bool) -> Bench {
    bench_with(|short| {
        let policy = short.with_session_limit(Some(SessionLimit::EndOldest(3)));
        if renews { policy.with_renewal_after(Some(5 * MINUTE)) } else { policy }
    })
}

/// Commits until that succeeds. Whether one said that nobody knows what is stored.
async fn commit(bench: &Bench, session: &Session, what: &str) -> bool {
    let mut is_unknown = false;
    for _ in 0..3 {
        match bench.manager.commit(session).await {
            Ok(commit) => {
                assert!(!commit.dropped_changes, "{what}: {commit:?}");
                return is_unknown;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Contended, "{what}: {error}");
                is_unknown = true;
            }
        }
    }
    unreachable!("{what}: no commit succeeds");
}

#[tokio::test]
async fn after_a_fault_or_a_dropped_future_at_any_call_a_second_commit_brings_it_to_its_end() {
    for renews in [false, true] {
        for scene in SCENES {
            let bench = benches(renews);
            let (session, _) = scene.begin(&bench).await;
            assert!(!commit(&bench, &session, scene.name).await);
            let calls = bench.store.calls();
            assert!(!calls.is_empty() && calls.len() < 8, "{}: {calls:?}", scene.name);
            for at in 0..calls.len() {
                for fault in [Fault::Refused, Fault::AnswerLost, Fault::Hangs, Fault::Stuck] {
                    for somebody_writes in [false, true] {
                        let what = format!(
                            "{} (renews: {renews}, conflict: {}, fresh: {}), {fault:?} at {at} of {calls:?}, \
                             another writer: {somebody_writes}",
                            scene.name, scene.conflict, scene.fresh
                        );
                        let played = play(&scene, renews, at, fault, somebody_writes, &what);
                        assert!(
                            tokio::time::timeout(MINUTE, played).await.is_ok(),
                            "{what}: it waits for ever"
                        );
                    }
                }
            }
        }
    }
}

async fn play(scene: &Scene, renews: bool, at: usize, fault: Fault, somebody_writes: bool, what: &str) {
    let bench = benches(renews);
    let (session, old) = scene.begin(&bench).await;
    bench.store.fail_after(at, fault);
    let mut first = Box::pin(bench.manager.commit(&session));
    let failed = polled(&mut first).await;
    drop(first);
    if scene.kind == Kind::Read && matches!(fault, Fault::Refused | Fault::AnswerLost) {
        assert!(failed.is_some_and(|commit| commit.is_ok()), "{what}: a page that only reads failed");
    } else {
        assert!(failed.is_none_or(|commit| commit.is_err()), "{what}: the fault was not met");
    }
    if somebody_writes {
        write(&bench, &old, "second").await;
    }
    let is_unknown = commit(&bench, &session, what).await;
    bench.store.calls();
    assert!(renews || bench.manager.try_commit_now(&session).is_some(), "{what}: something is left to do");
    let _ = bench.commit(&session).await;
    assert_eq!(bench.store.calls(), [""; 0], "{what}: something was left to do");
    let wrote = somebody_writes || scene.conflict;
    assert!(!is_unknown || wrote && scene.kind == Kind::Counted, "{what}: unknown");

    if scene.kind == Kind::Ended {
        assert_eq!(bench.records().await, 0, "{what}");
        return;
    }
    let id = session.id().unwrap();
    let next = bench.open(&id).await;
    assert!(!next.is_new(), "{what}: the id that the client is given opens nothing");
    assert_eq!(bench.live().await, 1, "{what}: an orphan");
    match scene.kind {
        Kind::Counted | Kind::Rotated => {
            let n = next.get::<i64>("n").unwrap().unwrap();
            assert!(n == 2 || is_unknown && n == 1, "{what}: counted {n}");
            assert_eq!(next.contains_key("second"), somebody_writes, "{what}: a write was lost");
        }
        Kind::SignedIn => assert_eq!(next.owner(), Some(ada()), "{what}"),
        Kind::Replaced => {
            assert_eq!((next.owner(), next.keys()), (Some(bob()), vec![]), "{what}");
            assert_eq!(bench.manager.sessions_of(&ada()).await.unwrap().len(), 0, "{what}");
        }
        Kind::Read | Kind::Ended => assert_eq!(next.get::<i64>("n").unwrap(), Some(1), "{what}"),
    }
    let old_opens = bench.opens(&old).await;
    match scene.kind {
        Kind::Rotated | Kind::SignedIn | Kind::Replaced => assert!(!old_opens, "{what}: the old id opens"),
        _ => assert!(old_opens, "{what}: the id that the client has opens nothing"),
    }
    if scene.conflict && matches!(scene.kind, Kind::Counted | Kind::Rotated | Kind::SignedIn | Kind::Read) {
        assert!(next.contains_key("first"), "{what}: a write was lost");
    }
}

#[tokio::test]
async fn a_handle_that_a_clone_changes_during_each_call_of_its_commit_ends_as_the_clone_left_it() {
    let acts: [(&str, Act); 5] = [
        ("destroy", Session::destroy),
        ("sign in", |session| session.sign_in(ada())),
        ("sign in as another", |session| session.sign_in(bob())),
        ("rotate", Session::rotate_id),
        ("insert", |session| session.insert("late", 1).unwrap()),
    ];
    for scene in SCENES {
        let bench = benches(false);
        let (session, _) = scene.begin(&bench).await;
        commit(&bench, &session, scene.name).await;
        let calls = bench.store.calls();
        for call in calls {
            for (name, act) in acts {
                for during in [false, true] {
                    let what = format!("{name} during {call} of {}: {during}", scene.name);
                    let bench = benches(false);
                    let (session, old) = scene.begin(&bench).await;
                    let clone = session.clone();
                    if during {
                        bench.store.during(call, move || act(&clone));
                    } else {
                        bench.store.before(call, move || act(&clone));
                    }
                    commit(&bench, &session, &what).await;
                    commit(&bench, &session, &what).await;
                    assert!(bench.manager.try_commit_now(&session).is_some(), "{what}");
                    let id = session.id();
                    match name {
                        "destroy" => {
                            assert!(id.is_none() && session.is_empty(), "{what}");
                            assert_eq!(bench.live().await, 0, "{what}");
                        }
                        "insert" => assert!(bench.open(&id.unwrap()).await.contains_key("late"), "{what}"),
                        "rotate" if id.is_none() => assert_eq!(scene.kind, Kind::Ended, "{what}"),
                        "rotate" => {
                            assert!(bench.opens(&id.unwrap()).await && !bench.opens(&old).await, "{what}");
                        }
                        _ => {
                            let owner = if name == "sign in" { ada() } else { bob() };
                            let next = bench.open(&id.unwrap()).await;
                            assert_eq!(next.owner(), Some(owner.clone()), "{what}");
                            assert!(!bench.opens(&old).await, "{what}");
                            let others = if owner == ada() { bob() } else { ada() };
                            assert_eq!(bench.manager.sessions_of(&others).await.unwrap().len(), 0, "{what}");
                            assert_eq!(bench.live().await, 1, "{what}");
                        }
                    }
                }
            }
        }
    }
}
