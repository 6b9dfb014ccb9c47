use framewire::{Accept, Config, Connection, Endpoint, Event, State, Workspace};

/// A client's request to open a WebSocket, with these further lines.
pub fn request(lines: &str) -> Vec<u8> {
    format!(
        "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
    .into_bytes()
}

/// The server's end of an open connection; `lines` go into the request.
///
/// # Panics
///
/// If the request is refused.
pub fn open_server(config: &Config, lines: &str) -> Connection {
    let mut connection = Connection::server(config);
    let mut head = request(lines);
    let mut input = &mut head[..];
    assert!(matches!(connection.receive(&mut input), Some(Event::Request(_))));
    connection.accept(Accept::new()).expect("a connection that asked");
    connection.consume_output(connection.buffered_amount());
    assert_eq!(connection.state(), State::Open);
    connection
}

/// The server's end of an open connection that shares a workspace with others; `lines` go into the request.
///
/// # Panics
///
/// If the request is rejected.
pub fn open_endpoint(config: &Config, lines: &str, workspace: &mut Workspace) -> Endpoint {
    let mut endpoint = Endpoint::server(config);
    let mut head = request(lines);
    let mut input = &mut head[..];
    assert!(matches!(endpoint.receive(&mut input, workspace), Some(Event::Request(_))));
    endpoint.accept(Accept::new(), workspace).expect("a connection that asked");
    endpoint.consume_output(endpoint.buffered_amount(), workspace);
    assert_eq!(endpoint.state(), State::Open);
    endpoint
}

/// The client's end of an open connection, whose masking keys are all the same.
pub fn open_client(config: &Config) -> Connection {
    Connection::adopted_client(config, |bytes: &mut [u8]| bytes.fill(0x5a))
}
