//! Both directions of one connection at once, a thread for each and no lock between them:
//! `two_threads [BYTES]`, default 1 GiB each way.
//!
//! A server in a third thread sends while it receives. Every byte is checked at both ends, and the server
//! pings in between and wants its answers.

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use framewire::{
    Bytes, Client, ClientReader, ClientWriter, Decision, Handler, IncomingRequest, Message,
    Outcome, Peer, Sent, Server,
};

const GIBIBYTE: u64 = 1 << 30;

/// What the two directions begin with, so that one is not taken for the other.
const TO_SERVER: u64 = 0x9e37_79b9_7f4a_7c15;
const TO_CLIENT: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// Small and large messages mixed; the edges of the three forms of a frame's length are among them.
const LENGTHS: [usize; 10] =
    [0, 1, 125, 126, 3_000, 65_535, 65_536, 200_001, (1 << 20) + 3, (4 << 20) + 1];

/// The server pings once in so many messages.
const MESSAGES_A_PING: u64 = 16;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let total = match std::env::args().nth(1) {
        Some(bytes) => bytes.parse()?,
        None => GIBIBYTE,
    };
    let start = Instant::now();
    let report = run(total)?;
    let seconds = start.elapsed().as_secs_f64();
    let mebibytes = report.bytes as f64 / f64::from(1 << 20);
    println!(
        "{mebibytes:.0} MiB each way, every byte checked, in {seconds:.1} s; \
         {} messages there and {} back, {} pings answered; {}",
        report.messages_sent, report.messages_received, report.pings_answered, report.outcome
    );
    Ok(())
}

/// What was done.
pub(crate) struct Report {
    pub(crate) bytes: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) pings_answered: u64,
    pub(crate) outcome: Outcome,
}

/// Sends `total` bytes each way.
pub(crate) fn run(total: u64) -> Result<Report, Failure> {
    let server = Server::bind("127.0.0.1:0")?;
    let url = format!("ws://{}/", server.local_addr()?);
    let (result, results) = mpsc::channel();
    thread::spawn(move || server.run(Mirror { total, result }));

    let (reader, writer) = Client::builder(&url)?.no_proxy().connect()?.split()?;
    let (all_received, received_all) = mpsc::channel();
    let writing = thread::spawn(move || write(writer, total, &received_all));
    let (messages_received, outcome) = read(reader, total, &all_received)?;
    let messages_sent = writing.join().map_err(|_| "the writing thread panicked")??;

    let pings_answered = results.recv()??;
    Ok(Report { bytes: total, messages_sent, messages_received, pings_answered, outcome })
}

fn write(
    mut writer: ClientWriter,
    total: u64,
    received_all: &mpsc::Receiver<()>,
) -> Result<u64, Failure> {
    let mut stream = Stream::new(TO_SERVER, total);
    while let Some(message) = stream.next_message() {
        writer.send(message)?;
    }
    // The server may send as long as nobody closes; if the reader failed, so does this.
    received_all.recv()?;
    writer.close(1000, "")?;
    Ok(stream.messages)
}

fn read(
    mut reader: ClientReader,
    total: u64,
    all_received: &mpsc::Sender<()>,
) -> Result<(u64, Outcome), Failure> {
    let mut stream = Stream::new(TO_CLIENT, total);
    while let Some(message) = reader.recv()? {
        stream.check(message.as_bytes())?;
        if stream.is_over() {
            all_received.send(())?;
        }
    }
    if !stream.is_over() {
        return Err("the server closed early".into());
    }
    Ok((stream.messages, reader.outcome().ok_or("no outcome")?.clone()))
}

/// The server: sends its stream as fast as it is taken, and checks the client's.
struct Mirror {
    total: u64,
    /// How many pings were answered, or what went wrong.
    result: mpsc::Sender<Result<u64, Failure>>,
}

struct Session {
    sending: Stream,
    receiving: Stream,
    pings: u64,
    answered: u64,
    fault: Option<Failure>,
}

impl Mirror {
    fn send_on(peer: &mut Peer<'_, Session>) {
        loop {
            let session = peer.session_mut();
            let is_due = session.sending.messages.is_multiple_of(MESSAGES_A_PING);
            let Some(message) = session.sending.next_message() else { return };
            if is_due {
                session.pings += 1;
                let number = session.pings;
                peer.ping(&number.to_be_bytes());
            }
            match peer.send(message) {
                Sent::Accepted => {}
                Sent::Backpressure => return,
                sent => {
                    peer.session_mut().fault = Some(format!("the server's send: {sent:?}").into());
                    return peer.abort();
                }
            }
        }
    }
}

impl Handler for Mirror {
    type Session = Session;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Session> {
        Decision::accept(Session {
            sending: Stream::new(TO_CLIENT, self.total),
            receiving: Stream::new(TO_SERVER, self.total),
            pings: 0,
            answered: 0,
            fault: None,
        })
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Session>) {
        Self::send_on(peer);
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, Session>) {
        Self::send_on(peer);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Session>, message: Message<'_>) {
        if let Err(error) = peer.session_mut().receiving.check(message.as_bytes()) {
            peer.session_mut().fault = Some(error);
            peer.abort();
        }
    }

    fn on_pong(&mut self, peer: &mut Peer<'_, Session>, payload: Bytes<'_>) {
        // The latest Ping may be answered for all before it (RFC 6455 section 5.5.3).
        if let Ok(number) = <[u8; 8]>::try_from(&*payload) {
            peer.session_mut().answered = u64::from_be_bytes(number);
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Session>, outcome: &Outcome) {
        let Session { receiving, pings, answered, fault, .. } = peer.session_mut();
        let result = match fault.take() {
            Some(fault) => Err(fault),
            None if !outcome.was_clean() => Err(format!("the server: {outcome}").into()),
            None if !receiving.is_over() => Err("the client closed early".into()),
            None if answered != pings => {
                Err(format!("{answered} of {pings} pings answered").into())
            }
            None => Ok(*pings),
        };
        // Nobody waits for it if the client has failed.
        let _ = self.result.send(result);
    }
}

/// So many bytes, each of which follows from its place, as messages of mixed lengths.
struct Stream {
    seed: u64,
    place: u64,
    total: u64,
    messages: u64,
    buffer: Vec<u8>,
}

impl Stream {
    fn new(seed: u64, total: u64) -> Self {
        Self { seed, place: 0, total, messages: 0, buffer: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.place == self.total
    }

    fn next_message(&mut self) -> Option<Vec<u8>> {
        if self.is_over() {
            return None;
        }
        let length = LENGTHS[(self.messages % LENGTHS.len() as u64) as usize];
        let length = self.total.saturating_sub(self.place).min(length as u64);
        self.fill(length as usize);
        self.messages += 1;
        Some(std::mem::take(&mut self.buffer))
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() as u64 > self.total - self.place {
            return Err("more came than was sent".into());
        }
        let place = self.place;
        self.fill(bytes.len());
        if self.buffer != bytes {
            return Err(format!("a byte is wrong behind the {place} first").into());
        }
        self.messages += 1;
        Ok(())
    }

    /// Puts the next `length` bytes into the buffer.
    fn fill(&mut self, length: usize) {
        self.buffer.resize(length, 0);
        let mut rest = &mut self.buffer[..];
        while !rest.is_empty() {
            let word = word(self.seed, self.place / 8);
            let from = (self.place % 8) as usize;
            let count = rest.len().min(8 - from);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&word[from..from + count]);
            self.place += count as u64;
            rest = later;
        }
    }
}

fn word(seed: u64, index: u64) -> [u8; 8] {
    let mixed = (index ^ seed).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 32)).to_le_bytes()
}
