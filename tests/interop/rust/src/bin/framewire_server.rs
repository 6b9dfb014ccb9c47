use framewire::{
    Bytes, Decision, Fragment, Handler, IncomingRequest, Message, Outcome, Peer, Server,
};
use framewire_interop::{
    Failure, SERVER_CLOSE, SERVER_PING, SUBPROTOCOL, Settings, pieces, report_end,
};

struct Echo;

impl Handler for Echo {
    /// Whether to echo the next message in pieces.
    type Session = bool;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<bool> {
        Decision::accept(false)
    }

    fn on_message(&mut self, peer: &mut Peer<'_, bool>, message: Message<'_>) {
        match message.as_text() {
            Some("!pieces") => *peer.session_mut() = true,
            Some("!ping") => assert!(!peer.ping(SERVER_PING).is_dropped()),
            Some("!close") => peer.close(SERVER_CLOSE.0, SERVER_CLOSE.1).expect("open"),
            _ if std::mem::take(peer.session_mut()) => {
                let kind = message.kind();
                let [first, middle, last] = pieces(message.as_bytes());
                peer.send_fragment(Fragment::more(kind, first));
                peer.send_fragment(Fragment::more(kind, middle));
                peer.send_fragment(Fragment::last(kind, last));
            }
            _ => assert!(!peer.send(message).is_dropped()),
        }
    }

    fn on_pong(&mut self, peer: &mut Peer<'_, bool>, payload: Bytes<'_>) {
        peer.send(format!("pong: {}", String::from_utf8_lossy(&payload)));
    }

    fn on_close(&mut self, _peer: &mut Peer<'_, bool>, outcome: &Outcome) {
        if !outcome.was_clean() {
            eprintln!("{outcome}");
        }
        let code = if outcome.was_clean() { outcome.code().into() } else { 1006 };
        report_end(code, outcome.reason());
    }
}

fn main() -> Result<(), Failure> {
    let settings = Settings::from_argument()?;
    let config = settings.config()?.subprotocols([SUBPROTOCOL]);
    let mut server = Server::bind("127.0.0.1:0")?.config(config);
    if let Some(tls) = settings.tls_server()? {
        server = server.tls(tls);
    }
    println!("{}", server.local_addr()?.port());
    Ok(server.run(Echo)?)
}
