use std::cell::Cell;
use std::io::{self, BufRead, IoSlice, Write};
use std::mem;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::TlsError;
use crate::client::ClientStream;
use crate::io::transport::{self, SLICES, Stopped, Transport};
use crate::protocol::{Chunks, PayloadBuffer};

/// How much ciphertext one read takes off the socket: so much at the most where as much may be decrypted, and never
/// less than the other.
const LONG_READ_ROOM: usize = 64 * 1024;
const READ_ROOM: usize = 16 * 1024;

thread_local! {
    /// The room for it, which all connections of a thread use in turn, so that it is filled with zeros only once.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How much ciphertext one read decrypts at the most, but for the last [`READ_ROOM`], whatever plaintext is in it.
const MAX_READ: usize = 128 * 1024;

/// How much plaintext rustls holds as ciphertext, at the most, while the socket takes nothing.
const WRITE_ROOM: usize = 64 * 1024;

/// How many bytes of a client with which the handshake of TLS has failed are read and thrown away.
const MAX_DISCARDED: usize = 256 * 1024;

/// TLS over a socket that does not block. The handshake goes on in whatever read or write comes next.
#[derive(Debug)]
pub(crate) struct TlsSocket<S> {
    session: rustls::Connection,
    socket: S,
    /// Ciphertext that was read and is left for the next turn.
    unread: Vec<u8>,
    /// How much ciphertext the last read has given to rustls.
    wire: usize,
    /// Something has come.
    has_heard: bool,
    /// How many bytes at the front of the output have become ciphertext that is not all written. They
    /// are still the writer's, which offers them again: so its backpressure and its deadlines see
    /// what the peer has taken, and nothing is counted twice.
    claimed: usize,
    ending: Ending,
    error: Option<TlsError>,
    /// What the next read has to tell: this one has brought something.
    broken: Option<io::Error>,
    /// A server whose handshake has failed waits until the client has gone.
    lingers: bool,
    discarded: usize,
}

/// How far the end of the sending direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// The socket's direction is ended once all ciphertext is written.
    Wanted,
    Done,
}

impl<S: Transport + Write> TlsSocket<S> {
    /// The side of a client that wants to speak with a server of this name.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: &str,
        socket: S,
    ) -> Result<Self, TlsError> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::ServerName(name.to_owned()))?;
        Ok(Self::new(ClientConnection::new(config, server)?.into(), socket))
    }

    /// The side of a server.
    pub(crate) fn server(config: Arc<ServerConfig>, socket: S) -> Result<Self, TlsError> {
        Ok(Self::new(ServerConnection::new(config)?.into(), socket))
    }

    /// A session that somebody else has begun.
    pub(crate) fn adopted(session: rustls::Connection, socket: S) -> Self {
        let mut adopted = Self::new(session, socket);
        if !adopted.session.is_handshaking() {
            adopted.session.set_buffer_limit(Some(WRITE_ROOM));
        }
        adopted
    }

    fn new(mut session: rustls::Connection, socket: S) -> Self {
        // What is written before the handshake is over waits in rustls. It is one request at the most:
        // an engine has nothing else to say before it has heard something.
        session.set_buffer_limit(None);
        Self {
            session,
            socket,
            unread: Vec::new(),
            wire: 0,
            has_heard: false,
            claimed: 0,
            ending: Ending::No,
            error: None,
            broken: None,
            lingers: false,
            discarded: 0,
        }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.socket
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Gives back what somebody else has read off the socket before this one read anything.
    pub(crate) fn put_back(&mut self, ciphertext: &[u8]) {
        self.unread.extend_from_slice(ciphertext);
    }

    pub(crate) fn session(&self) -> &rustls::Connection {
        &self.session
    }

    /// Whether anything has come of the peer.
    pub(crate) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Why TLS has failed, if it has.
    pub(crate) fn error(&self) -> Option<&TlsError> {
        self.error.as_ref()
    }

    /// Decrypts up to `limit` bytes. [`Stopped::Blocked`] says that neither rustls nor the socket has
    /// anything left.
    ///
    /// A record has 22 bytes or more around its plaintext, and that may be empty: what counts is the wire, an
    /// eighth more of it than is asked for, and with that the records that are decrypted.
    fn decrypt(&mut self, limit: usize, put: impl FnMut(&[u8])) -> (usize, Stopped) {
        // One connection may read through another, which then has a room of its own.
        let mut input = Ciphertext::new(ROOM.try_with(Cell::take).unwrap_or_default());
        input.put_back(&mem::take(&mut self.unread));
        let result = self.decrypt_from(&mut input, limit, put);
        self.unread = input.bytes().to_vec();
        // A thread that ends needs none.
        let _ = ROOM.try_with(|room| room.set(input.room));
        result
    }

    fn decrypt_from(
        &mut self,
        input: &mut Ciphertext,
        limit: usize,
        mut put: impl FnMut(&[u8]),
    ) -> (usize, Stopped) {
        let mut count = 0;
        let budget = limit.saturating_add(limit / 8).min(MAX_READ);
        let mut drained = false;
        self.wire = 0;
        loop {
            let mut reader = self.session.reader();
            match reader.fill_buf() {
                Ok([]) => return (count, Stopped::Eof),
                Ok(plaintext) => {
                    let taken = plaintext.len().min(limit - count);
                    put(&plaintext[..taken]);
                    reader.consume(taken);
                    count += taken;
                    if count == limit {
                        return (count, Stopped::Done);
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end without a close_notify. Whether anything is missing is for the engine to
                // say, which knows of the closing handshake.
                Err(_) => return (count, Stopped::Eof),
            }
            // A short read has emptied the socket; but the end may have come with it, of which no event
            // tells again. Whoever got bytes reads on and finds it; who got none would wait.
            if drained && count > 0 && input.is_empty() && self.error.is_none() {
                return (count, Stopped::Blocked);
            }
            // What was read is decrypted: to keep it would take a copy.
            if self.wire >= budget && input.is_empty() {
                return (count, Stopped::Done);
            }
            match self.receive(input, budget.saturating_sub(self.wire)) {
                (0, Stopped::Done) => {}
                (0, Stopped::Broken(error)) if count > 0 => {
                    self.broken = Some(error);
                    return (count, Stopped::Done);
                }
                (0, stopped) => return (count, stopped),
                (_, stopped) => drained = !stopped.is_done(),
            }
        }
    }

    /// Gives ciphertext to rustls: what is there, or what one read of the socket brings.
    fn receive(&mut self, input: &mut Ciphertext, budget: usize) -> (usize, Stopped) {
        if let Some(error) = self.broken.take() {
            return (0, Stopped::Broken(error));
        }
        let size = budget.clamp(READ_ROOM, LONG_READ_ROOM);
        if let Some(error) = &self.error {
            let stopped = broken(error);
            return if self.lingers {
                self.discard(stopped, input.room(size))
            } else {
                (0, stopped)
            };
        }
        if !input.is_empty() {
            self.process(input);
            return (0, Stopped::Done);
        }
        let (count, stopped) = Transport::read(&mut self.socket, input.room(size));
        input.filled(count);
        if count > 0 {
            self.process(input);
        } else if self.session.is_handshaking() && is_end(&stopped) {
            return (0, broken(self.error.insert(TlsError::Ended)));
        }
        (count, stopped)
    }

    /// Has ciphertext decrypted up to the first plaintext, which is to be taken before rustls takes more.
    fn process(&mut self, input: &mut Ciphertext) {
        self.has_heard = true;
        while !input.is_empty() {
            match self.session.read_tls(&mut input.bytes()) {
                // Nothing counts behind a close_notify.
                Ok(0) => return input.clear(),
                Ok(count) => {
                    input.consume(count);
                    self.wire += count;
                }
                Err(error) => {
                    input.clear();
                    return self.fail(rustls::Error::General(error.to_string()));
                }
            }
            let has_plaintext = match self.session.process_new_packets() {
                Ok(state) => state.plaintext_bytes_to_read() > 0,
                Err(error) => {
                    input.clear();
                    return self.fail(error);
                }
            };
            if !self.session.is_handshaking() {
                self.session.set_buffer_limit(Some(WRITE_ROOM));
            }
            if has_plaintext {
                return;
            }
        }
    }

    /// Notes why TLS has failed, and tells the peer.
    #[cold]
    fn fail(&mut self, error: rustls::Error) {
        // The alert is dropped if the peer does not take it now.
        let _ = self.send();
        self.error = Some(error.into());
        if let rustls::Connection::Server(session) = &self.session {
            self.lingers = session.is_handshaking();
            self.ending = Ending::Done;
            let _ = self.socket.shutdown();
        }
    }

    /// After a failure of the handshake: a server waits until the client has gone, up to a bound. A socket
    /// that is closed with input unread resets the connection, and the client would not see the alert.
    ///
    /// Not later: "both parties MUST immediately close the connection" (RFC 8446 section 6.2), and the
    /// application must not go on with one that nothing can be sent on.
    #[cold]
    fn discard(&mut self, broken: Stopped, room: &mut [u8]) -> (usize, Stopped) {
        while self.discarded < MAX_DISCARDED {
            let (count, stopped) = Transport::read(&mut self.socket, room);
            self.discarded += count;
            self.wire += count;
            if count == 0 && matches!(stopped, Stopped::Blocked) {
                return (0, stopped);
            }
            if count == 0 {
                break;
            }
        }
        (0, broken)
    }

    /// Writes ciphertext until none is left or the socket stops.
    pub(super) fn send(&mut self) -> (usize, Stopped) {
        let mut total = 0;
        while self.session.wants_write() {
            match transport::retry(|| self.session.write_tls(&mut self.socket)) {
                Ok(0) => return (total, Stopped::Broken(io::ErrorKind::WriteZero.into())),
                Ok(count) => total += count,
                Err(error) => return (total, Stopped::by(error)),
            }
        }
        if self.ending == Ending::Wanted {
            self.ending = Ending::Done;
            // If this fails the peer is gone, which reading will tell.
            let _ = self.socket.shutdown();
        }
        // The transport below may hold bytes of its own, too.
        match self.socket.flush() {
            Ok(()) => (total, Stopped::Done),
            Err(error) => (total, Stopped::by(error)),
        }
    }

    /// Encrypts, and writes what the socket takes: how much of this has left. While it has not, the same is to be
    /// offered again.
    pub(super) fn write_slices(&mut self, slices: &[IoSlice<'_>]) -> (usize, Stopped) {
        if let Some(error) = &self.error {
            if self.lingers {
                // An answer to what was no request: nobody will ever read it.
                return (slices.iter().map(|slice| slice.len()).sum(), Stopped::Done);
            }
            return (0, broken(error));
        }
        let sent = self.send();
        if self.claimed > 0 || !sent.1.is_done() {
            return self.settle(sent);
        }
        if slices.is_empty() {
            return (0, Stopped::Done);
        }
        let early = self.session.is_handshaking();
        let taken = match self.session.writer().write_vectored(slices) {
            Ok(0) => return (0, Stopped::Broken(io::ErrorKind::WriteZero.into())),
            Ok(taken) => taken,
            Err(error) => return (0, Stopped::Broken(error)),
        };
        let sent = self.send();
        if early {
            return (taken, sent.1);
        }
        self.claimed = taken;
        self.settle(sent)
    }

    /// Reports how much of the claimed output has left with this much ciphertext: not all before the
    /// last record is whole, since the peer can read nothing of it before.
    fn settle(&mut self, (sent, stopped): (usize, Stopped)) -> (usize, Stopped) {
        let count = match &stopped {
            Stopped::Done => self.claimed,
            _ => sent.min(self.claimed.saturating_sub(1)),
        };
        self.claimed -= count;
        (count, stopped)
    }
}

impl<S: Transport + Write + Send> ClientStream for TlsSocket<S> {
    fn is_securing(&self) -> bool {
        self.session.is_handshaking()
    }
}

impl<S: Transport + Write> Transport for TlsSocket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        let mut filled = 0;
        self.decrypt(buffer.len(), |plaintext| {
            buffer[filled..filled + plaintext.len()].copy_from_slice(plaintext);
            filled += plaintext.len();
        })
    }

    // Not in a loop: decrypting goes on by itself as far as it may in one turn.
    fn read_into(&mut self, payload: &mut PayloadBuffer, limit: usize) -> (usize, Stopped) {
        self.decrypt(limit, |plaintext| payload.append(plaintext))
    }

    fn wire_bytes(&self, _count: usize) -> usize {
        self.wire
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        let mut room = [IoSlice::new(&[]); SLICES];
        let mut offered = 0;
        for slice in slices.take(SLICES) {
            room[offered] = IoSlice::new(slice);
            offered += 1;
        }
        self.write_slices(&room[..offered])
    }

    fn is_flushed(&self) -> bool {
        let is_flushed = !self.session.wants_write()
            && self.ending != Ending::Wanted
            && self.socket.is_flushed();
        self.error.is_some() || is_flushed
    }

    fn shutdown(&mut self) -> io::Result<()> {
        if self.error.is_some() || self.ending != Ending::No {
            return Ok(());
        }
        self.session.send_close_notify();
        self.ending = Ending::Wanted;
        match self.send().1 {
            Stopped::Broken(error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Ciphertext that was read, at the front of some room.
struct Ciphertext {
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl Ciphertext {
    fn new(room: Vec<u8>) -> Self {
        Self { room, start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The room for a read of so many bytes, in place of what is there.
    fn room(&mut self, size: usize) -> &mut [u8] {
        self.clear();
        if self.room.len() < size {
            self.room.resize(size.max(LONG_READ_ROOM), 0);
        }
        &mut self.room[..size]
    }

    /// The first `count` bytes of the room have been filled.
    fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
    }

    /// Takes what an earlier read has left.
    fn put_back(&mut self, left: &[u8]) {
        if !left.is_empty() {
            self.room(left.len()).copy_from_slice(left);
            self.filled(left.len());
        }
    }
}

/// The end of a transport over which TLS has failed.
#[cold]
fn broken(error: &TlsError) -> Stopped {
    Stopped::Broken(io::Error::other(error.clone()))
}

/// Whether the peer has ended the transport, in good order or not.
fn is_end(stopped: &Stopped) -> bool {
    match stopped {
        Stopped::Eof => true,
        Stopped::Broken(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        ),
        Stopped::Done | Stopped::Blocked => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io::Read;
    use std::rc::Rc;

    use super::*;
    use crate::handshake::{ClientRequest, Url};
    use crate::io::transport::Stream;
    use crate::protocol::{Accept, Config, Connection, Endpoint, Event, State, Workspace};
    use crate::tls::in_memory::certificates;

    /// Two directions, each of which holds so much and no more.
    #[derive(Debug)]
    struct Pipe {
        incoming: Rc<RefCell<Direction>>,
        outgoing: Rc<RefCell<Direction>>,
    }

    #[derive(Debug)]
    struct Direction {
        bytes: VecDeque<u8>,
        capacity: usize,
        ended: bool,
        reads: usize,
    }

    impl Pipe {
        fn pair(capacity: usize) -> (Self, Self) {
            let direction =
                || Direction { bytes: VecDeque::new(), capacity, ended: false, reads: 0 };
            let [there, back] = [(); 2].map(|()| Rc::new(RefCell::new(direction())));
            let end = |incoming: &Rc<_>, outgoing: &Rc<_>| Self {
                incoming: Rc::clone(incoming),
                outgoing: Rc::clone(outgoing),
            };
            (end(&there, &back), end(&back, &there))
        }
    }

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut incoming = self.incoming.borrow_mut();
            incoming.reads += 1;
            if incoming.bytes.is_empty() && !incoming.ended {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            incoming.bytes.read(buffer)
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut outgoing = self.outgoing.borrow_mut();
            assert!(!outgoing.ended, "a write behind the end");
            let count = bytes.len().min(outgoing.capacity - outgoing.bytes.len());
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            outgoing.bytes.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Stream for Pipe {
        fn shutdown(&mut self) -> io::Result<()> {
            self.outgoing.borrow_mut().ended = true;
            Ok(())
        }
    }

    fn sockets(capacity: usize) -> (TlsSocket<Pipe>, TlsSocket<Pipe>) {
        let (near, far) = Pipe::pair(capacity);
        let (client, server) = certificates();
        (
            TlsSocket::client(client, "localhost", near).unwrap(),
            TlsSocket::server(server, far).unwrap(),
        )
    }

    /// One end of a connection as a driver has it.
    struct End {
        connection: Connection,
        socket: TlsSocket<Pipe>,
        messages: Vec<Vec<u8>>,
        echoes: bool,
        is_eof: bool,
    }

    impl End {
        /// Reads once, and writes what there is.
        fn turn(&mut self, room: usize) {
            let mut buffer = vec![0; room];
            let seen = self.messages.len();
            let (endpoint, workspace) = self.connection.as_parts_mut();
            let Filled { count, stopped, bytes } =
                fill(endpoint, &mut self.socket, workspace, &mut buffer, room);
            assert!(count <= room && !matches!(stopped, Stopped::Broken(_)), "{stopped:?}");
            match bytes {
                Bytes::Direct(event) => self.messages.extend(event.and_then(payload)),
                Bytes::Buffered => {
                    let mut input = &mut buffer[..count];
                    while let Some(event) = self.connection.receive(&mut input) {
                        match event {
                            Event::Request(_) => self.connection.accept(Accept::new()).unwrap(),
                            event => self.messages.extend(payload(event)),
                        }
                    }
                }
            }
            if self.echoes {
                for message in &self.messages[seen..] {
                    self.connection.send(&message[..]).unwrap();
                }
            }
            self.is_eof |= matches!(stopped, Stopped::Eof);
            let before = self.connection.buffered_amount();
            let (endpoint, workspace) = self.connection.as_parts_mut();
            let (sent, stopped) = transport::flush(endpoint, &mut self.socket, workspace);
            assert!(!matches!(stopped, Stopped::Broken(_)), "{stopped:?}");
            // What is reported is exactly what is not offered again.
            assert_eq!(before - self.connection.buffered_amount(), sent);
            if self.connection.wants_shutdown() || self.is_eof {
                self.socket.shutdown().unwrap();
            }
        }
    }

    /// What one read came to.
    #[derive(Debug)]
    struct Filled {
        /// How many bytes came.
        count: usize,
        stopped: Stopped,
        /// Where the bytes went.
        bytes: Bytes,
    }

    /// Where the bytes of a read went.
    #[derive(Debug)]
    enum Bytes {
        /// Into the buffer: give them to [`Endpoint::receive`].
        Buffered,
        /// Into the payload of a long message, which may be whole by now.
        Direct(Option<Event<'static>>),
    }

    /// Reads as much as fits into `buffer`; or, where a long message is under way, up to `share` bytes
    /// straight into its payload.
    fn fill(
        connection: &mut Endpoint,
        transport: &mut (impl Transport + ?Sized),
        workspace: &mut Workspace,
        buffer: &mut [u8],
        share: usize,
    ) -> Filled {
        let direct = connection.receive_direct(
            |payload, missing| transport.read_into(payload, missing.min(share)),
            workspace,
        );
        if let Some(((count, stopped), event)) = direct {
            return Filled { count, stopped, bytes: Bytes::Direct(event) };
        }
        let (count, stopped) = transport.read(buffer);
        Filled { count, stopped, bytes: Bytes::Buffered }
    }

    fn payload(event: Event<'_>) -> Option<Vec<u8>> {
        match event {
            Event::Message(message) => Some(message.as_bytes().to_vec()),
            _ => None,
        }
    }

    /// Both ends of a connection that is about to be opened, through pipes that hold so much. The server
    /// echoes.
    fn ends(capacity: usize) -> (End, End) {
        let (near, far) = sockets(capacity);
        let config = Config::new();
        #[cfg(feature = "deflate")]
        let config = config.no_deflate();
        let request = ClientRequest::new(&Url::parse("ws://localhost/").unwrap());
        let end = |connection, socket, echoes| {
            let messages = Vec::new();
            End { connection, socket, messages, echoes, is_eof: false }
        };
        let mask = |bytes: &mut [u8]| bytes.fill(0x5a);
        let client = Connection::client(request, &config, mask).unwrap();
        (end(client, near, false), end(Connection::server(&config), far, true))
    }

    /// Opens a connection, sends messages, has them echoed and closes, through pipes that hold so much,
    /// read in portions of so much.
    fn talk(capacity: usize, room: usize, sizes: &[usize]) {
        let (mut client, mut server) = ends(capacity);
        let mut to_send = sizes.iter();
        let mut expected = Vec::new();
        let mut turns = 0;
        while !(client.is_eof && server.is_eof) {
            turns += 1;
            assert!(turns < 10_000_000, "no progress");
            client.turn(room);
            server.turn(room);
            let is_busy = client.messages.len() < expected.len();
            if is_busy || client.connection.state() != State::Open {
                continue;
            }
            match to_send.next() {
                Some(&size) => {
                    let message: Vec<u8> = (0..size).map(|at| (at * 31 + size) as u8).collect();
                    client.connection.send(&message[..]).unwrap();
                    expected.push(message);
                }
                None => client.connection.close(1000, "").unwrap(),
            }
        }
        assert!(client.messages == expected && server.messages == expected);
        for mut end in [client, server] {
            assert!(end.socket.is_flushed() && end.socket.ending == Ending::Done);
            assert!(end.connection.receive_eof().was_clean());
        }
    }

    #[test]
    fn any_socket_and_any_buffer_will_do() {
        for capacity in [1, 2, 61, 1000] {
            talk(capacity, 64, &[0, 1, 50, 200]);
        }
        for capacity in [1000, 16 * 1024, 100_000] {
            for room in [100, 16_384, 1 << 20] {
                talk(capacity, room, &[1, 16_384, 70_000, 300_000]);
            }
        }
    }

    /// Both ends of an open connection.
    fn open() -> (End, End) {
        let (mut client, mut server) = ends(4 << 20);
        while client.connection.state() != State::Open {
            client.turn(1 << 20);
            server.turn(1 << 20);
        }
        (client, server)
    }

    /// Sends bytes in a record of their own.
    fn send_record(end: &mut End, bytes: &[u8]) {
        end.socket.session.writer().write_all(bytes).unwrap();
        while end.socket.session.wants_write() {
            end.socket.session.write_tls(&mut end.socket.socket).unwrap();
        }
    }

    /// However the bytes are cut into records, a read takes little more off the wire than it has room for, and
    /// tells how much that was.
    #[test]
    fn a_read_takes_from_the_wire_what_it_has_room_for() {
        const ROOM: usize = 64 * 1024;
        for (size, count) in [(1, 20_000), (20, 10_000), (1000, 500), (16_384, 30)] {
            let (mut client, mut server) = open();
            (0..count).for_each(|_| send_record(&mut client, &vec![7; size]));
            let incoming = Rc::clone(&server.socket.socket.incoming);
            let sent = incoming.borrow().bytes.len();
            let (mut wire, mut plain, mut reads) = (0, 0, 0);
            while plain < size * count {
                let before = incoming.borrow().bytes.len();
                let (came, stopped) = server.socket.read(&mut [0; ROOM]);
                let took = server.socket.wire_bytes(came);
                assert!(!matches!(stopped, Stopped::Broken(_) | Stopped::Eof), "{stopped:?}");
                let after = incoming.borrow().bytes.len();
                // What was read and not decrypted is counted when it is.
                assert!(took <= ROOM + ROOM / 8 + READ_ROOM, "{size}: {took} bytes");
                assert!(came <= ROOM && before - after <= took + READ_ROOM);
                // Of records of a decent size the room is what ends a read.
                assert!(size < 1000 || after == 0 || came == ROOM, "{size}: {came} bytes");
                (wire, plain, reads) = (wire + took, plain + came, reads + 1);
            }
            assert_eq!((wire, plain), (sent, size * count), "{size}");
            assert!(reads > 1);
            let (0, Stopped::Blocked) = server.socket.read(&mut [0; ROOM]) else { panic!() };
            assert_eq!(server.socket.wire_bytes(0), 0);
        }
    }

    /// Where much may be decrypted, much is read at once, and nothing of it has to be kept.
    #[test]
    fn a_mebibyte_takes_few_reads() {
        let (mut client, mut server) = open();
        (0..64).for_each(|_| send_record(&mut client, &[7; 16 * 1024]));
        let incoming = Rc::clone(&server.socket.socket.incoming);
        let before = incoming.borrow().reads;
        let mut room = vec![0; 512 * 1024];
        let mut came = 0;
        while came < 1 << 20 {
            let (count, stopped) = server.socket.read(&mut room);
            assert!(matches!(stopped, Stopped::Done | Stopped::Blocked), "{stopped:?}");
            assert!(room[..count].iter().all(|&byte| byte == 7));
            assert_eq!(server.socket.unread.capacity(), 0);
            came += count;
        }
        assert_eq!((came, incoming.borrow().reads - before), (1 << 20, 17));
    }

    #[test]
    fn tiny_records_of_a_long_message_do_not_make_a_turn_longer() {
        let (mut client, mut server) = open();
        let mut send = |bytes: &[u8]| send_record(&mut client, bytes);
        // The beginning of a binary message of 1 MiB, masked with zeros, and then a byte a record.
        send(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
        server.turn(1 << 20);
        assert!(server.connection.is_inside_message());
        (0..40_000).for_each(|_| send(b"x"));

        let waiting = |server: &End| server.socket.socket.incoming.borrow().bytes.len();
        let (mut before, mut turns) = (waiting(&server), 0);
        assert!(before > MAX_READ + READ_ROOM);
        while before > 0 {
            server.turn(1 << 20);
            let after = waiting(&server);
            assert!(before - after <= MAX_READ + READ_ROOM, "{} bytes in a turn", before - after);
            (before, turns) = (after, turns + 1);
        }
        assert!(turns > 1);
    }

    /// "Any data received after a closure alert has been received MUST be ignored" (RFC 8446 section 6.1).
    #[test]
    fn nothing_counts_behind_a_close_notify() {
        let (mut client, mut server) = open();
        send_record(&mut client, b"words");
        client.socket.session.send_close_notify();
        assert!(client.socket.send().1.is_done());
        // More than rustls takes at once.
        client.socket.socket.write_all(&[7; 40_000]).unwrap();
        let mut room = [0; 100];
        let (5, stopped) = server.socket.read(&mut room) else { panic!("the words have come") };
        assert!(!matches!(stopped, Stopped::Broken(_)), "{stopped:?}");
        assert!(matches!(server.socket.read(&mut room), (0, Stopped::Eof)));
        assert!(server.socket.error().is_none());
    }

    #[test]
    fn a_client_writes_nothing_once_tls_has_failed() {
        let (mut client, mut server) = open();
        server
            .socket
            .socket
            .write_all(b"\x17\x03\x03\0\x20no record at all, but so long..")
            .unwrap();
        server.socket.socket.write_all(&[0; 10]).unwrap();
        let (0, Stopped::Broken(error)) = client.socket.read(&mut [0; 100]) else { panic!() };
        assert!(error.get_ref().is_some_and(|error| error.is::<TlsError>()), "{error:?}");
        let written = client.socket.write_slices(&[IoSlice::new(b"words")]);
        assert!(matches!(written, (0, Stopped::Broken(_))), "{written:?}");
        assert!(client.socket.is_flushed());
    }

    #[test]
    fn what_a_server_answers_to_no_tls_at_all_is_dropped() {
        let (mut client, mut server) = sockets(1 << 16);
        client.socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        // It waits until the client has gone, who reads the alert first.
        assert!(matches!(server.read(&mut [0; 100]), (0, Stopped::Blocked)));
        let answer = [IoSlice::new(b"HTTP/1.1 400 "), IoSlice::new(b"Bad Request\r\n\r\n")];
        assert!(matches!(server.write_slices(&answer), (28, Stopped::Done)));
        let mut alert = Vec::new();
        client.socket.read_to_end(&mut alert).unwrap();
        assert_eq!(alert[..3], [0x15, 3, 3], "{alert:?}");
        assert!(!alert.windows(4).any(|four| four == b"HTTP"));
    }
}
