//! Random interleavings.

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::{block_on, in_memory};

/// In the ordinary test command; `SESSION_BROWSER_RUNS=1000000` for more, `SESSION_BROWSER_SEED` for those of a seed.
const RUNS: u64 = 100_000;

#[test]
fn random_interleavings_keep_the_promises() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let runs = number("SESSION_BROWSER_RUNS").unwrap_or(RUNS);
    let first = number("SESSION_BROWSER_SEED")
        .unwrap_or_else(|| session_core::Revision::generate().unwrap().as_u64());
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let met = Mutex::new(BTreeMap::<_, u64>::new());
    let found = Mutex::new(None);
    let begun = Instant::now();
    let work = || {
        let browser = in_memory();
        block_on(async {
            loop {
                let run = next.fetch_add(1, Relaxed);
                if run >= runs || stop.load(Relaxed) {
                    return;
                }
                match browser.run(first.wrapping_add(run)).await.unwrap() {
                    Ok(exceptions) => {
                        let mut met = met.lock().unwrap();
                        exceptions.into_iter().for_each(|exception| *met.entry(exception).or_default() += 1);
                    }
                    Err(one) => {
                        stop.store(true, Relaxed);
                        found.lock().unwrap().get_or_insert(one);
                    }
                }
            }
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    let took = begun.elapsed();
    println!("{runs} interleavings from seed {first} in {took:?}; exceptions met: {:?}", met.lock().unwrap());
    if let Some(found) = found.lock().unwrap().take() {
        panic!("{found}");
    }
}
