use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::error::ClientError;
use crate::protocol::SendError;
use crate::wire::{CloseCode, CloseFrame};

/// Ends a connection from any thread, whatever the client's own thread is waiting for: a message, room to send, the
/// handshake of a connection that is being made, or the next attempt of a [`Reconnecting`](crate::Reconnecting).
///
/// It comes from [`ClientBuilder::closer`](crate::ClientBuilder::closer), [`Client::closer`](crate::Client::closer),
/// either half of a split client, [`MessageStream::closer`](crate::MessageStream::closer) or
/// [`Reconnecting::closer`](crate::Reconnecting::closer). Its clones end the same connection. It keeps nothing alive: when the
/// client has been dropped, it does nothing.
///
/// Over a stream that was [given](crate::Client::handshake) to the client, the client's own thread does what was asked for
/// the next time that a read or a write of the stream returns.
///
/// ```
/// # use framewire::{Server, Client};
/// # let server = Server::bind("127.0.0.1:0")?;
/// # let address = server.local_addr()?;
/// # std::thread::spawn(move || {
/// #     server.on_message(|peer, message| { peer.send(message); }).into_event_loop().unwrap().run().unwrap()
/// # });
/// let mut client = Client::connect(&format!("ws://{address}/"))?;
/// let closer = client.closer();
/// let receiving = std::thread::spawn(move || client.recv());
/// closer.close(1000, "enough")?;
/// assert!(receiving.join().unwrap()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("cancel", "interrupt"))]
#[derive(Clone)]
pub struct Closer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether anything was asked for, to be looked at without the lock.
    is_requested: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    request: Option<CloseRequest>,
    /// What there is to end.
    targets: Vec<Weak<dyn Closable>>,
}

/// What a [`Closer`] was asked for.
#[derive(Clone, Debug)]
pub(super) enum CloseRequest {
    Close(CloseFrame),
    Abort,
}

/// Something that a [`Closer`] ends.
pub(super) trait Closable: Send + Sync {
    /// Does what was asked for, or wakes the thread that will. It never waits.
    fn close(&self, request: &CloseRequest);
}

impl Closer {
    pub(super) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Begins the closing handshake with a code and a reason of at most 123 bytes, and does not wait for its end:
    /// [`recv`](crate::Client::recv) goes on to give what the peer still sends, and then `None`.
    ///
    /// The Close cannot overtake bytes that are under way. Where another thread is blocked in a `send`, that goes on,
    /// and the Close follows its message. If all that, the peer's Close and the end of the transport take longer than
    /// [`Config::close_timeout`](crate::Config::close_timeout) from now on, the connection is dropped and the `send` fails: a
    /// peer that reads nothing does not hold up the end. [`abort`](Self::abort) does not wait for that.
    ///
    /// While there is no connection yet, the attempt to make one ends with [`ClientError::Aborted`], at once. A thread
    /// that asks a resolver, or waits for room in the queue of a Unix socket's listener, is left to itself: the latter
    /// until the [`connect_timeout`](crate::ClientBuilder::connect_timeout) is over. A connection that is closing or was
    /// closed already is left as it is.
    ///
    /// # Errors
    ///
    /// [`ClientError::Send`] for a code or a reason that may not be sent (RFC 6455 section 7.4).
    pub fn close(&self, code: impl Into<CloseCode>, reason: &str) -> Result<(), ClientError> {
        let close = CloseFrame::new(code.into(), reason).map_err(SendError::from)?;
        self.request(CloseRequest::Close(close));
        Ok(())
    }

    /// Drops the connection at once, without a Close; the peer sees 1006. Calls that wait for it, and those that follow,
    /// fail with [`ClientError::Aborted`].
    pub fn abort(&self) {
        self.request(CloseRequest::Abort);
    }

    fn request(&self, request: CloseRequest) {
        let targets: Vec<_> = {
            let mut state = self.lock();
            match (&state.request, &request) {
                (None, _) | (Some(CloseRequest::Close(_)), CloseRequest::Abort) => {
                    state.request = Some(request.clone());
                }
                _ => return,
            }
            self.shared.is_requested.store(true, Ordering::Release);
            state.targets.iter().filter_map(Weak::upgrade).collect()
        };
        for target in targets {
            target.close(&request);
        }
    }

    /// What was asked for, if anything was.
    pub(super) fn requested(&self) -> Option<CloseRequest> {
        self.is_requested().then(|| self.lock().request.clone()).flatten()
    }

    /// Whether anything was asked for.
    pub(super) fn is_requested(&self) -> bool {
        self.shared.is_requested.load(Ordering::Acquire)
    }

    /// Ends this one too from now on, at once where that was asked for already.
    pub(super) fn attach(&self, target: &Arc<impl Closable + 'static>) {
        let request = {
            let mut state = self.lock();
            state.targets.retain(|target| target.strong_count() > 0);
            let target: Weak<dyn Closable> = Arc::downgrade(target) as _;
            state.targets.push(target);
            state.request.clone()
        };
        if let Some(request) = request {
            target.close(&request);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").field("requested", &self.requested()).finish_non_exhaustive()
    }
}
