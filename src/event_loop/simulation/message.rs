use crate::protocol::{Message, MessageKind};

use super::random::Random;

/// A message that can be told from all others, if it is not very short: its contents follow from its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) serial: u32,
    pub(super) length: usize,
}

/// From this length on a message tells its number.
pub(super) const TELLING: usize = 8;

impl Numbered {
    /// Runs, periods and noise, by the number: of all of it compression makes something else.
    pub(super) fn text(self) -> String {
        let mut text = format!("{:08x}", self.serial);
        text.truncate(self.length);
        let left = self.length - text.len();
        match self.serial % 3 {
            0 => text.extend(std::iter::repeat_n('a', left)),
            1 => {
                let period = 3 + self.serial as usize % 50;
                text.extend((0..left).map(|at| char::from(b'A' + (at % period) as u8)));
            }
            _ => {
                let mut random = Random::new(u64::from(self.serial));
                let mut word = 0;
                text.extend((0..left).map(|at| {
                    word = if at % 8 == 0 { random.next() } else { word >> 8 };
                    char::from(b'0' + (word % 64) as u8)
                }));
            }
        }
        text
    }

    pub(super) fn message(self) -> Message<'static> {
        let text = self.text();
        if self.kind() == MessageKind::Text {
            Message::text(text)
        } else {
            Message::binary(text.into_bytes())
        }
    }

    pub(super) fn kind(self) -> MessageKind {
        if self.serial & 1 == 0 { MessageKind::Text } else { MessageKind::Binary }
    }

    pub(super) fn is(self, kind: MessageKind, bytes: &[u8]) -> bool {
        kind == self.kind() && bytes.len() == self.length && bytes == self.text().as_bytes()
    }
}

/// The number that a message tells.
pub(super) fn serial_of(bytes: &[u8]) -> Option<u32> {
    let head = std::str::from_utf8(bytes.get(..TELLING)?).ok()?;
    u32::from_str_radix(head, 16).ok()
}
