import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";
import { BURST, CLIENT_CLOSE, OFFERED, SERVER_PING, lines, settings } from "./shared.mjs";

/** Trusts this one key: the browser has no option for a root of its own. */
function trust(file) {
  const key = new X509Certificate(readFileSync(file)).publicKey.export({ type: "spki", format: "der" });
  return `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`;
}

/** Runs in the page. */
async function converse({ url, offered, conversation, burst, pong, close }) {
  const connect = async () => {
    const socket = new WebSocket(url, offered);
    socket.binaryType = "arraybuffer";
    const arrived = [];
    let wake = () => {};
    socket.onmessage = ({ data }) => (arrived.push(data), wake());
    const closed = new Promise((resolve) => {
      socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
    });
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      closed.then(({ code }) => reject(new Error(`not opened: ${code}`)));
    });
    const next = async () => {
      while (arrived.length === 0) {
        const message = new Promise((resolve) => (wake = () => resolve(null)));
        const ended = await Promise.race([message, closed]);
        if (ended) throw new Error(`closed: ${JSON.stringify(ended)}`);
      }
      return arrived.shift();
    };
    return { socket, closed, next };
  };
  const same = (one, other) => {
    if (typeof one === "string" || typeof other === "string") return one === other;
    const [left, right] = [new Uint8Array(one), new Uint8Array(other)];
    return left.length === right.length && left.every((byte, i) => byte === right[i]);
  };
  const { socket, closed, next } = await connect();
  const expect = async (data) => {
    if (!same(await next(), data)) throw new Error(`something else came back for ${data.length ?? data.byteLength}`);
  };
  for (const { text, pieces, base64 } of conversation) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const data = text ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) : bytes.buffer;
    // A page cannot send pieces, but it gets them.
    if (pieces) socket.send("!pieces");
    socket.send(data);
    await expect(data);
  }
  for (const text of burst) socket.send(text);
  for (const text of burst) await expect(text);
  socket.send("!ping");
  await expect(pong);
  socket.close(...close);
  const first = await closed;
  const second = await connect();
  second.socket.send("!close");
  return { first, last: await second.closed, subprotocol: socket.protocol, extensions: socket.extensions };
}

const conversation = lines().map(({ text, pieces, payload }) => ({ text, pieces, base64: payload.toString("base64") }));
const web = createServer((_, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end('<!doctype html><link rel="icon" href="data:,"><title>blank</title>');
});
web.listen(0, "127.0.0.1");
await once(web, "listening");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"].concat(
    settings.certificate ? trust(settings.certificate) : [],
  ),
});
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${web.address().port}/`);
  const { first, last, subprotocol, extensions } = await page.evaluate(converse, {
    url: settings.url,
    offered: OFFERED,
    conversation,
    burst: BURST,
    pong: `pong: ${SERVER_PING}`,
    close: CLIENT_CLOSE,
  });
  assert.equal(first.code, CLIENT_CLOSE[0]);
  assert.ok(first.wasClean && last.wasClean);
  console.log(JSON.stringify({ subprotocol, extensions, code: last.code, reason: last.reason }));
} finally {
  await browser.close();
  web.close();
}
