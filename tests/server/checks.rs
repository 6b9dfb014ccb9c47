//! What ws checks of a handshake, in its order, and what it answers: rows a2 to a4 of behaviour.txt. Where
//! ws is mistaken, the test says what is done here.

use framewire::deflate::DeflateConfig;
use framewire::{Accept, Config, Decision, Response};

use crate::client::{Client, REQUEST, request_with};
use crate::house::{Call, House, Spy};
use crate::untimed::untimed;

/// The answer to a request, all of it; or the head alone, where a WebSocket is opened.
fn answer(config: &Config, request: &str) -> String {
    let (spy, log) = Spy::new(|_, _| {});
    let house = House::new(config.clone(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(request);
    let mut answer = client.read_head();
    if !answer.starts_with("HTTP/1.1 101 ") {
        answer.push_str(std::str::from_utf8(&client.read_to_end()).unwrap());
    }
    drop(client);
    house.stop(log);
    answer
}

fn without(name: &str) -> String {
    REQUEST.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect()
}

fn assert_is(answer: &str, status: u16, body: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    let length = body.len() + 1;
    assert!(answer.contains(&format!("\r\nContent-Length: {length}\r\n")), "{answer}");
    assert!(answer.ends_with(&format!("\r\n\r\n{body}\n")), "{answer}");
}

#[test]
fn a2_1_a_request_that_is_no_upgrade_is_a_426() {
    let plain = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let answer = answer(&untimed(), plain);
    assert_is(&answer, 426, "only WebSocket connections are served here");
    assert!(answer.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "{answer}");
}

#[test]
fn a2_5_a_path_is_compared_exactly_up_to_the_query() {
    let config = untimed().path("/chat");
    for (target, served) in [
        ("/chat", true),
        ("/chat?a=/b", true),
        ("/chat?", true),
        ("/chat/", false),
        ("/Chat", false),
        ("//chat", false),
        ("/chat/../chat", false),
        ("/ch%61t", false),
    ] {
        let answer = answer(&config, &REQUEST.replace("/chat", target));
        assert_eq!(answer.starts_with("HTTP/1.1 101 "), served, "{target}: {answer}");
    }
}

#[test]
fn a3_1_a_method_other_than_get_is_a_405() {
    let answer = answer(&untimed(), &REQUEST.replace("GET", "POST"));
    assert_is(&answer, 405, "the method is not allowed");
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
}

#[test]
fn a3_2_an_upgrade_to_something_else_is_a_plain_request() {
    let other = REQUEST.replace("Upgrade: websocket", "Upgrade: h2c");
    assert_is(&answer(&untimed(), &other), 426, "only WebSocket connections are served here");
    let loud = REQUEST.replace("Upgrade: websocket", "Upgrade: WebSocket");
    assert!(answer(&untimed(), &loud).starts_with("HTTP/1.1 101 "));
    // ws leaves this to Node, which tells it of an upgrade only then.
    let silent = without("Connection");
    assert_is(&answer(&untimed(), &silent), 400, "missing Connection header");
}

#[test]
fn a3_3_a_missing_or_invalid_key_is_a_400() {
    let missing = without("Sec-WebSocket-Key");
    assert_is(&answer(&untimed(), &missing), 400, "missing Sec-WebSocket-Key header");
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ==x"] {
        let bad = REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", key);
        assert_is(&answer(&untimed(), &bad), 400, "invalid Sec-WebSocket-Key header");
    }
}

/// ws answers 400; RFC 6455 section 4.4 asks for 426.
#[test]
fn a3_4_another_version_is_answered_with_those_that_are_spoken() {
    let with = |version: &str| REQUEST.replace("Version: 13", &format!("Version: {version}"));
    for version in ["0", "7", "12", "14"] {
        let answer = answer(&untimed(), &with(version));
        let body = format!("WebSocket version {version} is not supported, 13 and 8 are");
        assert_is(&answer, 426, &body);
        assert!(answer.contains("\r\nSec-WebSocket-Version: 13, 8\r\n"), "{answer}");
    }
    assert!(answer(&untimed(), &with("8")).starts_with("HTTP/1.1 101 "));
    // No number of RFC 6455 section 4.3; ws takes the first two.
    for version in ["013", "0x0d", "13.0", "256", "-1", ""] {
        let answer = answer(&untimed(), &with(version));
        assert_is(&answer, 400, "invalid Sec-WebSocket-Version header");
    }
    let missing = without("Sec-WebSocket-Version");
    assert_is(&answer(&untimed(), &missing), 400, "missing Sec-WebSocket-Version header");
}

/// ws answers 400, which would be the client's fault.
#[test]
fn a3_5_a_path_that_is_not_served_is_a_404() {
    let config = untimed().path("/other");
    assert_is(&answer(&config, REQUEST), 404, "nothing is served at this path");
}

#[test]
fn a3_6_a_malformed_list_of_subprotocols_is_a_400() {
    for list in [",", ", ,", "f oo", "f@o", "foo,foo", "foo;"] {
        let request = request_with(&format!("Sec-WebSocket-Protocol: {list}\r\n"));
        let answer = answer(&untimed(), &request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{list:?}: {answer}");
        assert!(answer.contains("invalid Sec-WebSocket-Protocol header: "), "{answer}");
    }
}

/// ws fails the handshake over an offer that it cannot meet; RFC 7692 section 5.1 has it declined.
#[test]
fn a3_7_a_malformed_list_of_extensions_is_a_400_and_an_offer_may_be_declined() {
    let on = untimed().deflate(DeflateConfig::default());
    let with = |list: &str| request_with(&format!("Sec-WebSocket-Extensions: {list}\r\n"));
    for config in [&on, &untimed()] {
        // ws reads the header only if compression is on.
        for list in [",", "foo;", "foo;bar=", "f@o"] {
            let answer = answer(config, &with(list));
            assert!(answer.starts_with("HTTP/1.1 400 "), "{list:?}: {answer}");
            assert!(answer.contains("invalid Sec-WebSocket-Extensions header: "), "{answer}");
        }
    }
    for list in [
        "unknown; a=b",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits=7",
    ] {
        let answer = answer(&on, &with(list));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{list:?}: {answer}");
        assert!(!answer.contains("Sec-WebSocket-Extensions"), "{list:?}: {answer}");
    }
    let accepted = answer(&on, &with("unknown, permessage-deflate"));
    assert!(accepted.contains("\r\nSec-WebSocket-Extensions: permessage-deflate"), "{accepted}");
}

/// The order of ws, but that the version comes before the key, and the path behind the lists.
#[test]
fn a3_12_the_first_fault_in_order_is_answered() {
    let config = untimed().path("/other").origins(["https://example.com"]);
    let faults = [
        ("POST", "GET", 405),
        ("Upgrade: h2c", "Upgrade: websocket", 426),
        ("Version: 7", "Version: 13", 426),
        ("Key: short", "Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Sec-WebSocket-Protocol: ,\r\n", "", 400),
        ("Sec-WebSocket-Extensions: ,\r\n", "", 400),
        ("/chat", "/other", 404),
        ("Origin: https://evil.example\r\n", "", 403),
    ];
    let bodies = [
        "the method is not allowed",
        "only WebSocket connections are served here",
        "WebSocket version 7 is",
        "invalid Sec-WebSocket-Key",
        "invalid Sec-WebSocket-Protocol",
        "invalid Sec-WebSocket-Extensions",
        "nothing is served at this path",
        "this origin is not allowed",
    ];
    let mut request = request_with(
        "Sec-WebSocket-Protocol: ,\r\nSec-WebSocket-Extensions: ,\r\n\
        Origin: https://evil.example\r\n",
    );
    for (fault, right, _) in &faults[..4] {
        request = request.replacen(right, fault, 1);
    }
    for ((fault, right, status), body) in faults.into_iter().zip(bodies) {
        let answer = answer(&config, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fault}: {answer}");
        assert!(answer.contains(&format!("\r\n\r\n{body}")), "{fault}: {answer}");
        request = request.replacen(fault, right, 1);
    }
    assert!(answer(&config, &request).starts_with("HTTP/1.1 101 "));
}

#[test]
fn a4_1_the_101_is_the_one_of_the_rfc() {
    let answer = answer(&untimed(), REQUEST);
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
}

#[test]
fn a4_2_the_subprotocol_is_the_servers_choice_of_those_offered() {
    let offer = request_with("Sec-WebSocket-Protocol: c, b, a\r\n");
    let chosen = |config: &Config, request: &str| {
        let head = answer(config, request);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let line = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        line.map(str::to_owned)
    };
    let config = untimed().subprotocols(["a", "b"]);
    assert_eq!(chosen(&config, &offer).as_deref(), Some("a"));
    // None in common, none spoken, none offered: it opens without one.
    assert_eq!(chosen(&untimed().subprotocols(["d"]), &offer), None);
    assert_eq!(chosen(&untimed(), &offer), None);
    assert_eq!(chosen(&config, REQUEST), None);
    // By choice the client's first, as ws has it; what the server speaks itself still comes before.
    let any = untimed().any_subprotocol();
    assert_eq!(chosen(&any, &offer).as_deref(), Some("c"));
    assert_eq!(chosen(&any, REQUEST), None);
    assert_eq!(chosen(&any.clone().subprotocols(["d"]), &offer).as_deref(), Some("c"));
    assert_eq!(chosen(&any.subprotocols(["a", "b"]), &offer).as_deref(), Some("a"));
    // A choice of its own for each request, in the client's order, as `handleProtocols` has it.
    let (spy, log) = Spy::new(|_, _| {});
    let spy = spy.deciding(|request| {
        let first = request.subprotocols().next().map(str::to_owned);
        let accept = first.map_or_else(Accept::new, |name| Accept::new().subprotocol(name));
        Decision::accept_with(accept, 0)
    });
    let house = House::new(config, spy);
    let mut client = Client::connect(house.address);
    client.send_raw(&offer);
    assert!(client.read_head().contains("\r\nSec-WebSocket-Protocol: c\r\n"));
    drop(client);
    house.stop(log);
}

#[test]
fn a4_3_header_fields_then_the_101_then_the_connection() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Open(id) = call {
            assert!(peer.peers().ids().contains(id));
            peer.send("behind the 101");
        }
    });
    let spy = spy.deciding(|_| {
        Decision::accept_with(Accept::new().header("X-Of-The-Application", "yes").unwrap(), 0)
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    log.next_open();
    let head = client.read_head();
    assert!(head.ends_with("\r\nX-Of-The-Application: yes\r\n\r\n"), "{head}");
    assert_eq!(client.read_text(), "behind the 101");
    // None of it can be forged.
    assert!(Accept::new().header("Sec-WebSocket-Accept", "x").is_err());
    assert!(Accept::new().header("X", "y\r\nZ: 1").is_err());
    assert!(Response::new(403).header("X", "y\r\nZ: 1").is_err());
    drop(client);
    house.stop(log);
}

/// A server of functions is told of all that one with a handler of its own is.
#[test]
fn a_server_of_functions_hears_of_the_whole_of_a_connection() {
    use std::sync::mpsc::channel;

    use framewire::Response;

    let (log, calls) = channel();
    let logs = [(); 4].map(|()| log.clone());
    let (started, address) = channel();
    let server = std::thread::spawn(move || {
        let [upgrades, opens, messages, closes] = logs;
        let server = crate::untimed::untimed_server();
        let address = server.local_addr().unwrap();
        let mut event_loop = server
            .on_upgrade(move |request| {
                upgrades.send(format!("upgrade {}", request.path())).unwrap();
                match request.path() {
                    "/chat" => Ok(7_u8),
                    _ => Err(Response::forbidden()),
                }
            })
            .on_open(move |peer| opens.send(format!("open {}", peer.session())).unwrap())
            .on_message(move |peer, message| {
                messages.send(format!("message {}", message.as_text().unwrap())).unwrap();
                peer.send(message);
            })
            .on_close(move |_, outcome| {
                closes.send(format!("close {}", outcome.code())).unwrap();
            })
            .into_event_loop()
            .unwrap();
        started.send((address, event_loop.handle())).unwrap();
        event_loop.run().unwrap();
    });
    let (address, handle) = address.recv_timeout(crate::untimed::PATIENCE).unwrap();
    let expect = |expected: &str| {
        assert_eq!(calls.recv_timeout(crate::untimed::PATIENCE).unwrap(), expected);
    };
    let refused =
        crate::client::Client::ask(address, crate::client::REQUEST.replace("/chat", "/no"));
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    expect("upgrade /no");
    let mut client = crate::client::Client::open(address);
    client.send_frame(crate::client::TEXT, "words");
    assert_eq!(client.read_text(), "words");
    client.send_close(4321, "");
    assert_eq!(client.read_close().0, 4321);
    client.read_eof();
    drop(client);
    for expected in ["upgrade /chat", "open 7", "message words", "close 4321"] {
        expect(expected);
    }
    handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    server.join().unwrap();
    assert!(calls.try_recv().is_err(), "nothing else was called");
}
