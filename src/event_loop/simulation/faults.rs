//! Sessions of a loop with remotes that keep to a script, once for each call that the loop makes of its sockets and each
//! way in which that can fail. Over TCP and over TLS:
//!
//! - what can be gone on from changes nothing of what is heard on either side;
//! - what ends a connection ends that one alone, by one `on_close` if it was open or dialled, and what was heard until then
//!   is what would have been;
//! - in the end the loop has no socket left, and no byte that waits for one.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

#[cfg(feature = "deflate")]
use crate::deflate::DeflateConfig;
use crate::handshake::{ClientRequest, Response, Url};
use crate::io::faults::{Call, Fault, Faults};
use crate::protocol::{Accept, Config, Connection, Event, Fragment, Message, MessageKind, Outcome};
#[cfg(feature = "tls")]
use crate::tls::TlsError;
#[cfg(feature = "tls")]
use crate::tls::in_memory::{TlsEnd, certificates};

use super::super::attempt::Attempt;
use super::super::event_loop::EventLoop;
use super::super::group::members_at;
use super::super::handler::{Decision, Handler};
use super::super::incoming_request::IncomingRequest;
use super::super::listener::Listener;
use super::super::loop_handle::call_queues;
use super::super::opening_error::OpeningError;
use super::super::peer::{Peer, Peers};
use super::super::reactor::WAKE;
use super::super::selector::Selector;
use super::super::settings::Settings;
use super::network::{Manners, Network, Pulled, address};
use super::random::Random;

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
}

/// What a remote does, one thing after the other.
#[derive(Clone, Debug)]
enum Step {
    Say(String),
    Pieces(&'static [&'static str]),
    Ping,
    /// Goes on when so many messages were heard in all, or a minute has passed in vain.
    Hear(usize),
    /// Goes on when nobody else is left.
    OutliveOthers,
    Close,
    /// Ends its direction, and hears what comes.
    HalfClose,
    /// Is gone.
    Leave,
}

/// Sessions of one loop at a time.
struct Session {
    name: &'static str,
    config: Config,
    /// How many bytes are on their way at least.
    capacity: usize,
    remotes: Vec<Vec<Step>>,
    /// The loop connects to the first remote.
    dials: Option<Dial>,
}

/// What becomes of a connection that the loop has begun to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Stands,
    /// The loop is told that it can write before it stands.
    StandsAfterAll,
    /// The same, and then nobody is there.
    FailsAfterAll,
    /// It stands, and is reset before the loop has looked.
    IsReset,
}

impl Session {
    fn new(name: &'static str, steps: impl Into<Vec<Step>>) -> Self {
        let config = Config::new();
        Self { name, config, capacity: 300_000, remotes: vec![steps.into()], dials: None }
    }
}

fn say(text: &str) -> Step {
    Step::Say(text.to_owned())
}

fn dialling(dial: Dial, name: &'static str) -> Session {
    use Step::Hear;
    let steps = [Hear(1), say("echo words"), Hear(2), say("close"), Hear(9)];
    Session { dials: Some(dial), ..Session::new(name, steps) }
}

fn sessions() -> Vec<Session> {
    use Step::{Close, HalfClose, Hear, Leave, Pieces, Ping};
    let long = || say(&format!("echo {}", "long ".repeat(20_000)));
    let batch = (0..32).map(|number| say(&format!("echo {number}"))).chain([Hear(32), Close]);
    #[cfg(feature = "deflate")]
    let compressed =
        [say("echo compressed compressed"), long(), Hear(2), say("echo last"), Hear(3), Close];
    let subscriber = || vec![say("subscribe"), Hear(3), Close];
    vec![
        Session::new("an echo", [say("echo words"), Hear(1), Close]),
        Session::new("a batch", batch.collect::<Vec<_>>()),
        Session::new("long messages", [long(), Hear(1), long(), Hear(2), Close]),
        Session::new(
            "fragments around a Ping",
            [Pieces(&["echo ", "in ", "pieces"]), Ping, Hear(1), say("pieces"), Hear(2), Close],
        ),
        #[cfg(feature = "deflate")]
        Session {
            config: Config::new().deflate(DeflateConfig::default().threshold(0)),
            ..Session::new("compression", compressed)
        },
        Session::new("a server that closes", [say("echo words"), say("close"), Hear(9)]),
        Session::new("a server that aborts", [say("echo words"), say("abort"), Hear(9)]),
        Session::new("a client that leaves", [say("echo words"), Hear(1), Leave]),
        Session::new("a client that half-closes", [say("echo words"), HalfClose, Hear(9)]),
        Session::new("a rejection", [say("/no"), Hear(9)]),
        Session {
            remotes: vec![
                subscriber(),
                subscriber(),
                vec![
                    say("subscribe"),
                    Hear(1),
                    say("publish one"),
                    say("publish two"),
                    Hear(3),
                    Close,
                ],
            ],
            ..Session::new("a topic", [])
        },
        Session {
            capacity: 700,
            ..Session::new("a narrow link", [say("many"), say("echo words"), Hear(21), Close])
        },
        dialling(Dial::Stands, "a loop that connects"),
        dialling(Dial::StandsAfterAll, "a loop that is told too early that it has connected"),
        dialling(Dial::FailsAfterAll, "a loop that cannot connect, and is told otherwise first"),
        dialling(Dial::IsReset, "a loop that has connected in vain"),
    ]
}

/// All that was heard of one connection, in its order: at the loop by its handler, and at the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    by_loop: Vec<String>,
    by_remote: Vec<String>,
}

/// What became of a connection at the loop, beside what was heard of it.
#[derive(Clone, Debug, Default)]
struct Ends {
    dialled: bool,
    opened: usize,
    failed: usize,
    outcomes: Vec<Outcome>,
}

#[derive(Default)]
struct Log {
    heard: BTreeMap<usize, Heard>,
    ends: BTreeMap<usize, Ends>,
}

type SharedLog = Rc<RefCell<Log>>;

/// The handler: it does what it is told, and writes down what it hears.
struct Clerk {
    log: SharedLog,
    dials: Option<(Config, Security)>,
}

impl Clerk {
    fn hears(&self, link: usize, what: String) {
        let mut log = self.log.borrow_mut();
        let ends = log.ends.entry(link).or_default();
        assert!(ends.outcomes.is_empty(), "{link} is heard of after its end: {what}");
        log.heard.entry(link).or_default().by_loop.push(what);
    }
}

impl Handler for Clerk {
    type Session = usize;

    fn on_start(&mut self, peers: &mut Peers<'_, usize>) {
        let Some((config, security)) = &self.dials else { return };
        let request = ClientRequest::new(&Url::parse("ws://localhost/0").unwrap());
        let dialled = match security {
            Security::Plain => peers.connect(address(0), request, config, 0),
            #[cfg(feature = "tls")]
            Security::Tls => {
                peers.connect_tls(address(0), "localhost", certificates().0, request, config, 0)
            }
        };
        // Or it is told to the caller that it cannot be watched.
        self.log.borrow_mut().ends.entry(0).or_default().dialled = dialled.is_ok();
    }

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<usize> {
        let mut parts = request.path().split('/').skip(1);
        let link = parts.next().unwrap().parse().unwrap();
        if parts.next() == Some("no") {
            return Decision::reject(Response::forbidden());
        }
        Decision::accept(link)
    }

    fn on_handshake_error(&mut self, _: &OpeningError, attempt: &Attempt) -> Option<Response> {
        let port = attempt.caller().address().unwrap().port();
        let mut log = self.log.borrow_mut();
        log.ends.entry(usize::from(port) - 1000).or_default().failed += 1;
        None
    }

    fn on_open(&mut self, peer: &mut Peer<'_, usize>) {
        let link = *peer.session();
        self.hears(link, "open".to_owned());
        self.log.borrow_mut().ends.entry(link).or_default().opened += 1;
        if self.dials.is_some() {
            peer.send("greetings");
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, usize>, message: Message<'_>) {
        let text = message.as_text().unwrap().to_owned();
        self.hears(*peer.session(), text.clone());
        match text.split(' ').next() {
            Some("subscribe") => {
                peer.subscribe("news");
                if peer.peers().subscribers("news") == 3 {
                    peer.peers().publish("news", "all are here");
                }
            }
            Some("publish") => {
                peer.peers().publish("news", text);
            }
            Some("many") => (0..20).for_each(|number| {
                peer.send(format!("{number} {}", "of many ".repeat(100)));
            }),
            Some("pieces") => {
                peer.send_fragment(Fragment::more(MessageKind::Text, b"two "));
                peer.send_fragment(Fragment::last(MessageKind::Text, b"pieces"));
            }
            Some("close") => peer.close(4000, "as told").unwrap(),
            Some("abort") => peer.abort(),
            _ => drop(peer.send(text)),
        }
    }

    fn on_ping(&mut self, peer: &mut Peer<'_, usize>, _: crate::protocol::Bytes<'_>) {
        self.hears(*peer.session(), "a Ping".to_owned());
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, usize>) {
        let log = self.log.borrow();
        assert!(log.ends[peer.session()].outcomes.is_empty());
    }

    fn on_close(&mut self, peer: &mut Peer<'_, usize>, outcome: &Outcome) {
        let mut log = self.log.borrow_mut();
        log.ends.entry(*peer.session()).or_default().outcomes.push(outcome.clone());
    }
}

/// The other end of a connection.
struct Remote {
    link: usize,
    connection: Connection,
    #[cfg(feature = "tls")]
    tls: Option<TlsEnd>,
    steps: VecDeque<Step>,
    heard: Vec<String>,
    /// What is on its way to the network.
    unsent: Vec<u8>,
    is_mute: bool,
    is_over: bool,
}

impl Remote {
    fn new(link: usize, session: &Session, security: Security, steps: &[Step]) -> Self {
        let config = session
            .config
            .clone()
            .ping_interval(None)
            .handshake_timeout(None)
            .close_timeout(None)
            .max_buffered_amount(usize::MAX);
        let is_server = session.dials.is_some() && link == 0;
        let mut steps: VecDeque<_> = steps.iter().cloned().collect();
        let connection = if is_server {
            Connection::server(&config)
        } else {
            let is_rejected = matches!(steps.front(), Some(Step::Say(text)) if text == "/no");
            let path = if is_rejected { "/no" } else { "" };
            steps.drain(..usize::from(is_rejected));
            let url = Url::parse(&format!("ws://localhost/{link}{path}")).unwrap();
            let mask = |bytes: &mut [u8]| bytes.fill(0x5a);
            Connection::client(ClientRequest::new(&url), &config, mask).unwrap()
        };
        let _ = security;
        Self {
            link,
            connection,
            #[cfg(feature = "tls")]
            tls: (security == Security::Tls).then(if is_server {
                TlsEnd::server
            } else {
                TlsEnd::client
            }),
            steps,
            heard: Vec::new(),
            unsent: Vec::new(),
            is_mute: false,
            is_over: false,
        }
    }

    /// Reads, goes on in its script, and writes: whether anything has moved.
    fn turn(&mut self, network: &Network, are_others_over: bool) -> bool {
        let (mut has_moved, mut room) = (false, Vec::new());
        while !self.is_over {
            room.clear();
            match network.pull(self.link, usize::MAX, &mut room) {
                Pulled::Nothing => break,
                Pulled::Some => self.receive(std::mem::take(&mut room)),
                Pulled::End => {
                    self.connection.receive_eof();
                    network.desert(self.link);
                    self.is_over = true;
                }
                Pulled::Reset => self.is_over = true,
            }
            has_moved = true;
        }
        while !self.is_over && self.goes_on(network, are_others_over) {
            has_moved = true;
        }
        has_moved | (!self.is_over && self.write(network))
    }

    fn receive(&mut self, mut bytes: Vec<u8>) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            bytes = tls.decrypt(&bytes);
        }
        let mut input = &mut bytes[..];
        while let Some(event) = self.connection.receive(&mut input) {
            match event {
                Event::Request(_) => self.connection.accept(Accept::new()).unwrap(),
                Event::Open(_) => self.heard.push("open".to_owned()),
                Event::Message(message) => self.heard.push(message.as_text().unwrap().to_owned()),
                Event::Ping(_) | Event::Pong(_) => {}
                Event::Close(close) => self.heard.push(format!("{close:?}")),
                Event::HandshakeFailed(error) => self.heard.push(error.to_string()),
                other => panic!("a remote hears {other:?}"),
            }
        }
    }

    fn messages(&self) -> usize {
        self.heard.iter().filter(|what| *what != "open").count()
    }

    /// The next step, if it is time for it.
    fn goes_on(&mut self, network: &Network, are_others_over: bool) -> bool {
        let messages = self.messages();
        let has_waited = network.time() > Duration::from_secs(60);
        let connection = &mut self.connection;
        if connection.state() != crate::protocol::State::Open {
            return false;
        }
        match self.steps.front() {
            None => return false,
            Some(Step::Hear(count)) if messages < *count && !has_waited => return false,
            Some(Step::OutliveOthers) if !are_others_over => return false,
            Some(Step::Hear(_) | Step::OutliveOthers) => {}
            Some(Step::Say(text)) => connection.send(text.clone()).unwrap(),
            Some(Step::Pieces(pieces)) => {
                let kind = MessageKind::Text;
                let (last, more) = pieces.split_last().unwrap();
                for piece in more {
                    connection.send_fragment(Fragment::more(kind, piece.as_bytes())).unwrap();
                }
                connection.ping(b"between").unwrap();
                connection.send_fragment(Fragment::last(kind, last.as_bytes())).unwrap();
            }
            Some(Step::Ping) => connection.ping(b"well?").unwrap(),
            Some(Step::Close) => connection.close(1000, "done").unwrap(),
            Some(Step::HalfClose) => {
                self.write(network);
                network.end(self.link);
                self.is_mute = true;
            }
            Some(Step::Leave) => {
                network.desert(self.link);
                self.is_over = true;
            }
        }
        self.steps.pop_front();
        true
    }

    /// Writes what there is and the network takes: whether any did.
    fn write(&mut self, network: &Network) -> bool {
        let mut plaintext = Vec::<u8>::new();
        while self.connection.buffered_amount() > 0 {
            plaintext.extend(self.connection.output().flatten());
            self.connection.consume_output(self.connection.buffered_amount());
        }
        let ends = self.connection.wants_shutdown() && !self.is_mute;
        #[cfg(feature = "tls")]
        let plaintext = match &mut self.tls {
            None => plaintext,
            Some(tls) => tls.encrypt(&plaintext, ends),
        };
        self.unsent.extend(plaintext);
        if self.is_mute {
            self.unsent.clear();
            return false;
        }
        let count = network.push(self.link, &self.unsent);
        self.unsent.drain(..count);
        if ends && self.unsent.is_empty() {
            self.is_mute = true;
            network.end(self.link);
        }
        count > 0 || ends && self.is_mute
    }
}

/// What a run has come to.
struct Run {
    took: Duration,
    faults: Faults,
    failed: Option<usize>,
    log: Log,
}

/// How much time passes in a run at most: nothing waits longer for anything.
const MOST: Duration = Duration::from_secs(600);

fn run(session: &Session, security: Security, strict: bool, faults: Faults) -> Run {
    let manners = Manners {
        strict: false,
        spurious: 0,
        slow: 0,
        accept_errors: 0,
        interrupts: 0,
        capacity: session.capacity,
    };
    let network = Network::new(Random::new(1), Manners { strict, ..manners }, 1);
    network.set_faults(faults);
    let log = SharedLog::default();
    let settings = Settings { config: session.config.clone(), ..Settings::default() };
    let mut members =
        members_at([Ok(Selector::Simulated(network.clone()))].into_iter(), WAKE).unwrap();
    let (queues, mut calls) = call_queues(1);
    let listener = Listener::simulated(network.entrance());
    #[cfg(feature = "tls")]
    let listener = match security {
        Security::Plain => listener,
        Security::Tls => listener.with_tls(&certificates().1),
    };
    let clerk = Clerk {
        log: Rc::clone(&log),
        dials: session.dials.map(|_| (session.config.clone(), security)),
    };
    let calls = (queues, calls.remove(0));
    let member = members.remove(0);
    let mut event_loop =
        EventLoop::of_member(vec![listener], &settings, |_| clerk, member, calls).unwrap();

    let mut steps = session.remotes.clone();
    // It has nothing to do with the others, and is served whatever becomes of them.
    steps.push(vec![
        say("echo early"),
        Step::Hear(1),
        Step::OutliveOthers,
        say("echo late"),
        Step::Hear(2),
        Step::Close,
    ]);
    let mut remotes: Vec<Remote> = Vec::new();
    let mut told_too_early = Vec::new();
    let bystander = steps.len() - 1;
    network.spare(bystander);
    let mut sleeps_until = Some(Duration::ZERO);
    loop {
        assert!(network.time() < MOST, "{remotes:?} after {MOST:?}");
        if network.has_events(0) || sleeps_until.is_some_and(|until| until <= network.time()) {
            network.begin_turn(0);
            event_loop.run_once(Some(Duration::ZERO)).unwrap();
            if let Some(fault) = event_loop.erased().find_fault() {
                panic!("after a turn: {fault}");
            }
            sleeps_until = event_loop.erased().until_next().map(|time| network.time() + time);
        }
        network.take_touched();
        for link in std::mem::take(&mut told_too_early) {
            match session.dials {
                Some(Dial::FailsAfterAll) => network.refuse(link),
                _ => network.answer(link),
            }
        }
        for link in network.take_dialled() {
            match session.dials {
                Some(Dial::StandsAfterAll | Dial::FailsAfterAll) => {
                    network.tell_too_early(link);
                    told_too_early.push(link);
                }
                Some(Dial::IsReset) => {
                    network.answer(link);
                    network.reset(link);
                }
                _ => network.answer(link),
            }
        }
        // What the loop dials comes first.
        while remotes.len() < steps.len() && (session.dials.is_none() || network.next_link() > 0) {
            let link = remotes.len();
            if link == network.next_link() {
                network.arrive(address(link));
            }
            let mut remote = Remote::new(link, session, security, &steps[link]);
            // Nobody is there.
            remote.is_over = session.dials == Some(Dial::FailsAfterAll) && link == 0;
            remotes.push(remote);
        }
        let mut has_moved = false;
        for index in 0..remotes.len() {
            let others =
                remotes.iter().enumerate().all(|(other, one)| other == index || one.is_over);
            has_moved |= remotes[index].turn(&network, others);
        }
        if has_moved || network.has_events(0) {
            continue;
        }
        let is_held = (0..network.next_link()).any(|link| network.is_held(link));
        if !is_held && remotes.iter().all(|remote| remote.is_over) {
            break;
        }
        let then = sleeps_until.unwrap_or_else(|| panic!("nothing happens any more: {remotes:?}"));
        network.advance_to(then);
    }
    let (faults, failed) = network.take_faults();
    let handle = event_loop.handle();
    if let Some(left) = event_loop.erased().find_leftover() {
        panic!("at the end there is left: {left}");
    }
    assert_eq!(handle.queued_bytes(), 0);
    drop(event_loop);
    assert_eq!(Rc::strong_count(&log), 1, "the handler is dropped");
    let mut log = Rc::into_inner(log).unwrap().into_inner();
    for remote in remotes {
        log.heard.entry(remote.link).or_default().by_remote = remote.heard;
    }
    for (link, ends) in &log.ends {
        assert!(ends.opened <= 1, "{link} opens {} times", ends.opened);
        let expected = usize::from(ends.dialled || ends.opened == 1);
        assert_eq!(ends.outcomes.len(), expected, "{link}: {ends:?}");
        assert!(ends.failed <= 1 - ends.opened, "{link} opens, and does not: {ends:?}");
    }
    Run { took: network.time(), faults, failed, log }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { link, heard, steps, .. } = self;
        write!(
            f,
            "{link}, over: {}, has heard {}, next: {:?}",
            self.is_over,
            heard.len(),
            steps.front()
        )
    }
}

/// Whether this is the beginning of all that is heard where no call fails.
fn is_beginning(heard: &Heard, whole: &Heard) -> bool {
    whole.by_loop.starts_with(&heard.by_loop) && whole.by_remote.starts_with(&heard.by_remote)
}

/// Whether this is some of it, in the same order: what another one said who is gone is missing.
fn is_part(heard: &Heard, whole: &Heard) -> bool {
    let is_in = |some: &[String], all: &[String]| {
        let mut all = all.iter();
        some.iter().all(|what| all.any(|other| other == what))
    };
    is_in(&heard.by_loop, &whole.by_loop) && is_in(&heard.by_remote, &whole.by_remote)
}

/// Whether a connection was lost since its link was reset.
fn is_of_gone_link(outcome: &Outcome) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    let Some(cause) = outcome.cause() else { return false };
    #[cfg(feature = "tls")]
    if matches!(cause.downcast_ref(), Some(TlsError::Ended)) {
        return true;
    }
    let error: Option<&io::Error> = cause.downcast_ref();
    error.is_some_and(|error| matches!(error.kind(), ConnectionReset | BrokenPipe))
}

/// Holds a session in which a call has failed against one in which none has.
fn check(whole: &Run, run: &Run, call: Call, fault: Fault) {
    assert!(run.faults.has_fired(), "the fault did not fire");
    let bystander = *whole.log.heard.keys().last().unwrap();
    let nothing = Heard::default();
    let is_harmless = fault.is_harmless(call);
    for (link, expected) in &whole.log.heard {
        let heard = run.log.heard.get(link).unwrap_or(&nothing);
        let is_own = run.failed == Some(*link);
        let well = match () {
            () if is_harmless => heard == expected,
            () if is_own => is_beginning(heard, expected),
            () if *link == bystander => heard == expected,
            () => is_part(heard, expected),
        };
        assert!(well, "of {link} was heard {heard:?}, not {expected:?}");
    }
    if is_harmless {
        for (link, ends) in &whole.log.ends {
            let now = &run.log.ends[link];
            assert_eq!((now.opened, now.failed), (ends.opened, ends.failed), "{link}");
            // Of two causes it cannot be told otherwise whether they are alike. What a write says of a link that is gone
            // stands for what a read would have said.
            let is_gone = |ends: &Ends| ends.outcomes.iter().all(is_of_gone_link);
            let are_alike = format!("{:?}", now.outcomes) == format!("{:?}", ends.outcomes);
            assert!(are_alike || is_gone(now) && is_gone(ends), "{link}: {now:?}, {ends:?}");
            assert_eq!(now.outcomes.len(), ends.outcomes.len(), "{link}");
        }
    } else if let Some(link) = run.failed
        && let Some(ends) = run.log.ends.get(&link)
        && let [outcome] = &ends.outcomes[..]
        && format!("{:?}", whole.log.ends[&link].outcomes[0]) != format!("{outcome:?}")
    {
        let cause = outcome.cause();
        // TLS says of a handshake only that it was ended.
        #[cfg(feature = "tls")]
        if cause.is_some_and(|cause| matches!(cause.downcast_ref(), Some(TlsError::Ended))) {
            return;
        }
        let error = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        // Or what a write said of the same link before the read could tell.
        let is_reset = error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if !(is_reset && fault.is_of_connection()) {
            let number = error.and_then(io::Error::raw_os_error);
            assert_eq!(number, fault.number(), "{link}: {outcome:?}");
        }
    }
}

fn every_call_fails_once(security: Security, strict: bool) {
    let sessions = sessions();
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|half| {
                let sessions = sessions.iter().skip(half).step_by(2);
                scope.spawn(move || {
                    sessions.map(|session| fail_once(session, security, strict)).sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    println!("{} sessions, {counts} faults, {security:?}, strict: {strict}", sessions.len());
}

/// How many faults there were.
fn fail_once(session: &Session, security: Security, strict: bool) -> usize {
    let whole = run(session, security, strict, Faults::default());
    let all = whole.faults.all();
    for &(at, fault) in &all {
        let call = whole.faults.call(at);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let run = run(session, security, strict, Faults::plan(at, fault));
            check(&whole, &run, call, fault);
        }));
        if result.is_err() {
            panic!(
                "{}, {security:?}, strict: {strict}: call {at}, {call:?}: {fault:?}",
                session.name
            );
        }
    }
    all.len()
}

/// It is told of once, as what the system says, and as soon as that says it: no deadline is waited for.
#[test]
fn a_connection_that_fails_late_is_told_of_as_it_fails() {
    for (dial, kind) in [
        (Dial::FailsAfterAll, io::ErrorKind::ConnectionRefused),
        (Dial::IsReset, io::ErrorKind::ConnectionReset),
    ] {
        for strict in [false, true] {
            let run = run(&dialling(dial, "late"), Security::Plain, strict, Faults::default());
            let ends = &run.log.ends[&0];
            let [Outcome::Lost { sent: None, received: None, cause: Some(cause) }] =
                &ends.outcomes[..]
            else {
                panic!("{dial:?}: {ends:?}")
            };
            let cause: &io::Error = cause.downcast_ref().unwrap();
            assert_eq!((cause.kind(), ends.opened), (kind, 0), "{dial:?}");
            assert!(run.took < Duration::from_secs(1), "{dial:?}: after {:?}", run.took);
        }
    }
}

#[test]
fn each_call_of_a_plain_session_fails_once_in_each_way() {
    every_call_fails_once(Security::Plain, false);
    every_call_fails_once(Security::Plain, true);
}

#[cfg(feature = "tls")]
#[test]
fn each_call_of_a_session_over_tls_fails_once_in_each_way() {
    every_call_fails_once(Security::Tls, false);
    every_call_fails_once(Security::Tls, true);
}
