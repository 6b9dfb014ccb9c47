use serde_json::{Value, json};

use crate::world::{Node, Redis, TestClient};

/// What a client that comes back is told, and the messages that it gets then.
fn resumes(client: &mut TestClient, from: &Value, topic: &str) -> (Value, Vec<u64>) {
    let told = client
        .asks(json!({ "subscribe": topic, "epoch": from["epoch"], "offset": from["offset"] }));
    let recovered = usize::try_from(told["recovered"].as_u64().unwrap()).unwrap();
    let offsets = (0..recovered)
        .map(|_| client.hears(|told| told["topic"] == topic)["offset"].as_u64().unwrap())
        .collect();
    (told, offsets)
}

#[test]
fn who_comes_back_to_another_node_gets_exactly_what_was_missed() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut writer = a.linked_client("ann");
    let last = (0..5).map(|number| writer.publishes("room", number)).last().unwrap();
    for number in 5..12 {
        writer.publishes("room", number);
    }
    let mut reader = b.linked_client("");
    let (told, offsets) = resumes(&mut reader, &last, "room");
    assert!(told["gap"].is_null(), "{told}");
    assert!(offsets.into_iter().eq(6..=12));
    writer.publishes("room", "new");
    assert_eq!(reader.gets("room", 1), ["new"]);
    reader.has_heard_all();
}

#[test]
fn nothing_is_left_out_or_comes_twice_between_the_history_and_what_is_new() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut writer = a.linked_client("ann");
    let mut last = writer.publishes("room", 0);
    // Clients come while messages do.
    for _ in 0..20 {
        let mut reader = b.linked_client("");
        reader
            .says(json!({ "subscribe": "room", "epoch": last["epoch"], "offset": last["offset"] }));
        let first = last["offset"].as_u64().unwrap() + 1;
        for number in 0..10 {
            last = writer.publishes("room", number);
        }
        for offset in first..first + 10 {
            assert_eq!(reader.hears(|told| told["topic"] == "room")["offset"], offset);
        }
        assert_eq!(reader.next()["subscribed"], "room");
        reader.has_heard_all();
    }
}

#[test]
fn the_last_messages_can_be_asked_for() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    for number in 0..5 {
        client.publishes("room", number);
    }
    let told = client.asks(json!({ "subscribe": "room", "last": 3 }));
    assert_eq!((&told["recovered"], &told["offset"]), (&json!(3), &json!(5)));
    assert_eq!(client.gets("room", 3), [2, 3, 4]);
    let mut other = node.linked_client("");
    assert_eq!(other.asks(json!({ "subscribe": "room", "last": 99 }))["recovered"], 5);
}

#[test]
fn who_stays_away_for_too_long_is_told_what_is_lost() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    let first = client.publishes("room", 0);
    for number in 0..30 {
        client.publishes("room", number);
    }
    let (told, offsets) = resumes(&mut client, &first, "room");
    assert_eq!(told["gap"], json!({ "why": "trimmed", "from": 2, "to": 11 }));
    assert!(offsets.into_iter().eq(12..=31));
    assert_eq!(node.cluster.counters().gaps, 1);
}

#[test]
fn another_epoch_is_a_gap() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    let strange = json!({ "epoch": "strange", "offset": 3 });
    client.publishes("room", 0);
    let (told, offsets) = resumes(&mut client, &strange, "room");
    assert_eq!((&told["gap"]["why"], offsets), (&json!("epoch"), vec![1]));

    // Somebody throws away what Redis has. Who is subscribed is told, too.
    redis.ask(&["FLUSHALL"]);
    let published = client.publishes("room", "after");
    assert_ne!(published["epoch"], told["epoch"]);
    assert_eq!(client.hears(|told| told["gap"].is_object())["gap"]["why"], "epoch");
    assert_eq!(client.gets("room", 1), ["after"]);
}

#[test]
fn a_redis_that_has_lost_messages_begins_an_epoch() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut client = a.linked_client("");
    let last = (0..5).map(|number| client.publishes("room", number)).last().unwrap();
    // As after a restart without the newest part of its file.
    redis.ask(&["HSET", "framewire:facts:room", "offset", "3"]);
    redis.ask(&["XTRIM", "framewire:stream:room", "MAXLEN", "0"]);
    let (told, _) = resumes(&mut b.linked_client(""), &last, "room");
    assert_eq!(told["gap"]["why"], "epoch");
    assert_ne!(told["epoch"], last["epoch"]);
}

#[test]
fn bytes_and_age_bound_a_history() {
    use framewire_cluster::History;
    use std::time::Duration;
    let Some(redis) = Redis::start() else { return };
    let config = crate::world::config(redis.url());
    let node = Node::with(config.history(History::last(1000).bytes(1000)));
    let mut client = node.linked_client("");
    for _ in 0..10 {
        client.publishes("room", "x".repeat(280));
    }
    let told = client.asks(json!({ "subscribe": "room", "last": 99 }));
    assert_eq!(told["recovered"], 3);

    let config = crate::world::config(redis.url()).prefix("other:");
    let node = Node::with(config.history(History::last(1000).age(Duration::from_millis(1))));
    let mut client = node.linked_client("");
    client.publishes("room", 1);
    // It has expired by the time that Redis says so.
    while redis.ask(&["EXISTS", "other:stream:room"]) != redis::Value::Int(0) {}
    client.publishes("room", 2);
    let told = client.asks(json!({ "subscribe": "room", "last": 99 }));
    assert!(told["recovered"].as_u64().unwrap() <= 1);
    assert_eq!(told["offset"], 2);
}

#[test]
fn a_message_with_a_key_is_stored_once() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut publish = [a.linked_client(""), b.linked_client("")]
        .into_iter()
        .map(|mut client| client.asks(json!({ "publish": "room", "data": 1, "key": "k" })));
    let (first, second) = (publish.next().unwrap(), publish.next().unwrap());
    assert_eq!((&first["offset"], &second["offset"]), (&json!(1), &json!(1)));
    let told = a.linked_client("").asks(json!({ "subscribe": "room", "last": 9 }));
    assert_eq!(told["recovered"], 1);
}
