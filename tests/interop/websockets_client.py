import json
import ssl

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from shared import BURST, CLIENT_CLOSE, CLIENT_PING, OFFERED, SERVER_PING, SETTINGS, lines, pieces

PATIENCE = 60


def extensions():
    deflate = SETTINGS["deflate"]
    if deflate is None:
        return None
    # "True" lets the server choose.
    return [
        ClientPerMessageDeflateFactory(
            **{**deflate, "client_max_window_bits": deflate["client_max_window_bits"] or True}
        )
    ]


def dial():
    certificate = SETTINGS["certificate"]
    return connect(
        SETTINGS["url"],
        ssl=ssl.create_default_context(cafile=certificate) if certificate else None,
        compression=None,
        extensions=extensions(),
        subprotocols=OFFERED,
        max_size=None,
        proxy=None,
    )


def expect(socket, message):
    answer = socket.recv(timeout=PATIENCE)
    assert answer == message, f"{len(answer)} of {type(answer)} came back for {len(message)}"


with dial() as socket:
    for text, in_pieces, payload in lines():
        if in_pieces:
            socket.send("!pieces")
            socket.send(pieces(payload), text=text)
        else:
            socket.send(payload, text=text)
        expect(socket, payload.decode() if text else payload)
    for message in BURST:
        socket.send(message)
    for message in BURST:
        expect(socket, message)
    assert socket.ping(CLIENT_PING).wait(PATIENCE), "no pong"
    socket.send("!ping")
    expect(socket, "pong: " + SERVER_PING.decode())
    socket.close(*CLIENT_CLOSE)
assert socket.close_code == CLIENT_CLOSE[0], socket.close_code

with dial() as second:
    second.send("!close")
    try:
        raise AssertionError(f"instead of a close: {second.recv(timeout=PATIENCE)!r}")
    except ConnectionClosed:
        pass
print(
    json.dumps(
        {
            "subprotocol": socket.subprotocol,
            "extensions": socket.response.headers.get("Sec-WebSocket-Extensions"),
            "code": second.close_code,
            "reason": second.close_reason,
        }
    )
)
