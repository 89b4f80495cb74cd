//! Operations that are sent together: each has its own answer, and none has an effect on another.

use std::time::Duration;

use session_core::{
    Created, Record, Renamed, Result, Revision, Saved, SessionKey, SessionStore as _, Timestamp,
};
use session_sql::SqlStore;
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::common::{HOUR, key, mariadb, open, postgres, record, sqlite};

const EACH: usize = 40;

/// A record that tells which one it is.
fn numbered(number: usize) -> Record {
    record(format!("record {number}").as_bytes())
}

/// So many sessions.
async fn sessions(store: &SqlStore, count: usize) -> Vec<(SessionKey, Record)> {
    let mut made = Vec::new();
    for number in 0..count {
        let (key, record) = (key(), numbered(number));
        assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);
        made.push((key, record));
    }
    made
}

/// Runs all at once, and gives the answers in order.
async fn at_once<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    all: impl Iterator<Item = F>,
) -> Vec<T> {
    let mut running: JoinSet<_> =
        all.enumerate().map(|(number, one)| async move { (number, one.await.unwrap()) }).collect();
    let mut answers = Vec::new();
    while let Some(answer) = running.join_next().await {
        answers.push(answer.unwrap());
    }
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// What each session is asked for in turn, and what must come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Fits,
    OtherRevision,
    Absent,
    Occupied,
}

fn case(number: usize) -> Case {
    [Case::Fits, Case::OtherRevision, Case::Fits, Case::Absent, Case::Occupied][number % 5]
}

async fn each_has_its_own_answer(store: SqlStore) {
    store.prepare().await.unwrap();
    let made = sessions(&store, EACH).await;
    let target = |number: usize| if case(number) == Case::Absent { key() } else { made[number].0 };
    let expected = |number: usize| match case(number) {
        Case::OtherRevision => Revision::generate().unwrap(),
        _ => made[number].1.revision,
    };

    let loads = at_once((0..EACH).map(|number| {
        let (store, key) = (store.clone(), target(number));
        async move { store.load(key).await }
    }));
    for (number, found) in loads.await.into_iter().enumerate() {
        let wanted = (case(number) != Case::Absent).then(|| made[number].1.clone());
        assert_eq!(found, wanted, "load {number}");
    }

    let new: Vec<_> = (0..EACH).map(|number| numbered(1_000 + number)).collect();
    let saves = at_once((0..EACH).map(|number| {
        let (store, key, revision) = (store.clone(), target(number), expected(number));
        let record = new[number].clone();
        async move { store.save(key, revision, &record).await }
    }));
    for (number, saved) in saves.await.into_iter().enumerate() {
        let wanted = match case(number) {
            Case::Fits | Case::Occupied => Saved::Stored,
            Case::OtherRevision => Saved::Conflict,
            Case::Absent => Saved::Missing,
        };
        assert_eq!(saved, wanted, "save {number}");
    }
    let now = |number: usize| match case(number) {
        Case::Fits | Case::Occupied => &new[number],
        Case::OtherRevision | Case::Absent => &made[number].1,
    };
    for (number, (key, _)) in made.iter().enumerate() {
        assert_eq!(store.load(*key).await.unwrap().as_ref(), Some(now(number)), "{number}");
    }

    let fresh: Vec<_> = (0..EACH).map(|_| key()).collect();
    let place = |number: usize| match case(number) {
        Case::Occupied => made[number].0,
        _ => fresh[number],
    };
    let creates = at_once((0..EACH).map(|number| {
        let (store, key, record) = (store.clone(), place(number), numbered(2_000 + number));
        async move { store.create(key, &record).await }
    }));
    for (number, created) in creates.await.into_iter().enumerate() {
        let wanted = if case(number) == Case::Occupied { Created::Occupied } else { Created::Stored };
        assert_eq!(created, wanted, "create {number}");
    }

    let later = Timestamp::now().saturating_add(HOUR * 2);
    let touches = at_once((0..EACH).map(|number| {
        let (store, key) = (store.clone(), target(number));
        async move { store.touch(key, later).await }
    }));
    for (number, touched) in touches.await.into_iter().enumerate() {
        assert_eq!(touched, case(number) != Case::Absent, "touch {number}");
    }
    for (number, (key, _)) in made.iter().enumerate() {
        let found = store.load(*key).await.unwrap().unwrap();
        let wanted = if case(number) == Case::Absent { now(number).expires_at } else { later };
        assert_eq!((found.expires_at, found.revision), (wanted, now(number).revision), "{number}");
    }

    let to: Vec<_> = (0..EACH).map(|_| key()).collect();
    let renames = at_once((0..EACH).map(|number| {
        let (store, from) = (store.clone(), target(number));
        let to = if case(number) == Case::Occupied { made[(number + 1) % EACH].0 } else { to[number] };
        let expected =
            if case(number) == Case::OtherRevision { expected(number) } else { now(number).revision };
        let record = numbered(3_000 + number);
        async move { store.rename(from, expected, to, &record).await }
    }));
    for (number, renamed) in renames.await.into_iter().enumerate() {
        let wanted = match case(number) {
            Case::Fits => Renamed::Stored,
            Case::OtherRevision => Renamed::Conflict,
            Case::Absent => Renamed::Missing,
            // The one in the way may have been renamed by then.
            Case::Occupied if renamed == Renamed::Stored => Renamed::Stored,
            Case::Occupied => Renamed::Occupied,
        };
        assert_eq!(renamed, wanted, "rename {number}");
        if case(number) == Case::Fits {
            let found = store.load(to[number]).await.unwrap().unwrap();
            assert_eq!(found.payload, numbered(3_000 + number).payload, "{number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_each_has_its_own_answer() {
    let (_directory, url) = sqlite();
    each_has_its_own_answer(open(&url)).await;
    each_has_its_own_answer(open("sqlite::memory:")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_each_has_its_own_answer() {
    let Some(server) = mariadb(&[]) else { return };
    each_has_its_own_answer(open(&server.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_each_has_its_own_answer_and_few_statements_are_sent() {
    let Some(server) = postgres(&[("log_statement", "all")]) else { return };
    let store = open(&server.url());
    each_has_its_own_answer(store.clone()).await;

    let made = sessions(&store, 400).await;
    let before = server.process().log().len();
    let loads = at_once(made.iter().map(|(key, _)| {
        let (store, key) = (store.clone(), *key);
        async move { store.load(key).await }
    }));
    for ((_, record), found) in made.iter().zip(loads.await) {
        assert_eq!(found.as_ref(), Some(record));
    }
    let new = numbered(1);
    let saves = at_once(made.iter().map(|(key, record)| {
        let (store, key, revision, new) = (store.clone(), *key, record.revision, new.clone());
        async move { store.save(key, revision, &new).await }
    }));
    assert!(saves.await.into_iter().all(|saved| saved == Saved::Stored));
    let log = server.process().log();
    let sent = log[before..].lines().filter(|line| line.contains("LOG:  execute")).count();
    // Of 800 operations; more when the machine is busy elsewhere.
    assert!(sent < 400, "{sent} statements were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_sessions_that_somebody_locked_keep_no_other_waiting() {
    let Some(server) = postgres(&[]) else { return };
    let store = open(&server.url());
    store.prepare().await.unwrap();
    let made = sessions(&store, EACH).await;
    let new = numbered(1);
    let save = |number: usize| {
        let (key, revision): (_, Revision) = (made[number].0, made[number].1.revision);
        let (store, new) = (store.clone(), new.clone());
        async move { store.save(key, revision, &new).await }
    };

    // More than there are places.
    const LOCKED: usize = 5;
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe("BEGIN")).execute(&mut other).await.unwrap();
    for (key, _) in &made[..LOCKED] {
        let lock = sqlx::query("SELECT 1 FROM sessions WHERE session_key = $1 FOR UPDATE");
        lock.bind(*key.as_uuid()).execute(&mut other).await.unwrap();
    }
    let locked: Vec<_> = (0..LOCKED).map(|number| tokio::spawn(save(number))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(at_once((LOCKED..EACH).map(save)).await.into_iter().all(|saved| saved == Saved::Stored));
    assert!(locked.iter().all(|one| !one.is_finished()), "a row that is locked was written");
    sqlx::raw_sql(AssertSqlSafe("COMMIT")).execute(&mut other).await.unwrap();
    for one in locked {
        assert_eq!(one.await.unwrap().unwrap(), Saved::Stored);
    }
}

/// Some callers go away at once, and the rest get their answers.
async fn callers_that_go_away_take_no_answer_with_them(store: SqlStore) {
    store.prepare().await.unwrap();
    let made = sessions(&store, EACH).await;
    let mut stay = JoinSet::new();
    for (number, (key, record)) in made.iter().enumerate() {
        let (store, key, revision, new) = (store.clone(), *key, record.revision, numbered(number + 1_000));
        let save = async move {
            let saved = store.save(key, revision, &new).await.unwrap();
            (saved, store.load(key).await.unwrap().unwrap() == new)
        };
        if number % 2 == 0 {
            stay.spawn(save);
        } else {
            let goes = tokio::spawn(save);
            tokio::task::yield_now().await;
            goes.abort();
        }
    }
    let mut answers = 0;
    while let Some(answer) = stay.join_next().await {
        assert_eq!(answer.unwrap(), (Saved::Stored, true));
        answers += 1;
    }
    assert_eq!(answers, EACH / 2);
    for (key, old) in made {
        let found = store.load(key).await.unwrap().unwrap();
        assert!(found == old || found.payload.starts_with(b"record 1"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_callers_that_go_away_take_no_answer_with_them() {
    let (_directory, url) = sqlite();
    callers_that_go_away_take_no_answer_with_them(open(&url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_callers_that_go_away_take_no_answer_with_them() {
    let Some(server) = postgres(&[]) else { return };
    callers_that_go_away_take_no_answer_with_them(open(&server.url())).await;
}

#[test]
fn a_store_outlives_the_runtime_on_which_operations_were_waiting() {
    let (_directory, url) = sqlite();
    let store = open(&url);
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let made = first.block_on(async {
        store.prepare().await.unwrap();
        sessions(&store, EACH).await
    });
    for (key, record) in made.iter().cycle().take(10 * EACH) {
        let (store, key, revision) = (store.clone(), *key, record.revision);
        first.spawn(async move { store.save(key, revision, &numbered(1)).await });
    }
    first.shutdown_background();
    second.block_on(async {
        let loads = at_once(made.iter().map(|(key, _)| {
            let (store, key) = (store.clone(), *key);
            async move { store.load(key).await }
        }));
        assert!(loads.await.into_iter().all(|found| found.is_some()));
        let creates = at_once((0..EACH).map(|number| {
            let store = store.clone();
            async move { store.create(key(), &numbered(number)).await }
        }));
        assert!(creates.await.into_iter().all(|created| created == Created::Stored));
    });
}
