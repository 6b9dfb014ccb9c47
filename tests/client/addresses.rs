//! Where a client connects to, and how it asks there.

use std::net::TcpListener;

use framewire::handshake::{ClientRequestError, UrlError};
use framewire::{Client, ClientError, Server};

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

// req: W007
#[test]
fn nobody_listens() {
    let (_socket, address) = deserted();
    let url = format!("ws://{address}/");
    let error = untimed_client(&url).connect().unwrap_err();
    assert!(matches!(&error, ClientError::Io(error)
        if error.kind() == std::io::ErrorKind::ConnectionRefused));
    assert!(error.is_retryable());
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
    }
}
