//! A development server with Vite's channel for hot updates: `hmr_channel [ADDR] [OPTIONS]`, then open the
//! address that it prints. Pages may ask for updates; each line of its standard input, a payload in JSON
//! such as `{"type":"full-reload"}`, is sent to all of them, and `close` closes the channel.
//!
//! `/echo` is a WebSocket of somebody else on the same port, which the channel leaves alone.
//!
//! Pages that Vite serves use it, too: `server.ws.clientPort` of Vite's configuration sends them to this port,
//! and `--token` is its `webSocketToken`, which they show. Whoever has Vite's payloads writes them to the standard
//! input: `tests/browser/vite.mjs` does so as the transport of an environment. `--cert` and `--key` serve all of
//! it over TLS, for pages that come over `https:`; this needs the feature `tls`.

#[path = "hmr_channel/channel.rs"]
mod channel;
#[path = "hmr_channel/hmr.rs"]
mod hmr;
#[path = "hmr_channel/invoke.rs"]
mod invoke;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/signals.rs"]
mod signals;

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, BufRead, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use framewire::{
    Config, Decision, Entropy, Handler, IncomingRequest, Message, Peer, Response, Routes, Server,
    SystemEntropy,
};
use lexopt::prelude::*;
use serde_json::{Value, json};

use channel::{Channel, Member, Options};
use hmr::{Hmr, Listener, Passed};

const USAGE: &str = "\
usage: hmr_channel [ADDR] [OPTIONS]
  ADDR              where to listen, default 127.0.0.1:24678; port 0 lets the system choose
  --path PATH       the path of the channel, default /
  --host NAME       a name this server may be asked by, .NAME with all under it; may be repeated
  --any-host        it may be asked by any name
  --token TOKEN     what pages must know, by default a new one for each run
  --cert FILE       speak TLS with this certificate chain, in PEM
  --key FILE        its key, in PEM
  --no-token-check  let pages in that do not know the token, as Vite 4 did
  --no-hmr          send connected, ping, custom and error only
  --no-ws           no channel at all
  --standalone      nothing but the channel: no page, and every upgrade is its own
  --not-yet         with --standalone: the server of the pages does not listen, so that pings are refused";

/// The client of a development server sends little.
const MAX_MESSAGE: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut address = None;
    let mut main_listens = true;
    let (mut cert, mut key) = (None, None);
    let mut options = Options::new(new_token()?);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("path") => options.path = arguments.value()?.string()?,
            Long("host") => {
                options
                    .hosts
                    .get_or_insert_with(BTreeSet::new)
                    .insert(arguments.value()?.string()?);
            }
            Long("any-host") => options.hosts = None,
            Long("token") => options.token = Some(arguments.value()?.string()?),
            Long("cert") => cert = Some(arguments.value()?),
            Long("key") => key = Some(arguments.value()?),
            Long("no-token-check") => options.token = None,
            Long("no-hmr") => options.hmr = false,
            Long("no-ws") => options.enabled = false,
            Long("standalone") => options.standalone = true,
            Long("not-yet") => main_listens = false,
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(value) if address.is_none() => address = Some(value.string()?),
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    let address = address.as_deref().unwrap_or("127.0.0.1:24678");
    let server = Server::bind(address).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!("WebSocket server error: {address} is already in use"),
        _ => format!("WebSocket server error: {address}: {error}"),
    })?;
    // The gate of the channel is its own: a ping passes, whatever its host.
    let server = server.config(Config::new().max_message_size(MAX_MESSAGE));
    let (server, secure) = match (cert, key) {
        (Some(cert), Some(key)) => (over_tls(server, &cert, &key)?, "s"),
        (None, None) => (server, ""),
        _ => return Err(format!("--cert and --key go together\n{USAGE}").into()),
    };
    let scheme = if options.standalone { "ws" } else { "http" };
    let url = format!("{scheme}{secure}://{}", server.local_addr()?);

    let style = Arc::new(Style::default());
    let channel = Channel::new(options.clone(), site(&options, &style)?);
    let hmr = channel.hmr();
    hmr.main_is_listening(main_listens);
    listen(&hmr, &style);
    let mut event_loop = server.into_event_loop(channel)?;
    hmr.attach(event_loop.handle());
    signals::shut_down_on_signals(event_loop.handle())?;
    say(&format!("listening on {url}"));
    std::thread::spawn(move || read_payloads(&hmr));
    event_loop.run()?;
    if let Some(report) = event_loop.shutdown_report() {
        println!("{report}");
    }
    Ok(())
}

#[cfg(feature = "tls")]
fn over_tls(server: Server, cert: &OsStr, key: &OsStr) -> Result<Server, Box<dyn Error>> {
    Ok(server.tls(framewire::TlsServer::from_pem_files(cert, key)?))
}

#[cfg(not(feature = "tls"))]
fn over_tls(_: Server, _: &OsStr, _: &OsStr) -> Result<Server, Box<dyn Error>> {
    Err("--cert and --key need TLS: build this example with `--features tls`".into())
}

/// What can be changed while pages show it.
#[derive(Default)]
struct Style {
    /// In degrees.
    hue: AtomicU32,
}

/// The pages, and what else is on this port.
fn site(options: &Options, style: &Arc<Style>) -> Result<Routes<Member<()>>, Box<dyn Error>> {
    let hosts = options.host_policy();
    // Who may not use the channel by this name must not read the token by it either.
    let guarded = move |answer: Box<dyn Fn() -> Response + Send>| {
        let hosts = hosts.clone();
        move |request: &IncomingRequest| match hosts.check(request) {
            Ok(()) => answer(),
            Err(error) => Response::from(&error),
        }
    };
    let html = include_str!("hmr_channel/page.html")
        .replace("{{token}}", &escape(options.token.as_deref().unwrap_or_default()))
        .replace("{{path}}", &escape(&options.path));
    let style = Arc::clone(style);
    let hot = move || {
        let hue = style.hue.load(Ordering::Relaxed);
        page::asset("text/css", format!(":root {{ --hot: oklch(62% .15 {hue}); }}\n"))
    };
    let text = |kind, text: &'static str| Box::new(move || page::asset(kind, text));
    Ok(Routes::new()
        .route("/echo", Config::new().max_message_size(MAX_MESSAGE), Echo)?
        .get("/", guarded(Box::new(move || page::asset("text/html", html.clone()))))?
        .get("/hot.css", guarded(Box::new(hot)))?
        .get("/page.css", guarded(Box::new(|| page::style(include_str!("hmr_channel/page.css")))))?
        .get("/page.js", guarded(text("text/javascript", include_str!("hmr_channel/page.js"))))?
        .get("/closing.js", guarded(Box::new(page::closing)))?
        .get("/favicon.ico", |_| Response::new(204))?)
}

/// What this server does for its clients.
fn listen(hmr: &Hmr<()>, style: &Arc<Style>) {
    let count = |word: &'static str, hmr: &Hmr<()>| {
        let hmr = hmr.clone();
        Listener::new(move |_: &Value, client| {
            say(&format!("client {} {word}", client.id()));
            // To all, so behind the first words to this one.
            hmr.send_event("demo:clients", &json!({ "count": hmr.clients().len() }));
        })
    };
    hmr.on("vite:client:connect", &count("connected", hmr));
    hmr.on("vite:client:disconnect", &count("left", hmr));

    let hello = Listener::new(|data: &Value, client| {
        let id = client.id().to_string();
        client.send_event("demo:hello", &json!({ "you": id, "data": data }));
    });
    hmr.on("demo:hello", &hello);
    let (all, own) = (hmr.clone(), hello.clone());
    hmr.on("demo:deaf", &Listener::new(move |_: &Value, _| all.off("demo:hello", &own)));
    // However often somebody asks for it, a hello is answered once.
    let all = hmr.clone();
    hmr.on("demo:listen", &Listener::new(move |_: &Value, _| all.on("demo:hello", &hello)));
    let (all, hot) = (hmr.clone(), Arc::clone(style));
    hmr.on("demo:restyle", &Listener::new(move |_: &Value, _| {
        let hue = (hot.hue.load(Ordering::Relaxed) + 70) % 360;
        hot.hue.store(hue, Ordering::Relaxed);
        all.send(&json!({ "type": "update", "updates": [
            { "type": "css-update", "path": "/hot.css", "acceptedPath": "/hot.css", "timestamp": hue },
        ] }));
    }));
    let all = hmr.clone();
    hmr.on("demo:break", &Listener::new(move |_: &Value, _| {
        let text = "Unexpected token: there is a brace too many";
        all.send(&json!({ "type": "error", "err": { "message": text, "stack": "", "id": "/hot.css" } }));
    }));
    let all = hmr.clone();
    hmr.on(
        "demo:reload",
        &Listener::new(move |_: &Value, _| {
            all.send(&json!({ "type": "full-reload", "path": "*" }));
        }),
    );
    hmr.on("demo:drop", &Listener::new(|_: &Value, client| client.socket().abort()));

    invoke::answer(hmr, |name, arguments| match (name, arguments) {
        ("add", [one, other]) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => Ok(json!(one + other)),
            _ => Err("two numbers are needed".to_owned()),
        },
        _ => Err(format!("there is no function {name:?} of {} arguments", arguments.len())),
    });
}

/// Sends what comes on the standard input, a payload in each line.
fn read_payloads(hmr: &Hmr<()>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match (line.trim(), serde_json::from_str::<Value>(&line)) {
            ("", _) => {}
            ("close", _) => {
                hmr.close();
                say("closed");
            }
            (_, Ok(payload)) if payload.is_object() => say(&match hmr.send(&payload) {
                Passed::To(clients) => format!("sent to {clients}"),
                Passed::Held => "held for the first client".to_owned(),
                Passed::Not => "not sent".to_owned(),
            }),
            _ => say("that is no payload: an object in JSON is needed"),
        }
    }
}

struct Echo;

impl Handler for Echo {
    type Session = Member<()>;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Member<()>> {
        Decision::accept(Member::Guest(()))
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Member<()>>, message: Message<'_>) {
        peer.send(message);
    }
}

/// Of this run only, so that no page of an earlier one, and none from elsewhere, knows it.
fn new_token() -> Result<String, framewire::EntropyError> {
    let mut bytes = [0; 16];
    SystemEntropy::new().fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// That nobody may read this any more is no reason to end.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
