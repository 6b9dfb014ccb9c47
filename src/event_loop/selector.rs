use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Interest, Poll, Token};

use super::readiness::Readiness;
#[cfg(test)]
use super::simulation::network::Network;
use super::socket::Socket;

/// What a loop has of the world outside: it waits for events here, and has from here its clock, its way to
/// sockets and what wakes it. That is the system's, or in a simulation one that follows from a seed.
#[derive(Debug)]
pub(super) enum Selector {
    System(Poll, Instant),
    #[cfg(test)]
    Simulated(Network),
}

/// The events of one wait.
#[derive(Debug)]
pub(super) enum Events {
    System(mio::Events),
    #[cfg(test)]
    Simulated(Vec<Readiness>, usize),
}

/// Tells the time since its loop was made, or the first of those that work together.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    System(Instant),
    #[cfg(test)]
    Simulated(Network),
}

/// Opens sockets, and asks for their events.
#[derive(Debug)]
pub(super) enum Registry {
    System(mio::Registry),
    #[cfg(test)]
    Simulated(Network),
}

/// Ends the wait of a loop, from any thread.
#[derive(Debug)]
pub(super) enum Waker {
    System(mio::Waker),
    #[cfg(test)]
    Simulated(Network, usize, Token),
}

impl Selector {
    /// One whose clock begins there.
    pub(super) fn new(start: Instant) -> io::Result<Self> {
        Ok(Self::System(Poll::new()?, start))
    }

    pub(super) fn clock(&self) -> Clock {
        match self {
            Self::System(_, start) => Clock::System(*start),
            #[cfg(test)]
            Self::Simulated(network) => Clock::Simulated(network.clone()),
        }
    }

    pub(super) fn registry(&self) -> io::Result<Registry> {
        match self {
            Self::System(poll, _) => Ok(Registry::System(poll.registry().try_clone()?)),
            #[cfg(test)]
            Self::Simulated(network) => Ok(Registry::Simulated(network.clone())),
        }
    }

    /// What wakes the loop with this number by an event with this token.
    #[cfg_attr(not(test), allow(unused_variables, reason = "the system finds it by the token"))]
    pub(super) fn waker(&self, token: Token, number: usize) -> io::Result<Waker> {
        match self {
            Self::System(poll, _) => Ok(Waker::System(mio::Waker::new(poll.registry(), token)?)),
            #[cfg(test)]
            Self::Simulated(network) => Ok(Waker::Simulated(network.clone(), number, token)),
        }
    }

    /// Room for so many events.
    pub(super) fn events(&self, capacity: usize) -> Events {
        match self {
            Self::System(..) => Events::System(mio::Events::with_capacity(capacity)),
            #[cfg(test)]
            Self::Simulated(_) => Events::Simulated(Vec::new(), capacity),
        }
    }

    /// Waits for events, `timeout` at most.
    #[inline]
    pub(super) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        match (self, events) {
            (Self::System(poll, _), Events::System(events)) => match poll.poll(events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    events.clear();
                    Ok(())
                }
                result => result,
            },
            #[cfg(test)]
            (Self::Simulated(network), Events::Simulated(events, capacity)) => {
                network.take_events(events, *capacity);
                Ok(())
            }
            #[cfg(test)]
            _ => unreachable!("a loop has the events of its selector"),
        }
    }
}

impl Events {
    #[inline(always)]
    pub(super) fn for_each(&self, mut take: impl FnMut(Readiness)) {
        match self {
            Self::System(events) => events.iter().for_each(|event| take(event.into())),
            #[cfg(test)]
            Self::Simulated(events, _) => events.iter().for_each(|&event| take(event)),
        }
    }
}

impl Clock {
    #[inline]
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::System(start) => start.elapsed(),
            #[cfg(test)]
            Self::Simulated(network) => network.now(),
        }
    }
}

impl Registry {
    /// Begins to connect to an address; an event for writing tells that the connection stands, or has failed.
    pub(super) fn connect(&self, address: SocketAddr) -> io::Result<Socket> {
        match self {
            Self::System(_) => Socket::connect(address),
            #[cfg(test)]
            Self::Simulated(network) => Ok(Socket::simulated(network.connect(address)?)),
        }
    }

    pub(super) fn register(
        &self,
        source: &mut (impl Source + ?Sized),
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.mio().register(source, token, interest)
    }

    pub(super) fn reregister(
        &self,
        source: &mut (impl Source + ?Sized),
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.mio().reregister(source, token, interest)
    }

    pub(super) fn deregister(&self, source: &mut (impl Source + ?Sized)) -> io::Result<()> {
        self.mio().deregister(source)
    }

    #[inline]
    fn mio(&self) -> &mio::Registry {
        match self {
            Self::System(registry) => registry,
            #[cfg(test)]
            Self::Simulated(_) => Network::unused_registry(),
        }
    }
}

impl Waker {
    pub(super) fn wake(&self) -> io::Result<()> {
        match self {
            Self::System(waker) => waker.wake(),
            #[cfg(test)]
            Self::Simulated(network, number, token) => {
                network.wake(*number, *token);
                Ok(())
            }
        }
    }
}
