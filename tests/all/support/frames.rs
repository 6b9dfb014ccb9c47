//! Frames written and read by hand: nothing here comes from the code that is tested.

use framewire::Role;

/// A frame as it stands on the wire, lawful or not (RFC 6455 section 5.2).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// RSV1 is 4, RSV2 is 2, RSV3 is 1.
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    /// `None`: as the role of the sender demands.
    masked: Option<bool>,
    key: [u8; 4],
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fin, reserved, opcode, payload, .. } = self;
        let shown = &payload[..payload.len().min(40)];
        write!(f, "{opcode:#x} fin {fin} rsv {reserved:03b} {} bytes: ", payload.len())?;
        write!(f, "{}", shown.escape_ascii())
    }
}

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    let payload = payload.as_ref().to_vec();
    let key = [0x37, 0xfa, 0x21, 0x3d];
    Frame { fin: true, reserved: 0, opcode, payload, masked: None, key }
}

pub(crate) fn text(payload: impl AsRef<[u8]>) -> Frame {
    frame(TEXT, payload)
}

pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Frame {
    frame(BINARY, payload)
}

pub(crate) fn continuation(payload: impl AsRef<[u8]>) -> Frame {
    frame(CONTINUATION, payload)
}

pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Frame {
    frame(PING, payload)
}

pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Frame {
    frame(PONG, payload)
}

pub(crate) fn close(code: u16, reason: &str) -> Frame {
    frame(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

pub(crate) fn close_empty() -> Frame {
    frame(CLOSE, [])
}

impl Frame {
    /// Not the last of its message.
    pub(crate) fn more(self) -> Self {
        Self { fin: false, ..self }
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn reserved(self, reserved: u8) -> Self {
        Self { reserved, ..self }
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn rsv1(self) -> Self {
        self.reserved(4)
    }

    pub(crate) fn masked(self, masked: bool) -> Self {
        Self { masked: Some(masked), ..self }
    }

    pub(crate) fn key(self, key: [u8; 4]) -> Self {
        Self { key, ..self }
    }

    /// The bytes that an endpoint in this role sends.
    pub(crate) fn by(&self, sender: Role) -> Vec<u8> {
        let masked = self.masked.unwrap_or(sender == Role::Client);
        let mut bytes = header(self.first_byte(), masked, self.payload.len() as u64);
        if masked {
            bytes.extend(self.key);
            let keys = self.key.iter().cycle();
            bytes.extend(self.payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    pub(crate) fn first_byte(&self) -> u8 {
        u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode
    }
}

/// A header without its masking key, whatever length it announces.
pub(crate) fn header(first: u8, masked: bool, length: u64) -> Vec<u8> {
    let mask = u8::from(masked) << 7;
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &length.to_be_bytes()].concat(),
    }
}

/// A header that announces `length` in eight bytes, with a masking key if a client sends it.
pub(crate) fn long_header(sender: Role, first: u8, length: u64) -> Vec<u8> {
    let client = sender == Role::Client;
    let mut bytes = vec![first, u8::from(client) << 7 | 127];
    bytes.extend(length.to_be_bytes());
    if client {
        bytes.extend([1, 2, 3, 4]);
    }
    bytes
}

/// The frames in `bytes`, unmasked. Panics at anything that an endpoint in this role must not send:
/// a wrong mask bit, a length in more bytes than it needs, a long or fragmented control frame, a
/// part of a frame.
pub(crate) fn sent_by(sender: Role, bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (first, second) = (rest[0], rest[1]);
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        assert_eq!(second & 0x80 != 0, sender == Role::Client, "{sender:?} and its mask bit");
        rest = &rest[2..];
        let length = match second & 0x7f {
            126 => {
                let (length, behind) = rest.split_first_chunk().expect("two bytes of length");
                rest = behind;
                u64::from(u16::from_be_bytes(*length))
            }
            127 => {
                let (length, behind) = rest.split_first_chunk().expect("eight bytes of length");
                rest = behind;
                u64::from_be_bytes(*length)
            }
            length => u64::from(length),
        };
        let announced = header(first, sender == Role::Client, length);
        assert_eq!(announced[1], second, "length {length} in the fewest bytes");
        assert!(opcode < 8 || (fin && length <= 125), "control frame {first:#x} of {length}");
        let mut key = [0; 4];
        if sender == Role::Client {
            let (found, behind) = rest.split_first_chunk().expect("a masking key");
            (key, rest) = (*found, behind);
        }
        let (payload, behind) = rest.split_at(usize::try_from(length).expect("a length"));
        rest = behind;
        let payload: Vec<u8> =
            payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        frames.push(Frame { fin, reserved: first >> 4 & 7, ..frame(opcode, payload) });
    }
    frames
}

/// The masking keys of a client's frames, in order.
pub(crate) fn mask_keys(mut bytes: &[u8]) -> Vec<[u8; 4]> {
    let mut keys = Vec::new();
    while let Some(&second) = bytes.get(1) {
        let (start, length) = match second & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => (10, u64::from_be_bytes(*bytes[2..].first_chunk().unwrap()) as usize),
            length => (2, usize::from(length)),
        };
        keys.push(*bytes[start..].first_chunk().unwrap());
        bytes = &bytes[start + 4 + length..];
    }
    keys
}

// req: W064
#[test]
fn frames_written_are_frames_read() {
    // The examples of RFC 6455 section 5.7.
    assert_eq!(text("Hello").by(Role::Server), b"\x81\x05Hello");
    assert_eq!(text("Hello").by(Role::Client), b"\x81\x857\xfa!=\x7f\x9fMQX");
    for length in [0, 125, 126, 65_535, 65_536] {
        let sent = [binary(vec![7; length]).more(), continuation("x"), ping("p")];
        for sender in [Role::Client, Role::Server] {
            let bytes: Vec<u8> = sent.iter().flat_map(|frame| frame.by(sender)).collect();
            assert_eq!(sent_by(sender, &bytes), sent);
        }
    }
}
