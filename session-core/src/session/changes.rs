//! What a request did to its session: a log of operations per key, which can be replayed on a newer version.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::codec::{Body, Changed};
use crate::policy::Lifetime;
use crate::{Owner, Result, Value};

/// Computes the new value of an entry from its key and the old one. Runs again when the commit meets a newer version.
pub(crate) type Update = Arc<dyn Fn(&str, Option<Value>) -> Result<Option<Value>> + Send + Sync>;

/// The operations since the last commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// The stored entries are gone; `entries` holds all there is.
    pub(crate) cleared: bool,
    pub(crate) entries: BTreeMap<String, Change>,
    /// The new owner, when it was set.
    pub(crate) owner: Option<Option<Owner>>,
    /// The secret changes at the next commit.
    pub(crate) rotate: bool,
    /// The absolute lifetime starts anew.
    pub(crate) restart: bool,
    /// Somebody signs in: the request owns the outcome (`[I6]`).
    pub(crate) signs_in: bool,
    /// The lifetime in place of the policy's, when it was set.
    pub(crate) lifetime: Option<Option<Lifetime>>,
}

/// What was done to one entry.
#[derive(Clone)]
pub(crate) enum Change {
    Put(Value),
    Removed,
    /// Boxed, because a map has room for eleven changes from the first one on.
    Updated(Box<Updated>),
}

/// Updates on top of what is stored (`from` is `None`) or of what this request put there before.
#[derive(Clone)]
pub(crate) struct Updated {
    from: Option<Option<Value>>,
    updates: Vec<Update>,
    now: Option<Value>,
}

impl Change {
    pub(crate) fn value(&self) -> Option<&Value> {
        match self {
            Self::Put(value) => Some(value),
            Self::Removed => None,
            Self::Updated(updated) => updated.now.as_ref(),
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put(_) => "put",
            Self::Removed => "removed",
            Self::Updated(_) => "updated",
        })
    }
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        !self.cleared
            && !self.rotate
            && self.owner.is_none()
            && self.lifetime.is_none()
            && self.entries.is_empty()
    }

    /// Whether replaying twice would count twice.
    pub(crate) fn has_updates(&self) -> bool {
        self.entries.values().any(|change| matches!(change, Change::Updated(_)))
    }

    pub(crate) fn put(&mut self, key: &str, value: Value) {
        self.entries.insert(key.to_owned(), Change::Put(value));
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.insert(key.to_owned(), Change::Removed);
    }

    /// Records an update whose result on the present value is `now`.
    pub(crate) fn update(&mut self, key: &str, update: Update, now: Option<Value>) {
        let from = match self.entries.get_mut(key) {
            Some(Change::Updated(earlier)) => {
                earlier.updates.push(update);
                earlier.now = now;
                return;
            }
            Some(Change::Put(value)) => Some(Some(std::mem::replace(value, Value::Null))),
            Some(Change::Removed) => Some(None),
            None => self.cleared.then_some(None),
        };
        let updated = Updated { from, updates: vec![update], now };
        self.entries.insert(key.to_owned(), Change::Updated(Box::new(updated)));
    }

    pub(crate) fn clear(&mut self) {
        self.cleared = true;
        self.entries.clear();
        self.owner = Some(None);
        self.signs_in = false;
    }

    /// Puts `later` operations on top of these.
    pub(crate) fn append(&mut self, later: Self) {
        if later.cleared {
            self.clear();
        }
        for (key, change) in later.entries {
            match change {
                Change::Updated(updated) if updated.from.is_none() => {
                    let Updated { updates, now, .. } = *updated;
                    for update in updates {
                        self.update(&key, update, now.clone());
                    }
                }
                other => {
                    self.entries.insert(key, other);
                }
            }
        }
        self.owner = later.owner.or(self.owner.take());
        self.rotate |= later.rotate;
        self.restart |= later.restart;
        self.signs_in |= later.signs_in;
        self.lifetime = later.lifetime.or(self.lifetime);
    }

    /// Runs every update again, on the entries of `body`. User code runs here: hold no lock.
    pub(crate) fn replay(&mut self, body: &Body) -> Result<()> {
        for (key, change) in &mut self.entries {
            if let Change::Updated(updated) = change {
                let mut value = match &updated.from {
                    Some(value) => value.clone(),
                    None => body.get(key)?,
                };
                for update in &updated.updates {
                    value = update(key, value)?;
                }
                updated.now = value;
            }
        }
        Ok(())
    }

    /// The entries that differ from what is stored: `None` is removed. Of a cleared session, all of them.
    pub(crate) fn overlay(&self) -> Vec<Changed<'_>> {
        self.entries.iter().map(|(key, change)| (key.as_str(), change.value())).collect()
    }
}
