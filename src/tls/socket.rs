use std::io::{self, IoSlice, Write};
use std::mem;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};

use super::records::{Processed, Records};
use super::room::{Input, Room};
use super::{TlsError, TlsSession};
use crate::client::ClientStream;
use crate::io::transport::{self, SLICES, Stopped, Transport};
use crate::protocol::{Chunks, PayloadBuffer};

/// How much ciphertext one read takes off the socket: so much at the most where as much may be decrypted, and never
/// less than the other.
const LONG_READ_ROOM: usize = 64 * 1024;
const READ_ROOM: usize = 16 * 1024;

/// How much ciphertext one read decrypts at the most, but for the last [`READ_ROOM`], whatever plaintext is in it.
const MAX_READ: usize = 128 * 1024;

/// How many bytes of a client with which the handshake of TLS has failed are read and thrown away.
const MAX_DISCARDED: usize = 256 * 1024;

/// TLS over a socket that does not block. The handshake goes on in whatever read or write comes next.
#[derive(Debug)]
pub(crate) struct TlsSocket<S> {
    records: Records,
    socket: S,
    /// Ciphertext that was read and is left: a record that is not whole, or what is left for the next turn.
    unread: Room,
    /// What was decrypted and not asked for yet: the rest of one record.
    decrypted: Room,
    /// Ciphertext that is not written yet.
    unsent: Room,
    /// Plaintext that waits for the end of the handshake. It is one request at the most: an engine has nothing else
    /// to say before it has heard something.
    early: Vec<u8>,
    /// How much ciphertext the last read has decrypted.
    wire: usize,
    /// Something has come.
    has_heard: bool,
    /// The peer has ended its direction by a close_notify.
    is_closed: bool,
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
        let connection = UnbufferedClientConnection::new(config, server)?;
        let mut client = Self::new(Records::client(connection), socket);
        // The ClientHello.
        client.records.process(&mut [], &mut client.unsent, |_| ()).1?;
        Ok(client)
    }

    /// The side of a server. Which name the client asks for is known where the configuration is one that was
    /// [served](super::served).
    pub(crate) fn server(config: Arc<ServerConfig>, socket: S) -> Result<Self, TlsError> {
        Ok(Self::new(Records::server(UnbufferedServerConnection::new(config)?), socket))
    }

    /// A session that somebody else has begun.
    pub(crate) fn adopted(session: rustls::Connection, socket: S) -> Self {
        let mut adopted = Self::new(Records::adopted(session), socket);
        let Self { records, unsent, decrypted, .. } = &mut adopted;
        adopted.is_closed = records.left_over(unsent, |plaintext| decrypted.append(plaintext));
        adopted
    }

    fn new(records: Records, socket: S) -> Self {
        Self {
            records,
            socket,
            unread: Room::default(),
            decrypted: Room::default(),
            unsent: Room::default(),
            early: Vec::new(),
            wire: 0,
            has_heard: false,
            is_closed: false,
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
        self.unread.append(ciphertext);
    }

    /// What is known of the client, where this is a server.
    pub(crate) fn session(&self) -> Option<TlsSession> {
        let records = &self.records;
        records.is_server().then(|| TlsSession::of(records.state(), records.server_name()))
    }

    /// Whether anything has come of the peer.
    pub(crate) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Why TLS has failed, if it has.
    pub(crate) fn error(&self) -> Option<&TlsError> {
        self.error.as_ref()
    }

    /// Decrypts up to `limit` bytes. [`Stopped::Blocked`] says that neither the records that were read nor the socket
    /// have anything left.
    ///
    /// A record has 22 bytes or more around its plaintext, and that may be empty: what counts is the wire, an
    /// eighth more of it than is asked for, and with that the records that are decrypted.
    fn decrypt(&mut self, limit: usize, put: impl FnMut(&[u8])) -> (usize, Stopped) {
        let mut input = Input::new(mem::take(&mut self.unread));
        let result = self.decrypt_from(&mut input, limit, put);
        self.unread = input.into_kept();
        result
    }

    fn decrypt_from(
        &mut self,
        input: &mut Input,
        limit: usize,
        mut put: impl FnMut(&[u8]),
    ) -> (usize, Stopped) {
        let mut count = 0;
        let budget = limit.saturating_add(limit / 8).min(MAX_READ);
        let mut drained = false;
        // How much was read, once something was, and how much was there before of whole records.
        let mut read = None;
        self.wire = 0;
        if !self.decrypted.is_empty() {
            count = self.decrypted.len().min(limit);
            put(&self.decrypted.bytes()[..count]);
            self.decrypted.consume(count);
            if self.decrypted.is_empty() {
                self.decrypted.free();
            }
        }
        // What was kept was looked at before, unless a turn has ended with it.
        let mut may_have_record = self.records.missing(input.bytes()) == 0 || !self.has_heard;
        loop {
            if !self.decrypted.is_empty() || (count == limit && count > 0) {
                return (count, Stopped::Done);
            }
            if self.is_closed {
                return (count, Stopped::Eof);
            }
            if may_have_record && self.error.is_none() && !input.bytes().is_empty() {
                may_have_record = self.process(input, limit, &mut count, &mut put);
                continue;
            }
            // A short read has emptied the socket; but the end may have come with it, of which no event
            // tells again. Whoever got bytes reads on and finds it; who got none would wait.
            if drained && count > 0 && self.error.is_none() {
                return (count, Stopped::Blocked);
            }
            // What was read is decrypted, but for a record that is not whole: to keep more would take a copy.
            let spent = read.unwrap_or(self.wire);
            if read.is_some() && spent >= budget {
                return (count, Stopped::Done);
            }
            match self.receive(input, budget.saturating_sub(spent)) {
                (0, Stopped::Broken(error)) if count > 0 => {
                    self.broken = Some(error);
                    return (count, Stopped::Done);
                }
                (0, stopped) => return (count, stopped),
                (came, stopped) => {
                    drained = !stopped.is_done();
                    read = Some(spent + came);
                }
            }
            may_have_record = true;
        }
    }

    /// Reads the socket once.
    fn receive(&mut self, input: &mut Input, budget: usize) -> (usize, Stopped) {
        if let Some(error) = self.broken.take() {
            return (0, Stopped::Broken(error));
        }
        let size = budget.clamp(READ_ROOM, LONG_READ_ROOM);
        let missing = self.records.missing(input.bytes());
        if let Some(error) = &self.error {
            let stopped = broken(error);
            return if self.lingers { self.discard(stopped, input, size) } else { (0, stopped) };
        }
        let socket = &mut self.socket;
        let (count, stopped) = input.read(size, missing, |room| Transport::read(socket, room));
        if count == 0 && self.records.is_handshaking() && is_end(&stopped) {
            return (0, broken(self.error.insert(TlsError::Ended)));
        }
        (count, stopped)
    }

    /// Has records decrypted up to the first that has plaintext; takes up to the limit of that. Whether there may be
    /// more of them.
    fn process(
        &mut self,
        input: &mut Input,
        limit: usize,
        count: &mut usize,
        mut put: impl FnMut(&[u8]),
    ) -> bool {
        self.has_heard = true;
        let Self { records, unsent, decrypted, .. } = self;
        let (done, processed) = records.process(input.bytes_mut(), unsent, |plaintext| {
            let taken = plaintext.len().min(limit - *count);
            put(&plaintext[..taken]);
            *count += taken;
            if taken < plaintext.len() {
                decrypted.append(&plaintext[taken..]);
            }
        });
        input.consume(done);
        self.wire += done;
        match processed {
            Ok(processed) => {
                if processed == Processed::Closed {
                    self.is_closed = true;
                    // Nothing counts behind it, but that it was read.
                    self.wire += input.bytes().len();
                    input.clear();
                }
                if !self.early.is_empty() && !self.records.is_handshaking() {
                    let early = mem::take(&mut self.early);
                    if let Err(error) = self.encrypt_early(&early, input) {
                        self.fail(rustls::Error::General(error.to_string()));
                    }
                }
                processed == Processed::Plaintext
            }
            Err(error) => {
                input.clear();
                self.fail(error);
                false
            }
        }
    }

    fn encrypt_early(&mut self, mut early: &[u8], input: &mut Input) -> io::Result<()> {
        while !early.is_empty() {
            let slices = [IoSlice::new(early)];
            let taken = self.records.encrypt(&slices, input.bytes_mut(), &mut self.unsent)?;
            early = &early[taken..];
        }
        Ok(())
    }

    /// Notes why TLS has failed, and tells the peer.
    #[cold]
    fn fail(&mut self, error: rustls::Error) {
        // The alert is dropped if the peer does not take it now.
        let _ = self.send();
        self.unsent.free();
        self.error = Some(error.into());
        if self.records.is_server() {
            self.lingers = self.records.is_handshaking();
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
    fn discard(&mut self, broken: Stopped, input: &mut Input, size: usize) -> (usize, Stopped) {
        while self.discarded < MAX_DISCARDED {
            let socket = &mut self.socket;
            let (count, stopped) = input.read(size, 0, |room| Transport::read(socket, room));
            input.clear();
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
        while !self.unsent.is_empty() {
            match transport::retry(|| Write::write(&mut self.socket, self.unsent.bytes())) {
                Ok(0) => return (total, Stopped::Broken(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.unsent.consume(count);
                    total += count;
                }
                Err(error) => return (total, Stopped::by(error)),
            }
        }
        self.unsent.give_back();
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
        if self.records.is_handshaking() {
            let before = self.early.len();
            slices.iter().for_each(|slice| self.early.extend_from_slice(slice));
            return (self.early.len() - before, Stopped::Done);
        }
        // What the socket takes at once needs no room of its own.
        self.unsent = Room::shared();
        let encrypted = self.records.encrypt(slices, self.unread.bytes_mut(), &mut self.unsent);
        let sent = self.send();
        self.unsent.give_back();
        match encrypted {
            Ok(0) => (0, Stopped::Broken(io::ErrorKind::WriteZero.into())),
            Ok(taken) => {
                self.claimed = taken;
                self.settle(sent)
            }
            Err(error) => (0, Stopped::Broken(error)),
        }
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
        self.records.is_handshaking()
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
        let is_flushed =
            self.unsent.is_empty() && self.ending != Ending::Wanted && self.socket.is_flushed();
        self.error.is_some() || is_flushed
    }

    fn shutdown(&mut self) -> io::Result<()> {
        if self.error.is_some() || self.ending != Ending::No {
            return Ok(());
        }
        self.records.close(self.unread.bytes_mut(), &mut self.unsent)?;
        self.ending = Ending::Wanted;
        match self.send().1 {
            Stopped::Broken(error) => Err(error),
            _ => Ok(()),
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
    use crate::tls::in_memory::{MADE, certificates};
    use rustls::SupportedProtocolVersion;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::version::{TLS12, TLS13};

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
        send_record_of(&mut end.socket, bytes);
    }

    fn send_record_of(socket: &mut TlsSocket<Pipe>, bytes: &[u8]) {
        let (taken, stopped) = socket.write_slices(&[IoSlice::new(bytes)]);
        assert!(taken == bytes.len() && stopped.is_done(), "{stopped:?}");
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
            assert!(
                server.socket.unread.len() < 16_384 + 22,
                "only a record that is not whole is kept"
            );
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
        client.socket.records.close(&mut [], &mut client.socket.unsent).unwrap();
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

    /// Both versions of TLS, and what a record has besides its plaintext there.
    const VERSIONS: [(&SupportedProtocolVersion, usize); 2] =
        [(&TLS12, 5 + 8 + 16), (&TLS13, 5 + 1 + 16)];

    /// A client of one version whose handshake comes in records of 32 bytes, and a server.
    fn sockets_of(
        version: &'static SupportedProtocolVersion,
    ) -> (TlsSocket<Pipe>, TlsSocket<Pipe>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(MADE.as_bytes()).unwrap()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.max_fragment_size = Some(32);
        let (near, far) = Pipe::pair(4 << 20);
        let server = super::super::served(&certificates().1);
        (
            TlsSocket::client(Arc::new(client), "localhost", near).unwrap(),
            TlsSocket::server(server, far).unwrap(),
        )
    }

    /// Has both ends speak until the handshake is over.
    fn shake_hands(client: &mut TlsSocket<Pipe>, server: &mut TlsSocket<Pipe>) {
        for _ in 0..10 {
            for end in [&mut *client, &mut *server] {
                assert!(matches!(end.read(&mut [0; 1 << 14]), (0, Stopped::Blocked)));
                assert!(end.send().1.is_done());
            }
        }
        assert!(!client.records.is_handshaking() && !server.records.is_handshaking());
    }

    /// What a connection has of room, in bytes.
    fn room(socket: &TlsSocket<Pipe>) -> usize {
        socket.unread.room()
            + socket.decrypted.room()
            + socket.unsent.room()
            + socket.early.capacity()
    }

    #[test]
    fn the_name_that_was_asked_for_is_known_whatever_the_version_and_the_records() {
        for (version, _) in VERSIONS {
            let (mut client, mut server) = sockets_of(version);
            shake_hands(&mut client, &mut server);
            let session = server.session().unwrap();
            assert_eq!(session.server_name(), Some("localhost"));
            assert_eq!(session.protocol_version(), Some(version.version));
            assert!(client.session().is_none());
        }
    }

    /// What another client of this thread has asked for is not taken for its.
    #[test]
    fn a_client_that_asks_for_no_name_has_none() {
        let (mut client, mut server) = sockets_of(&TLS13);
        shake_hands(&mut client, &mut server);
        let (near, far) = Pipe::pair(4 << 20);
        let mut config = (*certificates().0).clone();
        config.enable_sni = false;
        let mut client = TlsSocket::client(Arc::new(config), "localhost", near).unwrap();
        let config = super::super::served(&certificates().1);
        let mut server = TlsSocket::server(config, far).unwrap();
        assert!(client.send().1.is_done());
        shake_hands(&mut client, &mut server);
        assert_eq!(server.session().unwrap().server_name(), None);
    }

    /// A record is decrypted when it is whole, wherever it was cut, and nothing of it stays.
    #[test]
    fn a_record_may_be_cut_anywhere_and_leaves_nothing() {
        for (version, overhead) in VERSIONS {
            let (mut client, mut server) = sockets_of(version);
            shake_hands(&mut client, &mut server);
            assert_eq!(room(&server), 0, "of the handshake");
            let length = 20 + overhead;
            for cut in 1..length {
                send_record_of(&mut client, &[7; 20]);
                let rest = {
                    let mut incoming = server.socket.incoming.borrow_mut();
                    assert_eq!(incoming.bytes.len(), length);
                    incoming.bytes.split_off(cut)
                };
                let mut buffer = [0; 100];
                assert!(matches!(server.read(&mut buffer), (0, Stopped::Blocked)), "{cut}");
                assert_eq!(server.unread.len(), cut);
                assert_eq!(room(&server), cut, "no more than has come");
                server.socket.incoming.borrow_mut().bytes.extend(rest);
                assert!(matches!(server.read(&mut buffer), (20, _)), "{cut}");
                assert_eq!((buffer[..20].to_vec(), room(&server)), (vec![7; 20], 0), "{cut}");
            }
        }
    }

    /// A record that comes byte by byte is put together where it is kept.
    #[test]
    fn a_record_in_single_bytes_takes_room_as_it_comes() {
        let (mut client, mut server) = open();
        let incoming = Rc::clone(&server.socket.socket.incoming);
        send_record(&mut client, &[7; 16_000]);
        let record: Vec<u8> = incoming.borrow_mut().bytes.drain(..).collect();
        let (last, others) = record.split_last().unwrap();
        let mut buffer = vec![0; 20_000];
        for (at, &byte) in others.iter().enumerate() {
            incoming.borrow_mut().bytes.push_back(byte);
            assert!(matches!(server.socket.read(&mut buffer), (0, Stopped::Blocked)));
            assert_eq!(server.socket.unread.len(), at + 1);
            assert!(room(&server.socket) <= 2 * (at + 1) + 8);
        }
        incoming.borrow_mut().bytes.push_back(*last);
        assert!(matches!(server.socket.read(&mut buffer), (16_000, _)));
        assert_eq!(room(&server.socket), 0);
    }

    /// What is not asked for yet of a record stays, and counts as heard.
    #[test]
    fn a_record_may_be_taken_in_any_portions() {
        let (mut client, mut server) = open();
        let sent: Vec<u8> = (0..1000u32).map(|at| at as u8).collect();
        for portion in [1, 7, 999, 1000, 1001] {
            (0..3).for_each(|_| send_record(&mut client, &sent));
            let mut came = Vec::new();
            while came.len() < 3000 {
                let mut buffer = vec![0; portion];
                let (count, stopped) = server.socket.read(&mut buffer);
                assert!(count > 0 && !matches!(stopped, Stopped::Broken(_)), "{stopped:?}");
                came.extend_from_slice(&buffer[..count]);
            }
            assert!(came == sent.repeat(3), "{portion}");
            assert!(matches!(server.socket.read(&mut [0; 9]), (0, Stopped::Blocked)));
            assert_eq!(room(&server.socket), 0);
        }
    }

    /// The records of a ClientHello that is not whole are referred to, and have to be there whatever is done.
    #[test]
    fn a_server_may_end_amid_a_handshake_message() {
        for (version, _) in VERSIONS {
            let (mut client, mut server) = sockets_of(version);
            assert!(client.send().1.is_done());
            let rest = server.socket.incoming.borrow_mut().bytes.split_off(100);
            assert!(matches!(server.read(&mut [0; 1 << 14]), (0, Stopped::Blocked)));
            server.shutdown().unwrap();
            assert!(server.is_flushed() && server.ending == Ending::Done);
            // It reads on, until the client has gone.
            server.socket.incoming.borrow_mut().bytes.extend(rest);
            assert!(matches!(server.read(&mut [0; 1 << 14]), (0, Stopped::Blocked)));
            server.socket.incoming.borrow_mut().ended = true;
            assert!(matches!(server.read(&mut [0; 1 << 14]), (0, Stopped::Broken(_))));
        }
    }

    /// Somebody who never ends a message of the handshake is held no more of than rustls would hold.
    #[test]
    fn a_handshake_message_is_not_held_without_bound() {
        let (_client, mut server) = sockets_of(&TLS13);
        // A ClientHello of 60,000 bytes, one of them a record.
        let mut sent = vec![22, 3, 1, 0, 4, 1, 0, 0xea, 0x60];
        (0..60_000).for_each(|_| sent.extend([22, 3, 3, 0, 1, 0]));
        let mut most = 0;
        for portion in sent.chunks(1000) {
            server.socket.incoming.borrow_mut().bytes.extend(portion);
            let _ = server.read(&mut [0; 100]);
            most = most.max(server.unread.len());
        }
        assert!((60_000..=64 * 1024).contains(&most), "{most} bytes");
        assert!(matches!(server.error(), Some(TlsError::Tls(_))), "{:?}", server.error());
        assert_eq!(server.unread.len(), 0);
    }

    /// It is dropped: a peer that takes nothing is not waited for.
    #[test]
    fn an_alert_that_does_not_fit_holds_up_nothing() {
        let (client, mut server) = open();
        {
            let mut outgoing = client.socket.socket.incoming.borrow_mut();
            outgoing.capacity = outgoing.bytes.len();
        }
        let mut incoming = client.socket.socket.outgoing.borrow_mut();
        incoming.bytes.extend(b"\x17\x03\x03\0\x20no record at all, but so long..\0");
        drop(incoming);
        let (0, Stopped::Broken(error)) = server.socket.read(&mut [0; 100]) else { panic!() };
        assert!(error.get_ref().is_some_and(|error| error.is::<TlsError>()), "{error:?}");
        assert!(server.socket.is_flushed());
        assert_eq!(room(&server.socket), 0);
        assert!(matches!(server.socket.shutdown(), Ok(())));
    }

    /// What the socket does not take is all that is kept, and leaves in its order.
    #[test]
    fn ciphertext_that_waits_takes_as_much_room_and_no_more() {
        let (mut client, mut server) = open();
        client.socket.socket.incoming.borrow_mut().capacity = 10_000;
        let sent: Vec<u8> = (0..50_000u32).map(|at| (at * 7) as u8).collect();
        // In slices that no record ends with.
        let parts = [&sent[..9], &[], &sent[9..20_000], &sent[20_000..20_001], &sent[20_001..]];
        let (mut left, mut came) = (50_000, Vec::new());
        while came.len() < sent.len() {
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut slices = &mut slices[..];
            IoSlice::advance_slices(&mut slices, 50_000 - left);
            if left > 0 {
                left -= server.socket.write_slices(slices).0;
                assert!(
                    room(&server.socket) <= 50_000 + 4 * 22,
                    "the room of the thread stays there"
                );
            }
            let mut buffer = vec![0; 20_000];
            let (count, stopped) = client.socket.read(&mut buffer);
            assert!(!matches!(stopped, Stopped::Broken(_)), "{stopped:?}");
            came.extend_from_slice(&buffer[..count]);
        }
        assert!(came == sent && left == 0);
        assert_eq!(room(&server.socket), 0);
    }
}
