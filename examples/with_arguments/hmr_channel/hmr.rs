//! What the program has of its channel: Vite's `server.ws`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use framewire::{CloseCode, Handle, Peer, PeerId, Prepared};
use serde_json::{Value, json};

use super::channel::{Member, Options};

/// All clients of the channel have subscribed to it.
pub(super) const TOPIC: &str = "vite-hmr";

/// Sends to the clients, and listens to them, from any thread. Clones are the same.
pub(crate) struct Hmr<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    enabled: bool,
    hmr: bool,
    standalone: bool,
    is_main_listening: bool,
    closed: bool,
    handle: Option<Handle>,
    clients: BTreeSet<PeerId>,
    /// What the first client must know: the latest `error` or `full-reload` that nobody was there for.
    held: Option<String>,
    listeners: BTreeMap<String, Vec<Listener<T>>>,
}

/// A function that hears of an event: its data, and the client that sent it. Clones are the same listener.
pub(crate) struct Listener<T>(Arc<Call<T>>);

type Call<T> = dyn Fn(&Value, &mut Client<'_, '_, T>) + Send + Sync;

/// One client, while it is heard. The same client has the same [`id`](Self::id) each time.
pub(crate) struct Client<'c, 'l, T> {
    peer: &'c mut Peer<'l, Member<T>>,
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It goes to so many clients.
    To(usize),
    /// Nobody is there; the first client gets it.
    Held,
    /// The channel does not send such a thing.
    Not,
}

impl<T> Listener<T> {
    pub(crate) fn new(
        call: impl Fn(&Value, &mut Client<'_, '_, T>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(call))
    }
}

impl<T> Clone for Listener<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Listener<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<'c, 'l, T> Client<'c, 'l, T> {
    pub(super) fn new(peer: &'c mut Peer<'l, Member<T>>) -> Self {
        Self { peer }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.peer.id()
    }

    /// Sends a custom event to this client alone.
    pub(crate) fn send_event(&mut self, event: &str, data: &Value) {
        self.send(&custom(event, data));
    }

    /// Sends a payload as it is.
    pub(crate) fn send(&mut self, payload: &Value) {
        self.peer.send(payload.to_string());
    }

    /// The connection itself: Vite's `client.socket`.
    pub(crate) fn socket(&mut self) -> &mut Peer<'l, Member<T>> {
        self.peer
    }
}

impl<T> Clone for Hmr<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Hmr<T> {
    pub(super) fn new(options: &Options) -> Self {
        let shared = Shared {
            enabled: options.enabled,
            hmr: options.hmr,
            standalone: options.standalone,
            is_main_listening: true,
            closed: false,
            handle: None,
            clients: BTreeSet::new(),
            held: None,
            listeners: BTreeMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A listener that panicked has left nothing half done.
    fn shared(&self) -> MutexGuard<'_, Shared<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the program.
impl<T> Hmr<T> {
    /// Gives it the loop that the channel runs in. Before that there are no clients.
    pub(crate) fn attach(&self, handle: Handle) {
        self.shared().handle = Some(handle);
    }

    /// Has a listener hear of a custom event, or of `vite:client:connect` or `vite:client:disconnect`, once
    /// however often it is added.
    pub(crate) fn on(&self, event: &str, listener: &Listener<T>) {
        let mut shared = self.shared();
        if !shared.enabled {
            return;
        }
        let listeners = shared.listeners.entry(event.to_owned()).or_default();
        if !listeners.contains(listener) {
            listeners.push(listener.clone());
        }
    }

    /// Ends that again.
    pub(crate) fn off(&self, event: &str, listener: &Listener<T>) {
        let mut shared = self.shared();
        if let Some(listeners) = shared.listeners.get_mut(event) {
            listeners.retain(|other| other != listener);
            if listeners.is_empty() {
                shared.listeners.remove(event);
            }
        }
    }

    /// Sends a custom event to all clients.
    pub(crate) fn send_event(&self, event: &str, data: &Value) -> Passed {
        self.send(&custom(event, data))
    }

    /// Sends a payload to all clients. An `error` or a `full-reload` that nobody is there for is held for
    /// the first one.
    pub(crate) fn send(&self, payload: &Value) -> Passed {
        let kind = payload["type"].as_str().unwrap_or_default();
        let mut shared = self.shared();
        let passes = shared.hmr || matches!(kind, "connected" | "ping" | "custom" | "error");
        if !shared.enabled || shared.closed || !passes {
            return Passed::Not;
        }
        if shared.clients.is_empty() {
            if !matches!(kind, "error" | "full-reload") {
                return Passed::To(0);
            }
            shared.held = Some(payload.to_string());
            return Passed::Held;
        }
        if let Some(handle) = &shared.handle {
            handle.publish(TOPIC, Prepared::new(payload.to_string()));
        }
        Passed::To(shared.clients.len())
    }

    /// The clients that are here.
    pub(crate) fn clients(&self) -> BTreeSet<PeerId> {
        self.shared().clients.clone()
    }

    /// Whether the server that the pages come from listens, where the channel has a server of its own: only
    /// then are pings answered.
    pub(crate) fn main_is_listening(&self, listens: bool) {
        self.shared().is_main_listening = listens;
    }

    /// Ends the channel: it takes nobody any more, its clients are dropped, and so is a server that is its
    /// own.
    pub(crate) fn close(&self) {
        let mut shared = self.shared();
        shared.closed = true;
        let Some(handle) = &shared.handle else { return };
        for &id in &shared.clients {
            handle.abort(id);
        }
        if shared.standalone {
            // The code may be sent.
            let _ = handle.shutdown(CloseCode::GOING_AWAY, "", Duration::ZERO);
        }
    }
}

/// For the channel.
impl<T> Hmr<T> {
    pub(super) fn is_closed(&self) -> bool {
        self.shared().closed
    }

    pub(super) fn is_main_listening(&self) -> bool {
        self.shared().is_main_listening
    }

    pub(super) fn listens(&self) -> bool {
        !self.shared().listeners.is_empty()
    }

    /// Whether the client may stay.
    pub(super) fn add(&self, id: PeerId) -> bool {
        let mut shared = self.shared();
        !shared.closed && shared.clients.insert(id)
    }

    pub(super) fn remove(&self, id: PeerId) -> bool {
        self.shared().clients.remove(&id)
    }

    pub(super) fn take_held(&self) -> Option<String> {
        self.shared().held.take()
    }

    /// The listeners may add and remove listeners, and send.
    pub(super) fn tell(&self, event: &str, data: &Value, client: &mut Client<'_, '_, T>) {
        let listeners = self.shared().listeners.get(event).cloned().unwrap_or_default();
        for Listener(call) in listeners {
            call(data, client);
        }
    }
}

fn custom(event: &str, data: &Value) -> Value {
    json!({ "type": "custom", "event": event, "data": data })
}
