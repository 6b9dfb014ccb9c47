//! The opening handshakes that a peer may begin or answer.

use super::http::{Parameters, accept_of};
use super::random::{Draw, Random};

/// The request of a peer to a server.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    pub(crate) offers: Vec<Parameters>,
    pub(crate) subprotocols: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Upgrade,
    Plain,
    /// Answered with this status.
    Broken(u16),
}

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) const PATH: &str = "/chat?room=1";

impl Request {
    pub(crate) fn any(random: &mut Random) -> Self {
        let kind = match random.below(20) {
            0 => RequestKind::Plain,
            1 => RequestKind::Broken(random.pick(&[400, 405, 426])),
            _ => RequestKind::Upgrade,
        };
        let offers = (0..random.pick(&[0, 1, 1, 1, 2])).map(|_| any_parameters(true, random));
        let offers = offers.collect();
        let subprotocols = random.pick(&[vec![], vec!["a"], vec!["x", "a", "b"], vec!["x"]]);
        Self { kind, offers, subprotocols }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut lines = vec![format!("GET {PATH} HTTP/1.1"), "Host: example.com".to_owned()];
        let version = if self.kind == RequestKind::Broken(426) { 7 } else { 13 };
        match self.kind {
            RequestKind::Broken(405) => lines[0] = format!("POST {PATH} HTTP/1.1"),
            RequestKind::Broken(400) => lines.push("Host: example.org".to_owned()),
            _ => {}
        }
        if self.kind != RequestKind::Plain {
            lines.push("Upgrade: websocket\r\nConnection: Upgrade".to_owned());
            lines.push(format!("Sec-WebSocket-Key: {KEY}"));
            lines.push(format!("Sec-WebSocket-Version: {version}"));
            for offer in &self.offers {
                lines.push(format!("Sec-WebSocket-Extensions: {}", offer.write()));
            }
            if !self.subprotocols.is_empty() {
                lines.push(format!("Sec-WebSocket-Protocol: {}", self.subprotocols.join(", ")));
            }
        }
        lines.push("\r\n".to_owned());
        lines.join("\r\n").into_bytes()
    }
}

/// The answer of a peer to a client.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) kind: AnswerKind,
    pub(crate) deflate: Option<Parameters>,
    pub(crate) subprotocol: Option<&'static str>,
    /// What the client asks for.
    pub(crate) asked: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    Accept,
    Reject { status: u16, body: BodyKind, length: usize },
    Broken(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Announced,
    Chunked,
    UntilTheEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WrongAccept,
    NoUpgrade,
    UnknownExtension,
    UnaskedSubprotocol,
    OldVersion,
}

impl Answer {
    pub(crate) fn any(random: &mut Random) -> Self {
        let kind = match random.below(20) {
            0 | 1 => AnswerKind::Reject {
                status: random.pick(&[200, 302, 401, 404, 503]),
                body: random.pick(&[BodyKind::Announced, BodyKind::Chunked, BodyKind::UntilTheEnd]),
                length: random.length(300),
            },
            2 => AnswerKind::Broken(random.pick(&[
                Fault::WrongAccept,
                Fault::NoUpgrade,
                Fault::UnknownExtension,
                Fault::UnaskedSubprotocol,
                Fault::OldVersion,
            ])),
            _ => AnswerKind::Accept,
        };
        let deflate = random.percent(75).then(|| any_parameters(false, random));
        let asked: &[_] = if random.percent(30) { &["a", "c"] } else { &[] };
        let subprotocol = random.percent(if asked.is_empty() { 1 } else { 90 }).then_some("c");
        Self { kind, deflate, subprotocol, asked }
    }

    pub(crate) fn write(&self, key: &str) -> Vec<u8> {
        if let AnswerKind::Reject { status, body, length } = self.kind {
            let text = Self::body(length);
            let mut wire = format!("HTTP/1.1 {status} Whatever\r\nX-Test: 1\r\n").into_bytes();
            match body {
                BodyKind::Announced => {
                    wire.extend(format!("Content-Length: {length}\r\n\r\n").as_bytes());
                    wire.extend(text);
                }
                BodyKind::Chunked => {
                    wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in text.chunks(100) {
                        wire.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                        wire.extend_from_slice(chunk);
                        wire.extend_from_slice(b"\r\n");
                    }
                    wire.extend_from_slice(b"0\r\n\r\n");
                }
                BodyKind::UntilTheEnd => {
                    wire.extend_from_slice(b"\r\n");
                    wire.extend(text);
                }
            }
            return wire;
        }
        let fault = match self.kind {
            AnswerKind::Broken(fault) => Some(fault),
            _ => None,
        };
        let is = |one: Fault| fault == Some(one);
        let version = if is(Fault::OldVersion) { "1.0" } else { "1.1" };
        let mut lines = vec![format!("HTTP/{version} 101 Switching Protocols")];
        if !is(Fault::NoUpgrade) {
            lines.push("Upgrade: websocket".to_owned());
        }
        let accept = accept_of(if is(Fault::WrongAccept) { KEY } else { key });
        lines.push(format!("Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}"));
        if is(Fault::UnknownExtension) {
            lines.push("Sec-WebSocket-Extensions: x-unheard-of".to_owned());
        } else if let Some(deflate) = &self.deflate {
            lines.push(format!("Sec-WebSocket-Extensions: {}", deflate.write()));
        }
        let unasked = is(Fault::UnaskedSubprotocol).then_some("z");
        if let Some(name) = unasked.or(self.subprotocol) {
            lines.push(format!("Sec-WebSocket-Protocol: {name}"));
        }
        lines.push("\r\n".to_owned());
        lines.join("\r\n").into_bytes()
    }

    /// Whether the subprotocol is one that the client asked for, or none if it asked for none.
    pub(crate) fn fits_subprotocols(&self) -> bool {
        self.subprotocol.map_or(self.asked.is_empty(), |name| self.asked.contains(&name))
    }

    /// How many of these bytes are enough, for a client that keeps so much of a body.
    pub(crate) fn enough(&self, wire: &[u8], most_body: usize) -> Option<usize> {
        let AnswerKind::Reject { body, length, .. } = self.kind else { return Some(wire.len()) };
        let head = wire.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        match body {
            BodyKind::Announced => Some(head + length.min(most_body)),
            BodyKind::UntilTheEnd => (most_body <= length).then_some(head + most_body),
            // Behind the last chunk, an empty line is not waited for.
            BodyKind::Chunked if most_body > length || length == 0 && most_body > 0 => {
                Some(wire.len() - 2)
            }
            BodyKind::Chunked => {
                let heads = (0..most_body).step_by(100).map(|at| {
                    let chunk = (length - at).min(100);
                    format!("{chunk:x}\r\n").len() + if at > 0 { 2 } else { 0 }
                });
                Some(head + most_body + heads.sum::<usize>())
            }
        }
    }

    /// The body of a rejection.
    pub(crate) fn body(length: usize) -> Vec<u8> {
        (0..length).map(|at| b'a' + (at % 26) as u8).collect()
    }
}

fn any_parameters(offer: bool, random: &mut Random) -> Parameters {
    let bits = |random: &mut Random| match random.below(20) {
        0 => random.pick(&[7, 16]),
        _ => random.between(8, 15) as u8,
    };
    Parameters {
        server_forgets: random.percent(30),
        client_forgets: random.percent(30),
        server_bits: random.percent(30).then(|| bits(random)),
        client_bits: match random.below(10) {
            0..5 => offer.then_some(0),
            5..8 => Some(bits(random)),
            _ => None,
        },
        unknown: random.percent(3),
    }
}
