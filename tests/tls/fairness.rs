//! A peer that sends records of one byte each has the same share of a turn as any other: it counts what comes from the
//! network, which is twenty times what is in it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Authority, Echo};
use crate::transport::open_by_hand;
use crate::untimed::untimed_server;

#[test]
fn tiny_records_leave_everybody_else_a_turn() {
    let authority = Authority::new();
    let server = untimed_server().tls(authority.server());
    let address = server.local_addr().unwrap();
    let (sender, _seen) = std::sync::mpsc::channel();
    let mut event_loop = server.into_event_loop(Echo(sender)).unwrap();
    let (over, flooding) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = open_by_hand(&authority, address);
            // A long message of which each byte has a record of its own, made beforehand.
            let length = 400_000_u32;
            let head = [&[0x82, 0xff], &u64::from(length).to_be_bytes()[..], &[0; 4]].concat();
            stream.write_all(&head).unwrap();
            stream.conn.set_buffer_limit(None);
            let mut records = Vec::new();
            for _ in 0..length {
                stream.conn.writer().write_all(b"x").unwrap();
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut records).unwrap();
                }
            }
            assert!(records.len() > 20 * length as usize);
            flooding.store(true, Ordering::SeqCst);
            let _ = stream.sock.write_all(&records);
            over.store(true, Ordering::SeqCst);
            let _ = stream.sock.read(&mut [0; 1]);
        });
        let quiet = scope.spawn(|| {
            let mut stream = open_by_hand(&authority, address);
            // A masked text of two bytes, and its echo.
            let mut answers = 0;
            while !over.load(Ordering::SeqCst) {
                stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
                let mut echo = [0; 4];
                stream.read_exact(&mut echo).unwrap();
                assert_eq!(echo, [0x81, 2, b'h', b'i']);
                answers += u32::from(flooding.load(Ordering::SeqCst));
            }
            assert!(answers > 3, "{answers} answers during the flood");
            stream.sock.shutdown(std::net::Shutdown::Both).unwrap();
        });
        let mut before = 0;
        while !quiet.is_finished() {
            event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
            let received = event_loop.counters().received.bytes;
            // 2 MiB of the network, and what one read brings beyond.
            assert!(received - before < 150_000, "{} bytes in a turn", received - before);
            before = received;
        }
        drop(event_loop);
    });
}
