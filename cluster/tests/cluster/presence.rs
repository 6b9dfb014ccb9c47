use std::sync::mpsc::channel;

use framewire_cluster::Recipient;
use serde_json::{Value, json};

use crate::world::{Node, Redis, TestClient, config};

/// The users that a topic has.
fn users(client: &mut TestClient, topic: &str) -> Vec<String> {
    let told = client.asks(json!({ "members": topic }));
    let name = |member: &Value| member["user"].as_str().unwrap_or_default().to_owned();
    let mut users: Vec<String> = told["list"].as_array().unwrap().iter().map(name).collect();
    users.sort();
    users
}

#[test]
fn members_of_all_nodes_join_and_leave() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let (mut ann, mut ben) = (a.linked_client("ann"), b.linked_client("ben"));
    let told = ann.asks(json!({ "subscribe": "room", "join": true }));
    assert_eq!(told["subscribed"], "room");
    let told = ann.hears(|told| told["joined"] == "room");
    let member =
        json!({ "connection": ann.welcome["connection"], "user": "ann", "info": { "age": 7 } });
    assert_eq!(told["member"], member);

    ben.asks(json!({ "subscribe": "room", "join": true, "members": true }));
    let list = ben.hears(|told| told["members"] == "room");
    assert_eq!(list["list"].as_array().unwrap().len(), 2);
    assert_eq!(ann.hears(|told| told["joined"] == "room")["member"]["user"], "ben");
    assert_eq!(users(&mut ann, "room"), ["ann", "ben"]);

    ben.asks(json!({ "unsubscribe": "room" }));
    assert_eq!(ann.hears(|told| told["left"] == "room")["member"]["user"], "ben");
    ben.asks(json!({ "subscribe": "room", "join": true }));
    ann.hears(|told| told["joined"] == "room");
    drop(ben);
    assert_eq!(ann.hears(|told| told["left"] == "room")["member"]["user"], "ben");
    assert_eq!(users(&mut ann, "room"), ["ann"]);
}

#[test]
fn the_members_of_a_node_leave_with_it() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut ann = a.linked_client("ann");
    ann.asks(json!({ "subscribe": "room", "join": true }));
    ann.hears(|told| told["joined"] == "room");
    let mut ben = b.linked_client("ben");
    ben.asks(json!({ "subscribe": "room", "join": true }));
    ann.hears(|told| told["joined"] == "room");
    drop(b);
    assert_eq!(ann.hears(|told| told["left"] == "room")["member"]["user"], "ben");
    assert_eq!(users(&mut ann, "room"), ["ann"]);
}

#[test]
fn a_dead_node_leaves_no_ghosts() {
    let Some(redis) = Redis::start() else { return };
    // What a node that was killed leaves behind: a lease that is over, and members.
    redis.ask(&["ZADD", "framewire:nodes", "1", "dead.1"]);
    redis.ask(&["SADD", "framewire:topics:dead.1", "room"]);
    redis.ask(&["HSET", "framewire:members:room", "dead.1/7", r#"{"user":"ghost"}"#]);
    redis.ask(&["HSET", "framewire:connections", "dead.1", "40"]);
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("");
    assert!(users(&mut client, "room").is_empty());
    assert_eq!(redis.ask(&["EXISTS", "framewire:members:room"]), redis::Value::Int(0));
    assert_eq!(redis.ask(&["EXISTS", "framewire:topics:dead.1"]), redis::Value::Int(0));
    let (sender, count) = channel();
    node.cluster.connections(move |count| sender.send(count).unwrap()).unwrap();
    assert!(count.recv().unwrap().unwrap() < 40);
}

#[test]
fn a_node_that_was_taken_for_dead_brings_its_members_back() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let (mut ann, mut ben) = (a.linked_client("ann"), b.linked_client("ben"));
    ann.asks(json!({ "subscribe": "room", "join": true }));
    ann.hears(|told| told["joined"] == "room");
    ben.asks(json!({ "subscribe": "room", "join": true }));
    ann.hears(|told| told["joined"] == "room");
    ben.hears(|told| told["joined"] == "room");
    // What another node does then.
    let connection = ben.welcome["connection"].as_str().unwrap();
    redis.ask(&["HDEL", "framewire:members:room", connection]);
    redis.ask(&["ZREM", "framewire:nodes", b.cluster.node_id()]);
    assert_eq!(ann.hears(|told| told["joined"] == "room")["member"]["user"], "ben");
    assert_eq!(users(&mut ann, "room"), ["ann", "ben"]);
}

#[test]
fn a_restart_of_redis_without_its_data_keeps_the_members() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::new(&redis, "a");
    let mut client = node.linked_client("ann");
    client.asks(json!({ "subscribe": "room", "join": true }));
    client.hears(|told| told["joined"] == "room");
    redis.ask(&["FLUSHALL"]);
    client.hears(|told| told["joined"] == "room");
    assert_eq!(users(&mut client, "room"), ["ann"]);
}

#[test]
fn users_and_connections_are_reached_on_any_node() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Node::new(&redis, "a"), Node::new(&redis, "b"));
    let mut ann = a.linked_client("ann");
    let (mut ben, mut other_ben) = (b.linked_client("ben"), a.linked_client("ben"));
    // The channel of a user is subscribed to when the first connection has come; a message to it shows that it is.
    for client in [&mut ben, &mut other_ben] {
        let me = client.welcome["connection"].clone();
        client.asks(json!({ "send": { "connection": me }, "data": 0 }));
        client.hears(|told| told["direct"] == true);
    }
    while ann.asks(json!({ "send": { "user": "ben" }, "data": 1 }))["sent"] != 2 {}
    for client in [&mut ben, &mut other_ben] {
        let told = client.hears(|told| told["direct"] == true);
        assert_eq!((&told["data"], &told["from"]), (&json!(1), &json!("ann")));
    }
    let told = ann.asks(json!({ "send": { "user": "nobody" }, "data": 1 }));
    assert_eq!(told["sent"], 0);
    let told = ann.asks(json!({ "send": { "connection": "gone.1/3" }, "data": 1 }));
    assert_eq!(told["sent"], 0);
    ann.asks(json!({ "send": { "connection": ben.welcome["connection"] }, "data": 2 }));
    ben.hears(|told| told["direct"] == true && told["data"] == 2);

    let connection = ben.welcome["connection"].as_str().unwrap().to_owned();
    a.cluster.disconnect(Recipient::Connection(&connection), 4001, "one").unwrap();
    assert_eq!(ben.ends_with(), 4001);
    b.cluster.disconnect(Recipient::User("ben"), 4002, "all").unwrap();
    assert_eq!(other_ben.ends_with(), 4002);
    assert!(a.cluster.disconnect(Recipient::User("ben"), 1005, "").is_err());
}

#[test]
fn connections_of_all_nodes_are_counted() {
    let Some(redis) = Redis::start() else { return };
    let nodes = ["a", "b"].map(|name| Node::with(config(redis.url()).node(name)));
    let _clients = [0, 0, 1].map(|node: usize| nodes[node].linked_client(""));
    loop {
        let (sender, count) = channel();
        nodes[0].cluster.connections(move |count| sender.send(count).unwrap()).unwrap();
        // Each node tells it when it says that it is alive.
        if count.recv().unwrap() == Some(3) {
            break;
        }
    }
}
