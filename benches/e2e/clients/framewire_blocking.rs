mod measured;

use std::error::Error;

use framewire::{Client, Config, Message};
use measured::Task;

fn main() -> Result<(), Box<dyn Error>> {
    let task = Task::new()?;
    let url = format!("ws://127.0.0.1:{}/", task.port);
    let mut client = Client::builder(&url)?.config(Config::new().no_deflate()).connect()?;
    let mut meter = task.meter();
    let mut messages = 0;
    loop {
        for payload in &task.payloads {
            client.queue(&payload[..])?;
        }
        client.flush()?;
        for payload in &task.payloads {
            let message = client.recv()?.ok_or("the server closes")?;
            if messages < 10_000 && message != Message::from(payload) {
                return Err("an answer is not what was sent".into());
            }
            messages += 1;
        }
        if meter.is_over(messages)? {
            return Ok(());
        }
    }
}
