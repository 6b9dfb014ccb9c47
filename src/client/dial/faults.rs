//! Ways to connect, once for each call that is made of the system and each way in which that can fail, in memory: what the
//! fault has cost is one address at most. The next is tried, and where none is left the error says which has failed, and
//! why. No socket is left open, and none is begun twice.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Token;

use super::{Dialler, STAGGER, one_by_one, race};
use crate::io::faults::{Call, Fault, Faults};

/// What becomes of an attempt, so long after it has begun.
#[derive(Clone, Copy, Debug)]
enum Then {
    Answers(Duration),
    /// An event comes for nothing first.
    AnswersAfterAll(Duration),
    Refuses(Duration),
    /// An event comes for nothing first.
    RefusesAfterAll(Duration),
    Silence,
}

/// How addresses are gone through.
#[derive(Clone, Copy, Debug)]
enum Way {
    Race,
    /// As from an address of one's own.
    OneByOne,
}

/// A system in memory, with a clock of its own.
struct World {
    start: Instant,
    now: Instant,
    /// What becomes of the attempts to be.
    then: VecDeque<Then>,
    /// What is to be told, and when.
    events: Vec<(Instant, Token)>,
    begun: Vec<SocketAddr>,
    faults: Faults,
    /// Shared with each socket that is open.
    open: Rc<()>,
}

struct FakeSocket {
    address: SocketAddr,
    then: Then,
    is_told_for_nothing: bool,
    /// Counted while the socket is open.
    _open: Rc<()>,
}

impl World {
    fn new(then: &[Then], faults: Faults) -> Self {
        let start = Instant::now();
        let (then, events) = (then.iter().copied().collect(), Vec::new());
        Self { start, now: start, then, events, begun: Vec::new(), faults, open: Rc::new(()) }
    }

    fn fails(&mut self, call: Call) -> io::Result<()> {
        match self.faults.next(call, 0) {
            None => Ok(()),
            Some(fault) => fault.answer(|| unreachable!("nothing is moved")).map(drop),
        }
    }

    fn sockets(&self) -> usize {
        Rc::strong_count(&self.open) - 1
    }
}

impl Dialler for World {
    type Socket = FakeSocket;

    fn now(&self) -> Instant {
        self.now
    }

    fn begin(&mut self, address: SocketAddr, token: Token) -> io::Result<FakeSocket> {
        assert!(!self.begun.contains(&address), "{address} is tried again");
        self.begun.push(address);
        let then = self.then.pop_front().expect("as many attempts as addresses");
        self.fails(Call::Connect)?;
        let socket =
            FakeSocket { address, then, is_told_for_nothing: false, _open: Rc::clone(&self.open) };
        self.fails(Call::Register)?;
        match then {
            Then::Answers(after) | Then::Refuses(after) => {
                self.events.push((self.now + after, token));
            }
            Then::AnswersAfterAll(after) | Then::RefusesAfterAll(after) => {
                self.events.push((self.now, token));
                self.events.push((self.now + after, token));
            }
            Then::Silence => {}
        }
        Ok(socket)
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<Vec<Token>> {
        let event = self.events.iter().map(|event| event.0).min();
        let until = [event, until].into_iter().flatten().min().expect("it waits for something");
        self.now = self.now.max(until);
        let due = self.events.extract_if(.., |event| event.0 <= self.now);
        Ok(due.map(|event| event.1).collect())
    }

    fn outcome(&mut self, socket: &mut FakeSocket, _: Token) -> io::Result<bool> {
        let is_told_for_nothing =
            matches!(socket.then, Then::AnswersAfterAll(_) | Then::RefusesAfterAll(_));
        if is_told_for_nothing && !socket.is_told_for_nothing {
            socket.is_told_for_nothing = true;
            // Some systems have to be asked again for the event that will tell.
            self.fails(Call::Register)?;
            return Ok(false);
        }
        self.fails(Call::Connected)?;
        match socket.then {
            Then::Refuses(_) | Then::RefusesAfterAll(_) => {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            _ => Ok(true),
        }
    }

    fn release(&mut self, _: &mut FakeSocket) -> io::Result<()> {
        self.fails(Call::Register)
    }
}

/// What came of connecting: whom it has reached, or the error; and how long it took.
struct Run {
    result: Result<SocketAddr, io::Error>,
    took: Duration,
    begun: Vec<SocketAddr>,
    faults: Faults,
}

fn run(way: Way, then: &[Then], patience: Option<Duration>, faults: Faults) -> Run {
    let addresses: Vec<SocketAddr> =
        (1..=then.len() as u8).map(|last| ([192, 0, 2, last], 80).into()).collect();
    let mut world = World::new(then, faults);
    let until = patience.map(|patience| world.start + patience);
    let result = match way {
        Way::Race => race(addresses, until, &mut world),
        Way::OneByOne => one_by_one(&addresses, until, &mut world),
    };
    assert_eq!(world.sockets(), usize::from(result.is_ok()), "sockets that are open");
    let result = result.map(|socket| socket.address);
    assert_eq!(world.sockets(), 0);
    let (took, begun) = (world.now - world.start, world.begun);
    Run { result, took, begun, faults: world.faults }
}

/// The numbers of the errors below this one.
fn causes(error: &io::Error) -> Vec<Option<i32>> {
    let mut causes = vec![error.raw_os_error()];
    let mut source = error.source();
    while let Some(error) = source {
        causes.extend(error.downcast_ref().map(io::Error::raw_os_error));
        source = error.source();
    }
    causes
}

const SOON: Duration = Duration::from_millis(10);
const LATE: Duration = Duration::from_millis(400);

fn ways_to_connect() -> Vec<Vec<Then>> {
    use Then::{Answers, AnswersAfterAll, Refuses, RefusesAfterAll, Silence};
    vec![
        vec![Answers(SOON)],
        vec![AnswersAfterAll(LATE)],
        vec![Answers(SOON), Answers(SOON)],
        vec![Refuses(SOON), Answers(SOON)],
        vec![Silence, Answers(SOON), Answers(SOON)],
        // Both under way at once, and the later one is the first.
        vec![Answers(LATE), AnswersAfterAll(SOON), Refuses(SOON)],
        vec![Refuses(SOON), Refuses(LATE), Silence, Answers(LATE)],
        vec![Refuses(SOON), Refuses(LATE)],
        // The next one is tried beside it meanwhile, or when it has failed.
        vec![RefusesAfterAll(LATE), Answers(LATE)],
        vec![RefusesAfterAll(SOON), AnswersAfterAll(SOON)],
        vec![RefusesAfterAll(LATE)],
    ]
}

#[test]
fn each_call_of_connecting_fails_once_in_each_way() {
    let mut count = 0;
    for (then, way) in ways_to_connect().iter().flat_map(|t| [(t, Way::Race), (t, Way::OneByOne)]) {
        let patience = Some(Duration::from_secs(60));
        let whole = run(way, then, patience, Faults::default());
        for (at, fault) in whole.faults.all() {
            count += 1;
            let what =
                format!("{way:?} {then:?}, call {at}, {:?}: {fault:?}", whole.faults.call(at));
            let run = run(way, then, patience, Faults::plan(at, fault));
            assert!(run.faults.has_fired(), "{what}");
            let answers = then
                .iter()
                .filter(|then| matches!(then, Then::Answers(_) | Then::AnswersAfterAll(_)));
            match (&run.result, answers.count()) {
                (Ok(address), 1..) => assert!(run.begun.contains(address), "{what}"),
                // The one that would have answered has failed.
                (Err(error), 0 | 1) => check_error(error, &run, fault, &what),
                (result, _) => panic!("{what}: {result:?}"),
            }
        }
    }
    println!("{count} faults");
    assert!(count > 200, "{count}");
}

/// The error names the address that was the last to fail, and what the system has said of it.
fn check_error(error: &io::Error, run: &Run, fault: Fault, what: &str) {
    if error.kind() == io::ErrorKind::TimedOut && error.get_ref().is_none() {
        assert!(run.took >= Duration::from_secs(15), "{what}: after {:?}", run.took);
        return;
    }
    let named =
        run.begun.iter().any(|address| error.to_string() == format!("connecting to {address}"));
    assert!(named, "{what}: {error}");
    let causes = causes(error);
    let was_refused = error.kind() == io::ErrorKind::ConnectionRefused;
    assert!(causes.contains(&fault.number()) || was_refused, "{what}: {causes:?}");
    if run.begun.len() == 1 {
        let address = run.begun[0];
        assert_eq!(error.to_string(), format!("connecting to {address}"), "{what}");
        assert!(causes.contains(&fault.number()), "{what}: {causes:?}");
    }
}

#[test]
fn an_address_that_cannot_be_tried_costs_no_time() {
    let then = [Then::Answers(SOON), Then::Answers(SOON)];
    for fault in Fault::all_of(Call::Connect) {
        let run = run(Way::Race, &then, None, Faults::plan(0, fault));
        assert_eq!(run.result.unwrap(), ([192, 0, 2, 2], 80).into());
        assert_eq!(run.took, SOON);
    }
}

#[test]
fn silence_is_waited_for_no_longer_than_there_is_time() {
    use Then::{Answers, Refuses, Silence};
    let second = Duration::from_secs(1);
    // The next one is tried beside it.
    let one = run(Way::Race, &[Silence, Answers(SOON)], None, Faults::default());
    assert_eq!(
        (one.result.unwrap().to_string(), one.took),
        ("192.0.2.2:80".to_owned(), STAGGER + SOON)
    );
    // Each has its share.
    let one = run(Way::OneByOne, &[Silence, Answers(SOON)], Some(4 * second), Faults::default());
    assert_eq!(
        (one.result.unwrap().to_string(), one.took),
        ("192.0.2.2:80".to_owned(), 2 * second + SOON)
    );
    for way in [Way::Race, Way::OneByOne] {
        for then in [&[Silence, Silence][..], &[Refuses(SOON), Silence]] {
            let one = run(way, then, Some(4 * second), Faults::default());
            let error = one.result.unwrap_err();
            assert_eq!((error.kind(), one.took), (io::ErrorKind::TimedOut, 4 * second));
            assert_eq!(one.begun.len(), 2);
        }
    }
}
