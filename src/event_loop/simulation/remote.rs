use std::time::Duration;

use crate::handshake::{ClientRequest, Response, Url};
use crate::protocol::{Accept, Config, Connection, Event, Fragment, State};

use super::model::Model;
use super::network::{Network, Pulled};
use super::random::Random;

/// The other end of a connection, which may behave.
pub(super) struct Remote {
    pub(super) link: usize,
    connection: Connection,
    /// Bytes that are no frames, and what follows them.
    raw: Vec<u8>,
    after_raw: Option<Break>,
    /// Of what the engine says nothing goes out any more.
    is_raw: bool,
    /// Its direction is ended.
    is_mute: bool,
    /// How much it moves at once.
    portion: usize,
    /// Until when it reads nothing.
    pub(super) stalls_until: Duration,
    pub(super) condition: Condition,
    /// What it answers when it is asked to open.
    answer: Answer,
    room: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Well,
    /// It reads and writes nothing any more, and nobody is told.
    Silent,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accept,
    Reject,
    Nothing,
}

/// How a connection ends that does not close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Its direction ends, and it goes on to read.
    HalfClose,
    Leave,
    Reset,
}

/// What a remote does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Say(usize),
    SayInPieces(usize),
    /// So many short messages at once.
    Flood(usize),
    Ping,
    Close,
    Break(Break),
    Garbage,
    /// The beginning of a frame, and then this.
    Truncate(Break),
    Silence,
    Stall(Duration),
    /// The loop's reads fail.
    Fail,
}

impl Remote {
    /// One that connects.
    pub(super) fn client(link: usize, config: &Config, random: &mut Random) -> Self {
        let url = Url::parse(&format!("ws://loop/{link}")).expect("a URL");
        let request = ClientRequest::new(&url);
        let mut masks = Random::new(link as u64);
        let entropy = move |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = masks.next() as u8;
            }
        };
        let connection = Connection::client(request, config, entropy).expect("there is entropy");
        Self::new(link, connection, random)
    }

    /// One to which a loop connects.
    pub(super) fn server(link: usize, config: &Config, random: &mut Random) -> Self {
        Self::new(link, Connection::server(config), random)
    }

    fn new(link: usize, connection: Connection, random: &mut Random) -> Self {
        Self {
            link,
            connection,
            raw: Vec::new(),
            after_raw: None,
            is_raw: false,
            is_mute: false,
            portion: random.pick(&[50, 3_000, 100_000, usize::MAX / 2]),
            stalls_until: Duration::ZERO,
            condition: Condition::Well,
            answer: random.weighted(&[
                (8, Answer::Accept),
                (1, Answer::Reject),
                (1, Answer::Nothing),
            ]),
            room: Vec::new(),
        }
    }

    /// Says bytes that are no request, and perhaps leaves.
    pub(super) fn say_raw(&mut self, bytes: &[u8], then: Option<Break>) {
        self.is_raw = true;
        self.raw = bytes.to_vec();
        self.after_raw = then;
    }

    pub(super) fn is_open(&self) -> bool {
        self.condition == Condition::Well && self.connection.state() == State::Open
    }

    pub(super) fn answers(&self) -> bool {
        self.answer == Answer::Accept
    }

    /// Does something, if it can.
    pub(super) fn act(
        &mut self,
        act: Act,
        now: Duration,
        random: &mut Random,
        model: &mut Model,
        network: &Network,
    ) {
        let number = self.link;
        let is_open = self.is_open();
        match act {
            Act::Say(length) if is_open => {
                let numbered = model.utter(number, length);
                let _ = self.connection.send(numbered.message());
            }
            Act::SayInPieces(length) if is_open => {
                let numbered = model.utter(number, length);
                let text = numbered.text();
                let cut = random.below(length + 1);
                for (piece, last) in [(&text[..cut], false), (&text[cut..], true)] {
                    let (kind, piece) = (numbered.kind(), piece.as_bytes());
                    let fragment = if last {
                        Fragment::last(kind, piece)
                    } else {
                        Fragment::more(kind, piece)
                    };
                    let _ = self.connection.send_fragment(fragment);
                }
            }
            Act::Flood(count) if is_open => {
                for _ in 0..count {
                    let numbered = model.utter(number, random.below(20));
                    let _ = self.connection.send(numbered.message());
                }
            }
            Act::Ping if is_open => {
                let own = &mut model.connection(number).pings;
                *own += 1;
                let _ = self.connection.ping(&own.to_be_bytes());
            }
            Act::Close if is_open => {
                model.utter_close(number);
                let _ = self.connection.close(1000, "");
            }
            Act::Garbage if is_open => {
                model.connection(number).is_broken = true;
                model.connection(number).is_at_fault = true;
                model.reached.insert("garbage");
                // A frame with a bit that means nothing.
                self.say_last(&[0xf1, 0x80, 1, 2, 3, 4]);
            }
            Act::Truncate(then) if is_open => {
                model.connection(number).is_broken = true;
                model.reached.insert("a truncated frame");
                // A server's is not masked.
                let mask = if model.connection(number).is_dialled { 0 } else { 0x80 };
                let frame = [0x82, 0x7e | mask, 0x40, 0, 1, 2, 3, 4, 5, 6];
                self.say_last(&frame[..random.between(1, 10)]);
                self.after_raw = Some(then);
            }
            Act::Break(how) => self.break_off(how, model, network),
            Act::Silence => {
                model.connection(number).is_broken = true;
                model.reached.insert("a remote falls silent");
                self.condition = Condition::Silent;
            }
            Act::Stall(time) => {
                model.reached.insert("a remote stalls");
                model.connection(number).may_be_late = true;
                self.stalls_until = now + time;
            }
            Act::Fail => {
                model.connection(number).is_broken = true;
                model.reached.insert("reads fail");
                network.fail(number);
            }
            _ => {}
        }
    }

    /// Says this behind all that it has to say, and nothing more.
    fn say_last(&mut self, bytes: &[u8]) {
        if self.is_raw {
            // Behind half a frame the next half might make a whole one.
            return;
        }
        self.raw.extend(self.connection.output().flatten());
        self.raw.extend(bytes);
        self.is_raw = true;
    }

    fn break_off(&mut self, how: Break, model: &mut Model, network: &Network) {
        model.connection(self.link).is_broken = true;
        match how {
            Break::HalfClose => {
                model.reached.insert("a remote ends its direction");
                network.end(self.link);
                // It hears what comes, and says nothing.
                self.raw.clear();
                self.is_mute = true;
            }
            Break::Leave => {
                model.reached.insert("a remote leaves");
                network.desert(self.link);
                self.condition = Condition::Ended;
            }
            Break::Reset => {
                model.reached.insert("a remote resets");
                network.reset(self.link);
                self.condition = Condition::Ended;
            }
        }
    }

    /// Reads and writes once: whether to do so again without waiting for the loop.
    pub(super) fn move_bytes(
        &mut self,
        now: Duration,
        random: &mut Random,
        model: &mut Model,
        network: &Network,
    ) -> bool {
        if self.condition != Condition::Well {
            return false;
        }
        let mut again = false;
        let portion = random.between(1, self.portion);
        if self.stalls_until <= now {
            again |= self.read(portion, model, network);
        }
        if self.condition == Condition::Well {
            again |= self.write(portion, model, network);
        }
        again
    }

    fn read(&mut self, portion: usize, model: &mut Model, network: &Network) -> bool {
        let number = self.link;
        let mut room = std::mem::take(&mut self.room);
        room.clear();
        let pulled = network.pull(number, portion, &mut room);
        let mut input = &mut room[..];
        while let Some(event) = self.connection.receive(&mut input) {
            match event {
                Event::Message(message) => {
                    model.received(number, message.kind(), message.as_bytes());
                }
                Event::Close(_) => {
                    model.received_close(number);
                    // Answered already.
                    model.utter_close(number);
                }
                Event::Request(_) => {
                    let _ = match self.answer {
                        Answer::Accept => self.connection.accept(Accept::new()),
                        Answer::Reject => self.connection.reject(Response::forbidden()),
                        Answer::Nothing => Ok(()),
                    };
                }
                Event::Failed(error) => {
                    model.fail(|| format!("{number} finds the loop at fault: {error}"));
                }
                _ => {}
            }
        }
        self.room = room;
        match pulled {
            Pulled::Some => true,
            Pulled::Nothing => false,
            Pulled::End => {
                // A client that waits for the end ends as well.
                self.connection.receive_eof();
                model.connection(number).is_broken = true;
                network.desert(number);
                self.condition = Condition::Ended;
                false
            }
            Pulled::Reset => {
                model.connection(number).is_broken = true;
                self.condition = Condition::Ended;
                false
            }
        }
    }

    fn write(&mut self, portion: usize, model: &mut Model, network: &Network) -> bool {
        if self.is_mute || self.is_raw {
            // What leaves makes room for a Pong, which would stand within what is said last.
            while self.connection.buffered_amount() > 0 {
                self.connection.consume_output(self.connection.buffered_amount());
            }
        }
        if self.is_mute {
            return false;
        }
        let mut written = 0;
        for chunk in self.connection.output() {
            let chunk = &chunk[..chunk.len().min(portion - written)];
            let count = network.push(self.link, chunk);
            written += count;
            if count < chunk.len() || written == portion {
                break;
            }
        }
        if self.connection.buffered_amount() > 0 {
            self.connection.consume_output(written);
            return written > 0;
        }
        if !self.raw.is_empty() {
            let count = network.push(self.link, &self.raw);
            self.raw.drain(..count);
            return count > 0;
        }
        if let Some(then) = self.after_raw.take() {
            self.break_off(then, model, network);
        } else if self.connection.wants_shutdown() && !self.is_mute {
            self.is_mute = true;
            network.end(self.link);
        }
        false
    }
}
