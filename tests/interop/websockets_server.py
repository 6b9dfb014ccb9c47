import asyncio
import json
import ssl

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from shared import SERVER_CLOSE, SERVER_PING, SETTINGS, SUBPROTOCOL, pieces


async def talk(socket):
    try:
        await echo(socket)
    except ConnectionClosed:
        # So it is told of every code that is not 1000 or 1001.
        pass
    print(json.dumps({"code": socket.close_code, "reason": socket.close_reason}), flush=True)


async def echo(socket):
    in_pieces = False
    async for message in socket:
        if message == "!pieces":
            in_pieces = True
        elif message == "!ping":
            await (await socket.ping(SERVER_PING))
            await socket.send("pong: " + SERVER_PING.decode())
        elif message == "!close":
            await socket.close(*SERVER_CLOSE)
        elif in_pieces:
            in_pieces = False
            text = isinstance(message, str)
            await socket.send(pieces(message.encode() if text else message), text=text)
        else:
            await socket.send(message)


async def main():
    deflate = SETTINGS["deflate"]
    context = None
    if SETTINGS["certificate"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(SETTINGS["certificate"], SETTINGS["key"])
    server = await serve(
        talk,
        "127.0.0.1",
        0,
        ssl=context,
        compression=None,
        extensions=deflate and [ServerPerMessageDeflateFactory(**deflate)],
        subprotocols=[SUBPROTOCOL],
        max_size=None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
