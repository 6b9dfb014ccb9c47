"""Opens each URL of its standard input, sends every message back, and tells in the end what came: for
tests/deep/differential. The longest message is the argument."""

import asyncio
import logging
import sys
import urllib.parse
import zlib

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

# How long anything may take; far more than it needs, because machines are busy.
PATIENCE = 60


async def listen(url):
    told = []
    socket = await connect(
        url, max_size=int(sys.argv[1]), ping_interval=None, open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None
    )
    while True:
        try:
            message = await socket.recv()
        except ConnectionClosed:
            break
        is_text = isinstance(message, str)
        data = message.encode() if is_text else message
        told.append(f"{'text' if is_text else 'binary'}:{len(data)}:{zlib.adler32(data)}")
        try:
            if message == "!close":
                await socket.close(4001, "as told ✓")
            else:
                await socket.send(message)
        except ConnectionClosed:
            # What has come before that is told all the same.
            pass
    await socket.wait_closed()
    path = urllib.parse.urlsplit(url).path
    print(path, socket.close_code, f"reason:{socket.close_reason.encode().hex()}", *told, flush=True)


async def main():
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    listening = set()
    async for line in reader:
        task = asyncio.create_task(listen(line.decode().strip()))
        listening.add(task)
        task.add_done_callback(listening.discard)


asyncio.run(main())
