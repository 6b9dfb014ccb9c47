//! What is said to a proxy, once for each call that this takes of the socket and each way in which that can fail, and once
//! for each byte after which the proxy leaves. What can be gone on from changes nothing; whatever else fails is told with
//! the name of the proxy and what the system has said.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::{Proxy, ProxyError};
use crate::client::closer::Closer;
use crate::client::error::ClientError;
use crate::client::wait::ConnectWait;
use crate::client::waker::Waker;
use crate::handshake::{Headers, Url};
use crate::io::faults::{Call, Fault, Faults};
use crate::protocol::Config;

/// A proxy that says one thing after the other, each once it was told something.
struct Scripted {
    answers: &'static [&'static [u8]],
    /// How much of the first of these was read.
    read: usize,
    heard: Vec<u8>,
    /// Something was said since the last answer.
    is_asked: bool,
    /// After how many bytes it leaves.
    leaves_after: usize,
    faults: Faults,
    /// Called where there is nothing for now: what is waited for has come at once.
    waker: Arc<Waker>,
}

impl Scripted {
    /// How the call fails, or what it does: `available` bytes can be moved.
    fn call(&mut self, call: Call, available: usize) -> Option<Fault> {
        let fault = self.faults.next(call, available)?;
        if fault.blocks() {
            self.waker.wake();
        }
        Some(fault)
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(answer) = self.answers.first().filter(|_| self.is_asked || self.read > 0) else {
            panic!("it waits for an answer that does not come");
        };
        let rest = &answer[self.read..];
        let most = rest.len().min(buffer.len()).min(self.leaves_after);
        let count = match self.call(Call::Read, most) {
            None => most,
            Some(fault) => fault.answer(|| Ok(most.min(1)))?,
        };
        buffer[..count].copy_from_slice(&rest[..count]);
        (self.read, self.leaves_after) = (self.read + count, self.leaves_after - count);
        if self.read == answer.len() {
            (self.answers, self.read, self.is_asked) = (&self.answers[1..], 0, false);
        }
        Ok(count)
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self.call(Call::Write, bytes.len()) {
            None => bytes.len(),
            Some(fault) => fault.answer(|| Ok(1))?,
        };
        self.heard.extend_from_slice(&bytes[..count]);
        self.is_asked |= count > 0;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One conversation: the proxy's URL, that of the server, what the proxy says, and with which status it refuses.
type Conversation = (&'static str, &'static str, &'static [&'static [u8]], Option<u16>);

const CONVERSATIONS: [Conversation; 6] = [
    ("http://p:1", "ws://h/", &[b"HTTP/1.1 200 Connection established\r\nA: b\r\n\r\n"], None),
    (
        "http://u:p@p:1",
        "wss://h/",
        &[b"HTTP/1.1 407 No\r\nContent-Length: 4\r\n\r\nbody"],
        Some(407),
    ),
    ("http://p:1", "ws://[::1]/", &[b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 Then\r\n\r\n"], None),
    ("socks5://p:1", "ws://h/", &[b"\x05\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"], None),
    (
        "socks5://u:p@p:1",
        "ws://1.2.3.4/",
        &[b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x03\x02ab\x00\x50"],
        None,
    ),
    (
        "socks5://p:1",
        "wss://[::1]/",
        &[b"\x05\x00", b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"],
        None,
    ),
];

struct Run {
    result: Result<(), ClientError>,
    heard: Vec<u8>,
    faults: Faults,
}

fn run(conversation: &Conversation, faults: Faults, leaves_after: usize) -> Run {
    let (proxy, url, answers, _) = *conversation;
    let mut wait = ConnectWait::new(&Closer::new()).unwrap();
    let waker = wait.waker();
    let (heard, is_asked) = (Vec::new(), false);
    let mut stream = Scripted { answers, read: 0, heard, is_asked, leaves_after, faults, waker };
    let (url, config) = (Url::parse(url).unwrap(), Config::new());
    let proxy = Proxy::parse(proxy).unwrap();
    let result = proxy.tunnel(&mut stream, &mut wait, &url, &Headers::new(), &config, None);
    Run { result, heard: stream.heard, faults: stream.faults }
}

/// The numbers that systems have said, in this error and below it.
fn numbers(error: &ClientError) -> Vec<i32> {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    let mut numbers = Vec::new();
    while let Some(error) = source {
        numbers.extend(error.downcast_ref().and_then(io::Error::raw_os_error));
        source = error.source();
    }
    numbers
}

fn status(result: &Result<(), ClientError>) -> Option<u16> {
    match result {
        Err(ClientError::Proxy(error)) => error.status(),
        _ => None,
    }
}

#[test]
fn each_call_of_a_conversation_with_a_proxy_fails_once_in_each_way() {
    let mut count = 0;
    for conversation in &CONVERSATIONS {
        let whole = run(conversation, Faults::default(), usize::MAX);
        assert_eq!(status(&whole.result), conversation.3, "{:?}", whole.result);
        assert_eq!(whole.result.is_ok(), conversation.3.is_none());
        for (at, fault) in whole.faults.all() {
            count += 1;
            let call = whole.faults.call(at);
            let what = format!("{conversation:?}, call {at}, {call:?}: {fault:?}");
            let run = run(conversation, Faults::plan(at, fault), usize::MAX);
            assert!(run.faults.has_fired(), "{what}");
            if fault.is_harmless(call) {
                assert_eq!(format!("{:?}", run.result), format!("{:?}", whole.result), "{what}");
                assert_eq!(run.heard, whole.heard, "{what}");
                continue;
            }
            assert!(whole.heard.starts_with(&run.heard), "{what}");
            let error = run.result.expect_err(&what);
            let Some(number) = fault.number() else {
                check_cut(&error, call, &what);
                continue;
            };
            assert!(matches!(error, ClientError::Proxy(ProxyError::Io(_))), "{what}: {error:?}");
            assert_eq!(numbers(&error), [number], "{what}");
            let text = error.to_string();
            assert!(text.contains("the connection to the proxy p:1"), "{what}: {text}");
        }
    }
    println!("{count} faults");
    assert!(count > 150, "{count}");
}

/// The proxy takes nothing more, or has left.
fn check_cut(error: &ClientError, call: Call, what: &str) {
    let ClientError::Proxy(error) = error else { panic!("{what}: {error:?}") };
    let is_told = match error {
        ProxyError::Io(_) => call == Call::Write,
        ProxyError::Socks | ProxyError::Response(_) => call == Call::Read,
        _ => false,
    };
    assert!(is_told, "{what}: {error:?}");
}

#[test]
fn a_proxy_that_leaves_after_any_byte_is_told_of() {
    for conversation in &CONVERSATIONS {
        let length: usize = conversation.2.iter().map(|answer| answer.len()).sum();
        for leaves_after in 0..length {
            let result = run(conversation, Faults::default(), leaves_after).result;
            let what = format!("{conversation:?} after {leaves_after}");
            // Of a refusal the head is enough.
            let head = conversation.2[0].windows(4).position(|end| end == b"\r\n\r\n");
            if conversation.3.is_some() && head.is_some_and(|end| leaves_after >= end + 4) {
                assert_eq!(status(&result), conversation.3, "{what}");
            } else {
                check_cut(&result.expect_err(&what), Call::Read, &what);
            }
        }
    }
}
