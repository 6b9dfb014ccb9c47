//! Where a client connects to, and how it asks there.

use std::io::Write;
use std::net::TcpListener;

use framewire::handshake::{ClientRequestError, UrlError};
use framewire::{Client, ClientError, ClientTimeout, Server};

use super::support::*;

// attack: HC12
#[test]
fn what_cannot_be_asked_for_is_refused_before_connecting() {
    for url in ["ws://h/\r\nX: y", "ws://h/ b", "ws://h/#a", "ws://h:0/", "ws://h:65536/", "ws:///"]
    {
        let error = Client::connect(url).unwrap_err();
        assert!(matches!(error, ClientError::Url(_)), "{url:?}: {error:?}");
        assert!(!error.is_retryable());
    }
    let error = Client::connect("ftp://h/").unwrap_err();
    assert!(matches!(error, ClientError::Url(UrlError::Scheme(_))));
    let builder = || Client::builder("ws://h/").unwrap();
    let refused = [
        builder().header("X", "a\r\nY: b"),
        builder().header("X\r\nY", "b"),
        builder().header("Sec-WebSocket-Key", "b"),
        builder().header("host", "b"),
        builder().origin("a\nb"),
        builder().subprotocols(["a b"]),
        builder().subprotocols(["a", "a"]),
        builder().version(12),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, ClientError::Request(_)), "{error:?}");
        assert!(!error.is_retryable());
    }
    let error = builder().version(14).unwrap_err();
    assert!(matches!(error, ClientError::Request(ClientRequestError::Version(14))));
}

#[cfg(not(feature = "tls"))]
#[test]
fn wss_names_the_feature_that_it_needs() {
    let error = Client::connect("wss://127.0.0.1:9/").unwrap_err();
    assert!(matches!(error, ClientError::TlsNotBuilt));
    assert!(error.to_string().contains("\"tls\""), "{error}");
}

fn request_for(builder: impl FnOnce(&str) -> framewire::ClientBuilder) -> String {
    let server = Scripted::new(|listener| upgrade(&mut accept(listener)));
    let client = builder(&server.address.to_string()).connect();
    let request = server.join();
    drop(client.unwrap());
    request
}

// attack: HC12
#[test]
fn userinfo_becomes_basic_credentials() {
    let url = |address: &str| format!("http://us%20er:p%3Aw@{address}/a%23b?c");
    let request = request_for(|address| untimed_client(&url(address)));
    assert!(request.starts_with("GET /a%23b?c HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "Authorization"), Some("Basic dXMgZXI6cDp3"));
    let request = request_for(|address| {
        let builder = untimed_client(&url(address));
        builder.header("Authorization", "Bearer t").unwrap()
    });
    assert_eq!(header(&request, "Authorization"), Some("Bearer t"));
    assert_eq!(request.matches("Authorization").count(), 1);
}

#[test]
fn the_request_says_what_was_set() {
    let request = request_for(|address| {
        let builder = untimed_client(&format!("ws://{address}"));
        let builder = builder.origin("https://a.example").unwrap().version(8).unwrap();
        builder.header("Cookie", "a=1").unwrap().header("Cookie", "b=2").unwrap()
    });
    assert_eq!(header(&request, "Sec-WebSocket-Version"), Some("8"));
    assert_eq!(header(&request, "Sec-WebSocket-Origin"), Some("https://a.example"));
    assert_eq!(header(&request, "Origin"), None);
    assert!(request.contains("Cookie: a=1\r\nCookie: b=2\r\n"), "{request}");
    assert!(header(&request, "Sec-WebSocket-Extensions").unwrap().contains("permessage-deflate"));
}

#[test]
fn ipv6_literals() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let server = Scripted::on(listener, |listener| upgrade(&mut accept(listener)));
    assert!(server.url("/").starts_with("ws://[::1]:"));
    let client = untimed_client(&server.url("/")).connect().unwrap();
    let host = format!("[::1]:{}", server.address.port());
    assert_eq!(header(&server.join(), "Host"), Some(host.as_str()));
    drop(client);
}

#[test]
fn the_client_says_what_it_is() {
    let user_agent = |settings: fn(framewire::ClientBuilder) -> framewire::ClientBuilder| {
        let request = request_for(|address| settings(untimed_client(&format!("ws://{address}"))));
        assert!(request.matches("ser-").count() <= 1, "{request}");
        header(&request, "User-Agent").map(str::to_owned)
    };
    let version = concat!("framewire/", env!("CARGO_PKG_VERSION"));
    assert_eq!(user_agent(|builder| builder).as_deref(), Some(version));
    let own = |builder: framewire::ClientBuilder| builder.header("user-agent", "mine/1").unwrap();
    assert_eq!(user_agent(own).as_deref(), Some("mine/1"));
    assert_eq!(user_agent(|builder| builder.no_user_agent()), None);
}

#[test]
fn an_address_of_ones_choice_keeps_the_name_of_the_url() {
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        let request = read_head(&mut stream);
        let answer = "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        (request, upgrade(&mut accept(listener)))
    });
    // Nobody can know this name, and the proxy is not asked.
    let builder = untimed_client("ws://echo.invalid:81/a").connect_to(server.address).redirects(1);
    let client = builder.proxy("http://proxy.invalid").unwrap().connect().unwrap();
    let (first, second) = server.join();
    assert!(first.starts_with("GET /a ") && second.starts_with("GET /b "));
    for request in [first, second] {
        assert_eq!(header(&request, "Host"), Some("echo.invalid:81"));
    }
    drop(client);
}

#[test]
fn another_host_may_be_asked_for() {
    let request = request_for(|address| {
        untimed_client(&format!("ws://{address}")).host("tenant.example:8080").unwrap()
    });
    assert_eq!(header(&request, "Host"), Some("tenant.example:8080"));
    assert_eq!(request.matches("Host:").count(), 1);
    for host in ["", "a b", "a\r\nX: y", "a/b", "u@a", "a:x", "[fe80::1%25eth0]"] {
        let error = Client::builder("ws://h/").unwrap().host(host).unwrap_err();
        assert!(matches!(error, ClientError::Request(_)), "{host:?}: {error:?}");
    }
}

#[test]
fn a_local_address_is_where_it_connects_from() {
    let local = if cfg!(target_os = "linux") { [127, 0, 0, 9] } else { [127, 0, 0, 1] };
    let server = Scripted::new(|listener| {
        let (mut stream, address) = listener.accept().unwrap();
        upgrade(&mut stream);
        address.ip()
    });
    let client = untimed_client(&server.url("/")).local_addr((local, 0)).connect().unwrap();
    assert_eq!(server.join(), std::net::IpAddr::from(local));
    drop(client);
}

#[test]
fn a_resolver_of_ones_own() {
    let server = Scripted::new(|listener| upgrade(&mut accept(listener)));
    let (_socket, deserted) = deserted();
    let addresses = [deserted, server.address];
    let builder = untimed_client("ws://echo.invalid:81/").resolver(move |host, port| {
        assert_eq!((host, port), ("echo.invalid", 81));
        Ok(addresses.to_vec())
    });
    let client = builder.clone().connect().unwrap();
    assert_eq!(header(&server.join(), "Host"), Some("echo.invalid:81"));
    drop(client);
    let none = builder.clone().resolver(|_, _| Ok(Vec::new())).connect().unwrap_err();
    assert_eq!(chain(&none), "cannot connect to ws://echo.invalid:81/: the name has no address");
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let error = builder.clone().resolver(move |_, _| Err(late())).connect().unwrap_err();
    // A deadline of its own, not one of this client's.
    assert!(matches!(&error, ClientError::Io(error) if error.kind() == late().kind()), "{error:?}");
    let error = builder.resolver(|_, _| Err(std::io::Error::other("no such name"))).connect();
    let error = chain(&error.unwrap_err());
    assert_eq!(
        error,
        "cannot connect to ws://echo.invalid:81/: resolving echo.invalid: no such name"
    );
}

#[test]
fn older_ways_to_write_an_address() {
    for host in ["127.1", "0x7f.0.0.1", "2130706433"] {
        let server = Scripted::new(|listener| upgrade(&mut accept(listener)));
        let url = format!("ws://{host}:{}/", server.address.port());
        // No resolver is asked for them.
        let builder = untimed_client(&url).resolver(|host, _| panic!("{host} was asked for"));
        let client = builder.connect().unwrap();
        drop((client, server.join()));
    }
}

// RFC 6874
#[cfg(target_os = "linux")]
#[test]
fn a_zone_is_for_the_system_and_not_for_the_server() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Scripted::on(listener, |listener| upgrade(&mut accept(listener)));
    let client = untimed_client(&format!("ws://[::1%251]:{port}/")).connect().unwrap();
    assert_eq!(header(&server.join(), "Host"), Some(&*format!("[::1]:{port}")));
    drop(client);
    let unknown = chain(&untimed_client("ws://[fe80::1%25nowhere]/").connect().unwrap_err());
    assert!(unknown.contains("resolving fe80::1%nowhere: "), "{unknown}");
}

#[test]
fn a_name_that_nobody_knows_is_named() {
    let error = untimed_client("ws://user:secret@echo.invalid/a").connect().unwrap_err();
    assert!(matches!(error, ClientError::Io(_)), "{error:?}");
    let text = chain(&error);
    assert!(
        text.starts_with("cannot connect to ws://echo.invalid/a: resolving echo.invalid: "),
        "{text}"
    );
    let builder = untimed_client("ws://echo.invalid/a").proxy("http://u:p@proxy.invalid").unwrap();
    let text = chain(&builder.connect().unwrap_err());
    assert!(
        text.starts_with("the connection to the proxy proxy.invalid:80 failed: resolving"),
        "{text}"
    );
}

#[test]
fn a_deadline_of_connecting_is_named() {
    let (_socket, address) = deserted();
    let builder = |url: &str| untimed_client(url).connect_timeout(std::time::Duration::ZERO);
    let error = builder(&format!("ws://{address}/")).connect().unwrap_err();
    assert!(
        matches!(&error, ClientError::TimedOut(ClientTimeout::Connect(host)) if **host == *"127.0.0.1")
    );
    let text = "connecting to 127.0.0.1 took longer than the connect timeout";
    assert_eq!(error.to_string(), text);
    let error = builder("ws://echo.invalid/")
        .resolver(|_, _| {
            loop {
                std::thread::park();
            }
        })
        .connect();
    let error = error.unwrap_err();
    assert!(
        matches!(&error, ClientError::TimedOut(ClientTimeout::Resolve(host)) if **host == *"echo.invalid")
    );
    assert!(error.to_string().starts_with("resolving echo.invalid took longer"), "{error}");
    assert!(error.is_retryable());
}

// req: W007
// attack: OS05
#[test]
fn nobody_listens() {
    let (_socket, address) = deserted();
    let url = format!("ws://{address}/");
    let error = untimed_client(&url).connect().unwrap_err();
    assert!(matches!(&error, ClientError::Io(error)
        if error.kind() == std::io::ErrorKind::ConnectionRefused));
    assert!(error.is_retryable());
    let text = chain(&error);
    let named = format!("cannot connect to {url}: connecting to {address}: ");
    assert!(text.starts_with(&named), "{text}");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    fn socket_path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("framewire-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn unix_sockets() {
        let path = socket_path("echo");
        let server = Server::bind_unix(&path).unwrap().config(untimed());
        thread::spawn(move || echo(server));
        let url = format!("ws+unix:{}:/chat?a=b", path.display());
        let client = untimed_client(&url).connect().unwrap();
        let (mut reader, mut writer) = client.split().unwrap();
        writer.send("hello").unwrap();
        assert_eq!(reader.recv().unwrap().unwrap().as_text(), Some("hello"));
        writer.close(1000, "").unwrap();
        assert_eq!(reader.recv().unwrap(), None);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_asked_behind_a_unix_socket() {
        let path = socket_path("request");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || read_head(&mut listener.accept().unwrap().0));
        let url = format!("ws+unix:{}:/chat?a=b", path.display());
        // Neither a redirect nor a proxy is of any concern to a Unix socket.
        let builder = untimed_client(&url).proxy("http://proxy.invalid").unwrap();
        let error = refused(builder);
        assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /chat?a=b HTTP/1.1\r\n"), "{request}");
        assert_eq!(header(&request, "Host"), Some("localhost"));
        std::fs::remove_file(&path).unwrap();
        let error = untimed_client(&url).connect().unwrap_err();
        assert!(matches!(&error, ClientError::Io(error)
            if error.kind() == std::io::ErrorKind::NotFound));
        assert!(error.is_retryable(), "a server that starts makes its socket");
        let text = chain(&error);
        // Errors go into logs, and what is secret often stands in the query.
        let (named, _) = url.split_once('?').unwrap();
        assert!(
            text.starts_with(&format!(
                "cannot connect to {named}: connecting to {}: ",
                path.display()
            )),
            "{text}"
        );
    }

    /// A listener with as many in its backlog as it takes.
    #[cfg(target_os = "linux")]
    fn crowded(path: &std::path::Path) -> (socket2::Socket, Vec<socket2::Socket>) {
        use socket2::{Domain, SockAddr, Socket, Type};
        let new = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let (listener, address) = (new(), SockAddr::unix(path).unwrap());
        listener.bind(&address).unwrap();
        listener.listen(1).unwrap();
        let mut waiting = Vec::new();
        loop {
            let socket = new();
            socket.set_nonblocking(true).unwrap();
            match socket.connect(&address) {
                Ok(()) => waiting.push(socket),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    return (listener, waiting);
                }
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_backlog_is_waited_for_until_the_deadline() {
        use std::time::Duration;
        let path = socket_path("crowded");
        let (listener, waiting) = crowded(&path);
        let url = format!("ws+unix:{}:/", path.display());
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let error = untimed_client(&url).connect_timeout(timeout).connect().unwrap_err();
            assert!(matches!(error, ClientError::TimedOut(ClientTimeout::Connect(_))), "{error:?}");
            assert!(error.to_string().contains(&*path.display().to_string()), "{error}");
        }
        let clients = [Some(LONG), None].map(|timeout| {
            let builder = untimed_client(&url).connect_timeout(timeout);
            thread::spawn(move || builder.connect())
        });
        // The deadline has left none of its own there: those who came first, and then these two.
        for _ in &waiting {
            drop(listener.accept().unwrap());
        }
        for _ in &clients {
            upgrade_any(&mut std::os::unix::net::UnixStream::from(listener.accept().unwrap().0));
        }
        for client in clients {
            client.join().unwrap().unwrap();
        }
        std::fs::remove_file(path).unwrap();
    }

    fn upgrade_any(stream: &mut (impl std::io::Read + Write)) {
        let request = read_head(stream);
        stream.write_all(switch(&request, "").as_bytes()).unwrap();
    }
}
