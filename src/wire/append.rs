/// The bytes copied at a time. The copy of the C library begins to use string instructions at about
/// twice that, and these take up to thirty times as long on some processors, as the addresses happen to be.
const STEP: usize = 1024;

/// Appends `bytes` to `buffer`: `extend_from_slice` in steps.
#[inline]
pub(crate) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= STEP {
        return buffer.extend_from_slice(bytes);
    }
    buffer.reserve(bytes.len());
    for step in bytes.chunks(STEP) {
        buffer.extend_from_slice(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order() {
        let bytes: Vec<u8> = (0..5000).map(|n| (n % 251) as u8).collect();
        for length in [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP, 5000] {
            let mut buffer = b"before".to_vec();
            append(&mut buffer, &bytes[..length]);
            assert_eq!(buffer, [b"before", &bytes[..length]].concat());
        }
    }
}
