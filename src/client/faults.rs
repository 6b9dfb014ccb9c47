//! Sessions of a client, once for each call that it makes of its socket and each way in which that can fail: as a socket
//! over TCP, over TLS, through a proxy to which TLS is spoken, without and with TLS through its tunnel, and as a stream that
//! somebody has given to it.
//!
//! - What can be gone on from changes nothing of what is heard on either side, nor how the connection ends.
//! - Whatever else fails ends the connection once and for all, with an error that names what has failed; what was heard
//!   until then is what would have been.
//! - The transport is ended once at most, and dropped with the client.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::blocking_stream::BlockingStream;
use super::client::Client;
use super::closer::Closer;
use super::connection::ClientConnection;
use super::error::{ClientError, ClientTimeout};
#[cfg(feature = "tls")]
use super::proxy::{Proxy, ProxyError};
use super::transport::ClientStream;
#[cfg(feature = "tls")]
use super::wait::ConnectWait;
use super::wait::Waiter;
use super::waker::Waker;
#[cfg(feature = "deflate")]
use crate::deflate::DeflateConfig;
#[cfg(feature = "tls")]
use crate::handshake::Headers;
use crate::handshake::{ClientRequest, Response, Url};
use crate::io::faults::{Call, Fault, Faults};
use crate::io::transport::Stream;
use crate::protocol::{
    Accept, Config, Connection, Endpoint, Event, Fragment, MessageKind, Outcome, SystemEntropy,
    Workspace,
};
#[cfg(feature = "tls")]
use crate::tls::in_memory::{TlsEnd, certificates};
#[cfg(feature = "tls")]
use crate::tls::{TlsError, TlsSocket, TlsStream};

/// What the client runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Socket,
    #[cfg(feature = "tls")]
    Tls,
    /// Through a proxy of `https:`.
    #[cfg(feature = "tls")]
    Tunnel,
    /// The same, and TLS through its tunnel.
    #[cfg(feature = "tls")]
    TlsInTunnel,
    /// A stream of somebody else's, which has a timeout where a socket has nothing for now.
    Given,
}

/// One session: how it is set up, and what the client does when it is open.
struct Session {
    name: &'static str,
    config: Config,
    /// How many bytes a read or a write moves at most.
    capacity: usize,
    path: &'static str,
    play: fn(&mut Talk) -> Result<(), ClientError>,
}

impl Session {
    fn new(name: &'static str, play: fn(&mut Talk) -> Result<(), ClientError>) -> Self {
        Self { name, config: Config::new(), capacity: 300_000, path: "/", play }
    }
}

fn sessions() -> Vec<Session> {
    fn long() -> String {
        format!("echo {}", "long ".repeat(20_000))
    }
    vec![
        Session::new("an echo", |talk| {
            talk.send("echo words")?;
            talk.hear(1)?;
            talk.close()
        }),
        Session::new("a batch", |talk| {
            for number in 0..32 {
                talk.client().queue(format!("echo {number}"))?;
            }
            talk.flush()?;
            talk.hear(32)?;
            talk.close()
        }),
        Session::new("long messages", |talk| {
            for count in 1..3 {
                talk.send(&long())?;
                talk.hear(count)?;
            }
            talk.close()
        }),
        Session::new("fragments around a Ping", |talk| {
            let kind = MessageKind::Text;
            talk.write(|client| client.send_fragment(Fragment::more(kind, b"pieces ")))?;
            talk.write(|client| client.ping(b"between"))?;
            talk.write(|client| client.send_fragment(Fragment::last(kind, b"and all")))?;
            talk.hear(2)?;
            talk.close()
        }),
        #[cfg(feature = "deflate")]
        Session {
            config: Config::new().deflate(DeflateConfig::default().threshold(0)),
            ..Session::new("compression", |talk| {
                talk.send("echo compressed compressed")?;
                talk.send(&long())?;
                talk.hear(2)?;
                talk.send("echo last")?;
                talk.hear(3)?;
                talk.close()
            })
        },
        Session::new("a server that closes", |talk| {
            talk.send("echo words")?;
            talk.send("close")?;
            talk.hear(usize::MAX)
        }),
        Session::new("a server that leaves", |talk| {
            talk.send("echo words")?;
            talk.send("leave")?;
            talk.hear(usize::MAX)
        }),
        Session::new("a client that only sends", |talk| {
            for number in 0..5 {
                talk.send(&format!("quiet {number}"))?;
            }
            talk.close()
        }),
        Session { path: "/no", ..Session::new("a rejection", |_| Ok(())) },
        Session {
            capacity: 700,
            ..Session::new("a narrow link", |talk| {
                talk.send("many")?;
                talk.send(&format!("echo {}", "words ".repeat(500)))?;
                talk.hear(21)?;
                talk.close()
            })
        },
    ]
}

/// A client in a session, and what it has heard.
struct Talk {
    client: Option<Client>,
    heard: Vec<String>,
}

impl Talk {
    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is open")
    }

    fn send(&mut self, text: &str) -> Result<(), ClientError> {
        self.write(|client| client.send(text))
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        self.write(Client::flush)
    }

    /// Sends, and goes on with that where the timeout of a stream has passed: what was queued is queued still.
    fn write(
        &mut self,
        what: impl FnOnce(&mut Client) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut result = what(self.client());
        while let Err(ClientError::TimedOut(ClientTimeout::Write)) = result {
            result = self.client().flush();
        }
        result
    }

    /// Hears until so many messages have come in all, or the end has.
    fn hear(&mut self, count: usize) -> Result<(), ClientError> {
        while self.heard.len() < count {
            match self.client().next_event() {
                Ok(Some(Event::Message(message))) => {
                    self.heard.push(message.as_text().unwrap().to_owned());
                }
                Ok(Some(event)) => self.heard.push(format!("{event:?}")),
                Ok(None) => break,
                // A stream's own.
                Err(ClientError::TimedOut(ClientTimeout::Read)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ClientError> {
        let outcome = self.client().close(1000, "done")?;
        ClientError::of(&outcome).map_or(Ok(()), Err)
    }
}

/// A connection, and the server at its other end, which goes on whenever the client has looked for something in vain.
struct World {
    faults: Faults,
    capacity: usize,
    /// On their way to the server, and to the client.
    up: Vec<u8>,
    down: VecDeque<u8>,
    server: Connection,
    #[cfg(feature = "tls")]
    tls: Option<TlsEnd>,
    #[cfg(feature = "tls")]
    proxy: Option<ProxyEnd>,
    /// What wakes the client where it waits for the system: what it waits for has come at once.
    waker: Option<Arc<Waker>>,
    /// How often it may still wait.
    waits: usize,
    /// What the server has heard.
    heard: Vec<String>,
    is_up_ended: bool,
    is_down_ended: bool,
    is_reset: bool,
    shutdowns: usize,
    drops: usize,
}

impl World {
    /// The server reads, answers and writes.
    fn go_on(&mut self) {
        let mut bytes = std::mem::take(&mut self.up);
        #[cfg(feature = "tls")]
        if let Some(proxy) = &mut self.proxy {
            bytes = proxy.tls.decrypt(&bytes);
            if !proxy.is_tunnel {
                let answer = proxy.answer(&bytes);
                self.down.extend(proxy.tls.encrypt(answer, false));
                return;
            }
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            bytes = tls.decrypt(&bytes);
        }
        let mut input = &mut bytes[..];
        while let Some(event) = self.server.receive(&mut input) {
            match event {
                Event::Request(request) if request.path() == "/no" => {
                    self.server.reject(Response::forbidden()).unwrap();
                }
                Event::Request(_) => self.server.accept(Accept::new()).unwrap(),
                Event::Message(message) => {
                    let text = message.as_text().unwrap().to_owned();
                    self.heard.push(text.clone());
                    self.answer(text);
                }
                Event::Ping(_) => self.heard.push("a Ping".to_owned()),
                Event::Close(close) => self.heard.push(format!("{close:?}")),
                other => panic!("the server hears {other:?}"),
            }
        }
        let mut output = Vec::<u8>::new();
        while self.server.buffered_amount() > 0 {
            output.extend(self.server.output().flatten());
            self.server.consume_output(self.server.buffered_amount());
        }
        let ends = self.is_up_ended || self.server.wants_shutdown();
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            output = tls.encrypt(&output, ends && !self.is_down_ended);
        }
        #[cfg(feature = "tls")]
        if let Some(proxy) = &mut self.proxy {
            output = proxy.tls.encrypt(&output, ends && !self.is_down_ended);
        }
        if !self.is_down_ended {
            self.down.extend(output);
        }
        self.is_down_ended |= ends;
    }

    fn answer(&mut self, text: String) {
        let server = &mut self.server;
        match text.split(' ').next() {
            Some("close") => server.close(4000, "as told").unwrap(),
            Some("leave") => self.is_up_ended = true,
            Some("quiet") => {}
            Some("many") => (0..20).for_each(|number| {
                server.send(format!("{number} {}", "of many ".repeat(100))).unwrap();
            }),
            Some("pieces") => {
                let kind = MessageKind::Text;
                server.send_fragment(Fragment::more(kind, b"two ")).unwrap();
                server.send_fragment(Fragment::last(kind, b"pieces")).unwrap();
            }
            _ => server.send(text).unwrap(),
        }
    }

    /// How the next call fails, if it does.
    fn fault(&mut self, call: Call, available: usize) -> Option<Fault> {
        let fault = self.faults.next(call, available)?;
        self.is_reset |= fault.is_of_connection();
        Some(fault)
    }

    /// Has the client go on at once where it is told to wait.
    fn wake(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        if let (Err(error), Some(waker)) = (&result, &self.waker)
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.waits = self.waits.checked_sub(1).expect("something comes of the waiting");
            waker.wake();
        }
        result
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.down.is_empty() {
            if self.is_down_ended {
                return Ok(0);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(self.capacity);
        self.down.read(&mut buffer[..most])
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(self.shutdowns == 0, "a write after the end");
        let count = bytes.len().min(self.capacity - self.up.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.up.extend(&bytes[..count]);
        Ok(count)
    }
}

/// A proxy to which TLS is spoken.
#[cfg(feature = "tls")]
struct ProxyEnd {
    tls: TlsEnd,
    heard: Vec<u8>,
    /// It has connected, and hands on what comes.
    is_tunnel: bool,
}

#[cfg(feature = "tls")]
impl ProxyEnd {
    fn new() -> Self {
        Self { tls: TlsEnd::server(), heard: Vec::new(), is_tunnel: false }
    }

    /// What it says to what it has heard, which is no more than the request for a tunnel.
    fn answer(&mut self, bytes: &[u8]) -> &'static [u8] {
        self.heard.extend(bytes);
        if !self.heard.ends_with(b"\r\n\r\n") {
            return b"";
        }
        assert!(self.heard.starts_with(b"CONNECT localhost:"), "{}", self.heard.escape_ascii());
        self.is_tunnel = true;
        b"HTTP/1.1 200 Connected\r\n\r\n"
    }
}

/// The client's end.
struct End(Arc<Mutex<World>>);

impl End {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world();
        if world.down.is_empty() {
            world.go_on();
        }
        let available = world.down.len().min(buffer.len());
        let result = match world.fault(Call::Read, available) {
            None => world.read(buffer),
            Some(fault) => fault.answer(|| world.read(&mut buffer[..1])),
        };
        world.wake(result)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world();
        let available = bytes.len().min(world.capacity - world.up.len());
        let result = match world.fault(Call::Write, available) {
            None => world.write(bytes),
            Some(fault) => fault.answer(|| world.write(&bytes[..1])),
        };
        world.wake(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shutdown(&mut self) -> io::Result<()> {
        let mut world = self.world();
        let fault = world.fault(Call::Shutdown, 0);
        world.shutdowns += 1;
        world.is_up_ended = true;
        fault.map_or(Ok(()), |fault| fault.answer(|| Ok(0)).map(drop))
    }
}

impl ClientStream for End {}

impl Drop for End {
    fn drop(&mut self) {
        self.world().drops += 1;
    }
}

/// Hides that it is a socket, whose direction can be ended.
struct Given(End);

impl Read for Given {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Given {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A stream that blocks waits here until there is room.
        let mut world = self.0.world();
        if world.up.len() == world.capacity {
            world.go_on();
        }
        drop(world);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a session has come to.
struct Run {
    faults: Faults,
    by_client: Vec<String>,
    by_server: Vec<String>,
    outcome: Option<Outcome>,
    error: Option<ClientError>,
}

fn open(session: &Session, kind: Kind, end: End) -> Result<Client, ClientError> {
    let url = Url::parse(&format!("ws://localhost{}", session.path)).unwrap();
    let request = ClientRequest::new(&url);
    let mut workspace = Workspace::with_entropy(SystemEntropy::new());
    // Nothing here takes time.
    let config = session.config.clone().ping_interval(None);
    let endpoint = Endpoint::client(request, &config, &mut workspace)?;
    let stream: Box<dyn ClientStream> = match kind {
        Kind::Socket => Box::new(end),
        #[cfg(feature = "tls")]
        Kind::Tls => Box::new(TlsSocket::client(certificates().0, "localhost", end)?),
        #[cfg(feature = "tls")]
        Kind::Tunnel => Box::new(tunnel(&url, end)?),
        #[cfg(feature = "tls")]
        Kind::TlsInTunnel => {
            let tunnel = tunnel(&url, end)?;
            Box::new(TlsSocket::client(certificates().0, "localhost", tunnel)?)
        }
        Kind::Given => Box::new(BlockingStream(Given(end))),
    };
    let waiter = match kind {
        Kind::Given => Waiter::BlocksItself,
        _ => Waiter::Simulated { left: 10_000 },
    };
    let connection = ClientConnection::new(endpoint, workspace, stream);
    Client::open(connection, waiter, None, Closer::new(), "the server")
}

/// Has a proxy connect to the server, as `ClientBuilder` does.
#[cfg(feature = "tls")]
fn tunnel(url: &Url, end: End) -> Result<TlsStream<End>, ClientError> {
    let mut wait = ConnectWait::new(&Closer::new())?;
    let world = Arc::clone(&end.0);
    world.lock().unwrap().waker = Some(wait.waker());
    let proxy = Proxy::parse("https://localhost:8443").unwrap();
    let mut stream = proxy.secure(certificates().0, end)?;
    proxy.tunnel(&mut stream, &mut wait, url, &Headers::new(), &Config::new(), None)?;
    world.lock().unwrap().waker = None;
    Ok(stream)
}

fn run(session: &Session, kind: Kind, faults: Faults) -> Run {
    let world = Arc::new(Mutex::new(World {
        faults,
        capacity: session.capacity,
        up: Vec::new(),
        down: VecDeque::new(),
        server: Connection::server(&session.config.clone().ping_interval(None)),
        #[cfg(feature = "tls")]
        tls: matches!(kind, Kind::Tls | Kind::TlsInTunnel).then(TlsEnd::server),
        #[cfg(feature = "tls")]
        proxy: matches!(kind, Kind::Tunnel | Kind::TlsInTunnel).then(ProxyEnd::new),
        waker: None,
        waits: 1_000,
        heard: Vec::new(),
        is_up_ended: false,
        is_down_ended: false,
        is_reset: false,
        shutdowns: 0,
        drops: 0,
    }));
    let mut talk = Talk { client: None, heard: Vec::new() };
    let mut result = match open(session, kind, End(Arc::clone(&world))) {
        Ok(client) => {
            talk.client = Some(client);
            (session.play)(&mut talk)
        }
        Err(error) => Err(error),
    };
    let mut outcome = None;
    if let Some(mut client) = talk.client.take() {
        if result.is_ok() && client.outcome().is_none() {
            result = client.close(1000, "done").map(drop);
        }
        // Who only sends is told of a failure before all that the peer said last was read.
        while client.outcome().is_none() {
            if let Ok(Some(message)) = client.recv() {
                talk.heard.push(message.as_text().unwrap().to_owned());
            }
        }
        outcome = client.outcome().cloned();
        let ended = outcome.as_ref().expect("a session comes to its end");
        // It ends once: whoever asks again is told the same, and nothing else comes.
        for _ in 0..2 {
            match client.recv() {
                Ok(None) => assert!(ended.was_clean(), "{ended:?}"),
                Ok(Some(message)) => talk.heard.push(message.as_text().unwrap().to_owned()),
                Err(_) => assert!(!ended.was_clean(), "{ended:?}"),
            }
            assert_eq!(client.outcome(), Some(ended));
        }
        client.send("too late").unwrap_err();
    }
    let mut world = Arc::into_inner(world).expect("the client has let go").into_inner().unwrap();
    assert_eq!(world.drops, 1, "the transport was dropped");
    assert!(world.shutdowns <= 1, "the transport was ended {} times", world.shutdowns);
    Run {
        faults: std::mem::take(&mut world.faults),
        by_client: talk.heard,
        by_server: world.heard,
        outcome,
        error: result.err(),
    }
}

/// Holds a session in which a call has failed against one in which none has.
fn check(whole: &Run, run: &Run, call: Call, fault: Fault) {
    assert!(run.faults.has_fired(), "the fault did not fire");
    if fault.is_harmless(call) {
        assert_eq!((&run.by_client, &run.by_server), (&whole.by_client, &whole.by_server));
        assert_eq!(run.outcome, whole.outcome);
        assert_eq!(
            run.error.as_ref().map(ToString::to_string),
            whole.error.as_ref().map(ToString::to_string)
        );
        return;
    }
    assert!(whole.by_client.starts_with(&run.by_client), "the client heard {:?}", run.by_client);
    assert!(whole.by_server.starts_with(&run.by_server), "the server heard {:?}", run.by_server);
    let Some(error) = &run.error else { return };
    if whole.error.as_ref().is_some_and(|other| other.to_string() == error.to_string()) {
        return;
    }
    #[cfg(feature = "tls")]
    if matches!(
        error,
        ClientError::Tls(TlsError::Ended) | ClientError::Proxy(ProxyError::Tls(_, TlsError::Ended))
    ) {
        // TLS says of a handshake only that it was ended.
        return;
    }
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    let (mut causes, mut is_reset) = (Vec::new(), false);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            causes.push(error.raw_os_error());
            // TLS gives first what it has decrypted, so a write to the same socket may be before it with its error.
            is_reset |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        source = error.source();
    }
    // Where the peer only seems to have ended, there is no more to be said of it.
    let is_named = fault == Fault::Zero
        || causes.contains(&fault.number())
        || is_reset && fault.is_of_connection();
    assert!(is_named, "{error:?} names {causes:?}");
}

fn every_call_fails_once(kind: Kind) {
    let sessions = sessions();
    let mut count = 0;
    for session in &sessions {
        let whole = run(session, kind, Faults::default());
        for (at, fault) in whole.faults.all() {
            if kind == Kind::Given && !is_of_given(fault) {
                continue;
            }
            count += 1;
            let call = whole.faults.call(at);
            let result = catch_unwind(AssertUnwindSafe(|| {
                check(&whole, &run(session, kind, Faults::plan(at, fault)), call, fault);
            }));
            let name = session.name;
            assert!(result.is_ok(), "{name}, {kind:?}: call {at}, {call:?}: {fault:?}");
        }
    }
    println!("{} sessions, {count} faults, {kind:?}", sessions.len());
}

/// To a stream that has timeouts they are no fault, and the tests of such streams are about that.
fn is_of_given(fault: Fault) -> bool {
    let Some(number) = fault.number() else { return true };
    io::Error::from_raw_os_error(number).kind() != io::ErrorKind::TimedOut
}

#[test]
fn each_call_of_a_socket_fails_once_in_each_way() {
    every_call_fails_once(Kind::Socket);
}

#[cfg(feature = "tls")]
#[test]
fn each_call_below_tls_fails_once_in_each_way() {
    every_call_fails_once(Kind::Tls);
}

#[cfg(feature = "tls")]
#[test]
fn each_call_below_a_tunnel_fails_once_in_each_way() {
    every_call_fails_once(Kind::Tunnel);
}

#[cfg(feature = "tls")]
#[test]
fn each_call_below_tls_in_a_tunnel_fails_once_in_each_way() {
    every_call_fails_once(Kind::TlsInTunnel);
}

#[test]
fn each_call_of_a_stream_that_was_given_fails_once_in_each_way() {
    every_call_fails_once(Kind::Given);
}
