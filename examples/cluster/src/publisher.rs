//! The thread that publishes to Redis. What cannot be published now never is: held back, it would come
//! late, and sent again, perhaps twice. The numbers tell who missed it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisResult};

use crate::bridge::{self, Backoff, Bridge, HEARTBEAT, Outgoing};

/// Messages that go to Redis at once.
const BATCH: usize = 256;

pub(crate) struct Publisher {
    client: Client,
    bridge: Arc<Bridge>,
    queue: Receiver<Outgoing>,
    connection: Option<Connection>,
    backoff: Backoff,
    next_try: Instant,
    /// What was not published since the last time that this was said.
    lost: u64,
    /// Something has been said about it, so its end is said, too.
    away: bool,
}

impl Publisher {
    pub(crate) fn new(client: Client, bridge: Arc<Bridge>, queue: Receiver<Outgoing>) -> Self {
        Self {
            client,
            bridge,
            queue,
            connection: None,
            backoff: Backoff::new(),
            next_try: Instant::now(),
            lost: 0,
            away: false,
        }
    }

    /// Publishes what comes, until `Outgoing::End`.
    pub(crate) fn run(mut self) {
        let mut beat = Instant::now();
        let mut batch = Vec::new();
        let mut ended = false;
        while !ended {
            let due = if self.connection.is_none() { self.next_try.min(beat) } else { beat };
            match self.queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(first) => batch.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => ended = true,
            }
            batch.extend(self.queue.try_iter().take(BATCH - batch.len()));
            let now = Instant::now();
            let mut heartbeat = now >= beat;
            if heartbeat {
                beat = now + HEARTBEAT;
            }
            if self.connection.is_none() && now >= self.next_try {
                // The other thread is waiting for a sign of life.
                heartbeat |= self.connect();
            }
            ended |= batch.iter().any(|one| matches!(one, Outgoing::End));
            self.send(&mut batch, heartbeat);
        }
    }

    fn connect(&mut self) -> bool {
        match bridge::connect(&self.client) {
            Ok(connection) => {
                self.connection = Some(connection);
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &redis::RedisError) {
        if !self.away {
            eprintln!("cannot publish to Redis: {error}; what is published reaches this node only");
            self.away = true;
        }
        self.connection = None;
        self.next_try = Instant::now() + self.backoff.pause();
    }

    /// Publishes all of a batch and empties it, or counts it as lost.
    fn send(&mut self, batch: &mut Vec<Outgoing>, heartbeat: bool) {
        let mut wake = heartbeat;
        let mut messages = 0;
        let mut pipe = redis::pipe();
        for one in batch.drain(..) {
            match one {
                Outgoing::Message { channel, payload } => {
                    messages += 1;
                    pipe.cmd("PUBLISH").arg(channel).arg(payload).ignore();
                }
                Outgoing::Wake => {
                    self.bridge.wake_taken();
                    wake = true;
                }
                Outgoing::End => {}
            }
        }
        if wake {
            pipe.cmd("PUBLISH").arg(self.bridge.names.own_channel()).arg("").ignore();
        }
        let sent: Option<RedisResult<()>> = match &mut self.connection {
            Some(connection) if messages > 0 || wake => Some(pipe.exec(connection)),
            Some(_) => None,
            None => {
                self.lost += messages;
                None
            }
        };
        match sent {
            Some(Ok(())) => self.say_what_was_lost(),
            Some(Err(error)) => {
                // Some of it may have got there; it is not known which.
                self.lost += messages;
                self.fail(&error);
            }
            None => {}
        }
    }

    fn say_what_was_lost(&mut self) {
        self.backoff = Backoff::new();
        let overflowed = self.bridge.take_overflowed();
        if self.away || self.lost + overflowed > 0 {
            eprintln!(
                "publishing to Redis again; not published: {}, and {overflowed} for which there was no \
                 room",
                self.lost
            );
        }
        self.away = false;
        self.lost = 0;
    }
}

/// How long the rest of the queue may take at the end.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(10);
