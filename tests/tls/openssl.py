"""The other side of tests/tls/openssl.rs: WebSocket by hand, over Python's ssl.

client PORT VERSION ENDING ROOT        sends messages to an echo server and checks what comes back
server VERSION ENDING CHAIN KEY        prints its port, and sends all messages of one client back
proxy CHAIN KEY                        prints its port, and connects clients that ask for it by CONNECT, saying to whom

ENDING says what follows the closing handshake: `notify`, as TLS wants it, or `abrupt`, as many do it.
"""

import asyncio
import base64
import hashlib
import os
import socket
import ssl
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def exactly(stream, count):
    data = stream.read(count)
    assert len(data) == count, "the connection has ended"
    return data


def head(stream):
    lines = iter(stream.readline, b"\r\n")
    first = next(lines)
    fields = (line.split(b":", 1) for line in lines)
    return first, {name.lower(): value.strip() for name, value in fields}


def read_frame(stream):
    first, second = exactly(stream, 2)
    assert first & 0x80, "a fragment"
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", exactly(stream, 2))
    elif length == 127:
        (length,) = struct.unpack(">Q", exactly(stream, 8))
    key = exactly(stream, 4) if second & 0x80 else bytes(4)
    return first & 0x0F, xor(exactly(stream, length), key)


def xor(data, key):
    pad = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(data), "big")


def frame(opcode, payload, masked):
    flag = 0x80 if masked else 0
    if len(payload) < 126:
        length = bytes([flag | len(payload)])
    elif len(payload) < 65536:
        length = bytes([flag | 126]) + struct.pack(">H", len(payload))
    else:
        length = bytes([flag | 127]) + struct.pack(">Q", len(payload))
    key = os.urandom(4) if masked else b""
    body = xor(payload, key) if masked else payload
    return bytes([0x80 | opcode]) + length + key + body


def end(connection, ending):
    if ending == "notify":
        connection.unwrap().close()
    else:
        # The socket goes, and TLS says nothing.
        os.close(connection.detach())


def client(port, version, ending, root):
    context = ssl.create_default_context(cafile=root)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.set_alpn_protocols(["http/1.1"])
    plain = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    key = base64.b64encode(os.urandom(16))
    connection.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + key + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    stream = connection.makefile("rb")
    status, fields = head(stream)
    assert b" 101 " in status, status
    assert fields[b"sec-websocket-accept"] == base64.b64encode(hashlib.sha1(key + GUID).digest())
    for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
        payload = os.urandom(size)
        connection.sendall(frame(2, payload, True))
        assert read_frame(stream) == (2, payload), size
    connection.sendall(frame(8, struct.pack(">H", 1000), True))
    assert read_frame(stream) == (8, struct.pack(">H", 1000))
    print(connection.version(), connection.selected_alpn_protocol(), "ok")
    stream.close()
    end(connection, ending)


def server(version, ending, chain, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    plain, _ = listener.accept()
    plain.settimeout(60)
    connection = context.wrap_socket(plain, server_side=True)
    stream = connection.makefile("rb")
    _, fields = head(stream)
    accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + GUID).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while True:
        opcode, payload = read_frame(stream)
        connection.sendall(frame(opcode, payload, False))
        if opcode == 8:
            break
    stream.close()
    end(connection, ending)


async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    # The TLS of asyncio has no half-closed state, so its end is that of the tunnel.
    writer.close()


async def tunnel(reader, writer):
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, target, _ = request.split(" ", 2)
    if method != "CONNECT" or "Proxy-Authorization: Basic YTpi\r\n" not in request:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return writer.close()
    print(target, flush=True)
    host, port = target.rsplit(":", 1)
    there = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    # Who goes first leaves the other with an error, which the clients judge.
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)


async def serve_tunnels(chain, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(tunnel, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def proxy(chain, key):
    asyncio.run(serve_tunnels(chain, key))


if __name__ == "__main__":
    {"client": client, "server": server, "proxy": proxy}[sys.argv[1]](*sys.argv[2:])
