//! An operation that meets one of another process in the middle of its work.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use session_core::{Renamed, SessionStore as _};
use session_file::{FileConfig, FileStore};

use crate::acts::{self, Act, Scenario};
use crate::crash::listed;
use crate::support::{new_key, runtime, store};
use crate::traced::Traced;

type Outcome = Result<(), Failed>;

/// A child that stands before the first change of its act; `None` where it cannot be traced.
fn stopped(name: &str, directory: &Path) -> Option<(Scenario, Traced)> {
    let scenario = acts::all().into_iter().find(|scenario| scenario.name == name).unwrap();
    runtime().block_on(scenario.set_up(directory));
    let mut child = Traced::start(directory, name)?;
    assert!(child.run_to(1), "it changes nothing");
    Some((scenario, child))
}

/// `[O4]` It has read which sessions the owner has. One that was renamed now would be missed.
pub(crate) fn a_rename_meets_a_revocation() -> Outcome {
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
            match hasty.rename(*key, record.revision, new_key(), record).await {
                Ok(renamed) => assert_eq!(renamed, Renamed::Stored),
                Err(error) => assert_eq!(error.kind(), session_core::ErrorKind::Timeout, "{error}"),
            }
        }
        assert_eq!(child.run_on(), ["done"]);
        let left: Vec<_> =
            listed(&store(&directory), Some(owner)).await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, [*keep], "a session was renamed past its revocation");
    });
    Ok(())
}

/// `[O4]` The other way round: the session is about to have another key when its owner is signed out everywhere.
///
/// A child may stand at a call of its runtime's, before it has begun. Nothing holds the revocation back then, so that
/// is tried again.
pub(crate) fn a_revocation_meets_a_rename() -> Outcome {
    for _ in 0..10 {
        if revoked_during_a_rename() {
            return Ok(());
        }
    }
    Err("no rename held a revocation back until it was done".into())
}

/// Whether the rename had begun, or cannot be traced.
fn revoked_during_a_rename() -> bool {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("sessions");
    let Some((scenario, child)) = stopped("rename to a later shard", &directory) else { return true };
    let store = store(&directory);
    runtime().block_on(async {
        let owner = "ann".parse().unwrap();
        let revocation = tokio::spawn({
            let (store, owner) = (store.clone(), "ann".parse().unwrap());
            async move { store.delete_owned(&owner, None).await }
        });
        // Long enough for it to have read the owner's sessions, if nothing held it back.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if revocation.is_finished() {
            child.kill();
            return false;
        }
        assert_eq!(child.run_on(), ["done"]);
        assert_eq!(revocation.await.unwrap().unwrap(), 1);
        assert_eq!(listed(&store, Some(&owner)).await, [], "a session was renamed past its revocation");
        for key in &scenario.keys {
            assert_eq!(store.load(*key).await.unwrap(), None);
        }
        true
    })
}
