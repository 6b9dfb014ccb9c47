//! Files of any size, received and sent in constant memory, with progress: `upload ADDRESS FOLDER` receives,
//! `upload URL FILE` sends.
//!
//! A client says the name of its file in a text message, then sends the file as one binary message in pieces. The
//! server writes each piece as it comes and says after every MiB how many bytes it has, and at the end that it has all.
//! A sender that is faster than the disk of the server is held back by TCP: nothing piles up.

#[path = "support/causes.rs"]
mod causes;
#[path = "support/serving.rs"]
mod serving;

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use framewire::{
    Client, ClientError, ClientWriter, Config, Decision, Fragment, Fragments, Handler,
    IncomingRequest, Message, MessageKind, Peer, Server,
};

const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match &*arguments {
        [url, file] if url.contains("://") => send(url, Path::new(file)),
        [address, folder] => receive(address, PathBuf::from(folder)),
        _ => Err("usage: upload ADDRESS FOLDER | upload URL FILE".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", causes::told(&*error));
            ExitCode::FAILURE
        }
    }
}

fn receive(address: &str, folder: PathBuf) -> Result<(), Box<dyn Error>> {
    // A piece is all that is in memory, so the limit is the disk's.
    let config = Config::new().fragments(Fragments::From(0)).max_message_size(1 << 40);
    let server = Server::bind(address)?.config(config);
    Ok(serving::run("ws", server.into_event_loop(Uploads { folder })?)?)
}

struct Uploads {
    folder: PathBuf,
}

/// The file that a client sends, once it has said the name, and how much of it has come.
type Upload = Option<(File, u64)>;

impl Handler for Uploads {
    type Session = Upload;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Upload> {
        Decision::accept(None)
    }

    fn on_message(&mut self, _peer: &mut Peer<'_, Upload>, _message: Message<'_>) {}

    fn on_fragment(&mut self, peer: &mut Peer<'_, Upload>, piece: Fragment<'_>) {
        let result = match piece.kind {
            MessageKind::Text => self.begin(peer, &piece),
            MessageKind::Binary => write(peer, &piece),
        };
        if let Err(error) = result {
            let reason = error.to_string();
            // It fails where the connection is closing already.
            let _ = peer.close(1008, &reason[..reason.len().min(100)]);
        }
    }
}

impl Uploads {
    fn begin(&self, peer: &mut Peer<'_, Upload>, piece: &Fragment<'_>) -> io::Result<()> {
        let name = std::str::from_utf8(&piece.payload).map_err(io::Error::other)?;
        let is_plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
        if !is_plain || !piece.first || !piece.last {
            return Err(io::Error::other("this is not the name of a file"));
        }
        // Nobody overwrites what is there.
        *peer.session_mut() = Some((File::create_new(self.folder.join(name))?, 0));
        Ok(())
    }
}

fn write(peer: &mut Peer<'_, Upload>, piece: &Fragment<'_>) -> io::Result<()> {
    let Some((file, received)) = peer.session_mut() else {
        return Err(io::Error::other("the name of the file comes first"));
    };
    file.write_all(&piece.payload)?;
    let before = *received;
    *received += piece.payload.len() as u64;
    let (now, has_passed) = (*received, *received / MIB > before / MIB);
    if piece.last {
        *peer.session_mut() = None;
        peer.send(format!("done {now}"));
    } else if has_passed {
        peer.send(format!("have {now}"));
    }
    Ok(())
}

fn send(url: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("no name of a file")?;
    let (file, size) = (File::open(path)?, path.metadata()?.len());
    let (mut reader, mut writer) = Client::connect(url)?.split()?;
    writer.send(name)?;
    let sending = thread::spawn(move || send_pieces(&mut writer, file));
    while let Some(message) = reader.recv()? {
        match message.as_text().and_then(|text| text.split_once(' ')) {
            Some(("have", bytes)) => println!("{bytes} of {size}"),
            Some(("done", bytes)) if bytes == size.to_string() => {
                println!("sent {name}, {bytes} bytes");
                break;
            }
            _ => return Err(format!("the server said {message:?}").into()),
        }
    }
    // Where the server refused the file, this says why.
    if let Some(outcome) = reader.outcome() {
        return Err(format!("the server closed: {} {}", outcome.code(), outcome.reason()).into());
    }
    sending.join().map_err(|_| "the sending thread panicked")??;
    Ok(())
}

/// Sends the file as one message, a piece of 64 KiB after the other.
fn send_pieces(writer: &mut ClientWriter, mut file: File) -> Result<(), ClientError> {
    let mut room = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut room).map_err(ClientError::Io)?;
        let piece = &room[..count];
        if count == 0 {
            return writer.send_fragment(Fragment::last(MessageKind::Binary, piece));
        }
        writer.send_fragment(Fragment::more(MessageKind::Binary, piece))?;
    }
}
