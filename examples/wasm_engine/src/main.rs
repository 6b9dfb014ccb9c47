//! Both ends of a connection in WebAssembly, where there is no I/O, no clock and no entropy but what the host gives:
//! `cargo build -p wasm_engine --target wasm32-unknown-unknown`. It runs elsewhere, too.

use std::error::Error;
use std::time::Duration;

use framewire::handshake::{ClientRequest, Url};
use framewire::{Accept, Config, Connection, Event, Message};

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::new();
    let request = ClientRequest::new(&Url::parse("ws://localhost/echo")?);
    // In a browser: `crypto.getRandomValues`.
    let entropy = |bytes: &mut [u8]| bytes.fill(7);
    let mut client = Connection::client(request, &config, entropy)?;
    let mut server = Connection::server(&config);
    let mut answer = None;
    // The host's clock; here every turn takes 20 ms.
    for turn in 0..4 {
        for end in [&mut client, &mut server] {
            end.handle_timeout(Duration::from_millis(20 * turn));
        }
        carry(&mut client, &mut server, |server, event| match event {
            Event::Request(_) => Ok(server.accept(Accept::new())?),
            Event::Message(message) => Ok(server.send(message)?),
            _ => Ok(()),
        })?;
        carry(&mut server, &mut client, |client, event| match event {
            Event::Open(_) => Ok(client.send("hello".repeat(1000))?),
            Event::Message(message) => {
                answer = Some(message.into_owned());
                Ok(client.close(1000, "")?)
            }
            _ => Ok(()),
        })?;
    }
    assert_eq!(answer, Some(Message::from("hello".repeat(1000))));
    assert!(server.receive_eof().was_clean() && client.receive_eof().was_clean());
    println!("the engine runs here");
    Ok(())
}

/// What the host does with the output of one end.
fn carry(
    from: &mut Connection,
    to: &mut Connection,
    mut on_event: impl FnMut(&mut Connection, Event<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut bytes = from.output().collect::<Vec<_>>().concat();
    from.consume_output(bytes.len());
    let mut input = &mut bytes[..];
    while let Some(event) = to.receive(&mut input) {
        on_event(to, event)?;
    }
    Ok(())
}

#[test]
fn a_message_comes_back() {
    main().unwrap();
}
