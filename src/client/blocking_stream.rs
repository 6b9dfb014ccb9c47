use std::io::{self, Read, Write};

use super::transport::ClientStream;
use crate::io::transport::{self, Stopped, Transport};
use crate::protocol::Chunks;

/// A stream of somebody else's, which blocks by itself.
pub(super) struct BlockingStream<S>(pub(super) S);

/// The stream with its timeouts told in one way.
struct Timed<'s, S>(&'s mut S);

impl<S: Read> Read for Timed<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        timed(self.0.read(buffer))
    }
}

impl<S: Write> Write for Timed<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        timed(self.0.write(buffer))
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        timed(self.0.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        timed(self.0.flush())
    }
}

/// A blocking stream whose own timeout has passed says either of two things; of a socket that does not
/// block the second is that its peer is lost.
fn timed<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

impl<S: Read + Write + Send> ClientStream for BlockingStream<S> {}

impl<S: Read + Write> Transport for BlockingStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        transport::read(&mut Timed(&mut self.0), buffer)
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        match transport::write(&mut Timed(&mut self.0), slices) {
            // A short write of a stream that blocks says nothing of the next one.
            (count, Stopped::Blocked) if count > 0 => (count, Stopped::Done),
            (count, Stopped::Done) => match Timed(&mut self.0).flush() {
                Ok(()) => (count, Stopped::Done),
                Err(error) => (count, Stopped::by(error)),
            },
            other => other,
        }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        // `Read + Write` cannot half-close; the peer sees the end of the stream when it is dropped.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, ClientError, ClientTimeout};
    use crate::protocol::Config;

    /// A stream whose timeout passes whenever it is read.
    struct Silent(io::ErrorKind);

    impl Read for Silent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }

    impl Write for Silent {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_timeout_of_a_stream_is_no_loss_and_that_of_a_socket_is() {
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
            let mut client = Client::adopt(Silent(kind), b"", &Config::new()).unwrap();
            let error = client.recv().unwrap_err();
            assert!(
                matches!(error, ClientError::TimedOut(ClientTimeout::Read)),
                "{kind}: {error:?}"
            );
            // The connection can still be used after that.
            client.send("hello").unwrap();
        }
        // A socket that does not block has no timeout of its own: TCP has given its peer up.
        let timed_out = transport::read(&mut Silent(io::ErrorKind::TimedOut), &mut [0]);
        let (0, Stopped::Broken(error)) = timed_out else { panic!("{timed_out:?}") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let blocked = transport::read(&mut Silent(io::ErrorKind::WouldBlock), &mut [0]);
        assert!(matches!(blocked, (0, Stopped::Blocked)), "{blocked:?}");
    }
}
