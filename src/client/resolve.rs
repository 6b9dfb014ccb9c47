use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

/// The addresses of this host, in the order of the system's preference.
///
/// The system's resolver takes as long as it likes and cannot be called off: where there is a time by
/// which it must have answered, it is asked in a thread that is left to itself when it does not.
pub(super) fn resolve(
    host: &str,
    port: u16,
    until: Option<Instant>,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let Some(until) = until else { return lookup(host, port) };
    let (answer, answered) = mpsc::sync_channel(1);
    let host = host.to_owned();
    thread::Builder::new().name("framewire-resolve".to_owned()).spawn(move || {
        // Nobody listens any more if the time was up.
        let _ = answer.send(lookup(&host, port));
    })?;
    match answered.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(addresses) => addresses,
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver panicked")),
    }
}

fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn literals_need_no_resolver() {
        let past = Some(Instant::now());
        assert_eq!(resolve("127.0.0.1", 1, past).unwrap(), [([127, 0, 0, 1], 1).into()]);
        assert_eq!(resolve("::1", 1, past).unwrap()[0].to_string(), "[::1]:1");
    }

    #[test]
    fn names_are_resolved_in_time_or_not_at_all() {
        let soon = Instant::now() + Duration::from_secs(60);
        for until in [None, Some(soon)] {
            let addresses = resolve("localhost", 7, until).unwrap();
            assert!(!addresses.is_empty());
            assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
        }
    }
}
