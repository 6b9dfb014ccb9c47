use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use peer::process;

use crate::connection::{Connection, connect_all};
use crate::frames::Frames;
use crate::scenario::Scenario;
use crate::{STALLED, WARM_UP};

/// A message that leaves later than this is late by the load's fault, and not by the server's.
const LATE: Duration = Duration::from_micros(50);
/// More late ones than this, and the figures say nothing of the server.
const MOST_LATE: f64 = 0.01;
/// Events for one question, few, so that what is due does not wait for all of them.
const EVENTS: usize = 16;

/// Sends at times that were settled beforehand, and counts from these until the answer has come: a server
/// that stops for a while is charged with all messages that were to be sent meanwhile.
pub(crate) fn measure(
    scenario: &Scenario,
    rate: u32,
    port: u16,
    pid: u32,
    length: Duration,
) -> Result<(), Box<dyn Error>> {
    let mut load = Load::open(scenario, rate, port)?;
    load.run_until(WARM_UP)?;
    load.counts = true;
    let (server, own) = (process::cpu(pid)?, process::cpu(std::process::id())?);
    load.run_until(WARM_UP + length)?;
    let (server, own) = (process::cpu(pid)? - server, process::cpu(std::process::id())? - own);
    load.counts = false;
    load.drain()?;

    load.latencies.sort_unstable();
    let of = |part: f64| {
        let index = (part * load.latencies.len() as f64) as usize;
        load.latencies[index.min(load.latencies.len() - 1)] as f64 / 1e3
    };
    let count = load.latencies.len() as f64;
    let late = load.late as f64 / count;
    let invalid = if late > MOST_LATE {
        let late = late * 100.0;
        format!(",\"invalid\":\"{late:.1} % of the messages left more than 50 µs late\"")
    } else {
        String::new()
    };
    let payload: u64 = load.connections.iter().map(|connection| connection.payload).sum();
    println!(
        "{{\"cpu_us\":{:.4},\"rate\":{:.0},\"server_busy\":{:.3},\"load_busy\":{:.3},\"reply\":{:.4},\
        \"p50\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"late\":{late:.5}{invalid}}}",
        server.as_secs_f64() * 1e6 / count,
        count / length.as_secs_f64(),
        server.as_secs_f64() / length.as_secs_f64(),
        own.as_secs_f64() / length.as_secs_f64(),
        payload as f64 / (load.sent * scenario.length as u64) as f64,
        of(0.5),
        of(0.99),
        of(0.999),
    );
    Ok(())
}

struct Load {
    frames: Frames,
    poll: Poll,
    connections: Vec<Connection>,
    /// When each message under way was to be sent, in nanoseconds of this run, and whether it counts.
    under_way: Vec<VecDeque<(u64, bool)>>,
    start: Instant,
    /// When the next one is to be sent.
    next: u64,
    mean_gap: f64,
    chance: u64,
    counts: bool,
    sent: u64,
    late: u64,
    latencies: Vec<u64>,
    buffer: Vec<u8>,
}

impl Load {
    fn open(scenario: &Scenario, rate: u32, port: u16) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(scenario.connections);
        let streams = connect_all(port, scenario, scenario.connections)?;
        for (number, mut stream) in streams.into_iter().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(number), interest)?;
            connections.push(Connection::new(stream));
        }
        Ok(Self {
            frames: Frames::of(scenario),
            poll,
            connections,
            under_way: vec![VecDeque::with_capacity(64); scenario.connections],
            start: Instant::now(),
            next: 0,
            mean_gap: 1e9 / f64::from(rate),
            chance: 0x9e37_79b9_7f4a_7c15,
            counts: false,
            sent: 0,
            late: 0,
            latencies: Vec::with_capacity(1 << 20),
            buffer: vec![0; 1 << 16],
        })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The same numbers in every run, so that every server has the same bursts.
    fn random(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 11
    }

    /// Asks without end, and never sleeps: a timer would wake it too late.
    fn run_until(&mut self, end: Duration) -> Result<(), Box<dyn Error>> {
        let end = end.as_nanos() as u64;
        let mut events = Events::with_capacity(EVENTS);
        while self.now() < end {
            self.send_due(end)?;
            self.receive(&mut events, end)?;
        }
        Ok(())
    }

    fn send_due(&mut self, end: u64) -> Result<(), Box<dyn Error>> {
        while self.next < end {
            let now = self.now();
            if now < self.next {
                break;
            }
            if self.counts && now - self.next > LATE.as_nanos() as u64 {
                self.late += 1;
            }
            let index = self.random() as usize % self.connections.len();
            self.under_way[index].push_back((self.next, self.counts));
            self.connections[index].queue(&self.frames, 1);
            self.connections[index].flush(&self.frames)?;
            self.sent += 1;
            // The gaps between independent arrivals: exponentially distributed.
            let uniform = (self.random() + 1) as f64 / (1u64 << 53) as f64;
            self.next += (-uniform.ln() * self.mean_gap) as u64;
        }
        Ok(())
    }

    /// Takes the answers that are there; in between, sends what has become due.
    fn receive(&mut self, events: &mut Events, end: u64) -> Result<bool, Box<dyn Error>> {
        self.poll.poll(events, Some(Duration::ZERO))?;
        for event in &*events {
            let index = event.token().0;
            if event.is_readable() {
                let messages = self.connections[index].receive(&mut self.buffer)?;
                let now = self.now();
                for _ in 0..messages {
                    let sent = self.under_way[index].pop_front();
                    let (scheduled, counts) = sent.ok_or("more answers than messages")?;
                    if counts {
                        self.latencies.push(now - scheduled);
                    }
                }
            }
            self.connections[index].flush(&self.frames)?;
            self.send_due(end)?;
        }
        Ok(!events.is_empty())
    }

    /// Waits for the answers that are still to come: the slowest are among them.
    fn drain(&mut self) -> Result<(), Box<dyn Error>> {
        let mut events = Events::with_capacity(EVENTS);
        let mut progress = Instant::now();
        while self.under_way.iter().any(|messages| !messages.is_empty()) {
            if self.receive(&mut events, 0)? {
                progress = Instant::now();
            } else if progress.elapsed() > STALLED {
                return Err("the server does not answer any more".into());
            }
        }
        Ok(())
    }
}
