//! UTF-8 at any split, against the standard library.

#![no_main]

use arbitrary::Arbitrary;
use framewire::wire::{Utf8Validator, validate_utf8};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    cuts: [u8; 8],
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let bytes = input.bytes;
    let expected = std::str::from_utf8(bytes).ok();
    assert_eq!(validate_utf8(bytes).ok(), expected);

    let impossible = first_impossible(bytes);
    let mut bytewise = Utf8Validator::new();
    let refused = bytes.iter().position(|&byte| bytewise.push(&[byte]).is_err());
    assert_eq!(refused, impossible, "refused at another byte than the first impossible one");
    if refused.is_none() {
        assert_eq!(bytewise.finish().is_ok(), expected.is_some());
        let again = bytewise.push("é".as_bytes()).is_ok() && bytewise.finish().is_ok();
        assert_eq!(again, expected.is_some(), "as good as new, or failed for good");
    } else {
        assert!(bytewise.push(b"a").is_err() && bytewise.finish().is_err());
    }

    let (mut checked, mut kept, mut text) =
        (Utf8Validator::new(), Utf8Validator::new(), String::new());
    let mut end = 0;
    for piece in framewire_fuzz::pieces(bytes, &input.cuts) {
        end += piece.len();
        let answers = (checked.push(piece).is_ok(), kept.push_into(piece, &mut text).is_ok());
        let possible = impossible.is_none_or(|index| index >= end);
        assert_eq!(answers, (possible, possible));
        if !possible {
            assert!(bytes.starts_with(text.as_bytes()));
            return;
        }
        let whole = std::str::from_utf8(&bytes[..end]).map_or_else(|e| e.valid_up_to(), str::len);
        assert_eq!(text.as_bytes(), &bytes[..whole], "all that is complete, and nothing else");
    }
    assert_eq!(checked.finish().is_ok(), expected.is_some());
    assert_eq!(kept.finish().is_ok(), expected.is_some());
    assert!(expected.is_none_or(|expected| text == expected));
});

/// The first byte with which the text up to it can no longer become UTF-8, whatever follows.
fn first_impossible(bytes: &[u8]) -> Option<usize> {
    let start = std::str::from_utf8(bytes).err()?.valid_up_to();
    (start..bytes.len().min(start + 4)).find(|&index| {
        let result = std::str::from_utf8(&bytes[start..=index]);
        result.is_err_and(|error| error.error_len().is_some())
    })
}
