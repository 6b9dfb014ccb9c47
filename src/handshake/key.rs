//! The key of the client and the server's proof that it read it (RFC 6455 sections 1.3 and 4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The value of `Sec-WebSocket-Accept` that answers `key` (RFC 6455 section 4.2.2, item 5.4).
///
/// The key is taken as the characters of `Sec-WebSocket-Key`, without white space around; it is not
/// decoded.
///
/// ```
/// use framewire::handshake::accept_key;
///
/// assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[doc(alias = "Sec-WebSocket-Accept")]
#[must_use]
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(GUID);
    encode(&hash.digest().bytes())
}

/// Whether this is a `Sec-WebSocket-Key`: base64 of exactly 16 bytes (RFC 6455 section 4.2.1, item
/// 5).
///
/// Sixteen bytes are 22 characters and `==`. The four bits that the last character has to spare may
/// have any value, since RFC 4648 section 3.5 leaves that to the reader.
#[must_use]
pub fn is_valid_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some((characters, b"==")) = key.split_first_chunk::<22>() else { return false };
    // All of them are looked at, so that this is done for many at once.
    characters.iter().fold(true, |so_far, byte| so_far & is_base64(byte))
}

/// The `Sec-WebSocket-Key` of a nonce (RFC 6455 section 4.1, item 7).
///
/// The nonce has to be chosen at random for each connection.
#[doc(alias = "Sec-WebSocket-Key")]
#[must_use]
pub fn encode_key(nonce: [u8; 16]) -> [u8; 24] {
    encode(&nonce)
}

/// Fixed by RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

fn encode<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    let written = STANDARD.encode_slice(bytes, &mut text);
    debug_assert_eq!(written, Ok(LENGTH), "callers name the length that the bytes give");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: W021, W040
    #[test]
    fn example_of_the_rfc() {
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    // req: W013
    #[test]
    fn nonces_become_keys() {
        assert_eq!(&encode_key(*b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
        for byte in 0..=255 {
            assert!(is_valid_key(&encode_key([byte; 16])));
        }
    }

    // req: W030 (HS19)
    #[test]
    fn keys() {
        assert!(is_valid_key(b"AAAAAAAAAAAAAAAAAAAAAB=="));
        let long = [b'A'; 8192];
        for key in [
            &b""[..],
            b"AAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAAAAAAAAA=",
            b"AAAAAAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAAAAAAAAA==",
            b"AAAAAAAAAAAAAAAAAAAA-_==",
            b"AAAAAAAAAAAAAAAAAAAAA===",
            b"AAAAAAAAAAA AAAAAAAAAA==",
            b"AAAAAAAAAAAAAAAAAAAA\xff\xff==",
            b"==AAAAAAAAAAAAAAAAAAAAAA",
            &long,
        ] {
            assert!(!is_valid_key(key), "{:?}", key.escape_ascii().to_string());
        }
    }
}
