import assert from "node:assert/strict";
import { on, once } from "node:events";
import { readFileSync } from "node:fs";
import WebSocket from "ws";
import {
  BURST,
  CLIENT_CLOSE,
  CLIENT_PING,
  OFFERED,
  SERVER_PING,
  deflateOptions,
  lines,
  sendInPieces,
  settings,
} from "./shared.mjs";

async function connect() {
  const socket = new WebSocket(settings.url, OFFERED, {
    perMessageDeflate: deflateOptions(),
    ca: settings.certificate && readFileSync(settings.certificate),
  });
  const messages = on(socket, "message", { close: ["close"] });
  const upgraded = once(socket, "upgrade");
  await once(socket, "open");
  const [response] = await upgraded;
  return { socket, messages, extensions: response.headers["sec-websocket-extensions"] ?? null };
}

async function expect(messages, payload, binary) {
  const { value, done } = await messages.next();
  assert.ok(!done, "closed");
  const [data, isBinary] = value;
  assert.equal(isBinary, binary);
  assert.ok(data.equals(payload), `${data.length} bytes came back for ${payload.length}`);
}

const { socket, messages, extensions } = await connect();
for (const { text, pieces, payload } of lines()) {
  if (pieces) {
    socket.send("!pieces");
    sendInPieces(socket, payload, !text);
  } else {
    socket.send(payload, { binary: !text });
  }
  await expect(messages, payload, !text);
}
for (const text of BURST) socket.send(text);
for (const text of BURST) await expect(messages, Buffer.from(text), false);
const pong = once(socket, "pong");
socket.ping(CLIENT_PING);
assert.deepEqual((await pong)[0], CLIENT_PING);
const ping = once(socket, "ping");
socket.send("!ping");
assert.equal((await ping)[0].toString(), SERVER_PING);
await expect(messages, Buffer.from(`pong: ${SERVER_PING}`), false);
const closed = once(socket, "close");
socket.close(...CLIENT_CLOSE);
assert.equal((await closed)[0], CLIENT_CLOSE[0]);

const { socket: second } = await connect();
const ended = once(second, "close");
second.send("!close");
const [code, reason] = await ended;
console.log(JSON.stringify({ subprotocol: socket.protocol, extensions, code, reason: reason.toString() }));
process.exit(0);
