//! What one engine sends, the other receives: every message once, in order, and a clean end.

use framewire::{
    Compress, Config, Endpoint, Fragment, Fragments, Initiator, Message, MessageKind, Outcome,
    Prepared, Role, SendError, State, Workspace,
};

use super::support::chunks::Random;
use super::support::pair::Pair;
use super::support::script::{ROLES, Seen, not_random, peer_of};

fn random_message(random: &mut Random) -> Message<'static> {
    let length = match random.below(12) {
        0 => 0,
        1 => 120 + random.below(12),
        2 => 65_530 + random.below(12),
        3 => random.below(120_000),
        _ => random.below(600),
    };
    match random.below(3) {
        0 => Message::from(random.text(length)),
        1 => Message::from(random.bytes(length)),
        // What compresses well.
        _ => Message::from("{\"price\": 17, \"id\": null}, ".repeat(length / 27)),
    }
}

fn as_seen(message: &Message<'_>) -> Seen {
    match message.as_text() {
        Some(text) => Seen::Text(text.to_owned()),
        None => Seen::Binary(message.as_bytes().to_vec()),
    }
}

/// Sends `message` in one of the ways there are.
fn send(
    endpoint: &mut Endpoint,
    workspace: &mut Workspace,
    random: &mut Random,
    message: Message<'_>,
) {
    match random.below(5) {
        0 => endpoint.send(message.borrowed(), workspace).unwrap(),
        1 => endpoint.send(message.into_owned(), workspace).unwrap(),
        2 => {
            let compress = [Compress::Always, Compress::Never][random.below(2)];
            endpoint.send_with(message, compress, workspace).unwrap();
        }
        3 => endpoint.send_prepared(&Prepared::new(message), workspace).unwrap(),
        _ => {
            let (kind, mut rest) = (message.kind(), message.as_bytes());
            while !rest.is_empty() && random.below(3) > 0 {
                let count = random.below(rest.len() + 1);
                let (now, later) = rest.split_at(count);
                endpoint.send_fragment(Fragment::more(kind, now), workspace).unwrap();
                if random.once_in(2) {
                    assert_eq!(
                        endpoint.send("inside", workspace),
                        Err(SendError::UnfinishedMessage)
                    );
                    endpoint.pong(b"between", workspace).unwrap();
                }
                rest = later;
            }
            endpoint.send_fragment(Fragment::last(kind, rest), workspace).unwrap();
        }
    }
}

/// A conversation of `count` messages each way, then a close by one of them.
fn converse(mut pair: Pair, count: usize, seed: u64) {
    let mut random = Random::new(seed ^ 0xc0);
    let mut sent = [Vec::new(), Vec::new()];
    let mut pings = [0, 0];
    while sent.iter().any(|sent| sent.len() < count) {
        let index = random.below(2);
        let role = ROLES[index];
        let mut said = Vec::new();
        let congested = pair.end(role).endpoint.is_congested();
        for _ in 0..if congested { 0 } else { random.below(3) } {
            if sent[index].len() + said.len() < count {
                said.push(random_message(&mut random));
            }
        }
        let ping = random.once_in(4);
        pings[index] += usize::from(ping);
        pair.turn(role, |endpoint, workspace| {
            for message in &said {
                send(endpoint, workspace, &mut random, message.borrowed());
            }
            if ping {
                endpoint.ping(b"are you there", workspace).unwrap();
            }
        });
        sent[index].extend(said.iter().map(as_seen));
    }
    let closer = ROLES[random.below(2)];
    pair.turn(closer, |endpoint, workspace| {
        endpoint.close(4000 + seed as u16, "over", workspace).unwrap();
    });
    pair.settle();

    for (index, role) in ROLES.into_iter().enumerate() {
        let seen = pair.seen(peer_of(role));
        let is_message = |seen: &&Seen| matches!(seen, Seen::Text(_) | Seen::Binary(_));
        let messages: Vec<Seen> = seen.iter().filter(is_message).cloned().collect();
        assert!(messages == sent[index], "seed {seed}: messages of {role:?}");
        let pinged = seen.iter().filter(|seen| matches!(seen, Seen::Ping(_))).count();
        assert_eq!(pinged, pings[index], "seed {seed}");
        let reason = Seen::Close(4000 + seed as u16, "over".into());
        assert_eq!(seen.last(), Some(&reason), "seed {seed}");
        let end = pair.end(role);
        assert_eq!(end.endpoint.state(), State::Closed, "seed {seed}");
        let Some(Outcome::Clean { initiator, .. }) = &end.outcome else {
            panic!("seed {seed}: {role:?} ended with {:?}", end.outcome)
        };
        let expected = if role == closer { Initiator::Local } else { Initiator::Remote };
        assert_eq!(*initiator, expected);
    }
}

// req: W072, W074, W091, W092, W095, W097, W098, W081, W080
#[test]
fn random_conversations_without_compression() {
    for seed in 1..=12 {
        let config = Config::new();
        #[cfg(feature = "deflate")]
        let config = config.no_deflate();
        converse(Pair::open(&config, &config, seed % 2 == 0, seed), 60, seed);
    }
}

// req: D022, D025, D026, D032, D030, W072, D002
// attack: PD11
#[cfg(feature = "deflate")]
#[test]
fn random_conversations_with_compression() {
    use framewire::deflate::DeflateConfig;

    for seed in 1..=20u64 {
        let bits = |number: u64| 8 + (number % 8) as u8;
        let deflate = |number: u64| {
            DeflateConfig::new()
                .threshold([0, 64, 1024][number as usize % 3])
                .server_no_context_takeover(number.is_multiple_of(5))
                .client_no_context_takeover(number.is_multiple_of(4))
                .server_max_window_bits(bits(number))
                .and_then(|config| config.client_max_window_bits(bits(number / 3 + 5)))
                .and_then(|config| config.level((number % 10) as u8))
                .unwrap()
        };
        let client = Config::new().deflate(deflate(seed));
        let server = Config::new().deflate(deflate(seed + 7));
        let pair = Pair::open(&client, &server, seed % 2 == 0, seed);
        let agreed = pair.client.endpoint.deflate();
        assert!(agreed.is_some());
        assert_eq!(agreed, pair.server.endpoint.deflate());
        converse(pair, 40, seed);
    }
}

// req: W093, W092, W098
// attack: CL10
#[test]
fn two_closes_that_cross_are_a_clean_end() {
    for seed in 1..=2000u64 {
        let config = Config::new();
        let mut pair = Pair::open(&config, &config, seed % 2 == 0, seed);
        let first = ROLES[seed as usize % 2];
        // Both close before the other's Close arrives: nothing of the first one is under way when
        // the second is queued.
        let early = pair.random.below(3);
        for _ in 0..early {
            pair.turn(first, |endpoint, workspace| endpoint.send("before", workspace).unwrap());
        }
        for (role, code) in [(first, 4001u16), (peer_of(first), 4002)] {
            pair.act(role, |endpoint, workspace| endpoint.close(code, "", workspace).unwrap());
        }
        pair.settle();
        for role in [first, peer_of(first)] {
            let code = if role == first { 4002 } else { 4001 };
            let closes: Vec<Seen> = pair.seen(role);
            let closes: Vec<_> =
                closes.iter().filter(|seen| matches!(seen, Seen::Close(..))).collect();
            assert_eq!(closes, [&Seen::Close(code, String::new())], "seed {seed}");
            let outcome = pair.end(role).outcome.clone();
            let outcome = outcome.unwrap_or_else(|| panic!("seed {seed}: {role:?} has ended"));
            assert!(outcome.was_clean(), "seed {seed}: {outcome:?}");
            assert_eq!(outcome.code().0, code);
        }
    }
}

// req: W040, W021, W013, W009, W041, W025
#[test]
fn the_two_roles_open_a_connection_between_them() {
    for seed in 1..=200 {
        let config = Config::new().subprotocols(["b", "c"]);
        let url = framewire::handshake::Url::parse("ws://example.com:81/chat?x=y").unwrap();
        let request = framewire::handshake::ClientRequest::new(&url);
        let request = request.subprotocols(["a", "b", "c"]).unwrap();
        let mut pair = Pair::with(request, &config, &config, seed % 2 == 0, seed);
        pair.settle();
        assert_eq!(pair.seen(Role::Server), [Seen::Request("/chat".into())]);
        assert_eq!(pair.seen(Role::Client), [Seen::Open]);
        for role in ROLES {
            let endpoint = &pair.end(role).endpoint;
            assert_eq!((endpoint.state(), endpoint.subprotocol()), (State::Open, Some("b")));
            assert_eq!(endpoint.role(), role);
        }
    }
}

// req: W075
#[test]
fn pieces_join_to_what_was_sent() {
    for seed in 1..=6 {
        let config = Config::new().fragments(Fragments::Always);
        let mut pair = Pair::open(&config, &config, false, seed);
        let mut random = Random::new(seed);
        let mut expected = Vec::new();
        for _ in 0..30 {
            let message = random_message(&mut random);
            expected.push(Seen::Pieces(message.kind(), message.as_bytes().to_vec()));
            pair.turn(Role::Client, |endpoint, workspace| {
                send(endpoint, workspace, &mut random, message);
            });
        }
        pair.settle();
        let mut seen = pair.seen(Role::Server);
        seen.retain(|seen| !matches!(seen, Seen::Pong(_)));
        assert!(seen == expected, "seed {seed}");
        let kinds = [MessageKind::Text, MessageKind::Binary];
        assert!(kinds.iter().all(|kind| {
            expected.iter().any(|seen| matches!(seen, Seen::Pieces(k, _) if k == kind))
        }));
    }
}

/// What `send_copied` takes goes out as `send` would have it, byte for byte and counted alike; what it does not take
/// leaves no trace, and `send` does it or says why not.
#[test]
fn what_is_copied_goes_out_as_if_it_had_been_sent() {
    let bytes_of = |endpoint: &Endpoint| endpoint.output().flatten().copied().collect::<Vec<u8>>();
    let text = "ä".repeat(36_000);
    let kinds = [MessageKind::Text, MessageKind::Binary];
    for (role, kind) in ROLES.iter().flat_map(|&role| kinds.map(|kind| (role, kind))) {
        for length in [0, 2, 124, 126, 1024, 8190, 8192, 65_534, 65_536, 72_000] {
            let payload = &text[..length];
            let message = match kind {
                MessageKind::Text => Message::from(payload),
                MessageKind::Binary => Message::from(payload.as_bytes()),
            };
            let [mut sent, mut copied] = [(); 2].map(|()| Endpoint::adopted(role, &Config::new()));
            let [mut a, mut b] = [(); 2].map(|()| Workspace::with_entropy(not_random(1)));
            sent.send(message.borrowed(), &mut a).unwrap();
            let is_taken = copied.send_copied(kind, payload.as_bytes(), &mut b);
            assert_eq!(is_taken, role == Role::Server && length < 8192, "{role:?}, {length}");
            if is_taken {
                assert_eq!(bytes_of(&copied), bytes_of(&sent));
                assert_eq!(format!("{:?}", b.metrics()), format!("{:?}", a.metrics()));
            } else {
                assert_eq!(copied.buffered_amount(), 0);
            }
        }
    }
}

#[test]
fn what_is_not_simple_is_not_copied() {
    let mut workspace = Workspace::new();
    let mut refuses = |endpoint: &mut Endpoint, error: Option<SendError>| {
        let before = endpoint.queued();
        assert!(!endpoint.send_copied(MessageKind::Text, b"text", &mut workspace));
        assert_eq!(endpoint.queued(), before);
        assert_eq!(endpoint.send("text", &mut workspace).err(), error);
    };
    refuses(&mut Endpoint::server(&Config::new()), Some(SendError::Connecting));
    let mut full = Endpoint::adopted(Role::Server, &Config::new().max_buffered_amount(10));
    assert!(full.send_copied(MessageKind::Binary, &[0; 20], &mut Workspace::new()));
    refuses(&mut full, Some(SendError::Full));
    let mut unfinished = Endpoint::adopted(Role::Server, &Config::new());
    let first = Fragment::more(MessageKind::Text, b"a");
    unfinished.send_fragment(first, &mut Workspace::new()).unwrap();
    refuses(&mut unfinished, Some(SendError::UnfinishedMessage));
    let mut closing = Endpoint::adopted(Role::Server, &Config::new());
    closing.close(1000, "", &mut Workspace::new()).unwrap();
    refuses(&mut closing, Some(SendError::Closing));
    closing.abort();
    refuses(&mut closing, Some(SendError::Closed));
}
