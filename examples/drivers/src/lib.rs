//! What a connection does in its turn, whatever it is that waits in between. The programs of this crate are
//! two ways to wait.

use std::time::{Duration, Instant};

use framewire::{Accept, Budget, Config, Driver, Endpoint, Event, Inbox, Transport, Workspace};

/// What all connections of a thread share.
#[derive(Debug)]
pub struct Shared {
    config: Config,
    inbox: Inbox,
    workspace: Workspace,
    start: Instant,
}

impl Shared {
    /// The clock begins now.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let config = Config::new().idle_timeout(Duration::from_secs(60));
        let (inbox, workspace) = (Inbox::default(), Workspace::new().for_many());
        Self { config, inbox, workspace, start: Instant::now() }
    }

    /// The server's end of a connection.
    pub fn connection<T: Transport>(&self, socket: T) -> Driver<T> {
        Driver::new(Endpoint::server(&self.config), socket)
    }

    /// A turn: sends every message back. Afterwards ask for the [outcome](Driver::outcome).
    pub fn turn<T: Transport>(&mut self, driver: &mut Driver<T>) {
        let (inbox, workspace, mut budget) = (&mut self.inbox, &mut self.workspace, Budget::new());
        driver.handle_timeout(self.start.elapsed(), workspace);
        while budget.goes_on() {
            let sent = match driver.receive(inbox, &mut budget, workspace) {
                Some(Event::Request(_)) => driver.endpoint_mut().accept(Accept::new(), workspace),
                Some(Event::Message(message)) => driver.endpoint_mut().send(message, workspace),
                _ => Ok(()),
            };
            if sent.is_err() {
                driver.endpoint_mut().abort();
            }
        }
        driver.flush(workspace);
    }

    /// How long to wait for the socket until the next turn.
    pub fn wait<T: Transport>(&self, driver: &Driver<T>) -> Option<Duration> {
        if driver.has_more() {
            return Some(Duration::ZERO);
        }
        driver.next_timeout().map(|next| next.saturating_sub(self.start.elapsed()))
    }
}
