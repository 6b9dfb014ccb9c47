//! Through HTTP and SOCKS proxies that really relay.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;

use framewire::{Client, ClientBuilder, ClientError, ClientTimeout, ProxyError};

use super::support::*;

/// Copies both ways until both have ended.
fn relay(client: TcpStream, target: SocketAddr) {
    let server = TcpStream::connect(target).unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        // Either may end in a reset; that is the end, too.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let there = thread::spawn(move || copy(from, to));
    copy(server, client);
    there.join().unwrap();
}

/// Relays to `target`, whatever was asked for; gives back what was.
fn http_proxy(target: SocketAddr) -> Scripted<String> {
    Scripted::new(move |listener| {
        let mut client = accept(listener);
        let request = read_head(&mut client);
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        relay(client, target);
        request
    })
}

/// What a SOCKS proxy was asked: its greeting, the credentials, the request.
type Asked = (Vec<u8>, Vec<u8>, Vec<u8>);

fn take(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn socks_proxy(target: SocketAddr, method: u8, bound: &'static [u8]) -> Scripted<Asked> {
    Scripted::new(move |listener| {
        let mut client = accept(listener);
        let mut greeting = take(&mut client, 2);
        let methods = greeting[1].into();
        greeting.extend(take(&mut client, methods));
        client.write_all(&[5, method]).unwrap();
        let mut credentials = Vec::new();
        if method == 2 {
            credentials.extend(take(&mut client, 2));
            let length = credentials[1].into();
            credentials.extend(take(&mut client, length));
            let length = take(&mut client, 1)[0];
            credentials.push(length);
            credentials.extend(take(&mut client, length.into()));
            client.write_all(&[1, 0]).unwrap();
        }
        let mut request = take(&mut client, 5);
        let rest = match request[3] {
            1 => 5,
            3 => usize::from(request[4]) + 2,
            4 => 17,
            other => panic!("address type {other}"),
        };
        request.extend(take(&mut client, rest));
        client.write_all(&[5, 0, 0]).unwrap();
        client.write_all(bound).unwrap();
        relay(client, target);
        (greeting, credentials, request)
    })
}

fn check_echo(builder: ClientBuilder) {
    let mut client = builder.connect().unwrap();
    client.send("through").unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("through"));
    assert!(client.close(1000, "").unwrap().was_clean());
}

#[test]
fn http_proxies_are_asked_for_a_tunnel() {
    let proxy = http_proxy(echo_server());
    // Nobody but the proxy can know this name: a client that resolves it fails.
    let builder = untimed_client("ws://user:pass@echo.invalid/a");
    check_echo(builder.proxy(&format!("http://us%20er:pw@{}", proxy.address)).unwrap());
    let request = proxy.join();
    assert!(request.starts_with("CONNECT echo.invalid:80 HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "Host"), Some("echo.invalid:80"));
    assert_eq!(header(&request, "Proxy-Authorization"), Some("Basic dXMgZXI6cHc="));
    assert_eq!(header(&request, "Authorization"), None, "that is the server's");
}

#[test]
fn what_a_proxy_is_told_besides() {
    let proxy = http_proxy(echo_server());
    let builder = untimed_client("ws://echo.invalid/").no_user_agent();
    let builder = builder.proxy(&format!("http://user:pw@{}", proxy.address)).unwrap();
    let builder = builder.proxy_header("X-Tenant", "a").unwrap();
    check_echo(builder.proxy_header("Proxy-Authorization", "Bearer t").unwrap());
    let request = proxy.join();
    assert_eq!(header(&request, "X-Tenant"), Some("a"));
    assert_eq!(header(&request, "Proxy-Authorization"), Some("Bearer t"));
    assert_eq!(request.matches("Proxy-Authorization").count(), 1);
    for (name, value) in [("Host", "b"), ("content-length", "1"), ("X", "a\r\nY: b"), ("", "")] {
        let error = Client::builder("ws://h/").unwrap().proxy_header(name, value).unwrap_err();
        assert!(matches!(error, ClientError::Request(_)), "{name}: {error:?}");
    }
}

// req: W006
#[test]
fn an_explicit_proxy_is_for_this_machine_too() {
    let target = echo_server();
    let proxy = http_proxy(target);
    let builder = untimed_client(&format!("ws://{target}/"));
    check_echo(builder.proxy(&proxy.address.to_string()).unwrap());
    let request = proxy.join();
    assert!(request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{request}");
    assert_eq!(header(&request, "Proxy-Authorization"), None);
}

#[test]
fn socks_proxies_are_told_names() {
    let domain = b"\x03\x05a.b.c\x00\x50";
    let proxy = socks_proxy(echo_server(), 0, domain);
    let builder = untimed_client("ws://echo.invalid:81/");
    check_echo(builder.proxy(&format!("socks5h://{}", proxy.address)).unwrap());
    let (greeting, credentials, request) = proxy.join();
    assert_eq!((&greeting[..], &credentials[..]), (&b"\x05\x01\x00"[..], &b""[..]));
    assert_eq!(request, b"\x05\x01\x00\x03\x0cecho.invalid\x00\x51");
}

#[test]
fn socks_proxies_with_user_name_and_password() {
    let v6 = b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50";
    let proxy = socks_proxy(echo_server(), 2, v6);
    let builder = untimed_client("ws://192.0.2.1:81/");
    check_echo(builder.proxy(&format!("socks5://user:pw@{}", proxy.address)).unwrap());
    let (greeting, credentials, request) = proxy.join();
    assert_eq!(greeting, b"\x05\x02\x00\x02");
    assert_eq!(credentials, b"\x01\x04user\x02pw");
    assert_eq!(request, b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x51");
}

#[test]
fn socks_proxies_and_ipv6_addresses() {
    let v4 = b"\x01\x7f\x00\x00\x01\x00\x50";
    let proxy = socks_proxy(echo_server(), 0, v4);
    let builder = untimed_client("ws://[2001:db8::1]:81/");
    check_echo(builder.proxy(&format!("socks5://user:pw@{}", proxy.address)).unwrap());
    let (_, _, request) = proxy.join();
    let address = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
    assert_eq!(request, [b"\x05\x01\x00\x04", &address[..], b"\x00\x51"].concat());
}

/// The error of a client behind a proxy that says this to whatever it reads first.
fn refused_by(scheme: &str, answer: &'static [u8]) -> ClientError {
    let proxy = Scripted::new(move |listener| {
        let mut client = accept(listener);
        let _ = client.read(&mut [0; 1024]).unwrap();
        client.write_all(answer).unwrap();
        // The client may have read enough to hang up already.
        let _ = client.shutdown(Shutdown::Write);
        read_rest(&mut client);
    });
    let builder = untimed_client("ws://echo.invalid/");
    let error = refused(builder.proxy(&format!("{scheme}://u:p@{}", proxy.address)).unwrap());
    proxy.join();
    error
}

// req: W007
#[test]
fn proxies_that_refuse() {
    let cases: [(&str, &[u8], &str, bool); 9] = [
        ("http", b"HTTP/1.1 407 x\r\n\r\nno", "the proxy answered 407", false),
        ("http", b"HTTP/1.1 403 x\r\nContent-Length: 1\r\n\r\nn", "the proxy answered 403", false),
        ("http", b"HTTP/1.1 502 x\r\n\r\n", "the proxy answered 502", true),
        ("http", b"HTTP/1.1 200 x\r\n\r\nHTTP/1.1 101", "after its answer", false),
        ("http", b"\x05\x00", "the proxy's answer", false),
        ("socks5", b"HTTP/1.1 400 x\r\n\r\n", "does not speak SOCKS 5", false),
        ("socks5", b"\x05\xff", "another method of authentication", false),
        ("socks5", b"\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0", "connection refused", true),
        ("socks5", b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0", "not allowed", false),
    ];
    for (scheme, answer, expected, is_retryable) in cases {
        let error = refused_by(scheme, answer);
        assert!(matches!(error, ClientError::Proxy(_)), "{answer:?}: {error:?}");
        assert!(error.to_string().contains(expected), "{answer:?}: {error}");
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
        assert_eq!(error.status(), None, "that is the server's");
    }
    let ClientError::Proxy(error) = refused_by("http", b"HTTP/1.1 407 x\r\n\r\nno") else {
        panic!()
    };
    assert_eq!(error.status(), Some(407));
}

#[test]
fn proxies_that_cannot_be_reached() {
    let (_socket, address) = deserted();
    let builder = untimed_client("ws://echo.invalid/");
    let error = refused(builder.proxy(&address.to_string()).unwrap());
    assert!(matches!(error, ClientError::Proxy(ProxyError::Io(_))), "{error:?}");
    assert!(error.is_retryable());
}

// attack: HC04
#[test]
fn proxies_that_do_not_answer_meet_the_deadline_of_connecting() {
    for scheme in ["http", "socks5"] {
        let mut heard = longer_and_longer().map(|timeout| {
            let proxy = Scripted::new(|listener| read_rest(&mut accept(listener)));
            let builder = untimed_client("ws://echo.invalid/").connect_timeout(timeout);
            let error = refused(builder.proxy(&format!("{scheme}://{}", proxy.address)).unwrap());
            assert!(matches!(error, ClientError::TimedOut(ClientTimeout::Proxy(_))), "{error:?}");
            proxy.join()
        });
        assert!(heard.any(|heard| !heard.is_empty()), "the proxy is asked in time");
    }
}

#[test]
fn proxy_urls_that_cannot_be() {
    for url in ["ftp://h", "socks4://h", "http://", "http://h:0"] {
        let error = Client::builder("ws://h").unwrap().proxy(url).unwrap_err();
        assert!(matches!(error, ClientError::Proxy(_)), "{url}: {error:?}");
        assert!(!error.is_retryable());
    }
}

const CHILD: &str = "FRAMEWIRE_TEST_PROXY_OF";

/// The other half of the next test, in a process with an environment of its own.
#[test]
#[ignore = "run by the_environment_names_the_proxy in a process of its own"]
fn child_of_the_environment() {
    match std::env::var(CHILD).as_deref() {
        Ok("environment") => check_echo(untimed_client("ws://echo.invalid/")),
        Ok("none") => {
            let error = refused(untimed_client("ws://127.0.0.1:1/").no_proxy());
            assert!(matches!(error, ClientError::Io(_)), "{error:?}");
            // The name has no address, and the resolver may take its time to find out.
            let error = refused(untimed_client("ws://echo.invalid/").no_proxy());
            assert!(error.is_retryable(), "{error:?}");
        }
        other => panic!("only the other test knows what to do here: {other:?}"),
    }
}

#[test]
fn the_environment_names_the_proxy() {
    let proxy = http_proxy(echo_server());
    let child = |part: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "proxies::child_of_the_environment", "--ignored"]);
        command.env(CHILD, part).env("http_proxy", proxy.address.to_string());
        for other in ["ws_proxy", "WS_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"] {
            command.env_remove(other);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    };
    child("none");
    child("environment");
    assert!(proxy.join().starts_with("CONNECT echo.invalid:80 "));
}
