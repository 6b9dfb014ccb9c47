//! The thread that listens to Redis, on a connection of its own: to the channels that the node has ordered, and to the node's
//! own channel. On that one the node says every so often that Redis is there, and at once that there are orders. So it needs no
//! time-outs to look after those, and knows soon when Redis is gone.

use std::convert::Infallible;
use std::sync::Arc;

use redis::{Connection, ErrorKind, RedisResult, Value};

use crate::logging::say;
use crate::node::Event;
use crate::shared::{Backoff, Shared, WAKE};

/// Channels that are asked for in one command.
const CHANNELS_AT_ONCE: usize = 512;

pub(crate) struct Listener {
    shared: Arc<Shared>,
    backoff: Backoff,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, backoff: Backoff::new() }
    }

    /// Listens until the node is closed.
    pub(crate) fn run(mut self) {
        while !self.shared.events.is_closed() {
            let Err(error) = self.listen();
            if self.shared.events.is_closed() {
                break;
            }
            if self.backoff.fail() {
                say!(Warn, "cannot hear Redis: {error}");
            }
            let _ = self.shared.events.push(Event::Unheard, 0, None);
            self.shared.events.wait_closed(self.backoff.until());
        }
    }

    fn listen(&mut self) -> RedisResult<Infallible> {
        let mut connection = self.shared.connect()?;
        let own = self.shared.names.own();
        order(&mut connection, "SUBSCRIBE", &[&own])?;
        // Whatever was ordered before is ordered anew when the node knows that Redis is heard.
        self.shared.orders().clear();
        loop {
            let Some(push) = Push::of(connection.recv_response()?)? else { continue };
            match push.kind.as_str() {
                "subscribe" if push.channel == own => {
                    if self.backoff.succeed() {
                        say!(Info, "hearing Redis again");
                    }
                    self.tell(Event::Heard, 0);
                }
                "subscribe" => self.tell(Event::Subscribed(push.channel), 0),
                "message" if push.channel == own && push.payload == WAKE => {
                    self.pass_on_orders(&mut connection)?;
                }
                "message" => {
                    let bytes = push.payload.len();
                    self.tell(Event::Message(push.channel, push.payload), bytes);
                }
                _ => {}
            }
        }
    }

    /// Waits for room: so Redis keeps what does not fit, up to a limit of its own.
    fn tell(&self, event: Event, bytes: usize) {
        let _ = self.shared.events.push(event, bytes, None);
    }

    fn pass_on_orders(&self, connection: &mut Connection) -> RedisResult<()> {
        let orders = std::mem::take(&mut *self.shared.orders());
        for alike in orders.chunk_by(|(_, one), (_, other)| one == other) {
            let name = if alike[0].1 { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
            for some in alike.chunks(CHANNELS_AT_ONCE) {
                let channels: Vec<&str> = some.iter().map(|(channel, _)| &**channel).collect();
                order(connection, name, &channels)?;
            }
        }
        Ok(())
    }
}

fn order(connection: &mut Connection, name: &str, channels: &[&str]) -> RedisResult<()> {
    connection.send_packed_command(&redis::cmd(name).arg(channels).get_packed_command())
}

/// What Redis says to who subscribes.
struct Push {
    kind: String,
    channel: String,
    /// Of a message.
    payload: Vec<u8>,
}

impl Push {
    /// `None` for channels with names that no node has given.
    fn of(value: Value) -> RedisResult<Option<Self>> {
        let mut parts = match value {
            Value::Array(parts) => parts.into_iter(),
            Value::ServerError(error) => return Err(error.into()),
            _ => {
                return Err(
                    (ErrorKind::ResponseError, "an unexpected answer to a subscriber").into()
                );
            }
        };
        let mut bytes = || match parts.next() {
            Some(Value::BulkString(bytes)) => bytes,
            _ => Vec::new(),
        };
        let (kind, channel) = (String::from_utf8(bytes()), String::from_utf8(bytes()));
        let (Ok(kind), Ok(channel)) = (kind, channel) else { return Ok(None) };
        Ok(Some(Self { kind, channel, payload: bytes() }))
    }
}
