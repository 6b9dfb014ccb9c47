use crate::LiveInflate;

/// What one end said on an open connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Message { text: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
}

/// The compression that was agreed on for one direction.
#[derive(Clone, Copy, Debug)]
pub struct Compression {
    pub takeover: bool,
}

/// Reads all of `bytes` as the frames of one end, and panics on anything that RFC 6455 or RFC 7692 does
/// not allow this end to send. With `cut`, the last frame may be unfinished.
pub fn read_frames(
    mut bytes: &[u8],
    masked: bool,
    compression: Option<Compression>,
    cut: bool,
) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    let mut inflate = compression.map(|compression| LiveInflate::new(compression.takeover));
    let mut unfinished: Option<(bool, bool, Vec<u8>)> = None;
    while !bytes.is_empty() {
        let Some((frame, rest)) = Frame::read(bytes, masked) else {
            assert!(cut, "the output ends inside a frame");
            break;
        };
        bytes = rest;
        assert!(!matches!(said.last(), Some(Said::Close(_))), "a frame follows the Close");
        assert_eq!(frame.first & 0x30, 0, "RSV2 or RSV3 is set");
        let (fin, rsv1) = (frame.first & 0x80 != 0, frame.first & 0x40 != 0);
        let opcode = frame.first & 0x0f;
        if opcode >= 8 {
            assert!(fin && !rsv1 && frame.payload.len() <= 125, "a malformed control frame");
        }
        match opcode {
            0..=2 => {
                let (text, compressed, mut payload) = match (opcode, unfinished.take()) {
                    (0, Some(message)) => {
                        assert!(!rsv1, "RSV1 on a continuation");
                        message
                    }
                    (1 | 2, None) => (opcode == 1, rsv1, Vec::new()),
                    _ => panic!("opcode {opcode} out of sequence"),
                };
                payload.extend_from_slice(&frame.payload);
                if !fin {
                    unfinished = Some((text, compressed, payload));
                    continue;
                }
                if compressed {
                    let inflate = inflate.as_mut().expect("RSV1 without an agreement");
                    let mut plain = Vec::new();
                    inflate.message(&payload, &mut plain).expect("the payload inflates");
                    payload = plain;
                }
                assert!(!text || std::str::from_utf8(&payload).is_ok(), "text that is not UTF-8");
                said.push(Said::Message { text, payload });
            }
            8 => {
                if let Some((code, reason)) = frame.payload.split_first_chunk() {
                    let code = u16::from_be_bytes(*code);
                    let sendable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                    assert!(sendable, "a Close with code {code}");
                    assert!(std::str::from_utf8(reason).is_ok(), "a reason that is not UTF-8");
                } else {
                    assert!(frame.payload.is_empty(), "a Close with half a code");
                }
                said.push(Said::Close(frame.payload));
            }
            9 => said.push(Said::Ping(frame.payload)),
            10 => said.push(Said::Pong(frame.payload)),
            _ => panic!("reserved opcode {opcode}"),
        }
    }
    said
}

struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn read(bytes: &[u8], masked: bool) -> Option<(Self, &[u8])> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        assert_eq!(second & 0x80 != 0, masked, "the mask bit is wrong");
        let (length, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u64::from(u16::from_be_bytes(*length));
                assert!(length >= 126, "a length that is not minimal");
                (length, rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u64::from_be_bytes(*length);
                assert!((65_536..1 << 63).contains(&length), "a length that is not minimal");
                (length, rest)
            }
            length => (u64::from(length), rest),
        };
        let (key, rest) = if masked { rest.split_first_chunk()? } else { (&[0; 4], rest) };
        let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let payload =
            payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        Some((Self { first, payload }, rest))
    }
}

/// An HTTP head as an old and careless reader sees it.
pub struct Head<'b> {
    pub start: &'b str,
    pub fields: Vec<(&'b str, &'b [u8])>,
    pub rest: &'b [u8],
}

impl<'b> Head<'b> {
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }
}

/// Splits a head off at its first empty line, and its fields at every line feed.
pub fn split_head(bytes: &[u8]) -> Head<'_> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let mut lines = bytes[..end].split(|&byte| byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r'), "a carriage return inside a line");
        line
    });
    let start = std::str::from_utf8(lines.next().unwrap_or_default()).expect("a start line");
    let fields = lines.map(|line| {
        let colon = line.iter().position(|&byte| byte == b':').expect("a colon in every field");
        let name = std::str::from_utf8(&line[..colon]).expect("a name");
        (name, line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]))
    });
    Head { start, fields: fields.collect(), rest: &bytes[end + 4..] }
}
