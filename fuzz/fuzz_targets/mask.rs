//! Masking at any alignment, offset and split, against one byte at a time.

#![no_main]

use arbitrary::Arbitrary;
use framewire::wire::apply_mask;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    key: [u8; 4],
    /// How much of the payload came before, as a large number too.
    offset: u64,
    /// Where in a buffer the payload begins.
    start: u8,
    cuts: [u8; 8],
    payload: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let Input { key, payload, .. } = input;
    let (offset, start) = (input.offset as usize, usize::from(input.start % 64));
    let plain: Vec<u8> = payload
        .iter()
        .enumerate()
        .map(|(index, byte)| byte ^ key[(offset % 4 + index) % 4])
        .collect();

    let mut buffer = vec![0xa5; start];
    buffer.extend_from_slice(payload);
    apply_mask(&mut buffer[start..], key, offset);
    assert_eq!(&buffer[start..], plain);
    assert!(buffer[..start].iter().all(|&byte| byte == 0xa5));

    apply_mask(&mut buffer[start..], key, offset);
    assert_eq!(&buffer[start..], payload, "twice is the identity");

    let mut done = 0;
    for piece in framewire_fuzz::pieces(payload, &input.cuts) {
        let end = done + piece.len();
        apply_mask(&mut buffer[start + done..start + end], key, offset.wrapping_add(done));
        done = end;
    }
    assert_eq!(&buffer[start..], plain, "in pieces");
});
