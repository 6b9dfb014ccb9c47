use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use framewire::handshake::accept_key;
use framewire::{ClientBuilder, ClientError, ClientTimeout, Server};

pub(crate) use crate::deserted::deserted;
pub(crate) use crate::untimed::{
    PATIENCE as LONG, longer_and_longer, untimed, untimed_client, untimed_server,
};

/// A server that says what a script has it say, to one connection after the other.
pub(crate) struct Scripted<T> {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Scripted<T> {
    pub(crate) fn new(script: impl FnOnce(&TcpListener) -> T + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl FnOnce(&TcpListener) -> T + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        Self { address, thread: thread::spawn(move || script(&listener)) }
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("ws://{}{target}", self.address)
    }

    /// What came of the script.
    pub(crate) fn join(self) -> T {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// A server that accepts, and then neither reads nor writes until it is told to go on with this.
pub(crate) fn deaf<T: Send + 'static>(
    then: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Scripted<T>, mpsc::Sender<()>) {
    let (go_on, goes_on) = mpsc::channel();
    let server = Scripted::new(move |listener| {
        let stream = open(listener);
        let _ = goes_on.recv();
        then(stream)
    });
    (server, go_on)
}

/// The next connection, which fails rather than hangs.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Reads a head up to its empty line, and not a byte more.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads to the end; a reset is one.
pub(crate) fn read_rest(stream: &mut impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => rest,
    }
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The value of `Sec-WebSocket-Accept` for this request.
pub(crate) fn accept_value(request: &str) -> String {
    accept_key(header(request, "Sec-WebSocket-Key").unwrap().as_bytes())
        .iter()
        .map(|&byte| char::from(byte))
        .collect()
}

/// A 101 for this request, with these lines besides.
pub(crate) fn switch(request: &str, lines: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{lines}\r\n",
        accept_value(request)
    )
}

/// Reads a request and accepts it.
pub(crate) fn upgrade(stream: &mut TcpStream) -> String {
    let request = read_head(stream);
    stream.write_all(switch(&request, "").as_bytes()).unwrap();
    request
}

/// The next connection, whose request is accepted.
pub(crate) fn open(listener: &TcpListener) -> TcpStream {
    let mut stream = accept(listener);
    upgrade(&mut stream);
    stream
}

/// Rejects the request of the next connection with this status.
pub(crate) fn reject(listener: &TcpListener, status: u16) {
    let mut stream = accept(listener);
    read_head(&mut stream);
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Sends a Close with this code, and reads the answer.
pub(crate) fn close(stream: &mut TcpStream, code: u16) {
    let [high, low] = code.to_be_bytes();
    stream.write_all(&[0x88, 2, high, low]).unwrap();
    assert_eq!(read_frame(stream).0, 0x88);
}

/// Whether nothing came within the read timeout.
pub(crate) fn is_read_timeout(error: &ClientError) -> bool {
    matches!(error, ClientError::TimedOut(ClientTimeout::Read))
}

/// Reads one frame of less than 126 bytes: its first byte and its payload.
pub(crate) fn read_frame(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut header = [0; 6];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[1] & 0x80, 0x80, "a client masks");
    let mut payload = vec![0; usize::from(header[1] & 0x7f)];
    stream.read_exact(&mut payload).unwrap();
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= header[2 + index % 4];
    }
    (header[0], payload)
}

/// framewire's own echo server, for the rest of the process.
pub(crate) fn echo_server() -> SocketAddr {
    let server = untimed_server();
    let address = server.local_addr().unwrap();
    thread::spawn(move || echo(server));
    address
}

pub(crate) fn echo(server: Server) {
    server.on_message(|peer, message| peer.send(message)).run().unwrap();
}

/// The error of a client that must not connect.
pub(crate) fn refused(builder: ClientBuilder) -> ClientError {
    match builder.connect() {
        Err(error) => error,
        Ok(client) => panic!("{client:?} connected"),
    }
}

/// What an error says, and its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
