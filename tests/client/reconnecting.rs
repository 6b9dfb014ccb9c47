//! A client that connects again. Its waiting is replaced, so nobody waits.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use framewire::handshake::HttpDate;
use framewire::{
    Backoff, ClientError, ClientTimeout, Ending, Event, IfUnsent, Reconnecting, SendError,
};

use super::support::*;

/// A client that does not wait, and the delays that it should have waited.
fn reconnecting(url: &str) -> (Reconnecting, mpsc::Receiver<Duration>) {
    let (sender, delays) = mpsc::channel();
    let client = Reconnecting::new(untimed_client(url)).wait_with(move |delay| {
        sender.send(delay).unwrap();
        ControlFlow::Continue(())
    });
    (client, delays)
}

// req: W107
#[test]
fn a_server_that_goes_away_and_comes_back() {
    let server = Scripted::new(|listener| {
        // Lost in the middle of a message.
        let mut stream = open(listener);
        assert_eq!(read_frame(&mut stream), (0x81, b"subscribe 1".to_vec()));
        stream.write_all(b"\x81\x03one\x81\x05tw").unwrap();
        drop(stream);
        for status in [503, 429] {
            reject(listener, status);
        }
        // Closed for a restart.
        let mut stream = open(listener);
        assert_eq!(read_frame(&mut stream), (0x81, b"subscribe 2".to_vec()));
        stream.write_all(b"\x88\x02\x03\xf4").unwrap();
        assert_eq!(read_frame(&mut stream).0, 0x88);
        drop(stream);
        // Closed for good.
        let mut stream = open(listener);
        assert_eq!(read_frame(&mut stream), (0x81, b"subscribe 3".to_vec()));
        stream.write_all(b"\x81\x03two\x88\x02\x03\xe8").unwrap();
        assert_eq!(read_frame(&mut stream).0, 0x88);
    });
    let (client, delays) = reconnecting(&server.url("/"));
    let mut count = 0;
    let mut client = client.on_connect(move |client| {
        count += 1;
        client.send(format!("subscribe {count}"))
    });
    let error = client.send("too early").unwrap_err();
    assert!(matches!(error.error(), ClientError::Send(SendError::Closed)));
    assert_eq!(error.into_message().as_text(), Some("too early"));
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("one"));
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("two"));
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.outcome().unwrap().code().0, 1000);
    server.join();

    let delays: Vec<f32> = delays.try_iter().map(|delay| delay.as_secs_f32()).collect();
    let bounds = [(0.0, 5.0), (2.5, 5.0), (5.0, 10.0), (10.0, 20.0)];
    assert_eq!(delays.len(), bounds.len(), "{delays:?}");
    for (delay, (low, high)) in delays.into_iter().zip(bounds) {
        assert!((low..=high).contains(&delay), "{delay} between {low} and {high}");
    }
    // It stays closed.
    assert_eq!(client.recv().unwrap(), None);
    assert!(matches!(client.connect(), Err(ClientError::Send(SendError::Closed))));
}

#[test]
fn a_server_that_does_not_listen_yet() {
    let (socket, address) = deserted();
    let mut socket = Some(socket);
    let (sender, servers) = mpsc::channel();
    let mut waited = 0;
    let builder = untimed_client(&format!("ws://{address}/"));
    let mut client = Reconnecting::new(builder).wait_with(move |_| {
        waited += 1;
        if waited == 3 {
            let socket = socket.take().unwrap();
            socket.listen(8).unwrap();
            let server = Scripted::on(TcpListener::from(socket), |listener| {
                let mut stream = open(listener);
                read_frame(&mut stream)
            });
            sender.send(server).unwrap();
        }
        ControlFlow::Continue(())
    });
    client.connect().unwrap();
    client.send("hello").unwrap();
    assert_eq!(servers.recv().unwrap().join(), (0x81, b"hello".to_vec()));
}

/// A server that refuses so many requests with this status.
fn refusing(status: u16, times: usize) -> Scripted<()> {
    Scripted::new(move |listener| {
        for _ in 0..times {
            reject(listener, status);
        }
    })
}

#[test]
fn refusals_that_time_does_not_heal() {
    for status in [301, 400, 401, 403, 404, 426, 500, 501] {
        let server = refusing(status, 1);
        let (mut client, delays) = reconnecting(&server.url("/"));
        assert_eq!(client.recv().unwrap_err().status(), Some(status));
        assert_eq!(delays.try_iter().count(), 0, "{status}");
        server.join();
    }
}

#[test]
fn a_server_that_says_when_to_come_back() {
    // Seconds, more than anybody waits, a date, one that has passed, and a number that none of the RFC's is.
    let (date, passed) = ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:27:00 GMT");
    let asked = ["7", "86400", date, passed, "+9"];
    let now = HttpDate::parse(date).unwrap().duration_since_1970() - Duration::from_secs(10);
    let server = Scripted::new(move |listener| {
        for asked in asked {
            let mut stream = accept(listener);
            read_head(&mut stream);
            let head = "HTTP/1.1 503 Later\r\nContent-Length: 0";
            let answer = format!("{head}\r\nRetry-After: {asked}\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        upgrade(&mut accept(listener));
    });
    let (client, delays) = reconnecting(&server.url("/"));
    let second = Duration::from_secs(1);
    let backoff = Backoff::new().first_delay(second).base_delay(second).max_delay(second * 30);
    let client = client.time_of_day(move || SystemTime::UNIX_EPOCH + now);
    client.backoff(backoff).connect().unwrap();
    server.join();
    let delays: Vec<u64> = delays.try_iter().map(|delay| delay.as_millis() as u64).collect();
    let bounds =
        [(7_000, 8_000), (30_500, 31_000), (11_000, 12_000), (2_000, 4_000), (4_000, 8_000)];
    assert_eq!(delays.len(), bounds.len(), "{delays:?}");
    for (delay, (low, high)) in delays.into_iter().zip(bounds) {
        assert!((low..=high).contains(&delay), "{delay} between {low} and {high}");
    }
}

#[test]
fn attempts_run_out() {
    let server = refusing(503, 5);
    let (client, delays) = reconnecting(&server.url("/"));
    let mut client = client.backoff(Backoff::new().max_attempts(3));
    assert_eq!(client.recv().unwrap_err().status(), Some(503));
    assert_eq!(delays.try_iter().count(), 3);
    // Who asks again wants another go; the schedule is at its end all the same.
    let error = client.recv().unwrap_err();
    assert!(matches!(error, ClientError::Send(SendError::Closed)), "{error:?}");
    assert_eq!(delays.try_iter().count(), 0);
    drop(client);
    // Four were asked for: the fifth is still to be had.
    assert_eq!(untimed_client(&server.url("/")).connect().unwrap_err().status(), Some(503));
    server.join();
}

#[test]
fn waiting_can_be_called_off() {
    let server = refusing(502, 2);
    let builder = untimed_client(&server.url("/"));
    let mut left = 1;
    let mut client = Reconnecting::new(builder).wait_with(move |_| {
        left -= 1;
        if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(client.recv().unwrap_err().status(), Some(502));
    assert!(client.client().is_none());
    server.join();
}

#[test]
fn the_application_decides_what_is_retried() {
    let server = Scripted::new(|listener| {
        reject(listener, 404);
        for code in [4000u16, 1012] {
            let mut stream = open(listener);
            close(&mut stream, code);
        }
    });
    let (client, delays) = reconnecting(&server.url("/"));
    let mut client = client.retry_if(|ending| match ending {
        Ending::Failed(error) => error.status() == Some(404) || ending.is_retryable(),
        Ending::Closed(outcome) => outcome.code().0 == 4000,
        _ => false,
    });
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.outcome().unwrap().code().0, 1012);
    assert_eq!(delays.try_iter().count(), 2);
    server.join();
}

#[test]
fn which_closes_are_retried() {
    let ending = |code: u16| {
        let server = Scripted::new(move |listener| {
            let mut stream = open(listener);
            close(&mut stream, code);
        });
        let mut client = untimed_client(&server.url("/")).connect().unwrap();
        assert_eq!(client.recv().unwrap(), None);
        server.join();
        Ending::Closed(client.outcome().unwrap()).is_retryable()
    };
    for code in [1001, 1011, 1012, 1013, 1014] {
        assert!(ending(code), "{code}");
    }
    for code in [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4999] {
        assert!(!ending(code), "{code}");
    }
}

#[test]
fn a_fault_of_the_server_is_not_tried_again() {
    let server = Scripted::new(|listener| {
        let mut stream = open(listener);
        stream.write_all(b"\xf1\x00").unwrap();
        assert_eq!(read_frame(&mut stream).0, 0x88);
        drop(stream);
        let mut stream = open(listener);
        stream.write_all(b"\x81\x05again").unwrap();
        read_rest(&mut stream)
    });
    let (mut client, delays) = reconnecting(&server.url("/"));
    let error = client.recv().unwrap_err();
    assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    assert_eq!(delays.try_iter().count(), 0);
    // Unless the caller wants to; then by the schedule.
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("again"));
    assert_eq!(delays.try_iter().count(), 1);
    drop(client);
    server.join();
}

#[test]
fn a_read_timeout_leaves_the_connection_alone() {
    let (say, may_say) = mpsc::channel();
    let server = Scripted::new(move |listener| {
        let mut stream = open(listener);
        may_say.recv().unwrap();
        stream.write_all(b"\x81\x04late").unwrap();
        assert_eq!(read_frame(&mut stream), (0x88, vec![0x03, 0xe8]));
        stream.write_all(b"\x88\x02\x03\xe8").unwrap();
    });
    let (mut client, delays) = reconnecting(&server.url("/"));
    client.set_read_timeout(Some(Duration::from_millis(20)));
    for _ in 0..2 {
        let error = client.recv().unwrap_err();
        assert!(is_read_timeout(&error), "{error:?}");
    }
    say.send(()).unwrap();
    client.set_read_timeout(None);
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("late"));
    assert!(client.close(1000, "").unwrap().was_clean());
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(delays.try_iter().count(), 0);
    server.join();
}

/// A schedule whose delays nobody waits for.
fn in_years() -> Backoff {
    const YEARS: Duration = Duration::from_secs(10_000_000_000);
    Backoff::new().first_delay(YEARS).base_delay(YEARS).max_delay(YEARS)
}

#[test]
fn a_closer_ends_the_sleep_before_an_attempt() {
    for is_abort in [false, true] {
        let (_socket, address) = deserted();
        let builder = untimed_client(&format!("ws://{address}/"));
        let (fails, has_failed) = mpsc::channel();
        let mut client = Reconnecting::new(builder).backoff(in_years()).retry_if(move |ending| {
            fails.send(()).unwrap();
            ending.is_retryable()
        });
        let closer = client.closer();
        let mut writer = {
            client = client.if_unsent(IfUnsent::SendAgain);
            client.writer()
        };
        let sending = thread::spawn(move || writer.send("hello").unwrap_err());
        let receiving = thread::spawn(move || (client.recv(), client.recv(), client));
        has_failed.recv().unwrap();
        if is_abort {
            closer.abort();
        } else {
            closer.close(1000, "").unwrap();
        }
        let (first, second, client) = receiving.join().unwrap();
        if is_abort {
            assert!(matches!(first, Err(ClientError::Aborted)), "{first:?}");
        } else {
            assert!(first.unwrap().is_none());
        }
        assert!(second.unwrap().is_none());
        assert!(client.outcome().is_some());
        let unsent = sending.join().unwrap();
        assert!(matches!(unsent.error(), ClientError::Aborted), "{unsent:?}");
        assert_eq!(unsent.message().as_text(), Some("hello"));
    }
}

#[test]
fn a_closer_ends_an_attempt_and_a_connection_for_good() {
    for is_connected in [false, true] {
        let (asks, is_asked) = mpsc::channel();
        let connects = asks.clone();
        let server = Scripted::new(move |listener| {
            let mut stream = accept(listener);
            let request = read_head(&mut stream);
            if is_connected {
                stream.write_all(switch(&request, "").as_bytes()).unwrap();
                // A code after which it would be tried again.
                stream.write_all(b"\x81\x02hi").unwrap();
                assert_eq!(read_frame(&mut stream), (0x88, vec![0x03, 0xe9]));
                stream.write_all(b"\x88\x02\x03\xe9").unwrap();
            } else {
                asks.send(()).unwrap();
                read_rest(&mut stream);
            }
        });
        let mut client = Reconnecting::new(untimed_client(&server.url("/"))).backoff(in_years());
        let closer = client.closer();
        let receiving = thread::spawn(move || {
            if is_connected {
                assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("hi"));
                connects.send(()).unwrap();
            }
            let result = client.recv().unwrap();
            (result, client.outcome().unwrap().was_clean())
        });
        is_asked.recv().unwrap();
        closer.close(1001, "").unwrap();
        assert_eq!(receiving.join().unwrap(), (None, is_connected));
        server.join();
    }
}

/// More than any socket buffers.
const LONG_MESSAGE: usize = 64 << 20;

/// A server that hangs up in the middle of the first long message; of the second connection it reads all.
fn hanging_up() -> Scripted<()> {
    Scripted::new(|listener| {
        let mut stream = open(listener);
        assert_eq!(read_frame(&mut stream), (0x81, b"subscribe".to_vec()));
        stream.read_exact(&mut [0; 14]).unwrap();
        drop(stream);
        let mut stream = open(listener);
        assert_eq!(read_frame(&mut stream), (0x81, b"subscribe".to_vec()));
        let mut header = [0; 14];
        stream.read_exact(&mut header).unwrap();
        let is_long = header[1] == 0xff;
        if is_long {
            let mut rest = (&mut stream).take(LONG_MESSAGE as u64);
            assert_eq!(io::copy(&mut rest, &mut io::sink()).unwrap(), LONG_MESSAGE as u64);
        } else {
            stream.read_exact(&mut [0; 2 + 4 + 11 - 14]).unwrap();
        }
        stream.write_all(b"\x81\x03got\x88\x02\x03\xe8").unwrap();
        assert_eq!(read_frame(&mut stream).0, 0x88);
    })
}

#[test]
fn what_has_not_left_is_sent_again_or_given_back() {
    for (if_unsent, is_beside) in [
        (IfUnsent::SendAgain, true),
        (IfUnsent::SendAgain, false),
        (IfUnsent::GiveBack, true),
        (IfUnsent::GiveBack, false),
    ] {
        let server = hanging_up();
        let builder = untimed_client(&server.url("/")).config(untimed().no_deflate());
        let (connects, is_connected) = mpsc::channel();
        let mut client = Reconnecting::new(builder)
            .wait_with(|_| ControlFlow::Continue(()))
            .if_unsent(if_unsent)
            .on_connect(move |client| {
                client.send("subscribe")?;
                let _ = connects.send(());
                Ok(())
            });
        let mut writer = client.writer();
        let mut message = vec![7; LONG_MESSAGE];
        message[0] = 9;
        let given_back = |unsent: framewire::Unsent| {
            assert_eq!(if_unsent, IfUnsent::GiveBack);
            assert!(matches!(unsent.error(), ClientError::Lost(_)), "{unsent:?}");
            let message = unsent.into_message();
            assert_eq!((message.len(), message.as_bytes()[0]), (LONG_MESSAGE, 9));
        };
        if is_beside {
            let sending = thread::spawn(move || {
                if if_unsent == IfUnsent::SendAgain {
                    return writer.send(message);
                }
                // Where there is no connection yet, it is given back at once.
                let first = loop {
                    match writer.send(&message[..]) {
                        Err(unsent) if matches!(unsent.error(), ClientError::Send(_)) => {}
                        result => break result,
                    }
                };
                is_connected.recv().unwrap();
                is_connected.recv().unwrap();
                while writer.send("a short one").is_err() {}
                first
            });
            assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("got"));
            match sending.join().unwrap() {
                Ok(()) => assert_eq!(if_unsent, IfUnsent::SendAgain),
                Err(unsent) => given_back(unsent),
            }
        } else {
            client.connect().unwrap();
            match client.send(message) {
                Ok(()) => assert_eq!(if_unsent, IfUnsent::SendAgain),
                Err(unsent) => {
                    given_back(unsent);
                    client.connect().unwrap();
                    client.send("a short one").unwrap();
                }
            }
            assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("got"));
        }
        assert_eq!(client.recv().unwrap(), None);
        server.join();
    }
}

#[test]
fn what_a_lost_connection_has_received_comes_first() {
    for if_unsent in [IfUnsent::SendAgain, IfUnsent::GiveBack] {
        let server = Scripted::new(move |listener| {
            let mut stream = open(listener);
            stream.write_all(b"\x81\x03one\x81\x03two").unwrap();
            stream.read_exact(&mut [0; 14]).unwrap();
            drop(stream);
            let mut stream = open(listener);
            if if_unsent == IfUnsent::SendAgain {
                let message = (&mut stream).take(14 + LONG_MESSAGE as u64);
                io::copy(&mut { message }, &mut io::sink()).unwrap();
            }
            stream.write_all(b"\x81\x05three\x88\x02\x03\xe8").unwrap();
            assert_eq!(read_frame(&mut stream).0, 0x88);
        });
        let builder = untimed_client(&server.url("/")).config(untimed().no_deflate());
        let mut client = Reconnecting::new(builder)
            .wait_with(|_| ControlFlow::Continue(()))
            .if_unsent(if_unsent);
        client.connect().unwrap();
        let is_sent = client.send(vec![7; LONG_MESSAGE]).is_ok();
        assert_eq!(is_sent, if_unsent == IfUnsent::SendAgain);
        client.connect().unwrap();
        for text in ["one", "two", "three"] {
            assert_eq!(client.recv().unwrap().unwrap().as_text(), Some(text));
        }
        assert_eq!(client.recv().unwrap(), None);
        server.join();
    }
}

#[test]
fn a_writer_that_waits_is_told_when_no_further_attempt_is_made() {
    // A failure that is not tried again, and one before which the waiting is given up.
    for (status, mut breaks) in [(404, 0), (503, 1)] {
        let server = Scripted::new(move |listener| {
            reject(listener, status);
            let mut stream = open(listener);
            read_frame(&mut stream)
        });
        let mut client = Reconnecting::new(untimed_client(&server.url("/")))
            .if_unsent(IfUnsent::SendAgain)
            .wait_with(move |_| {
                breaks -= 1;
                if breaks < 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        let mut writer = client.writer();
        let sending = thread::spawn(move || (writer.send("one").unwrap_err(), writer));
        assert_eq!(client.recv().unwrap_err().status(), Some(status));
        let (unsent, mut writer) = sending.join().unwrap();
        assert!(matches!(unsent.error(), ClientError::Send(SendError::Closed)), "{unsent:?}");
        assert_eq!(unsent.message().as_text(), Some("one"));
        // The next call of this thread is another attempt.
        client.connect().unwrap();
        writer.send("two").unwrap();
        assert_eq!(server.join(), (0x81, b"two".to_vec()));
    }
}

#[test]
fn what_meets_a_closing_connection_is_sent_over_the_next_one() {
    // The first is for a restart, the second for good.
    for (code, is_sent) in [(1012u16, true), (1000, false)] {
        let (hang_up, hung_up) = mpsc::channel::<()>();
        let server = Scripted::new(move |listener| {
            let mut stream = open(listener);
            close(&mut stream, code);
            hung_up.recv().unwrap();
            drop(stream);
            is_sent.then(|| {
                let mut stream = open(listener);
                read_frame(&mut stream)
            })
        });
        let (client, _delays) = reconnecting(&server.url("/"));
        let mut client = client.if_unsent(IfUnsent::SendAgain);
        let event = client.connect().unwrap().next_event().unwrap();
        assert!(matches!(event, Some(Event::Close(_))), "{event:?}");
        hang_up.send(()).unwrap();
        let sent = client.send("hello");
        assert_eq!(sent.is_ok(), is_sent, "{sent:?}");
        assert_eq!(server.join(), is_sent.then(|| (0x81, b"hello".to_vec())));
        if let Err(unsent) = sent {
            assert!(matches!(unsent.error(), ClientError::Send(SendError::Closed)), "{unsent:?}");
            assert_eq!(unsent.into_message().as_text(), Some("hello"));
            assert_eq!(client.outcome().unwrap().code().0, code);
        }
    }
}

#[test]
fn a_read_timeout_holds_while_there_is_no_connection() {
    // Asleep before an attempt.
    let (_socket, address) = deserted();
    let builder = untimed_client(&format!("ws://{address}/"));
    let mut client = Reconnecting::new(builder).backoff(in_years());
    client.set_read_timeout(Some(Duration::from_millis(20)));
    for _ in 0..3 {
        assert!(is_read_timeout(&client.recv().unwrap_err()));
    }
    // In the middle of one, which goes on.
    let (answer, may_answer) = mpsc::channel::<()>();
    let server = Scripted::new(move |listener| {
        let mut stream = accept(listener);
        let request = read_head(&mut stream);
        may_answer.recv().unwrap();
        stream.write_all(switch(&request, "").as_bytes()).unwrap();
        stream.write_all(b"\x81\x02hi").unwrap();
        stream
    });
    let mut client = Reconnecting::new(untimed_client(&server.url("/"))).backoff(in_years());
    client.set_read_timeout(Some(Duration::from_millis(20)));
    for _ in 0..3 {
        assert!(is_read_timeout(&client.recv().unwrap_err()));
    }
    answer.send(()).unwrap();
    client.set_read_timeout(None);
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("hi"));
    drop(server.join());
}

#[test]
fn deadlines_are_not_met_for_ever() {
    // It accepts connections and answers none.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let config = untimed().handshake_timeout(Duration::from_millis(10));
    let (sender, delays) = mpsc::channel();
    let mut client = Reconnecting::new(untimed_client(&url).config(config))
        .max_timeouts(2)
        .wait_with(move |delay| {
            sender.send(delay).unwrap();
            ControlFlow::Continue(())
        });
    for delays_before in [2, 3] {
        let error = client.recv().unwrap_err();
        let handshake = matches!(&error, ClientError::TimedOut(ClientTimeout::Handshake(_)));
        assert!(handshake, "{error:?}");
        assert_eq!(delays.try_iter().count(), delays_before);
    }
}

/// A clock of the day that stands still, but for what is added.
fn day() -> (Arc<AtomicU64>, impl FnMut() -> SystemTime + Send) {
    let seconds = Arc::new(AtomicU64::new(1_800_000_000));
    let clock = Arc::clone(&seconds);
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
    (seconds, now)
}

#[test]
fn after_a_sleep_of_the_machine_the_server_is_asked_at_once() {
    for answers in [true, false] {
        let server = Scripted::new(move |listener| {
            let mut stream = open(listener);
            stream.write_all(b"\x81\x03one").unwrap();
            assert_eq!(read_frame(&mut stream), (0x89, vec![]));
            if answers {
                stream.write_all(b"\x8a\x00\x81\x03two").unwrap();
                return read_rest(&mut stream);
            }
            // The machine that it was has gone; another one knows nothing of it.
            let mut another = accept(listener);
            upgrade(&mut another);
            another.write_all(b"\x81\x03two").unwrap();
            read_rest(&mut another)
        });
        let (seconds, now) = day();
        // Of those that answer none has to be in time.
        let limit = if answers { LONG } else { Duration::from_millis(20) };
        let builder = untimed_client(&server.url("/")).config(untimed().pong_timeout(limit));
        let mut client =
            Reconnecting::new(builder).time_of_day(now).wait_with(|_| ControlFlow::Continue(()));
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("one"));
        seconds.fetch_add(3600, Ordering::SeqCst);
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("two"));
        drop(client);
        server.join();
    }
}

#[test]
fn after_a_sleep_of_the_machine_the_next_attempt_is_made_at_once() {
    let server = Scripted::new(|listener| {
        reject(listener, 503);
        let mut stream = open(listener);
        stream.write_all(b"\x81\x02hi").unwrap();
        stream
    });
    let (seconds, now) = day();
    let builder = untimed_client(&server.url("/"));
    let (fails, has_failed) = mpsc::channel();
    let mut client = Reconnecting::new(builder)
        .time_of_day(now)
        .retry_if(move |ending| {
            fails.send(()).unwrap();
            ending.is_retryable()
        })
        .backoff(in_years());
    client.set_read_timeout(Some(Duration::from_millis(20)));
    // It sleeps when the time is up after the failure.
    while has_failed.try_recv().is_err() {
        assert!(is_read_timeout(&client.recv().unwrap_err()));
    }
    assert!(is_read_timeout(&client.recv().unwrap_err()));
    seconds.fetch_add(3600, Ordering::SeqCst);
    client.set_read_timeout(None);
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("hi"));
    drop(server.join());
}
