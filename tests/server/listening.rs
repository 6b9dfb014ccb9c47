//! Where a server listens, and what it says when it cannot.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use framewire::{ListenOptions, Server};

use crate::client::{Client, TEXT};
use crate::house::{House, Spy};

fn loopback_of_both() -> [SocketAddr; 2] {
    [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)), SocketAddr::from(([127, 0, 0, 1], 0))]
}

fn has_v6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

fn echoes(address: SocketAddr) {
    let mut client = Client::open(address);
    client.send_frame(TEXT, "hello");
    assert_eq!(client.read_text(), "hello");
}

#[test]
fn a_name_of_both_families_is_listened_to_on_one_port() {
    let server = Server::bind(&loopback_of_both()[..]).unwrap();
    let addresses = server.local_addrs().unwrap();
    let expected = if has_v6() { 2 } else { 1 };
    assert_eq!(addresses.len(), expected, "{addresses:?}");
    assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
    assert_eq!(server.local_addr().unwrap(), addresses[0]);
    let (spy, _log) = Spy::echo();
    let _house = House::of(server, spy);
    for address in addresses {
        echoes(address);
    }
}

#[test]
fn localhost_is_listened_to_by_its_name() {
    let server = Server::bind("localhost:0").unwrap();
    let addresses = server.local_addrs().unwrap();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
    let (spy, _log) = Spy::echo();
    let _house = House::of(server, spy);
    for address in addresses {
        echoes(address);
    }
}

/// An address that is nobody's, and a family that is not there, are left out; alone they are an error.
#[test]
fn an_address_that_this_machine_does_not_have_is_left_out() {
    // For documentation (RFC 5737): no machine has it.
    let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
    let server = Server::bind(&[foreign, loopback_of_both()[1]][..]).unwrap();
    assert_eq!(server.local_addrs().unwrap().len(), 1);
    echoes_at(server);
    let error = Server::bind(foreign).unwrap_err();
    assert!(error.to_string().starts_with("192.0.2.1:0: "), "{error}");
    let nothing: &[SocketAddr] = &[];
    assert_eq!(Server::bind(nothing).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn echoes_at(server: Server) {
    let (spy, _log) = Spy::echo();
    let house = House::of(server, spy);
    echoes(house.address);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("{address}: ")), "{error}");
    // One of several that is taken is no reason to listen on the others only.
    let error = Server::bind(&[loopback_of_both()[1], address][..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn both_wildcards_can_be_bound() {
    if has_v6() {
        let all = [SocketAddr::from(([0; 8], 0)), SocketAddr::from(([0, 0, 0, 0], 0))];
        let server = Server::bind(&all[..]).unwrap();
        assert_eq!(server.local_addrs().unwrap().len(), 2);
    }
}

#[test]
fn a_socket_of_ipv6_can_leave_ipv4_alone() {
    if has_v6() {
        let options = ListenOptions::new().only_v6(true);
        let server = Server::bind_with("[::]:0", &options).unwrap();
        let port = server.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(TcpStream::connect(("::1", port)).is_ok());
    }
}

#[test]
fn two_servers_share_a_port_if_both_want_to() {
    let options = ListenOptions::new().reuse_port(true);
    let one = match Server::bind_with("127.0.0.1:0", &options) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return,
        one => one.unwrap(),
    };
    let address = one.local_addr().unwrap();
    Server::bind_with(address, &options).unwrap();
    assert_eq!(Server::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};

    use super::*;

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("framewire-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn is_socket(path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
    }

    #[test]
    fn a_stale_socket_is_replaced_and_goes_with_the_loop() {
        let directory = Directory::new("stale");
        let path = directory.socket();
        // A server that was killed leaves it behind.
        drop(UnixListener::bind(&path).unwrap());
        assert!(is_socket(&path));
        let server = Server::bind_unix(&path).unwrap();
        assert_eq!(server.unix_path(), Some(path.clone()));
        let (spy, log) = Spy::echo();
        let house = House::of(server, spy);
        let mut client = Client::over(UnixStream::connect(&path).unwrap());
        client.upgrade();
        drop(client);
        house.stop(log);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_left_alone() {
        let directory = Directory::new("live");
        let path = directory.socket();
        let first = Server::bind_unix(&path).unwrap();
        let error = Server::bind_unix(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let directory = Directory::new("file");
        let path = directory.socket();
        fs::write(&path, "of somebody else").unwrap();
        let error = Server::bind_unix(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"of somebody else");
    }

    #[test]
    fn the_socket_of_another_server_is_not_removed_at_the_end() {
        let directory = Directory::new("other");
        let path = directory.socket();
        let first = Server::bind_unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(is_socket(&path));
    }

    #[test]
    fn a_socket_has_the_mode_that_was_asked_for() {
        let directory = Directory::new("mode");
        let path = directory.socket();
        for mode in [0o600, 0o666] {
            let options = ListenOptions::new().mode(mode);
            let server = Server::bind_unix_with(&path, &options).unwrap();
            let now = fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(now & 0o777, mode);
            drop(server);
        }
    }

    #[test]
    fn a_path_that_cannot_be_is_named() {
        let directory = Directory::new("nowhere");
        let path = directory.0.join("is").join("not");
        let error = Server::bind_unix(&path).unwrap_err();
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    }
}
