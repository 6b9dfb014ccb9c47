//! Sends each line of the standard input as a text message and prints each text message that comes:
//! `echo_client URL`. At the end of the input it closes once every line was answered.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use framewire::{Client, ClientError, ClientReader};

fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: echo_client URL");
        return ExitCode::FAILURE;
    };
    match run(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (reader, mut writer) = Client::connect(url)?.split()?;
    let (replies, answered) = mpsc::channel();
    let receiving = thread::spawn(move || print(reader, &replies));
    let mut owed = 0usize;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if writer.send(line).is_err() {
            // Why, the reader knows.
            break;
        }
        owed += 1;
    }
    while owed > 0 && answered.recv().is_ok() {
        owed -= 1;
    }
    let closing = writer.close(1000, "");
    match receiving.join() {
        Ok(result) => result?,
        Err(_) => return Err("the receiving thread panicked".into()),
    }
    if owed > 0 {
        closing?;
        return Err(format!("the server closed with {owed} lines unanswered").into());
    }
    Ok(())
}

fn print(mut reader: ClientReader, replies: &mpsc::Sender<()>) -> Result<(), ClientError> {
    while let Some(message) = reader.recv()? {
        if let Some(text) = message.as_text() {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()?;
            // Nobody counts any more once the input has ended.
            let _ = replies.send(());
        }
    }
    Ok(())
}
