//! The event loop in worlds of its own: transport, readiness and clock follow from a seed.
//!
//! In each world one to three loops serve up to eight remotes, and dial others. Remotes send messages that can be told
//! from all others, stall, break off, fall silent, and send what is no WebSocket; handlers do anything that handlers
//! may do; orders of handles come in between. A [`model`] that knows nothing of how loops work judges what comes:
//!
//! - what was sent is received, once, in its order and by nobody else; or its loss is told;
//! - each connection that opens, or was dialled, ends by one `on_close`, and is not heard of after it;
//! - nobody has more than one budget in a turn, no loop has turns for nothing, and no deadline passes for one that
//!   was not late;
//! - in the end nothing is left.
//!
//! ```text
//! cargo test --lib simulation                                                some worlds
//! FRAMEWIRE_WORLDS=1000000 cargo test --release --lib simulation             as many as one likes
//! FRAMEWIRE_SEED=17 FRAMEWIRE_WORLDS=1 cargo test --lib simulation           one of them, from this seed on
//! ```

#[cfg(target_os = "linux")]
mod faults;
mod message;
mod model;
pub(super) mod network;
mod player;
pub(super) mod random;
mod remote;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many worlds are looked at, unless somebody asks for more.
const WORLDS: u64 = 1_000;

#[test]
fn worlds() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("FRAMEWIRE_SEED").unwrap_or(0);
    let worlds = number("FRAMEWIRE_WORLDS").unwrap_or(WORLDS);
    let next = AtomicU64::new(0);
    let failed = Mutex::new(BTreeMap::new());
    let reached = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= worlds {
                        break;
                    }
                    match look_at(first + index) {
                        Ok(names) => {
                            let mut reached = reached.lock().unwrap();
                            names
                                .into_iter()
                                .for_each(|name| *reached.entry(name).or_insert(0) += 1);
                        }
                        Err(failure) => {
                            failed.lock().unwrap().insert(first + index, failure);
                            next.store(worlds, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some((seed, failure)) = failed.first_key_value() {
        panic!(
            "world {seed}: {failure}\n\
            to see it again: FRAMEWIRE_SEED={seed} FRAMEWIRE_WORLDS=1 cargo test --lib simulation"
        );
    }
    let reached = reached.into_inner().unwrap();
    println!("{worlds} worlds: {reached:#?}");
    if worlds >= WORLDS {
        let missing: Vec<_> =
            EVERYTHING.iter().filter(|name| !reached.contains_key(*name)).collect();
        assert!(missing.is_empty(), "no world comes to: {missing:?}");
    }
}

/// What is to be met in so many worlds.
const EVERYTHING: &[&str] = &["a connection is well in the end"];

fn look_at(seed: u64) -> Result<world::Reached, String> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&words| words.to_owned()));
        Err(format!("a panic: {}", words.unwrap_or_default()))
    })
}
