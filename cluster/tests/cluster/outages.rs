use std::time::Duration;

use framewire_cluster::PublishError;
use serde_json::json;

use crate::world::{Node, Redis, config, until};

#[test]
fn redis_may_come_after_the_node() {
    let Some(mut redis) = Redis::stopped() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.client();
    assert_eq!(client.welcome["linked"], false);
    // Without a history what this node publishes reaches its own subscribers.
    assert_eq!(client.subscribes("news")["linked"], false);
    assert_eq!(client.asks(json!({ "publish": "news", "data": 1 }))["error"]["code"], "away");
    assert_eq!(client.gets("news", 1), [1]);
    // With a history it waits.
    client.says(json!({ "subscribe": "room" }));
    client.says(json!({ "publish": "room", "data": 2 }));
    redis.begin();
    client.hears(|told| told["linked"] == true);
    client.hears(|told| told["subscribed"] == "room");
    let mut other = node.linked_client("");
    other.publishes("room", 3);
    assert_eq!(client.gets("room", 1).len(), 1);
    other.asks(json!({ "subscribe": "room", "last": 9 }));
    assert_eq!(other.gets("room", 2), [2, 3]);
    assert_eq!(client.hears(|told| told["gap"].is_object())["topic"], "news");
}

#[test]
fn redis_is_restarted_and_nothing_is_lost_that_has_a_history() {
    let Some(mut redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let (mut writer, mut reader) = (a.linked_client(""), b.linked_client(""));
    reader.subscribes("room");
    reader.subscribes("news");
    writer.publishes("room", 0);
    assert_eq!(reader.gets("room", 1), [0]);

    redis.kill();
    for client in [&mut writer, &mut reader] {
        client.hears(|told| told["linked"] == false);
    }
    for number in 1..5 {
        writer.says(json!({ "publish": "room", "data": number, "id": number }));
    }
    redis.begin();
    for number in 1..5 {
        assert_eq!(writer.hears(|told| told["id"] == number)["offset"], number + 1);
    }
    assert_eq!(reader.gets("room", 4), [1, 2, 3, 4]);
    reader.hears(|told| told["linked"] == true);
    assert_eq!(reader.hears(|told| told["gap"].is_object())["topic"], "news");
    reader.has_heard_all();
    assert!(a.cluster.counters().lost >= 1);
}

#[test]
fn a_node_that_was_cut_off_fills_the_gap() {
    let Some(redis) = Redis::start() else { return };
    let allow = |state| {
        // What the README says that a node needs.
        let rights = ["~framewire:*", "&framewire:*", "+@all", "-@admin", "-@dangerous", "+info"];
        redis.ask(&[&["ACL", "SETUSER", "b", state, ">secret"][..], &rights].concat());
    };
    allow("on");
    let a = Node::new(&redis, "a");
    let b = Node::with(config(redis.url_for("b", "secret")).node("b"));
    let (mut writer, mut reader) = (a.linked_client(""), b.linked_client(""));
    reader.subscribes("room");
    for round in 0..3 {
        writer.publishes("room", round);
        assert_eq!(reader.gets("room", 1), [round]);
        allow("off");
        redis.ask(&["CLIENT", "KILL", "USER", "b"]);
        reader.hears(|told| told["linked"] == false);
        for number in 10..15 {
            writer.publishes("room", number);
        }
        allow("on");
        assert_eq!(reader.gets("room", 5), [10, 11, 12, 13, 14]);
        reader.hears(|told| told["linked"] == true);
        reader.has_heard_all();
    }
    // More than the history has.
    allow("off");
    redis.ask(&["CLIENT", "KILL", "USER", "b"]);
    reader.hears(|told| told["linked"] == false);
    for number in 0..30 {
        writer.publishes("room", number);
    }
    allow("on");
    let gap = reader.hears(|told| told["gap"].is_object());
    assert_eq!(gap, json!({ "topic": "room", "gap": { "why": "trimmed", "from": 19, "to": 28 } }));
    assert_eq!(reader.gets("room", 20).len(), 20);
}

#[test]
fn a_wrong_password_is_an_outage_until_it_is_right() {
    let Some(redis) = Redis::start() else { return };
    // It may not ask which server this is, either.
    redis.ask(&["ACL", "SETUSER", "b", "on", ">right", "~*", "&*", "+@all", "-info"]);
    let node = Node::with(config(redis.url_for("b", "wrong")).node("b"));
    let mut client = node.client();
    assert_eq!(client.asks(json!({ "publish": "news", "data": 1 }))["error"]["code"], "away");
    redis.ask(&["ACL", "SETUSER", "b", "on", ">wrong"]);
    client.hears(|told| told["linked"] == true);
    client.publishes("news", 1);
}

#[test]
fn a_redis_without_memory_refuses_and_recovers() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    client.publishes("room", 1);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let told = client.asks(json!({ "publish": "room", "data": 2 }));
    assert_eq!(told["error"]["code"], "refused", "{told}");
    assert!(told["error"]["text"].as_str().unwrap().contains("OOM"), "{told}");
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(client.publishes("room", 3)["offset"], 2);
    assert_eq!(node.cluster.counters().failed, 1);
}

#[test]
fn a_redis_without_memory_keeps_nodes_and_members_alive() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let (mut one, mut other) = (a.linked_client(""), b.linked_client(""));
    one.subscribes("news");
    let lease = || redis.ask(&["ZRANGE", "framewire:nodes", "0", "-1", "WITHSCORES"]);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        let before = lease();
        until(|| lease() != before);
    }
    other.says(json!({ "subscribe": "news", "join": true }));
    one.hears(|told| told["joined"] == "news");
    other.publishes("news", 1);
    assert_eq!(one.gets("news", 1), [1]);
    assert_eq!((a.cluster.counters().lost, b.cluster.counters().lost), (0, 0));
}

#[test]
fn a_node_that_is_too_slow_for_redis_reads_the_gap_from_the_stream() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let (mut writer, mut reader) = (a.linked_client(""), b.linked_client(""));
    reader.subscribes("room");
    // Whoever is to be told of a long message has too much to be told.
    redis.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 4096 0 0"]);
    for number in 1..4 {
        assert_eq!(writer.publishes("room", "x".repeat(40_000))["offset"], number);
        assert_eq!(reader.gets("room", 1).len(), 1);
        reader.hears(|told| told["linked"] == true);
    }
    reader.has_heard_all();
    let counters = b.cluster.counters();
    assert_eq!((counters.received, counters.recovered, counters.gaps), (0, 3, 0));
    assert!(counters.lost >= 3);
}

#[test]
fn a_redis_that_stands_still_is_away_until_it_goes_on() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::with(config(redis.url()).patience(Duration::from_millis(200)));
    let mut client = node.linked_client("");
    client.subscribes("room");
    redis.signal("-STOP");
    client.says(json!({ "publish": "room", "data": 1, "id": 7 }));
    client.hears(|told| told["linked"] == false);
    redis.signal("-CONT");
    // It was sent more than once, and is there once.
    assert_eq!(client.hears(|told| told["id"] == 7)["offset"], 1);
    assert_eq!(client.gets("room", 1), [1]);
    if !node.cluster.is_linked() {
        client.hears(|told| told["linked"] == true);
    }
    client.publishes("room", 2);
    assert_eq!(client.gets("room", 1), [2]);
}

#[test]
fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    client.publishes("room", 1);
    redis.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.publishes("room", 2)["offset"], 2);
}

#[test]
fn a_cluster_that_ends_publishes_what_waits() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut reader = b.linked_client("");
    reader.subscribes("room");
    for number in 0..100 {
        a.cluster.publish("room", number.to_string()).unwrap();
    }
    assert!(a.cluster.shutdown(Duration::from_secs(60)));
    assert_eq!(a.cluster.publish("room", "late"), Err(PublishError::Full));
    assert_eq!(reader.gets("room", 100).len(), 100);
}
