use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "deflate")]
use crate::deflate::DeflateConfig;
use crate::handshake::Response;
use crate::protocol::{Config, Fragments};

use super::super::adopt::AdoptedStream;
use super::super::backlog::SlowConsumer;
use super::super::event_loop::EventLoop;
use super::super::group::members_at;
use super::super::listener::Listener;
use super::super::loop_handle::call_queues;
use super::super::reactor::{READ_ROOM, SMALL_BUDGET, WAKE};
use super::super::selector::Selector;
use super::super::settings::{OnPanic, Settings};
use super::message::TELLING;
use super::model::Model;
use super::network::{Manners, Network, address};
use super::player::{Player, Stagehand};
use super::random::Random;
use super::remote::{Act, Break, Condition, Remote};

/// What was met in a world.
pub(super) type Reached = BTreeSet<&'static str>;

/// Loops, remotes, and all that happens, in the order of time.
struct World {
    random: Random,
    network: Network,
    stage: Rc<RefCell<Stagehand>>,
    loops: Vec<Member>,
    remotes: Vec<Option<Remote>>,
    agenda: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    /// How many events were put on the agenda, and how many steps were made.
    count: u64,
    steps: u64,
    /// When what happens now does so, outside of the loops: while one works, time goes on there.
    happens: Option<Duration>,
    plan: Plan,
}

/// A loop, and until when it sleeps unless there is an event.
struct Member {
    event_loop: EventLoop<Player>,
    sleeps_until: Option<Duration>,
    /// Turns in a row that have done nothing.
    idle_turns: u32,
}

/// What is decided in the beginning.
struct Plan {
    /// How long it takes until the other end knows.
    latency: u64,
    /// How much time lies between two acts.
    pace: u64,
    config: Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A remote comes.
    Arrive,
    /// Another server gives a connection to the loop.
    Adopt,
    /// A remote reads and writes.
    Move(usize),
    /// A remote does the next thing.
    Act(usize, u8),
    /// Nothing answers what a loop has dialled, or somebody does.
    Answer(usize),
    Order,
    Decide,
    Resume(usize),
}

/// How long the loops are given to come to rest.
const REST: Duration = Duration::from_secs(120);

/// A turn of which a deadline can tell.
const LONG_TURN: Duration = Duration::from_millis(100);

/// No world needs so many.
const MOST_STEPS: u64 = 300_000;

pub(super) fn run(seed: u64) -> Result<Reached, String> {
    let mut world = World::new(seed);
    world.play();
    world.rest();
    world.end();
    let mut stage = world.stage.borrow_mut();
    let model = &mut stage.model;
    model.check_end();
    match model.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(std::mem::take(&mut model.reached)),
    }
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn config(random: &mut Random, reached: &mut Reached) -> Config {
    let mut config = Config::new();
    config = match random.below(3) {
        0 => {
            reached.insert("no deadlines");
            config
                .ping_interval(None)
                .pong_timeout(None)
                .handshake_timeout(None)
                .decision_timeout(None)
                .write_timeout(None)
                .close_timeout(None)
        }
        1 => {
            reached.insert("short deadlines");
            config
                .ping_interval(milliseconds(2_000))
                .pong_timeout(milliseconds(1_500))
                .handshake_timeout(milliseconds(1_000))
                .decision_timeout(milliseconds(700))
                .write_timeout(milliseconds(3_000))
                .close_timeout(milliseconds(1_000))
        }
        _ => config,
    };
    if random.percent(60) {
        let high = random.pick(&[1, 200, 5_000, 64 * 1024]);
        let low = random.pick(&[0, high / 2, high]);
        let most = random.pick(&[300, 5_000, 100_000, 1_000_000]);
        config = config.output_high_water(high).output_low_water(low).max_buffered_amount(most);
    }
    config = config.fragments(random.pick(&[
        Fragments::Never,
        Fragments::Never,
        Fragments::Never,
        Fragments::Always,
        Fragments::From(1_000),
    ]));
    #[cfg(feature = "deflate")]
    if random.percent(30) {
        reached.insert("deflate");
        return config.deflate(DeflateConfig::default());
    }
    config
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = random.weighted(&[(15, 1), (4, 2), (1, 3)]);
        let mut model = Model::new(count);
        let capacity =
            random.weighted(&[(1, 1), (2, 40), (4, 700), (4, 5_000), (6, 70_000), (1, 300_000)]);
        let manners = Manners {
            strict: random.percent(40),
            spurious: random.pick(&[0, 0, 5]),
            slow: random.pick(&[0, 0, 1, 20]),
            accept_errors: random.pick(&[0, 0, 10]),
            interrupts: 1,
            capacity,
        };
        let reached = &mut model.reached;
        reached.insert(if manners.strict { "strict" } else { "as epoll" });
        reached.insert(if count > 1 { "several loops" } else { "one loop" });
        let network = Network::new(Random::new(random.next()), manners, count);
        let config = config(&mut random, reached);
        let mut settings = Settings { config: config.clone(), ..Settings::default() };
        settings.backlogs.policy = random.weighted(&[
            (6, SlowConsumer::DropNew),
            (2, SlowConsumer::Latest),
            (2, SlowConsumer::Close),
        ]);
        settings.backlogs.total = random.pick(&[usize::MAX, usize::MAX, 2_000, 50_000]);
        settings.backlogs.keys = random.pick(&[1024, 1]);
        settings.max_connections = random.pick(&[usize::MAX, usize::MAX, usize::MAX, 3]);
        settings.max_connections_per_ip = random.pick(&[None, None, None, Some(2)]);
        settings.keep_requests = random.percent(50);
        settings.max_queued = random.pick(&[settings.max_queued, 500]);
        let panics = random.percent(15);
        if panics {
            settings.on_panic = OnPanic::CloseConnection;
        }
        let longest = 300_000.min(capacity * 40);
        let plan = Plan {
            latency: random.pick(&[10, 300, 3_000]),
            pace: random.pick(&[2_000, 50_000, 400_000]),
            config: config.clone(),
        };
        let stage = Rc::new(RefCell::new(Stagehand {
            model,
            random: Random::new(random.next()),
            network: network.clone(),
            handle: None,
            config,
            pending: Vec::new(),
            paused: Vec::new(),
            longest,
            dials: random.below(5),
            panics,
            is_calm: false,
            keeps_latest: settings.backlogs.policy == SlowConsumer::Latest,
            is_narrow: capacity < 700,
            heard_in_turn: Vec::new(),
        }));
        let selectors = (0..count).map(|_| Ok(Selector::Simulated(network.clone())));
        let members = members_at(selectors, WAKE).expect("members in memory");
        let mut loops = Vec::new();
        let (queues, calls) = call_queues(count);
        for (number, (member, calls)) in members.into_iter().zip(calls).enumerate() {
            // The first loop listens.
            let entrance = (number == 0).then(|| Listener::simulated(network.entrance()));
            network.begin_turn(number);
            let player = Player { number, stage: Rc::clone(&stage) };
            let event_loop = EventLoop::of_member(
                entrance.into_iter().collect(),
                &settings,
                |_| player,
                member,
                (Arc::clone(&queues), calls),
            );
            let event_loop = event_loop.expect("a loop in memory");
            stage.borrow_mut().handle = Some(event_loop.handle());
            loops.push(Member { event_loop, sleeps_until: None, idle_turns: 0 });
        }
        Self {
            random,
            network,
            stage,
            loops,
            remotes: Vec::new(),
            agenda: BinaryHeap::new(),
            count: 0,
            steps: 0,
            happens: None,
            plan,
        }
    }

    /// What happens in this world.
    fn play(&mut self) {
        let peers = self.random.between(1, 8);
        let pace = self.plan.pace;
        for _ in 0..peers {
            let event = if self.random.percent(10) { Event::Adopt } else { Event::Arrive };
            self.later(2 * pace, event);
        }
        for _ in 0..self.random.below(12) {
            self.later(12 * pace, Event::Order);
        }
        self.run(|world| world.agenda.is_empty());
    }

    /// Nothing new happens, and nothing stands in the way of what is under way: it comes to its end.
    fn rest(&mut self) {
        self.network.calm();
        let open = {
            let mut stage = self.stage.borrow_mut();
            stage.is_calm = true;
            stage.pending.clear();
            let open: Vec<_> = stage.model.connections.iter().filter_map(|one| one.id).collect();
            if let Some(handle) = stage.handle.clone() {
                open.iter().for_each(|&id| handle.resume(id));
            }
            open
        };
        for remote in self.remotes.iter_mut().flatten() {
            remote.stalls_until = Duration::ZERO;
        }
        for number in 0..self.remotes.len() {
            self.later(1, Event::Move(number));
        }
        let until = self.network.time() + REST / 2;
        self.run(|world| world.network.time() >= until);
        for id in open {
            let event_loop = &mut self.loops[id.loop_number()].event_loop;
            if let Some(mut peer) = event_loop.peer(id) {
                let number = *peer.session();
                let mut stage = self.stage.borrow_mut();
                if let Some(numbered) = stage.model.connection(number).begun {
                    stage.finish_piece(number, numbered, &mut peer);
                }
            }
        }
        for member in &mut self.loops {
            member.sleeps_until = Some(Duration::ZERO);
        }
        let until = self.network.time() + REST / 2;
        self.run(|world| world.network.time() >= until);
        self.stage.borrow_mut().model.check_rest();
    }

    /// The loops are shut down, or dropped.
    fn end(&mut self) {
        if self.has_failed() {
            return;
        }
        if self.random.percent(75) {
            let deadline = milliseconds(self.random.pick(&[0, 100, 3_000]));
            let spread = milliseconds(self.random.pick(&[0, 0, 500]));
            let handle = self.stage.borrow().handle.clone().expect("there is a loop");
            let report = handle.shutdown_spread(1001, "", spread, deadline).expect("a good Close");
            for _ in 0..self.random.below(3) {
                self.later(200_000, Event::Arrive);
            }
            let until = self.network.time() + deadline + milliseconds(10);
            self.run(|world| world.network.time() >= until || world.are_finished());
            let finished = self.are_finished();
            let model = &mut self.stage.borrow_mut().model;
            model.check(finished, || "the shutdown is not over at its deadline".to_owned());
            let told = report.wait_timeout(Duration::ZERO).is_some();
            model.check(told, || "nobody is told of the end of the shutdown".to_owned());
            model.check(handle.queued_bytes() == 0, || "bytes are queued at the end".to_owned());
            for member in &self.loops {
                if let Some(left) = member.event_loop.erased().find_leftover() {
                    model.fail(|| format!("at the end there is left: {left}"));
                }
            }
        } else {
            self.stage.borrow_mut().model.reached.insert("the loops are dropped");
        }
        self.loops.clear();
        let mut stage = self.stage.borrow_mut();
        stage.pending.clear();
        for number in 0..self.network.next_link() {
            let held = self.network.is_held(number);
            stage.model.check(!held, || format!("the socket of {number} is not dropped"));
        }
    }

    fn are_finished(&self) -> bool {
        self.loops.iter().all(|member| member.event_loop.is_finished())
    }

    fn has_failed(&self) -> bool {
        self.stage.borrow().model.failure.is_some()
    }

    /// Puts something on the agenda, within so many microseconds.
    fn later(&mut self, most: u64, event: Event) {
        let time = Duration::from_nanos(self.random.next() % (most * 1_000));
        self.at(self.happens.unwrap_or_else(|| self.network.time()) + time, event);
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.count += 1;
        self.agenda.push(Reverse((time, self.count, event)));
    }

    fn run(&mut self, is_over: impl Fn(&Self) -> bool) {
        while !self.has_failed() {
            self.steps += 1;
            if self.steps > MOST_STEPS {
                self.stage.borrow_mut().model.fail(|| "the world does not come to rest".to_owned());
            }
            self.take_note();
            if is_over(self) || !self.step() {
                break;
            }
        }
    }

    /// What the loops have done to the network is known to the remotes in a while.
    fn take_note(&mut self) {
        let latency = self.plan.latency;
        for link in self.network.take_dialled() {
            let remote = Remote::server(link, &self.plan.remote_config(), &mut self.random);
            self.add_remote(link, remote);
            self.later(latency, Event::Answer(link));
        }
        let mut touched = self.network.take_touched();
        touched.dedup();
        for link in touched {
            self.later(latency, Event::Move(link));
        }
        let mut stage = self.stage.borrow_mut();
        let paused = std::mem::take(&mut stage.paused);
        let has_pending = !stage.pending.is_empty();
        drop(stage);
        for (time, number) in paused {
            self.later(1 + time.as_micros() as u64, Event::Resume(number));
        }
        if has_pending && !self.agenda.iter().any(|Reverse((.., event))| *event == Event::Decide) {
            self.later(1_000_000, Event::Decide);
        }
    }

    /// The next thing in time; whether there is one.
    fn step(&mut self) -> bool {
        let now = self.network.time();
        let next = self.agenda.peek().map(|Reverse((time, ..))| *time);
        if next.is_some_and(|next| next <= now) {
            if let Some(Reverse((time, _, event))) = self.agenda.pop() {
                self.happens = Some(time);
                self.happen(event);
                self.happens = None;
            }
            return true;
        }
        let is_ready = |(number, member): (usize, &Member)| {
            let wakes = member.sleeps_until.is_some_and(|until| until <= now);
            let is_called =
                (wakes || self.network.has_events(number)) && !member.event_loop.is_finished();
            is_called.then_some(number)
        };
        let ready: Vec<_> = self.loops.iter().enumerate().filter_map(is_ready).collect();
        if !ready.is_empty() {
            let number = self.random.pick(&ready);
            self.turn(number);
            return true;
        }
        let asleep = self.loops.iter().filter(|member| !member.event_loop.is_finished());
        let wake = asleep.filter_map(|member| member.sleeps_until).min();
        let Some(then) = wake.into_iter().chain(next).min() else { return false };
        self.network.advance_to(then);
        true
    }

    fn turn(&mut self, number: usize) {
        let calls = self.stage.borrow().model.calls;
        self.trace(|now| format!("-- {now:?}: turn of loop {number}"));
        let before = (self.network.progress(), calls);
        self.stage.borrow_mut().heard_in_turn.clear();
        self.network.begin_turn(number);
        let begun = self.network.time();
        let member = &mut self.loops[number];
        let result = member.event_loop.run_once(Some(Duration::ZERO));
        let mut stage = self.stage.borrow_mut();
        let model = &mut stage.model;
        model.check(result.is_ok(), || format!("a turn fails: {result:?}"));
        if let Some(fault) = member.event_loop.erased().find_fault() {
            model.fail(|| format!("after a turn of loop {number}: {fault}"));
        }
        let read = self.network.most_read();
        model.check(read <= SMALL_BUDGET.0 + READ_ROOM, || {
            format!("a connection has read {read} bytes in one turn")
        });
        if self.network.time() - begun > LONG_TURN {
            // The loop reads the clock once in a turn: what it has written then may be as much older.
            for number in self.network.written_in_turn() {
                model.connection(number).may_be_late = true;
            }
        }
        let calls = model.calls;
        let until_next = member.event_loop.erased().until_next();
        member.sleeps_until = until_next.map(|time| self.network.time() + time);
        let is_idle = (self.network.progress(), calls) == before
            && until_next == Some(Duration::ZERO)
            && !self.network.has_events(number);
        member.idle_turns = if is_idle { member.idle_turns + 1 } else { 0 };
        let idle = member.idle_turns;
        model.check(idle < 200, || format!("loop {number} has {idle} turns for nothing"));
        let mut heard = std::mem::take(&mut stage.heard_in_turn);
        heard.sort_unstable();
        let most = heard.chunk_by(|one, other| one == other).map(<[_]>::len).max();
        stage.model.check(most.unwrap_or_default() <= SMALL_BUDGET.1, || {
            format!("a connection has brought {most:?} messages in one turn")
        });
    }

    fn add_remote(&mut self, link: usize, remote: Remote) {
        while self.remotes.len() <= link {
            self.remotes.push(None);
        }
        let mut stage = self.stage.borrow_mut();
        let stage = &mut *stage;
        let connection = stage.model.connection(link);
        connection.keeps_latest = stage.keeps_latest;
        connection.may_be_late |= stage.is_narrow || !remote.answers();
        self.remotes[link] = Some(remote);
    }

    fn trace(&self, what: impl FnOnce(Duration) -> String) {
        self.stage.borrow().model.trace(|| what(self.network.time()));
    }

    fn happen(&mut self, event: Event) {
        let now = self.happens.unwrap_or_default();
        self.trace(|_| format!("-- {now:?}: {event:?}"));
        match event {
            Event::Arrive => {
                let number = self.network.next_link();
                let link = self.network.arrive(address(number));
                self.arrived(link);
            }
            Event::Adopt => {
                let link = self.network.next_link();
                let pipe = self.network.pair(address(link));
                self.stage.borrow_mut().model.reached.insert("a connection is adopted");
                self.arrived(link);
                let handle = self.stage.borrow().handle.clone();
                if let Some(handle) = handle {
                    let _ = handle.adopt(AdoptedStream::from_transport(pipe), "", "");
                }
            }
            Event::Move(number) => {
                let Some(Some(remote)) = self.remotes.get_mut(number) else { return };
                let mut stage = self.stage.borrow_mut();
                let model = &mut stage.model;
                if remote.move_bytes(now, &mut self.random, model, &self.network) {
                    drop(stage);
                    let latency = self.plan.latency;
                    self.later(latency, Event::Move(number));
                }
            }
            Event::Act(number, left) => self.act(number, left),
            Event::Answer(link) => match self.random.below(10) {
                0 => {
                    self.stage.borrow_mut().model.connection(link).is_broken = true;
                    self.network.refuse(link);
                }
                1 if !self.stage.borrow().is_calm => {
                    self.stage.borrow_mut().model.connection(link).is_broken = true;
                }
                _ => {
                    self.network.answer(link);
                    let pace = self.plan.pace;
                    let acts = self.random.below(10) as u8;
                    self.later(pace, Event::Act(link, acts));
                }
            },
            Event::Order => self.stage.borrow_mut().order(),
            Event::Decide => {
                let mut stage = self.stage.borrow_mut();
                for pending in std::mem::take(&mut stage.pending) {
                    let path = pending.request().path();
                    let number = path.get(1..).and_then(|number| number.parse().ok()).unwrap_or(0);
                    stage.model.reached.insert("a decision is put off");
                    match self.random.below(4) {
                        0 => pending.reject(Response::forbidden()),
                        1 => drop(pending),
                        _ => pending.accept(number),
                    }
                }
            }
            Event::Resume(number) => {
                let stage = self.stage.borrow();
                let id = stage.model.connections[number].id;
                if let (Some(id), Some(handle)) = (id, &stage.handle) {
                    handle.resume(id);
                }
            }
        }
    }

    /// Somebody has come.
    fn arrived(&mut self, link: usize) {
        let mut remote = Remote::client(link, &self.plan.remote_config(), &mut self.random);
        let raw = self.random.below(20);
        if raw < 3 {
            let then = self.random.pick(&[None, Some(Break::HalfClose), Some(Break::Leave)]);
            let bytes: &[u8] = match raw {
                0 => b"GET / HTTP/1.1\r\nHost: loop\r\n\r\n",
                1 => b"GET /chat HTTP/1.1\r\nHost",
                _ => b"\x16\x03\x01\x02\x00\x01\x00",
            };
            remote.say_raw(bytes, then);
            self.stage.borrow_mut().model.connection(link).is_broken = true;
        }
        self.add_remote(link, remote);
        self.later(self.plan.latency, Event::Move(link));
        let acts = self.random.below(14) as u8;
        self.later(self.plan.pace, Event::Act(link, acts));
    }

    fn act(&mut self, number: usize, left: u8) {
        if left == 0 {
            return;
        }
        let Some(Some(remote)) = self.remotes.get_mut(number) else { return };
        if remote.condition != Condition::Well {
            return;
        }
        let mut guard = self.stage.borrow_mut();
        let stage = &mut *guard;
        let length = stage.length();
        let random = &mut self.random;
        let stall = Duration::from_micros(random.below(4_000_000) as u64);
        let how = random.pick(&[Break::HalfClose, Break::Leave, Break::Reset]);
        let now = self.happens.unwrap_or_default();
        let act = random.weighted(&[
            (60, Act::Say(length)),
            (10, Act::SayInPieces(length + TELLING)),
            (4, Act::Flood(200)),
            (10, Act::Ping),
            (3, Act::Close),
            (4, Act::Break(how)),
            (1, Act::Garbage),
            (2, Act::Truncate(how)),
            (2, Act::Silence),
            (4, Act::Stall(stall)),
            (1, Act::Fail),
        ]);
        stage.model.trace(|| format!("{number} does {act:?}"));
        remote.act(act, now, random, &mut stage.model, &self.network);
        let stalls_until = remote.stalls_until;
        drop(guard);
        let pace = self.plan.pace;
        self.later(1, Event::Move(number));
        if matches!(act, Act::Stall(_)) {
            self.at(stalls_until, Event::Move(number));
        }
        self.later(pace, Event::Act(number, left - 1));
    }
}

impl Plan {
    /// A remote has no deadlines.
    fn remote_config(&self) -> Config {
        self.config
            .clone()
            .ping_interval(None)
            .handshake_timeout(None)
            .decision_timeout(None)
            .output_high_water(64 * 1024)
            .max_buffered_amount(usize::MAX)
            .fragments(Fragments::Never)
    }
}
