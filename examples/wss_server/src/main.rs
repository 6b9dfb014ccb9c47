//! Sends every message back, over TLS: `wss_server [ADDR] [--cert FILE --key FILE]`.

#[path = "../../support/serving.rs"]
mod serving;

use std::error::Error;

use framewire::{Server, TlsServer};
use lexopt::prelude::*;

const USAGE: &str = "\
usage: wss_server [ADDR] [OPTIONS]
  ADDR         where to listen, default 127.0.0.1:9443; port 0 lets the system choose
  --cert FILE  the certificate chain, in PEM
  --key FILE   its key, in PEM
Without a certificate one is made for \"localhost\", 127.0.0.1 and ::1, as long as the server runs.";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut address, mut cert, mut key) = (None, None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("cert") => cert = Some(arguments.value()?),
            Long("key") => key = Some(arguments.value()?),
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(value) if address.is_none() => address = Some(value.string()?),
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => TlsServer::from_pem_files(cert, key)?,
        (None, None) => self_signed()?,
        _ => return Err(format!("--cert and --key go together\n{USAGE}").into()),
    };
    let address = address.as_deref().unwrap_or("127.0.0.1:9443");
    let server = Server::bind(address)?.tls(tls);
    let event_loop = server
        .on_message(|peer, message| {
            peer.send(message);
        })
        .into_event_loop()?;
    serving::run("wss", event_loop)?;
    Ok(())
}

/// A certificate that nobody trusts yet, put where clients can find it.
fn self_signed() -> Result<TlsServer, Box<dyn Error>> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names)?;
    let path = std::env::temp_dir().join(format!("wss_server-{}.pem", std::process::id()));
    std::fs::write(&path, made.cert.pem())?;
    println!("its certificate is in {}; to trust it:", path.display());
    println!("  framewire: TlsClient::with_roots_pem_file({path:?})");
    println!("  python:    ssl.create_default_context(cafile={path:?})");
    println!("  node:      NODE_EXTRA_CA_CERTS={}", path.display());
    println!("  browser:   open https:// at the address below once, and accept it");
    Ok(TlsServer::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?)
}
