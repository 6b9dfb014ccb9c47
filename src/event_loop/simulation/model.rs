use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::protocol::MessageKind;

use super::super::slab::PeerId;
use super::message::{Numbered, TELLING, serial_of};

/// What has to be true of the connections, by what was done to them and what was heard of them. It knows nothing of
/// how the loop works.
pub(super) struct Model {
    pub(super) connections: Vec<Connection>,
    /// What loops and handles have sent, by serial number.
    sent: Vec<Sending>,
    /// How many numbers were given to messages of remotes.
    uttered: u32,
    pub(super) failure: Option<String>,
    /// What was met in this world.
    pub(super) reached: BTreeSet<&'static str>,
    /// How often handlers were called.
    pub(super) calls: u64,
    pub(super) loops: usize,
    is_told: HashMap<(usize, String), bool>,
    traces: bool,
}

/// Who sends: the handler of a loop, or what is outside of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Loop(usize),
    Handle,
}

/// The topic, if there is one, and the name.
type Key = (Option<String>, String);

/// One message that was sent to one or many.
#[derive(Clone, Debug)]
struct Sending {
    numbered: Numbered,
    source: Source,
    key: Option<Key>,
    /// It may reach connections that opened after the call.
    floats: bool,
}

/// What is owed to one connection of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// The caller was told that it goes out.
    Certain,
    /// The caller was told that it is kept, unless a newer one replaces it.
    Kept,
    /// If it is lost, the handler is told.
    Told,
    /// Nothing.
    None,
}

#[derive(Clone, Copy, Debug)]
struct Owed {
    promise: Promise,
    is_delivered: bool,
    /// Another source has sent one with its key, which came: which of them was there first, nobody can say.
    may_be_replaced: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Opening,
    Open,
    Over,
}

/// One connection.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) is_dialled: bool,
    pub(super) number: usize,
    pub(super) stage: Stage,
    pub(super) id: Option<PeerId>,
    /// Whether a newer message without a key may replace one that waits.
    pub(super) keeps_latest: bool,
    pub(super) topics: BTreeSet<String>,
    /// What the remote has said, and how much of it the handler has heard.
    uttered: Vec<Numbered>,
    heard: usize,
    /// The pieces of the message that the handler hears now.
    pieces: Vec<u8>,
    owed: BTreeMap<u32, Owed>,
    /// The last message that came of each source.
    last: HashMap<Option<usize>, u32>,
    last_of_key: HashMap<(Option<usize>, Option<Key>), u32>,
    /// How many messages were refused to the caller, and of how many lost ones the handler was told.
    refused: u64,
    told: u64,
    /// The handler hears of lost messages now, and how many were sent meanwhile: if they are lost, it is told
    /// when others are.
    pub(super) is_being_told: bool,
    untold: u64,
    /// How many messages to all may have come to it although it opened after the call.
    floating: u64,
    /// How often the handler was told that it did not open.
    pub(super) rejections: usize,
    pub(super) requests: usize,
    /// This side has begun to close it, or has aborted it.
    pub(super) is_closed_here: bool,
    pub(super) has_panicked: bool,
    /// How much the remote had said when it sent its Close.
    closed_there: Option<usize>,
    /// The remote has had a Close.
    is_told_to_close: bool,
    /// The remote has done something after which nothing is owed to it.
    pub(super) is_broken: bool,
    /// It has broken the protocol: what still waits for the codec is not sent before the Close that says so.
    pub(super) is_at_fault: bool,
    pub(super) pings: u32,
    pub(super) pings_heard: u32,
    /// A deadline may pass without a fault of the loop.
    pub(super) may_be_late: bool,
    /// A message of which the first piece was sent.
    pub(super) begun: Option<Numbered>,
}

impl Model {
    pub(super) fn new(loops: usize) -> Self {
        Self {
            connections: Vec::new(),
            sent: Vec::new(),
            uttered: 0,
            failure: None,
            reached: BTreeSet::new(),
            calls: 0,
            loops,
            is_told: HashMap::new(),
            traces: std::env::var_os("FRAMEWIRE_TRACE").is_some(),
        }
    }

    /// Tells whoever looks at one world what happens in it.
    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            eprintln!("{}", what());
        }
    }

    /// Only the first failure counts.
    pub(super) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(what());
        }
    }

    pub(super) fn check(&mut self, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.fail(what);
        }
    }

    pub(super) fn connection(&mut self, number: usize) -> &mut Connection {
        while self.connections.len() <= number {
            let number = self.connections.len();
            // What was sent to all before it was heard of may be carried out after it has opened.
            let floating = self.sent.iter().filter(|sending| sending.floats).count() as u64;
            self.connections.push(Connection { number, floating, ..Connection::default() });
        }
        &mut self.connections[number]
    }

    pub(super) fn is_open(&self, number: usize) -> bool {
        self.connections[number].stage == Stage::Open
    }

    /// The loop of a connection that is open.
    fn loop_of(&self, number: usize) -> Option<usize> {
        self.connections[number].id.map(PeerId::loop_number)
    }
}

/// What loops send.
impl Model {
    /// A message that is about to be sent.
    pub(super) fn number(
        &mut self,
        source: Source,
        length: usize,
        key: Option<(Option<&str>, &str)>,
    ) -> Numbered {
        let numbered = Numbered { serial: self.sent.len() as u32, length };
        let key = key.map(|(topic, name)| (topic.map(str::to_owned), name.to_owned()));
        self.trace(|| format!("{source:?} sends {numbered:?} by the key {key:?}"));
        self.sent.push(Sending { numbered, source, key, floats: false });
        numbered
    }

    /// It is owed to this connection.
    pub(super) fn owe(&mut self, number: usize, numbered: Numbered, promise: Promise) {
        self.trace(|| format!("{number} is owed {numbered:?}: {promise:?}"));
        let owed = Owed { promise, is_delivered: false, may_be_replaced: false };
        self.connections[number].note_while_told();
        self.connections[number].owed.insert(numbered.serial, owed);
    }

    /// The caller was told that it is not sent, since too much waits.
    pub(super) fn refuse(&mut self, number: usize) {
        self.reached.insert("a message is dropped");
        self.trace(|| format!("{number} is refused a message"));
        self.connections[number].refused += 1;
        self.connections[number].note_while_told();
    }

    /// It goes to all that are open.
    pub(super) fn owe_all(&mut self, numbered: Numbered, except: Option<usize>) {
        let source = self.sent[numbered.serial as usize].source;
        self.sent[numbered.serial as usize].floats = source == Source::Handle || self.loops > 1;
        for number in 0..self.connections.len() {
            if Some(number) == except {
                continue;
            }
            if self.is_open(number) {
                self.owe(number, numbered, Promise::Told);
            } else {
                self.connections[number].floating += 1;
            }
        }
    }

    /// It goes to all subscribers of a topic: how many there are, as far as that is known.
    pub(super) fn owe_subscribers(
        &mut self,
        topic: &str,
        numbered: Numbered,
        except: Option<usize>,
    ) -> usize {
        let source = self.sent[numbered.serial as usize].source;
        // Other loops carry it out later.
        let floats = self.loops > 1 && source != Source::Handle;
        self.sent[numbered.serial as usize].floats = floats;
        let mut count = 0;
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            if Some(number) != except && connection.topics.contains(topic) && self.is_open(number) {
                let here = self.loop_of(number).map(Source::Loop) == Some(source)
                    || source == Source::Handle;
                // Who leaves a topic before another loop has looked does not get it.
                let promise = if here { Promise::Told } else { Promise::None };
                self.owe(number, numbered, promise);
                count += 1;
            } else if floats {
                self.connections[number].floating += 1;
            }
        }
        count
    }

    /// A remote has received a message.
    pub(super) fn received(&mut self, number: usize, kind: MessageKind, bytes: &[u8]) {
        let serial = match serial_of(bytes) {
            Some(serial) => Some(serial),
            // A short one must be the next of those that are certain.
            None => self.connections[number].next_short(&self.sent),
        };
        let sending = serial.and_then(|serial| self.sent.get(serial as usize)).cloned();
        let Some(sending) = sending.filter(|sending| sending.numbered.is(kind, bytes)) else {
            let head = bytes[..bytes.len().min(16)].escape_ascii().to_string();
            return self.fail(|| {
                format!("{number} received {} bytes that nobody has sent it: {head}", bytes.len())
            });
        };
        let serial = sending.numbered.serial;
        self.trace(|| format!("{number} received message {serial}"));
        let connection = &mut self.connections[number];
        let promise = match connection.owed.get_mut(&serial) {
            Some(owed) if owed.is_delivered => {
                return self.fail(|| format!("{number} received message {serial} twice"));
            }
            Some(owed) => {
                owed.is_delivered = true;
                owed.promise
            }
            None if sending.floats => Promise::None,
            None => {
                return self.fail(|| format!("{number} received message {serial} of another"));
            }
        };
        if sending.key.is_some() {
            for (&other, owed) in &mut connection.owed {
                let other = &self.sent[other as usize];
                owed.may_be_replaced |= other.key == sending.key && other.source != sending.source;
            }
        }
        // What is kept is overtaken by what is not.
        let waits = sending.key.is_some()
            || promise == Promise::Kept
            || promise != Promise::Certain && connection.keeps_latest;
        let source = match sending.source {
            Source::Loop(number) => Some(number),
            Source::Handle => None,
        };
        let last = if waits {
            connection.last_of_key.insert((source, sending.key.clone()), serial)
        } else {
            connection.last.insert(source, serial)
        };
        if let Some(last) = last.filter(|&last| last > serial && (!waits || sending.key.is_some()))
        {
            self.fail(|| format!("{number} received message {serial} behind {last}"));
        }
    }

    /// A remote has received a Close: everything that was certain came before it, unless it is a remote at fault.
    pub(super) fn received_close(&mut self, number: usize) {
        self.reached.insert("a Close comes");
        self.trace(|| format!("{number} received a Close"));
        let connection = &mut self.connections[number];
        if std::mem::replace(&mut connection.is_told_to_close, true) {
            return self.fail(|| format!("{number} received a second Close"));
        }
        if !connection.is_at_fault {
            self.check_certain(number, "its Close came");
        }
    }

    fn check_certain(&mut self, number: usize, when: &str) {
        let missing = self.connections[number]
            .owed
            .iter()
            .find(|(_, owed)| owed.promise == Promise::Certain && !owed.is_delivered);
        if let Some((serial, _)) = missing {
            let serial = *serial;
            self.fail(|| format!("{number} has not received message {serial} when {when}"));
        }
    }
}

/// What remotes send.
impl Model {
    /// A remote says something.
    pub(super) fn utter(&mut self, number: usize, length: usize) -> Numbered {
        self.uttered += 1;
        // Told from those of loops by the first digit.
        let numbered = Numbered { serial: 0x8000_0000 + self.uttered, length };
        self.connections[number].uttered.push(numbered);
        numbered
    }

    /// It says that this was all.
    pub(super) fn utter_close(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.closed_there.get_or_insert(connection.uttered.len());
    }

    /// The handler is called for a connection.
    pub(super) fn called(&mut self, number: usize, id: PeerId, what: &str) {
        self.calls += 1;
        self.trace(|| format!("{what} of {number}"));
        let connection = &self.connections[number];
        let (stage, own) = (connection.stage, connection.id);
        let has_panicked = connection.has_panicked && what != "on_close";
        self.check(stage == Stage::Open && own == Some(id) && !has_panicked, || {
            format!("{what} is called for {number}, {id}, which is {stage:?} as {own:?}")
        });
    }

    pub(super) fn heard(&mut self, number: usize, kind: MessageKind, bytes: &[u8]) {
        let connection = &mut self.connections[number];
        let next = connection.uttered.get(connection.heard).copied();
        connection.heard += 1;
        let is_next = next.is_some_and(|next| next.is(kind, bytes));
        if !is_next {
            let wanted = next.map(Numbered::text).unwrap_or_default();
            let from =
                bytes.iter().zip(wanted.as_bytes()).take_while(|(one, other)| one == other).count();
            let some = bytes[from..]
                .iter()
                .take(16)
                .copied()
                .collect::<Vec<_>>()
                .escape_ascii()
                .to_string();
            self.fail(|| {
                let length = bytes.len();
                format!("the handler heard {length} bytes of {number}, not {next:?}: from {from} on {some}")
            });
        }
        if connection_is_past_close(&self.connections[number]) {
            self.fail(|| format!("the handler heard {number} after its Close"));
        }
    }

    pub(super) fn heard_piece(
        &mut self,
        number: usize,
        kind: MessageKind,
        bytes: &[u8],
        last: bool,
    ) {
        self.reached.insert("a fragment");
        self.connections[number].pieces.extend_from_slice(bytes);
        if last {
            let whole = std::mem::take(&mut self.connections[number].pieces);
            self.heard(number, kind, &whole);
        }
    }

    pub(super) fn heard_ping(&mut self, number: usize, payload: &[u8]) {
        let connection = &mut self.connections[number];
        connection.pings_heard += 1;
        let expected = connection.pings_heard.to_be_bytes();
        self.check(payload == expected, || format!("a Ping of {number} comes out of order"));
    }

    pub(super) fn opened(&mut self, number: usize, id: PeerId) {
        self.calls += 1;
        self.reached.insert("a connection opens");
        self.trace(|| format!("{number} opens as {id}"));
        let connection = &mut self.connections[number];
        let is_new = connection.stage == Stage::Opening && connection.rejections == 0;
        let dialled = connection.is_dialled;
        (connection.stage, connection.id) = (Stage::Open, Some(id));
        self.check(is_new, || format!("on_open is called for {number}, dialled: {dialled}"));
    }

    pub(super) fn told_of_lost(&mut self, number: usize, count: u64) {
        self.reached.insert("messages are lost");
        self.trace(|| format!("{number} has lost {count}"));
        self.connections[number].told += count;
    }

    pub(super) fn rejected(&mut self, number: usize, why: &str) {
        self.trace(|| format!("{number} is rejected: {why}"));
        self.calls += 1;
        let connection = self.connection(number);
        connection.rejections += 1;
        let is_first = connection.rejections == 1 && connection.stage == Stage::Opening;
        self.check(is_first, || format!("{number} is rejected twice, or after it was open: {why}"));
    }

    pub(super) fn closed(&mut self, number: usize, is_clean: bool) {
        self.trace(|| format!("{number} is closed, clean: {is_clean}"));
        self.calls += 1;
        let connection = &mut self.connections[number];
        let is_known = connection.stage == Stage::Open
            || connection.stage == Stage::Opening && connection.is_dialled;
        connection.stage = Stage::Over;
        let (heard, said) = (connection.heard, connection.closed_there);
        let has_panicked = connection.has_panicked;
        self.check(is_known, || format!("on_close is called for {number} once too often"));
        if is_clean {
            self.reached.insert("a connection ends clean");
            let all = said == Some(heard) || has_panicked;
            self.check(all, || format!("{number} is clean with {heard} of {said:?} heard"));
        }
    }

    /// A deadline has ended it.
    pub(super) fn timed_out(&mut self, number: usize, which: &str) {
        self.reached.insert("a deadline passes");
        let connection = &self.connections[number];
        let bytes = connection.uttered.iter().map(|numbered| numbered.length);
        let owed = connection.owed.keys().map(|&serial| self.sent[serial as usize].numbered.length);
        // Half of a message is under way as well.
        let begun = connection.begun.map(|numbered| numbered.length);
        let is_busy = bytes.chain(owed).chain(begun).sum::<usize>() > 2000;
        let is_excused = connection.may_be_late || connection.is_broken || is_busy;
        self.check(is_excused, || format!("{number} ends by {which}, and was not late"));
    }

    pub(super) fn turned(&mut self, number: usize, topic: &str, subscribers: usize) {
        self.calls += 1;
        let is_told = self.is_told.entry((number, topic.to_owned())).or_default();
        let was = std::mem::replace(is_told, subscribers > 0);
        self.check(was != (subscribers > 0), || {
            format!("on_subscription tells of {topic} in loop {number} what it has told already")
        });
    }
}

fn connection_is_past_close(connection: &Connection) -> bool {
    connection.closed_there.is_some_and(|said| connection.heard > said)
}

impl Connection {
    fn next_short(&self, sent: &[Sending]) -> Option<u32> {
        let short = |(serial, owed): (&u32, &Owed)| {
            let is_short = sent[*serial as usize].numbered.length < TELLING;
            (is_short && !owed.is_delivered).then_some(*serial)
        };
        self.owed.iter().find_map(short)
    }

    fn note_while_told(&mut self) {
        self.untold += u64::from(self.is_being_told);
    }

    /// Whether nothing stands in the way of what is owed.
    fn is_well(&self) -> bool {
        self.stage == Stage::Open
            && !self.is_closed_here
            && !self.has_panicked
            && !self.is_told_to_close
            && self.closed_there.is_none()
            && !self.is_broken
    }
}

/// When nothing is on its way any more.
impl Model {
    pub(super) fn check_rest(&mut self) {
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            if !connection.is_well() {
                continue;
            }
            let (heard, uttered) = (connection.heard, connection.uttered.len());
            let is_begun = connection.begun.is_some();
            self.check(heard == uttered, || {
                format!("the handler has heard {heard} of {uttered} messages of {number}")
            });
            if is_begun {
                // There was no room for the rest of a message: what waits behind it still does.
                continue;
            }
            self.reached.insert("a connection is well in the end");
            self.check_certain(number, "nothing was on its way");
            self.check_kept(number);
            self.check_lost(number);
        }
    }

    /// Of what is kept the newest comes.
    fn check_kept(&mut self, number: usize) {
        let connection = &self.connections[number];
        let mut newest = HashMap::new();
        for (&serial, owed) in &connection.owed {
            let key = &self.sent[serial as usize].key;
            if key.is_some() && owed.promise != Promise::None {
                newest.insert(key.clone(), (serial, *owed));
            }
        }
        let lost = newest.into_values().find(|(_, owed)| {
            owed.promise == Promise::Kept && !owed.is_delivered && !owed.may_be_replaced
        });
        if let Some((serial, _)) = lost {
            self.fail(|| format!("{number} has not received message {serial}, which was kept"));
        }
    }

    /// Of each message that is lost the handler was told, and of no other.
    fn check_lost(&mut self, number: usize) {
        let connection = &self.connections[number];
        let (mut least, mut most) = (connection.refused, connection.refused + connection.floating);
        for (&serial, owed) in &connection.owed {
            if !owed.is_delivered {
                most += 1;
                let replaced = self.sent[serial as usize].key.is_some();
                let told = owed.promise == Promise::Told || owed.promise == Promise::Kept;
                least += u64::from(told && !replaced);
            }
        }
        let told = connection.told;
        least = least.saturating_sub(connection.untold);
        self.check((least..=most).contains(&told), || {
            format!("of {least} to {most} messages that {number} has lost {told} were told")
        });
    }

    /// When all loops have gone.
    pub(super) fn check_end(&mut self) {
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            let (stage, rejections) = (connection.stage, connection.rejections);
            let ended = stage == Stage::Over || stage == Stage::Opening && !connection.is_dialled;
            self.check(ended, || format!("{number} is {stage:?} at the end"));
            self.check(rejections <= 1, || format!("{number} was rejected {rejections} times"));
        }
    }
}
