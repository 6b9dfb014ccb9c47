//! Whole random sessions, each call of which is judged by a model of the connection.
//!
//! The model shares no code with the library: it has a reader of frames, of UTF-8 and of DEFLATE of its own,
//! its own deadlines and its own state machine. From one seed follow the settings, the peer, how its bytes
//! are cut, the application and the clock. A failure prints its seed and the fewest steps that still fail.
//!
//! ```text
//! cargo test --test model                                               5,000 sessions
//! MODEL_SESSIONS=1000000 cargo test --release --test model sessions     as many as one likes
//! MODEL_SEED=17 cargo test --test model sessions                        one of them
//! ```

mod clock;
mod deflate;
mod engine;
mod frames;
mod handshakes;
mod http;
mod inflate;
mod oracle;
mod random;
mod reader;
mod script;
mod session;
mod settings;
mod utf8;

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use script::Script;
use session::Reached;

thread_local! {
    /// This thread plays a session, whose panics are no news.
    static PLAYS: Cell<bool> = const { Cell::new(false) };
    /// What the last of them said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

#[test]
fn sessions() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if PLAYS.get() {
            SAID.set(Some(info.to_string()));
        } else {
            hook(info);
        }
    }));
    let failure = match number("MODEL_SEED") {
        Some(seed) => check(seed).err(),
        None => check_many(number("MODEL_SESSIONS").unwrap_or(SESSIONS)),
    };
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

/// The first failure, if there is one. So many sessions as are played by default have to come to everything.
fn check_many(sessions: u64) -> Option<String> {
    let next = AtomicU64::new(0);
    let failed = Mutex::new(None);
    let reached = Mutex::new(Reached::new());
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut names = Reached::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= sessions {
                        break;
                    }
                    match check(seed) {
                        Ok(more) => names.extend(more),
                        Err(failure) => {
                            next.store(sessions, Ordering::Relaxed);
                            failed.lock().expect("no thread panics").get_or_insert(failure);
                        }
                    }
                }
                reached.lock().expect("no thread panics").extend(names);
            });
        }
    });
    if let Some(failure) = failed.into_inner().expect("no thread panics") {
        return Some(failure);
    }
    let reached = reached.into_inner().expect("no thread panics");
    let mut missing = EVERYTHING.iter().filter(|name| !reached.contains(**name)).peekable();
    let counts = sessions >= SESSIONS && missing.peek().is_some();
    counts.then(|| format!("no session comes to {:?}", missing.collect::<Vec<_>>()))
}

/// How many are played by default.
const SESSIONS: u64 = 5_000;

/// Plays the session of a seed, and says what is wrong if something is.
fn check(seed: u64) -> Result<Reached, String> {
    let script = Script::any(seed);
    let said = match play(&script) {
        Ok(reached) => return Ok(reached),
        Err(said) => said,
    };
    let script = shrink(script, &said);
    let least = play(&script).err().unwrap_or_default();
    let steps: Vec<String> = script.steps.iter().map(|step| format!("    {step:?}")).collect();
    Err(format!(
        "MODEL_SEED={seed} fails: {said}\n\nwith the fewest steps: {least}\n\n{:?}\n\n{}\n",
        script.setup,
        steps.join("\n")
    ))
}

/// What the session comes to, or what was said where it failed.
fn play(script: &Script) -> Result<Reached, String> {
    PLAYS.set(true);
    let reached = panic::catch_unwind(AssertUnwindSafe(|| session::play(script)));
    PLAYS.set(false);
    reached.map_err(|_| SAID.take().unwrap_or_default())
}

/// Leaves steps out as long as what is left still fails at the same place.
fn shrink(mut script: Script, said: &str) -> Script {
    let place = |said: &str| said.lines().next().unwrap_or_default().to_owned();
    let mut size = script.steps.len();
    while size > 0 {
        let mut at = 0;
        while at < script.steps.len() {
            let mut shorter = script.clone();
            shorter.steps.drain(at..script.steps.len().min(at + size));
            if play(&shorter).is_err_and(|other| place(&other) == place(said)) {
                script = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    script
}

/// What the sessions have to come to, or they show nothing of it.
const EVERYTHING: &[&str] = &[
    "Direct Message(Binary",
    "Event Close(CloseFrame",
    "Event Failed(Close(InvalidCode(CloseCode",
    "Event Failed(CorruptDeflate",
    "Event Failed(Header(CloseTooShort",
    "Event Failed(Header(ControlTooLong(Ping",
    "Event Failed(Header(ExpectedContinuation",
    "Event Failed(Header(FragmentedControl(Pong",
    "Event Failed(Header(LengthTopBit",
    "Event Failed(Header(Masked",
    "Event Failed(Header(NonMinimalLength",
    "Event Failed(Header(ReservedBit(Rsv",
    "Event Failed(Header(ReservedOpcode",
    "Event Failed(Header(UnexpectedContinuation",
    "Event Failed(Header(Unmasked",
    "Event Failed(InvalidUtf",
    "Event Failed(MessageTooBig",
    "Event Failed(TooManyFragments",
    "Event Fragment(Fragment",
    "Event HandshakeFailed(Request(MethodNotAllowed",
    "Event HandshakeFailed(Response(AcceptMismatch",
    "Event HandshakeFailed(Response(ExtensionParameters(InvalidParameter",
    "Event HandshakeFailed(Response(ExtensionParameters(UnknownParameter",
    "Event HandshakeFailed(Response(ExtensionParameters(WindowTooLarge",
    "Event Http(Request",
    "Event Message(Binary",
    "Event Message(Text",
    "Event Open(Response",
    "Event Ping",
    "Event Pong",
    "Event Request(Request",
    "Outcome Clean",
    "Outcome Failed(Timeout(Message",
    "Outcome HandshakeFailed(Request(DecisionTimeout",
    "Outcome HandshakeFailed(Response(Timeout",
    "Outcome Lost",
    "Outcome Rejected(Response",
    "SendError Close(InvalidCode(CloseCode",
    "SendError Close(ReasonTooLong",
    "SendError Closed",
    "SendError Closing",
    "SendError Connecting",
    "SendError ControlTooLong",
    "SendError Entropy(EntropyError",
    "SendError Full",
    "SendError InvalidUtf",
    "SendError NothingToAnswer",
    "SendError SubprotocolNotOffered",
    "SendError UnfinishedMessage",
    "Time Failed(Timeout(FirstMessage",
    "Time Failed(Timeout(Message",
    "Time HandshakeFailed(Request(Timeout",
    "TimedOut Close",
    "TimedOut Pong",
    "TimedOut Write",
];
