//! Frames as the model writes and reads them (RFC 6455 section 5.2).

/// What goes into a frame that a peer writes; nothing is checked.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) key: Option<[u8; 4]>,
    pub(crate) payload: Vec<u8>,
    /// Bytes of length beyond the fewest: 0, 1 or 2 sizes.
    pub(crate) waste: u8,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: impl Into<Vec<u8>>, key: Option<[u8; 4]>) -> Self {
        Self { first, key, payload: payload.into(), waste: 0 }
    }

    pub(crate) fn write(&self, wire: &mut Vec<u8>) {
        let mask_bit = if self.key.is_some() { 0x80 } else { 0 };
        let length = self.payload.len();
        let size = match length {
            0..126 => 0,
            126..0x1_0000 => 1,
            _ => 2,
        };
        wire.push(self.first);
        match size + self.waste {
            0 => wire.push(mask_bit | length as u8),
            1 => {
                wire.push(mask_bit | 126);
                wire.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                wire.push(mask_bit | 127);
                wire.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        if let Some(key) = self.key {
            wire.extend_from_slice(&key);
            wire.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            wire.extend_from_slice(&self.payload);
        }
    }
}

/// A frame that an engine wrote, unmasked.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) first: u8,
    pub(crate) key: Option<[u8; 4]>,
    pub(crate) payload: Vec<u8>,
}

impl Written {
    /// Reads the frame at the front of `bytes` and cuts it off. Anything that is not the one right way to
    /// write it is a fault.
    pub(crate) fn read(bytes: &mut &[u8]) -> Result<Self, String> {
        let whole = *bytes;
        let mut take = |count: usize| {
            let (taken, rest) = bytes.split_at_checked(count).ok_or_else(|| {
                let head = &whole[..whole.len().min(16)];
                format!("the output ends inside the frame {head:02x?}")
            })?;
            *bytes = rest;
            Ok::<_, String>(taken)
        };
        let head = take(2)?;
        let (first, second) = (head[0], head[1]);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        let (length, least) = match second & 0x7f {
            126 => (number(take(2)?), 126),
            127 => (number(take(8)?), 0x1_0000),
            short => (usize::from(short), 0),
        };
        if length < least {
            return Err(format!("a length of {length} in too many bytes"));
        }
        let key = match second & 0x80 {
            0 => None,
            _ => Some([0, 1, 2, 3].map({
                let key = take(4)?;
                move |at: usize| key[at]
            })),
        };
        let mut payload = take(length)?.to_vec();
        if let Some(key) = key {
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte ^= key[at % 4];
            }
        }
        Ok(Self { first, key, payload })
    }
}
