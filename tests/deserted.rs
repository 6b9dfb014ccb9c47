//! A port for tests at which nobody listens.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address at which nobody listens, and the socket that has it for as long as it lives: no other process
/// can be given that port meanwhile.
pub(crate) fn deserted() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}
