use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::event::Source;
use mio::net::TcpListener;
#[cfg(unix)]
use mio::net::UnixListener;
use socket2::{Domain, SockRef, Type};

use crate::io::{tcp, transport};

use super::listen_options::{ListenOptions, StreamOptions};
use super::proxy_protocol::ProxyProtocol;
#[cfg(test)]
use super::simulation::network::Entrance;
use super::socket::{Plain, Socket};

/// How often a port is looked for that is free in several families.
const ATTEMPTS: usize = 16;

/// A listening socket of any kind.
#[derive(Debug)]
pub(super) struct Listener {
    kind: Kind,
    /// What its connections begin with the handshake of.
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
    name: Option<Arc<str>>,
    proxy_protocol: Option<Arc<ProxyProtocol>>,
}

/// The place of a listener among those of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenerIndex(NonZeroU16);

impl ListenerIndex {
    /// Those that are beyond any number that a system has sockets for are one.
    pub(super) fn new(index: usize) -> Self {
        Self(
            u16::try_from(index)
                .map_or(NonZeroU16::MAX, |index| NonZeroU16::MIN.saturating_add(index)),
        )
    }

    pub(super) fn get(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// What connections have to know of the listener that has accepted them, in whatever loop they are.
#[derive(Clone, Debug)]
pub(super) struct ListenerFacts {
    pub(super) name: Option<Arc<str>>,
    /// The address of this end of each connection, where it is the same for all.
    pub(super) address: Option<SocketAddr>,
    pub(super) proxy_protocol: Option<Arc<ProxyProtocol>>,
}

#[derive(Debug)]
enum Kind {
    Tcp {
        listener: TcpListener,
        options: StreamOptions,
        /// What it accepts has the options already.
        inherited: bool,
    },
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        /// Where it is, if it was bound here: goes with it.
        file: Option<SocketFile>,
    },
    #[cfg(test)]
    Simulated(Entrance),
}

impl Listener {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            #[cfg(feature = "tls")]
            tls: None,
            name: None,
            proxy_protocol: None,
        }
    }

    /// What its connections have to know of it.
    pub(super) fn facts(&self) -> ListenerFacts {
        let address = self.local_addr().ok();
        ListenerFacts {
            name: self.name.clone(),
            address: address.filter(|address| !address.ip().is_unspecified()),
            proxy_protocol: self.proxy_protocol.clone(),
        }
    }

    pub(super) fn with_name(mut self, name: &Arc<str>) -> Self {
        self.name = Some(Arc::clone(name));
        self
    }

    pub(super) fn with_proxy_protocol(mut self, protocol: &Arc<ProxyProtocol>) -> Self {
        self.proxy_protocol = Some(Arc::clone(protocol));
        self
    }

    /// Listens on all of these addresses, on one port where they leave it to the system.
    ///
    /// # Errors
    ///
    /// The system's, with the address. That there is no such family or address on this machine is none, as long
    /// as there is another.
    pub(super) fn bind(
        addresses: impl IntoIterator<Item = SocketAddr>,
        options: &ListenOptions,
    ) -> io::Result<Vec<Self>> {
        let mut distinct = Vec::new();
        for address in addresses {
            if !distinct.contains(&address) {
                distinct.push(address);
            }
        }
        let mut attempts = 1..=ATTEMPTS;
        loop {
            let last = attempts.next().is_none_or(|attempt| attempt == ATTEMPTS);
            match Self::bind_all(&distinct, options) {
                // The port that the system chose for one address family was taken in the other: try another.
                Err((error, true)) if error.kind() == io::ErrorKind::AddrInUse && !last => {}
                result => return result.map_err(|(error, _)| error),
            }
        }
    }

    /// The same once; with an error, whether the port was one that the system has chosen.
    fn bind_all(
        addresses: &[SocketAddr],
        options: &ListenOptions,
    ) -> Result<Vec<Self>, (io::Error, bool)> {
        let mut listeners = Vec::new();
        let (mut chosen, mut missing) = (None, None);
        // With both families given, the IPv6 socket must not take the IPv4 port, too.
        let apart = addresses.len() > 1 && addresses.iter().any(SocketAddr::is_ipv4);
        let only_v6 = if apart { Some(true) } else { options.only_v6 };
        for address in addresses {
            let mut address = *address;
            let is_chosen = address.port() == 0 && chosen.is_some();
            if let Some(port) = chosen.filter(|_| is_chosen) {
                address.set_port(port);
            }
            match Self::bind_one(address, only_v6, options) {
                Ok(listener) => {
                    if address.port() == 0 {
                        chosen = listener.local_addr().ok().map(|address| address.port());
                    }
                    listeners.push(listener);
                }
                Err(error) => {
                    let named = io::Error::new(error.kind(), format!("{address}: {error}"));
                    if !is_missing(&error) {
                        return Err((named, is_chosen));
                    }
                    missing = Some(named);
                }
            }
        }
        if !listeners.is_empty() {
            return Ok(listeners);
        }
        let nothing = "the address resolves to nothing";
        let error = missing.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, nothing));
        Err((error, false))
    }

    fn bind_one(
        address: SocketAddr,
        only_v6: Option<bool>,
        options: &ListenOptions,
    ) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A server that has ended may be started again at once. Elsewhere this lets others steal the port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            set_reuse_port(&socket)?;
        }
        if address.is_ipv6() {
            match only_v6 {
                Some(only) => socket.set_only_v6(only)?,
                // Linux would do so, Windows would not, and OpenBSD cannot.
                None => drop(socket.set_only_v6(false)),
            }
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let inherited = set_options(&socket, options.stream());
        socket.listen(options.listen_backlog())?;
        let listener = TcpListener::from_std(socket.into());
        Ok(Self::new(Kind::Tcp { listener, options: *options.stream(), inherited }))
    }

    /// One that somebody else has made listen.
    pub(super) fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let options = StreamOptions::default();
        let inherited = set_options(&listener, &options);
        let listener = TcpListener::from_std(listener);
        Ok(Self::new(Kind::Tcp { listener, options, inherited }))
    }

    /// Listens at this path.
    ///
    /// # Errors
    ///
    /// The system's, with the path; [`io::ErrorKind::AddrInUse`] if another server listens there,
    /// [`io::ErrorKind::AlreadyExists`] if something else than a socket is there.
    #[cfg(unix)]
    pub(super) fn bind_unix(path: &Path, options: &ListenOptions) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let bind = || std::os::unix::net::UnixListener::bind(path);
        let listener = match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path).and_then(|()| bind()).map_err(named)?
            }
            result => result.map_err(named)?,
        };
        let file = SocketFile::of(path).map_err(named)?;
        if let Some(mode) = options.mode {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(named)?;
        }
        SockRef::from(&listener).listen(options.listen_backlog()).map_err(named)?;
        let mut own = Self::from_unix(listener).map_err(named)?;
        if let Kind::Unix { file: place, .. } = &mut own.kind {
            *place = Some(file);
        }
        Ok(own)
    }

    /// One that somebody else has made listen.
    #[cfg(unix)]
    pub(super) fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::new(Kind::Unix { listener: UnixListener::from_std(listener), file: None }))
    }

    #[cfg(test)]
    pub(super) fn simulated(entrance: Entrance) -> Self {
        Self::new(Kind::Simulated(entrance))
    }

    /// Puts TLS behind this listener, unless it is there already.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(mut self, config: &Arc<rustls::ServerConfig>) -> Self {
        self.tls.get_or_insert_with(|| Arc::clone(config));
        self
    }

    /// Says how many connections may wait to be accepted.
    pub(super) fn set_backlog(&self, connections: u32) -> io::Result<()> {
        let backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        match &self.kind {
            Kind::Tcp { listener, .. } => SockRef::from(listener).listen(backlog),
            #[cfg(unix)]
            Kind::Unix { listener, .. } => SockRef::from(listener).listen(backlog),
            #[cfg(test)]
            Kind::Simulated(_) => Ok(()),
        }
    }

    /// The next connection, ready to be registered.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        let plain = match &self.kind {
            Kind::Tcp { listener, options, inherited } => {
                let (stream, _) = transport::retry(|| listener.accept())?;
                if !inherited {
                    set_options(&stream, options);
                }
                Plain::Tcp(stream)
            }
            #[cfg(unix)]
            Kind::Unix { listener, .. } => {
                let (stream, _) = transport::retry(|| listener.accept())?;
                Plain::Unix(stream)
            }
            #[cfg(test)]
            Kind::Simulated(entrance) => Plain::Simulated(transport::retry(|| entrance.accept())?),
        };
        #[cfg(feature = "tls")]
        if let Some(config) = &self.tls {
            return Socket::accept_tls(Arc::clone(config), plain);
        }
        Ok(Socket::Plain(plain))
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.kind {
            Kind::Tcp { listener, .. } => listener.local_addr(),
            #[cfg(unix)]
            Kind::Unix { .. } => Err(super::socket::no_address()),
            #[cfg(test)]
            Kind::Simulated(_) => Err(super::socket::no_address()),
        }
    }

    /// The path of a Unix-domain socket.
    #[cfg(unix)]
    pub(super) fn unix_path(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Tcp { .. } => None,
            Kind::Unix { file: Some(file), .. } => Some(file.path.clone()),
            Kind::Unix { listener, .. } => {
                Some(listener.local_addr().ok()?.as_pathname()?.to_owned())
            }
            #[cfg(test)]
            Kind::Simulated(_) => None,
        }
    }

    /// Finds out now what would not work at any connection.
    pub(super) fn check(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(config) = &self.tls {
            rustls::ServerConnection::new(Arc::clone(config))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        Ok(())
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match &mut self.kind {
            Kind::Tcp { listener, .. } => listener,
            #[cfg(unix)]
            Kind::Unix { listener, .. } => listener,
            #[cfg(test)]
            Kind::Simulated(entrance) => entrance,
        }
    }
}

/// Whether the connections of a listener, or this connection, have all options now.
fn set_options<'s, S>(socket: &'s S, options: &StreamOptions) -> bool
where
    SockRef<'s>: From<&'s S>,
{
    let done = tcp::set_options(socket);
    // On Linux accepted sockets inherit these options, so they need no calls of their own.
    let inherits = cfg!(any(target_os = "linux", target_os = "android"));
    options.set(SockRef::from(socket)).is_ok() && done && inherits
}

fn set_reuse_port(socket: &socket2::Socket) -> io::Result<()> {
    #[cfg(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    ))]
    return socket.set_reuse_port(true);
    #[cfg(not(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    )))]
    {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Whether this machine has no such address, or none of its family.
fn is_missing(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind; the numbers of Linux, of BSD and of Windows.
    let family = match () {
        () if cfg!(any(target_os = "linux", target_os = "android")) => 97,
        () if cfg!(windows) => 10047,
        () => 47,
    };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(family)
}

/// The file of a Unix-domain socket; removed with this value, unless another has taken its place.
#[cfg(unix)]
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let (device, inode) = identity(path)?;
        // The process may go to another directory.
        Ok(Self { path: std::path::absolute(path)?, device, inode })
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == (self.device, self.inode)) {
            // If it stays, the next server replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The device and the inode of a file, which no other has meanwhile.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes the socket of a server that has gone.
#[cfg(unix)]
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        let message = "it is there already, and is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Connecting to a server with a full backlog would block.
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => {
            let message = "another server listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn sockets_have_the_options_that_they_need() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::from_tcp(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(std::net::TcpStream::connect(address).unwrap());
            checked(&listener.accept().unwrap());
        }
        checked(&Socket::connect(address).unwrap());
        checked(&Socket::from_tcp(clients.remove(0)).unwrap());
    }

    fn checked(socket: &Socket) {
        let Socket::Plain(Plain::Tcp(stream)) = socket else { panic!("another kind of socket") };
        assert!(stream.nodelay().unwrap());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(socket2::SockRef::from(stream).tcp_notsent_lowat().unwrap(), 128 * 1024);
    }

    /// Of what a peer does not read the system takes a little more than the options say, not megabytes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_system_takes_little_that_it_cannot_send() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::from_tcp(listener).unwrap();
        let small = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let small = small.unwrap();
        small.set_recv_buffer_size(16 * 1024).unwrap();
        small.connect(&listener.local_addr().unwrap().into()).unwrap();
        let mut socket = listener.accept().unwrap();
        let mut taken = 0;
        let Socket::Plain(plain) = &mut socket else { panic!("another kind of socket") };
        while let Ok(count) = Write::write(plain, &[0; 16 * 1024]) {
            taken += count;
        }
        assert!((128 * 1024..512 * 1024).contains(&taken), "the system took {taken} bytes");
    }
}
