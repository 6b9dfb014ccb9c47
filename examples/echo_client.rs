//! Sends each line of the standard input as a text message and prints each text message that comes:
//! `echo_client URL`. At the end of the input it closes once every line was answered.

#[path = "support/causes.rs"]
mod causes;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use framewire::{Client, ClientReader, ClientWriter, Initiator, Outcome};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: echo_client URL");
        return ExitCode::FAILURE;
    };
    match run(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", causes::told(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(url: &str) -> Result<(), Failure> {
    let (mut reader, writer) = Client::connect(url)?.split()?;
    let (reply, replies) = mpsc::channel();
    let sending = thread::spawn(move || send_lines(writer, &replies));
    print_messages(&mut reader, &reply)?;
    // Where the server began the close, the other thread may wait for input that never comes.
    if let Some(Outcome::Clean { initiator: Initiator::Local, .. }) = reader.outcome() {
        sending.join().map_err(|_| "the sending thread panicked")??;
    }
    Ok(())
}

fn print_messages(reader: &mut ClientReader, reply: &mpsc::Sender<()>) -> Result<(), Failure> {
    while let Some(message) = reader.recv()? {
        if let Some(text) = message.as_text() {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()?;
            // Nobody counts any more if the input could not be read.
            let _ = reply.send(());
        }
    }
    Ok(())
}

fn send_lines(mut writer: ClientWriter, replies: &mpsc::Receiver<()>) -> Result<(), Failure> {
    let mut owed = 0usize;
    let mut result = Ok(());
    for line in io::stdin().lock().lines() {
        match line {
            Ok(line) if writer.send(line.as_str()).is_ok() => owed += 1,
            // Why, the reader knows.
            Ok(_) => return Ok(()),
            Err(error) => {
                result = Err(format!("the input: {error}").into());
                break;
            }
        }
    }
    while owed > 0 && replies.recv().is_ok() {
        owed -= 1;
    }
    // If the server was faster, the reader knows that, too.
    let _ = writer.close(1000, "");
    result
}
