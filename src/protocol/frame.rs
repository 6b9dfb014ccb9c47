use crate::wire::{FirstByte, Opcode, SecondByte, apply_mask};

use super::assembly::{Assembly, Payload};
use super::config::Settings;
use super::error::{ProtocolError, ReservedBit};
use super::receiver::Context;
use super::state::Role;

/// A frame under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) compressed: bool,
    pub(super) mask: Option<[u8; 4]>,
    /// The length of the payload.
    pub(super) length: u64,
    /// How much of the payload has come.
    pub(super) received: u64,
}

impl Frame {
    /// Reads a header from the front of `bytes`, with all that can be said of it at once; `None` if it
    /// is unfinished. Checks go in the order of the bytes, so the answer is the same however they came.
    #[inline]
    pub(super) fn read(
        bytes: &[u8],
        assembly: Option<&Assembly>,
        context: &Context<'_>,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let first = FirstByte::decode(first)?;
        let data = !first.opcode.is_control();
        // "MUST be 0 unless an extension is negotiated that defines meanings" (RFC 6455 section 5.2);
        // permessage-deflate gives RSV1 one, on the first frame of a message only.
        if first.rsv1
            && (context.compression.is_none() || !data || first.opcode == Opcode::Continuation)
        {
            return Err(ProtocolError::ReservedBit(ReservedBit::Rsv1));
        }
        if first.rsv2 {
            return Err(ProtocolError::ReservedBit(ReservedBit::Rsv2));
        }
        if first.rsv3 {
            return Err(ProtocolError::ReservedBit(ReservedBit::Rsv3));
        }
        match (assembly, first.opcode) {
            (None, Opcode::Continuation) => return Err(ProtocolError::UnexpectedContinuation),
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(ProtocolError::ExpectedContinuation);
            }
            _ => {}
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let second = SecondByte::decode(second, first.opcode)?;
        match (context.role, second.masked) {
            (Role::Server, false) => return Err(ProtocolError::Unmasked),
            (Role::Client, true) => return Err(ProtocolError::Masked),
            _ => {}
        }
        let Some(length) = second.length.decode(&bytes[2..])? else { return Ok(None) };
        if data {
            check_limits(length, assembly, first.rsv1, context.settings)?;
        }
        let mut end = 2 + second.length.extra_bytes();
        let mut mask = None;
        if second.masked {
            let Some(key) = bytes.get(end..).and_then(|rest| rest.first_chunk()) else {
                return Ok(None);
            };
            mask = Some(*key);
            end += 4;
        }
        let (fin, opcode) = (first.fin, first.opcode);
        Ok(Some((Self { fin, opcode, compressed: first.rsv1, mask, length, received: 0 }, end)))
    }

    #[inline]
    pub(super) fn unmask(&self, piece: &mut [u8]) {
        if let Some(key) = self.mask {
            apply_mask(piece, key, (self.received & 3) as usize);
        }
    }
}

/// Refuses a message as soon as a header shows that it will pass a limit (RFC 6455 section 10.4).
#[inline]
fn check_limits(
    length: u64,
    assembly: Option<&Assembly>,
    compressed: bool,
    settings: &Settings,
) -> Result<(), ProtocolError> {
    let mut limit = settings.max_message_size as u64;
    let mut announced = length;
    let mut compressed = compressed;
    if let Some(assembly) = assembly {
        announced = announced.saturating_add(assembly.announced);
        compressed = matches!(assembly.payload, Payload::Compressed(_));
        if assembly.fragments >= settings.max_fragments {
            return Err(ProtocolError::TooManyFragments(settings.max_fragments));
        }
    }
    if compressed {
        // The inflated size is what counts; but data that cannot be compressed grows by five bytes
        // a block, and a message that just fits must not be refused for that.
        limit = limit.saturating_add(limit / 1024 + 64);
    }
    if announced > limit {
        return Err(ProtocolError::MessageTooBig(settings.max_message_size));
    }
    Ok(())
}
