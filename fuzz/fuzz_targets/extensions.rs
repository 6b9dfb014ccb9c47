//! List headers, the negotiation of permessage-deflate, and headers that would forge lines.

#![no_main]

use arbitrary::Arbitrary;
use framewire::deflate::{DeflateConfig, accept_offer, offer, verify_response};
use framewire::handshake::{
    ClientRequest, Extension, HeadLimits, Headers, RequestReader, Response, Url, encode_key,
    encode_switching_protocols, is_token, parse_extensions, parse_subprotocols,
};
use framewire_fuzz::split_head;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    client: [u8; 2],
    server: [u8; 2],
    text: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let (client, server) = (config(input.client), config(input.server));
    lists(input.text, &client, &server);

    // What a client offers, a server can always meet, and both then mean the same.
    let offered = parse_extensions(offer(&client).as_bytes()).unwrap();
    let (params, answer) = accept_offer(&offered, &server).expect("we meet our own offers");
    let answer = parse_extensions(answer.as_bytes()).unwrap();
    assert_eq!(verify_response(&answer, &client), Ok(Some(params)));

    if let Ok(text) = std::str::from_utf8(input.text) {
        injection(text);
    }
});

fn config([bits, flags]: [u8; 2]) -> DeflateConfig {
    DeflateConfig::new()
        .server_no_context_takeover(flags & 1 != 0)
        .client_no_context_takeover(flags & 2 != 0)
        .server_max_window_bits(8 + (bits & 7))
        .and_then(|config| config.client_max_window_bits(8 + (bits >> 4 & 7)))
        .unwrap()
}

fn lists(text: &[u8], client: &DeflateConfig, server: &DeflateConfig) {
    if let Ok(names) = parse_subprotocols(text) {
        assert!(names.iter().all(|name| is_token(name.as_bytes())) && !names.is_empty());
        assert!(names.iter().enumerate().all(|(at, name)| !names[..at].contains(name)));
        assert_eq!(parse_subprotocols(names.join(", ").as_bytes()).as_ref(), Ok(&names));
    }
    let Ok(list) = parse_extensions(text) else { return };
    assert!(!list.is_empty());
    assert_eq!(parse_extensions(format(&list).as_bytes()).as_ref(), Ok(&list));

    if let Some((params, answer)) = accept_offer(&list, server) {
        assert!(
            (8..=server.params().server_max_window_bits())
                .contains(&params.server_max_window_bits())
        );
        assert!(
            (8..=server.params().client_max_window_bits())
                .contains(&params.client_max_window_bits())
        );
        assert!(
            params.server_no_context_takeover() >= server.params().server_no_context_takeover()
        );
        assert!(
            params.client_no_context_takeover() >= server.params().client_no_context_takeover()
        );
        for said in [answer, params.to_string()] {
            let said = parse_extensions(said.as_bytes()).unwrap();
            assert_eq!(verify_response(&said, &DeflateConfig::new()), Ok(Some(params)));
        }
    }
    if let Ok(Some(params)) = verify_response(&list, client) {
        assert!(
            (8..=client.params().client_max_window_bits())
                .contains(&params.client_max_window_bits())
        );
        assert!((8..=15).contains(&params.server_max_window_bits()));
        assert!(
            params.client_no_context_takeover() >= client.params().client_no_context_takeover()
        );
    }
}

fn format(list: &[Extension]) -> String {
    let element = |extension: &Extension| {
        let mut text = extension.name.clone();
        for (name, value) in &extension.parameters {
            text += &match value {
                Some(value) => format!("; {name}={value}"),
                None => format!("; {name}"),
            };
        }
        text
    };
    list.iter().map(element).collect::<Vec<_>>().join(", ")
}

/// Whatever an application passes on, no head has other lines than it should.
fn injection(text: &str) {
    let (name, value) = text.split_once(['=', '\0']).unwrap_or(("X-Text", text));
    let mut out = Vec::new();

    let response = Response::new(200).body("b");
    let response = response.clone().header(name, value).unwrap_or(response);
    let response = response.clone().reason(text).unwrap_or(response);
    response.encode("GET", None, &mut out);
    let head = split_head(&out);
    let added = response.headers().len();
    let upgrade = response.headers().contains("upgrade");
    let typed = response.headers().contains("content-type");
    assert_eq!(head.rest, b"b");
    assert_eq!(head.fields.len(), 3 + added + usize::from(upgrade) - usize::from(typed));
    assert!(head.start.starts_with("HTTP/1.1 200 "));
    if added == 1 {
        assert_eq!(head.get(name), Some(value.as_bytes()));
    }

    out.clear();
    let mut extra = Headers::new();
    let _ = extra.append(name, value);
    let key = encode_key([7; 16]);
    match encode_switching_protocols(&mut out, &key, Some(value), Some(text), &extra) {
        Ok(()) => {
            let head = split_head(&out);
            assert!(head.rest.is_empty());
            assert_eq!(head.fields.len(), 5 + extra.len());
            assert_eq!(head.get("sec-websocket-protocol"), Some(value.as_bytes()));
        }
        Err(_) => assert!(out.is_empty(), "nothing is written on an error"),
    }

    out.clear();
    let request = ClientRequest::new(&Url::parse("ws://h/").unwrap());
    let mut fields = 5;
    let with = |request: ClientRequest, new: Result<ClientRequest, _>, fields: &mut usize| {
        let new: Result<ClientRequest, framewire::handshake::ClientRequestError> = new;
        *fields += usize::from(new.is_ok());
        new.unwrap_or(request)
    };
    let new = request.clone().header(name, value);
    let request = with(request, new, &mut fields);
    let new = request.clone().origin(value);
    let request = with(request, new, &mut fields);
    let new = request.clone().subprotocols([name]);
    let request = with(request, new, &mut fields);
    request.encode(&key, Some(text), &mut out);
    let head = split_head(&out);
    let extensions = usize::from(head.get("sec-websocket-extensions").is_some());
    assert!(head.rest.is_empty());
    assert_eq!(head.fields.len(), fields + extensions);

    // It can break the grammar of a header that is another's, but not the head.
    let mut reader = RequestReader::new(HeadLimits::default());
    match reader.read(&out) {
        Ok(whole) => assert_eq!(whole.map(|(_, used)| used), Some(out.len())),
        Err(error) => assert!((400..=505).contains(&error.status())),
    }
}
