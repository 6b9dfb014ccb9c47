//! The load: `load SCENARIO PORT PID SECONDS [raw]` measures one server, `load list` names the scenarios.
//!
//! One thread; the frames are masked, and compressed, beforehand, and of the answers it looks at the
//! headers only. What it reports is the processor time of the server's process, divided by the messages;
//! [`latency`] and [`resumption`] report more.

mod connection;
mod frames;
mod latency;
mod resumption;
mod scenario;
mod stream;
mod verify;

use std::error::Error;
use std::time::{Duration, Instant};

use connection::{Connection, connect_all};
use frames::Frames;
use mio::{Events, Interest, Poll, Token};
use peer::process;
use scenario::{Kind, SCENARIOS, Scenario};

/// Caches, windows and buffers are filled before it counts.
const WARM_UP: Duration = Duration::from_millis(400);
const STALLED: Duration = Duration::from_secs(5);
/// Prime to the number of connections, so that all have their turn.
const STRIDE: usize = 7919;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments == ["list"] {
        for scenario in SCENARIOS {
            let Scenario { name, mode, title, length, in_flight, .. } = scenario;
            println!("{name}|{mode}|{title}|{length}|{in_flight}");
        }
        return Ok(());
    }
    let [name, port, pid, seconds, rest @ ..] = &arguments[..] else {
        return Err("usage: load SCENARIO PORT PID SECONDS [raw], or load list".into());
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *name);
    let scenario = scenario.ok_or_else(|| format!("there is no scenario {name:?}"))?;
    let (port, pid) = (port.parse()?, pid.parse()?);
    if *rest != ["raw"] {
        verify::verify(scenario, port)?;
    }
    let seconds = Duration::from_secs_f64(seconds.parse()?);
    match scenario.kind {
        Kind::Memory => memory(scenario, port, pid),
        Kind::Paced { rate } => latency::measure(scenario, rate, port, pid, seconds),
        Kind::Resumption => resumption::measure(scenario, port, pid),
        Kind::Client => Err("the clients measure themselves".into()),
        Kind::Echo | Kind::Scattered | Kind::Broadcast { .. } => flow(scenario, port, pid, seconds),
    }
}

/// Keeps so many messages under way, and counts.
fn flow(scenario: &Scenario, port: u16, pid: u32, length: Duration) -> Result<(), Box<dyn Error>> {
    let frames = Frames::of(scenario);
    let mut poll = Poll::new()?;
    let standing_by = match scenario.kind {
        Kind::Broadcast { standing_by } => standing_by,
        _ => 0,
    };
    let all = scenario.connections + standing_by;
    let mut connections = Vec::with_capacity(all);
    for (index, mut stream) in connect_all(port, scenario, all)?.into_iter().enumerate() {
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        connections.push(Connection::new(stream));
    }
    let broadcast = matches!(scenario.kind, Kind::Broadcast { .. });
    let scattered = matches!(scenario.kind, Kind::Scattered);
    let (begin, each) = match scenario.kind {
        Kind::Broadcast { .. } => (1, scenario.in_flight),
        Kind::Scattered => (scenario.in_flight, 1),
        _ => (all, scenario.in_flight),
    };
    for connection in &mut connections[..begin] {
        connection.queue(&frames, each);
        connection.flush(&frames)?;
    }
    let mut next = begin;
    let mut broadcasts = scenario.in_flight as u64;
    let mut buffer = vec![0; 1 << 20];
    let mut events = Events::with_capacity(1024);
    let mut messages = 0u64;
    let start = Instant::now();
    let mut progress = start;
    let mut from = None;
    loop {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        let now = Instant::now();
        if !events.is_empty() {
            progress = now;
        } else if now - progress > STALLED {
            return Err("the server does not answer any more".into());
        }
        match &from {
            None if now - start >= WARM_UP => {
                from = Some((now, messages, process::cpu(pid)?, process::cpu(std::process::id())?));
            }
            Some((begin, before, server, load)) if now - *begin >= length => {
                let count = (messages - before) as f64;
                let server = process::cpu(pid)? - *server;
                let load = process::cpu(std::process::id())? - *load;
                let wall = (now - *begin).as_secs_f64();
                let payload: u64 = connections.iter().map(|connection| connection.payload).sum();
                let reply = payload as f64 / (messages * scenario.length as u64) as f64;
                println!(
                    "{{\"cpu_us\":{:.4},\"rate\":{:.0},\"server_busy\":{:.3},\"load_busy\":{:.3},\
                    \"reply\":{reply:.4}}}",
                    server.as_secs_f64() * 1e6 / count,
                    count / wall,
                    server.as_secs_f64() / wall,
                    load.as_secs_f64() / wall,
                );
                return Ok(());
            }
            _ => {}
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if event.is_readable() {
                let done = connection.receive(&mut buffer)?;
                messages += done;
                if !broadcast && !scattered {
                    connection.queue(&frames, done as usize);
                }
                if scattered {
                    for _ in 0..done {
                        connections[next].queue(&frames, 1);
                        connections[next].flush(&frames)?;
                        // Neighbours were opened one after the other, and lie beside each other in memory.
                        next = (next + STRIDE) % all;
                    }
                    continue;
                }
            }
            connection.flush(&frames)?;
        }
        if broadcast {
            // The next ones go when the last were with everybody; of several under way, half at once.
            let complete = messages / scenario.connections as u64;
            let more = (complete + scenario.in_flight as u64).saturating_sub(broadcasts);
            if more >= (scenario.in_flight as u64).div_ceil(2) {
                broadcasts += more;
                connections[0].queue(&frames, more as usize);
                connections[0].flush(&frames)?;
            }
        }
    }
}

/// What a connection costs in memory: opened, and when a message has gone both ways.
fn memory(scenario: &Scenario, port: u16, pid: u32) -> Result<(), Box<dyn Error>> {
    let frames = Frames::of(scenario);
    let before = process::resident(pid)?;
    let streams = connect_all(port, scenario, scenario.connections)?;
    let mut connections: Vec<_> = streams.into_iter().map(Connection::new).collect();
    let settle = Duration::from_millis(300);
    std::thread::sleep(settle);
    let idle = process::resident(pid)?;
    let mut buffer = vec![0; 1 << 16];
    for connection in &mut connections {
        connection.queue(&frames, 1);
        connection.flush(&frames)?;
        let until = Instant::now() + STALLED;
        while connection.receive(&mut buffer)? == 0 {
            if Instant::now() > until {
                return Err("the server does not answer".into());
            }
            std::thread::yield_now();
        }
    }
    std::thread::sleep(settle);
    let after = process::resident(pid)?;
    let each = |bytes: u64| bytes.saturating_sub(before) / scenario.connections as u64;
    println!("{{\"idle_bytes\":{},\"after_bytes\":{}}}", each(idle), each(after));
    Ok(())
}
