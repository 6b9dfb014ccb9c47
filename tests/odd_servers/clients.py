"""A client of Python for tests/odd_servers/run: clients.py NAME URL..."""

import asyncio
import sys

PATIENCE = 3


async def of_websockets(url):
    import websockets
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus

    try:
        client = await websockets.connect(url, subprotocols=["chat"], open_timeout=PATIENCE, proxy=None, close_timeout=1)
    except InvalidStatus as error:
        return str(error.response.status_code)
    try:
        return f"open, {await asyncio.wait_for(client.recv(), PATIENCE)}"
    except ConnectionClosedOK:
        return "open, closed"
    except (ConnectionClosed, asyncio.TimeoutError):
        return "open, lost"
    finally:
        client.transport.abort()


async def of_aiohttp(url):
    import aiohttp

    async with aiohttp.ClientSession() as session:
        try:
            client = await asyncio.wait_for(session.ws_connect(url, protocols=["chat"], compress=15), PATIENCE)
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 101 or "invalid" in error.message.lower() and error.status < 200:
                return "fails"
            return str(error.status)
        try:
            message = await asyncio.wait_for(client.receive(), PATIENCE)
        except asyncio.TimeoutError:
            return "open, lost"
        finally:
            client._response.close()
        if message.type == aiohttp.WSMsgType.TEXT:
            return f"open, {message.data}"
        return "open, closed" if message.type == aiohttp.WSMsgType.CLOSE else "open, lost"


async def of_websocket_client(url):
    import websocket

    def run():
        try:
            client = websocket.create_connection(url, timeout=PATIENCE, subprotocols=["chat"])
        except websocket.WebSocketBadStatusException as error:
            return str(error.status_code)
        try:
            opcode, data = client.recv_data()
        except Exception:
            return "open, lost"
        finally:
            client.shutdown()
        return f"open, {data.decode()}" if opcode == 1 else "open, closed"

    return await asyncio.to_thread(run)


async def main(name, urls):
    client = globals()["of_" + name.replace("-", "_")]
    for url in urls:
        try:
            result = await asyncio.wait_for(client(url), 2 * PATIENCE)
        except Exception:
            result = "fails"
        print(result, flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
