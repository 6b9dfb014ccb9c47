//! What calls of a system answer where they fail, for tests in which each call of a session fails once in each way.

use std::io;

/// A call, by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Accept,
    /// Begins to connect, with a new socket.
    Connect,
    /// What has come of that.
    Connected,
    Register,
    Read,
    Write,
    Shutdown,
}

/// What a call answers in place of what it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error, by its number on Linux.
    Error(i32),
    /// It moves one byte, of more.
    OneByte,
    /// It moves none: what a read says at the end.
    Zero,
}

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EPIPE: i32 = 32;
const EPROTO: i32 = 71;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ENOBUFS: i32 = 105;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

impl Fault {
    /// All ways in which such a call is made to fail; to end a direction neither waits nor moves anything.
    pub(crate) fn all_of(call: Call) -> Vec<Self> {
        let (moved, errors): (&[Self], &[i32]) = match call {
            Call::Accept => (
                &[],
                &[EINTR, EAGAIN, EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED, EPROTO, EPERM],
            ),
            Call::Connect => (
                &[],
                &[
                    EINTR,
                    EMFILE,
                    ENFILE,
                    ENOMEM,
                    ENOBUFS,
                    EPERM,
                    EADDRNOTAVAIL,
                    ENETUNREACH,
                    ECONNREFUSED,
                ],
            ),
            Call::Connected => {
                (&[], &[ECONNREFUSED, ECONNRESET, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, ENOBUFS])
            }
            Call::Register => (&[], &[ENOMEM, ENOSPC]),
            Call::Read | Call::Write => (
                &[Self::OneByte, Self::Zero],
                &[EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS],
            ),
            Call::Shutdown => (&[], &[ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS]),
        };
        moved.iter().copied().chain(errors.iter().copied().map(Self::Error)).collect()
    }

    /// Whether whoever is told of it can go on as if nothing had been: what accepting lacks is there later.
    pub(crate) fn is_harmless(self, call: Call) -> bool {
        match self {
            // A socket that has begun to connect is not asked to begin again.
            Self::Error(_) if call == Call::Connect => false,
            Self::OneByte | Self::Error(EINTR | EAGAIN) => true,
            Self::Zero => false,
            Self::Error(_) => call == Call::Accept && !self.is_of_connection(),
        }
    }

    /// The number of the error, if it is one.
    pub(crate) fn number(self) -> Option<i32> {
        if let Self::Error(number) = self { Some(number) } else { None }
    }

    /// Whether the connection is gone with it, or who waits to be accepted.
    pub(crate) fn is_of_connection(self) -> bool {
        let gone = [EPERM, EPIPE, EPROTO, ECONNABORTED, ECONNRESET, ETIMEDOUT];
        matches!(self, Self::Error(number) if gone.contains(&number))
    }

    /// Whether the same is to be tried again when the system says so.
    pub(crate) fn blocks(self) -> bool {
        self == Self::Error(EAGAIN)
    }

    /// What the call returns, with what it does if it moves one byte.
    pub(crate) fn answer(self, move_one: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        match self {
            Self::Error(number) => Err(io::Error::from_raw_os_error(number)),
            Self::OneByte => move_one(),
            Self::Zero => Ok(0),
        }
    }
}

/// Counts calls, and has one of them fail.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// What was called, and whether more than one byte could be moved.
    calls: Vec<(Call, bool)>,
    plan: Option<(usize, Fault)>,
    has_fired: bool,
}

impl Faults {
    /// This call fails, by its number, in this way.
    pub(crate) fn plan(at: usize, fault: Fault) -> Self {
        Self { plan: Some((at, fault)), ..Self::default() }
    }

    /// A call that could move so many bytes: how it fails, if it is its turn.
    pub(crate) fn next(&mut self, call: Call, available: usize) -> Option<Fault> {
        let number = self.calls.len();
        self.calls.push((call, available > 1));
        let (_, fault) = self.plan.filter(|&(at, _)| at == number)?;
        self.has_fired = true;
        Some(fault)
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.has_fired
    }

    /// All faults of all calls that there were, which are to happen one in each of as many sessions of the kind.
    pub(crate) fn all(&self) -> Vec<(usize, Fault)> {
        let mut all = Vec::new();
        for (at, &(call, moves_more)) in self.calls.iter().enumerate() {
            let faults = Fault::all_of(call).into_iter();
            all.extend(
                faults
                    .filter(|&fault| moves_more || fault != Fault::OneByte)
                    .map(|fault| (at, fault)),
            );
        }
        all
    }

    /// The call of this number.
    pub(crate) fn call(&self, at: usize) -> Call {
        self.calls[at].0
    }
}
