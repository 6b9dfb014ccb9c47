//! The way from the thread that listens to Redis into the event loop. It holds so many messages and then
//! lets the thread wait, and so Redis, which keeps what it cannot send up to a limit of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use framewire::{EventLoop, Handle, Handler, Prepared};

use crate::bridge::INCOMING;

/// The thread's end.
pub(crate) struct Inbox {
    sender: SyncSender<(String, Prepared)>,
    woken: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    handle: Handle,
}

/// The loop's end.
pub(crate) struct Deliveries {
    receiver: Receiver<(String, Prepared)>,
    woken: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

pub(crate) fn inbox(handle: Handle) -> (Inbox, Deliveries) {
    let (sender, receiver) = sync_channel(INCOMING);
    let (woken, closed) = (Arc::default(), Arc::default());
    let deliveries =
        Deliveries { receiver, woken: Arc::clone(&woken), closed: Arc::clone(&closed) };
    (Inbox { sender, woken, closed, handle }, deliveries)
}

impl Inbox {
    /// Has the loop send it to the subscribers of a topic; waits while there is no room.
    pub(crate) fn put(&self, topic: &str, message: impl Into<Prepared>) {
        // Woken before it is waited for room, too: whoever makes room must be awake.
        let mut message = (topic.to_owned(), message.into());
        if let Err(error) = self.sender.try_send(message) {
            message = match error {
                std::sync::mpsc::TrySendError::Full(message) => message,
                std::sync::mpsc::TrySendError::Disconnected(_) => return self.close(),
            };
            self.wake();
            if self.sender.send(message).is_err() {
                return self.close();
            }
        }
        self.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.handle.wake();
        }
    }
}

impl Deliveries {
    /// Publishes in this loop what has come; whether there may be more.
    pub(crate) fn deliver<H: Handler>(&self, event_loop: &mut EventLoop<H>) -> bool {
        // Before the look: what is put behind it wakes the loop again.
        self.woken.store(false, Ordering::SeqCst);
        let mut count = 0;
        for (topic, message) in self.receiver.try_iter().take(INCOMING) {
            event_loop.publish(&topic, message);
            count += 1;
        }
        count == INCOMING
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}
