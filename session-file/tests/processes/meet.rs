//! An operation that meets one of another process in the middle of its work.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use session_core::{Record, Revision, Saved, SessionStore as _};
use session_file::{FileConfig, FileStore};

use crate::acts::{self, Act, Scenario};
use crate::crash::listed;
use crate::support::{runtime, store};
use crate::traced::Traced;

type Outcome = Result<(), Failed>;

/// A child that stands before the first change of its act; `None` where it cannot be traced.
fn stopped(name: &str, directory: &Path) -> Option<(Scenario, Traced)> {
    let scenario = acts::all().into_iter().find(|scenario| scenario.name == name).unwrap();
    runtime().block_on(scenario.set_up(directory));
    let mut child = Traced::start("act", directory, name)?;
    assert!(child.run_to(1), "it changes nothing");
    Some((scenario, child))
}

/// `[O4]` It has read which sessions the owner has, and removed none. A save that comes now must not keep one.
pub(crate) fn saves_meet_a_revocation() -> Outcome {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("sessions");
    let Some((scenario, child)) = stopped("delete_owned", &directory) else { return Ok(()) };
    let Act::DeleteOwned(owner, keep) = &scenario.act else { unreachable!() };
    let hasty = FileConfig::new(&directory).with_timeout(Duration::from_millis(200));
    let hasty = FileStore::new(hasty).unwrap();
    runtime().block_on(async {
        for (key, record) in &scenario.before {
            let record = record.as_ref().unwrap();
            if key == keep || record.owner.as_ref() != Some(owner) {
                continue;
            }
            let new = Record { revision: Revision::generate().unwrap(), ..record.clone() };
            match hasty.save(*key, record.revision, &new).await {
                Ok(saved) => assert_eq!(saved, Saved::Stored),
                Err(error) => assert_eq!(error.kind(), session_core::ErrorKind::Timeout, "{error}"),
            }
        }
        assert_eq!(child.run_on(), ["done"]);
        let left: Vec<_> =
            listed(&store(&directory), Some(owner)).await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, [*keep], "a save kept a session of a revoked owner");
    });
    Ok(())
}

/// `[O4]` The other way round: a save has looked, and is about to write, when its owner is signed out everywhere.
///
/// A child may stand at a call of its runtime's, before it has begun. Nothing holds the revocation back then, so that
/// is tried again.
pub(crate) fn a_revocation_meets_a_save() -> Outcome {
    for _ in 0..10 {
        if revoked_during_a_save() {
            return Ok(());
        }
    }
    Err("no save held a revocation back until it was done".into())
}

/// Whether the save had begun, or cannot be traced.
fn revoked_during_a_save() -> bool {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("sessions");
    let Some((scenario, child)) = stopped("save", &directory) else { return true };
    let store = store(&directory);
    runtime().block_on(async {
        let owner = "ann".parse().unwrap();
        let revocation = tokio::spawn({
            let (store, owner) = (store.clone(), "ann".parse().unwrap());
            async move { store.delete_owned(&owner, None).await }
        });
        // Long enough for it to have removed the session, if nothing held it back.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if revocation.is_finished() {
            child.kill();
            return false;
        }
        assert_eq!(child.run_on(), ["done"]);
        assert_eq!(revocation.await.unwrap().unwrap(), 1);
        assert_eq!(listed(&store, Some(&owner)).await, [], "a save undid a revocation");
        for key in &scenario.keys {
            assert_eq!(store.load(*key).await.unwrap(), None);
        }
        true
    })
}
