//! tiny_http, a server of threads, serves the pages and framewire's loop the WebSockets of one port:
//! `with_tiny_http [ADDR]`.
//!
//! tiny_http never gives a socket away: what its `upgrade` returns is a `Box<dyn ReadWrite>`, with which
//! one can read or write, but not wait for both. So a porter stands in front: it accepts, reads the head of
//! the first request, gives an upgrade to the loop, with every byte that it has read, and passes
//! everything else on to tiny_http.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use framewire::handshake::has_token;
use framewire::{Config, Handle, Server};

const PAGE: &str = "<!doctype html><title>framewire with tiny_http</title>
<script>
const socket = new WebSocket(`ws://${location.host}/talk`);
socket.onopen = () => socket.send('hello');
socket.onmessage = (event) => document.body.append(event.data);
</script>";

/// How much the porter reads in search of the end of a head. The rest is not its business: tiny_http, or
/// the loop, has limits of its own.
const MAX_HEAD: usize = 16 * 1024;

/// How long a client may take for that.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9005".to_owned());
    let pages = serve_pages()?;
    let server = Server::unbound().config(Config::new().path("/talk"));
    let mut event_loop =
        server.on_message(|peer, message| peer.broadcast(message)).into_event_loop()?;
    let handle = event_loop.handle();
    let listener = TcpListener::bind(address)?;
    println!("listening on http://{}", listener.local_addr()?);
    io::stdout().flush()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let handle = handle.clone();
            // A connection that fails ends alone; and who is out of threads is told by the next error.
            let porter = thread::Builder::new().spawn(move || {
                if let Err(error) = stream.and_then(|stream| let_in(stream, &handle, pages)) {
                    eprintln!("a connection has failed: {error}");
                }
            });
            if let Err(error) = porter {
                eprintln!("no thread for a connection: {error}");
            }
        }
    });
    event_loop.run()?;
    Ok(())
}

/// tiny_http on a port of its own, that only the porter need know.
fn serve_pages() -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let server = tiny_http::Server::http("127.0.0.1:0")?;
    let address = server.server_addr().to_ip().ok_or("tiny_http does not listen on IP")?;
    thread::spawn(move || {
        for request in server.incoming_requests() {
            let response = match request.url() {
                "/" => tiny_http::Response::from_string(PAGE).with_header(html()),
                _ => tiny_http::Response::from_string("not found\n").with_status_code(404),
            };
            // A client that has gone is nobody's fault.
            let _ = request.respond(response);
        }
    });
    Ok(address)
}

fn html() -> tiny_http::Header {
    let header = tiny_http::Header::from_bytes("Content-Type", "text/html; charset=utf-8");
    header.expect("this is a header")
}

/// Looks at the first request, and shows the client in.
fn let_in(mut stream: TcpStream, handle: &Handle, pages: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(HEAD_TIMEOUT))?;
    let mut read = Vec::new();
    let mut room = [0; 4096];
    let end = loop {
        // Who is silent or gone hears no answer.
        let Ok(count) = stream.read(&mut room) else { return Ok(()) };
        read.extend_from_slice(&room[..count]);
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if count == 0 || read.len() > MAX_HEAD {
            break read.len();
        }
    };
    if asks_for_a_websocket(&read[..end]) {
        // The loop judges the request; what is wrong with it, the client hears from there.
        return handle.adopt(stream, &read[..end], &read[end..]);
    }
    stream.set_read_timeout(None)?;
    relay(stream, TcpStream::connect(pages)?, &read)
}

fn asks_for_a_websocket(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n').any(|line| {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        name.eq_ignore_ascii_case(b"upgrade") && has_token(value, "websocket")
    })
}

/// Copies both ways until both have ended.
fn relay(client: TcpStream, mut pages: TcpStream, read: &[u8]) -> io::Result<()> {
    pages.write_all(read)?;
    let (mut answers, mut to_client) = (pages.try_clone()?, client.try_clone()?);
    let back = thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut answers, &mut to_client);
        // tiny_http has ended it; so the other direction ends, too.
        let _ = to_client.shutdown(Shutdown::Both);
    })?;
    let mut client = client;
    let _ = io::copy(&mut client, &mut pages);
    let _ = pages.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}
