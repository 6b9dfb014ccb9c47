use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use super::background;
use super::wait::ConnectWait;

/// What tells the addresses of a name.
pub(super) type Resolver = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The addresses of this host, in the order of the system's preference.
///
/// A name is looked up by `resolver` where there is one, and by the system otherwise. An address with a zone
/// (`fe80::1%eth0`) the system looks up in any case.
///
/// A resolver takes as long as it likes and cannot be called off: it is asked in a thread that is left to itself when
/// it does not answer in time, or the client is closed.
pub(super) fn resolve(
    host: &str,
    port: u16,
    resolver: Option<&Arc<Resolver>>,
    until: Option<Instant>,
    wait: &mut ConnectWait,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    // A resolver of the application's does not know this system's IPv6 zones.
    let resolver = resolver.filter(|_| !host.contains('%')).cloned();
    let ask = move |host: &str| match resolver {
        Some(resolver) => resolver(host, port),
        None => lookup(host, port),
    };
    let host = host.to_owned();
    background::run("framewire-resolve", move || ask(&host), until, wait)
}

fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::closer::Closer;

    fn wait() -> ConnectWait {
        ConnectWait::new(&Closer::new()).unwrap()
    }

    #[test]
    fn literals_need_no_resolver() {
        let past = Some(Instant::now());
        assert_eq!(
            resolve("127.0.0.1", 1, None, past, &mut wait()).unwrap(),
            [([127, 0, 0, 1], 1).into()]
        );
        assert_eq!(resolve("::1", 1, None, past, &mut wait()).unwrap()[0].to_string(), "[::1]:1");
    }

    #[test]
    fn a_resolver_of_ones_own_is_asked_for_names() {
        let addresses: Arc<Resolver> = Arc::new(|host, port| match host {
            "known" => Ok(vec![([192, 0, 2, 1], port + 1).into(), ([192, 0, 2, 2], port).into()]),
            _ => Err(io::Error::other("not known here")),
        });
        for until in [None, Some(Instant::now() + Duration::from_secs(60))] {
            let found = resolve("known", 7, Some(&addresses), until, &mut wait()).unwrap();
            assert_eq!(found, [([192, 0, 2, 1], 8).into(), ([192, 0, 2, 2], 7).into()]);
            let error = resolve("localhost", 7, Some(&addresses), until, &mut wait()).unwrap_err();
            assert_eq!(error.to_string(), "not known here");
            for address in ["::1", "127.0.0.1"] {
                let found = resolve(address, 7, Some(&addresses), until, &mut wait()).unwrap();
                assert_eq!(found[0].ip().to_string(), address);
            }
            let zone = resolve("::1%1", 7, Some(&addresses), until, &mut wait());
            assert!(
                zone.is_ok_and(|found| found[0].ip().is_loopback()) || !cfg!(target_os = "linux")
            );
        }
    }

    #[test]
    fn names_are_resolved_in_time_or_not_at_all() {
        let soon = Instant::now() + Duration::from_secs(60);
        for until in [None, Some(soon)] {
            let addresses = resolve("localhost", 7, None, until, &mut wait()).unwrap();
            assert!(!addresses.is_empty());
            assert!(addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
        }
    }
}
