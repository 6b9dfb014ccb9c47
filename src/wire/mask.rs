/// Masks or unmasks `payload` in place (RFC 6455 section 5.3); the two are the same operation.
///
/// `offset` is how many bytes of this frame's payload came before `payload`, so that a frame can be
/// worked through in pieces of any length:
///
/// ```
/// use framewire::wire::apply_mask;
///
/// let key = [0x37, 0xfa, 0x21, 0x3d];
/// let mut payload = *b"\x7f\x9f\x4d\x51\x58";
/// let (front, back) = payload.split_at_mut(3);
/// apply_mask(front, key, 0);
/// apply_mask(back, key, 3);
/// assert_eq!(&payload, b"Hello");
/// ```
#[doc(alias("unmask", "masking key", "xor"))]
#[inline]
pub fn apply_mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let key = u32::from_le_bytes(key).rotate_right(8 * (offset & 3) as u32);
    let wide = u64::from(key) << 32 | u64::from(key);
    // The last eight bytes are read before and written after the rest: where they overlap it, they say
    // the same, and no loop over single bytes is needed.
    let length = payload.len();
    let Some(last) = payload.last_chunk::<8>() else { return mask_short(payload, wide) };
    let turned = wide.rotate_right(8 * (length & 3) as u32);
    let last = (u64::from_le_bytes(*last) ^ turned).to_le_bytes();
    if length < LONG {
        mask_words(payload, wide);
    } else {
        mask_long(payload, wide);
    }
    if let Some(end) = payload.last_chunk_mut() {
        *end = last;
    }
}

/// From which length on a call pays off.
const LONG: usize = 256;

/// Eight bytes a step: the compiler widens the loop to the vectors of the target, and a plain word is
/// already enough for short payloads.
#[inline]
fn mask_words(payload: &mut [u8], wide: u64) {
    for word in payload.as_chunks_mut::<8>().0 {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
}

/// [`mask_words`], of which the compiler unrolls sixteen steps.
///
/// Cold, so that short payloads, to which a few instructions matter, do not pay for the call.
#[cold]
fn mask_long(payload: &mut [u8], wide: u64) {
    let (blocks, rest) = payload.as_chunks_mut::<128>();
    for block in blocks {
        mask_words(block, wide);
    }
    mask_words(rest, wide);
}

/// Masks less than eight bytes.
#[inline]
fn mask_short(payload: &mut [u8], wide: u64) {
    for (byte, key) in payload.iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytewise(payload: &mut [u8], key: [u8; 4], offset: usize) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[(index + offset) % 4];
        }
    }

    // req: W066
    #[test]
    fn equals_the_rfc_for_every_short_length_alignment_and_offset() {
        let source: Vec<u8> = (0..200u32).map(|i| (i * 167 + 13) as u8).collect();
        for key in [[0; 4], [1, 2, 3, 4], [0xff, 0, 0x80, 0x7f], [0, 0, 0, 9]] {
            for start in 0..16 {
                for end in start..source.len() {
                    for offset in [0, 1, 2, 3, 7, usize::MAX] {
                        let mut fast = source.clone();
                        let mut plain = source.clone();
                        apply_mask(&mut fast[start..end], key, offset);
                        bytewise(&mut plain[start..end], key, offset & 3);
                        assert_eq!(fast, plain);
                    }
                }
            }
        }
    }

    // req: W066
    #[test]
    fn equals_the_rfc_for_long_payloads_with_and_without_whole_blocks() {
        for length in [LONG - 1, LONG, LONG + 1, LONG + 127, LONG + 128, LONG + 129, 10 * LONG + 5]
        {
            let mut fast: Vec<u8> = (0..length).map(|i| (i * 167 + 13) as u8).collect();
            let mut plain = fast.clone();
            apply_mask(&mut fast, [1, 2, 3, 4], 3);
            bytewise(&mut plain, [1, 2, 3, 4], 3);
            assert_eq!(fast, plain, "{length} bytes");
        }
    }

    // req: W066, W068
    #[test]
    fn pieces_equal_the_whole() {
        let source: Vec<u8> = (0..100).collect();
        let key = [0xde, 0xad, 0xbe, 0xef];
        let mut whole = source.clone();
        apply_mask(&mut whole, key, 0);
        for split in 0..=source.len() {
            let mut pieces = source.clone();
            let (front, back) = pieces.split_at_mut(split);
            apply_mask(front, key, 0);
            apply_mask(back, key, split);
            assert_eq!(pieces, whole);
        }
    }
}
