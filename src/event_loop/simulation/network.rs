use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Poll, Token};

use super::super::readiness::Readiness;
use super::random::Random;
use crate::io::faults::{Call, Fault, Faults};
use crate::io::transport::{Stopped, Stream};

/// All that lies outside of the loops of a world: their clock, the sockets with what is on its way in them, and
/// what is to be told of them, as mio tells it.
#[derive(Clone)]
pub(in super::super) struct Network(Arc<Mutex<State>>);

/// How a network behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// A source is told of once, and again only after it has said `WouldBlock`: mio's promise for all systems. Reads
    /// and writes come short without a reason then. Otherwise it is like epoll.
    pub(super) strict: bool,
    /// In how many of a hundred waits something is told that is not so.
    pub(super) spurious: usize,
    /// How many of a hundred looks at the clock find it much later.
    pub(super) slow: usize,
    /// In how many of a hundred cases accepting fails.
    pub(super) accept_errors: usize,
    /// How many of a hundred reads and writes are interrupted.
    pub(super) interrupts: usize,
    /// How many bytes are on their way in one direction of a connection, at least; twice as many at most.
    pub(super) capacity: usize,
}

struct State {
    random: Random,
    manners: Manners,
    now: Duration,
    /// The loop that has its turn.
    current: usize,
    /// By the number of the loop.
    woken: Vec<Option<Token>>,
    /// Who waits to be accepted.
    arrived: VecDeque<usize>,
    entrance: Option<Registration>,
    links: Vec<Link>,
    /// Those that loops have begun to connect, of which the world was not told.
    dialled: Vec<usize>,
    /// Those in which a loop has changed something, of which the world was not told.
    touched: Vec<usize>,
    /// How often loops have moved or learnt anything.
    progress: u64,
    /// Which call fails, apart from what the manners say; and of which link it was, if it was one of a link.
    faults: Option<Faults>,
    failed: Option<usize>,
    /// The links of which no call fails that way.
    spared: Vec<usize>,
}

/// One connection between a loop and a remote.
struct Link {
    address: SocketAddr,
    stage: Stage,
    /// From the remote to the loop.
    up: Flow,
    /// From the loop to the remote.
    down: Flow,
    registration: Option<Registration>,
    /// The next read at the end of what has come fails: TLS does that.
    fails: bool,
    /// The next event says that it can be written, which is not so.
    is_told_too_early: bool,
    /// The remote hears nothing any more.
    is_deserted: bool,
    /// Bytes that the loop has read in its turn, and whether it has written any.
    read_in_turn: usize,
    is_written_in_turn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// Nobody was there.
    Unreachable,
    Connected,
    Reset,
    /// The loop has dropped its end.
    Dropped,
    /// The same, and what the loop has not read, or what came later, has reset the connection.
    DroppedAndReset,
}

#[derive(Default)]
struct Flow {
    bytes: VecDeque<u8>,
    capacity: usize,
    is_ended: bool,
    /// Somebody wanted to write more than there was room for.
    was_full: bool,
}

/// What a loop has asked to be told of a source.
#[derive(Clone, Copy, Debug)]
struct Registration {
    number: usize,
    token: Token,
    writes: bool,
    /// What is to be told.
    pending: [bool; 2],
    /// What may be told.
    armed: [bool; 2],
}

const READ: usize = 0;
const WRITE: usize = 1;

/// What a remote finds when it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulled {
    Some,
    Nothing,
    End,
    Reset,
}

impl Registration {
    fn new(number: usize, token: Token, interest: Interest) -> Self {
        let writes = interest.is_writable();
        Self { number, token, writes, pending: [false; 2], armed: [true; 2] }
    }

    /// Something has become so, and is told if it may be.
    fn note(&mut self, what: usize) {
        if self.armed[what] && (what == READ || self.writes) {
            self.pending[what] = true;
        }
    }
}

impl Link {
    fn is_readable(&self) -> bool {
        let broken = matches!(self.stage, Stage::Reset | Stage::Unreachable);
        broken || !self.up.bytes.is_empty() || self.up.is_ended || self.fails
    }

    fn is_writable(&self) -> bool {
        match self.stage {
            Stage::Reset | Stage::Unreachable => true,
            Stage::Connected => self.down.bytes.len() < self.down.capacity,
            _ => false,
        }
    }

    fn is_read_closed(&self) -> bool {
        matches!(self.stage, Stage::Reset | Stage::Unreachable) || self.up.is_ended
    }

    fn note(&mut self, what: usize) {
        if let Some(registration) = &mut self.registration {
            registration.note(what);
        }
    }

    /// What is so already is told anew.
    fn note_levels(&mut self) {
        if self.is_readable() {
            self.note(READ);
        }
        if self.is_writable() {
            self.note(WRITE);
        }
    }

    fn rearm(&mut self) {
        if let Some(registration) = &mut self.registration {
            registration.armed = [true; 2];
        }
        self.note_levels();
    }

    /// The event of this source, if there is one.
    fn event(&mut self, number: usize, strict: bool, spurious: bool) -> Option<Readiness> {
        let levels = [self.is_readable(), self.is_writable()];
        let is_read_closed = self.is_read_closed();
        let registration = self.registration.as_mut().filter(|own| own.number == number)?;
        if registration.pending == [false; 2] && !spurious {
            return None;
        }
        registration.pending = [false; 2];
        let [mut readable, mut writable] = levels;
        readable &= registration.armed[READ];
        writable |= std::mem::take(&mut self.is_told_too_early);
        writable &= registration.armed[WRITE] && registration.writes;
        if strict {
            registration.armed[READ] &= !readable;
            registration.armed[WRITE] &= !writable;
        }
        if !readable && !writable && !spurious {
            return None;
        }
        let connects = self.stage == Stage::Connecting;
        Some(Readiness {
            token: registration.token,
            is_readable: readable || spurious && !connects,
            is_writable: writable || spurious && !connects && registration.writes,
            is_priority: false,
            is_read_closed: is_read_closed && readable,
        })
    }
}

/// What the loops see of it, through the seam.
impl Network {
    /// Looks at the clock, which takes time.
    pub(in super::super) fn now(&self) -> Duration {
        let mut state = self.lock();
        let slow = state.manners.slow;
        let nanoseconds = if state.random.percent(slow) { 3_000_000 } else { 1_500 };
        let taken = state.random.below(nanoseconds) as u64;
        state.now += Duration::from_nanos(taken);
        state.now
    }

    pub(in super::super) fn wake(&self, number: usize, token: Token) {
        self.lock().woken[number] = Some(token);
    }

    /// The events of the loop that has its turn, so many at most.
    pub(in super::super) fn take_events(&self, events: &mut Vec<Readiness>, capacity: usize) {
        let mut state = self.lock();
        let State { random, manners, current, woken, entrance, links, progress, .. } = &mut *state;
        events.clear();
        let quiet = Readiness {
            token: Token(0),
            is_readable: false,
            is_writable: false,
            is_priority: false,
            is_read_closed: false,
        };
        if let Some(token) = woken[*current].take() {
            events.push(Readiness { token, is_readable: true, ..quiet });
        }
        if let Some(own) =
            entrance.as_mut().filter(|own| own.number == *current && own.pending[READ])
        {
            own.pending[READ] = false;
            own.armed[READ] = !manners.strict;
            events.push(Readiness { token: own.token, is_readable: true, ..quiet });
        }
        *progress += events.len() as u64;
        let first = random.below(links.len().max(1));
        for index in 0..links.len() {
            if events.len() >= capacity {
                break;
            }
            let link = (first + index) % links.len();
            let spurious = manners.spurious > 0 && random.percent(manners.spurious);
            if let Some(event) = links[link].event(*current, manners.strict, spurious) {
                *progress += u64::from(!spurious);
                events.push(event);
            }
        }
    }

    /// Begins to connect.
    pub(in super::super) fn connect(&self, address: SocketAddr) -> io::Result<Pipe> {
        let mut state = self.lock();
        if state.random.percent(3) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let fault = state.faults.as_mut().and_then(|faults| faults.next(Call::Connect, 0));
        let link = state.add_link(address, Stage::Connecting);
        if let Some(fault) = fault {
            // The remote that would have been there finds that nobody is.
            state.links[link].stage = Stage::DroppedAndReset;
            state.failed = Some(link);
            fault.answer(|| unreachable!("nothing is moved"))?;
        }
        state.dialled.push(link);
        drop(state);
        Ok(Pipe { network: self.clone(), link, address })
    }

    /// Simulated sockets are [`Source`]s, which are given a registry of mio's and make no use of it.
    pub(in super::super) fn unused_registry() -> &'static mio::Registry {
        static POLL: OnceLock<Poll> = OnceLock::new();
        POLL.get_or_init(|| Poll::new().expect("the system has a poller")).registry()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

/// What the world does with it.
impl Network {
    pub(super) fn new(random: Random, manners: Manners, loops: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            random,
            manners,
            now: Duration::ZERO,
            current: 0,
            woken: vec![None; loops],
            arrived: VecDeque::new(),
            entrance: None,
            links: Vec::new(),
            dialled: Vec::new(),
            touched: Vec::new(),
            progress: 0,
            faults: None,
            failed: None,
            spared: Vec::new(),
        })))
    }

    pub(super) fn entrance(&self) -> Entrance {
        Entrance(self.clone())
    }

    /// The time, without a look at the clock.
    pub(super) fn time(&self) -> Duration {
        self.lock().now
    }

    pub(super) fn advance_to(&self, time: Duration) {
        let mut state = self.lock();
        state.now = state.now.max(time);
    }

    pub(super) fn spend(&self, time: Duration) {
        self.lock().now += time;
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn calm(&self) {
        let mut state = self.lock();
        state.manners = Manners { spurious: 0, slow: 0, accept_errors: 0, ..state.manners };
    }

    /// A loop begins a turn.
    pub(super) fn begin_turn(&self, number: usize) {
        let mut state = self.lock();
        state.current = number;
        for link in &mut state.links {
            (link.read_in_turn, link.is_written_in_turn) = (0, false);
        }
    }

    /// From now on calls are counted, and one may fail.
    pub(super) fn set_faults(&self, faults: Faults) {
        self.lock().faults = Some(faults);
    }

    /// No call of this link fails, or is counted.
    pub(super) fn spare(&self, link: usize) {
        self.lock().spared.push(link);
    }

    /// What was called, and the link of the call that has failed.
    pub(super) fn take_faults(&self) -> (Faults, Option<usize>) {
        let mut state = self.lock();
        (state.faults.take().unwrap_or_default(), state.failed)
    }

    /// The most that the loop has read of one link in its turn.
    pub(super) fn most_read(&self) -> usize {
        self.lock().links.iter().map(|link| link.read_in_turn).max().unwrap_or_default()
    }

    /// The links in which the loop has written anything in its turn.
    pub(super) fn written_in_turn(&self) -> Vec<usize> {
        let state = self.lock();
        let links = state.links.iter().enumerate();
        links.filter(|(_, link)| link.is_written_in_turn).map(|(number, _)| number).collect()
    }

    pub(super) fn progress(&self) -> u64 {
        self.lock().progress
    }

    /// Whether there is something to tell a loop.
    pub(super) fn has_events(&self, number: usize) -> bool {
        let state = self.lock();
        let is_pending = |own: &Registration| own.number == number && own.pending != [false; 2];
        state.woken[number].is_some()
            || state.entrance.as_ref().is_some_and(is_pending)
            || state.links.iter().any(|link| link.registration.as_ref().is_some_and(is_pending))
    }

    pub(super) fn take_dialled(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().dialled)
    }

    pub(super) fn take_touched(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().touched)
    }

    /// A remote connects to the listener.
    pub(super) fn arrive(&self, address: SocketAddr) -> usize {
        let mut state = self.lock();
        let link = state.add_link(address, Stage::Connected);
        state.arrived.push_back(link);
        if let Some(entrance) = &mut state.entrance {
            entrance.note(READ);
        }
        link
    }

    /// The number that the next link gets.
    pub(super) fn next_link(&self) -> usize {
        self.lock().links.len()
    }

    /// A connected pair of which the loop is to be given an end by hand.
    pub(super) fn pair(&self, address: SocketAddr) -> Pipe {
        let link = self.lock().add_link(address, Stage::Connected);
        Pipe { network: self.clone(), link, address }
    }

    /// What was dialled stands.
    pub(super) fn answer(&self, link: usize) {
        let mut state = self.lock();
        let link = &mut state.links[link];
        if link.stage == Stage::Connecting {
            link.stage = Stage::Connected;
            link.note(WRITE);
        }
    }

    /// A loop is told that what it has dialled stands, although nobody has answered.
    pub(super) fn tell_too_early(&self, link: usize) {
        let mut state = self.lock();
        let link = &mut state.links[link];
        link.is_told_too_early = link.stage == Stage::Connecting;
        link.note(WRITE);
    }

    /// What was dialled does not.
    pub(super) fn refuse(&self, link: usize) {
        let mut state = self.lock();
        let link = &mut state.links[link];
        if link.stage == Stage::Connecting {
            link.stage = Stage::Unreachable;
            link.note_levels();
        }
    }

    /// A remote writes: how much fits.
    pub(super) fn push(&self, link: usize, bytes: &[u8]) -> usize {
        let mut state = self.lock();
        let State { links, random, .. } = &mut *state;
        let link = &mut links[link];
        match link.stage {
            Stage::Connected => {}
            Stage::Dropped => {
                link.reset_after_drop(random);
                return bytes.len();
            }
            _ => return bytes.len(),
        }
        let count = bytes.len().min(link.up.capacity.saturating_sub(link.up.bytes.len()));
        link.up.bytes.extend(&bytes[..count]);
        link.up.was_full = count < bytes.len();
        if count > 0 {
            link.note(READ);
        }
        count
    }

    /// A remote ends its direction.
    pub(super) fn end(&self, link: usize) {
        let mut state = self.lock();
        let link = &mut state.links[link];
        link.up.is_ended = true;
        link.note(READ);
    }

    /// A remote is gone: it has ended its direction, and whoever writes to it is reset.
    pub(super) fn desert(&self, link: usize) {
        self.end(link);
        self.lock().links[link].is_deserted = true;
    }

    /// A remote breaks the connection.
    pub(super) fn reset(&self, link: usize) {
        self.lock().links[link].reset();
    }

    /// The loop's reads fail from here on.
    pub(super) fn fail(&self, link: usize) {
        let mut state = self.lock();
        let link = &mut state.links[link];
        link.fails = true;
        link.note(READ);
    }

    /// A remote reads.
    pub(super) fn pull(&self, link: usize, most: usize, room: &mut Vec<u8>) -> Pulled {
        let mut state = self.lock();
        let link = &mut state.links[link];
        let count = link.down.bytes.len().min(most);
        room.extend(link.down.bytes.drain(..count));
        if count > 0 && link.down.was_full {
            link.down.was_full = false;
            link.note(WRITE);
        }
        match link.stage {
            _ if count > 0 => Pulled::Some,
            Stage::Reset | Stage::DroppedAndReset => Pulled::Reset,
            _ if link.down.is_ended => Pulled::End,
            _ => Pulled::Nothing,
        }
    }

    /// Whether a loop has not dropped its end.
    pub(super) fn is_held(&self, link: usize) -> bool {
        let state = self.lock();
        let stage = state.links[link].stage;
        matches!(stage, Stage::Connected | Stage::Connecting) && !state.arrived.contains(&link)
    }
}

impl State {
    /// How this call of a link fails, if it does.
    fn fault(&mut self, call: Call, index: usize, available: usize) -> Option<Fault> {
        if self.spared.contains(&index) {
            return None;
        }
        let fault = self.faults.as_mut()?.next(call, available)?;
        self.failed = Some(index);
        self.touched.push(index);
        let link = &mut self.links[index];
        if fault.is_of_connection() {
            link.reset();
        }
        if fault.blocks() {
            link.rearm();
        }
        Some(fault)
    }

    /// Nobody is accepted; some errors are those of who waits, who is gone then.
    fn fail_to_accept(&mut self, fault: Fault) -> io::Result<Pipe> {
        if fault.is_of_connection()
            && let Some(link) = self.arrived.pop_front()
        {
            self.links[link].reset();
            self.touched.push(link);
            self.failed = Some(link);
        }
        if let Some(entrance) = self.entrance.as_mut().filter(|_| fault.blocks()) {
            entrance.armed = [true; 2];
            if !self.arrived.is_empty() {
                entrance.note(READ);
            }
        }
        match fault.answer(|| Ok(0)) {
            Ok(_) => unreachable!("accepting moves no bytes"),
            Err(error) => Err(error),
        }
    }

    fn add_link(&mut self, address: SocketAddr, stage: Stage) -> usize {
        let capacity = self.manners.capacity + self.random.below(self.manners.capacity);
        let flow = || Flow { capacity, ..Flow::default() };
        self.links.push(Link {
            address,
            stage,
            up: flow(),
            down: flow(),
            registration: None,
            fails: false,
            is_told_too_early: false,
            is_deserted: false,
            read_in_turn: 0,
            is_written_in_turn: false,
        });
        self.links.len() - 1
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.links[index].up.bytes.len().min(buffer.len());
        match self.fault(Call::Read, index, available) {
            None => self.read_well(index, buffer),
            Some(fault) => {
                let answer = fault.answer(|| self.read_well(index, &mut buffer[..1]));
                // What is left is told, as if it came later.
                self.links[index].note_levels();
                answer
            }
        }
    }

    fn read_well(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let strict = self.manners.strict;
        let link = &mut self.links[index];
        match link.stage {
            Stage::Reset => return Err(ErrorKind::ConnectionReset.into()),
            Stage::Unreachable => return Err(ErrorKind::ConnectionRefused.into()),
            _ => {}
        }
        let there = link.up.bytes.len();
        if there == 0 {
            if link.fails {
                return Err(io::Error::other("a record that cannot be decrypted"));
            }
            if link.up.is_ended {
                return Ok(0);
            }
            link.rearm();
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.random.percent(self.manners.interrupts) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut count = there.min(buffer.len());
        if strict && self.random.percent(30) {
            count = self.random.between(1, count);
        }
        let (front, back) = link.up.bytes.as_slices();
        let from_front = count.min(front.len());
        buffer[..from_front].copy_from_slice(&front[..from_front]);
        buffer[from_front..count].copy_from_slice(&back[..count - from_front]);
        link.up.bytes.drain(..count);
        link.read_in_turn += count;
        self.progress += 1;
        self.touched.push(index);
        Ok(count)
    }

    fn write<'b>(
        &mut self,
        index: usize,
        slices: impl Iterator<Item = &'b [u8]> + Clone,
    ) -> io::Result<usize> {
        let total: usize = slices.clone().map(<[u8]>::len).sum();
        let down = &self.links[index].down;
        let available = down.capacity.saturating_sub(down.bytes.len()).min(total);
        match self.fault(Call::Write, index, available) {
            None => self.write_well(index, slices),
            Some(fault) => {
                let first =
                    slices.filter(|slice| !slice.is_empty()).map(|slice| &slice[..1]).take(1);
                let answer = fault.answer(|| self.write_well(index, first));
                self.links[index].note_levels();
                answer
            }
        }
    }

    fn write_well<'b>(
        &mut self,
        index: usize,
        slices: impl Iterator<Item = &'b [u8]> + Clone,
    ) -> io::Result<usize> {
        let strict = self.manners.strict;
        let link = &mut self.links[index];
        match link.stage {
            Stage::Reset => return Err(ErrorKind::BrokenPipe.into()),
            Stage::Unreachable => return Err(ErrorKind::ConnectionRefused.into()),
            Stage::Connecting => {
                link.rearm();
                return Err(ErrorKind::WouldBlock.into());
            }
            _ => {}
        }
        if self.random.percent(self.manners.interrupts) {
            return Err(ErrorKind::Interrupted.into());
        }
        assert!(!link.down.is_ended, "a write after the end");
        let total: usize = slices.clone().map(<[u8]>::len).sum();
        if link.is_deserted {
            link.reset();
            return Ok(total);
        }
        let room = link.down.capacity.saturating_sub(link.down.bytes.len());
        let mut count = total.min(room);
        if strict && count > 0 && self.random.percent(30) {
            count = self.random.between(1, count);
        }
        link.down.was_full |= room < total;
        if count == 0 && total > 0 {
            link.rearm();
            return Err(ErrorKind::WouldBlock.into());
        }
        link.is_written_in_turn = true;
        let mut left = count;
        for slice in slices {
            let part = left.min(slice.len());
            link.down.bytes.extend(&slice[..part]);
            left -= part;
        }
        self.progress += 1;
        self.touched.push(index);
        Ok(count)
    }
}

impl Link {
    fn reset(&mut self) {
        if matches!(self.stage, Stage::Connected | Stage::Connecting) {
            self.stage = Stage::Reset;
            self.up.bytes.clear();
            self.down.bytes.clear();
            self.note_levels();
        }
    }

    /// What the remote has not read may be lost with it.
    fn reset_after_drop(&mut self, random: &mut Random) {
        self.stage = Stage::DroppedAndReset;
        if random.percent(50) {
            let left = random.below(self.down.bytes.len() + 1);
            self.down.bytes.truncate(left);
        }
    }
}

/// The loop's end of a link.
#[derive(Debug)]
pub(in super::super) struct Pipe {
    network: Network,
    link: usize,
    address: SocketAddr,
}

impl Pipe {
    pub(in super::super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.network.lock().read(self.link, buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.network.lock().write(self.link, [bytes].into_iter())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.network.lock().write(self.link, slices.iter().map(|slice| &**slice))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Pipe {
    fn shutdown(&mut self) -> io::Result<()> {
        let mut state = self.network.lock();
        if let Some(fault) = state.fault(Call::Shutdown, self.link, 0) {
            return fault.answer(|| Ok(0)).map(drop);
        }
        let link = &mut state.links[self.link];
        if link.stage != Stage::Connected {
            return Err(ErrorKind::NotConnected.into());
        }
        link.down.is_ended = true;
        link.is_written_in_turn = true;
        state.progress += 1;
        state.touched.push(self.link);
        Ok(())
    }

    /// Where nothing is told again, a short read or write says nothing.
    fn stopped(&self, count: usize, stopped: Stopped) -> Stopped {
        let strict = self.network.lock().manners.strict;
        if strict && count > 0 { Stopped::Done } else { stopped }
    }
}

impl Source for Pipe {
    fn register(&mut self, _: &mio::Registry, token: Token, interest: Interest) -> io::Result<()> {
        let mut state = self.network.lock();
        if let Some(fault) = state.fault(Call::Register, self.link, 0) {
            return fault.answer(|| Ok(0)).map(drop);
        }
        let number = state.current;
        let link = &mut state.links[self.link];
        assert!(link.registration.is_none(), "registered twice");
        link.registration = Some(Registration::new(number, token, interest));
        link.note_levels();
        Ok(())
    }

    fn reregister(
        &mut self,
        _: &mio::Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let mut state = self.network.lock();
        if let Some(fault) = state.fault(Call::Register, self.link, 0) {
            return fault.answer(|| Ok(0)).map(drop);
        }
        let number = state.current;
        let link = &mut state.links[self.link];
        let pending = link.registration.expect("it is registered").pending;
        link.registration = Some(Registration::new(number, token, interest));
        if pending[READ] {
            link.note(READ);
        }
        link.note_levels();
        Ok(())
    }

    fn deregister(&mut self, _: &mio::Registry) -> io::Result<()> {
        self.network.lock().links[self.link].registration = None;
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let State { links, random, .. } = &mut *state;
        let link = &mut links[self.link];
        link.registration = None;
        if matches!(link.stage, Stage::Connected | Stage::Connecting) {
            link.stage = Stage::Dropped;
            link.down.is_ended = true;
            if !link.up.bytes.is_empty() {
                link.reset_after_drop(random);
            }
        }
        state.touched.push(self.link);
    }
}

/// The listener.
#[derive(Debug)]
pub(in super::super) struct Entrance(Network);

impl Entrance {
    pub(in super::super) fn accept(&self) -> io::Result<Pipe> {
        let mut state = self.0.lock();
        if let Some(fault) = state.faults.as_mut().and_then(|faults| faults.next(Call::Accept, 0)) {
            return state.fail_to_accept(fault);
        }
        let State { arrived, links, entrance, random, manners, progress, touched, .. } =
            &mut *state;
        if random.percent(manners.accept_errors) {
            if random.percent(30) {
                // EMFILE.
                return Err(io::Error::from_raw_os_error(24));
            }
            if let Some(link) = arrived.pop_front() {
                links[link].reset();
                touched.push(link);
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        let Some(link) = arrived.pop_front() else {
            if let Some(entrance) = entrance {
                entrance.armed = [true; 2];
            }
            return Err(ErrorKind::WouldBlock.into());
        };
        *progress += 1;
        Ok(Pipe { network: self.0.clone(), link, address: links[link].address })
    }
}

impl Source for Entrance {
    fn register(&mut self, _: &mio::Registry, token: Token, interest: Interest) -> io::Result<()> {
        let mut state = self.0.lock();
        let mut own = Registration::new(state.current, token, interest);
        if !state.arrived.is_empty() {
            own.note(READ);
        }
        state.entrance = Some(own);
        Ok(())
    }

    fn reregister(
        &mut self,
        registry: &mio::Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.register(registry, token, interest)
    }

    fn deregister(&mut self, _: &mio::Registry) -> io::Result<()> {
        self.0.lock().entrance = None;
        Ok(())
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.entrance = None;
        let State { arrived, links, touched, .. } = &mut *state;
        // Whoever waited is reset.
        for link in arrived.drain(..) {
            links[link].reset();
            touched.push(link);
        }
    }
}

/// The address of a remote.
pub(super) fn address(number: usize) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, (number % 3) as u8), 1000 + number as u16).into()
}
