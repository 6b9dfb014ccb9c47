mod measured;

use std::error::Error;
use std::net::TcpStream;

use measured::Task;
use tungstenite::{Bytes, Message};

fn main() -> Result<(), Box<dyn Error>> {
    let task = Task::new()?;
    let stream = TcpStream::connect(("127.0.0.1", task.port))?;
    stream.set_nodelay(true)?;
    let (mut client, _) = tungstenite::client(format!("ws://127.0.0.1:{}/", task.port), stream)?;
    // Of its own kind beforehand: to send one again copies nothing.
    let payloads: Vec<Bytes> = task.payloads.iter().cloned().map(Bytes::from).collect();
    let mut meter = task.meter();
    let mut messages = 0;
    loop {
        for payload in &payloads {
            client.write(Message::Binary(payload.clone()))?;
        }
        client.flush()?;
        for payload in &payloads {
            let message = client.read()?;
            if messages < 10_000 && message != Message::Binary(payload.clone()) {
                return Err("an answer is not what was sent".into());
            }
            messages += 1;
        }
        if meter.is_over(messages)? {
            return Ok(());
        }
    }
}
