use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use framewire::rustls::{ClientConfig, ClientConnection, StreamOwned};
use framewire_interop::{
    CLIENT_CLOSE, CLIENT_PING, Failure, OFFERED, Settings, burst, pieces, report,
};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, Message, WebSocket, client};

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

type Socket = WebSocket<Box<dyn Stream>>;

fn connect(settings: &Settings) -> Result<(Socket, Response), Failure> {
    let mut request = settings.url()?.into_client_request()?;
    let offered = HeaderValue::from_str(&OFFERED.join(", "))?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered);
    let uri = request.uri();
    let host = uri.host().ok_or("no host")?.to_owned();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().ok_or("no port")?))?;
    tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
    let stream: Box<dyn Stream> = match settings.tls_client()?.map(Arc::<ClientConfig>::from) {
        Some(tls) => Box::new(StreamOwned::new(ClientConnection::new(tls, host.try_into()?)?, tcp)),
        None => Box::new(tcp),
    };
    client(request, stream).map_err(|error| error.to_string().into())
}

fn expect(socket: &mut Socket, expected: &Message) -> Result<(), Failure> {
    let message = socket.read()?;
    if message != *expected {
        return Err(format!("{} bytes came back for {}", message.len(), expected.len()).into());
    }
    Ok(())
}

/// What the server closed with; the connection is at its end then.
fn closed(socket: &mut Socket) -> Result<CloseFrame, Failure> {
    let Message::Close(Some(frame)) = socket.read()? else {
        return Err("no close with a code".into());
    };
    match socket.read() {
        Err(Error::ConnectionClosed) => Ok(frame),
        other => Err(format!("after the close: {other:?}").into()),
    }
}

fn main() -> Result<(), Failure> {
    let settings = Settings::from_argument()?;
    let (mut socket, response) = connect(&settings)?;
    for line in settings.lines()? {
        let whole = if line.text {
            Message::text(String::from_utf8(line.payload.clone())?)
        } else {
            Message::binary(line.payload.clone())
        };
        if line.pieces {
            socket.send(Message::text("!pieces"))?;
            let first = if line.text { Data::Text } else { Data::Binary };
            let kinds = [first, Data::Continue, Data::Continue];
            for (i, (kind, piece)) in kinds.into_iter().zip(pieces(&line.payload)).enumerate() {
                let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), i == 2);
                socket.send(Message::Frame(frame))?;
            }
        } else {
            socket.send(whole.clone())?;
        }
        expect(&mut socket, &whole)?;
    }
    for text in burst() {
        socket.send(Message::text(text))?;
    }
    for text in burst() {
        expect(&mut socket, &Message::text(text))?;
    }
    socket.send(Message::Ping(CLIENT_PING.into()))?;
    expect(&mut socket, &Message::Pong(CLIENT_PING.into()))?;
    socket.send(Message::text("!ping"))?;
    expect(&mut socket, &Message::Ping(framewire_interop::SERVER_PING.into()))?;
    expect(&mut socket, &Message::text("pong: from the server"))?;
    let (code, reason) = CLIENT_CLOSE;
    socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() }))?;
    closed(&mut socket)?;

    let (mut second, _) = connect(&settings)?;
    second.send(Message::text("!close"))?;
    let frame = closed(&mut second)?;

    // A Close without a code is answered by one.
    let (mut third, _) = connect(&settings)?;
    third.close(None)?;
    match (third.read()?, third.read()) {
        (Message::Close(None), Err(Error::ConnectionClosed)) => {}
        other => return Err(format!("after a close without a code: {other:?}").into()),
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    report(
        header("sec-websocket-protocol"),
        header("sec-websocket-extensions"),
        frame.code.into(),
        &frame.reason,
    );
    Ok(())
}
