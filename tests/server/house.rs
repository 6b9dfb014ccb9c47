//! A server in a thread, a handler that tells all it sees, and what holds for every run.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::untimed::{PATIENCE, untimed_server};
use framewire::{
    Bytes, Config, Decision, Fragment, Handle, Handler, HttpAnswer, IncomingRequest, Message,
    MessageKind, Outcome, Peer, PeerId, Response, Server,
};

/// What a handler was called for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Open(PeerId),
    Message(PeerId, Message<'static>),
    /// Kind, payload, whether it is the first and whether it is the last of its message.
    Fragment(PeerId, MessageKind, Vec<u8>, bool, bool),
    Drain(PeerId),
    /// How many messages were dropped.
    Dropped(PeerId, u64),
    Ping(PeerId, Vec<u8>),
    Pong(PeerId, Vec<u8>),
    Close(PeerId, Outcome),
}

impl Call {
    pub(crate) fn peer(&self) -> PeerId {
        match *self {
            Self::Open(id)
            | Self::Message(id, _)
            | Self::Fragment(id, ..)
            | Self::Drain(id)
            | Self::Dropped(id, _)
            | Self::Ping(id, _)
            | Self::Pong(id, _)
            | Self::Close(id, _) => id,
        }
    }
}

/// Tells every call, after it has let `act` react to it. The session is the number of calls before.
pub(crate) struct Spy {
    log: Sender<Call>,
    act: Box<Act>,
    decide: Box<Decide>,
    http: Option<Box<Answer>>,
}

type Act = dyn FnMut(&mut Peer<'_, u64>, &Call) + Send;
type Decide = dyn FnMut(&IncomingRequest) -> Decision<u64> + Send;
type Answer = dyn FnMut(&IncomingRequest) -> HttpAnswer + Send;

impl Spy {
    pub(crate) fn new(act: impl FnMut(&mut Peer<'_, u64>, &Call) + Send + 'static) -> (Self, Log) {
        let (log, calls) = channel();
        let decide = Box::new(|_: &IncomingRequest| Decision::accept(0));
        (Self { log, act: Box::new(act), decide, http: None }, Log { calls, seen: Vec::new() })
    }

    /// Sends every message back.
    pub(crate) fn echo() -> (Self, Log) {
        Self::new(echo)
    }

    pub(crate) fn deciding(
        mut self,
        decide: impl FnMut(&IncomingRequest) -> Decision<u64> + Send + 'static,
    ) -> Self {
        self.decide = Box::new(decide);
        self
    }

    pub(crate) fn answering<A: Into<HttpAnswer>>(
        mut self,
        mut http: impl FnMut(&IncomingRequest) -> A + Send + 'static,
    ) -> Self {
        self.http = Some(Box::new(move |request| http(request).into()));
        self
    }

    fn call(&mut self, peer: &mut Peer<'_, u64>, call: Call) {
        assert_eq!(call.peer(), peer.id());
        match call {
            Call::Open(_) => assert_eq!(*peer.session(), 0),
            _ => assert!(*peer.session() > 0, "{call:?} before the connection was open"),
        }
        *peer.session_mut() += 1;
        (self.act)(peer, &call);
        // A test that is over does not listen any more.
        let _ = self.log.send(call);
    }
}

pub(crate) fn echo(peer: &mut Peer<'_, u64>, call: &Call) {
    if let Call::Message(_, message) = call {
        peer.send(message.borrowed());
    }
}

impl Handler for Spy {
    type Session = u64;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<u64> {
        (self.decide)(request)
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        match &mut self.http {
            Some(http) => http(request),
            None => Response::upgrade_required().into(),
        }
    }

    fn on_open(&mut self, peer: &mut Peer<'_, u64>) {
        self.call(peer, Call::Open(peer.id()));
    }

    fn on_message(&mut self, peer: &mut Peer<'_, u64>, message: Message<'_>) {
        self.call(peer, Call::Message(peer.id(), message.into_owned()));
    }

    fn on_fragment(&mut self, peer: &mut Peer<'_, u64>, piece: Fragment<'_>) {
        let Fragment { kind, first, last, .. } = piece;
        let payload = piece.payload.into_vec();
        self.call(peer, Call::Fragment(peer.id(), kind, payload, first, last));
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, u64>) {
        self.call(peer, Call::Drain(peer.id()));
    }

    fn on_dropped(&mut self, peer: &mut Peer<'_, u64>, messages: u64) {
        self.call(peer, Call::Dropped(peer.id(), messages));
    }

    fn on_ping(&mut self, peer: &mut Peer<'_, u64>, payload: Bytes<'_>) {
        self.call(peer, Call::Ping(peer.id(), payload.into_vec()));
    }

    fn on_pong(&mut self, peer: &mut Peer<'_, u64>, payload: Bytes<'_>) {
        self.call(peer, Call::Pong(peer.id(), payload.into_vec()));
    }

    fn on_close(&mut self, peer: &mut Peer<'_, u64>, outcome: &Outcome) {
        assert_eq!(peer.state(), framewire::State::Closed);
        assert!(peer.send("too late").is_dropped());
        self.call(peer, Call::Close(peer.id(), outcome.clone()));
    }
}

/// The calls, as they come.
pub(crate) struct Log {
    calls: Receiver<Call>,
    seen: Vec<Call>,
}

impl Log {
    pub(crate) fn next(&mut self) -> Call {
        let call = self.calls.recv_timeout(PATIENCE).expect("a call of the handler");
        self.seen.push(call.clone());
        call
    }

    /// The next call, if there has been one.
    pub(crate) fn try_next(&mut self) -> Option<Call> {
        let call = self.calls.try_recv().ok()?;
        self.seen.push(call.clone());
        Some(call)
    }

    pub(crate) fn next_open(&mut self) -> PeerId {
        match self.next() {
            Call::Open(id) => id,
            call => panic!("{call:?} instead of an open connection"),
        }
    }

    pub(crate) fn next_close(&mut self) -> Outcome {
        match self.next() {
            Call::Close(_, outcome) => outcome,
            call => panic!("{call:?} instead of a close"),
        }
    }

    /// Waits for the next call that `choose` takes, and passes over the others.
    pub(crate) fn wait_for<T>(&mut self, mut choose: impl FnMut(&Call) -> Option<T>) -> T {
        loop {
            if let Some(chosen) = choose(&self.next()) {
                return chosen;
            }
        }
    }

    pub(crate) fn wait_for_close(&mut self) -> Outcome {
        self.wait_for(|call| match call {
            Call::Close(_, outcome) => Some(outcome.clone()),
            _ => None,
        })
    }

    /// All calls, once the server is gone.
    fn rest(mut self) -> Vec<Call> {
        self.seen.extend(self.calls.iter());
        self.seen
    }
}

/// A server in a thread.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    thread: Option<JoinHandle<()>>,
    /// Ends with the thread.
    alive: Receiver<()>,
}

impl House {
    pub(crate) fn new(config: Config, handler: impl Handler + Send + 'static) -> Self {
        Self::of(untimed_server().config(config), handler)
    }

    pub(crate) fn of(server: Server, handler: impl Handler + Send + 'static) -> Self {
        Self::made_by(server, move || handler)
    }

    /// With a handler that is made in the thread of the loop, and so need not be sent there.
    pub(crate) fn made_by<H: Handler>(
        server: Server,
        make: impl FnOnce() -> H + Send + 'static,
    ) -> Self {
        // A Unix-domain socket has no such address, and no test asks for it then.
        let address = server.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let ((sender, handles), (is_alive, alive)) = (channel(), channel());
        let thread = std::thread::spawn(move || {
            let _alive: Sender<()> = is_alive;
            let mut event_loop = server.into_event_loop(make()).unwrap();
            sender.send(event_loop.handle()).unwrap();
            event_loop.run().unwrap();
            assert_eq!(event_loop.connections(), 0);
        });
        let handle = handles.recv_timeout(PATIENCE).unwrap();
        Self { address, handle, thread: Some(thread), alive }
    }

    /// Waits until the loop has come to its end, however it was told to.
    pub(crate) fn join(&mut self) {
        let thread = self.thread.take().expect("joined once");
        let ended = self.alive.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "the loop does not end");
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Stops the server and returns all calls of its handler, which must be in order.
    ///
    /// req: W098
    pub(crate) fn stop(mut self, log: Log) -> Vec<Call> {
        self.handle.shutdown(1001, "", Duration::ZERO).unwrap();
        self.join();
        let calls = log.rest();
        check_lives(&calls);
        calls
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.handle.shutdown(1001, "", Duration::ZERO);
            let result = thread.join();
            if let Err(panic) = result
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Every connection is opened first and once, closed last and once, and no id comes twice.
pub(crate) fn check_lives(calls: &[Call]) {
    let mut closed = HashMap::new();
    for call in calls {
        let id = call.peer();
        match call {
            Call::Open(_) => assert_eq!(closed.insert(id, false), None, "{id} opened twice"),
            Call::Close(..) => assert_eq!(closed.insert(id, true), Some(false), "{call:?}"),
            _ => assert_eq!(closed.get(&id), Some(&false), "{call:?} out of its life"),
        }
    }
    assert!(closed.values().all(|closed| *closed), "not all were closed: {closed:?}");
}

/// Polls until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
