"""Sends every message back: for tests/deep/differential. The longest message is the argument."""

import asyncio
import logging
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        # So it is told of every code that is not 1000 or 1001.
        pass


async def main():
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    server = await serve(echo, "127.0.0.1", 0, max_size=int(sys.argv[1]), ping_interval=None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
