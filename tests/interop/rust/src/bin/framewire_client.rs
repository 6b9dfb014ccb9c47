use std::time::Duration;

use framewire::{Client, Event, Fragment, Message, MessageKind};
use framewire_interop::{
    CLIENT_CLOSE, CLIENT_PING, Failure, OFFERED, SERVER_PING, Settings, burst, pieces, report,
};

fn connect(settings: &Settings) -> Result<Client, Failure> {
    let mut builder =
        Client::builder(settings.url()?)?.config(settings.config()?).subprotocols(OFFERED)?;
    if let Some(tls) = settings.tls_client()? {
        builder = builder.tls(tls);
    }
    let mut client = builder.connect()?;
    client.set_read_timeout(Some(Duration::from_secs(60)));
    Ok(client)
}

fn expect(client: &mut Client, text: bool, payload: &[u8]) -> Result<(), Failure> {
    let message = client.recv()?.ok_or("closed")?;
    if message.is_text() != text || message.as_bytes() != payload {
        let length = payload.len();
        return Err(format!("{} bytes came back for {length}", message.as_bytes().len()).into());
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let settings = Settings::from_argument()?;
    let mut client = connect(&settings)?;
    for line in settings.lines()? {
        let kind = if line.text { MessageKind::Text } else { MessageKind::Binary };
        if line.pieces {
            client.send("!pieces")?;
            let [first, middle, last] = pieces(&line.payload);
            client.send_fragment(Fragment::more(kind, first))?;
            client.send_fragment(Fragment::more(kind, middle))?;
            client.send_fragment(Fragment::last(kind, last))?;
        } else if line.text {
            client.send(std::str::from_utf8(&line.payload)?)?;
        } else {
            client.send(Message::from(&line.payload[..]))?;
        }
        expect(&mut client, line.text, &line.payload)?;
    }
    for text in burst() {
        client.send(text)?;
    }
    for text in burst() {
        expect(&mut client, true, text.as_bytes())?;
    }
    client.ping(CLIENT_PING)?;
    match client.next_event()? {
        Some(Event::Pong(payload)) if payload == CLIENT_PING => {}
        other => return Err(format!("no pong: {other:?}").into()),
    }
    client.send("!ping")?;
    match client.next_event()? {
        Some(Event::Ping(payload)) if payload == SERVER_PING => {}
        other => return Err(format!("no ping: {other:?}").into()),
    }
    expect(&mut client, true, b"pong: from the server")?;
    let outcome = client.close(CLIENT_CLOSE.0, CLIENT_CLOSE.1)?;
    if !outcome.was_clean() {
        return Err(format!("the client's close: {outcome}").into());
    }

    let mut second = connect(&settings)?;
    second.send("!close")?;
    if let Some(message) = second.recv()? {
        return Err(format!("instead of a close: {message:?}").into());
    }
    let outcome = second.outcome().ok_or("no outcome")?;
    let headers = client.response().ok_or("no response")?.headers();
    let extensions = headers.get_str("sec-websocket-extensions");
    report(client.subprotocol(), extensions, outcome.code().into(), outcome.reason());
    Ok(())
}
