//! Listing all sessions, page by page, from SCAN.
//!
//! SCAN gives every key that was there throughout at least once, in an order of its own, and some twice: its cursor
//! alone cannot promise "none twice" (`[O5]`). So a listing goes in the order of the session keys. A *window* holds
//! the smallest keys after the last one given out, gathered by one complete SCAN of every server; pages are cut from
//! it. The cursor names the window and the last key. While the handle remembers the window, a page costs one read of
//! its records; a handle that does not (another process, a restart) gathers the window anew behind the same key. Each
//! page begins behind the last key of the one before, so nothing comes twice; each window was gathered after the
//! listing began, so nothing is missed that was live throughout.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Value, cmd};
use session_core::{Cursor, Error, Result, Revision, SessionKey};
use tokio::time::{Instant, sleep};

use crate::error;
use crate::layout::Layout;
use crate::link::Link;
use crate::router::Router;

/// Keys in a window: 16 MB of the process's memory. With more sessions than that, each further window costs a SCAN.
const WINDOW: usize = 1_000_000;
/// Windows that a handle remembers, and for how long after their last use.
const REMEMBERED: usize = 4;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Keys that a server looks at in one go, while it does nothing else.
const BATCH: usize = 1_000;

/// How often a cluster that moves slots is looked at before giving up: a session may have been on neither server when
/// each was scanned.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Where a listing goes on.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    window: u64,
    after: SessionKey,
}

impl Place {
    pub(crate) fn parse(cursor: &Cursor) -> Result<Self> {
        let (window, after) = cursor.as_str().split_once('.').ok_or_else(error::foreign_cursor)?;
        let canonical = window.len() == 16 && !window.bytes().any(|byte| byte.is_ascii_uppercase());
        let window =
            u64::from_str_radix(window, 16).ok().filter(|_| canonical).ok_or_else(error::foreign_cursor)?;
        Ok(Self { window, after: after.parse().map_err(|_| error::foreign_cursor())? })
    }

    fn cursor(self) -> Cursor {
        Cursor::new(format!("{:016x}.{}", self.window, self.after))
    }
}

/// The keys of a page, and where the next one begins.
pub(crate) struct Keys {
    pub(crate) keys: Vec<SessionKey>,
    pub(crate) next: Option<Cursor>,
}

struct Window {
    name: u64,
    /// In order.
    keys: Arc<Vec<SessionKey>>,
    /// Whether it reaches to the last session.
    last: bool,
    used: Instant,
}

/// The windows that a handle remembers.
#[derive(Default)]
pub(crate) struct Windows(Mutex<Vec<Window>>);

impl Windows {
    pub(crate) async fn page(
        &self,
        router: &Router,
        layout: &Layout,
        place: Option<Place>,
        limit: usize,
    ) -> Result<Keys> {
        let remembered = place.and_then(|place| self.recall(place.window));
        let (name, keys, last) = match remembered {
            Some(window) => window,
            None => {
                let (keys, last) = gather(router, layout, place.map(|place| place.after)).await?;
                self.remember(Arc::new(keys), last)?
            }
        };
        let start = place.map_or(0, |place| keys.partition_point(|key| *key <= place.after));
        let end = start.saturating_add(limit).min(keys.len());
        let page = keys[start..end].to_vec();
        let at_end = end == keys.len();
        let next = match page.last() {
            None => None,
            Some(_) if at_end && last => None,
            // The next window is another one: nobody remembers number 0.
            Some(&after) => Some(Place { window: if at_end { 0 } else { name }, after }.cursor()),
        };
        if at_end {
            self.0.lock().retain(|window| window.name != name);
        }
        Ok(Keys { keys: page, next })
    }

    fn recall(&self, name: u64) -> Option<(u64, Arc<Vec<SessionKey>>, bool)> {
        let mut windows = self.0.lock();
        windows.retain(|window| window.used.elapsed() < FORGOTTEN_AFTER);
        let window = windows.iter_mut().find(|window| window.name == name)?;
        window.used = Instant::now();
        Some((window.name, Arc::clone(&window.keys), window.last))
    }

    fn remember(&self, keys: Arc<Vec<SessionKey>>, last: bool) -> Result<(u64, Arc<Vec<SessionKey>>, bool)> {
        // Random, so that no other handle's window has this name.
        let name = Revision::generate()?.as_u64().max(1);
        let window = Window { name, keys: Arc::clone(&keys), last, used: Instant::now() };
        let mut windows = self.0.lock();
        if windows.len() == REMEMBERED {
            windows.sort_by_key(|window| window.used);
            windows.remove(0);
        }
        windows.push(window);
        Ok((name, keys, last))
    }
}

/// The smallest keys after `after` of all servers, in order, and whether these are all.
async fn gather(
    router: &Router,
    layout: &Layout,
    after: Option<SessionKey>,
) -> Result<(Vec<SessionKey>, bool)> {
    for _ in 0..ATTEMPTS {
        let before = router.map(router.deadline()).await?;
        if before.is_some() {
            let mut smallest = Smallest { keys: BinaryHeap::new(), all: true };
            for link in router.masters(router.deadline()).await? {
                scan(router, layout, &link, after, &mut smallest).await?;
            }
            if router.map(router.deadline()).await? == before {
                let mut keys = smallest.keys.into_sorted_vec();
                keys.dedup();
                return Ok((keys, smallest.all));
            }
        }
        sleep(PAUSE).await;
    }
    Err(error::being_resharded())
}

async fn scan(
    router: &Router,
    layout: &Layout,
    link: &Link,
    after: Option<SessionKey>,
    smallest: &mut Smallest,
) -> Result<()> {
    let failed = |fault: error::Fault| fault.into_error(link.name());
    // One connection from beginning to end: another may lead to another server, to which the cursor means nothing.
    let mut live = link.live(router.deadline()).await.map_err(failed)?;
    let pattern = layout.pattern();
    let mut cursor = b"0".to_vec();
    loop {
        let mut command = cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(BATCH);
        let reply = link.one_on(&mut live, &command, router.deadline()).await.map_err(failed)?;
        let (next, names) = scanned(reply)?;
        for name in names {
            let Value::BulkString(name) = name else { return Err(error::unexpected_reply()) };
            smallest.offer(layout.parse(&name).filter(|key| after.is_none_or(|after| *key > after)));
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

fn scanned(reply: Value) -> Result<(Vec<u8>, Vec<Value>), Error> {
    if let Value::Array(parts) = reply
        && let Ok([Value::BulkString(next), Value::Array(names)]) = <[Value; 2]>::try_from(parts)
    {
        return Ok((next, names));
    }
    Err(error::unexpected_reply())
}

/// The smallest keys seen so far, the largest of them on top.
struct Smallest {
    keys: BinaryHeap<SessionKey>,
    all: bool,
}

impl Smallest {
    fn offer(&mut self, key: Option<SessionKey>) {
        let Some(key) = key else { return };
        self.keys.push(key);
        if self.keys.len() > WINDOW {
            self.keys.pop();
            self.all = false;
        }
    }
}
