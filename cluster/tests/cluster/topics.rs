use std::sync::mpsc::channel;
use std::time::Duration;

use framewire_cluster::{Config, PublishError};
use serde_json::{Value, json};

use crate::world::{Node, Redis, config};

#[test]
fn a_topic_without_history_reaches_all_nodes_once() {
    let Some(redis) = Redis::start() else { return };
    let nodes = ["a", "b", "c"].map(|name| Node::new(&redis, name));
    let mut clients = nodes.each_ref().map(|node| node.linked_client("ann"));
    for client in &mut clients {
        assert_eq!(client.subscribes("news")["linked"], true);
    }
    for number in 0..30 {
        clients[number % 3].publishes("news", number);
    }
    for client in &mut clients {
        let mut got: Vec<u64> =
            client.gets("news", 30).iter().map(|data| data.as_u64().unwrap()).collect();
        got.sort_unstable();
        assert!(got.into_iter().eq(0..30));
        client.has_heard_all();
    }
    assert_eq!(nodes[0].cluster.counters().published, 10);
}

#[test]
fn messages_have_topic_sender_and_position() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("ann");
    client.subscribes("news");
    client.publishes("news", json!({ "x": [1, "é"] }));
    let told = client.hears(|told| told["topic"] == "news");
    assert_eq!(told, json!({ "topic": "news", "from": "ann", "data": { "x": [1, "é"] } }));

    let subscribed = client.subscribes("room");
    assert_eq!((&subscribed["offset"], &subscribed["recovered"]), (&json!(0), &json!(0)));
    let published = client.publishes("room", Value::Null);
    assert_eq!((&published["offset"], &published["epoch"]), (&json!(1), &subscribed["epoch"]));
    let told = client.hears(|told| told["topic"] == "room");
    let epoch = &subscribed["epoch"];
    let data = Value::Null;
    assert_eq!(
        told,
        json!({ "topic": "room", "epoch": epoch, "offset": 1, "from": "ann", "data": data })
    );
}

#[test]
fn a_topic_is_left_and_entered_again() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let (mut client, mut other) = (node.linked_client(""), node.linked_client(""));
    other.subscribes("room");
    for round in 0..3 {
        client.subscribes("room");
        client.publishes("room", round);
        assert_eq!(client.gets("room", 1), [round]);
        assert_eq!(client.asks(json!({ "unsubscribe": "room" }))["unsubscribed"], "room");
        client.publishes("room", "unheard");
        assert_eq!(other.gets("room", 2), [json!(round), json!("unheard")]);
        client.has_heard_all();
    }
}

#[test]
fn what_cannot_be_done_is_an_error_with_the_id_of_what_was_asked() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    client.subscribes("news");
    for (asked, code) in [
        (json!({ "subscribe": "" }), "syntax"),
        (json!({ "subscribe": "x".repeat(129) }), "syntax"),
        (json!({ "subscribe": "a\nb" }), "syntax"),
        (json!({ "subscribe": "a", "offset": 7 }), "syntax"),
        (json!({ "subscribe": "a", "last": "x" }), "syntax"),
        (json!({ "subscribe": "news" }), "state"),
        (json!({ "unsubscribe": "other" }), "state"),
        (json!({ "publish": "news" }), "syntax"),
        (json!({ "publish": "secret/x", "data": 1 }), "forbidden"),
        (json!({ "subscribe": "secret/x" }), "forbidden"),
        (json!({ "members": "secret/x" }), "forbidden"),
        (json!({ "send": {}, "data": 1 }), "syntax"),
        (json!({ "dance": true }), "syntax"),
    ] {
        let told = client.asks(asked.clone());
        assert_eq!(told["error"]["code"], code, "{asked}: {told}");
    }
    client.says(json!([1]));
    assert_eq!(client.next()["error"]["code"], "syntax");
}

#[test]
fn the_subprotocol_is_chosen_or_refused() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    node.speaks("framewire-cluster.1", true);
    node.speaks("framewire-cluster.99", false);
}

#[test]
fn a_full_queue_is_told_to_whoever_publishes() {
    // Nobody takes anything out: it is not started.
    let full = Config::new("redis://127.0.0.1:1").max_waiting(2, 1000);
    let cluster = full.clone().history(framewire_cluster::History::last(9)).connect().unwrap();
    assert_eq!(cluster.publish("t", "1"), Ok(()));
    assert_eq!(cluster.publish("t", "2"), Ok(()));
    assert_eq!(cluster.publish("t", "3"), Err(PublishError::Full));
    let waited = cluster.publish_wait("t", "3", Duration::from_millis(1));
    assert_eq!(waited, Err(PublishError::Full));
    assert_eq!((cluster.counters().rejected, cluster.counters().waiting), (2, 2));

    let cluster =
        full.drop_oldest(true).history(framewire_cluster::History::last(9)).connect().unwrap();
    let (sender, dropped) = channel();
    for number in 0..5 {
        let sender = sender.clone();
        let then = move |result| sender.send((number, result)).unwrap();
        assert_eq!(cluster.publish_then("t", "x", None, then), Ok(()));
    }
    for number in 0..3 {
        assert_eq!(dropped.recv().unwrap(), (number, Err(PublishError::Dropped)));
    }
    assert_eq!(cluster.counters().dropped, 3);
}

#[test]
fn what_is_no_url_or_no_name_is_an_error() {
    for config in [
        Config::new("http://127.0.0.1"),
        Config::new(""),
        config("redis://127.0.0.1".into()).node("a b"),
        config("redis://127.0.0.1".into()).node(""),
    ] {
        assert!(config.connect().is_err());
    }
}
