use flate2::{Decompress, FlushDecompress, Status};

/// The decompressor of a peer that keeps it alive from message to message, as most peers do.
pub struct LiveInflate {
    stream: Decompress,
    takeover: bool,
    /// The last plain text, for going on behind a final block.
    text: Vec<u8>,
    /// How often a final block had to be gone on behind.
    pub restarts: usize,
}

/// Not a message of DEFLATE blocks.
#[derive(Debug)]
pub struct Refused;

const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
const WINDOW: usize = 32_768;

impl LiveInflate {
    /// Without `takeover`, each message is read with an empty window.
    pub fn new(takeover: bool) -> Self {
        Self { stream: Decompress::new(false), takeover, text: Vec::new(), restarts: 0 }
    }

    /// Appends the plain text of one message to `output`, as far as it can be read.
    pub fn message(&mut self, payload: &[u8], output: &mut Vec<u8>) -> Result<(), Refused> {
        if payload.is_empty() {
            return Ok(());
        }
        if !self.takeover {
            self.text.clear();
            self.restart();
            self.restarts = 0;
        }
        if self.feed(payload, output)? {
            self.restart();
            return Ok(());
        }
        let length = output.len();
        if self.feed(&TAIL, output)? {
            self.restart();
        }
        if output.len() == length { Ok(()) } else { Err(Refused) }
    }

    /// Whether the stream stands between two blocks; it is of no further use afterwards.
    pub fn is_between_blocks(mut self) -> bool {
        let mut output = Vec::new();
        let ended = self.feed(&[0x01, 0x00, 0x00, 0xff, 0xff], &mut output);
        matches!(ended, Ok(true)) && output.is_empty()
    }

    /// True if a final block ends where `input` does.
    fn feed(&mut self, mut input: &[u8], output: &mut Vec<u8>) -> Result<bool, Refused> {
        let mut room = [0; 4096];
        loop {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, &mut room, FlushDecompress::Sync);
            let read = (self.stream.total_in() - before_in) as usize;
            let written = (self.stream.total_out() - before_out) as usize;
            input = &input[read..];
            output.extend_from_slice(&room[..written]);
            self.text.extend_from_slice(&room[..written]);
            if self.text.len() > 4 * WINDOW {
                self.text.drain(..self.text.len() - WINDOW);
            }
            match status.map_err(|_| Refused)? {
                Status::StreamEnd if input.is_empty() => return Ok(true),
                Status::StreamEnd => self.restart(),
                _ if written == room.len() => {}
                _ if input.is_empty() => return Ok(false),
                _ if read == 0 && written == 0 => return Err(Refused),
                _ => {}
            }
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.stream.reset(false);
        let text = &self.text[self.text.len().saturating_sub(WINDOW)..];
        if !text.is_empty() {
            self.stream.set_dictionary(text).expect("raw deflate takes a dictionary at any time");
        }
    }
}
