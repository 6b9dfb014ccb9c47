//! What happens in a session, all of it from one seed.

use framewire::{Compress, Role};

use super::handshakes::{Answer, AnswerKind, Request};
use super::http::agree_as_client;
use super::oracle::{Choice, How};
use super::random::{Draw, Random};
use super::settings::{Knobs, Pieces};

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) role: Role,
    pub(crate) birth: Birth,
    pub(crate) knobs: Knobs,
    /// An endpoint, whose workspace another one uses too.
    pub(crate) shared: bool,
    /// No compressor is kept between two messages.
    pub(crate) keeps_no_compressor: bool,
    /// How many of a hundred requests are accepted as they come.
    pub(crate) eager: usize,
    /// How many of a hundred messages are sent back.
    pub(crate) echoes: usize,
    /// The codec has a budget while bytes come.
    pub(crate) meager: bool,
    /// It has none, now and then, when messages are sent.
    pub(crate) thrifty: bool,
}

/// How the connection comes to be.
#[derive(Clone, Debug)]
pub(crate) enum Birth {
    Asked(Request),
    Upgraded(Request),
    Adopted,
    Asks(Answer),
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The head of a turn.
    Time(Jump),
    /// The time alone.
    SetTime(Jump),
    Peer(Say),
    /// So many bytes of what the peer said arrive.
    Deliver {
        count: usize,
        direct: bool,
        seed: u64,
    },
    Send {
        text: bool,
        length: usize,
        seed: u64,
        how: How,
    },
    Fragment {
        text: bool,
        length: usize,
        seed: u64,
        last: bool,
        broken: bool,
        compress: Option<Compress>,
    },
    Ping(usize),
    Pong(usize),
    Close {
        code: u16,
        reason: usize,
    },
    CloseWithoutCode,
    Accept(Box<Choice>),
    Respond {
        status: u16,
        length: usize,
        reject: bool,
    },
    AnswerInstead {
        status: u16,
        length: usize,
    },
    /// So many bytes of the output leave.
    Write(usize),
    Pause,
    Resume,
    SetConfig {
        seed: u64,
    },
    SetFragments(Pieces),
    Seed(u64),
    /// The draw after so many others fails.
    FailEntropy(usize),
    Neighbour(usize),
    Eof,
    Abort,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Jump {
    /// To when the connection wants to be told.
    Next,
    /// To just before.
    Before,
    /// By so many microseconds.
    By(u64),
    /// Back, which changes nothing.
    Back,
}

/// What a peer says.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Message {
        text: bool,
        length: usize,
        seed: u64,
        /// How it is compressed and framed follows from this.
        shape: u64,
        compress: bool,
        frames: usize,
        flaw: Option<Flaw>,
    },
    Ping(usize),
    Pong(usize),
    /// The answer to the last automatic Ping.
    RightPong,
    Close {
        code: u16,
        reason: usize,
    },
    CloseWithoutCode,
    /// A frame that begins with this byte, whatever it means here.
    Frame {
        first: u8,
        length: usize,
    },
    Noise {
        length: usize,
        seed: u64,
    },
    /// So much of a header with this length, in so many more bytes: it need not be a good one.
    Header {
        first: u8,
        length: u64,
        size: u8,
        cut: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Text that is not UTF-8.
    Text,
    /// A compressed payload with some bytes changed, missing or too many.
    Payload,
    /// A frame with a mask where none belongs, or without.
    Mask,
    /// A length in more bytes than it needs.
    Length,
    /// Reserved bits.
    Reserved,
    /// A bit anywhere.
    Bit,
    /// It does not end.
    Endless,
}

impl Script {
    pub(crate) fn any(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let setup = Setup::any(seed, &mut random);
        let count = random.pick(&[20, 50, 100, 200]);
        let kind = Kind {
            faulty: random.percent(50),
            long: random.percent(10),
            entropy_fails: random.percent(25),
            slow: random.percent(40),
            text: random.percent(50),
            quiet: random.percent(20),
            hasty: random.percent(35),
            ends: random.percent(30),
            seeds: random.next(),
        };
        let mut steps = Vec::with_capacity(count);
        while steps.len() < count {
            let step = Step::any(&kind, &mut random);
            if kind.entropy_fails && random.percent(15) {
                steps.push(Step::FailEntropy(random.below(2)));
            }
            steps.push(step);
        }
        Self { setup, steps }
    }
}

/// What is likely in a script.
struct Kind {
    faulty: bool,
    long: bool,
    entropy_fails: bool,
    /// Output leaves by and by.
    slow: bool,
    /// Messages in pieces are text.
    text: bool,
    /// Not much comes from the peer.
    quiet: bool,
    /// Time goes on in leaps, from deadline to deadline.
    hasty: bool,
    /// The application closes, and the transport ends.
    ends: bool,
    /// Where the seeds of payloads begin: a few recur, so that there is something to refer to.
    seeds: u64,
}

impl Setup {
    fn any(seed: u64, random: &mut Random) -> Self {
        let role = random.pick(&[Role::Client, Role::Server]);
        let knobs = Knobs::any(random);
        let birth = match role {
            _ if random.percent(15) => Birth::Adopted,
            Role::Server if random.percent(15) => Birth::Upgraded(Request::any(random)),
            Role::Server => Birth::Asked(Request::any(random)),
            Role::Client => Birth::Asks(answer(&knobs, random)),
        };
        Self {
            seed,
            role,
            birth,
            knobs,
            shared: random.percent(40),
            keeps_no_compressor: random.percent(30),
            eager: random.pick(&[0, 80, 100]),
            echoes: random.pick(&[0, 0, 30, 80]),
            meager: random.percent(30),
            thrifty: random.percent(25),
        }
    }
}

/// An answer that most often fits what is asked for.
fn answer(knobs: &Knobs, random: &mut Random) -> Answer {
    let deflation = knobs.deflation(true);
    for _ in 0..10 {
        let answer = Answer::any(random);
        let deflates = match (&answer.deflate, &deflation) {
            (None, _) => true,
            (Some(parameters), Some(knobs)) => agree_as_client(parameters, knobs).is_some(),
            (Some(_), None) => false,
        };
        if (deflates && answer.fits_subprotocols())
            || answer.kind != AnswerKind::Accept
            || random.percent(5)
        {
            return answer;
        }
    }
    Answer { kind: AnswerKind::Accept, deflate: None, subprotocol: None, asked: &[] }
}

#[derive(Clone, Copy)]
enum What {
    Time,
    SetTime,
    Peer,
    Deliver,
    Send,
    Fragment,
    Control,
    Close,
    Answer,
    Write,
    Pause,
    Config,
    Neighbour,
    End,
}

impl Step {
    fn any(kind: &Kind, random: &mut Random) -> Self {
        let what = random.weighted(&[
            (12, What::Time),
            (1, What::SetTime),
            (if kind.quiet { 4 } else { 22 }, What::Peer),
            (if kind.quiet { 5 } else { 26 }, What::Deliver),
            (14, What::Send),
            (7, What::Fragment),
            (5, What::Control),
            (if kind.ends || kind.entropy_fails { 2 } else { 0 }, What::Close),
            (4, What::Answer),
            (18, What::Write),
            (3, What::Pause),
            (2, What::Config),
            (2, What::Neighbour),
            (if kind.ends { 1 } else { 0 }, What::End),
        ]);
        let most = if kind.long { 90_000 } else { 6000 };
        let (text, seed) = (random.percent(50), kind.seeds.wrapping_add(random.below(8) as u64));
        match what {
            What::Time => Self::Time(Jump::any(kind, random)),
            What::SetTime => Self::SetTime(Jump::any(kind, random)),
            What::Peer => Self::Peer(Say::any(kind, most, random)),
            What::Deliver => Self::Deliver {
                count: match random.below(4) {
                    0 => random.below(20),
                    1 => random.below(1000),
                    _ => usize::MAX,
                },
                direct: random.percent(40),
                seed: random.next(),
            },
            What::Send => {
                let how = random.weighted(&[
                    (4, How::Borrowed),
                    (2, How::Owned),
                    (2, How::Always),
                    (1, How::Never),
                    (2, How::Prepared),
                ]);
                Self::Send { text, length: random.length(most), seed, how }
            }
            What::Fragment => {
                // Few change their kind in the middle.
                let text = kind.text != random.percent(3);
                let (last, broken) = (random.percent(35), random.percent(5));
                let compress = random.pick(&[
                    None,
                    Some(Compress::Threshold),
                    Some(Compress::Always),
                    Some(Compress::Never),
                ]);
                Self::Fragment { text, length: random.length(most), seed, last, broken, compress }
            }
            What::Control => match random.below(2) {
                0 => Self::Ping(random.between(0, 128)),
                _ => Self::Pong(random.between(0, 128)),
            },
            What::Close if random.percent(20) => Self::CloseWithoutCode,
            What::Close => Self::Close { code: any_code(random), reason: any_reason(random) },
            What::Answer => Self::answer(random),
            What::Write => Self::Write(match random.below(3) {
                0 => random.below(20),
                1 if kind.slow => random.below(500),
                _ if kind.slow && random.percent(70) => 1,
                _ => usize::MAX,
            }),
            What::Pause if random.percent(40) => Self::Pause,
            What::Pause => Self::Resume,
            What::Config if random.percent(30) => Self::Seed(random.next()),
            What::Config if random.percent(30) => Self::SetFragments(Knobs::any(random).pieces),
            What::Config => Self::SetConfig { seed: random.next() },
            What::Neighbour => Self::Neighbour(random.length(3000)),
            What::End if random.percent(60) => Self::Eof,
            What::End => Self::Abort,
        }
    }

    fn answer(random: &mut Random) -> Self {
        let (status, length) = (random.pick(&[200, 403, 404, 500, 503]), random.length(500));
        match random.below(8) {
            0 => Self::Respond { status, length, reject: random.percent(50) },
            1 => Self::AnswerInstead { status, length },
            _ => Self::Accept(Box::new(Choice {
                subprotocol: random.pick(&[None, None, None, Some("a"), Some("q"), Some("")]),
                no_deflate: random.percent(10),
                knobs: random.percent(15).then(|| Knobs::any(random)),
            })),
        }
    }
}

impl Jump {
    fn any(kind: &Kind, random: &mut Random) -> Self {
        if !kind.hasty && random.percent(85) {
            return Self::By(random.below(300_000) as u64);
        }
        match random.below(10) {
            0..5 => Self::Next,
            5 => Self::Before,
            6 | 7 => Self::By(random.below(2_000_000) as u64),
            8 => Self::By(random.below(60_000_000) as u64),
            _ => random.pick(&[Self::By(0), Self::By(1), Self::By(200_000_000), Self::Back]),
        }
    }
}

impl Say {
    fn any(kind: &Kind, most: usize, random: &mut Random) -> Self {
        let faulty = kind.faulty && random.percent(12);
        match random.below(20) {
            0 | 1 => Self::Ping(random.length(125)),
            2 => Self::Pong(random.length(125)),
            3 | 4 => Self::RightPong,
            5 if random.percent(60) => Self::Ping(random.length(125)),
            5 if random.percent(70) => {
                let code = if faulty { any_code(random) } else { random.pick(&[1000, 1001, 3000]) };
                Self::Close { code, reason: any_reason(random).min(123) }
            }
            5 => Self::CloseWithoutCode,
            6 if faulty => Self::Frame { first: random.byte(), length: random.length(130) },
            7 if faulty => Self::Noise { length: random.length(60), seed: random.next() },
            8 | 9 if faulty => {
                let size = random.pick(&[0, 2, 8]);
                let length = random.next() >> random.below(64);
                let length = random.pick(&[length, 1, u64::MAX]);
                Self::Header {
                    first: random.pick(&[0x81, 0x02, 0x80, 0x88, 0x89, 0xc2]),
                    length: if size == 0 { length.min(125) } else { length },
                    size,
                    cut: random.below(15),
                }
            }
            _ => Self::Message {
                text: random.percent(50),
                length: match kind.long && random.percent(30) {
                    true => random.between(most / 2, most),
                    false => random.length(most),
                },
                seed: kind.seeds.wrapping_add(random.below(8) as u64),
                shape: random.next(),
                compress: random.percent(60),
                frames: random.pick(&[1, 1, 1, 2, 3, 6]),
                flaw: faulty.then(|| {
                    random.weighted(&[
                        (2, Flaw::Text),
                        (4, Flaw::Payload),
                        (1, Flaw::Mask),
                        (1, Flaw::Length),
                        (1, Flaw::Reserved),
                        (2, Flaw::Bit),
                        (3, Flaw::Endless),
                    ])
                }),
            },
        }
    }
}

fn any_code(random: &mut Random) -> u16 {
    match random.below(4) {
        0 => random.pick(&[999, 1004, 1005, 1006, 1015, 2999, 5000]),
        1 => random.between(980, 1020) as u16,
        _ => random.pick(&[1000, 1001, 1011, 3000, 4999]),
    }
}

/// How many bytes long.
fn any_reason(random: &mut Random) -> usize {
    random.pick(&[0, 0, 5, 122, 123, 124])
}
