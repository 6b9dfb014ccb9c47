//! A connection that is ended from another thread. No client here has any deadline: a thread that the closer does not
//! wake is never joined.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use framewire::{
    Client, ClientBuilder, ClientError, Closer, Config, Message, Outcome, SendError, TimeoutKind,
};

use super::support::*;

fn no_deadlines() -> Config {
    Config::new()
        .no_deflate()
        .ping_interval(None)
        .pong_timeout(None)
        .handshake_timeout(None)
        .write_timeout(None)
        .close_timeout(None)
}

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url).unwrap().config(no_deadlines()).connect_timeout(None).no_proxy()
}

/// Ends it in either way.
fn end(closer: &Closer, is_abort: bool) {
    if is_abort { closer.abort() } else { closer.close(1000, "enough").unwrap() }
}

fn is_aborted<T>(result: &Result<T, ClientError>) -> bool {
    matches!(result, Err(ClientError::Aborted))
}

#[test]
fn recv_ends() {
    for (is_abort, is_split) in [(false, false), (false, true), (true, false), (true, true)] {
        let client = builder(&format!("ws://{}/", echo_server())).connect().unwrap();
        let closer = client.closer();
        let (receives, is_receiving) = mpsc::channel();
        let receiving: JoinHandle<(Result<Option<Message<'static>>, ClientError>, Outcome)> =
            if is_split {
                let (mut reader, writer) = client.split().unwrap();
                thread::spawn(move || {
                    receives.send(()).unwrap();
                    let result = reader.recv();
                    assert_eq!(writer.outcome(), reader.outcome());
                    (result, reader.outcome().unwrap().clone())
                })
            } else {
                let mut client = client;
                thread::spawn(move || {
                    receives.send(()).unwrap();
                    let result = client.recv();
                    assert!(!is_abort || is_aborted(&client.send("too late")));
                    (result, client.outcome().unwrap().clone())
                })
            };
        is_receiving.recv().unwrap();
        end(&closer, is_abort);
        let (result, outcome) = receiving.join().unwrap();
        assert_eq!(outcome.was_clean(), !is_abort, "{outcome:?}");
        if is_abort {
            assert!(is_aborted(&result), "{result:?}");
            assert!(!result.unwrap_err().is_retryable());
        } else {
            assert!(result.unwrap().is_none());
        }
    }
}

#[test]
fn a_blocked_send_is_aborted() {
    let (server, go_on) = deaf(drop);
    let (reader, mut writer) = builder(&server.url("/")).connect().unwrap().split().unwrap();
    let closer = writer.closer();
    let sending = thread::spawn(move || writer.send(vec![7; 64 << 20]));
    while reader.buffered_amount() == 0 {
        thread::yield_now();
    }
    closer.abort();
    assert!(is_aborted(&sending.join().unwrap()));
    drop(go_on);
    server.join();
}

#[test]
fn a_close_behind_a_blocked_send_waits_for_the_close_timeout_and_no_longer() {
    for is_by_closer in [true, false] {
        let (server, go_on) = deaf(drop);
        let config = no_deadlines().close_timeout(Duration::from_millis(100));
        let client = builder(&server.url("/")).config(config).connect().unwrap();
        let (mut reader, mut writer) = client.split().unwrap();
        let (closer, mut other) = (reader.closer(), writer.clone());
        let sending = thread::spawn(move || writer.send(vec![7; 64 << 20]));
        while reader.buffered_amount() == 0 {
            thread::yield_now();
        }
        let timed_out = |error: ClientError| {
            let ClientError::Lost(outcome) = error else { panic!("{error:?}") };
            let timeout = TimeoutKind::Close;
            assert_eq!(outcome, Outcome::TimedOut { timeout, sent: None, received: None });
        };
        if is_by_closer {
            closer.close(1000, "").unwrap();
            let error = other.send("too late").unwrap_err();
            assert!(matches!(error, ClientError::Send(SendError::Closing) | ClientError::Lost(_)));
        } else {
            timed_out(other.close(1000, "").unwrap_err());
        }
        timed_out(sending.join().unwrap().unwrap_err());
        timed_out(reader.recv().unwrap_err());
        drop(go_on);
        server.join();
    }
}

#[test]
fn a_close_follows_what_is_under_way() {
    let (server, go_on) = deaf(|mut stream| {
        let mut header = [0; 14];
        stream.read_exact(&mut header).unwrap();
        assert_eq!(header[..2], [0x82, 0xff]);
        io::copy(&mut (&mut stream).take(64 << 20), &mut io::sink()).unwrap();
        let close = read_frame(&mut stream);
        stream.write_all(b"\x81\x02hi\x88\x02\x03\xe8").unwrap();
        close
    });
    let client = builder(&server.url("/")).connect().unwrap();
    let (mut reader, mut writer) = client.split().unwrap();
    let closer = reader.closer();
    let sending = thread::spawn(move || writer.send(vec![7; 64 << 20]));
    while reader.buffered_amount() == 0 {
        thread::yield_now();
    }
    closer.close(1001, "bye").unwrap();
    // Once is enough, and whatever comes later changes nothing.
    closer.close(3000, "").unwrap();
    drop(go_on);
    sending.join().unwrap().unwrap();
    assert_eq!(reader.recv().unwrap().unwrap().as_text(), Some("hi"));
    assert!(reader.recv().unwrap().is_none());
    assert_eq!(server.join(), (0x88, b"\x03\xe9bye".to_vec()));
}

#[test]
fn a_close_leaves_while_the_clients_thread_is_elsewhere() {
    let (server, go_on) = deaf(|mut stream| read_frame(&mut stream));
    let client = builder(&server.url("/")).connect().unwrap();
    client.closer().close(4000, "").unwrap();
    drop(go_on);
    assert_eq!(server.join(), (0x88, b"\x0f\xa0".to_vec()));
    drop(client);
}

#[test]
fn what_may_not_be_sent_is_not_asked_for() {
    let builder = builder("ws://127.0.0.1:1/");
    let closer = builder.closer();
    for (code, reason) in [(1005, ""), (1000, &*"x".repeat(124))] {
        let error = closer.close(code, reason).unwrap_err();
        assert!(matches!(error, ClientError::Send(SendError::Close(_))), "{error:?}");
    }
    // Nothing is attempted after it was used; a clone is another client.
    let other = builder.clone();
    closer.close(1000, "").unwrap();
    assert!(is_aborted(&builder.connect()));
    assert!(matches!(other.connect(), Err(ClientError::Io(_))));
}

/// Ends the making of a connection once `reached` says how far that is.
fn end_connecting(is_abort: bool, builder: ClientBuilder, reached: impl FnOnce()) {
    let closer = builder.closer();
    let connecting = thread::spawn(move || builder.connect());
    reached();
    end(&closer, is_abort);
    let result = connecting.join().unwrap();
    assert!(is_aborted(&result), "{result:?}");
}

#[test]
fn connecting_ends_during_the_handshake_and_at_a_proxy() {
    for is_abort in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_asked = || {
            let mut stream = accept(&listener);
            stream.read_exact(&mut [0; 3]).unwrap();
            stream
        };
        let mut streams = Vec::new();
        let direct = builder(&format!("ws://{address}/"));
        end_connecting(is_abort, direct, || streams.push(is_asked()));
        for scheme in ["http", "socks5"] {
            let builder = builder("ws://example.test/");
            let builder = builder.proxy(&format!("{scheme}://{address}")).unwrap();
            end_connecting(is_abort, builder, || streams.push(is_asked()));
        }
    }
}

#[test]
fn connecting_ends_while_a_name_is_looked_up() {
    for is_abort in [false, true] {
        let (asks, is_asked) = mpsc::channel();
        let (_answers, answered) = mpsc::channel::<()>();
        let answered = std::sync::Mutex::new(answered);
        let builder = builder("ws://example.test/").resolver(move |_, _| {
            asks.send(()).unwrap();
            let _ = answered.lock().unwrap().recv();
            Ok(Vec::new())
        });
        end_connecting(is_abort, builder, || is_asked.recv().unwrap());
    }
}

// Where the queue of a listener is full, Linux does not answer those who connect.
#[cfg(target_os = "linux")]
#[test]
fn connecting_ends_while_nobody_answers() {
    for (is_abort, local) in [(false, None), (true, None), (true, Some(([127, 0, 0, 1], 0)))] {
        let (socket, address) = deserted();
        socket.listen(0).unwrap();
        let mut queued = Vec::new();
        let is_full = |queued: &mut Vec<_>| {
            let timeout = Duration::from_millis(200);
            std::net::TcpStream::connect_timeout(&address, timeout).map(|s| queued.push(s)).is_err()
        };
        while !is_full(&mut queued) {}
        let mut builder = builder(&format!("ws://{address}/"));
        if let Some(local) = local {
            builder = builder.local_addr(local);
        }
        end_connecting(is_abort, builder, || {});
    }
}

#[cfg(target_os = "linux")]
#[test]
fn connecting_ends_while_the_queue_of_a_unix_socket_is_full() {
    let path = std::env::temp_dir().join(format!("framewire-closer-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    end_connecting(true, builder(&format!("ws+unix:{}", path.display())), || {});
    drop((first, socket));
    std::fs::remove_file(&path).unwrap();
}

/// A stream that is always at its own timeout.
struct Patient;

impl Read for Patient {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Patient {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_that_blocks_by_itself_is_ended_at_its_next_timeout() {
    let mut client = Client::adopt(Patient, b"", &no_deadlines()).unwrap();
    assert!(matches!(client.recv(), Err(ClientError::TimedOut(_))));
    let closer = client.closer();
    closer.close(1000, "").unwrap();
    assert!(matches!(client.send("late"), Err(ClientError::Send(SendError::Closing))));
    closer.abort();
    assert!(is_aborted(&client.recv()));
    assert!(client.outcome().is_some());
    // Nothing is left to end.
    drop(client);
    closer.abort();
}

#[test]
fn clones_of_a_writer_send_side_by_side() {
    let (threads, count) = (4, 250);
    // So little that they wait for each other.
    let config = no_deadlines().max_buffered_amount(1 << 10);
    let client = builder(&format!("ws://{}/", echo_server())).config(config).connect().unwrap();
    let (mut reader, writer) = client.split().unwrap();
    let sending: Vec<_> = (0..threads)
        .map(|thread| {
            let mut writer = writer.clone();
            thread::spawn(move || {
                for number in 0..count {
                    writer.send(vec![thread as u8; 1 + number * 16]).unwrap();
                }
            })
        })
        .collect();
    let mut lengths = vec![0; threads];
    let mut received = 0;
    for message in reader.messages() {
        let message = message.unwrap();
        let thread = usize::from(message.as_bytes()[0]);
        assert!(message.as_bytes().iter().all(|&byte| usize::from(byte) == thread));
        // Those of one thread keep their order.
        assert_eq!(message.len(), 1 + lengths[thread] * 16);
        lengths[thread] += 1;
        received += 1;
        if received == threads * count {
            writer.clone().close(1000, "").unwrap();
        }
    }
    assert_eq!(lengths, vec![count; threads]);
    for sending in sending {
        sending.join().unwrap();
    }
}

#[test]
fn the_halves_know_what_was_agreed_on() {
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        let request = read_head(&mut stream);
        let answer = switch(&request, "Sec-WebSocket-Protocol: b\r\nX-Tenant: 7\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        stream.write_all(b"\x81\x03one\x81\x03two\xff").unwrap();
        read_rest(&mut stream);
    });
    let client = builder(&server.url("/")).subprotocols(["a", "b"]).unwrap().connect().unwrap();
    let (mut reader, writer) = client.split().unwrap();
    assert_eq!((reader.subprotocol(), writer.subprotocol()), (Some("b"), Some("b")));
    let responses = [reader.response().unwrap(), writer.response().unwrap()];
    assert!(responses.iter().all(|response| response.headers().get_str("X-Tenant") == Some("7")));
    assert_eq!((reader.buffered_amount(), writer.buffered_amount()), (0, 0));
    // Two messages, an error once, and nothing more.
    for text in ["one", "two"] {
        let message = (&mut reader).into_iter().next().unwrap().unwrap();
        assert_eq!(message.as_text(), Some(text));
    }
    let mut messages = reader.into_iter();
    assert!(matches!(messages.next(), Some(Err(ClientError::Protocol(_)))));
    assert!(messages.next().is_none() && messages.next().is_none());
    drop((messages, writer));
    server.join();
}
