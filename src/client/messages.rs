use std::iter::FusedIterator;

use super::error::ClientError;
use crate::protocol::Message;

/// The messages that a client, or its reading half, receives: the iterator ends after a clean close; an error comes
/// once, as the last item. A [read timeout](crate::Client::set_read_timeout) is such an error: ask for the messages
/// anew to go on.
///
/// ```
/// # use framewire::{Server, Client};
/// # let server = Server::bind("127.0.0.1:0")?;
/// # let address = server.local_addr()?;
/// # std::thread::spawn(move || {
/// #     server.on_message(|peer, message| { peer.send(message); }).into_event_loop().unwrap().run().unwrap()
/// # });
/// let (reader, mut writer) = Client::connect(&format!("ws://{address}/"))?.split()?;
/// writer.send("one")?;
/// for message in reader {
///     assert_eq!(message?.as_text(), Some("one"));
///     writer.close(1000, "")?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an iterator receives nothing by itself"]
#[derive(Debug)]
pub struct Messages<R> {
    receiver: R,
    is_ended: bool,
}

/// Something that messages are received from.
pub(super) trait Receive {
    fn receive(&mut self) -> Result<Option<Message<'static>>, ClientError>;
}

impl<R: Receive> Receive for &mut R {
    fn receive(&mut self) -> Result<Option<Message<'static>>, ClientError> {
        (**self).receive()
    }
}

impl<R> Messages<R> {
    pub(super) fn new(receiver: R) -> Self {
        Self { receiver, is_ended: false }
    }
}

impl<R: Receive> Iterator for Messages<R> {
    type Item = Result<Message<'static>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let message = self.receiver.receive().transpose();
        self.is_ended = !matches!(message, Some(Ok(_)));
        message
    }
}

impl<R: Receive> FusedIterator for Messages<R> {}

/// Receiving in a `for` loop.
macro_rules! receiving {
    ($receiver:ty) => {
        impl Receive for $receiver {
            fn receive(&mut self) -> Result<Option<Message<'static>>, ClientError> {
                self.recv()
            }
        }

        impl IntoIterator for $receiver {
            type Item = Result<Message<'static>, ClientError>;
            type IntoIter = Messages<Self>;

            fn into_iter(self) -> Messages<Self> {
                Messages::new(self)
            }
        }

        impl<'r> IntoIterator for &'r mut $receiver {
            type Item = Result<Message<'static>, ClientError>;
            type IntoIter = Messages<Self>;

            fn into_iter(self) -> Messages<Self> {
                Messages::new(self)
            }
        }
    };
}

pub(super) use receiving;
