use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use framewire::handshake::{ResponseError, accept_key};
use framewire::rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use framewire::rustls::pki_types::ServerName;
use framewire::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, NamedGroup, ServerConfig,
    ServerConnection, StreamOwned,
};
use framewire::{ClientError, ClientTimeout, Outcome, Reconnecting, TlsError};

use crate::support::{Authority, Echo, LONG, Running, next_outcome};
use crate::untimed::{untimed, untimed_client, untimed_server};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
/// A Close with code 1000, as a client sends it, with a mask of zeros.
const MASKED_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

/// An application record of 32 bytes that nobody has encrypted.
pub(crate) fn bad_record() -> Vec<u8> {
    [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat()
}

fn tcp(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// A client whose every byte is the test's.
pub(crate) fn open_by_hand(
    authority: &Authority,
    address: std::net::SocketAddr,
) -> StreamOwned<ClientConnection, TcpStream> {
    let config: Arc<ClientConfig> = authority.client().into();
    let session = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, tcp(address));
    stream.write_all(REQUEST).unwrap();
    assert!(read_head(&mut stream).starts_with(b"HTTP/1.1 101 "));
    stream
}

/// A server whose every byte is the test's; it has accepted the first client.
pub(crate) fn accept_by_hand(
    authority: &Authority,
    listener: &TcpListener,
) -> StreamOwned<ServerConnection, TcpStream> {
    let config: Arc<ServerConfig> = authority.server().into();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let head = String::from_utf8(read_head(&mut stream)).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    stream
        .write_all(
            &[
                &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Accept: "[..],
                &accept_key(key.as_bytes()),
                b"\r\n\r\n",
            ]
            .concat(),
        )
        .unwrap();
    stream
}

fn read_head(stream: &mut impl Read) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    head
}

#[test]
fn a_client_that_skips_close_notify_after_its_close_has_closed_cleanly() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let mut stream = open_by_hand(&authority, server.address);
    stream.write_all(&MASKED_CLOSE).unwrap();
    let mut close = [0; 4];
    stream.read_exact(&mut close).unwrap();
    assert_eq!(close, CLOSE);
    // The server says both ends of its direction: that of TLS, and that of TCP.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "no close_notify");
    assert_eq!(stream.sock.read(&mut [0]).unwrap(), 0);
    drop(stream.sock);
    assert!(next_outcome(&seen).was_clean());
}

#[test]
fn a_client_that_is_gone_without_a_close_is_lost() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let mut stream = open_by_hand(&authority, server.address);
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let outcome = next_outcome(&seen);
    assert_eq!(outcome, Outcome::Lost { sent: None, received: None, cause: None });

    // With a close_notify it is no better: a WebSocket ends with a Close.
    let mut stream_two = open_by_hand(&authority, server.address);
    stream_two.conn.send_close_notify();
    stream_two.flush().unwrap();
    let outcome = next_outcome(&seen);
    assert_eq!(outcome, Outcome::Lost { sent: None, received: None, cause: None });
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_server_that_skips_close_notify_after_its_close_has_closed_cleanly() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = accept_by_hand(&authority, &listener);
            stream.write_all(&CLOSE).unwrap();
            let mut close = [0; 8];
            stream.read_exact(&mut close).unwrap();
            assert_eq!(close[..2], MASKED_CLOSE[..2]);
            // The socket is dropped, and TLS says nothing.
            drop(stream.sock);

            let stream = accept_by_hand(&authority, &listener);
            drop(stream.sock);
        });
        let connect = || untimed_client(&url).tls(authority.client()).connect().unwrap();
        let mut client = connect();
        client.set_read_timeout(Some(LONG));
        assert_eq!(client.recv().unwrap(), None);
        assert!(client.outcome().unwrap().was_clean());

        let mut client = connect();
        client.set_read_timeout(Some(LONG));
        let error = client.recv().unwrap_err();
        assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
    });
}

/// "Upon transmission or receipt of a fatal alert message, both parties MUST immediately close the connection"
/// (RFC 8446 section 6.2). The client keeps its end open, and no time limit helps.
#[test]
fn a_bad_record_ends_an_open_connection_at_once() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let mut stream = open_by_hand(&authority, server.address);
    stream.sock.write_all(&bad_record()).unwrap();
    let outcome = next_outcome(&seen);
    assert!(matches!(outcome, Outcome::Lost { sent: None, received: None, .. }), "{outcome:?}");
    let error = outcome.cause().and_then(|cause| cause.downcast_ref::<TlsError>());
    assert!(matches!(error, Some(TlsError::Tls(Error::DecryptError))), "{outcome:?}");
    // The client is told why before the end.
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    assert_eq!(error, Some(&Error::AlertReceived(AlertDescription::BadRecordMac)));
}

#[test]
fn a_fatal_alert_ends_an_open_connection_at_once() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let mut stream = open_by_hand(&authority, server.address);
    // The client finds fault with a record, of the server it believes, and says so.
    stream.conn.read_tls(&mut &bad_record()[..]).unwrap();
    stream.conn.process_new_packets().unwrap_err();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock).unwrap();
    }
    let outcome = next_outcome(&seen);
    assert!(matches!(outcome, Outcome::Lost { sent: None, received: None, .. }), "{outcome:?}");
    let error = outcome.cause().and_then(|cause| cause.downcast_ref::<TlsError>());
    assert_eq!(error.and_then(TlsError::alert), Some(AlertDescription::BadRecordMac), "{outcome}");
}

/// What came whole before it is delivered; the answer can no longer be sent.
#[test]
fn a_bad_record_does_not_hide_the_message_before_it() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let mut stream = open_by_hand(&authority, server.address);
    let mut bytes = Vec::new();
    stream.conn.writer().write_all(&MASKED_CLOSE).unwrap();
    stream.conn.write_tls(&mut bytes).unwrap();
    bytes.extend(bad_record());
    stream.sock.write_all(&bytes).unwrap();
    let outcome = next_outcome(&seen);
    assert_eq!(outcome.code().0, 1000);
    assert!(outcome.cause().is_some_and(|cause| cause.is::<TlsError>()), "{outcome:?}");
}

#[test]
fn a_record_that_was_tampered_with_is_an_error_of_tls() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = accept_by_hand(&authority, &listener);
            stream.write_all(b"\x81\x05whole").unwrap();
            stream.sock.write_all(&bad_record()).unwrap();
            let mut rest = Vec::new();
            // The alert, and the end.
            let _ = stream.sock.read_to_end(&mut rest);
        });
        let builder = untimed_client(&url).tls(authority.client());
        let mut client = builder.connect().unwrap();
        client.set_read_timeout(Some(LONG));
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("whole"));
        for _ in 0..2 {
            let error = client.recv().unwrap_err();
            assert!(matches!(error, ClientError::Tls(TlsError::Tls(_))), "{error:?}");
        }
        drop(client);
    });
}

/// What TLS can no longer carry was not sent.
#[test]
fn a_message_that_a_fault_of_tls_cuts_off_was_not_sent() {
    let authority = Authority::new();
    for is_split in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("wss://{}/", listener.local_addr().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = accept_by_hand(&authority, &listener);
                stream.read_exact(&mut [0; 100_000]).unwrap();
                stream.sock.write_all(&bad_record()).unwrap();
                let _ = stream.sock.read_to_end(&mut Vec::new());
            });
            let config = untimed().no_deflate();
            let builder = untimed_client(&url).tls(authority.client()).config(config);
            let mut client = builder.connect().unwrap();
            let message = vec![7; 16 << 20];
            let error = if is_split {
                let (_reader, mut writer) = client.split().unwrap();
                writer.send(message).unwrap_err()
            } else {
                client.send(message).unwrap_err()
            };
            assert!(matches!(error, ClientError::Tls(TlsError::Tls(_))), "{error:?}");
        });
    }
}

#[test]
fn plain_text_on_the_tls_port_is_answered_with_an_alert_and_the_end() {
    let authority = Authority::new();
    let config = untimed();
    let (server, _seen) = Echo::over(authority.server(), config);
    let mut stream = tcp(server.address);
    // The first request is followed by more, which the server must not let spoil its answer.
    stream.write_all(&REQUEST.repeat(20)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    // A fatal alert, in a record of its own.
    assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{answer:?}");

    let url = format!("ws://{}/", server.address);
    let error = untimed_client(&url).connect().unwrap_err();
    let speaks_tls = ResponseError::PeerSpeaksTls;
    assert!(matches!(&error, ClientError::Handshake(error) if *error == speaks_tls), "{error:?}");

    let builder = untimed_client(&server.url()).tls(authority.client());
    assert!(builder.connect().unwrap().close(1000, "").unwrap().was_clean());
}

#[test]
fn plain_text_that_never_ends_is_cut_off() {
    let authority = Authority::new();
    let short = Duration::from_millis(100);
    let config = untimed().handshake_timeout(short).close_timeout(short);
    let (server, _seen) = Echo::over(authority.server(), config);
    let mut quiet = tcp(server.address);
    quiet.write_all(REQUEST).unwrap();
    // A server that is late finds the deadline passed, and may reset the connection.
    let _ = quiet.read_to_end(&mut Vec::new());
    let mut loud = tcp(server.address);
    // Either bound, in bytes or in time, resets the connection.
    for stream in [&mut loud, &mut quiet] {
        let deadline = Instant::now() + LONG;
        while stream.write_all(REQUEST).is_ok() {
            assert!(Instant::now() < deadline, "still connected");
            thread::yield_now();
        }
    }
}

#[test]
fn tls_on_the_plain_port_is_a_clear_error() {
    let (server, _seen) = Echo::start(untimed_server());
    let error = untimed_client(&server.url()).connect().unwrap_err();
    let ClientError::Tls(failure) = &error else { panic!("{error:?}") };
    assert!(failure.is_not_tls(), "{error:?}");
    assert_eq!(error.to_string(), "the peer does not speak TLS here");

    let mut stream = tcp(server.address);
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn the_deadline_of_the_handshake_covers_that_of_tls() {
    let authority = Authority::new();
    let config = untimed().handshake_timeout(Duration::from_millis(100));
    let (server, _seen) = Echo::over(authority.server(), config.clone());
    // A client that says nothing, and one that stops in the middle of its hello.
    for hello in [&[][..], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let mut stream = tcp(server.address);
        stream.write_all(hello).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    // A server that says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    let error = untimed_client(&url).config(config).connect().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(ClientTimeout::Tls(_))), "{error:?}");
}

#[test]
fn an_end_in_the_middle_of_the_handshake_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            // Once in good order and once with its hello unread, which resets the connection.
            let (mut stream, _) = listener.accept().unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.peek(&mut [0]).unwrap();
            drop(stream);
        });
        for _ in 0..2 {
            let error = untimed_client(&url).connect().unwrap_err();
            assert!(matches!(error, ClientError::Tls(TlsError::Ended)), "{error:?}");
            assert!(error.is_retryable());
        }
    });
}

#[test]
fn who_finds_no_room_is_turned_away() {
    let authority = Authority::new();
    let server = || untimed_server().tls(authority.server()).max_connections(1);
    let (strict, _seen) = Echo::start(server().spare_connections(0));
    let connect =
        |server: &Running| untimed_client(&server.url()).tls(authority.client()).connect();
    let _first = connect(&strict).unwrap();
    let error = connect(&strict).unwrap_err();
    assert!(matches!(error, ClientError::Tls(TlsError::Ended)), "{error:?}");
    // Who is let in to ask is told why.
    let (server, seen) = Echo::start(server());
    let connect = || connect(&server);
    let mut first = connect().unwrap();
    let error = connect().unwrap_err();
    assert!(matches!(&error, ClientError::Rejected(answer) if answer.status() == 503), "{error:?}");
    assert!(first.close(1000, "").unwrap().was_clean());
    assert!(next_outcome(&seen).was_clean());
    connect().unwrap();
}

/// Sessions that nobody can resume.
#[derive(Debug)]
struct Panicking;

impl ClientSessionStore for Panicking {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        panic!("as the test wants it")
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[test]
fn an_attempt_beside_the_caller_that_panics_has_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config: Arc<ClientConfig> = Authority::new().client().into();
    let mut config = ClientConfig::clone(&config);
    config.resumption = Resumption::store(Arc::new(Panicking));
    let builder = untimed_client(&format!("wss://{}/", listener.local_addr().unwrap()));
    let mut client = Reconnecting::new(builder.tls(config)).retry_if(|_| false);
    client.set_read_timeout(Some(LONG));
    let error = client.recv().unwrap_err();
    assert!(matches!(error, ClientError::Io(_)), "{error:?}");
    assert_eq!(error.to_string(), "the thread panicked");
}
