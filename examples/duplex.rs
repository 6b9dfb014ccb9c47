//! The standard input to a WebSocket, and the WebSocket to the standard output:
//! `cargo run --example duplex ws://127.0.0.1:9001/ < messages.txt`

use std::error::Error;
use std::{env, io, thread};

use framewire::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).ok_or("which URL?")?;
    let (mut reader, mut writer) = Client::connect(&url)?.into_stream().split()?;
    thread::spawn(move || io::copy(&mut io::stdin(), &mut writer).map(|_| writer.close()));
    io::copy(&mut reader, &mut io::stdout())?;
    Ok(())
}
