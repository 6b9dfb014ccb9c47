//! `rooms_with_acks`: ids, rooms, acknowledgements in both directions.

use std::collections::BTreeSet;

use framewire::{Client, ClientError, CloseCode};
use serde_json::{Value, json};

use crate::house::{Program, connect, text, untimed_client};

struct Member {
    client: Client,
    id: String,
    number: u64,
}

fn ws(server: &Program) -> String {
    format!("{}/rooms", server.url.replacen("http", "ws", 1))
}

impl Member {
    fn new(server: &Program) -> Self {
        let mut client = connect(&ws(server), &[]);
        let welcome: Value = serde_json::from_str(&text(&mut client)).unwrap();
        assert_eq!(welcome["event"], "welcome");
        let id = welcome["data"]["id"].as_str().expect("an id").to_owned();
        Self { client, id, number: 0 }
    }

    fn inside(server: &Program, room: &str) -> Self {
        let mut member = Self::new(server);
        let answer = member.say("join", &json!({ "room": room }));
        assert_eq!(answer["data"]["room"], room);
        member
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&text(&mut self.client)).unwrap()
    }

    /// The data of the next message, which is this event.
    fn hear_event(&mut self, event: &str) -> Value {
        let mut heard = self.hear();
        assert_eq!(heard["event"], event, "{heard}");
        heard["data"].take()
    }

    /// Says something and does not wait; the number of the answer to come.
    fn begin(&mut self, event: &str, data: &Value) -> u64 {
        self.number += 1;
        let message = json!({ "event": event, "data": data, "ack": self.number });
        self.client.send(message.to_string()).unwrap();
        self.number
    }

    /// Says something; the answer, before which nothing else comes.
    fn say(&mut self, event: &str, data: &Value) -> Value {
        let number = self.begin(event, data);
        let answer = self.hear();
        assert_eq!(answer["ack"], number, "{answer}");
        answer
    }

    fn answer(&mut self, number: &Value, data: &Value) {
        self.client.send(json!({ "ack": number, "data": data }).to_string()).unwrap();
    }

    /// A `ping` that is answered says that all before it was carried out, and that nothing else came.
    fn sync(&mut self) {
        assert_eq!(self.say("ping", &Value::Null)["data"], json!({}));
    }
}

#[test]
fn e1_ids_are_new_with_each_connection() {
    let server = Program::start("rooms_with_acks");
    let ids: BTreeSet<String> = (0..20).map(|_| Member::new(&server).id).collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| id.len() == 16));
}

#[test]
fn e2_rooms_reach_their_members_only_and_leave_out_the_sender() {
    let server = Program::start("rooms_with_acks");
    let mut ann = Member::inside(&server, "red");
    let mut ben = Member::new(&server);
    let joined = ben.say("join", &json!({ "room": "red" }));
    let members: BTreeSet<&str> =
        joined["data"]["members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(members, BTreeSet::from([ann.id.as_str(), &ben.id]));
    assert_eq!(joined["data"]["count"], 2);
    assert_eq!(ann.hear_event("joined"), json!({ "room": "red", "id": ben.id, "count": 2 }));
    // Once more is no second time, and nobody is told.
    assert_eq!(ben.say("join", &json!({ "room": "red" }))["data"]["count"], 2);
    let mut cat = Member::inside(&server, "blue");

    let answer = ben.say("say", &json!({ "room": "red", "text": "hello" }));
    assert_eq!(answer["data"], json!({ "reached": 1 }));
    let said = json!({ "room": "red", "from": ben.id, "text": "hello" });
    assert_eq!(ann.hear_event("said"), said);
    cat.sync();
    ben.sync();

    let answer = cat.say("say", &json!({ "room": "red", "text": "let me in" }));
    assert_eq!(answer["error"], "you are not in \"red\"");
    assert_eq!(ben.say("leave", &json!({ "room": "red" }))["data"]["room"], "red");
    assert_eq!(ann.hear_event("left"), json!({ "room": "red", "id": ben.id, "count": 1 }));
    let answer = ann.say("say", &json!({ "room": "red", "text": "alone" }));
    assert_eq!(answer["data"], json!({ "reached": 0 }));
    ben.sync();
}

#[test]
fn e2_rooms_are_left_when_the_connection_ends() {
    let server = Program::start("rooms_with_acks");
    let mut ann = Member::inside(&server, "red");
    let mut ben = Member::inside(&server, "red");
    ann.hear_event("joined");
    ben.client.abort();
    assert_eq!(ann.hear_event("left"), json!({ "room": "red", "id": ben.id, "count": 1 }));
}

#[test]
fn e1_a_targeted_send_is_acknowledged_by_its_receiver() {
    let server = Program::start("rooms_with_acks");
    let (mut ann, mut ben) = (Member::new(&server), Member::new(&server));
    let mut other = Member::new(&server);
    let number = ann.begin("ask", &json!({ "id": ben.id, "text": "tea?" }));
    let asked = ben.hear();
    assert_eq!(asked["event"], "asked");
    assert_eq!(asked["data"], json!({ "from": ann.id, "text": "tea?" }));
    // An answer of whom nobody has asked is no answer.
    other.answer(&asked["ack"], &json!("coffee"));
    other.sync();
    ben.answer(&asked["ack"], &json!({ "yes": true }));
    let mut expected = json!({ "ack": number, "data": { "answers": {} } });
    expected["data"]["answers"][&ben.id] = json!({ "yes": true });
    assert_eq!(ann.hear(), expected);
    // A second one neither.
    ben.answer(&asked["ack"], &json!({ "yes": false }));
    ben.sync();
    ann.sync();
}

#[test]
fn e1_an_unknown_id_is_told_to_who_used_it() {
    let server = Program::start("rooms_with_acks");
    let mut ann = Member::new(&server);
    let gone = {
        let mut member = Member::inside(&server, "red");
        ann.say("join", &json!({ "room": "red" }));
        member.client.abort();
        member.id
    };
    ann.hear_event("left");
    for id in ["nobody", "", &gone] {
        let answer = ann.say("ask", &json!({ "id": id, "text": "there?" }));
        assert_eq!(answer["error"], format!("unknown id {id:?}"));
    }
}

#[test]
fn e5_an_acknowledgement_that_does_not_come_in_time_is_an_error_with_the_others() {
    let server = Program::start_with("rooms_with_acks", &["50"]);
    let mut ann = Member::inside(&server, "red");
    let mut ben = Member::inside(&server, "red");
    let mut cat = Member::inside(&server, "red");
    ann.hear_event("joined");
    ann.hear_event("joined");
    ben.hear_event("joined");
    let number = ann.begin("ask", &json!({ "room": "red", "text": "tea?" }));
    let (to_ben, to_cat) = (ben.hear(), cat.hear());
    assert_eq!(to_ben, to_cat);
    assert_eq!(to_ben["data"], json!({ "room": "red", "from": ann.id, "text": "tea?" }));
    let answer = ann.hear();
    assert_eq!(answer["ack"], number);
    assert_eq!(answer["error"], "not all have answered in time");
    let missing: BTreeSet<&str> =
        answer["missing"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(missing, BTreeSet::from([ben.id.as_str(), &cat.id]));
    // Too late: it counts for nothing, and the next question has a number of its own.
    ben.answer(&to_ben["ack"], &json!("yes"));
    ben.sync();
    ann.sync();
    ann.begin("ask", &json!({ "id": ben.id, "text": "now?" }));
    let again = ben.hear();
    assert_ne!(again["ack"], to_ben["ack"]);
}

#[test]
fn e5_acknowledgements_of_a_room_are_collected() {
    let server = Program::start_with("rooms_with_acks", &["60000"]);
    let mut ann = Member::inside(&server, "red");
    let mut ben = Member::inside(&server, "red");
    let mut cat = Member::inside(&server, "red");
    ann.hear_event("joined");
    ann.hear_event("joined");
    ben.hear_event("joined");
    let number = ann.begin("ask", &json!({ "room": "red", "text": "here?" }));
    for (member, data) in [(&mut ben, "b"), (&mut cat, "c")] {
        let asked = member.hear();
        member.answer(&asked["ack"], &data.into());
    }
    let answer = ann.hear();
    assert_eq!(answer["ack"], number);
    let answers = &answer["data"]["answers"];
    assert_eq!((&answers[&ben.id], &answers[&cat.id]), (&json!("b"), &json!("c")));

    // Who leaves is not waited for; who has answered counts.
    ann.begin("ask", &json!({ "room": "red", "text": "still here?" }));
    let asked = ben.hear();
    ben.answer(&asked["ack"], &json!("yes"));
    cat.hear();
    cat.client.abort();
    ann.hear_event("left");
    let answer = ann.hear();
    assert_eq!(answer["error"], "not all are there any more");
    assert_eq!(answer["missing"], json!([cat.id]));
    assert_eq!(answer["answers"][&ben.id], "yes");

    // Nobody to ask is an answer at once.
    let mut dan = Member::inside(&server, "blue");
    let answer = dan.say("ask", &json!({ "room": "blue", "text": "anybody?" }));
    assert_eq!(answer["data"], json!({ "answers": {} }));
}

#[test]
fn open_questions_rooms_and_names_are_bounded() {
    let server = Program::start_with("rooms_with_acks", &["60000"]);
    let (mut ann, mut ben) = (Member::new(&server), Member::new(&server));
    for _ in 0..16 {
        ann.begin("ask", &json!({ "id": ben.id, "text": "?" }));
    }
    let answer = ann.say("ask", &json!({ "id": ben.id, "text": "?" }));
    assert_eq!(answer["error"], "too many questions are open");
    let first = ben.hear();
    ben.answer(&first["ack"], &Value::Null);
    assert_eq!(ann.hear()["ack"], 1);
    for number in 0..32 {
        let answer = ann.say("join", &json!({ "room": number.to_string() }));
        assert_eq!(answer["data"]["count"], 1);
    }
    let answer = ann.say("join", &json!({ "room": "one more" }));
    assert_eq!(answer["error"], "connection has subscribed to 32 topics already");
    for room in [json!(""), json!("x".repeat(65)), json!("a\nb"), json!(7)] {
        let answer = ann.say("join", &json!({ "room": room }));
        assert_eq!(answer["error"], "a room's name has 1 to 64 bytes");
    }
}

#[test]
fn who_does_not_speak_the_language_is_disconnected() {
    let server = Program::start("rooms_with_acks");
    for (message, reason) in [
        ("hello", "the text is not JSON"),
        ("{}", "neither an event nor an answer"),
        (r#"{"event":"dance"}"#, "unknown event"),
        (r#"{"event":"ping","ack":-1}"#, "an ack is a number from 0 up"),
        (r#"{"event":"ask","data":{"id":"x","text":"y"}}"#, "a question without a number"),
    ] {
        let mut member = Member::new(&server);
        member.client.send(message).unwrap();
        assert_eq!(member.client.recv().unwrap(), None);
        let outcome = member.client.outcome().expect("it is over");
        assert_eq!((outcome.code(), outcome.reason()), (CloseCode::POLICY_VIOLATION, reason));
    }
    let mut member = Member::new(&server);
    member.client.send(&b"bytes"[..]).unwrap();
    assert_eq!(member.client.recv().unwrap(), None);
}

#[test]
fn the_page_of_the_rooms_is_served() {
    let server = Program::start("rooms_with_acks");
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/link.js", "text/javascript"),
        ("/closing.js", "text/javascript"),
    ] {
        let (status, head, body) = server.get(path, &[]);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(kind), "{head}");
        assert!(!body.is_empty());
    }
    let elsewhere = untimed_client(&ws(&server)).origin("https://elsewhere.example");
    match elsewhere.unwrap().connect() {
        Err(ClientError::Rejected(response)) => assert_eq!(response.status(), 403),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.get("/rooms", &[]).0, 426);
    assert_eq!(server.get("/other", &[]).0, 404);
}
