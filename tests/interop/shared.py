"""What the peers in Python share: the settings that `run` gives, and the conversation."""

import json
import pathlib
import sys

SETTINGS = json.loads(sys.argv[1])
SUBPROTOCOL = "v1.interop"
OFFERED = ["v9.other", SUBPROTOCOL]
CLIENT_CLOSE = (4001, "the client is done ✓")
SERVER_CLOSE = (4002, "the server is done ✓")
CLIENT_PING = b"from the client\0\xff"
SERVER_PING = b"from the server"
# The messages that are in flight at once.
BURST = [f"{i} in flight " * (i * 3) for i in range(50)]


def lines():
    """What the client says, in this order: whether a text, whether in pieces, and the payload."""
    for path in sorted(pathlib.Path(SETTINGS["messages"]).iterdir()):
        yield path.suffix == ".text", ".pieces." in path.name, path.read_bytes()


def pieces(payload):
    """Three pieces, one of them empty; texts are cut inside a code point."""
    cut = len(payload) // 3
    return [payload[:cut], b"", payload[cut:]]

