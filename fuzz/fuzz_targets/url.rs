//! URLs: any text is one that means the same when it is written again, or none; references lead to one, or nowhere.

#![no_main]

use arbitrary::Arbitrary;
use framewire::handshake::{ClientRequest, Url, encode_key, percent_decode};
use framewire_fuzz::split_head;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Begins the text as most URLs do.
    scheme: Scheme,
    text: &'a str,
    reference: &'a str,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Scheme {
    Any,
    Ws,
    Wss,
    Unix,
}

fuzz_target!(|input: Input<'_>| {
    let scheme = match input.scheme {
        Scheme::Any => "",
        Scheme::Ws => "ws://",
        Scheme::Wss => "wss://",
        Scheme::Unix => "ws+unix:",
    };
    let text = format!("{scheme}{}", input.text);
    let Some(url) = read(&text) else { return };
    let is_unix = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("ws+unix:"));
    assert_eq!(url.socket_path().is_some(), is_unix, "{text}");
    let is_secure = ["wss:", "https:"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    assert_eq!(url.is_secure(), is_secure, "{text}");
    ask(&url);

    // Nothing is where it is, and the whole of another URL is that.
    let (here, reference) = (url.join("").unwrap(), input.reference);
    assert_eq!((here.target(), here.is_same_origin(&url)), (url.target(), true), "{text}");
    if let Ok(joined) = url.join(reference) {
        ask(&joined);
        match Url::parse(reference) {
            Ok(whole) => {
                assert_eq!(joined.target(), whole.target());
                assert!(joined.is_same_origin(&whole), "{text} {reference}: {joined}");
            }
            // What names no place stays at this one.
            Err(_) if !reference.starts_with("//") && !reference.contains([':', '\\']) => {
                assert!(joined.is_same_origin(&url), "{text} {reference}: {joined}");
                assert_eq!(joined.userinfo(), url.userinfo());
            }
            Err(_) => {}
        }
        // A password never goes elsewhere.
        if !joined.is_same_origin(&url)
            && Url::parse(reference).is_err()
            && !reference.contains('@')
        {
            assert_eq!(joined.userinfo(), None, "{text} {reference}");
        }
    }
});

/// What a text means, held against what it means when it is written again.
fn read(text: &str) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "a log line is split");
            return None;
        }
    };
    assert!(!text.chars().any(|char| char.is_ascii_control() || char == ' '), "{text}");
    let written = url.to_string();
    let again = Url::parse(&written).unwrap_or_else(|error| panic!("{text}: {written}: {error}"));
    assert_eq!(again.to_string(), written);
    assert_eq!((again.target(), again.host_header()), (url.target(), url.host_header()));
    assert!(again.is_same_origin(&url) && url.is_same_origin(&again), "{written} is another place");
    // It can be logged.
    assert_eq!(again.userinfo(), None, "{written}");
    if let Some(address) = url.address() {
        assert!(url.zone().is_none() || address.is_ipv6());
    }
    assert_eq!(percent_decode(url.target()).is_some(), percent_decode(again.target()).is_some());
    Some(url)
}

/// The request for it is one head, whose first line and host are the URL's.
fn ask(url: &Url) {
    assert!(
        url.target().starts_with('/') && url.target().bytes().all(|byte| byte.is_ascii_graphic())
    );
    assert!(!url.target().contains('#'));
    assert!(url.port() != 0 && !url.host().is_empty());
    let host = url.host_header();
    assert!(
        host.bytes().all(|byte| byte.is_ascii_graphic()) && !host.contains(['/', '@', '?', '#'])
    );
    let mut out = Vec::new();
    ClientRequest::new(url).encode(&encode_key([7; 16]), None, &mut out);
    let head = split_head(&out);
    assert!(head.rest.is_empty());
    assert_eq!(head.start, format!("GET {} HTTP/1.1", url.target()));
    assert_eq!(head.fields.iter().filter(|field| field.0.eq_ignore_ascii_case("host")).count(), 1);
    assert_eq!(head.get("host"), Some(host.as_bytes()));
    assert_eq!(head.get("authorization").is_some(), url.userinfo().is_some());
}
