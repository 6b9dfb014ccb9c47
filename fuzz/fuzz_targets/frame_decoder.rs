//! Frame headers: any bytes, any prefix of them, and back.

#![no_main]

use framewire::wire::{FrameHeader, HeaderError, MAX_HEADER, Opcode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut answer = Ok(None);
    for end in 0..=bytes.len().min(MAX_HEADER + 2) {
        let next = FrameHeader::decode(&bytes[..end]);
        if answer == Ok(None) {
            if let Ok(Some((_, length))) = next {
                assert_eq!(length, end, "known before or after its last byte");
            }
            answer = next;
        } else {
            assert_eq!(next, answer, "more bytes changed the answer");
        }
    }
    assert_eq!(FrameHeader::decode(bytes), answer);
    assert!(answer != Ok(None) || bytes.len() < MAX_HEADER);
    if let Ok(Some((header, length))) = answer {
        assert_eq!(header.encode(&mut [0; MAX_HEADER]), &bytes[..length]);
    }
    if let Some(header) = any_header(bytes) {
        let mut room = [0; MAX_HEADER];
        let encoded = header.encode(&mut room);
        let opcode = header.opcode;
        let expected = match header.payload_len {
            _ if opcode.is_control() && !header.fin => Err(HeaderError::FragmentedControl(opcode)),
            126.. if opcode.is_control() => Err(HeaderError::ControlTooLong(opcode)),
            0x8000_0000_0000_0000.. => Err(HeaderError::LengthTopBit),
            _ => Ok(Some((header, encoded.len()))),
        };
        assert_eq!(FrameHeader::decode(encoded), expected);
    }
});

/// A header whose fields are taken from the bytes one by one.
fn any_header(bytes: &[u8]) -> Option<FrameHeader> {
    let (&[flags, opcode, shift], rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    Some(FrameHeader {
        fin: flags & 1 != 0,
        rsv1: flags & 2 != 0,
        rsv2: flags & 4 != 0,
        rsv3: flags & 8 != 0,
        opcode: Opcode::from_u8(opcode % 16)?,
        mask: rest.first_chunk().filter(|_| flags & 16 != 0).copied(),
        payload_len: u64::from_le_bytes(*length) >> (shift % 64),
    })
}
