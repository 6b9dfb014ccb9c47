//! What the fuzz targets share: an independent reading of the wire, and an application to drive a
//! connection with.
//!
//! Nothing here uses framewire to judge framewire: the frame parser and the inflater are other code.

mod engine;
mod inflate;
mod said;
mod session;

pub use engine::{Engine, SharedWorkspace};
pub use inflate::LiveInflate;
pub use said::{Compression, Head, Said, read_frames, split_head};
pub use session::{Session, Setup, upgrade_request, upgrade_response};

/// Cuts `bytes` into pieces of the lengths in `cuts`, some of them empty; what is left is the last one.
pub fn pieces<'b>(mut bytes: &'b [u8], cuts: &[u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::with_capacity(cuts.len() + 1);
    for &cut in cuts {
        // Every length near the borders of headers and control frames, and some long ones.
        let length = if cut < 192 { usize::from(cut) } else { usize::from(cut - 191) * 97 };
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}
