use std::io::{self, BufRead, IoSlice, Write};
use std::ops::Deref;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error};

use super::room::Room;
use super::server_name;

/// How much plaintext becomes ciphertext at once, at the most.
pub(super) const WRITE_ROOM: usize = 64 * 1024;

/// The most plaintext in a record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 16 * 1024;

/// The content type, the version and the length of a record.
const HEADER: usize = 5;

/// What a record has besides its plaintext, at the most, of all ciphers that rustls has.
const OVERHEAD: usize = 64;

/// How much of a handshake message in parts is held, at the most, with the records around it. rustls has the same
/// bound where it keeps records itself.
const MAX_HELD: usize = 64 * 1024;

/// One side of TLS without its socket: ciphertext becomes plaintext, and plaintext ciphertext.
///
/// What a connection of our own is to decrypt lies in the room of the caller and is decrypted there, so that an idle
/// one owns no buffer. A session that somebody else has begun has buffers of rustls's.
pub(super) enum Records {
    Server(Unbuffered<UnbufferedServerConnection>, Option<Box<str>>),
    Client(Unbuffered<UnbufferedClientConnection>),
    Adopted(Box<rustls::Connection>),
}

/// What [`Records::process`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processed {
    /// There was plaintext; more may be left.
    Plaintext,
    /// There is no whole record left.
    Incomplete,
    /// The peer has ended its direction by a close_notify: nothing counts behind that.
    Closed,
}

macro_rules! either {
    ($records:expr, $unbuffered:ident => $ours:expr, $adopted:ident => $theirs:expr) => {
        match $records {
            Self::Server($unbuffered, _) => $ours,
            Self::Client($unbuffered) => $ours,
            Self::Adopted($adopted) => $theirs,
        }
    };
}

impl Records {
    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Self::Server(Unbuffered { connection, held: 0 }, None)
    }

    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::Client(Unbuffered { connection, held: 0 })
    }

    pub(super) fn adopted(mut connection: rustls::Connection) -> Self {
        connection.set_buffer_limit(Some(WRITE_ROOM));
        Self::Adopted(Box::new(connection))
    }

    pub(super) fn is_server(&self) -> bool {
        match self {
            Self::Server(..) => true,
            Self::Client(_) => false,
            Self::Adopted(connection) => matches!(**connection, rustls::Connection::Server(_)),
        }
    }

    /// The name that the client has asked for, where this is a server.
    pub(super) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Server(_, name) => name.as_deref(),
            Self::Client(_) => None,
            Self::Adopted(connection) => match &**connection {
                rustls::Connection::Server(connection) => connection.server_name(),
                rustls::Connection::Client(_) => None,
            },
        }
    }

    pub(super) fn state(&self) -> &CommonState {
        either!(self, unbuffered => &unbuffered.connection, adopted => adopted)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// How many bytes more are needed behind this input, all of which was processed as far as it goes.
    pub(super) fn missing(&self, input: &[u8]) -> usize {
        either!(self, unbuffered => unbuffered.missing(input), _adopted => usize::from(input.is_empty()))
    }

    /// Decrypts the records at the front of the input up to the first plaintext: how many bytes of it are done with.
    /// `output` takes what TLS has to say by itself, and the alert of an error.
    pub(super) fn process(
        &mut self,
        input: &mut [u8],
        output: &mut Room,
        put: impl FnMut(&[u8]),
    ) -> (usize, Result<Processed, Error>) {
        match self {
            Self::Server(unbuffered, name) if unbuffered.connection.is_handshaking() => {
                let (processed, asked_for) =
                    server_name::noting(|| unbuffered.process(input, output, put));
                if asked_for.is_some() {
                    *name = asked_for;
                }
                processed
            }
            Self::Server(unbuffered, _) => unbuffered.process(input, output, put),
            Self::Client(unbuffered) => unbuffered.process(input, output, put),
            Self::Adopted(connection) => process_buffered(connection, input, output, put),
        }
    }

    /// Encrypts what is there, up to [`WRITE_ROOM`] bytes: how many of them. The handshake must be over. `input` is
    /// what [`process`](Self::process) was not done with.
    pub(super) fn encrypt(
        &mut self,
        plaintext: &[IoSlice<'_>],
        input: &mut [u8],
        output: &mut Room,
    ) -> io::Result<usize> {
        either!(self, unbuffered => unbuffered.encrypt(plaintext, input, output), adopted => {
            let taken = adopted.writer().write_vectored(plaintext)?;
            write_all(adopted, output);
            Ok(taken)
        })
    }

    /// Tells the peer that nothing more comes, unless the handshake is still under way: then there is nothing that
    /// could be cut off.
    pub(super) fn close(&mut self, input: &mut [u8], output: &mut Room) -> io::Result<()> {
        if self.is_handshaking() {
            return Ok(());
        }
        either!(self, unbuffered => unbuffered.close(input, output), adopted => {
            adopted.send_close_notify();
            write_all(adopted, output);
            Ok(())
        })
    }

    /// What the one who had this session before has left in it, either way.
    pub(super) fn left_over(&mut self, output: &mut Room, mut put: impl FnMut(&[u8])) -> bool {
        let Self::Adopted(connection) = self else { return false };
        write_all(connection, output);
        take_all(connection, &mut put).is_some_and(|processed| processed == Processed::Closed)
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("is_handshaking", &self.is_handshaking()).finish()
    }
}

/// One of rustls's connections without buffers.
pub(super) trait Connection: Deref<Target: Deref<Target = CommonState>> {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Connection for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Connection for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

pub(super) struct Unbuffered<C> {
    connection: C,
    /// How many bytes at the front of the input are of records that were processed, and are referred to: parts of a
    /// handshake message. They must be there at every call.
    held: usize,
}

/// What one status of rustls has come to.
enum Acted {
    /// Ask again, before any other record.
    Again,
    /// All that it was given is done.
    Idle,
    Processed(Processed),
}

impl<C: Connection> Unbuffered<C> {
    /// How much of the input is to be given to rustls: up to the end of the next record, and whether that is there.
    ///
    /// One record at a time, so that no other is looked at once one has ended the connection.
    fn next_record(&self, input: &[u8]) -> (usize, bool) {
        let record = &input[self.held..];
        match (record.get(3), record.get(4)) {
            (Some(&high), Some(&low)) => {
                let end = self.held + HEADER + usize::from(u16::from_be_bytes([high, low]));
                (end.min(input.len()), end <= input.len())
            }
            _ => (input.len(), false),
        }
    }

    fn missing(&self, input: &[u8]) -> usize {
        let record = &input[self.held.min(input.len())..];
        let length = match (record.get(3), record.get(4)) {
            (Some(&high), Some(&low)) => HEADER + usize::from(u16::from_be_bytes([high, low])),
            _ => HEADER,
        };
        length.saturating_sub(record.len())
    }

    fn process(
        &mut self,
        input: &mut [u8],
        output: &mut Room,
        mut put: impl FnMut(&[u8]),
    ) -> (usize, Result<Processed, Error>) {
        let mut done = 0;
        let mut takes_record = true;
        loop {
            let rest = &mut input[done..];
            let (end, is_whole) =
                if takes_record { self.next_record(rest) } else { (self.held, false) };
            let (discard, acted) = act(self.connection.process(&mut rest[..end]), output, &mut put);
            done += discard;
            if is_whole {
                self.held = end;
            }
            self.held = self.held.saturating_sub(discard);
            match acted {
                Err(error) => {
                    let end = end.saturating_sub(discard);
                    self.alert(&mut input[done..done + end], output);
                    return (done, Err(error));
                }
                Ok(Acted::Again) => takes_record = false,
                Ok(Acted::Processed(processed)) => return (done, Ok(processed)),
                Ok(Acted::Idle) if takes_record && !is_whole => break,
                Ok(Acted::Idle) if self.held > MAX_HELD => {
                    let error = Error::General("a handshake message of too many records".into());
                    return (done, Err(error));
                }
                Ok(Acted::Idle) => takes_record = true,
            }
        }
        (done, Ok(Processed::Incomplete))
    }

    /// Takes the alert that an error has left. As long as there is one, rustls looks at no record: it must not look at
    /// that again which was the error.
    #[cold]
    fn alert(&mut self, input: &mut [u8], output: &mut Room) {
        while self.connection.wants_write() {
            let (_, Ok(Acted::Again)) = act(self.connection.process(input), output, &mut |_| ())
            else {
                return;
            };
        }
    }

    fn encrypt(
        &mut self,
        plaintext: &[IoSlice<'_>],
        input: &mut [u8],
        output: &mut Room,
    ) -> io::Result<usize> {
        let (mut taken, mut at) = (0, 0);
        let mut slices = plaintext.iter().filter(|slice| !slice.is_empty()).peekable();
        while let Some(slice) = slices.peek() {
            let left = &slice[at..];
            let most = WRITE_ROOM - taken;
            let is_last = slices.clone().nth(1).is_none();
            let records = left.len().min(most) / MAX_RECORD * MAX_RECORD;
            let count = if is_last || left.len() >= most {
                let count = left.len().min(most);
                self.encrypt_one(&left[..count], input, output)?;
                count
            } else if records > 0 {
                self.encrypt_one(&left[..records], input, output)?;
                records
            } else {
                // What is short shares a record with what follows.
                let mut record = Vec::with_capacity(most.min(MAX_RECORD));
                let mut others = slices.clone();
                let mut from = at;
                while let Some(slice) = others.next().filter(|_| record.len() < record.capacity()) {
                    let slice = &slice[from..];
                    let count = slice.len().min(record.capacity() - record.len());
                    record.extend_from_slice(&slice[..count]);
                    from = 0;
                }
                self.encrypt_one(&record, input, output)?;
                record.len()
            };
            taken += count;
            at += count;
            while let Some(slice) = slices.peek().filter(|slice| at >= slice.len()) {
                at -= slice.len();
                slices.next();
            }
            if taken >= WRITE_ROOM {
                break;
            }
        }
        Ok(taken)
    }

    fn encrypt_one(&mut self, text: &[u8], input: &mut [u8], output: &mut Room) -> io::Result<()> {
        let size = text.len() + text.len().div_ceil(MAX_RECORD) * OVERHEAD;
        self.write(input, output, size, |traffic, space| traffic.encrypt(text, space))
    }

    fn close(&mut self, input: &mut [u8], output: &mut Room) -> io::Result<()> {
        self.write(input, output, OVERHEAD, |traffic, space| traffic.queue_close_notify(space))
    }

    /// Has something written to the output, which is given `size` bytes of room, or as many as it says that it needs.
    fn write(
        &mut self,
        input: &mut [u8],
        output: &mut Room,
        mut size: usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, C::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        loop {
            let status = self.connection.process(&mut input[..self.held]);
            let mut traffic = match status.state {
                Ok(ConnectionState::WriteTraffic(traffic)) => traffic,
                // It is told once, and takes nothing from this direction.
                Ok(ConnectionState::PeerClosed) => continue,
                _ => match act(status, output, &mut |_| ()) {
                    (_, Ok(Acted::Again)) => continue,
                    (_, Err(error)) => return Err(io::Error::other(error)),
                    _ => return Err(io::ErrorKind::WriteZero.into()),
                },
            };
            match write(&mut traffic, output.space(size)) {
                Ok(count) => {
                    output.filled(count);
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    size = required_size.max(size + 1);
                }
                Err(error @ EncryptError::EncryptExhausted) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Does what a status of rustls asks for: how many bytes of the input are done with, and what that came to.
fn act<D>(
    status: UnbufferedStatus<'_, '_, D>,
    output: &mut Room,
    put: &mut impl FnMut(&[u8]),
) -> (usize, Result<Acted, Error>) {
    let mut discard = status.discard;
    let acted = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    put(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Acted::Processed(Processed::Plaintext)),
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, output);
            Ok(Acted::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in the output, and leaves before anything that comes later.
            data.done();
            Ok(Acted::Again)
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Acted::Idle),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
            Ok(Acted::Processed(Processed::Closed))
        }
        // Early data was not allowed, and there are no other states.
        Ok(_) => Err(Error::General("an unknown state of TLS".into())),
    };
    (discard, acted)
}

fn encode<D>(mut data: rustls::unbuffered::EncodeTlsData<'_, D>, output: &mut Room) {
    let mut size = HEADER;
    loop {
        match data.encode(output.space(size)) {
            Ok(count) => return output.filled(count),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                size = required_size.max(size + 1);
            }
            Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}

/// [`Records::process`] of a connection that has buffers of its own.
fn process_buffered(
    connection: &mut rustls::Connection,
    input: &mut [u8],
    output: &mut Room,
    mut put: impl FnMut(&[u8]),
) -> (usize, Result<Processed, Error>) {
    let mut rest = &input[..];
    while !rest.is_empty() {
        let result = match connection.read_tls(&mut rest) {
            Ok(0) => return (input.len(), Ok(Processed::Closed)),
            Ok(_) => connection.process_new_packets().map(drop),
            Err(error) => Err(Error::General(error.to_string())),
        };
        write_all(connection, output);
        let done = input.len() - rest.len();
        if let Err(error) = result {
            return (done, Err(error));
        }
        if let Some(processed) = take_all(connection, &mut put) {
            return (done, Ok(processed));
        }
    }
    (input.len(), Ok(Processed::Incomplete))
}

/// Takes the plaintext that is there, if there is any or its end.
fn take_all(connection: &mut rustls::Connection, put: &mut impl FnMut(&[u8])) -> Option<Processed> {
    let mut processed = None;
    let mut reader = connection.reader();
    loop {
        match reader.fill_buf() {
            // Behind plaintext the end is told by the next read of ciphertext.
            Ok([]) => return processed.or(Some(Processed::Closed)),
            Ok(plaintext) => {
                put(plaintext);
                let count = plaintext.len();
                reader.consume(count);
                processed = Some(Processed::Plaintext);
            }
            // Nothing more for now.
            Err(_) => return processed,
        }
    }
}

/// Takes the ciphertext that is there.
fn write_all(connection: &mut rustls::Connection, output: &mut Room) {
    while connection.wants_write() {
        // The output takes everything.
        let Ok(1..) = connection.write_tls(output) else { return };
    }
}
