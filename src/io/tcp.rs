//! The options of the TCP sockets that the event loop and the client use.

use socket2::SockRef;

/// How many bytes the system takes for a socket beyond those that it has sent: enough to go on with while the
/// connection waits for its turn.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 * 1024;

/// Has a socket send without delay, since a frame that waits for the answer to an earlier one is what Nagle's
/// algorithm makes of small messages; and, where the system can be told, keeps what it takes but does not send
/// to 128 KiB, instead of megabytes. Then a peer that reads slowly is seen to read, what has left the
/// connection is close to the network, and what waits for it is known to the backlog.
///
/// Whether all of it was done; a socket that refuses works all the same.
pub(crate) fn set_options<'s, S>(socket: &'s S) -> bool
where
    SockRef<'s>: From<&'s S>,
{
    let socket = SockRef::from(socket);
    let done = socket.set_tcp_nodelay(true).is_ok();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let done = socket.set_tcp_notsent_lowat(UNSENT).is_ok() && done;
    done
}
