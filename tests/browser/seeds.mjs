// Pages and clients of a few lines, as introductions to WebSockets have them, and unchanged: with the addresses,
// subprotocols and paths that they were written with. Five such documents are what this project began with; where
// they lie beside the repository (`../shared/seeds`, or what SEEDS names), their own pages run here too.
//
// | document | snippet                                              | example                                |
// |----------|------------------------------------------------------|----------------------------------------|
// | 000      | Vite's server for hot updates, shared or of its own  | `hmr_channel` (vite.mjs has its client) |
// | 001      | ws's server, alone, under HTTP, under express        | `echo_server`, `chat`, `express_like`  |
// | 002      | echo without compression, 426 for plain requests     | `echo_server`                          |
// | 003      | a client with a subprotocol, events, three kinds of  | `echo_server --any-subprotocol`,       |
// |          | data, back-pressure, close; a server by subprotocol  | `hmr_channel`, `upgrade_by_protocol`   |
// | 004      | a chat and its page; routes with express-ws          | `chat`, `express_like`                 |

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { check, until } from "./harness.mjs";

/* What they share */

/** Opens this HTML from a file, as one who tries it does. What it prints is in `printed`. */
async function openFile(stage, html) {
  const folder = await mkdtemp(join(tmpdir(), "framewire-"));
  try {
    const file = join(folder, "page.html");
    await writeFile(file, html);
    return await opened(stage, pathToFileURL(file).href);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function opened(stage, url) {
  const page = url ? await stage.page() : await stage.blank();
  page.printed = [];
  page.on("console", (message) => page.printed.push(message.text()));
  if (url) await page.goto(url);
  return page;
}

const printed = (page, text) => until(`the page prints ${text}`, () => page.printed.find((line) => line.includes(text)));
const ended = (page) => page.evaluate(() => window.sockets[0].closing);
const isOpen = (page) => page.waitForFunction(() => window.sockets[0]?.readyState === WebSocket.OPEN);

/** Keeps what comes, each as a text that says what it is. */
const keepMessages = (page) =>
  page.evaluate(() => {
    window.came = [];
    window.sockets[0].addEventListener("message", async ({ data }) => {
      window.came.push(typeof data === "string" ? data : `${data.constructor.name} ${new Uint8Array(await data.arrayBuffer())}`);
    });
  });
const came = (page, ...expected) =>
  until(`${expected} comes back`, async () => String(await page.evaluate(() => window.came)) === String(expected));

/** A chat page, on which one types, clicks, and reads what somebody has said last. */
async function talk(stage, html, greeting) {
  const server = await stage.chat();
  stage.standIn("localhost:8080", server);
  const ada = await openFile(stage, html);
  const bob = await openFile(stage, html);
  for (const page of [ada, bob]) await page.locator("div", { hasText: greeting }).waitFor();
  await server.line(/^\S+ came from 127\.0\.0\.1:\d+$/);
  await ada.fill("input", "Grüße, 你好");
  await ada.click("button");
  // The author is one of all.
  for (const page of [ada, bob]) {
    await page.locator("div", { hasText: "Grüße, 你好" }).waitFor();
    await printed(page, "Grüße, 你好");
  }
  await keepMessages(bob);
  await ada.evaluate(() => window.sockets[0].send(new Uint8Array([0, 255, 7])));
  await came(bob, "Blob 0,255,7");
  await ada.evaluate(() => window.sockets[0].close(3456, "tschüß"));
  assert.deepEqual(await ended(ada), { code: 3456, reason: "tschüß", wasClean: true });
  await server.line(/^\S+ left: closed by the peer with 3456; code 3456, reason "tschüß"$/);
  await server.stop();
  assert.deepEqual(await ended(bob), { code: 1006, reason: "", wasClean: false });
  return [ada, bob];
}

/* In words of our own */

const PAGE = `<!doctype html>
<meta charset="utf-8"><title>all of us</title>
<input><button>Say it</button><div></div>
<script>
  const room = new WebSocket("ws://localhost:8080");
  const heard = document.querySelector("div");
  room.onopen = () => (heard.textContent = "you are in");
  room.onmessage = ({ data }) => console.log((heard.textContent = data));
  room.onclose = () => console.log("that was it");
  document.querySelector("button").onclick = () => room.send(document.querySelector("input").value);
</script>`;

check("seeds: a chat page of ten lines, opened from a file, talks with everybody", async (stage) => {
  for (const page of await talk(stage, PAGE, "you are in")) await printed(page, "that was it");
});

check("seeds: whichever subprotocol a page asks for, it is echoed", async (stage) => {
  const server = await stage.echo("--any-subprotocol");
  stage.standIn("localhost:3001", server);
  const page = await stage.blank();
  for (const offers of ["mine", ["yours", "mine"], []]) {
    const [protocol, echo] = await page.evaluate(async (offers) => {
      const socket = new WebSocket("ws://localhost:3001", offers);
      await Promise.race([new Promise((resolve) => socket.addEventListener("open", resolve)), socket.closing]);
      socket.send("hello");
      const { data } = await new Promise((resolve) => socket.addEventListener("message", resolve));
      return [socket.protocol, data];
    }, offers);
    assert.deepEqual([protocol, echo], [[offers].flat()[0] ?? "", "hello"]);
  }
});

check("seeds: routes of express-ws answer on the port of the pages", async (stage) => {
  const server = await stage.server("express_like", "127.0.0.1:0");
  stage.standIn("localhost:8080", server);
  const page = await opened(stage, "http://localhost:8080/");
  const [echo, status, data] = await page.evaluate(async () => {
    const socket = new WebSocket("ws://localhost:8080/talk");
    socket.addEventListener("open", () => socket.send("hello"));
    const { data } = await new Promise((resolve) => socket.addEventListener("message", resolve));
    const response = await fetch("http://localhost:8080/data");
    return [data, response.status, await response.json()];
  });
  assert.deepEqual([echo, status, data], ["hello", 200, { clients: 1, messages: 1 }]);
});

check("seeds: a server of WebSockets alone answers plain requests 426", async (stage) => {
  for (const server of [await stage.echo(), await stage.server("hmr_channel", "127.0.0.1:0", "--standalone")]) {
    const response = await fetch(`http://${server.address}/`);
    assert.equal(response.status, 426);
    assert.match(response.headers.get("content-type"), /^text\/plain/);
    assert.notEqual(await response.text(), "");
  }
});

/* The documents themselves */

const folder = process.env.SEEDS ?? fileURLToPath(new URL("../../../shared/seeds/", import.meta.url));
const documents = existsSync(folder) ? readdirSync(folder) : [];
if (documents.length === 0) console.log(`the documents are not in ${folder}: equivalents run alone`);

/** The snippet of a document in this language that holds this text, without the indentation of what is around it. */
function snippet(number, language, text) {
  const document = readFileSync(join(folder, documents.find((name) => name.startsWith(number))), "utf8");
  const fences = document.matchAll(/^( *)```(\w+)\n([^]*?)^ *```$/gm);
  for (const [, indentation, kind, code] of fences) {
    if (kind === language && code.includes(text)) return code.replaceAll(new RegExp(`^${indentation}`, "gm"), "");
  }
  throw new Error(`document ${number} has no ${language} with ${text}`);
}

const checkDocument = (number, name, body) => {
  if (documents.some((document) => document.startsWith(number))) check(`seeds: document ${number}: ${name}`, body);
};

checkDocument("004", "its chat page talks with everybody", async (stage) => {
  const html = snippet("004", "html", "new WebSocket");
  const greeting = /innerHTML = "(.+?)"/.exec(html)[1];
  const farewell = /"close"[^]*?console\.log\('(.+?)'\)/.exec(html)[1];
  for (const page of await talk(stage, html, greeting)) await printed(page, farewell);
});

checkDocument("004", "the routes of its express-ws server are there", async (stage) => {
  const code = snippet("004", "js", "app.ws");
  const server = await stage.server("express_like", "127.0.0.1:0");
  stage.standIn("localhost:8080", server);
  const page = await opened(stage, "http://localhost:8080/");
  const [, socket] = /app\.ws\('(.+?)'/.exec(code);
  const [, plain] = /app\.get\('(.+?)'/.exec(code);
  await page.evaluate((path) => void new WebSocket(`ws://localhost:8080${path}`), socket);
  await page.waitForFunction(() => window.sockets.at(-1).readyState === WebSocket.OPEN);
  assert.equal((await fetch(`http://${server.address}${plain}`)).status, 200);
});

checkDocument("003", "a socket with a subprotocol opens, is echoed and closes", async (stage) => {
  const server = await stage.echo("--any-subprotocol");
  stage.standIn("localhost:3001", server);
  const page = await opened(stage);
  await page.addScriptTag({ content: snippet("003", "js", "'my-websocket'") });
  await isOpen(page);
  assert.equal(await page.evaluate("socket.protocol"), "my-websocket");
  await keepMessages(page);
  await page.evaluate("socket.send('hello')");
  await came(page, "hello");
  // It sends whenever nothing is unsent any more.
  const flow = snippet("003", "js", "setInterval");
  await page.addScriptTag({ content: flow });
  const [, text] = /send\('(.+?)'\)/.exec(flow);
  await until("it goes on sending", async () => (await page.evaluate(() => window.came)).filter((t) => t === text).length > 1);
  await page.addScriptTag({ content: snippet("003", "js", "'Work complete'") });
  assert.deepEqual(await ended(page), { code: 1000, reason: "Work complete", wasClean: true });
});

checkDocument("003", "strings, buffers and blobs are sent", async (stage) => {
  const server = await stage.echo();
  stage.standIn("www.example.com:80", server);
  const page = await opened(stage);
  // As it stands it sends before the connection is open, which is an error of the browser's: so in two steps.
  const code = snippet("003", "js", "www.example.com");
  const at = code.indexOf("socket.send");
  await page.addScriptTag({ content: code.slice(0, at) });
  await isOpen(page);
  await keepMessages(page);
  await page.addScriptTag({ content: code.slice(at) });
  await came(page, "Hello world!", "Blob 0,0,0", `Blob ${[...Buffer.from("foo")]}`);
});

checkDocument("003", "a connection that is lost is 1006", async (stage) => {
  const server = await stage.echo("--any-subprotocol");
  stage.standIn("localhost:3001", server);
  const page = await opened(stage);
  await page.addScriptTag({ content: snippet("003", "js", "'my-websocket'") });
  await isOpen(page);
  await page.addScriptTag({ content: snippet("003", "js", "event.code === 1006") });
  await server.stop();
  assert.deepEqual(await ended(page), { code: 1006, reason: "", wasClean: false });
});

checkDocument("003", "a client for hot updates has its four events", async (stage) => {
  const code = snippet("003", "js", "'event: open'");
  // It knows no token, as nobody did then.
  const server = await stage.server("hmr_channel", "127.0.0.1:0", "--no-token-check");
  stage.standIn("localhost:3001", server);
  const page = await opened(stage);
  await page.addScriptTag({ content: code });
  for (const event of ["open", "message"]) await printed(page, `event: ${event}`);
  await keepMessages(page);
  await server.stop();
  await printed(page, "event: close");
  // To one that checks the token it may not connect.
  stage.standIn("localhost:3001", await stage.server("hmr_channel", "127.0.0.1:0"));
  const refused = await opened(stage);
  await refused.addScriptTag({ content: code });
  for (const event of ["error", "close"]) await printed(refused, `event: ${event}`);
  assert.ok(!refused.printed.some((line) => line.includes("event: open")));
});

checkDocument("003", "a server by subprotocol takes its own alone", async (stage) => {
  const server = await stage.server("upgrade_by_protocol", "127.0.0.1:0");
  stage.standIn("localhost:3001", server);
  const page = await opened(stage);
  const codes = await page.evaluate(async () => {
    const own = new WebSocket("ws://localhost:3001", "echo");
    await Promise.race([new Promise((resolve) => own.addEventListener("open", resolve)), own.closing]);
    return [own.protocol, (await new WebSocket("ws://localhost:3001", "other").closing).code];
  });
  assert.deepEqual(codes, ["echo", 1006]);
});
