//! Frame headers as connections read them: any bytes under any rules, any prefix of them, and back.

#![no_main]

use arbitrary::Arbitrary;
use framewire::wire::{FrameHeader, HeaderError, HeaderRules, MAX_HEADER, Opcode};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    masked: bool,
    rsv1: bool,
    inside_message: bool,
    max_payload_len: u64,
    max_rsv1_payload_len: u64,
    /// By how many bits the limits are shifted down, so that small ones are common.
    shift: u8,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let bytes = input.bytes;
    let mut rules = if input.masked { HeaderRules::masked() } else { HeaderRules::unmasked() };
    rules.rsv1 = input.rsv1;
    rules.inside_message = input.inside_message;
    rules.max_payload_len = input.max_payload_len >> (input.shift % 64);
    rules.max_rsv1_payload_len = input.max_rsv1_payload_len >> (input.shift % 64);

    let answer = by_prefixes(bytes, |bytes| FrameHeader::decode_with(bytes, &rules));
    let lax = by_prefixes(bytes, FrameHeader::decode);
    match answer {
        Ok(Some((header, length))) => {
            assert_eq!(lax, answer, "in order only where there are rules");
            assert_eq!(header.encode(&mut [0; MAX_HEADER]), &bytes[..length]);
            check_rules(&header, &rules);
        }
        Ok(None) => assert_eq!(lax, answer, "known only where there are no rules"),
        // The rules find more faults, and none later.
        Err(_) => {}
    }

    let whole = answer.ok().flatten().filter(|(header, length)| {
        let kind = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let come = bytes.len() - length;
        kind && header.fin && !header.rsv1 && header.payload_len < (1 << 16).min(come as u64 + 1)
    });
    assert_eq!(FrameHeader::decode_whole_message(bytes, &rules), whole);

    if let Some(header) = any_header(bytes) {
        let mut room = [0; MAX_HEADER];
        let encoded = header.encode(&mut room);
        let opcode = header.opcode;
        let expected = match header.payload_len {
            _ if opcode.is_control() && !header.fin => Err(HeaderError::FragmentedControl(opcode)),
            126.. if opcode.is_control() => Err(HeaderError::ControlTooLong(opcode)),
            1 if opcode == Opcode::Close => Err(HeaderError::CloseTooShort),
            0x8000_0000_0000_0000.. => Err(HeaderError::LengthTopBit),
            _ => Ok(Some((header, encoded.len()))),
        };
        assert_eq!(FrameHeader::decode(encoded), expected);
    }
});

type Answer = Result<Option<(FrameHeader, usize)>, HeaderError>;

/// What `decode` says of `bytes`, once every prefix was found to say the same or nothing.
fn by_prefixes(bytes: &[u8], decode: impl Fn(&[u8]) -> Answer) -> Answer {
    let mut answer = Ok(None);
    for end in 0..=bytes.len().min(MAX_HEADER + 2) {
        let next = decode(&bytes[..end]);
        if answer == Ok(None) {
            if let Ok(Some((_, length))) = next {
                assert_eq!(length, end, "known before or after its last byte");
            }
            answer = next;
        } else {
            assert_eq!(next, answer, "more bytes changed the answer");
        }
    }
    assert_eq!(decode(bytes), answer);
    assert!(answer != Ok(None) || bytes.len() < MAX_HEADER);
    answer
}

/// What is in order under the rules keeps each of them.
fn check_rules(header: &FrameHeader, rules: &HeaderRules) {
    assert_eq!(header.mask.is_some(), rules.masked);
    assert!(!header.rsv2 && !header.rsv3);
    let data = !header.opcode.is_control();
    assert!(!header.rsv1 || rules.rsv1 && data && !rules.inside_message);
    if data {
        assert_eq!(header.opcode == Opcode::Continuation, rules.inside_message);
        let limit = if header.rsv1 { rules.max_rsv1_payload_len } else { rules.max_payload_len };
        assert!(header.payload_len <= limit);
    }
}

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
