#![doc = include_str!("../README.md")]

#[path = "../../support/page.rs"]
mod page;
#[path = "../../support/serving.rs"]
mod serving;

use std::error::Error;
use std::time::Duration;

use framewire::{Config as Wire, HttpAnswer, IncomingRequest, Response, Server};
use framewire_cluster::json::{CLIENT_JS, Clients, Format, Rules, User};
use framewire_cluster::{Config, History};
use lexopt::prelude::*;

const USAGE: &str = "usage: cluster [ADDR] [--redis URL] [--name NODE] [--history MESSAGES]";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut address, mut name) = ("127.0.0.1:8080".to_owned(), None);
    let (mut redis, mut count) = ("redis://127.0.0.1:6379".to_owned(), 1000);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("redis") => redis = arguments.value()?.string()?,
            Long("history") => count = arguments.value()?.parse()?,
            Long("name") => name = Some(arguments.value()?.string()?),
            Value(value) => address = value.string()?,
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    log::set_logger(&StandardError).expect("no other logger is set");
    log::set_max_level(log::LevelFilter::Info);

    let history = History::last(count).bytes(4 << 20).age(Duration::from_secs(24 * 3600));
    let mut config =
        Config::new(redis).format(Format).history(history).lease(Duration::from_secs(3));
    if let Some(name) = name {
        config = config.node(name);
    }
    let cluster = config.connect()?;
    // Pages from elsewhere must not speak in the name of whoever looks at them.
    let wire = Wire::new().same_origin().max_message_size(16 << 10);
    let clients = Clients::new(cluster.clone(), Rooms);
    serving::run("http", Server::bind(address)?.config(wire).into_event_loop(clients)?)?;
    cluster.shutdown(Duration::from_secs(10));
    Ok(())
}

/// Whoever tells a name has it.
struct Rooms;

impl Rules for Rooms {
    fn admit(&mut self, request: &IncomingRequest) -> Result<User, Response> {
        match request.query_parameter("name") {
            Some(name) if (1..=40).contains(&name.len()) => Ok(User::named(name)),
            _ => Err(Response::bad_request("ask for /?name=YOU\n")),
        }
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        match request.path() {
            "/" => page::asset("text/html", include_str!("page.html")),
            "/page.js" => page::asset("text/javascript", include_str!("page.js")),
            "/page.css" => page::style(include_str!("page.css")),
            "/closing.js" => page::closing(),
            "/cluster.js" => page::asset("text/javascript", CLIENT_JS),
            _ => Response::not_found(),
        }
        .into()
    }
}

/// What the cluster and the event loop say, for whoever runs this.
struct StandardError;

impl log::Log for StandardError {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}
