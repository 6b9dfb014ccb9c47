//! Each allocation of a buffer whose size the peer chooses fails in turn, and those that follow: the connection fails, and nothing else does.
//! [`handshakes`] is about what comes before a connection is open, this file about messages.
//! What every connection needs is smaller; where there is no memory for that, a Rust program ends.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use framewire::{Accept, Config, Connection, Event, ProtocolError};

mod handshakes;

/// The system's allocator, of which nothing large can be had from some moment on.
struct Failing;

#[global_allocator]
static HEAP: Failing = Failing;

/// From which size on an allocation is large. The largest that does not depend on what comes is the codec's, of 64 KiB.
const LARGE: usize = 65 * 1024;

/// How many large allocations still succeed.
static LEFT: AtomicUsize = AtomicUsize::new(NEVER);
const NEVER: usize = usize::MAX;

/// Whether one has failed.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

fn fails(size: usize) -> bool {
    if size < LARGE || LEFT.load(Ordering::Relaxed) == NEVER {
        return false;
    }
    let left = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    HAS_FAILED.fetch_or(left.is_err(), Ordering::Relaxed);
    left.is_err()
}

/// What is to be done, and what is done with it: an event comes of it.
type Step<'s> = &'s mut dyn FnMut() -> Option<Event<'static>>;

/// Goes through `play` again and again: in each run one more large allocation succeeds of those in the step that it is given,
/// until all do. How many have failed, of which there is at least one.
fn failing(play: impl Fn(&dyn Fn() -> bool, &dyn Fn(Step<'_>) -> Option<Event<'static>>)) -> usize {
    for succeed in 0.. {
        HAS_FAILED.store(false, Ordering::Relaxed);
        let run = |step: Step<'_>| {
            LEFT.store(succeed, Ordering::Relaxed);
            let event = step();
            LEFT.store(NEVER, Ordering::Relaxed);
            event
        };
        let is_whole = || !HAS_FAILED.load(Ordering::Relaxed);
        play(&is_whole, &run);
        if is_whole() {
            assert!(succeed > 0, "nothing has failed");
            return succeed;
        }
    }
    unreachable!("numbers do not end")
}

// SAFETY: all is the system's; a null pointer is how an allocation fails.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller has promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && fails(size) {
            return ptr::null_mut();
        }
        // SAFETY: as the caller has promised.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const LENGTH: usize = 3 << 20;

/// How what has come is given to a connection: its first event.
type Feed = fn(&mut Connection, &mut [u8]) -> Option<Event<'static>>;

/// As it comes: what follows what has failed is not looked at.
fn in_pieces(connection: &mut Connection, bytes: &mut [u8]) -> Option<Event<'static>> {
    for mut input in bytes.chunks_mut(50_000) {
        if let Some(event) = connection.receive(&mut input) {
            return Some(kept(event));
        }
    }
    None
}

/// Straight into the payload of the message, as far as that is possible.
fn directly(connection: &mut Connection, bytes: &mut [u8]) -> Option<Event<'static>> {
    let (mut input, mut rest) = bytes.split_at_mut(100);
    assert!(connection.receive(&mut input).is_none());
    loop {
        let read = connection.receive_direct(|payload, missing| {
            let room = payload.room(missing);
            let count = room.len().min(rest.len()).min(100_000);
            room[..count].copy_from_slice(&rest[..count]);
            rest = &mut std::mem::take(&mut rest)[count..];
            payload.advance(count);
        });
        match read {
            Some(((), Some(event))) => return Some(kept(event)),
            Some(((), None)) => {}
            None => return connection.receive(&mut rest).map(kept),
        }
    }
}

/// The event by itself. That is not the engine's, and does not fail.
fn kept(event: Event<'_>) -> Event<'static> {
    LEFT.store(NEVER, Ordering::Relaxed);
    event.into_owned()
}

/// A client's frame, whose masking key is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 126..) => {
            bytes.push(0xfe);
            bytes.extend(length.to_be_bytes());
        }
        Ok(length) => bytes.push(0x80 | length as u8),
        Err(_) => {
            bytes.push(0xff);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

fn open() -> Connection {
    #[cfg(feature = "deflate")]
    let config = Config::new().deflate(framewire::deflate::DeflateConfig::new());
    #[cfg(not(feature = "deflate"))]
    let config = Config::new();
    let mut connection = Connection::server(&config);
    let mut head = *b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let mut input = &mut head[..];
    assert!(matches!(connection.receive(&mut input), Some(Event::Request(_))));
    connection.accept(Accept::new()).expect("a request waits");
    connection.consume_output(usize::MAX);
    connection
}

fn main() {
    messages();
    handshakes::all();
}

fn messages() {
    let text = vec![b'a'; LENGTH];
    let halves = [frame(0x02, &text[..LENGTH / 2]), frame(0x80, &text[..LENGTH / 2])].concat();
    let mut messages: Vec<(&str, Vec<u8>, Feed)> = vec![
        ("binary", frame(0x82, &text), in_pieces),
        ("text", frame(0x81, &text), in_pieces),
        ("fragments", halves, in_pieces),
        ("directly", frame(0x82, &text), directly),
    ];
    #[cfg(feature = "deflate")]
    {
        use framewire::deflate::{Codec, DeflateConfig, DeflateContext, DeflateParams};
        let mut context =
            DeflateContext::new(DeflateParams::default(), false, &DeflateConfig::new());
        let mut payload = Vec::new();
        Codec::new().compress(&mut context, &text, &mut payload);
        messages.push(("inflated binary", frame(0xc2, &payload), in_pieces));
        messages.push(("inflated text", frame(0xc1, &payload), in_pieces));
        let half = frame(0x42, &payload[..payload.len() / 2]);
        let rest = frame(0x80, &payload[payload.len() / 2..]);
        messages.push(("inflated fragments", [half, rest].concat(), in_pieces));
    }
    for (name, bytes, feed) in &messages {
        let failed = failing(|is_whole, run| {
            let (mut connection, mut bytes) = (open(), bytes.clone());
            let event = run(&mut || feed(&mut connection, &mut bytes));
            match event {
                Some(Event::Message(message)) if is_whole() => {
                    assert!(message.as_bytes().iter().eq(&text), "{name}: another message");
                }
                Some(Event::Failed(ProtocolError::OutOfMemory(lacking))) => {
                    assert!((LARGE / 2..=2 * LENGTH).contains(&lacking), "{name}: {lacking}");
                    let output: Vec<u8> = connection.output().flatten().copied().collect();
                    assert_eq!(output[2..4], 1009_u16.to_be_bytes(), "{name}: no Close");
                    assert!(!is_whole(), "{name}: nothing has failed");
                }
                other => panic!("{name}: {other:?}"),
            }
        });
        println!("{name}: {failed} allocations have failed in turn");
    }
}
