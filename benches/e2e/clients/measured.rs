//! What the programs that measure a client have in common: `NAME PORT LENGTH IN_FLIGHT SECONDS`. Each keeps so
//! many messages under way on one connection, and reports its own processor time.

use std::error::Error;
use std::time::{Duration, Instant};

use peer::process;

const WARM_UP: Duration = Duration::from_millis(400);

/// What is to be done.
pub(crate) struct Task {
    pub(crate) port: u16,
    /// Different ones, as many as are under way at once: what comes back is compared with them.
    pub(crate) payloads: Vec<Vec<u8>>,
    length: Duration,
}

impl Task {
    /// What the arguments say.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [port, length, in_flight, seconds] = &arguments[..] else {
            return Err("usage: PORT LENGTH IN_FLIGHT SECONDS".into());
        };
        let (length, in_flight): (usize, usize) = (length.parse()?, in_flight.parse()?);
        let payload = |number| framewire_benches::json(length, number);
        Ok(Self {
            port: port.parse()?,
            payloads: (0..in_flight).map(payload).collect(),
            length: Duration::from_secs_f64(seconds.parse()?),
        })
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter { start: Instant::now(), length: self.length, from: None }
    }
}

/// Watches the clock.
pub(crate) struct Meter {
    start: Instant,
    length: Duration,
    from: Option<(Instant, u64, Duration)>,
}

impl Meter {
    /// Whether the time is over, now that so many messages have come back in all. Prints the figures then.
    pub(crate) fn is_over(&mut self, messages: u64) -> Result<bool, Box<dyn Error>> {
        let now = Instant::now();
        match self.from {
            None if now - self.start >= WARM_UP => {
                self.from = Some((now, messages, process::cpu(std::process::id())?));
            }
            Some((begin, before, cpu)) if now - begin >= self.length => {
                let cpu = (process::cpu(std::process::id())? - cpu).as_secs_f64();
                let (count, wall) = ((messages - before) as f64, (now - begin).as_secs_f64());
                println!(
                    "{{\"cpu_us\":{:.4},\"rate\":{:.0},\"client_busy\":{:.3}}}",
                    cpu * 1e6 / count,
                    count / wall,
                    cpu / wall
                );
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}
