//! Two threads that change one number, and nothing orders them: what ThreadSanitizer is there to tell. If it says nothing
//! of this, its silence about framewire means nothing either.

use std::cell::UnsafeCell;
use std::thread;

struct Unguarded(UnsafeCell<u32>);

// SAFETY: there is none. That is what is to be told.
unsafe impl Sync for Unguarded {}

static NUMBER: Unguarded = Unguarded(UnsafeCell::new(0));

fn change() {
    // SAFETY: none, as above: the other thread may be here, too.
    unsafe { *NUMBER.0.get() += 1 };
}

fn main() {
    // It is told however they happen to run: neither has heard of the other.
    let threads = [thread::spawn(change), thread::spawn(change)];
    for thread in threads {
        thread.join().unwrap();
    }
    println!("nobody has objected");
}
