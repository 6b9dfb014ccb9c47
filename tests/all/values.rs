//! Small values: what they are made of, what they become, what they say.

use std::borrow::{Borrow, Cow};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use framewire::handshake::{
    Authority, ClientRequest, Cookie, HeadError, HttpDate, InvalidHeader, Network,
    ProxyHeaderReader, RequestError, RequestParts, ResponseError, Url, encode_key,
};
use framewire::wire::{CloseCode, CloseFrame, CloseFrameError, HeaderError};
use framewire::{
    Bytes, Compress, Config, EntropyError, Event, Fragment, HandshakeError, Initiator, Message,
    MessageKind, Outcome, Outgoing, Prepared, ProtocolError, Response, SendError, Text,
    TimeoutKind, TrustedProxies, Workspace,
};

#[test]
fn texts_come_from_whatever_holds_one_and_give_it_back() {
    let owned = String::from("cafés");
    let text = Text::from("cafés");
    let same: [Text<'_>; 6] = [
        Text::from(&owned),
        Text::from(owned.clone()),
        Text::from(owned.clone().into_boxed_str()),
        Text::from(Cow::Borrowed("cafés")),
        Text::from(&text),
        Text::try_from(Bytes::from("cafés".as_bytes())).unwrap(),
    ];
    for other in same {
        assert_eq!(other, text);
        assert_eq!(other.as_str(), "cafés");
        assert_eq!(other.borrowed(), text);
        assert_eq!(
            (other.as_ref() as &str, other.as_ref() as &[u8]),
            ("cafés", "cafés".as_bytes())
        );
        assert_eq!(Borrow::<str>::borrow(&other), "cafés");
        assert_eq!(
            (other.to_string(), format!("{other:?}")),
            (owned.clone(), "\"cafés\"".to_owned())
        );
        assert_eq!(String::from(other.clone()), owned);
        assert_eq!(Cow::from(other.clone()), owned);
        assert_eq!(Bytes::from(other.clone()), *owned.as_bytes());
        assert_eq!(other.into_owned().into_bytes().into_vec(), owned.as_bytes());
    }
    assert_eq!(Text::try_from(Bytes::from(owned.clone().into_bytes())).unwrap(), text);
    assert_eq!(Text::try_from(Bytes::from(&[b'a', 0xc3][..])).unwrap_err().valid_up_to(), 1);
    assert_eq!(Text::try_from(Bytes::from(vec![b'a', 0xff])).unwrap_err().valid_up_to(), 1);
}

#[test]
fn bytes_come_from_whatever_holds_some_and_give_them_back() {
    let owned = vec![0, 1, 255];
    let bytes = Bytes::from(&[0, 1, 255]);
    let same: [Bytes<'_>; 6] = [
        Bytes::from(&owned[..]),
        Bytes::from(&owned),
        Bytes::from(owned.clone()),
        Bytes::from(owned.clone().into_boxed_slice()),
        Bytes::from(Cow::Borrowed(&owned[..])),
        Bytes::from(&bytes),
    ];
    for other in same {
        assert_eq!(other, bytes);
        assert_eq!(other.as_slice(), owned);
        assert_eq!(other.borrowed(), bytes);
        assert_eq!(other.as_ref(), owned);
        assert_eq!(Borrow::<[u8]>::borrow(&other), owned);
        assert_eq!(format!("{other:?}"), "[0, 1, 255]");
        assert_eq!(Vec::from(other.clone()), owned);
        assert_eq!(Cow::from(other.clone()), owned);
        assert_eq!(other.into_owned().into_vec(), owned);
    }
}

#[test]
fn messages_come_from_texts_and_bytes() {
    let (text, bytes) = (Text::from("a"), Bytes::from(b"a"));
    let texts: [Message<'_>; 8] = [
        "a".into(),
        (&String::from("a")).into_owned_message(),
        String::from("a").into(),
        Box::<str>::from("a").into(),
        Cow::Borrowed("a").into(),
        (&text).into(),
        text.clone().into(),
        Message::text("a"),
    ];
    for message in &texts {
        assert_eq!(
            (message.kind(), message.is_text(), message.is_binary()),
            (MessageKind::Text, true, false)
        );
        assert_eq!(
            (message.as_text(), message.as_bytes(), message.len()),
            (Some("a"), &b"a"[..], 1)
        );
        assert_eq!((message.as_ref(), message.to_string()), (&b"a"[..], "a".to_owned()));
        assert!(*message == *"a" && *message != *"b");
        assert_eq!(Message::from(message), *message);
        assert!(!message.is_empty());
    }
    let binaries: [Message<'_>; 8] = [
        (&b"a"[..]).into(),
        (&vec![b'a']).into_owned_message(),
        vec![b'a'].into(),
        vec![b'a'].into_boxed_slice().into(),
        Cow::Borrowed(&b"a"[..]).into(),
        (&bytes).into(),
        bytes.clone().into(),
        b"a".into(),
    ];
    for message in &binaries {
        assert_eq!(
            (message.kind(), message.is_text(), message.is_binary()),
            (MessageKind::Binary, false, true)
        );
        assert_eq!((message.as_text(), message.as_bytes()), (None, &b"a"[..]));
        assert_eq!(message.to_string(), "<binary, 1 bytes>");
        assert!(*message != *"a");
        assert_eq!(Message::from(message), *message);
    }
}

#[test]
fn a_message_of_the_other_kind_is_told_by_its_kind() {
    let error = Message::from(b"a").into_text().unwrap_err();
    assert_eq!(error.kind(), MessageKind::Binary);
    assert_eq!(error.to_string(), "a text message was expected, and this one is binary");
    let error = Message::from("a").into_binary().unwrap_err();
    assert_eq!(error.kind(), MessageKind::Text);
    assert_eq!(error.to_string(), "a binary message was expected, and this one is text");
}

/// The conversions from what is borrowed, for values that live no longer than the line.
trait IntoOwnedMessage<'m> {
    fn into_owned_message(self) -> Message<'static>;
}

impl<'m, T: Into<Message<'m>>> IntoOwnedMessage<'m> for T {
    fn into_owned_message(self) -> Message<'static> {
        self.into().into_owned()
    }
}

#[test]
fn what_is_sent_knows_its_length() {
    for (message, length) in [("", 0), ("abc", 3)] {
        let prepared = Prepared::from(message);
        assert_eq!((prepared.len(), prepared.is_empty()), (length, length == 0));
        assert_eq!(Prepared::from(&prepared).message(), Message::from(message));
        for outgoing in [Outgoing::from(message), Outgoing::from(&prepared)] {
            assert_eq!(
                (outgoing.len(), outgoing.is_empty()),
                (length, length == 0),
                "{outgoing:?}"
            );
        }
        let Outgoing::Own(own, compress) = Outgoing::from(message) else { panic!("it is its own") };
        assert_eq!((own, compress), (Message::from(message), Compress::Threshold));
    }
    assert_eq!(Prepared::new(b"\xff").message(), Message::from(b"\xff"));
}

#[test]
fn every_event_can_be_kept() {
    let request = RequestParts::new("GET", "/").unwrap().header("Host", "a").unwrap();
    let request = Arc::new(request.read(framewire::handshake::HeadLimits::default()).unwrap());
    let close = CloseFrame::new(CloseCode::NORMAL, "done").unwrap();
    let failed = HandshakeError::Request(RequestError::Timeout);
    let bytes = b"abc".to_vec();
    let events = |bytes: &'_ [u8]| -> Vec<String> {
        let fragment = Fragment::more(MessageKind::Binary, bytes);
        let events = [
            Event::Request(Arc::clone(&request)),
            Event::Http(Arc::clone(&request)),
            Event::Open(Arc::new(Response::new(200))),
            Event::Message(Message::from(bytes)),
            Event::Fragment(fragment.clone()),
            Event::Ping(bytes.into()),
            Event::Pong(bytes.into()),
            Event::Close(close.clone()),
            Event::HandshakeFailed(failed.clone()),
            Event::Failed(ProtocolError::InvalidUtf8),
        ];
        events
            .into_iter()
            .map(|event| {
                let shown = format!("{event:?}");
                let kept: Event<'static> = event.into_owned();
                assert_eq!(format!("{kept:?}"), shown);
                shown
            })
            .collect()
    };
    let shown = events(&bytes);
    assert_eq!(shown.len(), 10);
    assert!(shown[4].contains("Fragment") && shown[9].contains("InvalidUtf8"));
}

#[test]
fn an_outcome_says_how_the_connection_ended() {
    let close = CloseFrame::new(CloseCode::GOING_AWAY, "restart").unwrap();
    let ended =
        |initiator| Outcome::Clean { sent: close.clone(), received: close.clone(), initiator };
    let lost = |cause| Outcome::Lost { sent: None, received: None, cause };
    let timed_out =
        Outcome::TimedOut { timeout: TimeoutKind::Pong, sent: None, received: Some(close.clone()) };
    let nested = HandshakeError::Request(RequestError::Head(HeadError::BareLineFeed));
    let plain = HandshakeError::Response(ResponseError::Timeout);
    for (outcome, text, code, reason) in [
        (ended(Initiator::Local), "closed by this side with 1001", 1001, "restart"),
        (ended(Initiator::Remote), "closed by the peer with 1001", 1001, "restart"),
        (Outcome::Failed(ProtocolError::InvalidUtf8), "failed: text is not UTF-8", 1006, ""),
        (
            Outcome::HandshakeFailed(nested),
            "handshake failed: malformed request: a line feed without a carriage return",
            1006,
            "",
        ),
        (
            Outcome::HandshakeFailed(plain),
            &format!("handshake failed: {}", ResponseError::Timeout),
            1006,
            "",
        ),
        (Outcome::Rejected(Arc::new(Response::new(403))), "rejected with status 403", 1006, ""),
        (lost(None), "lost without a closing handshake", 1006, ""),
        (
            lost(Some(EntropyError::default().into())),
            "lost without a closing handshake: the source of entropy for masking keys failed",
            1006,
            "",
        ),
        (timed_out, "timeout: pong", 1001, "restart"),
    ] {
        assert_eq!(outcome.to_string(), text);
        assert_eq!((outcome.code(), outcome.reason()), (CloseCode(code), reason));
        let is_lost = matches!(outcome, Outcome::Lost { cause: Some(_), .. });
        assert_eq!(outcome.cause().is_some(), is_lost);
    }
}

#[test]
fn errors_of_the_engine_say_what_is_wrong() {
    let header = InvalidHeader::Name("a b".into());
    for (error, text) in [
        (SendError::Connecting, "connection is not open yet"),
        (SendError::Closing, "connection is closing"),
        (SendError::Closed, "connection is closed"),
        (SendError::Full, "the limit of unsent output is reached"),
        (SendError::NothingToAnswer, "no request waits for an answer"),
        (SendError::ControlTooLong(126), "control payload of 126 bytes, more than 125"),
        (CloseFrameError::InvalidUtf8.into(), "close reason is not UTF-8"),
        (SendError::UnfinishedMessage, "a fragmented message is unfinished"),
        (SendError::InvalidUtf8, "text fragments are not UTF-8"),
        (
            SendError::SubprotocolNotOffered("x".into()),
            "subprotocol \"x\" was not offered by the client",
        ),
        (header.clone().into(), &header.to_string()),
        (SendError::Status(100), "status 100 is not a final HTTP status"),
        (EntropyError::default().into(), "the source of entropy for masking keys failed"),
    ] {
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_none());
    }
    for (error, code, text) in [
        (ProtocolError::Header(HeaderError::Masked), 1002, "server sent a masked frame"),
        (ProtocolError::InvalidUtf8, 1007, "text is not UTF-8"),
        (ProtocolError::Close(CloseFrameError::TooShort), 1002, "close body of one byte"),
        (ProtocolError::MessageTooBig(9), 1009, "message is longer than 9 bytes"),
        (ProtocolError::TooManyFragments(9), 1008, "message has more than 9 fragments"),
        (ProtocolError::CorruptDeflate, 1007, "compressed message does not inflate"),
        (ProtocolError::TooManyFinalBlocks, 1008, "compressed message has too many final blocks"),
        (ProtocolError::OutOfMemory(7), 1009, "no memory for a message of 7 bytes"),
        (ProtocolError::Timeout(TimeoutKind::Message), 1008, "timeout: message"),
    ] {
        assert_eq!((error.close_code(), error.to_string()), (CloseCode(code), text.to_owned()));
    }
    for (timeout, text) in [
        (TimeoutKind::Handshake, "opening handshake"),
        (TimeoutKind::Rejection, "rejection"),
        (TimeoutKind::Decision, "decision"),
        (TimeoutKind::FirstMessage, "first message"),
        (TimeoutKind::Ping, "ping"),
        (TimeoutKind::Pong, "pong"),
        (TimeoutKind::Idle, "idle"),
        (TimeoutKind::Lifetime, "lifetime"),
        (TimeoutKind::Message, "message"),
        (TimeoutKind::Write, "write"),
        (TimeoutKind::Close, "closing handshake"),
    ] {
        assert_eq!(timeout.to_string(), text);
    }
    let requests = [RequestError::Timeout, RequestError::DecisionTimeout];
    let timeouts =
        requests.map(HandshakeError::from).into_iter().chain([ResponseError::Timeout.into()]);
    for error in timeouts {
        assert!(error.is_timeout() && error.source().is_none(), "{error}");
    }
    let head = ResponseError::Head(HeadError::StartLine);
    let error = HandshakeError::from(head.clone());
    assert_eq!(error.to_string(), head.to_string());
    assert!(error.source().is_some() && !error.is_timeout());
}

#[test]
fn limits_are_told_as_they_were_set() {
    let limit = Duration::from_secs(7);
    let config = Config::new()
        .handshake_timeout(limit)
        .close_timeout(limit)
        .ping_interval(limit)
        .pong_timeout(limit)
        .rejection_timeout(limit)
        .max_rejection_body(9);
    let told = |config: &Config| {
        [
            config.handshake_time_limit(),
            config.close_time_limit(),
            config.ping_time_limit(),
            config.pong_time_limit(),
            config.rejection_time_limit(),
        ]
    };
    assert_eq!(told(&config), [Some(limit); 5]);
    assert_eq!(config.rejection_body_limit(), 9);
    let none = config
        .handshake_timeout(None)
        .close_timeout(None)
        .ping_interval(None)
        .pong_timeout(None)
        .rejection_timeout(None);
    assert_eq!(told(&none), [None; 5]);
    let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
    assert!(none.proxies().is_none());
    assert!(none.trusted_proxies(proxies).proxies().is_some());
}

#[test]
fn a_workspace_and_its_parts_show_nothing_of_what_is_in_them() {
    assert_eq!(format!("{:?}", Workspace::default()), "Workspace { .. }");
    let mut workspace = Workspace::new();
    let date = HttpDate::parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    workspace.set_date(Some(date));
    assert_eq!(workspace.date(), Some(date));
    assert_eq!(date.duration_since_1970(), Duration::from_secs(784_111_777));
    assert_eq!(workspace.take_metrics(), *workspace.metrics());
    #[cfg(feature = "deflate")]
    assert!(format!("{:?}", workspace.codec_mut()).contains("Codec"));
    #[cfg(feature = "getrandom")]
    {
        use framewire::{Entropy, SystemEntropy};
        let mut entropy = SystemEntropy::default();
        let mut keys = [[0; 32]; 40];
        keys.iter_mut().for_each(|key| entropy.fill(key).unwrap());
        assert!(keys.iter().all(|key| *key != [0; 32]));
        assert_eq!(format!("{entropy:?}"), "SystemEntropy { .. }");
    }
}

#[test]
fn a_status_has_the_phrase_of_its_own_or_of_its_class() {
    for (status, phrase) in [
        (200, "OK"),
        (201, "Created"),
        (202, "Accepted"),
        (204, "No Content"),
        (205, "Reset Content"),
        (299, "Success"),
        (301, "Moved Permanently"),
        (302, "Found"),
        (303, "See Other"),
        (304, "Not Modified"),
        (307, "Temporary Redirect"),
        (308, "Permanent Redirect"),
        (399, "Redirection"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (402, "Payment Required"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (406, "Not Acceptable"),
        (408, "Request Timeout"),
        (409, "Conflict"),
        (410, "Gone"),
        (411, "Length Required"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (415, "Unsupported Media Type"),
        (417, "Expectation Failed"),
        (421, "Misdirected Request"),
        (422, "Unprocessable Content"),
        (426, "Upgrade Required"),
        (429, "Too Many Requests"),
        (431, "Request Header Fields Too Large"),
        (499, "Client Error"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (502, "Bad Gateway"),
        (503, "Service Unavailable"),
        (504, "Gateway Timeout"),
        (505, "HTTP Version Not Supported"),
        (599, "Server Error"),
    ] {
        assert_eq!(Response::new(status).reason_phrase(), phrase, "{status}");
    }
    for (response, status, body) in [
        (Response::bad_request("why"), 400, "why"),
        (Response::forbidden(), 403, "forbidden\n"),
        (Response::too_many_requests(), 429, "too many requests\n"),
    ] {
        assert_eq!((response.status(), response.body_bytes()), (status, body.as_bytes()));
    }
    let cookie = Cookie::new("a", "1").unwrap().secure();
    let response = Response::new(200).cookie(&cookie);
    assert_eq!(response.headers().get_str("Set-Cookie"), Some("a=1; Secure"));
}

#[test]
fn addresses_are_networks_of_one() {
    let (four, six) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::LOCALHOST);
    assert_eq!(Network::from(four).to_string(), "10.0.0.1");
    assert_eq!(Network::from(six).to_string(), "::1");
    assert_eq!(Network::try_from("10.0.0.0/8".to_owned()), "10.0.0.0/8".parse());
    assert!(Network::try_from("10.0.0.1/8".to_owned()).is_err());
    let proxies = TrustedProxies::new([four]).unwrap().and([six]).unwrap();
    assert!(proxies.trusts(IpAddr::V4(four)) && proxies.trusts(IpAddr::V6(six)));
    assert!(!proxies.trusts(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert!(!proxies.trusts_unix_sockets() && proxies.unix_sockets().trusts_unix_sockets());
    assert!(TrustedProxies::new(["10.0.0.0/8"]).unwrap().and(["nonsense"]).is_err());
}

#[test]
fn an_authority_does_not_show_its_password() {
    let url = Url::parse("ws://me:secret@example.com/").unwrap();
    let authority = url.authority();
    assert_eq!((authority.host(), authority.port()), ("example.com", 80));
    assert_eq!(authority.userinfo(), Some(("me", "secret")));
    assert_eq!(format!("{authority:?}"), "Authority(example.com:80)");
    assert_eq!(Authority::parse("[::1]", 1080).unwrap().to_string(), "[::1]:1080");
}

#[test]
fn a_request_is_changed_before_it_is_sent() {
    let sent = |request: &ClientRequest| {
        let mut out = Vec::new();
        request.encode(&encode_key([0; 16]), None, &mut out);
        String::from_utf8(out).unwrap()
    };
    let request = ClientRequest::new(&Url::parse("ws://me:secret@example.com/chat").unwrap());
    assert!(request.clone().host("two words").is_err());
    let request = request.host("other.example:81").unwrap();
    assert!(sent(&request).contains("\r\nHost: other.example:81\r\n"));
    // A cookie takes the place of the one of its name.
    let request = request.header("Cookie", "a=1; b=2").unwrap().cookie("a", "3").unwrap();
    assert!(sent(&request).contains("\r\nCookie: b=2; a=3\r\n"), "{}", sent(&request));
    let request = request.header("X-Kept", "yes").unwrap();
    let text = sent(&request.without_credentials());
    assert!(!text.contains("Cookie") && !text.contains("Authorization"), "{text}");
    assert!(text.contains("\r\nX-Kept: yes\r\n"));
    let there = Url::parse("ws://you@third.example/there").unwrap();
    let text = sent(&ClientRequest::new(&there).redirected(&there));
    assert!(text.starts_with("GET /there HTTP/1.1\r\nHost: third.example\r\n"), "{text}");
    assert!(text.contains("\r\nAuthorization: Basic "));
}

#[test]
fn a_proxy_header_without_addresses_names_none() {
    let mut reader = ProxyHeaderReader::new();
    assert!(!reader.has_begun());
    assert_eq!(reader.read(b"PROXY"), Ok(None));
    assert!(reader.has_begun());
    let (header, used) = reader.read(b" UNKNOWN\r\n").unwrap().unwrap();
    assert_eq!((header.version(), used), (1, 10));
    assert_eq!((header.source(), header.destination()), (None, None));
}

#[test]
fn a_close_code_is_a_number() {
    assert_eq!(u16::from(CloseCode::NORMAL), 1000);
    assert_eq!(CloseCode::from(4000), CloseCode(4000));
    assert_eq!(
        (format!("{:?}", CloseCode(1001)), CloseCode(1001).to_string()),
        ("CloseCode(1001)".into(), "1001".into())
    );
}
