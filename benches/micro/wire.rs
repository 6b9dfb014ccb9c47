//! The parts of the wire layer against what they can be at best: `cargo bench -p framewire-benches --bench wire`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const LENGTHS: [usize; 5] = [20, 125, 1024, 16_384, 65_536];

/// A header, masked, for a payload of that length.
#[divan::bench(args = [20, 1024, 1 << 20])]
fn header(bencher: Bencher<'_, '_>, length: usize) {
    use framewire::wire::{FrameHeader, Opcode};
    let bytes = framewire_benches::frame(Opcode::Binary, &vec![0; length], [1, 2, 3, 4]);
    bencher.bench_local(|| FrameHeader::decode(black_box(&bytes[..14])));
}

/// Masking reads and writes what a copy reads and writes.
mod mask {
    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn framewire(bencher: Bencher<'_, '_>, length: usize) {
        let mut payload = vec![b'x'; length];
        bencher.counter(BytesCount::new(length)).bench_local(|| {
            framewire::wire::apply_mask(black_box(&mut payload), black_box([1, 2, 3, 4]), 0);
        });
    }

    #[divan::bench(args = LENGTHS)]
    fn memcpy(bencher: Bencher<'_, '_>, length: usize) {
        let payload = vec![b'x'; length];
        let mut copy = vec![0; length];
        bencher
            .counter(BytesCount::new(length))
            .bench_local(|| black_box(&mut copy).copy_from_slice(black_box(&payload)));
    }

    /// As the RFC writes it.
    #[divan::bench(args = LENGTHS)]
    fn byte_by_byte(bencher: Bencher<'_, '_>, length: usize) {
        let mut payload = vec![b'x'; length];
        bencher.counter(BytesCount::new(length)).bench_local(|| {
            let key = black_box([1, 2, 3, 4]);
            for (index, byte) in black_box(&mut payload).iter_mut().enumerate() {
                *byte ^= key[index % 4];
            }
        });
    }
}

mod utf8 {
    use framewire_benches::{letters, non_ascii};

    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn framewire_ascii(bencher: Bencher<'_, '_>, length: usize) {
        let text = letters(length);
        bencher
            .counter(BytesCount::new(length))
            .bench_local(|| framewire::wire::validate_utf8(black_box(&text)).is_ok());
    }

    #[divan::bench(args = LENGTHS)]
    fn std_ascii(bencher: Bencher<'_, '_>, length: usize) {
        let text = letters(length);
        bencher
            .counter(BytesCount::new(length))
            .bench_local(|| std::str::from_utf8(black_box(&text)).is_ok());
    }

    #[divan::bench(args = LENGTHS)]
    fn framewire_non_ascii(bencher: Bencher<'_, '_>, length: usize) {
        let text = non_ascii(length);
        bencher
            .counter(BytesCount::new(length))
            .bench_local(|| framewire::wire::validate_utf8(black_box(&text)).is_ok());
    }

    #[divan::bench(args = LENGTHS)]
    fn std_non_ascii(bencher: Bencher<'_, '_>, length: usize) {
        let text = non_ascii(length);
        bencher
            .counter(BytesCount::new(length))
            .bench_local(|| std::str::from_utf8(black_box(&text)).is_ok());
    }
}
