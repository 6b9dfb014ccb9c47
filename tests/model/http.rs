//! The opening handshake as the model writes and reads it (RFC 6455 section 4, RFC 7692 section 7).

use super::settings::DeflateKnobs;

/// `Sec-WebSocket-Accept` for this `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
pub(crate) fn accept_of(key: &str) -> String {
    base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// Base 64 with padding (RFC 4648 section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3)
            .fold(0, |sum, at| sum << 8 | usize::from(three.get(at).copied().unwrap_or_default()));
        for at in 0..4 {
            let letter = char::from(ALPHABET[number >> (18 - 6 * at) & 63]);
            text.push(if at <= three.len() { letter } else { '=' });
        }
    }
    text
}

/// FIPS 180-4 section 6.1.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() < message.len() + 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(8 * message.len() as u64).to_be_bytes());
    let mut hash: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks(64) {
        let mut words: Vec<u32> = block
            .chunks(4)
            .map(|four| four.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
            .collect();
        for at in 16..80 {
            let word = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
            words.push(word.rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = hash;
        for (at, word) in words.iter().enumerate() {
            let (f, k) = match at / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(k)
                .wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, part) in hash.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut bytes = [0; 20];
    for (four, word) in bytes.chunks_mut(4).zip(hash) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// A head, as the model reads it: lines that end with CR LF, one colon each.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads the head at the front of `bytes`, and cuts it off.
    pub(crate) fn read(bytes: &mut &[u8]) -> Result<Self, String> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no whole head")?;
        let text = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
        *bytes = &bytes[end + 4..];
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("field {line:?}"))?;
            Ok((name.to_ascii_lowercase(), value.to_owned()))
        });
        let fields = fields.collect::<Result<_, String>>()?;
        if text.replace("\r\n", "").contains(['\r', '\n']) {
            return Err("a bare CR or LF".into());
        }
        Ok(Self { start, fields })
    }

    /// All values of a field, joined as a list (RFC 9110 section 5.3); `None` if there is none.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let values = self.fields.iter().filter(|field| field.0 == name);
        let values: Vec<&str> = values.map(|field| &*field.1).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// What both ends agreed on for permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) server_forgets: bool,
    pub(crate) client_forgets: bool,
    pub(crate) server_bits: u8,
    pub(crate) client_bits: u8,
}

/// The parameters of one permessage-deflate in a header, as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) server_forgets: bool,
    pub(crate) client_forgets: bool,
    pub(crate) server_bits: Option<u8>,
    /// `Some(0)` stands there without a value.
    pub(crate) client_bits: Option<u8>,
    /// A parameter that nobody knows.
    pub(crate) unknown: bool,
}

impl Parameters {
    pub(crate) fn write(&self) -> String {
        let mut text = String::from("permessage-deflate");
        if self.server_forgets {
            text += "; server_no_context_takeover";
        }
        if self.client_forgets {
            text += "; client_no_context_takeover";
        }
        if let Some(bits) = self.server_bits {
            text += &format!("; server_max_window_bits={bits}");
        }
        match self.client_bits {
            None => {}
            Some(0) => text += "; client_max_window_bits",
            Some(bits) => text += &format!("; client_max_window_bits={bits}"),
        }
        if self.unknown {
            text += "; unknown";
        }
        text
    }

    /// Reads what an engine wrote: nothing but a permessage-deflate with known parameters.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut parts = text.split("; ");
        if parts.next() != Some("permessage-deflate") {
            return Err(format!("extension {text:?}"));
        }
        let mut read = Self::default();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, "0"));
            let bits = value.parse().map_err(|_| format!("parameter {part:?}"))?;
            match name {
                "server_no_context_takeover" => read.server_forgets = true,
                "client_no_context_takeover" => read.client_forgets = true,
                "server_max_window_bits" => read.server_bits = Some(bits),
                "client_max_window_bits" => read.client_bits = Some(bits),
                _ => return Err(format!("parameter {part:?}")),
            }
        }
        Ok(read)
    }

    fn is_valid(&self) -> bool {
        let valid = |bits: u8| (8..=15).contains(&bits);
        !self.unknown
            && self.server_bits.is_none_or(valid)
            && self.client_bits.is_none_or(|bits| bits == 0 || valid(bits))
    }
}

/// What a server with these settings agrees on: the first offer that it can meet.
pub(crate) fn agree(offers: &[Parameters], knobs: Option<&DeflateKnobs>) -> Option<Agreed> {
    let knobs = knobs?;
    offers.iter().find_map(|offer| {
        let client_bits = match offer.client_bits {
            Some(0) => knobs.client_bits,
            Some(bits) => bits.min(knobs.client_bits),
            None => 15,
        };
        (offer.is_valid() && client_bits <= knobs.client_bits).then(|| Agreed {
            server_forgets: offer.server_forgets || knobs.server_forgets,
            client_forgets: offer.client_forgets || knobs.client_forgets,
            server_bits: offer.server_bits.unwrap_or(15).min(knobs.server_bits),
            client_bits,
        })
    })
}

/// What a client with these settings agrees on when this answer comes; `None` if it must fail.
pub(crate) fn agree_as_client(answer: &Parameters, knobs: &DeflateKnobs) -> Option<Agreed> {
    let agreed = Agreed {
        server_forgets: answer.server_forgets,
        client_forgets: answer.client_forgets || knobs.client_forgets,
        server_bits: answer.server_bits.unwrap_or(15),
        client_bits: answer.client_bits.unwrap_or(knobs.client_bits),
    };
    let fits = answer.is_valid()
        && answer.client_bits != Some(0)
        && agreed.client_bits <= knobs.client_bits
        && answer.server_bits.is_none_or(|bits| bits <= knobs.server_bits);
    fits.then_some(agreed)
}

#[test]
fn the_example_of_the_rfc_comes_out() {
    assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(
        [base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo")].join(" "),
        " Zg== Zm8= Zm9v"
    );
    for length in 50..70 {
        let (one, other) = (sha1(&vec![b'a'; length]), sha1(&vec![b'a'; length + 1]));
        assert_ne!(one, other);
    }
}
