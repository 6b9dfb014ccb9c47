//! Stored blocks: text as it is (RFC 1951 section 3.2.4).

/// How long the blocks are that [`store`] makes of `text`, with the start of an empty one.
pub(super) const fn stored_length(text: &[u8]) -> usize {
    text.len() + 5 * text.len().div_ceil(MOST_STORED) + 1
}

/// Appends `text` as stored blocks, none of them final.
pub(super) fn store(text: &[u8], output: &mut Vec<u8>) {
    for block in text.chunks(MOST_STORED) {
        // A chunk's length fits by construction.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        output.push(0);
        output.extend_from_slice(&length.to_le_bytes());
        output.extend_from_slice(&(!length).to_le_bytes());
        output.extend_from_slice(block);
    }
}

/// An empty stored block without its [`TAIL`]: what an empty message consists of, and what stored blocks
/// end with to be a message (RFC 7692 section 7.2.3.6).
pub(super) const EMPTY_MESSAGE: u8 = 0x00;

/// The end of an empty stored block, which does not go over the wire (RFC 7692 section 7.2.1).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The length of a stored block has 16 bits.
const MOST_STORED: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::super::strict_inflate::StrictInflate;
    use super::*;

    // req: D027, D028
    #[test]
    fn stored_blocks_are_a_message_too() {
        for length in [0, 1, 65_535, 65_536, 200_000] {
            let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut wire = Vec::new();
            store(&text, &mut wire);
            wire.push(EMPTY_MESSAGE);
            assert_eq!(wire.len(), stored_length(&text));
            let mut peer = StrictInflate::new(256);
            assert_eq!(peer.message(&wire).unwrap(), text);
        }
    }
}
