//! axum serves the pages, framewire's loop the WebSockets: `with_axum [ADDR]`.
//!
//! axum, or rather hyper below it, insists on writing the 101 by itself. So its handler asks framewire what
//! the 101 is to say, waits for hyper to let go of the socket, and hands that to the loop, which runs in a
//! thread of its own. From then on no async runtime has anything to do with the connection.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Version};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use framewire::handshake::{HeadLimits, RequestError, RequestParts};
use framewire::{Accept, Config, Handle, Server, Upgraded};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::net::{TcpListener, TcpStream};

const PAGE: &str = "<!doctype html><title>framewire with axum</title>
<script>
const socket = new WebSocket(`ws://${location.host}/talk`);
socket.onopen = () => socket.send('hello');
socket.onmessage = (event) => document.body.append(event.data);
</script>";

/// The way to the loop, and its settings.
struct WebSockets {
    handle: Handle,
    config: Config,
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9004".to_owned());
    let config = Config::new().max_message_size(1 << 20).subprotocols(["talk"]);
    let server = Server::unbound().config(config.clone());
    let mut event_loop =
        server.on_message(|peer, message| peer.broadcast(message)).into_event_loop()?;
    let state = Arc::new(WebSockets { handle: event_loop.handle(), config });
    std::thread::spawn(move || {
        if let Err(error) = event_loop.run() {
            eprintln!("the loop has failed: {error}");
            std::process::exit(1);
        }
    });
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/talk", get(talk))
        .with_state(state);
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        axum::serve(listener, app).await?;
        Ok(())
    })
}

async fn talk(State(state): State<Arc<WebSockets>>, mut request: Request) -> Response {
    match upgrade(state, &mut request) {
        Ok(response) => response,
        Err(error) => {
            let answer = framewire::Response::from(&error);
            let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let headers =
                answer.headers().iter().map(|(name, value)| (name.to_owned(), value.to_vec()));
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(answer.body_bytes().to_vec())).unwrap_or_default()
        }
    }
}

/// The 101; the connection follows when hyper has sent it.
fn upgrade(state: Arc<WebSockets>, request: &mut Request) -> Result<Response, RequestError> {
    let websocket = parts_of(request)?.read(HeadLimits::default())?;
    state.config.check(&websocket)?;
    let not_asked = RequestError::MissingHeader("Upgrade");
    let Ok((upgraded, headers)) = Upgraded::accept(websocket, Accept::new(), &state.config) else {
        return Err(not_asked);
    };
    let socket = request.extensions_mut().remove::<OnUpgrade>().ok_or(not_asked)?;
    tokio::spawn(async move {
        // A client that has gone meanwhile is nobody's fault.
        if let Err(error) = hand_over(socket, &state.handle, upgraded).await {
            eprintln!("not handed over: {error}");
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    for (name, value) in headers.iter() {
        // Both sides hold the same to be a header.
        if let (Ok(name), Ok(value)) = (name.parse::<hyper::header::HeaderName>(), value.try_into())
        {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

fn parts_of(request: &Request) -> Result<RequestParts, RequestError> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut parts = RequestParts::new(request.method().as_str(), target)?;
    if request.version() != Version::HTTP_11 {
        return Err(RequestError::HttpVersionNotSupported);
    }
    for (name, value) in request.headers() {
        parts = parts
            .header(name.as_str(), value.as_bytes())
            .map_err(|_| RequestError::InvalidHeader("header"))?;
    }
    Ok(parts)
}

async fn hand_over(
    socket: OnUpgrade,
    handle: &Handle,
    upgraded: Upgraded,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let io = socket.await?;
    let Ok(parts) = downcast::<TokioIo<TcpStream>>(io) else {
        return Err("this is no plain TCP socket".into());
    };
    // What hyper has read beyond the request is the first of the frames.
    let stream = parts.io.into_inner().into_std()?;
    handle.adopt_upgraded(stream, upgraded, parts.read_buf)?;
    Ok(())
}
