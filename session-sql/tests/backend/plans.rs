//! What reaches the server, and how it finds the rows: seen in the server's own log, on tables that were never
//! analysed.

use session_core::{Created, Owner, Saved, SessionStore as _, Timestamp, Touched};
use session_sql::{SqlConfig, SqlStore};

use tokio::task::JoinSet;

use crate::common::{HOUR, between, expiring, key, mariadb, open, open_with, postgres, record, run};

const LIVE: i64 = 20_000;

/// One of each, as they come in practice.
pub(crate) async fn each_operation(store: &SqlStore) {
    let (key, r1, r2) = (key(), record(b"1"), record(b"2"));
    assert_eq!(store.create(key, &r1).await.unwrap(), Created::Stored);
    assert_eq!(store.load(key).await.unwrap().as_ref(), Some(&r1));
    assert_eq!(store.save(key, r1.revision, &r2).await.unwrap(), Saved::Stored);
    let later = r2.expires_at.saturating_add(HOUR);
    assert_eq!(store.touch(key, r2.revision, later).await.unwrap(), Touched::Stored);
    assert!(store.delete(key).await.unwrap());
}

/// Each operation by so many tasks at once that they are sent together.
async fn a_crowd(store: &SqlStore) {
    let at_once = async |tasks: &mut JoinSet<()>| {
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    };
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let store = store.clone();
        tasks.spawn(async move { each_operation(&store).await });
    }
    at_once(&mut tasks).await;
    let keys: Vec<_> = (0..100).map(|_| key()).collect();
    for key in &keys {
        assert_eq!(store.create(*key, &record(b"1")).await.unwrap(), Created::Stored);
    }
    for key in keys.iter().cycle().take(4 * keys.len()) {
        let (store, key) = (store.clone(), *key);
        tasks.spawn(async move { assert!(store.load(key).await.unwrap().is_some()) });
    }
    at_once(&mut tasks).await;
    for key in keys {
        assert!(store.delete(key).await.unwrap());
    }
}

/// What is not on the path of a request.
async fn the_rest(store: &SqlStore) {
    let (ann, key) = (Owner::new("ann").unwrap(), key());
    assert_eq!(store.create(key, &record(b"1")).await.unwrap(), Created::Stored);
    assert_eq!(store.save(key, record(b"2").revision, &record(b"3")).await.unwrap(), Saved::Conflict);
    assert_eq!(store.touch(key, record(b"2").revision, Timestamp::MAX).await.unwrap(), Touched::Conflict);
    assert_eq!(store.list(None, None, 10).await.unwrap().sessions.len(), 10);
    assert_eq!(store.list(Some(&ann), None, 10).await.unwrap().sessions.len(), 1);
    assert_eq!(store.delete_owned(&ann, None).await.unwrap(), 1);
    for _ in 0..30 {
        let gone = expiring(b"gone", std::time::Duration::ZERO);
        assert_eq!(store.create(self::key(), &gone).await.unwrap(), Created::Stored);
    }
    assert_eq!(store.delete_expired(1_000).await.unwrap(), 30);
}

#[tokio::test]
async fn postgres_is_sent_one_statement_an_operation_and_finds_every_row_by_an_index() {
    let Some(server) = postgres(&[
        ("autovacuum", "off"),
        ("log_statement", "all"),
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
    ]) else {
        return;
    };
    let url = server.url();
    let store = open(&url);
    store.prepare().await.unwrap();
    let fill = format!(
        "INSERT INTO sessions (session_key, revision, created_at, expires_at, owner, payload) \
         SELECT overlay(overlay(md5(i::text) placing '8' from 13) placing '8' from 17)::uuid, \
         i, 0, {}, CASE WHEN i % 2 = 0 THEN 'bob-' || i % 1000 END, repeat('x', 200)::bytea \
         FROM generate_series(1, {LIVE}) i",
        Timestamp::MAX
    );
    run(&url, &fill).await.unwrap();

    for prepared in [true, false] {
        let store = open_with(&url, SqlConfig::default().with_prepared_statements(prepared));
        each_operation(&store).await;
        let before = server.process().log().len();
        each_operation(&store).await;
        let log = server.process().log();
        let sent = log[before..]
            .lines()
            .filter(|line| line.contains("LOG:  execute") || line.contains("LOG:  statement"));
        let verbs: Vec<_> =
            sent.filter_map(|line| line.split_once(": ")?.1.split_once(": ")?.1.split(' ').next()).collect();
        assert_eq!(verbs, ["INSERT", "SELECT", "UPDATE", "UPDATE", "DELETE"], "{}", &log[before..]);

        a_crowd(&store).await;
        the_rest(&store).await;
        let log = server.process().log();
        let plans = &log[before..];
        let together = plans.matches("free AS MATERIALIZED").count();
        assert!(together >= 10, "only {together} statements wrote several sessions");
        assert!(plans.contains("Query Text: "), "auto_explain did not log: {plans}");
        assert!(!plans.contains("Seq Scan"), "{plans}");
        let sweep = between(plans, "FOR UPDATE SKIP LOCKED", "LOG:  ");
        assert!(sweep.iter().any(|plan| plan.contains("Index Scan using sessions_expires_at")), "{sweep:#?}");
        let owned =
            between(plans, if prepared { "WHERE owner = $1" } else { "WHERE owner = conv" }, "LOG:  ");
        assert!(owned.iter().any(|plan| plan.contains("sessions_owner")), "{owned:#?}");
        assert!(!owned.iter().any(|plan| plan.contains("sessions_expires_at")), "{owned:#?}");
    }
}

#[tokio::test]
async fn mariadb_is_sent_one_statement_an_operation_and_finds_every_row_by_an_index() {
    let Some(server) = mariadb(&[
        "--slow-query-log=1",
        "--long-query-time=0",
        "--log-slow-verbosity=query_plan,explain",
        "--slow-query-log-file=slow.log",
        "--general-log=1",
        "--general-log-file=general.log",
    ]) else {
        return;
    };
    let url = server.url();
    let store = open(&url);
    store.prepare().await.unwrap();
    let fill = format!(
        "INSERT INTO sessions (session_key, revision, created_at, expires_at, owner, payload) \
         SELECT UNHEX(INSERT(INSERT(MD5(seq), 13, 1, '8'), 17, 1, '8')), seq, 0, {}, \
         IF(seq % 2 = 0, CONCAT('bob-', seq % 1000), NULL), REPEAT('x', 200) FROM seq_1_to_{LIVE}",
        Timestamp::MAX
    );
    run(&url, &fill).await.unwrap();

    let data = server.process().directory().join("data");
    // Keys are bytes, and stand in it as such.
    let log = |name| String::from_utf8_lossy(&std::fs::read(data.join(name)).unwrap()).into_owned();
    for prepared in [true, false] {
        let store = open_with(&url, SqlConfig::default().with_prepared_statements(prepared));
        each_operation(&store).await;

        let from = log("general.log").len();
        each_operation(&store).await;
        assert_eq!(
            exchanges(&log("general.log")[from..]),
            ["INSERT", "SELECT", "UPDATE", "UPDATE", "DELETE"]
                .map(|verb| format!("{} {verb}", if prepared { "Execute" } else { "Query" })),
        );

        let from = log("slow.log").len();
        each_operation(&store).await;
        a_crowd(&store).await;
        the_rest(&store).await;
        // A statement is logged after its answer, and before the next one of its connection.
        each_operation(&store).await;
        finds_every_row_by_an_index(&log("slow.log")[from..]);
    }
}

/// What MariaDB was sent, by its general log: the command, and the first word of its text. A line is a time or nothing,
/// the number of the connection with the command, and the text, with tabs between; values can hold any byte.
fn exchanges(log: &str) -> Vec<String> {
    let command = |fields: &[&str]| {
        let (connection, command) = fields[0].trim_start().split_once(' ')?;
        connection.parse::<u32>().ok()?;
        let verb = fields[1].split(' ').next()?;
        command.starts_with(|first: char| first.is_alphabetic()).then(|| format!("{command} {verb}"))
    };
    let exchange = |line: &str| line.split('\t').take(4).collect::<Vec<_>>().windows(2).find_map(command);
    log.lines().filter_map(exchange).collect()
}

fn finds_every_row_by_an_index(log: &str) {
    let (mut plans, mut together) = (0, 0);
    let mut sweep = String::new();
    let mut plan = String::new();
    for line in log.lines() {
        if let Some(row) = line.strip_prefix("# explain: ") {
            plan = row.to_owned();
        } else if !line.starts_with(['#', ' ']) && !line.starts_with("SET timestamp") && !plan.is_empty() {
            // An insert reads nothing.
            if !line.starts_with("INSERT") && line.contains("sessions") {
                let columns: Vec<_> = plan.split('\t').collect();
                assert!(matches!(columns[3], "range" | "const" | "ref"), "{plan}\n{line}");
                plans += 1;
                // The keys themselves are bytes, and hold any.
                together += usize::from(line.starts_with("SELECT") && line.contains(" IN ("));
            }
            if line.contains("ORDER BY expires_at") {
                sweep = plan.clone();
            }
            plan.clear();
        }
    }
    assert!(plans >= 8, "the plans were not logged: {}", log);
    assert!(together >= 5, "only {together} statements loaded several sessions");
    assert!(sweep.contains("\tsessions_expires_at\t"), "{sweep}");
}
