//! Operations that are sent together: each has its own answer, and none has an effect on another.

use std::collections::HashSet;
use std::time::Duration;

use session_core::{
    Created, ErrorKind, Record, Result, Revision, Saved, SessionKey, SessionStore as _, Timestamp, Touched,
};
use session_sql::SqlStore;
use session_sql::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::common::{HOUR, key, mariadb, open, postgres, record, run, sqlite};

const EACH: usize = 100;

/// A record that tells which one it is, and whose: everybody has one, and every third one is nobody's.
fn numbered(number: usize) -> Record {
    let owner = (!number.is_multiple_of(3)).then(|| format!("owner {number}").parse().unwrap());
    Record { owner, ..record(format!("record {number}").as_bytes()) }
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

/// What is live under each key, asked for one by one.
async fn loaded(store: &SqlStore, keys: &[SessionKey]) -> Vec<Option<Record>> {
    let mut found = Vec::new();
    for key in keys {
        found.push(store.load(*key).await.unwrap());
    }
    found
}

/// How each session is met in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Fits,
    OtherRevision,
    Absent,
    Expired,
}

fn case(number: usize) -> Case {
    [Case::Fits, Case::OtherRevision, Case::Expired, Case::Absent][number % 4]
}

/// Does the same with each session at once; the answers in order.
async fn with_each<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    store: &SqlStore,
    act: impl Fn(SqlStore, usize) -> F,
) -> Vec<T> {
    at_once((0..EACH).map(|number| act(store.clone(), number))).await
}

async fn each_has_its_own_answer(store: SqlStore) {
    store.prepare().await.unwrap();
    let keys: Vec<_> = (0..EACH).map(|_| key()).collect();
    let mut made: Vec<_> = (0..EACH).map(numbered).collect();
    for (number, (key, record)) in keys.iter().zip(&mut made).enumerate() {
        if case(number) == Case::Expired {
            record.expires_at = Timestamp::EPOCH;
        }
        if case(number) != Case::Absent {
            assert_eq!(store.create(*key, record).await.unwrap(), Created::Stored);
        }
    }
    let expected = |number: usize| match case(number) {
        Case::OtherRevision => Revision::generate().unwrap(),
        _ => made[number].revision,
    };
    let is_live = |number| matches!(case(number), Case::Fits | Case::OtherRevision);
    let mut live: Vec<_> =
        made.iter().enumerate().map(|(number, record)| is_live(number).then(|| record.clone())).collect();

    let loads = with_each(&store, |store, number| {
        let key = keys[number];
        async move { store.load(key).await }
    });
    assert_eq!(loads.await, live);

    // Later, and then sooner, which moves nothing and is stored all the same.
    let now = Timestamp::now();
    let later = now.saturating_add(HOUR * 2);
    for ends in [later, now.saturating_add(HOUR / 2)] {
        let touches = with_each(&store, |store, number| {
            let (key, expected) = (keys[number], expected(number));
            async move { store.touch(key, expected, ends).await }
        });
        for (number, touched) in touches.await.into_iter().enumerate() {
            let wanted = match case(number) {
                Case::Fits => Touched::Stored,
                Case::OtherRevision => Touched::Conflict,
                Case::Absent | Case::Expired => Touched::Missing,
            };
            assert_eq!(touched, wanted, "touch {number}");
            if let (Touched::Stored, Some(record)) = (touched, &mut live[number]) {
                record.expires_at = later;
            }
        }
        assert_eq!(loaded(&store, &keys).await, live);
    }

    let saves = with_each(&store, |store, number| {
        let (key, expected, record) = (keys[number], expected(number), numbered(1_000 + number));
        let sent = record.clone();
        async move { Ok((store.save(key, expected, &sent).await?, record)) }
    });
    for (number, (saved, record)) in saves.await.into_iter().enumerate() {
        let wanted = match case(number) {
            Case::Fits => Saved::Stored,
            Case::OtherRevision => Saved::Conflict,
            Case::Absent | Case::Expired => Saved::Missing,
        };
        assert_eq!(saved, wanted, "save {number}");
        if saved == Saved::Stored {
            live[number] = Some(record);
        }
    }
    assert_eq!(loaded(&store, &keys).await, live);

    let creates = with_each(&store, |store, number| {
        let (key, record) = (keys[number], numbered(2_000 + number));
        async move { Ok((store.create(key, &record).await?, record)) }
    });
    for (number, (created, record)) in creates.await.into_iter().enumerate() {
        let wanted = if is_live(number) { Created::Occupied } else { Created::Stored };
        assert_eq!(created, wanted, "create {number}");
        live[number].get_or_insert(record);
    }
    assert_eq!(loaded(&store, &keys).await, live);
}

/// Damages some rows among many that are loaded at once: an error for each of these, and the others as they are.
async fn damaged_rows_hide_no_others(store: SqlStore, url: &str) {
    store.prepare().await.unwrap();
    let made = sessions(&store, EACH).await;
    let is_damaged = |number: usize| [1, 50, 95].contains(&number);
    run(url, "UPDATE sessions SET owner = '' WHERE owner IN ('owner 1', 'owner 50', 'owner 95')")
        .await
        .unwrap();

    let loads = at_once((0..4 * EACH).map(|number| {
        let (store, key) = (store.clone(), made[number % EACH].0);
        async move { Ok(store.load(key).await) }
    }));
    for (number, found) in loads.await.into_iter().enumerate() {
        let number = number % EACH;
        match found {
            Ok(found) => {
                assert!(
                    !is_damaged(number) && found.as_ref() == Some(&made[number].1),
                    "{number}: {found:?}"
                );
            }
            Err(error) => {
                assert!(is_damaged(number) && error.kind() == ErrorKind::Corrupt, "{number}: {error:?}");
            }
        }
    }

    // A page of four has one at least that is whole.
    let mut listed = HashSet::new();
    let mut cursor = None;
    loop {
        let page = store.list(None, cursor.as_ref(), 4).await.unwrap();
        listed.extend(page.sessions.into_iter().map(|(key, _)| key));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let whole = made.iter().enumerate().filter(|(number, _)| !is_damaged(*number)).map(|(_, (key, _))| *key);
    assert_eq!(listed, whole.collect());
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
async fn on_sqlite_damaged_rows_hide_no_others() {
    let (_directory, url) = sqlite();
    damaged_rows_hide_no_others(open(&url), &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_damaged_rows_hide_no_others() {
    let Some(server) = postgres(&[]) else { return };
    damaged_rows_hide_no_others(open(&server.url()), &server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_damaged_rows_hide_no_others() {
    let Some(server) = mariadb(&[]) else { return };
    damaged_rows_hide_no_others(open(&server.url()), &server.url()).await;
}

/// Somebody locks the rows of some sessions: an operation on each of those waits until the lock is gone, and those on
/// the others do not. All must do what they are asked for.
async fn locked_rows_keep_no_other_waiting<F>(url: &str, keys: &[SessionKey], act: impl Fn(usize) -> F)
where
    F: Future<Output = Result<bool>> + Send + 'static,
{
    // More than there are places.
    const LOCKED: usize = 5;
    let mut other = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe("BEGIN")).execute(&mut other).await.unwrap();
    for key in &keys[..LOCKED] {
        let lock = sqlx::query("SELECT 1 FROM sessions WHERE session_key = $1 FOR UPDATE");
        lock.bind(*key.as_uuid()).execute(&mut other).await.unwrap();
    }
    let locked: Vec<_> = (0..LOCKED).map(|number| tokio::spawn(act(number))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(at_once((LOCKED..keys.len()).map(&act)).await.into_iter().all(|done| done));
    assert!(
        locked.iter().all(|one| !one.is_finished()),
        "an operation did not wait for a row that is locked"
    );
    sqlx::raw_sql(AssertSqlSafe("COMMIT")).execute(&mut other).await.unwrap();
    for one in locked {
        assert!(one.await.unwrap().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_sessions_that_somebody_locked_keep_no_other_waiting() {
    let Some(server) = postgres(&[]) else { return };
    let store = open(&server.url());
    store.prepare().await.unwrap();
    let (keys, made): (Vec<_>, Vec<_>) = sessions(&store, EACH).await.into_iter().unzip();
    let new = numbered(1);

    let save = |number: usize| {
        let (store, key, expected, new) = (store.clone(), keys[number], made[number].revision, new.clone());
        async move { Ok(store.save(key, expected, &new).await? == Saved::Stored) }
    };
    locked_rows_keep_no_other_waiting(&server.url(), &keys, save).await;

    let later = new.expires_at.saturating_add(HOUR);
    let touch = |number: usize| {
        let (store, key, expected) = (store.clone(), keys[number], new.revision);
        async move { Ok(store.touch(key, expected, later).await? == Touched::Stored) }
    };
    locked_rows_keep_no_other_waiting(&server.url(), &keys, touch).await;
    for found in loaded(&store, &keys).await {
        assert_eq!(found, Some(Record { expires_at: later, ..new.clone() }));
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
