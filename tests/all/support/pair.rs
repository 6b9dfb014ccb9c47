//! Two engines joined in memory.

use std::collections::VecDeque;

use framewire::handshake::{ClientRequest, Url};
use framewire::{Accept, Config, Endpoint, Event, Role, State, Workspace};

use super::chunks::Random;
use super::script::{Recorder, Seen, not_random};

/// One end, with the bytes on their way to it.
pub(crate) struct End {
    pub(crate) endpoint: Endpoint,
    pub(crate) recorder: Recorder,
    incoming: VecDeque<u8>,
    /// The peer sends no more.
    incoming_ends: bool,
    pub(crate) outcome: Option<framewire::Outcome>,
}

/// A client and a server. Bytes go from one to the other in random portions.
pub(crate) struct Pair {
    pub(crate) client: End,
    pub(crate) server: End,
    /// The client's and the server's, or the one that they share.
    workspaces: Vec<Workspace>,
    pub(crate) random: Random,
}

impl Pair {
    /// Both in CONNECTING. `shared`: whether they share a workspace, as in an event loop.
    pub(crate) fn new(client: &Config, server: &Config, shared: bool, seed: u64) -> Self {
        let request = ClientRequest::new(&Url::parse("ws://example.com/chat").unwrap());
        Self::with(request, client, server, shared, seed)
    }

    pub(crate) fn with(
        request: ClientRequest,
        client: &Config,
        server: &Config,
        shared: bool,
        seed: u64,
    ) -> Self {
        let end = |endpoint| End {
            endpoint,
            recorder: Recorder::default(),
            incoming: VecDeque::new(),
            incoming_ends: false,
            outcome: None,
        };
        let workspace = Workspace::with_entropy(not_random(seed));
        let mut workspaces = match shared {
            true => vec![workspace.for_many()],
            false => vec![workspace, Workspace::new()],
        };
        let client = Endpoint::client(request, client, &mut workspaces[0]);
        Self {
            client: end(client.unwrap()),
            server: end(Endpoint::server(server)),
            workspaces,
            random: Random::new(seed),
        }
    }

    /// Open, with nothing under way.
    pub(crate) fn open(client: &Config, server: &Config, shared: bool, seed: u64) -> Self {
        let mut pair = Self::new(client, server, shared, seed);
        pair.settle();
        assert_eq!(pair.client.endpoint.state(), State::Open);
        assert_eq!(pair.server.endpoint.state(), State::Open);
        pair.client.recorder.seen.clear();
        pair.server.recorder.seen.clear();
        pair
    }

    pub(crate) fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    /// A turn at one end: what `act` does, some bytes in, some bytes out.
    pub(crate) fn turn<T>(
        &mut self,
        role: Role,
        act: impl FnOnce(&mut Endpoint, &mut Workspace) -> T,
    ) -> T {
        let (end, other, workspace) = match role {
            Role::Client => (&mut self.client, &mut self.server, self.workspaces.first_mut()),
            Role::Server => (&mut self.server, &mut self.client, self.workspaces.last_mut()),
        };
        let workspace = workspace.unwrap();
        let result = act(&mut end.endpoint, workspace);
        end.take_in(&mut self.random, workspace);
        let waiting = end.endpoint.buffered_amount();
        let count = self.random.below(waiting + 1).max(waiting.min(1));
        let count = if self.random.once_in(3) { waiting } else { count };
        other.incoming.extend(end.endpoint.output().flatten().take(count));
        end.endpoint.consume_output(count, workspace);
        if end.endpoint.wants_shutdown() {
            other.incoming_ends = true;
        }
        // The end of a transport is seen behind its last byte. A client that is asked to hang up
        // does so after the server did.
        if end.incoming_ends && end.incoming.is_empty() && end.outcome.is_none() {
            end.outcome = Some(end.endpoint.receive_eof());
            other.incoming_ends = true;
        }
        result
    }

    /// What `act` does at one end, while no byte moves.
    pub(crate) fn act<T>(
        &mut self,
        role: Role,
        act: impl FnOnce(&mut Endpoint, &mut Workspace) -> T,
    ) -> T {
        match role {
            Role::Client => act(&mut self.client.endpoint, self.workspaces.first_mut().unwrap()),
            Role::Server => act(&mut self.server.endpoint, self.workspaces.last_mut().unwrap()),
        }
    }

    /// Until nothing more happens.
    pub(crate) fn settle(&mut self) {
        loop {
            self.turn(Role::Client, |_, _| ());
            self.turn(Role::Server, |_, _| ());
            let quiet = |end: &End| {
                end.incoming.is_empty()
                    && end.endpoint.buffered_amount() == 0
                    && end.incoming_ends == end.outcome.is_some()
            };
            if quiet(&self.client) && quiet(&self.server) {
                return;
            }
        }
    }

    /// What was seen at this end since the last time.
    pub(crate) fn seen(&mut self, role: Role) -> Vec<Seen> {
        std::mem::take(&mut self.end(role).recorder.seen)
    }
}

impl End {
    fn take_in(&mut self, random: &mut Random, workspace: &mut Workspace) {
        let mut budget = random.below(self.incoming.len() + 1).max(self.incoming.len().min(1));
        while budget > 0 {
            // Long payloads may go straight into their buffer.
            if random.once_in(2) {
                let incoming = &mut self.incoming;
                let read = |buffer: &mut framewire::PayloadBuffer, missing: usize| {
                    let count = missing.min(budget);
                    let bytes: Vec<u8> = incoming.drain(..count).collect();
                    buffer.append(&bytes);
                    count
                };
                let direct = self.endpoint.receive_direct(read, workspace);
                if let Some((count, event)) = direct {
                    budget -= count;
                    if let Some(event) = event {
                        self.recorder.record(event);
                    }
                    continue;
                }
            }
            let most = [4, 100, 5000, 100_000][random.below(4)];
            let count = (1 + random.below(most)).min(budget);
            budget -= count;
            let mut bytes: Vec<u8> = self.incoming.drain(..count).collect();
            let mut input = &mut bytes[..];
            while let Some(event) = self.endpoint.receive(&mut input, workspace) {
                if matches!(event, Event::Request(_)) {
                    self.endpoint.accept(Accept::new(), workspace).unwrap();
                }
                self.recorder.record(event);
            }
            assert!(input.is_empty());
        }
    }
}
