//! The server that stands behind the proxies of tests/proxies/run: it says who calls, echoes, and closes as it is told.

use std::io::Write;
use std::time::Duration;

use framewire::handshake::{ProxyHeader, TrustedProxies};
use framewire::{
    Config, Decision, Handler, HttpAnswer, IncomingRequest, ListenOptions, Message, Outcome, Peer,
    ProxyProtocol, Response, Server,
};
use serde_json::json;

struct Proxied;

impl Handler for Proxied {
    type Session = serde_json::Value;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<Self::Session> {
        match request.path() {
            "/echo" => Decision::accept(json!({
                "ip": request.caller().ip(),
                "address": request.caller().address(),
                "asked": request.caller().proxy_header().and_then(ProxyHeader::destination),
                "host": request.host(),
                "secure": request.caller().forwarded().and_then(|told| told.scheme()).map(|scheme| scheme == "https"),
                "same_origin": request.is_same_origin(),
            })),
            "/refuse" => Decision::reject(Response::forbidden()),
            _ => Decision::reject(Response::not_found()),
        }
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        match request.path() {
            "/" | "/health" => Response::text("well\n"),
            "/echo" => Response::upgrade_required(),
            _ => Response::not_found(),
        }
        .into()
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Self::Session>) {
        let told = peer.session().to_string();
        peer.send(told);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Self::Session>, message: Message<'_>) {
        let order = message.as_text().and_then(|text| text.strip_prefix("close "));
        match order.and_then(|order| order.split_once(' ')) {
            Some((code, reason)) => {
                let code = code.parse::<u16>().expect("a code");
                peer.close(code, reason).expect("a code that can be sent");
            }
            None => drop(peer.send(message)),
        }
    }

    fn on_close(&mut self, _: &mut Peer<'_, Self::Session>, outcome: &Outcome) {
        let line = format!("closed {} {}", outcome.code(), outcome.reason());
        say(line.trim_end());
    }
}

/// A line for the script, at once.
fn say(line: &str) {
    let mut output = std::io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody reads");
}

fn main() {
    let mut config = Config::new().ping_interval(None).max_message_size(4 << 20);
    // What haproxy asks for unless it is told something else.
    config = config.http_methods(["OPTIONS"]);
    let mut arguments = std::env::args().skip(1);
    let (mut address, mut protocol) = (None, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--ping-ms" => {
                let interval = Duration::from_millis(value().parse().expect("a number"));
                config = config.ping_interval(interval);
            }
            "--trust" => {
                let trusted = match value().as_str() {
                    "unix" => TrustedProxies::default().unix_sockets(),
                    network => TrustedProxies::new([network]).expect("a network"),
                };
                config = config.trusted_proxies(trusted);
            }
            "--proxy-protocol" => {
                protocol = Some(ProxyProtocol::required(["127.0.0.1"]).expect("a network"));
            }
            _ => address = Some(argument),
        }
    }
    let address = address.expect("an address");
    let mut server = if address.starts_with('/') {
        // The proxy is another user.
        let options = ListenOptions::new().mode(0o666);
        Server::bind_unix_with(&address, &options).expect("a path")
    } else {
        Server::bind(&address).expect("an address")
    };
    if let Some(protocol) = protocol {
        server = server.proxy_protocol(protocol);
    }
    let told = server.local_addr().map_or(address, |address| address.to_string());
    let mut event_loop = server.config(config).into_event_loop(Proxied).expect("a loop");
    say(&format!("listening on {told}"));
    event_loop.run().expect("events");
}
