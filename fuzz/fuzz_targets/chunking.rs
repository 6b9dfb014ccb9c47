//! However the input is cut, the connection says and tells the same.

#![no_main]

use arbitrary::Arbitrary;
use framewire::{Accept, Event, Fragment, Message, MessageKind, Outcome, Role};
use framewire_fuzz::{Engine, Setup, pieces};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    client: bool,
    setup: Setup,
    cuts: [u8; 24],
    /// How many bytes follow the stream: enough for the long payloads that are read directly.
    filler: u16,
    stream: &'a [u8],
}

/// All that can be seen of a connection.
#[derive(Debug, Default, PartialEq)]
struct Log {
    events: Vec<String>,
    messages: Vec<Message<'static>>,
    output: Vec<u8>,
    queued: u64,
    outcome: Option<Outcome>,
}

fuzz_target!(|input: Input<'_>| {
    let role = if input.client { Role::Client } else { Role::Server };
    let (_, mut stream) = input.setup.connection(role);
    stream.extend_from_slice(input.stream);
    stream.extend((0..input.filler).map(|index| (index >> 3) as u8));

    let whole = play(role, &input, &[&stream]);
    let cut = play(role, &input, &pieces(&stream, &input.cuts));
    assert!(cut == whole, "cut up:\n{cut:#?}\nwhole:\n{whole:#?}");
    if stream.len() < 2048 {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        let bytes = play(role, &input, &bytes);
        assert!(bytes == whole, "byte by byte:\n{bytes:#?}\nwhole:\n{whole:#?}");
    }
});

fn play(role: Role, input: &Input<'_>, pieces: &[&[u8]]) -> Log {
    let (mut connection, _) = input.setup.connection(role);
    let (mut log, mut joined) = (Log::default(), Vec::new());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut rest = &mut bytes[..];
        while !rest.is_empty() && input.setup.is_direct() {
            let direct = connection.receive_direct(|buffer, missing| {
                let count = missing.min(rest.len());
                let (now, later) = std::mem::take(&mut rest).split_at_mut(count);
                buffer.append(now);
                rest = later;
            });
            match direct {
                Some(((), Some(event))) => tell(event, &mut connection, &mut log, &mut joined),
                Some(((), None)) => {}
                None => match connection.receive(&mut rest) {
                    Some(event) => tell(event, &mut connection, &mut log, &mut joined),
                    None => break,
                },
            }
        }
        while let Some(event) = connection.receive(&mut rest) {
            tell(event, &mut connection, &mut log, &mut joined);
        }
        assert!(rest.is_empty());
    }
    log.output = connection.output().flatten().copied().collect();
    log.queued = connection.queued();
    log.outcome = Some(connection.receive_eof());
    log
}

/// Notes an event, and answers it as an echo server would.
fn tell(event: Event<'_>, connection: &mut Engine, log: &mut Log, joined: &mut Vec<u8>) {
    match event {
        Event::Request(_) => connection.accept(Accept::new()).unwrap(),
        Event::Message(message) => echo(message.into_owned(), connection, log),
        Event::Fragment(Fragment { kind, payload, first, last, .. }) => {
            assert_eq!(first, joined.is_empty(), "pieces are not empty, but for a whole message");
            joined.extend_from_slice(&payload);
            if last {
                let whole = std::mem::take(joined);
                let message = match kind {
                    MessageKind::Text => Message::from(String::from_utf8(whole).unwrap()),
                    MessageKind::Binary => Message::from(whole),
                };
                echo(message, connection, log);
            }
        }
        event => log.events.push(format!("{event:?} after {}", log.messages.len())),
    }
}

fn echo(message: Message<'static>, connection: &mut Engine, log: &mut Log) {
    // Nothing is written here, so there may be too much to send; at the same place every time.
    let sent = connection.send(&message);
    log.events.push(format!("{sent:?} after {}", log.messages.len()));
    log.messages.push(message);
}
