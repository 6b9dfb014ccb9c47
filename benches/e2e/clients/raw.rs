//! The ceiling: frames that were masked beforehand, and as many bytes back as are due.

mod measured;

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

use framewire::wire::Opcode;
use framewire_benches::{KEY, frame, request};
use measured::Task;

fn main() -> Result<(), Box<dyn Error>> {
    let task = Task::new()?;
    let mut stream = TcpStream::connect(("127.0.0.1", task.port))?;
    stream.set_nodelay(true)?;
    stream.write_all(&request(""))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let frames: Vec<u8> =
        task.payloads.iter().flat_map(|payload| frame(Opcode::Binary, payload, KEY)).collect();
    // A server does not mask.
    let mut answer = vec![0; frames.len() - KEY.len() * task.payloads.len()];
    let mut meter = task.meter();
    let mut messages = 0;
    loop {
        stream.write_all(&frames)?;
        stream.read_exact(&mut answer)?;
        messages += task.payloads.len() as u64;
        if meter.is_over(messages)? {
            return Ok(());
        }
    }
}
