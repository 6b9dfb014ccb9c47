use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use crate::handshake::{ClientRequest, Response, Url};
use crate::protocol::{Bytes, Config, Fragment, Message, Outcome, Prepared};

use super::super::attempt::Attempt;
use super::super::audience::Audience;
use super::super::deferral::Pending;
use super::super::handle::Handle;
use super::super::handler::{Decision, Handler, HttpAnswer};
use super::super::incoming_request::IncomingRequest;
use super::super::opening_error::OpeningError;
use super::super::peer::Peer;
use super::super::sent::Sent;
use super::super::topics::Subscribed;
use super::message::{Numbered, TELLING};
use super::model::{Model, Promise, Source, Stage};
use super::network::{Network, address};
use super::random::Random;
use crate::protocol::SendError;

/// What the handlers of a world share with it.
pub(super) struct Stagehand {
    pub(super) model: Model,
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) handle: Option<Handle>,
    pub(super) config: Config,
    /// Requests that wait for an answer.
    pub(super) pending: Vec<Pending<usize>>,
    /// Who is to be resumed later, and in what time.
    pub(super) paused: Vec<(Duration, usize)>,
    /// The longest message.
    pub(super) longest: usize,
    pub(super) dials: usize,
    pub(super) panics: bool,
    /// Nothing new is begun any more.
    pub(super) is_calm: bool,
    /// Newer messages replace older ones without a key.
    pub(super) keeps_latest: bool,
    /// So little is on its way at once that what is sent takes long.
    pub(super) is_narrow: bool,
    /// How many messages each connection has brought in this turn.
    pub(super) heard_in_turn: Vec<usize>,
}

/// A handler that does anything that handlers may do.
pub(super) struct Player {
    pub(super) number: usize,
    pub(super) stage: Rc<RefCell<Stagehand>>,
}

const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Handles have topics and a key of their own: their calls are carried out later than those of peers.
const TOPICS_OF_HANDLES: [&str; 2] = ["x", "y"];

#[derive(Clone, Copy)]
enum Deed {
    Say,
    SayToOther,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Publish,
    Latest,
    PublishLatest,
    BroadcastLatest,
    Piece,
    Ping,
    Pause,
    Close,
    Abort,
    Dial,
    Order,
    Work,
    Panic,
}

impl Stagehand {
    pub(super) fn length(&mut self) -> usize {
        let longest = self.longest;
        let most = self.random.weighted(&[
            (2, 1),
            (6, 30),
            (6, 200),
            (4, 2_000),
            (2, 20_000),
            (1, 300_000),
        ]);
        self.random.below(most.min(longest).max(1))
    }

    fn note(&mut self, number: usize, numbered: Numbered, sent: &Sent) {
        match sent {
            Sent::Accepted | Sent::Backpressure => {
                self.model.owe(number, numbered, Promise::Certain);
            }
            Sent::Kept => {
                self.model.reached.insert("a message is kept");
                self.model.owe(number, numbered, Promise::Kept);
            }
            Sent::Dropped(SendError::Full) => self.model.refuse(number),
            Sent::Dropped(_) => {}
        }
    }

    fn say(&mut self, source: usize, peer: &mut Peer<'_, usize>) {
        let number = *peer.session();
        let mut length = self.length();
        if self.model.connection(number).keeps_latest {
            length += TELLING;
        }
        let numbered = self.model.number(Source::Loop(source), length, None);
        let sent = if self.random.percent(50) {
            peer.send(numbered.message())
        } else {
            peer.send_prepared(&Prepared::from(numbered.message()))
        };
        self.note(number, numbered, &sent);
    }

    /// One of the connections that are open, by what was heard of them.
    fn some_open(&mut self) -> Option<usize> {
        let count = self.model.connections.len();
        let first = self.random.below(count.max(1));
        (0..count).map(|index| (first + index) % count).find(|&number| self.model.is_open(number))
    }

    /// Orders something by a handle.
    pub(super) fn order(&mut self) {
        let Some(handle) = self.handle.clone() else { return };
        let Some(number) = self.some_open() else { return };
        let Some(id) = self.model.connections[number].id else { return };
        self.model.calls += 1;
        self.model.reached.insert("an order by a handle");
        let length = TELLING + self.length();
        let topic = self.random.pick(&TOPICS_OF_HANDLES);
        let what = self.random.below(32);
        let numbered = |model: &mut Model, key| model.number(Source::Handle, length, key);
        match what {
            0..8 => {
                let message = numbered(&mut self.model, None);
                let fits = if what < 4 {
                    handle.send(id, message.message());
                    true
                } else {
                    handle.try_send(id, message.message()).is_ok()
                };
                if fits {
                    self.model.owe(number, message, Promise::Told);
                }
            }
            8..13 => {
                let message = numbered(&mut self.model, None);
                let mut except = None;
                if what == 8 {
                    except = Some(number);
                    handle.publish(Audience::everyone().except(id), message.message());
                } else if what < 11 {
                    handle.broadcast(message.message());
                } else if handle.try_publish(Audience::everyone(), message.message()).is_err() {
                    return;
                }
                self.model.owe_all(message, except);
            }
            13..17 => {
                handle.subscribe(id, topic);
                self.model.connections[number].topics.insert(topic.to_owned());
            }
            17 => {
                handle.unsubscribe(id, topic);
                self.model.connections[number].topics.remove(topic);
            }
            18..23 => {
                let key = (what < 20).then_some((Some(topic), "h"));
                let message = numbered(&mut self.model, key);
                match key {
                    Some((_, key)) => {
                        handle.publish(Audience::topic(topic).latest(key), message.message());
                    }
                    None => handle.publish(topic, message.message()),
                }
                self.model.owe_subscribers(topic, message, None);
            }
            23..26 => {
                let message = numbered(&mut self.model, Some((None, "h")));
                handle.send_latest(id, "h", message.message());
                self.model.owe(number, message, Promise::Told);
            }
            26 | 27 => {
                handle.pause(id);
                self.pause(number);
            }
            28 => {
                self.model.connections[number].is_closed_here = true;
                let _ = handle.close(id, 1000, "by a handle");
            }
            29 => {
                self.model.connections[number].is_closed_here = true;
                handle.abort(id);
            }
            _ => handle.resume(id),
        }
    }

    fn pause(&mut self, number: usize) {
        self.model.reached.insert("a pause");
        self.model.connection(number).may_be_late = true;
        let time = Duration::from_micros(self.random.below(300_000) as u64);
        self.paused.push((time, number));
    }
}

impl Player {
    fn stage(&self) -> std::cell::RefMut<'_, Stagehand> {
        self.stage.borrow_mut()
    }

    /// Does what comes to mind.
    fn play(&mut self, peer: &mut Peer<'_, usize>) {
        let number = *peer.session();
        let mut stage = self.stage.borrow_mut();
        let stage = &mut *stage;
        if stage.is_calm {
            return;
        }
        for _ in 0..stage.random.below(3) {
            let panics = usize::from(stage.panics);
            let deed = stage.random.weighted(&[
                (24, Deed::Say),
                (8, Deed::SayToOther),
                (8, Deed::Broadcast),
                (6, Deed::Subscribe),
                (2, Deed::Unsubscribe),
                (8, Deed::Publish),
                (6, Deed::Latest),
                (3, Deed::PublishLatest),
                (3, Deed::BroadcastLatest),
                (4, Deed::Piece),
                (2, Deed::Ping),
                (2, Deed::Pause),
                (1, Deed::Close),
                (1, Deed::Abort),
                (2, Deed::Dial),
                (6, Deed::Order),
                (3, Deed::Work),
                (2 * panics, Deed::Panic),
            ]);
            self.do_deed(deed, number, stage, peer);
        }
    }

    fn do_deed(
        &self,
        deed: Deed,
        number: usize,
        stage: &mut Stagehand,
        peer: &mut Peer<'_, usize>,
    ) {
        let source = Source::Loop(self.number);
        let length = TELLING + stage.length();
        let topic = stage.random.pick(&TOPICS);
        let key = stage.random.pick(&["k", "l"]);
        match deed {
            Deed::Say => stage.say(self.number, peer),
            Deed::SayToOther => {
                let others: Vec<_> = peer.peers().ids();
                if !others.is_empty() {
                    let id = stage.random.pick(&others);
                    if let Some(mut other) = peer.to(id) {
                        stage.say(self.number, &mut other);
                    }
                }
            }
            Deed::Broadcast => {
                let numbered = stage.model.number(source, length, None);
                let others = stage.random.percent(50);
                stage.model.owe_all(numbered, others.then_some(number));
                let (id, open) = (peer.id(), peer.peers().ids());
                let most = open.iter().filter(|&&one| !others || one != id).count();
                let count = if others {
                    peer.publish(Audience::everyone().except(id), numbered.message())
                } else {
                    peer.broadcast(numbered.message())
                };
                let is_right = if stage.model.loops == 1 { count == most } else { count >= most };
                stage.model.check(is_right, || format!("broadcast to {count} and not {most}"));
            }
            Deed::Subscribe => match peer.subscribe(topic) {
                Subscribed::Refused(_) => {}
                subscribed => {
                    let topics = &mut stage.model.connection(number).topics;
                    let is_new = topics.insert(topic.to_owned());
                    stage.model.check(is_new == subscribed.is_new(), || {
                        format!("{number} has subscribed to {topic}: {subscribed:?}")
                    });
                }
            },
            Deed::Unsubscribe => {
                let was = peer.unsubscribe(topic);
                let had = stage.model.connection(number).topics.remove(topic);
                stage.model.check(was == had, || format!("{number} leaves {topic}: {was}"));
            }
            Deed::Publish => {
                let numbered = stage.model.number(source, length, None);
                let all = stage.random.percent(50);
                let most = stage.model.owe_subscribers(topic, numbered, (!all).then_some(number));
                let count = if all {
                    peer.publish(topic, numbered.message())
                } else {
                    peer.publish(Audience::topic(topic).except(peer.id()), numbered.message())
                };
                stage.model.check(count <= most, || format!("published to {count} of {most}"));
            }
            Deed::Latest => {
                let numbered = stage.model.number(source, length, Some((None, key)));
                let sent = peer.send_latest(key, numbered.message());
                stage.note(number, numbered, &sent);
            }
            Deed::PublishLatest => {
                let numbered = stage.model.number(source, length, Some((Some(topic), key)));
                stage.model.owe_subscribers(topic, numbered, None);
                peer.publish(Audience::topic(topic).latest(key), numbered.message());
            }
            Deed::BroadcastLatest => {
                let numbered = stage.model.number(source, length, Some((None, key)));
                stage.model.reached.insert("a broadcast with a key");
                stage.model.owe_all(numbered, None);
                peer.publish(Audience::everyone().latest(key), numbered.message());
            }
            // What waits behind a message would be lost unheard of, while others that are lost are told.
            Deed::Piece if stage.model.connection(number).is_being_told => {}
            Deed::Piece => self.say_piece(number, length, stage, peer),
            Deed::Ping => {
                let _ = peer.ping(b"from the loop");
            }
            Deed::Pause => {
                peer.pause();
                stage.pause(number);
            }
            Deed::Close => {
                stage.model.connection(number).is_closed_here = true;
                let _ = peer.close(1000, "by the handler");
            }
            Deed::Abort => {
                stage.model.connection(number).is_closed_here = true;
                peer.abort();
            }
            Deed::Dial => self.dial(stage, peer),
            Deed::Order => stage.order(),
            Deed::Work => {
                let micros = stage.random.weighted(&[(60, 400), (30, 4_000), (3, 4_000_000)]);
                let micros = stage.random.below(micros) as u64;
                stage.network.spend(Duration::from_micros(micros));
            }
            Deed::Panic => {
                stage.model.reached.insert("a handler panics");
                stage.model.connection(number).has_panicked = true;
                resume_unwind(Box::new("on purpose"));
            }
        }
    }

    fn say_piece(
        &self,
        number: usize,
        length: usize,
        stage: &mut Stagehand,
        peer: &mut Peer<'_, usize>,
    ) {
        match stage.model.connection(number).begun {
            None => {
                let numbered = stage.model.number(Source::Loop(self.number), length, None);
                let text = numbered.text();
                let fragment = Fragment::more(numbered.kind(), &text.as_bytes()[..length / 2]);
                match peer.send_fragment(fragment) {
                    Sent::Dropped(SendError::Full) => stage.model.refuse(number),
                    Sent::Dropped(_) => {}
                    _ => stage.model.connection(number).begun = Some(numbered),
                }
            }
            Some(numbered) => stage.finish_piece(number, numbered, peer),
        }
    }

    fn dial(&self, stage: &mut Stagehand, peer: &mut Peer<'_, usize>) {
        if stage.dials == 0 {
            return;
        }
        stage.dials -= 1;
        let link = stage.network.next_link();
        let url = Url::parse(&format!("ws://remote/{link}")).expect("a URL");
        let request = ClientRequest::new(&url);
        if let Ok(id) = peer.peers().connect(address(link), request, &stage.config, link) {
            stage.model.reached.insert("a handler dials");
            let connection = stage.model.connection(link);
            (connection.is_dialled, connection.id) = (true, Some(id));
        }
    }
}

impl Stagehand {
    /// Says the rest of a message.
    pub(super) fn finish_piece(
        &mut self,
        number: usize,
        numbered: Numbered,
        peer: &mut Peer<'_, usize>,
    ) {
        let text = numbered.text();
        let fragment = Fragment::last(numbered.kind(), &text.as_bytes()[numbered.length / 2..]);
        match peer.send_fragment(fragment) {
            Sent::Dropped(SendError::Full) => self.model.refuse(number),
            Sent::Dropped(_) => {}
            _ => {
                self.model.reached.insert("a message in pieces");
                self.model.connection(number).begun = None;
                self.model.owe(number, numbered, Promise::Certain);
            }
        }
    }
}

impl Handler for Player {
    type Session = usize;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<usize> {
        let mut stage = self.stage();
        let Some(number) = request.path().get(1..).and_then(|number| number.parse().ok()) else {
            stage.model.fail(|| format!("a request for {}", request.path()));
            return Decision::reject(Response::forbidden());
        };
        stage.model.calls += 1;
        let connection = stage.model.connection(number);
        connection.requests += 1;
        let count = connection.requests;
        stage.model.check(count == 1, || format!("on_upgrade is called for {number} again"));
        let choices = if stage.is_calm { 1 } else { 20 };
        match stage.random.below(choices) {
            0..17 => Decision::accept(number),
            17 => Decision::reject(Response::forbidden()),
            _ => {
                stage.model.connection(number).may_be_late = true;
                let stage = Rc::clone(&self.stage);
                Decision::defer(move |pending| stage.borrow_mut().pending.push(pending))
            }
        }
    }

    fn on_http(&mut self, _: &IncomingRequest) -> HttpAnswer {
        self.stage().model.calls += 1;
        Response::new(404).into()
    }

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        let mut stage = self.stage();
        match attempt.caller().address() {
            Some(address) => {
                stage.model.rejected(usize::from(address.port()) - 1000, &error.to_string());
            }
            // One that was adopted has none.
            None => stage.model.calls += 1,
        }
        None
    }

    fn on_open(&mut self, peer: &mut Peer<'_, usize>) {
        let number = *peer.session();
        self.stage().model.opened(number, peer.id());
        self.play(peer);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, usize>, message: Message<'_>) {
        let number = *peer.session();
        {
            let mut stage = self.stage();
            stage.model.called(number, peer.id(), "on_message");
            stage.model.heard(number, message.kind(), message.as_bytes());
            stage.heard_in_turn.push(number);
        }
        self.play(peer);
    }

    fn on_fragment(&mut self, peer: &mut Peer<'_, usize>, fragment: Fragment<'_>) {
        let number = *peer.session();
        let mut stage = self.stage();
        stage.model.called(number, peer.id(), "on_fragment");
        stage.model.heard_piece(number, fragment.kind, &fragment.payload, fragment.last);
        stage.heard_in_turn.push(number);
        drop(stage);
        if fragment.last {
            self.play(peer);
        }
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, usize>) {
        let number = *peer.session();
        self.stage().model.called(number, peer.id(), "on_drain");
        self.stage().model.reached.insert("a connection drains");
        self.play(peer);
    }

    fn on_dropped(&mut self, peer: &mut Peer<'_, usize>, messages: u64) {
        let number = *peer.session();
        self.stage().model.called(number, peer.id(), "on_dropped");
        self.stage().model.told_of_lost(number, messages);
        self.stage().model.connection(number).is_being_told = true;
        self.play(peer);
        self.stage().model.connection(number).is_being_told = false;
    }

    fn on_ping(&mut self, peer: &mut Peer<'_, usize>, payload: Bytes<'_>) {
        let number = *peer.session();
        self.stage().model.called(number, peer.id(), "on_ping");
        self.stage().model.heard_ping(number, &payload);
    }

    fn on_pong(&mut self, peer: &mut Peer<'_, usize>, _: Bytes<'_>) {
        let number = *peer.session();
        self.stage().model.called(number, peer.id(), "on_pong");
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        let number = self.number;
        self.stage().model.turned(number, topic, subscribers);
    }

    fn on_close(&mut self, peer: &mut Peer<'_, usize>, outcome: &Outcome) {
        let number = *peer.session();
        {
            let mut stage = self.stage();
            if let Outcome::TimedOut { timeout, .. } = outcome {
                stage.model.timed_out(number, &timeout.to_string());
            }
            stage.model.closed(number, outcome.was_clean());
            let sent = peer.send("too late");
            stage.model.check(sent.is_dropped(), || format!("{number} is sent to after its end"));
            if !stage.is_calm && stage.random.percent(20) {
                self.dial(&mut stage, peer);
            }
        }
        if self.stage().random.percent(20) && !self.stage().is_calm {
            let mut stage = self.stage();
            let length = TELLING + stage.length();
            let numbered = stage.model.number(Source::Loop(self.number), length, None);
            stage.model.owe_all(numbered, Some(number));
            peer.broadcast(numbered.message());
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Its connections have been told to it by now.
        let open: Vec<_> = {
            let stage = self.stage.borrow();
            let own = |id: Option<super::super::slab::PeerId>| {
                id.is_some_and(|id| id.loop_number() == self.number)
            };
            let open = stage.model.connections.iter();
            open.filter(|one| one.stage == Stage::Open && own(one.id))
                .map(|one| one.number)
                .collect()
        };
        self.stage().model.check(open.is_empty(), || format!("{open:?} are open without a loop"));
    }
}
