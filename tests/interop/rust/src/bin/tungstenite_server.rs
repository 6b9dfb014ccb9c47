use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use framewire::rustls::{ServerConfig, ServerConnection, StreamOwned};
use framewire_interop::{
    Failure, SERVER_CLOSE, SERVER_PING, SUBPROTOCOL, Settings, pieces, report_end,
};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, Message, accept_hdr};

fn main() -> Result<(), Failure> {
    let settings = Settings::from_argument()?;
    let tls = settings.tls_server()?.map(Arc::<ServerConfig>::from);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let (stream, tls) = (stream?, tls.clone());
        thread::spawn(move || {
            let result = match tls {
                Some(tls) => ServerConnection::new(tls)
                    .map_err(Into::into)
                    .and_then(|session| talk(StreamOwned::new(session, stream))),
                None => talk::<TcpStream>(stream),
            };
            if let Err(error) = result {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

#[allow(clippy::result_large_err, reason = "tungstenite's signature")]
fn choose(
    _: &Request,
    mut response: Response,
) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
    let name = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert("Sec-WebSocket-Protocol", name);
    Ok(response)
}

fn talk<S: Read + Write>(stream: S) -> Result<(), Failure> {
    let mut socket = accept_hdr(stream, choose).map_err(|error| error.to_string())?;
    let mut in_pieces = false;
    let mut closed = None;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) if text.as_str() == "!pieces" => in_pieces = true,
            Ok(Message::Text(text)) if text.as_str() == "!ping" => {
                socket.send(Message::Ping(SERVER_PING.into()))?;
            }
            Ok(Message::Text(text)) if text.as_str() == "!close" => {
                let (code, reason) = SERVER_CLOSE;
                socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() }))?;
            }
            Ok(Message::Pong(payload)) => {
                let text = format!("pong: {}", String::from_utf8_lossy(&payload));
                socket.send(Message::text(text))?;
            }
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if std::mem::take(&mut in_pieces) {
                    let first = if message.is_text() { Data::Text } else { Data::Binary };
                    let payload = message.into_data();
                    let kinds = [first, Data::Continue, Data::Continue];
                    for (i, (kind, piece)) in kinds.into_iter().zip(pieces(&payload)).enumerate() {
                        let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), i == 2);
                        socket.send(Message::Frame(frame))?;
                    }
                } else {
                    socket.send(message)?;
                }
            }
            Ok(Message::Close(frame)) => closed = frame,
            Ok(_) => {}
            Err(Error::ConnectionClosed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let frame = closed.ok_or("closed without a code")?;
    report_end(frame.code.into(), &frame.reason);
    Ok(())
}
