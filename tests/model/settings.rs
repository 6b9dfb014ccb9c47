use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::{Config, Fragments};

use super::random::Random;

/// The settings of a connection as plain numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Knobs {
    pub(crate) max_message: usize,
    pub(crate) max_fragments: u32,
    pub(crate) max_rejection_body: usize,
    pub(crate) high_water: usize,
    pub(crate) low_water: usize,
    pub(crate) max_buffered: usize,
    pub(crate) auto_pong: bool,
    pub(crate) pieces: Pieces,
    pub(crate) limits: Limits,
    pub(crate) deflate: Deflation,
}

/// Which messages come in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    Never,
    Always,
    /// Those that begin with so long a frame, or are of more than one.
    From(usize),
}

/// The time limits, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) handshake: Option<u64>,
    pub(crate) decision: Option<u64>,
    pub(crate) first_message: Option<u64>,
    pub(crate) ping: Option<u64>,
    pub(crate) pong: Option<u64>,
    pub(crate) message: Option<u64>,
    pub(crate) write: Option<u64>,
    pub(crate) close: Option<u64>,
    pub(crate) idle: Option<u64>,
    pub(crate) lifetime: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deflation {
    /// A client offers it, a server declines it.
    ByRole,
    Off,
    On(DeflateKnobs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeflateKnobs {
    pub(crate) level: u8,
    pub(crate) server_forgets: bool,
    pub(crate) client_forgets: bool,
    pub(crate) server_bits: u8,
    pub(crate) client_bits: u8,
    pub(crate) threshold: usize,
}

impl DeflateKnobs {
    const DEFAULT: Self = Self {
        level: 6,
        server_forgets: false,
        client_forgets: false,
        server_bits: 15,
        client_bits: 15,
        threshold: 1024,
    };

    fn any(random: &mut Random) -> Self {
        let bits =
            |random: &mut Random| if random.percent(30) { 15 } else { random.between(8, 15) as u8 };
        Self {
            level: random.below(10) as u8,
            server_forgets: random.percent(30),
            client_forgets: random.percent(30),
            server_bits: bits(random),
            client_bits: bits(random),
            threshold: random.pick(&[0, 0, 10, 100, 1024]),
        }
    }
}

impl Knobs {
    pub(crate) fn any(random: &mut Random) -> Self {
        let roomy = random.percent(60);
        let high_water = random.pick(&[0, 1, 50, 300, 2000, 20_000]);
        let high_water = if roomy { 1 << 20 } else { high_water };
        Self {
            max_message: match random.below(5) {
                0 => random.pick(&[0, 10, 200, 3000, 20_000, 100_000]),
                _ => 16 << 20,
            },
            max_fragments: if random.percent(10) { random.between(1, 8) as u32 } else { 131_072 },
            max_rejection_body: random.pick(&[0, 10, 65_536]),
            high_water,
            low_water: random.pick(&[0, high_water / 2, high_water]),
            max_buffered: match random.below(5) {
                0 => random.pick(&[0, 100, 2000]),
                _ => 16 << 20,
            },
            auto_pong: random.percent(85),
            pieces: match random.below(10) {
                0 | 1 => Pieces::Always,
                2 => Pieces::From(random.pick(&[0, 1, 100, 2000])),
                _ => Pieces::Never,
            },
            limits: Limits::any(random),
            deflate: match random.below(10) {
                0 => Deflation::Off,
                1 | 2 => Deflation::ByRole,
                _ => Deflation::On(DeflateKnobs::any(random)),
            },
        }
    }

    /// What is offered or accepted.
    pub(crate) fn deflation(&self, client: bool) -> Option<DeflateKnobs> {
        match self.deflate {
            Deflation::On(knobs) => Some(knobs),
            Deflation::ByRole if client => Some(DeflateKnobs::DEFAULT),
            Deflation::ByRole | Deflation::Off => None,
        }
    }

    pub(crate) fn config(&self) -> Config {
        let time = |limit: Option<u64>| limit.map(Duration::from_micros);
        let limits = &self.limits;
        let config = Config::new()
            .max_message_size(self.max_message)
            .max_fragments(self.max_fragments)
            .max_rejection_body(self.max_rejection_body)
            .output_high_water(self.high_water)
            .output_low_water(self.low_water)
            .max_buffered_amount(self.max_buffered)
            .auto_pong(self.auto_pong)
            .fragments(self.pieces.fragments())
            .subprotocols(SPOKEN)
            .handshake_timeout(time(limits.handshake))
            // The model knows no rejection that is not whole.
            .rejection_timeout(None)
            .decision_timeout(time(limits.decision))
            .first_message_timeout(time(limits.first_message))
            .ping_interval(time(limits.ping))
            .pong_timeout(time(limits.pong))
            .message_timeout(time(limits.message))
            .write_timeout(time(limits.write))
            .close_timeout(time(limits.close))
            .idle_timeout(time(limits.idle))
            .max_lifetime(time(limits.lifetime))
            .jitter(0);
        match self.deflate {
            Deflation::ByRole => config,
            Deflation::Off => config.no_deflate(),
            Deflation::On(knobs) => {
                let deflate = DeflateConfig::new()
                    .level(knobs.level)
                    .and_then(|deflate| deflate.server_max_window_bits(knobs.server_bits))
                    .and_then(|deflate| deflate.client_max_window_bits(knobs.client_bits))
                    .expect("levels and windows are in order")
                    .server_no_context_takeover(knobs.server_forgets)
                    .client_no_context_takeover(knobs.client_forgets)
                    .threshold(knobs.threshold);
                config.deflate(deflate)
            }
        }
    }
}

impl Pieces {
    pub(crate) fn fragments(self) -> Fragments {
        match self {
            Self::Never => Fragments::Never,
            Self::Always => Fragments::Always,
            Self::From(length) => Fragments::From(length),
        }
    }

    /// Whether a message comes in pieces whose first frame has this length.
    pub(crate) fn include(self, fin: bool, length: u64) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::From(least) => !fin || length >= least as u64,
        }
    }
}

impl Limits {
    pub(crate) fn any(random: &mut Random) -> Self {
        // Of odd lengths, so that no two deadlines meet.
        let mut often = |percent, seconds: usize| {
            let micros = random.between(1_000_000, 2_000_000) * seconds;
            random.percent(percent).then_some(micros as u64)
        };
        Self {
            handshake: often(90, 10),
            decision: often(90, 10),
            first_message: often(25, 30),
            ping: often(70, 20),
            pong: often(80, 20),
            message: often(40, 30),
            write: often(85, 30),
            close: often(90, 5),
            idle: often(40, 40),
            lifetime: often(30, 200),
        }
    }
}

/// What a server speaks, the most wanted first.
pub(crate) const SPOKEN: [&str; 2] = ["b", "a"];
