use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The options of a listening socket, for [`Server::bind_with`](crate::Server::bind_with) and
/// [`Server::bind_unix_with`](crate::Server::bind_unix_with).
///
/// ```
/// use framewire::{ListenOptions, Server};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let options = ListenOptions::new().backlog(4096).keepalive(Duration::from_secs(60));
/// let server = Server::bind_with("127.0.0.1:0", &options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: u32,
    pub(super) only_v6: Option<bool>,
    pub(super) reuse_port: bool,
    pub(super) mode: Option<u32>,
    stream: StreamOptions,
}

/// What every connection of a listener has.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamOptions {
    nodelay: bool,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    keepalive: Option<Duration>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { nodelay: true, send_buffer: None, receive_buffer: None, keepalive: None }
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// The default options, which the setters name.
    #[must_use]
    pub fn new() -> Self {
        Self {
            backlog: u32::MAX,
            only_v6: None,
            reuse_port: false,
            mode: None,
            stream: StreamOptions::default(),
        }
    }

    /// How many connections may wait to be accepted while the loop is busy: by default as many as the system
    /// allows. Where more come, they try again after a second or more.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether an IPv6 socket such as that of `[::]:80` leaves IPv4 alone (`IPV6_V6ONLY`). By default it takes both, on
    /// every system that can; where one call binds addresses of both families, it always leaves IPv4 to the other
    /// socket.
    #[doc(alias("IPV6_V6ONLY", "ipv6Only"))]
    #[must_use]
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = Some(only);
        self
    }

    /// Lets several processes of one user listen at the same address (`SO_REUSEPORT`), default no; the system
    /// then spreads the connections over them. Threads of one process need no such thing: see
    /// [`Server::threads`](crate::Server::threads).
    ///
    /// Binding fails with [`io::ErrorKind::Unsupported`] on systems without it.
    #[doc(alias = "SO_REUSEPORT")]
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether small messages are sent at once (`TCP_NODELAY`), default yes. Without it a message may wait for the
    /// peer to acknowledge the one before, up to 200 ms or so.
    #[doc(alias("set_nodelay", "TCP_NODELAY", "Nagle"))]
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.stream.nodelay = nodelay;
        self
    }

    /// The size of the system's buffer for what each connection sends, in bytes (`SO_SNDBUF`), by default the
    /// system's choice, which adapts to the connection. Systems round it, and have a maximum of their own.
    #[doc(alias = "SO_SNDBUF")]
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.stream.send_buffer = Some(bytes);
        self
    }

    /// The size of the system's buffer for what each connection receives, in bytes (`SO_RCVBUF`); like
    /// [`send_buffer`](Self::send_buffer).
    #[doc(alias = "SO_RCVBUF")]
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.stream.receive_buffer = Some(bytes);
        self
    }

    /// How long a connection may go without a packet before the system probes whether the peer is there
    /// (`SO_KEEPALIVE`); by default for ever. The Pings of [`Config::ping_interval`](crate::Config::ping_interval) do
    /// more: they also find out whether the peer's program is well.
    #[doc(alias("SO_KEEPALIVE", "setKeepAlive"))]
    #[must_use]
    pub fn keepalive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.stream.keepalive = after.into();
        self
    }

    /// The permissions of the file of a Unix-domain socket, by default those that the `umask` of the process
    /// leaves, which mostly keep other users out. `0o660` lets the group of the file in, and `0o666` everybody,
    /// such as a proxy that runs as another user.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// As `listen` takes it.
    pub(super) fn listen_backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }

    pub(super) fn stream(&self) -> &StreamOptions {
        &self.stream
    }
}

impl StreamOptions {
    /// Sets what is not as [`tcp::set_options`](crate::io::tcp) has left it, on a listener before it listens, or on
    /// a connection.
    pub(super) fn set(&self, socket: SockRef<'_>) -> io::Result<()> {
        if !self.nodelay {
            socket.set_tcp_nodelay(false)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(after) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// What is set is what the socket has, and what is not stays as it was.
    #[test]
    fn a_connection_has_the_options_of_its_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (one, other) = (connect(), connect());
        let after = Duration::from_secs(77);
        let options = ListenOptions::default()
            .backlog(7)
            .nodelay(false)
            .send_buffer(20_000)
            .receive_buffer(30_000)
            .keepalive(after);
        assert_eq!(options.listen_backlog(), 7);
        for stream in [&one, &other] {
            crate::io::tcp::set_options(stream);
        }
        let (one, other) = (SockRef::from(&one), SockRef::from(&other));
        options.stream().set(SockRef::from(&*one)).unwrap();
        ListenOptions::new().stream().set(SockRef::from(&*other)).unwrap();
        assert!(!one.tcp_nodelay().unwrap() && other.tcp_nodelay().unwrap());
        assert!(one.keepalive().unwrap() && !other.keepalive().unwrap());
        // A system may give more than it is asked for, Linux twice as much.
        assert!((20_000..=40_000).contains(&one.send_buffer_size().unwrap()));
        assert!((30_000..=60_000).contains(&one.recv_buffer_size().unwrap()));
        #[cfg(target_os = "linux")]
        assert_eq!(one.tcp_keepalive_time().unwrap(), after);
    }
}
