use serde_json::json;

use crate::world::{Node, Redis, config, until};

#[test]
fn topics_are_shared_among_several_redis() {
    let (Some(one), Some(mut other)) = (Redis::start(), Redis::start()) else { return };
    let config = || config(one.url()).shard(other.url());
    let (a, b) = (Node::with(config().node("a")), Node::with(config().node("b")));
    let (mut writer, mut reader) = (a.linked_client("ann"), b.linked_client("bob"));
    let has = |redis: &Redis, topic: &str| {
        redis.ask(&["EXISTS", &format!("framewire:stream:{topic}")]) == redis::Value::Int(1)
    };
    let topics: Vec<String> = (0..20).map(|number| format!("room/{number}")).collect();
    for topic in &topics {
        reader.asks(json!({ "subscribe": topic, "join": true }));
        assert_eq!(writer.publishes(topic, topic.as_str())["offset"], 1);
        assert_eq!(reader.gets(topic, 1), [topic.as_str()]);
        assert!(has(&one, topic) != has(&other, topic), "{topic} is in one of them");
        let members = writer.asks(json!({ "members": topic }));
        let connection = &members["list"][0]["connection"];
        assert_eq!(connection, &reader.welcome["connection"], "it has one name in all of them");
    }
    let (here, there): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| has(&one, topic));
    assert!(!here.is_empty() && !there.is_empty());

    // Users and connections are reached, wherever they are kept.
    for user in 0..8 {
        let mut client = b.linked_client(&format!("user-{user}"));
        let own = client.welcome["connection"].clone();
        for to in [json!({ "user": format!("user-{user}") }), json!({ "connection": own })] {
            // The channel of a user is subscribed to when the first connection has come.
            until(|| writer.asks(json!({ "send": to, "data": 7 }))["sent"] == 1);
            assert_eq!(client.hears(|told| told["direct"] == true)["data"], 7);
        }
    }

    // One is away: the topics of the other go on.
    other.kill();
    writer.hears(|told| told["linked"] == false);
    assert!(!a.cluster.is_linked());
    writer.publishes(here[0], "still");
    assert_eq!(reader.gets(here[0], 1), ["still"]);
    writer.says(json!({ "publish": there[0], "data": "late" }));
    other.begin();
    assert_eq!(reader.gets(there[0], 1), ["late"]);
    writer.hears(|told| told["linked"] == true);

    // Who ends leaves the topics of both.
    drop(reader);
    for topic in [here[0], there[0]] {
        until(|| writer.asks(json!({ "members": topic }))["list"] == json!([]));
    }
}
