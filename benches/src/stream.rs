use framewire::wire::{FrameHeader, MAX_HEADER, Opcode, apply_mask};

/// A masking key that leaves small letters ASCII.
pub const KEY: [u8; 4] = [1, 2, 3, 4];

/// A whole frame of a client, masked with `key`.
pub fn frame(opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let header = FrameHeader { mask: Some(key), ..FrameHeader::new(opcode, payload.len() as u64) };
    let mut bytes = header.encode(&mut [0; MAX_HEADER]).to_vec();
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    apply_mask(&mut bytes[start..], key, 0);
    bytes
}

/// Frames one after the other, as a read brings them.
///
/// They can be received in place any number of times: unmasking what was unmasked masks it again, which
/// costs the same, and binary data and [`letters`](crate::letters) are as good masked as plain.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The frames.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub frames: usize,
}

impl Stream {
    /// `frames` times a frame with this payload.
    pub fn new(opcode: Opcode, payload: &[u8], frames: usize) -> Self {
        Self { bytes: frame(opcode, payload, KEY).repeat(frames), frames }
    }

    /// The same, not changed by unmasking: for payloads that are valid in the plain only.
    pub fn unchanging(opcode: Opcode, payload: &[u8], frames: usize) -> Self {
        Self { bytes: frame(opcode, payload, [0; 4]).repeat(frames), frames }
    }
}
