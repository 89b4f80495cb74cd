//! The suite on a server that was there before: it leaves what it found, and nothing else.

use std::sync::Arc;

use session_conformance::servers::{MariaDb, Postgres};
use session_conformance::{Capability, Case, Missing, cases};
use session_core::{Created, SessionStore as _};

use crate::common::{key, mariadb, number, open, postgres, record};
use crate::support::{Given, Met, Setup};

struct OnPostgres;

impl Setup for OnPostgres {
    const BACKEND: &'static str = "postgres";
    type Server = Postgres;

    fn start() -> Result<Postgres, Missing> {
        Postgres::start(&[])
    }
}

struct OnMariaDb;

impl Setup for OnMariaDb {
    const BACKEND: &'static str = "mysql";
    type Server = MariaDb;

    fn start() -> Result<MariaDb, Missing> {
        MariaDb::start(&[])
    }
}

async fn leaves_what_it_found<S: Setup>(url: String) {
    let store = open(&url);
    store.prepare().await.unwrap();
    let (key, record) = (key(), record(b"somebody else's"));
    assert_eq!(store.create(key, &record).await.unwrap(), Created::Stored);

    let harness = Arc::new(Met::<S, Given>::on(Given(url.clone())));
    let some = cases::<Met<S, Given>>().into_iter().filter(|case| case.name().starts_with("create::"));
    let (apply, _): (Vec<_>, Vec<_>) = some.partition(Case::applies);
    assert!(apply.len() > 3);
    for case in apply {
        case.run(harness.clone()).await.unwrap();
    }
    // A server that others use is not stopped.
    let pauses = |case: &Case<_>| case.not_claimed() == Some(Capability::Pause);
    assert!(cases::<Met<S, Given>>().iter().any(pauses));

    assert_eq!(store.load(key).await.unwrap(), Some(record));
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema IN ('public', 'test')";
    assert_eq!(number(&url, tables).await, 2, "tables are left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    let Some(server) = postgres(&[]) else { return };
    leaves_what_it_found::<OnPostgres>(server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb() {
    let Some(server) = mariadb(&[]) else { return };
    leaves_what_it_found::<OnMariaDb>(server.url()).await;
}
