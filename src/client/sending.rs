/// The methods of whoever sends, by a `write` of its own that waits until what it queues has left.
macro_rules! sending {
    () => {
        /// Sends a message, and waits until the network has taken all of it.
        ///
        /// While it waits it reads: Pings are answered, and messages are kept to be received later. It goes on
        /// until [`Config::max_buffered_amount`](crate::Config::max_buffered_amount) bytes of them are kept, or one
        /// message that is longer. Two ends that send to each other, and both wait until it is
        /// taken, so get further than the buffers of the network. Beyond that nothing is read until messages are
        /// received; if the peer takes nothing meanwhile,
        /// [`Config::write_timeout`](crate::Config::write_timeout) ends the connection, and the error names it.
        ///
        /// That the network has taken it does not mean that the peer has read it: only an answer of the peer's
        /// can say that.
        ///
        /// # Errors
        ///
        /// [`ClientError::Send`] if the connection is closing or was closed, and nothing was sent.
        /// [`ClientError::Lost`] if it ended before all of the message had left: its [`Outcome`] has the Close
        /// that the peer sent meanwhile, and says which time limit it was, such as
        /// [`Config::write_timeout`](crate::Config::write_timeout), that ended the connection. Whoever sends on a
        /// connection that has ended without a closing handshake is told the reason of its end.
        pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), ClientError> {
            let message = message.into();
            self.write(|endpoint, workspace| endpoint.send(message, workspace))
        }

        /// Queues a message without sending it: it leaves with the next [`flush`](Self::flush), or before the next call
        /// that sends or that waits for a message. So many small messages leave in few writes.
        ///
        /// Until then the server does not get it, however long that takes: `flush` when the last one is queued. It waits
        /// only where [`Config::max_buffered_amount`](crate::Config::max_buffered_amount) bytes wait to be sent already,
        /// until the network has taken of them.
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send). That it was queued does not mean that it leaves: `flush` tells.
        ///
        /// ```
        /// # use framewire::{Server, Client};
        /// # let server = Server::bind("127.0.0.1:0")?;
        /// # let address = server.local_addr()?;
        /// # std::thread::spawn(move || {
        /// #     server.on_message(|peer, message| { peer.send(message); }).into_event_loop().unwrap().run().unwrap()
        /// # });
        /// let mut client = Client::connect(&format!("ws://{address}/"))?;
        /// for number in 0..100 {
        ///     client.queue(format!("order {number}"))?;
        /// }
        /// client.flush()?;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[doc(alias("feed", "batch"))]
        pub fn queue<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), ClientError> {
            let message = message.into();
            self.shared
                .queue(&mut self.waiter, |endpoint, workspace| endpoint.send(message, workspace))
        }

        /// Sends what was [queued](Self::queue), and waits until the network has taken all of it.
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send).
        pub fn flush(&mut self) -> Result<(), ClientError> {
            self.write(|_, _| Ok(()))
        }

        /// Sends a message, and says whether to compress it.
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send).
        pub fn send_with<'m>(
            &mut self,
            message: impl Into<Message<'m>>,
            compress: Compress,
        ) -> Result<(), ClientError> {
            let message = message.into();
            self.write(|endpoint, workspace| endpoint.send_with(message, compress, workspace))
        }

        /// Sends a piece of a message; see [`Endpoint::send_fragment`].
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send).
        pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), ClientError> {
            self.write(|endpoint, workspace| endpoint.send_fragment(fragment, workspace))
        }

        /// Sends a piece of a message, and says whether to compress the message; see
        /// [`Endpoint::send_fragment_with`].
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send).
        pub fn send_fragment_with(
            &mut self,
            fragment: Fragment<'_>,
            compress: Compress,
        ) -> Result<(), ClientError> {
            self.write(|endpoint, workspace| {
                endpoint.send_fragment_with(fragment, compress, workspace)
            })
        }

        /// Sends a Ping with at most 125 bytes of payload; the answer is received as an
        /// [event](Event::Pong).
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send).
        pub fn ping(&mut self, payload: &[u8]) -> Result<(), ClientError> {
            self.write(|endpoint, workspace| endpoint.ping(payload, workspace))
        }

        /// Sends a Pong with at most 125 bytes of payload.
        ///
        /// # Errors
        ///
        /// As [`send`](Self::send).
        pub fn pong(&mut self, payload: &[u8]) -> Result<(), ClientError> {
            self.write(|endpoint, workspace| endpoint.pong(payload, workspace))
        }
    };
}

pub(super) use sending;
