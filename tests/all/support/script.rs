//! A script is what the peer sends, what the application does at which event, and what must come of
//! it. It is replayed in every way that its bytes can arrive, and must come out the same each time.

use framewire::handshake::{ClientRequest, Url, accept_key};
use framewire::{
    Accept, Config, Connection, Event, HandshakeError, MessageKind, Outcome, ProtocolError, Role,
    State,
};

use super::chunks::{Random, all_cuts, portions};
use super::frames::{Frame, close, sent_by};

/// Both ends, for tests that hold for either.
pub(crate) const ROLES: [Role; 2] = [Role::Server, Role::Client];

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The other end.
pub(crate) fn peer_of(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// An event, owned, and the same however its payload was held. The pieces of a message are one.
#[derive(Clone, PartialEq)]
pub(crate) enum Seen {
    Request(String),
    Http(String),
    Open,
    Text(String),
    Binary(Vec<u8>),
    Pieces(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    HandshakeFailed(HandshakeError),
    Failed(ProtocolError),
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = |bytes: &[u8]| {
            let shown = bytes[..bytes.len().min(40)].escape_ascii();
            format!("{} bytes {shown}", bytes.len())
        };
        match self {
            Self::Request(path) => write!(f, "Request({path})"),
            Self::Http(path) => write!(f, "Http({path})"),
            Self::Open => f.write_str("Open"),
            Self::Text(text) => write!(f, "Text({})", bytes(text.as_bytes())),
            Self::Binary(payload) => write!(f, "Binary({})", bytes(payload)),
            Self::Pieces(kind, payload) => write!(f, "Pieces({kind:?}, {})", bytes(payload)),
            Self::Ping(payload) => write!(f, "Ping({})", bytes(payload)),
            Self::Pong(payload) => write!(f, "Pong({})", bytes(payload)),
            Self::Close(code, reason) => write!(f, "Close({code}, {reason:?})"),
            Self::HandshakeFailed(error) => write!(f, "HandshakeFailed({error:?})"),
            Self::Failed(error) => write!(f, "Failed({error:?})"),
        }
    }
}

/// A text message.
pub(crate) fn said(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// Turns events into what was seen, and joins pieces.
#[derive(Default)]
pub(crate) struct Recorder {
    pieces: Option<(MessageKind, Vec<u8>)>,
    pub(crate) seen: Vec<Seen>,
}

impl Recorder {
    pub(crate) fn record(&mut self, event: Event<'_>) {
        self.seen.push(match event {
            Event::Request(request) => Seen::Request(request.path().to_owned()),
            Event::Http(request) => Seen::Http(request.path().to_owned()),
            Event::Open(_) => Seen::Open,
            Event::Message(message) => match message.as_text() {
                Some(text) => Seen::Text(text.to_owned()),
                None => Seen::Binary(message.into_bytes().into_vec()),
            },
            Event::Fragment(fragment) => {
                assert_eq!(fragment.first, self.pieces.is_none());
                let (kind, mut bytes) = self.pieces.take().unwrap_or((fragment.kind, Vec::new()));
                assert_eq!(fragment.kind, kind);
                bytes.extend_from_slice(&fragment.payload);
                if !fragment.last {
                    self.pieces = Some((kind, bytes));
                    return;
                }
                Seen::Pieces(kind, bytes)
            }
            Event::Ping(payload) => Seen::Ping(payload.into_vec()),
            Event::Pong(payload) => Seen::Pong(payload.into_vec()),
            Event::Close(close) => Seen::Close(close.code().0, close.reason().to_owned()),
            Event::HandshakeFailed(error) => Seen::HandshakeFailed(error),
            Event::Failed(error) => Seen::Failed(error),
            other => panic!("an event that the tests do not know: {other:?}"),
        });
    }
}

/// What came of one way to play a script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) events: Vec<Seen>,
    pub(crate) output: Vec<u8>,
    pub(crate) state: State,
    pub(crate) wants_shutdown: bool,
    pub(crate) outcome: Outcome,
}

type Action = Box<dyn Fn(&mut Connection)>;

pub(crate) struct Script {
    role: Role,
    config: Config,
    extensions: Option<&'static str>,
    from_open: bool,
    input: Vec<u8>,
    /// What the application does, and after how many events.
    actions: Vec<(usize, Action)>,
    events: Vec<Seen>,
    sends: Vec<Frame>,
}

impl Script {
    /// On an open connection.
    pub(crate) fn open(role: Role) -> Self {
        Self {
            role,
            config: Config::new(),
            extensions: None,
            from_open: true,
            input: Vec::new(),
            actions: Vec::new(),
            events: Vec::new(),
            sends: Vec::new(),
        }
    }

    /// A server from the first byte of the handshake on.
    pub(crate) fn server_from_start() -> Self {
        Self { from_open: false, ..Self::open(Role::Server) }
    }

    /// A client that has sent its request; [`KEY`] is the key in it.
    pub(crate) fn client_from_start() -> Self {
        Self { from_open: false, ..Self::open(Role::Client) }
    }

    pub(crate) fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// With the answer of the server to an offer of permessage-deflate.
    #[cfg(feature = "deflate")]
    pub(crate) fn deflate(self, extensions: &'static str) -> Self {
        Self { extensions: Some(extensions), ..self }
    }

    /// The peer sends this frame.
    pub(crate) fn peer(self, frame: Frame) -> Self {
        let bytes = frame.by(peer_of(self.role));
        self.bytes(bytes)
    }

    /// The peer sends these bytes.
    pub(crate) fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input.extend_from_slice(bytes.as_ref());
        self
    }

    /// The next event.
    pub(crate) fn sees(mut self, seen: Seen) -> Self {
        self.events.push(seen);
        self
    }

    /// What the application does at the last event named, or before any.
    pub(crate) fn app(mut self, action: impl Fn(&mut Connection) + 'static) -> Self {
        self.actions.push((self.events.len(), Box::new(action)));
        self
    }

    /// The next frame in the output.
    pub(crate) fn sends(mut self, frame: Frame) -> Self {
        self.sends.push(frame);
        self
    }

    /// Plays the script in every way; all agree, and are as told. Answers what all agree on.
    pub(crate) fn run(&self) -> Transcript {
        let transcript = self.run_without_output();
        assert_eq!(sent_by(self.role, &transcript.output), self.sends, "{:?}", self.role);
        transcript
    }

    /// The same for output that is not frames.
    pub(crate) fn run_without_output(&self) -> Transcript {
        let whole = self.play(&self.input, &[], &mut Way::plain());
        assert_eq!(whole.events, self.events, "{:?}", self.role);
        for (number, cuts) in all_cuts(self.input.len()).into_iter().enumerate() {
            let mut way = Way { odd_drains: number % 3 == 1, ..Way::plain() };
            let played = self.play(&self.input, &cuts, &mut way);
            assert_eq!(played, whole, "{:?} cut at {cuts:?}", self.role);
        }
        for seed in 1..=4 {
            let way = Way { direct: true, random: Random::new(seed), ..Way::plain() };
            let first = self.input.len().min(1000);
            for cut in [1, 17, first] {
                let played = self.play(&self.input, &[cut.min(first)], &mut way.clone());
                assert_eq!(played, whole, "{:?} read directly", self.role);
            }
        }
        for budget in [1, 100, 20_000, 100_000] {
            let mut way = Way { budget: Some(budget), ..Way::plain() };
            let played = self.play(&self.input, &[], &mut way);
            assert_eq!(played, whole, "{:?} with a budget of {budget}", self.role);
        }
        whole
    }

    /// The connection fails here: nothing more is waited for, and nothing that follows matters.
    pub(crate) fn fails(mut self, error: ProtocolError) -> Transcript {
        let code = error.close_code().0;
        self = self.sees(Seen::Failed(error)).sends(close(code, &error.to_string()));
        let transcript = self.run();
        assert_eq!(transcript.state, State::Closing);
        assert!(transcript.wants_shutdown);
        assert_eq!(transcript.outcome, Outcome::Failed(error));
        assert_eq!((transcript.outcome.code().0, transcript.outcome.was_clean()), (1006, false));
        self.nothing_follows(&transcript);
        transcript
    }

    /// Whatever follows on the stream changes nothing.
    pub(crate) fn nothing_follows(&self, transcript: &Transcript) {
        let peer = peer_of(self.role);
        let more = ["ping", "text", "close"].map(str::as_bytes);
        let frames = [super::frames::ping(more[0]), super::frames::text(more[1]), close(1000, "")];
        let mut longer = self.input.clone();
        longer.extend(frames.iter().flat_map(|frame| frame.by(peer)));
        longer.extend([0xff; 40]);
        for cuts in [vec![], vec![self.input.len()], (1..longer.len()).collect()] {
            let played = self.play(&longer, &cuts, &mut Way::plain());
            assert_eq!(&played, transcript, "{:?}: something followed", self.role);
        }
    }

    fn play(&self, input: &[u8], cuts: &[usize], way: &mut Way) -> Transcript {
        let mut connection = match (self.from_open, self.role) {
            (true, role) => open(role, &self.config, self.extensions),
            (false, Role::Server) => Connection::server(&self.config),
            (false, Role::Client) => client(&self.config),
        };
        if !self.from_open {
            drain(&mut connection);
        }
        let mut player = Player {
            script: self,
            recorder: Recorder::default(),
            done: 0,
            output: Vec::new(),
            budget: way.budget,
        };
        player.act(&mut connection);
        for portion in portions(input, cuts) {
            let mut portion = portion.to_vec();
            let mut portion = &mut portion[..];
            while way.direct && player.directly(&mut connection, &mut portion, way) {}
            if way.direct {
                // In small reads up to where a long payload begins.
                while !portion.is_empty() {
                    let count = portion.len().min(1 + way.random.below(3000));
                    let (mut now, later) = portion.split_at_mut(count);
                    player.receive(&mut connection, &mut now);
                    portion = later;
                    while player.directly(&mut connection, &mut portion, way) {}
                }
            } else {
                player.receive(&mut connection, &mut portion);
            }
            let waiting = connection.buffered_amount();
            if way.odd_drains && waiting > 0 {
                let count = way.random.below(waiting + 1);
                player.take(&mut connection, count);
            } else {
                player.take(&mut connection, waiting);
            }
        }
        let waiting = connection.buffered_amount();
        player.take(&mut connection, waiting);
        // A pong may have been held back.
        let waiting = connection.buffered_amount();
        player.take(&mut connection, waiting);
        assert_eq!(player.done, self.actions.len(), "every action came about");
        let (state, wants_shutdown) = (connection.state(), connection.wants_shutdown());
        let outcome = connection.receive_eof();
        assert_eq!(connection.receive_eof(), outcome, "the outcome is given once and for all");
        assert_eq!(connection.state(), State::Closed);
        let (events, output) = (player.recorder.seen, player.output);
        Transcript { events, output, state, wants_shutdown, outcome }
    }
}

#[derive(Clone)]
struct Way {
    /// Through `receive_direct` where it will have it.
    direct: bool,
    /// With output taken in odd portions, some of it late.
    odd_drains: bool,
    /// How much may be inflated in a turn.
    budget: Option<usize>,
    random: Random,
}

impl Way {
    fn plain() -> Self {
        Self { direct: false, odd_drains: false, budget: None, random: Random::new(7) }
    }
}

struct Player<'s> {
    script: &'s Script,
    recorder: Recorder,
    done: usize,
    output: Vec<u8>,
    budget: Option<usize>,
}

impl Player<'_> {
    fn receive(&mut self, connection: &mut Connection, input: &mut &mut [u8]) {
        // Reads of nothing change nothing, before and after.
        if connection.state() == State::Open {
            assert_eq!(connection.receive(&mut &mut [][..]), None);
        }
        let mut input = std::mem::take(input);
        loop {
            connection.as_parts_mut().1.set_codec_budget(self.budget);
            while let Some(event) = connection.receive(&mut input) {
                self.recorder.record(event);
                // One that never ends would not be seen to fail.
                let (seen, expected) = (&self.recorder.seen, &self.script.events);
                assert!(
                    seen.len() <= expected.len() + 4,
                    "{:?} and so on",
                    &seen[expected.len()..]
                );
                self.act(connection);
            }
            if !connection.awaits_codec() {
                break;
            }
            assert!(self.budget.is_some(), "nothing is left without need");
        }
        assert!(input.is_empty(), "all was taken");
        assert_eq!(connection.receive(&mut input), None);
    }

    fn directly(
        &mut self,
        connection: &mut Connection,
        input: &mut &mut [u8],
        way: &mut Way,
    ) -> bool {
        let most = [1, 7, 1001, 4093, 70_000][way.random.below(5)];
        let appended = connection.receive_direct(|buffer, missing| {
            let count = most.min(missing).min(input.len());
            let (now, later) = std::mem::take(input).split_at_mut(count);
            buffer.append(now);
            *input = later;
            count
        });
        let Some((count, event)) = appended else { return false };
        if let Some(event) = event {
            self.recorder.record(event);
            self.act(connection);
        }
        count > 0
    }

    /// Does what is to be done after as many events as there were.
    fn act(&mut self, connection: &mut Connection) {
        while let Some((after, action)) = self.script.actions.get(self.done)
            && *after == self.recorder.seen.len()
        {
            self.done += 1;
            // Only what comes in is to be measured.
            let budget = connection.as_parts_mut().1.codec_budget();
            connection.as_parts_mut().1.set_codec_budget(None);
            action(connection);
            connection.as_parts_mut().1.set_codec_budget(budget);
        }
    }

    fn take(&mut self, connection: &mut Connection, count: usize) {
        let bytes: Vec<u8> = connection.output().flatten().copied().collect();
        assert_eq!(bytes.len(), connection.buffered_amount());
        assert!(connection.output().all(|chunk| !chunk.is_empty()));
        self.output.extend_from_slice(&bytes[..count]);
        connection.consume_output(count);
        // A Pong that was held back may have come in behind.
        assert!(connection.buffered_amount() >= bytes.len() - count);
    }
}

/// A source of entropy that is the same each time.
pub(crate) fn not_random(seed: u64) -> impl FnMut(&mut [u8]) + Send + 'static {
    let mut random = Random::new(seed);
    move |bytes| random.fill(bytes)
}

/// A client in CONNECTING whose key is [`KEY`].
pub(crate) fn client(config: &Config) -> Connection {
    let url = Url::parse("ws://example.com/chat").unwrap();
    client_of(ClientRequest::new(&url), config)
}

/// A client in CONNECTING with this request, whose key is [`KEY`].
pub(crate) fn client_of(request: ClientRequest, config: &Config) -> Connection {
    let (mut first, mut keys) = (true, not_random(3));
    let entropy = move |bytes: &mut [u8]| {
        if std::mem::take(&mut first) {
            bytes.copy_from_slice(b"the sample nonce");
        } else {
            keys(bytes);
        }
    };
    Connection::client(request, config, entropy).unwrap()
}

/// An open client with the answer of a server to its offer, and this entropy for its masking keys.
pub(crate) fn open_client(
    config: &Config,
    extensions: Option<&str>,
    entropy: impl framewire::Entropy + Send + 'static,
) -> Connection {
    struct Sample<E>(bool, E);
    impl<E: framewire::Entropy> framewire::Entropy for Sample<E> {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), framewire::EntropyError> {
            if std::mem::take(&mut self.0) {
                bytes.copy_from_slice(b"the sample nonce");
                return Ok(());
            }
            self.1.fill(bytes)
        }
    }
    let request = ClientRequest::new(&Url::parse("ws://example.com/chat").unwrap());
    let mut client = Connection::client(request, config, Sample(true, entropy)).unwrap();
    drain(&mut client);
    let lines = extensions.map(|list| format!("Sec-WebSocket-Extensions: {list}\r\n"));
    assert_eq!(feed(&mut client, response(&lines.unwrap_or_default()).as_bytes()), [Seen::Open]);
    client
}

/// The request that a client sends, with these lines added.
pub(crate) fn request(lines: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
         {lines}\r\n"
    )
}

/// The 101 to [`KEY`], with these lines added.
pub(crate) fn response(lines: &str) -> String {
    let accept = accept_key(KEY.as_bytes());
    let accept = accept.escape_ascii();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

/// An open connection. `extensions`: what a client offered the server, or a server answered the
/// client.
pub(crate) fn open(role: Role, config: &Config, extensions: Option<&str>) -> Connection {
    let lines = extensions.map(|list| format!("Sec-WebSocket-Extensions: {list}\r\n"));
    let lines = lines.unwrap_or_default();
    let mut connection = match role {
        Role::Server => {
            let mut connection = Connection::server(config);
            let mut head = request(&lines).into_bytes();
            let mut input = &mut head[..];
            assert!(matches!(connection.receive(&mut input), Some(Event::Request(_))));
            connection.accept(Accept::new()).unwrap();
            connection
        }
        Role::Client => {
            let mut connection = client(config);
            drain(&mut connection);
            let mut head = response(&lines).into_bytes();
            let mut input = &mut head[..];
            assert!(matches!(connection.receive(&mut input), Some(Event::Open(_))));
            connection
        }
    };
    drain(&mut connection);
    assert_eq!(connection.state(), State::Open);
    #[cfg(feature = "deflate")]
    assert_eq!(connection.deflate().is_some(), extensions.is_some());
    connection
}

/// All events that `bytes` give.
pub(crate) fn feed(connection: &mut Connection, bytes: &[u8]) -> Vec<Seen> {
    let mut recorder = Recorder::default();
    let (mut bytes, length) = (bytes.to_vec(), bytes.len());
    let mut input = &mut bytes[..];
    while let Some(event) = connection.receive(&mut input) {
        recorder.record(event);
        assert!(recorder.seen.len() <= length + 4, "more events than bytes");
    }
    recorder.seen
}

/// Takes the whole output.
pub(crate) fn drain(connection: &mut Connection) -> Vec<u8> {
    let bytes: Vec<u8> = connection.output().flatten().copied().collect();
    connection.consume_output(bytes.len());
    bytes
}

/// Takes the whole output, which is frames.
pub(crate) fn drain_frames(connection: &mut Connection) -> Vec<Frame> {
    let bytes = drain(connection);
    sent_by(connection.role(), &bytes)
}
