//! Any calls with any values: no panic, and no value that contradicts what it was made of.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use framewire::deflate::DeflateConfig;
use framewire::handshake::{
    ClientRequest, HeadLimits, Headers, HttpDate, RequestParts, Url, encode_key,
};
use framewire::{
    Accept, CloseCode, CloseFrame, Config, Connection, Entropy, EntropyError, Fragment, Fragments,
    Message, MessageKind, Prepared, Response, Role, SendError, State, Upgraded, Workspace,
};
use framewire_fuzz::{Engine, SharedWorkspace};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Call<'a> {
    Sizes(usize, u32, usize, usize, usize),
    Water(usize, usize, usize),
    Flags(bool, Option<usize>),
    Path(&'a str),
    Origins(Vec<&'a [u8]>),
    Subprotocols(Vec<&'a str>),
    Timeouts(Duration, [Option<Duration>; 7]),
    Deflate(u8, u8, u8, usize),
    NoDeflate,
    AcceptHeader(&'a str, &'a [u8]),
    AcceptSubprotocol(Option<&'a str>),
    Response(u16, &'a str, &'a [u8], &'a str, &'a [u8]),
    Url(&'a str),
    UnixUrl(&'a str),
    Join(&'a str),
    Adopted(bool),
    RequestHeader(&'a str, &'a [u8]),
    RequestOther(u8, &'a str, Vec<&'a str>),
    Headers(Vec<(&'a str, &'a [u8])>),
    Close(u16, &'a str),
    CloseBytes(&'a [u8]),
    Server,
    Client,
    Send(&'a [u8]),
    Text(&'a str),
    Prepared(&'a [u8]),
    Fragment(bool, &'a [u8], bool),
    Pieces(bool),
    Budget(Option<usize>),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    CloseWith(u16, &'a str),
    Accept,
    Respond,
    Receive(&'a [u8]),
    Direct(&'a [u8]),
    Consume(usize),
    SetConfig,
    AnswerInstead,
    Seed(u8),
    /// The time is told, reading pauses or not, and the neighbour has a turn or not.
    Turn(Duration, bool, bool),
    HandleTimeout(Duration),
    End(bool),
}

struct World {
    config: Config,
    url: Url,
    accept: Accept,
    response: Response,
    request: ClientRequest,
    connection: Engine,
    now: Duration,
    /// How many connections were made.
    made: usize,
    workspace: SharedWorkspace,
    /// Another connection of that workspace.
    neighbour: Engine,
}

/// Fails now and then.
struct Flaky(u8);

impl Entropy for Flaky {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0 = self.0.wrapping_mul(5).wrapping_add(3);
        bytes.fill(self.0);
        if self.0 < 64 { Err(EntropyError::default()) } else { Ok(()) }
    }
}

fuzz_target!(|calls: Vec<Call<'_>>| {
    let config = Config::new();
    let url = Url::parse("ws://h/").unwrap();
    let workspace = Rc::new(RefCell::new(Workspace::with_entropy(Flaky(9)).for_many()));
    let mut world = World {
        accept: Accept::new(),
        response: Response::not_found(),
        request: ClientRequest::new(&url),
        url,
        connection: Engine::server(&config, None),
        now: Duration::ZERO,
        made: 0,
        neighbour: Engine::adopted(Role::Server, &config, &workspace),
        workspace,
        config,
    };
    for call in calls {
        world.configure(&call);
        world.make(&call);
        world.drive(&call);
    }
    let outcome = world.connection.receive_eof();
    assert_eq!(world.connection.abort(), outcome);
});

impl World {
    fn configure(&mut self, call: &Call<'_>) {
        let config = self.config.clone();
        self.config = match *call {
            Call::Sizes(message, fragments, head, headers, line) => config
                .max_message_size(message)
                .max_fragments(fragments)
                .max_head_size(head)
                .max_headers(headers)
                .max_request_line(line)
                .max_rejection_body(line),
            Call::Water(high, low, most) => {
                config.output_high_water(high).output_low_water(low).max_buffered_amount(most)
            }
            Call::Flags(pong, fragments) => config
                .auto_pong(pong)
                .fragments(fragments.map_or(Fragments::Never, Fragments::From)),
            Call::Path(path) => config.path(path),
            Call::Origins(ref origins) => config.origins(origins),
            Call::Subprotocols(ref names) => config.subprotocols(names.iter().copied()),
            Call::Timeouts(_, [handshake, first, ping, pong, message, write, close]) => config
                .handshake_timeout(handshake)
                .rejection_timeout(close)
                .first_message_timeout(first)
                .ping_interval(ping)
                .pong_timeout(pong)
                .message_timeout(message)
                .write_timeout(write)
                .close_timeout(close),
            Call::Deflate(level, server, client, threshold) => {
                let deflate = DeflateConfig::new()
                    .level(level)
                    .and_then(|deflate| deflate.server_max_window_bits(server))
                    .and_then(|deflate| deflate.client_max_window_bits(client));
                let (levels, windows) = (0..=9, 8..=15);
                let valid = levels.contains(&level)
                    && windows.contains(&server)
                    && windows.contains(&client);
                assert_eq!(deflate.is_ok(), valid);
                match deflate {
                    Ok(deflate) => config.deflate(deflate.threshold(threshold)),
                    Err(_) => config,
                }
            }
            Call::NoDeflate => config.no_deflate(),
            _ => config,
        };
        if let Err(error) = self.config.validate() {
            assert!(!error.to_string().is_empty());
        }
    }

    fn make(&mut self, call: &Call<'_>) {
        match *call {
            Call::AcceptHeader(name, value) => {
                self.accept = self.accept.clone().header(name, value).unwrap_or_default();
            }
            Call::AcceptSubprotocol(name) => {
                let accept = self.accept.clone();
                self.accept = match name {
                    Some(name) => accept.subprotocol(name),
                    None => accept.no_subprotocol().no_deflate(),
                };
            }
            Call::Response(status, name, value, reason, body) => {
                let response = Response::new(status).body(body);
                let response = response.clone().header(name, value).unwrap_or(response);
                self.response = response.clone().reason(reason).unwrap_or(response);
                assert!((200..=599).contains(&self.response.status()));
                let mut out = Vec::new();
                let date = Some(HttpDate::since_1970(Duration::from_secs(status.into())));
                self.response.encode("GET", date, &mut out);
                assert!(out.starts_with(b"HTTP/1.1 "));
            }
            Call::Url(text) => self.ask(Url::parse(text).ok()),
            Call::UnixUrl(text) => self.ask(Url::parse(&format!("ws+unix:{text}")).ok()),
            Call::Join(reference) => self.ask(self.url.join(reference).ok()),
            Call::RequestHeader(name, value) => {
                let request = self.request.clone();
                self.request = request.clone().header(name, value).unwrap_or(request);
            }
            Call::RequestOther(version, origin, ref names) => {
                let request = self.request.clone();
                let request = request.clone().version(version).unwrap_or(request);
                let request = request.clone().origin(origin).unwrap_or(request);
                let names = names.iter().copied();
                self.request = request.clone().subprotocols(names).unwrap_or(request);
                let mut out = Vec::new();
                self.request.encode(&encode_key([0; 16]), Some(origin), &mut out);
                assert!(out.starts_with(b"GET /") && out.ends_with(b"\r\n\r\n"));
            }
            Call::Headers(ref fields) => {
                let mut headers = Headers::new();
                for (index, (name, value)) in fields.iter().enumerate() {
                    let before = headers.len();
                    if index % 2 == 0 {
                        let added = headers.append(name, value).is_ok();
                        assert_eq!(headers.len(), before + usize::from(added));
                    } else if headers.set(name, value).is_ok() {
                        assert!(headers.get_all(name).eq([*value]));
                    }
                }
                assert!(!format!("{headers:?}").chars().any(char::is_control));
            }
            Call::Close(code, reason) => {
                let close = CloseFrame::new(CloseCode(code), reason);
                let valid = CloseCode(code).is_sendable() && reason.len() <= 123;
                assert_eq!(close.is_ok(), valid);
                if let Ok(close) = close {
                    let mut bytes = Vec::new();
                    close.encode(&mut bytes);
                    assert_eq!(CloseFrame::decode(&bytes), Ok(close));
                }
            }
            Call::CloseBytes(bytes) => {
                if let Ok(close) = CloseFrame::decode(bytes) {
                    let mut again = Vec::new();
                    close.encode(&mut again);
                    assert_eq!(again, bytes);
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, url: Option<Url>) {
        let Some(url) = url else { return };
        assert!(url.target().starts_with('/') && url.target().is_ascii());
        assert!(url.port() != 0 && !url.host().is_empty());
        let written = url.to_string();
        let again = Url::parse(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(again.to_string(), written);
        assert_eq!(again.target(), url.target());
        assert!(again.is_same_origin(&url), "{written} is another place");
        self.request = ClientRequest::new(&url);
        self.url = url;
    }

    fn drive(&mut self, call: &Call<'_>) {
        let connection = &mut self.connection;
        let before = connection.state();
        match *call {
            Call::Timeouts(now, _) => {
                self.begin(Engine::server);
                self.now = self.now.max(now);
                self.connection.set_time(now);
            }
            Call::Adopted(true) => {
                let parts = RequestParts::new("GET", self.url.target()).unwrap();
                let request = parts.header("Host", "h").unwrap().read(HeadLimits::default());
                self.begin(|config, shared| match (shared, request) {
                    (None, Ok(request)) => {
                        Engine::Alone(Connection::upgraded(Upgraded::new(request), config))
                    }
                    (None, Err(_)) => Engine::Alone(Connection::adopted_server(config)),
                    (Some(workspace), _) => Engine::adopted(Role::Server, config, workspace),
                });
            }
            Call::Adopted(false) => self.begin(|config, shared| match shared {
                None => Engine::Alone(Connection::adopted_client(config, Flaky(5))),
                Some(workspace) => Engine::adopted(Role::Client, config, workspace),
            }),
            Call::Server => self.begin(Engine::server),
            Call::Client => {
                let request = self.request.clone();
                self.begin(|config, shared| {
                    let client = Engine::client(request, config, Flaky(7), shared);
                    client.unwrap_or_else(|_| Engine::server(config, shared))
                });
            }
            Call::Send(bytes) => drop(connection.send(bytes)),
            Call::Text(text) => drop(connection.send(text.to_owned())),
            Call::Prepared(bytes) => {
                let prepared = Prepared::new(bytes);
                assert_eq!(
                    (prepared.len(), prepared.message()),
                    (bytes.len(), Message::from(bytes))
                );
                drop(connection.send_prepared(&prepared));
            }
            Call::Fragment(text, piece, last) => {
                let kind = if text { MessageKind::Text } else { MessageKind::Binary };
                let fragment =
                    if last { Fragment::last(kind, piece) } else { Fragment::more(kind, piece) };
                drop(connection.send_fragment(fragment));
            }
            Call::Pieces(true) => connection.set_fragments(Fragments::Always),
            Call::Pieces(false) => connection.set_fragments(Fragments::Never),
            Call::Budget(bytes) => connection.set_codec_budget(bytes),
            Call::Ping(payload) => {
                let sent = connection.ping(payload);
                let may = payload.len() <= 125 && before == State::Open;
                assert_eq!(sent.is_ok() || matches!(sent, Err(SendError::Entropy(_))), may);
            }
            Call::Pong(payload) => drop(connection.pong(payload)),
            Call::CloseWith(code, reason) => drop(connection.close(code, reason)),
            Call::Accept => {
                let accepted = connection.accept(self.accept.clone()).is_ok();
                assert!(!accepted || connection.state() == State::Open);
            }
            Call::Respond => drop(connection.respond(self.response.clone())),
            Call::Receive(bytes) => {
                let mut bytes = bytes.to_vec();
                let mut input = &mut bytes[..];
                while connection.receive(&mut input).is_some() {}
                let left = connection.awaits_decision() || connection.awaits_codec();
                assert!(input.is_empty() || left);
            }
            // More than is missing, too, which the caller must not do.
            Call::Direct(bytes) => {
                drop(connection.receive_direct(|buffer, missing| {
                    let room = buffer.room(missing);
                    let count = bytes.len().min(room.len());
                    room[..count].copy_from_slice(&bytes[..count]);
                    buffer.advance(count);
                    buffer.append(&bytes[count..]);
                }));
            }
            Call::Consume(count) => {
                let buffered = connection.buffered_amount();
                connection.consume_output(count);
                assert!(connection.buffered_amount() <= buffered.saturating_sub(count) + 131);
            }
            Call::SetConfig => connection.set_config(self.config.clone()),
            Call::AnswerInstead => drop(connection.answer_instead(&self.response)),
            Call::Seed(seed) => connection.seed(seed.into()),
            Call::Turn(now, pauses, neighbour) => {
                self.now = self.now.max(now);
                connection.set_time(now);
                if pauses {
                    connection.pause();
                } else {
                    connection.resume();
                }
                assert_eq!(connection.is_paused(), pauses);
                if neighbour {
                    self.neighbour.send("what a neighbour says").unwrap();
                    let output: Vec<u8> = self.neighbour.output().flatten().copied().collect();
                    assert_eq!(output, b"\x81\x15what a neighbour says");
                    self.neighbour.consume_output(output.len());
                }
            }
            Call::HandleTimeout(now) => {
                // Time never goes back.
                let now = self.now.max(now);
                self.now = now;
                let mut calls = 0;
                // What waits for the codec would wait for ever without a budget.
                connection.set_codec_budget(None);
                while connection.next_timeout().is_some_and(|next| next <= now) {
                    assert!(calls < 8, "it is always time");
                    drop(connection.handle_timeout(now));
                    calls += 1;
                }
                assert_eq!(connection.handle_timeout(now), None);
            }
            Call::End(true) => drop(connection.receive_eof()),
            Call::End(false) => drop(connection.abort()),
            _ => {}
        }
        if self.connection.state() == State::Closed {
            assert_eq!(self.connection.next_timeout(), None, "the end has no deadline");
            assert!(self.connection.outcome().is_some());
        } else {
            let unsent = self.connection.queued() - self.connection.left();
            let output = self.connection.output().map(<[u8]>::len).sum::<usize>();
            assert_eq!(unsent, output as u64);
            // More may wait for the codec.
            assert!(output <= self.connection.buffered_amount());
        }
    }

    /// Goes on with a new connection: every other one shares its workspace with the neighbour.
    fn begin(&mut self, make: impl FnOnce(&Config, Option<&SharedWorkspace>) -> Engine) {
        self.made += 1;
        let shared = self.made.is_multiple_of(2).then_some(&self.workspace);
        self.connection = make(&self.config, shared);
    }
}
