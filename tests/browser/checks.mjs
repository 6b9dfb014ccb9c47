// The examples as a browser sees them. Each check starts servers and pages of its own.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { check, connected, runChecks, until } from "./harness.mjs";
import "./cluster.mjs";
import "./hmr.mjs";
import "./rooms.mjs";
import "./routes.mjs";
import "./seeds.mjs";
import "./vite.mjs";

const screenshot = (name) => fileURLToPath(new URL(`${name}.png`, import.meta.url));

/** Waits for a message with exactly this text and answers its article. */
async function heard(page, text) {
  const bubble = page.locator("article .bubble", { hasText: text }).filter({ visible: true }).last();
  await bubble.waitFor();
  assert.equal(await bubble.textContent(), text);
  return bubble;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#send");
}

const names = (page) => page.locator("#people bdi").allTextContents();
const people = (page, ...expected) =>
  until(`${expected} are here`, async () => String(await names(page)) === String(expected));
const noted = (page, text) => page.locator(".note", { hasText: text }).first().waitFor();
const closing = (page, index = 0) => page.evaluate((index) => window.sockets[index].closing, index);

/* The chat: HTTP */

check("http: the page and what belongs to it", async (stage) => {
  const { address } = await stage.chat();
  for (const [path, status, type] of [
    ["/", 200, "text/html; charset=utf-8"],
    ["/?from=here", 200, "text/html; charset=utf-8"],
    ["/page.css", 200, "text/css; charset=utf-8"],
    ["/page.js", 200, "text/javascript; charset=utf-8"],
    ["/closing.js", 200, "text/javascript; charset=utf-8"],
    ["/favicon.ico", 204, null],
    ["/chat", 426, "text/plain; charset=utf-8"],
    ["/other", 404, "text/plain; charset=utf-8"],
    ["//", 404, "text/plain; charset=utf-8"],
  ]) {
    const response = await fetch(`http://${address}${path}`);
    assert.equal(response.status, status, path);
    assert.equal(response.headers.get("content-type"), type, path);
    await response.arrayBuffer();
  }
  const post = await fetch(`http://${address}/`, { method: "POST", body: "text" });
  assert.equal(post.status, 405);
});

/* The chat: messages */

check("chat: a text reaches everybody", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  const bob = await stage.join(server, "Bob");
  await say(ada, "Hello, Bob! Grüße, 你好, 👩‍🚀");
  const own = await heard(ada, "Hello, Bob! Grüße, 你好, 👩‍🚀");
  const other = await heard(bob, "Hello, Bob! Grüße, 你好, 👩‍🚀");
  const by = (bubble) => bubble.locator("xpath=..").locator(".by bdi").textContent();
  assert.equal(await by(own), "You");
  assert.equal(await by(other), "Ada");
  await bob.fill("#text", "by the Enter key");
  await bob.press("#text", "Enter");
  await heard(ada, "by the Enter key");
  assert.equal(await bob.inputValue("#text"), "");
});

check("chat: text never becomes HTML", async (stage) => {
  const server = await stage.chat();
  const mallory = await stage.join(server, "<b>Mallory</b>");
  const bob = await stage.join(server, "Bob");
  const text = `<img src=x onerror="alert(1)"><script>alert(2)</script>&lt;`;
  await say(mallory, text);
  await heard(bob, text);
  await mallory.setInputFiles("#file", {
    name: `"><img src=x onerror=alert(3)>.svg`,
    mimeType: "image/svg+xml",
    buffer: Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(4)"/>`),
  });
  await bob.locator(".bubble.file a").waitFor();
  assert.equal(await bob.locator("#log :is(img, script, b, svg)").count(), 0);
  assert.deepEqual(await names(bob), ["<b>Mallory</b>", "Bob"]);
});

check("chat: a drawing goes as binary and is shown to all", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  const bob = await stage.join(server, "Bob");
  await ada.evaluate(() => {
    window.sent = [];
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (data) {
      window.sent.push(typeof data);
      send.call(this, data);
    };
  });
  await ada.click("#draw");
  const box = await ada.locator("#canvas").boundingBox();
  await ada.mouse.move(box.x + 40, box.y + 40);
  await ada.mouse.down();
  await ada.mouse.move(box.x + 200, box.y + 160, { steps: 5 });
  await ada.mouse.up();
  await ada.click("text=Send drawing");
  const pixels = (page) =>
    page.locator(".bubble img").evaluate(async (image) => {
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      let dark = 0;
      for (let at = 0; at < data.length; at += 4) dark += data[at] < 128 ? 1 : 0;
      return { width: canvas.width, height: canvas.height, dark };
    });
  const seen = await pixels(bob);
  assert.deepEqual(await pixels(ada), seen);
  assert.deepEqual([seen.width, seen.height], [480, 320]);
  assert.ok(seen.dark > 500, `${seen.dark} dark pixels`);
  assert.deepEqual(await ada.evaluate(() => window.sent), ["object"]);
});

check("chat: a file arrives byte by byte", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  const bob = await stage.join(server, "Bob");
  const buffer = randomBytes(300_000);
  await ada.setInputFiles("#file", { name: "noise.bin", mimeType: "application/octet-stream", buffer });
  const link = bob.locator(".bubble.file a");
  await link.waitFor();
  const [download] = await Promise.all([bob.waitForEvent("download"), link.click()]);
  assert.equal(download.suggestedFilename(), "noise.bin");
  assert.deepEqual(await readFile(await download.path()), buffer);
  await ada.setInputFiles("#file", { name: "big.bin", mimeType: "", buffer: randomBytes(600_000) });
  await ada.locator("#refusal", { hasText: "big.bin" }).waitFor();
  await say(ada, "still here");
  await heard(bob, "still here");
});

check("chat: permessage-deflate shortens a long text", async (stage) => {
  const server = await stage.chat();
  const relay = await stage.relay(server.address);
  const ada = await stage.join(server, "Ada");
  const bob = await stage.join(relay, "Bob");
  assert.match(await bob.evaluate(() => window.sockets[0].extensions), /^permessage-deflate(;|$)/);
  assert.match(await bob.textContent("#extensions"), /^permessage-deflate/);
  const before = relay.fromServer;
  const text = "All work and no play makes Jack a dull boy. ".repeat(90).trim();
  await say(ada, text);
  await heard(bob, text);
  const length = relay.fromServer - before;
  assert.ok(length > 0 && length < text.length / 4, `${length} bytes for ${text.length}`);
});

check("chat: who is here", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  await people(ada, "Ada");
  const bob = await stage.join(server, "Bob");
  await people(ada, "Ada", "Bob");
  await people(bob, "Ada", "Bob");
  await noted(ada, "Bob joined");
  await bob.fill("#name", "Bobby");
  await bob.click("text=Rename");
  await people(ada, "Ada", "Bobby");
  await noted(ada, "Bob is now Bobby");
  await bob.context().close();
  await people(ada, "Ada");
  await noted(ada, "Bobby left");
  await server.line(/"Bobby".* code 1001,/);
});

check("chat: names are free ones and not too long", async (stage) => {
  const server = await stage.chat();
  await stage.join(server, "Ada");
  const second = await stage.join(server, "Ada");
  await people(second, "Ada", "Ada 2");
  assert.equal(await second.inputValue("#name"), "Ada 2");
  for (const name of ["x".repeat(25), " \u200b\u202e ", ""]) {
    await second.evaluate((name) => {
      document.getElementById("refusal").hidden = true;
      window.sockets[0].send(JSON.stringify({ type: "rename", name }));
    }, name);
    await second.locator("#refusal", { hasText: "A name has 1 to 24 characters." }).waitFor();
  }
  await second.fill("#name", "\u202eeve\u0007 ");
  await second.click("text=Rename");
  await people(second, "Ada", "eve");
});

check("chat: whose remembered name is refused can choose another", async (stage) => {
  const server = await stage.chat();
  const page = await stage.page();
  await page.addInitScript(() => localStorage.setItem("name", "\u2060"));
  await page.goto(`http://${server.address}/`);
  await page.locator("#refusal", { hasText: "A name has 1 to 24 characters." }).waitFor();
  await page.fill("#name", "Ada");
  await page.click("text=Rename");
  await connected(page);
  await people(page, "Ada");
  assert.ok(await page.locator("#refusal").isHidden());
});

check("chat: newcomers see the last fifty messages", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  await ada.evaluate(() => {
    for (let number = 1; number <= 60; number += 1) {
      window.sockets[0].send(JSON.stringify({ type: "say", text: `number ${number}` }));
    }
  });
  await heard(ada, "number 60");
  await ada.setInputFiles("#file", { name: "last.txt", mimeType: "text/plain", buffer: Buffer.from("last") });
  await ada.locator(".bubble.file").waitFor();
  const bob = await stage.join(server, "Bob");
  await noted(bob, "You are here as Bob.");
  const texts = await bob.locator(".bubble").allTextContents();
  const expected = Array.from({ length: 49 }, (_, index) => `number ${index + 12}`);
  assert.deepEqual(texts, [...expected, "last.txt (4 B)"]);
});

check("chat: refused messages are told to their author alone", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  const bob = await stage.join(server, "Bob");
  await say(ada, "x".repeat(4001));
  await ada.locator("#refusal", { hasText: "4001 characters" }).waitFor();
  await ada.evaluate(() => window.sockets[0].send(JSON.stringify({ type: "say", text: "x".repeat(4001) })));
  await ada.locator("#refusal", { hasText: "A message has 1 to 4000 characters." }).waitFor();
  await say(ada, "👍".repeat(4000));
  await heard(bob, "👍".repeat(4000));
  assert.equal(await bob.locator("article").count(), 1);
  assert.ok(await bob.locator("#refusal").isHidden());
});

/* The chat: the end of a connection */

check("close: code and reason of the page reach the server", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  const bob = await stage.join(server, "Bob");
  await ada.fill("#code", "3456");
  await ada.fill("#reason", "tschüß");
  await ada.click("#close button");
  assert.deepEqual(await closing(ada), { code: 3456, reason: "tschüß", wasClean: true });
  await server.line(/^"Ada" left: closed by the peer with 3456; code 3456, reason "tschüß"$/);
  await ada.locator("#banner", { hasText: "Closed by the application (3456): “tschüß”." }).waitFor();
  assert.equal(await ada.getAttribute("#state", "data-state"), "closed");
  await people(bob, "Bob");
  await ada.click("#reconnect");
  await connected(ada);
  await people(bob, "Bob", "Ada");
});

check("close: without a code it is 1005 on both sides", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  await ada.evaluate(() => window.sockets[0].close());
  assert.deepEqual(await closing(ada), { code: 1005, reason: "", wasClean: true });
  await server.line(/^"Ada" left: .* code 1005, reason ""$/);
});

for (const [what, send, reason] of [
  ["text that is not JSON", (s) => s.send("hello"), "the text is not JSON"],
  ["an unknown type", (s) => s.send('{"type":"fly"}'), "unknown type of message"],
  ["JSON that is no object", (s) => s.send("[1]"), "unknown type of message"],
  ["a second join", (s) => s.send('{"type":"join","name":"Eve"}'), "join, once"],
  ["a binary message that is no file", (s) => s.send(new Uint8Array([255, 255, 1])), "that is no file"],
]) {
  check(`close: the server ends the connection for ${what}`, async (stage) => {
    const server = await stage.chat();
    const ada = await stage.join(server, "Ada");
    const bob = await stage.join(server, "Bob");
    await ada.evaluate(`(${send})(window.sockets[0])`);
    assert.deepEqual(await closing(ada), { code: 1008, reason, wasClean: true });
    await ada.locator("#banner", { hasText: `Not allowed (1008): “${reason}”.` }).waitFor();
    await server.line(/^"Ada" left: closed by this side with 1008;/);
    await people(bob, "Bob");
    await say(bob, "still here");
    await heard(bob, "still here");
  });
}

check("close: 1009 for a message above the limit, while it is still being sent", async (stage) => {
  const server = await stage.chat();
  const ada = await stage.join(server, "Ada");
  await ada.evaluate(() => {
    // Noise, so that compression leaves it as long as it is.
    const noise = new Uint8Array(2 << 20);
    for (let at = 0; at < noise.length; at += 65536) crypto.getRandomValues(noise.subarray(at, at + 65536));
    window.sockets[0].send(noise);
  });
  // Chromium calls no close clean that leaves something unsent, so that is not looked at here.
  const { code, reason } = await closing(ada);
  assert.equal(code, 1009);
  assert.match(reason, /^message is longer than/);
  await server.line(/^"Ada" left: failed: message is longer than/);
});

check("close: 1006 when the server dies, and the page comes back", async (stage) => {
  const first = await stage.chat();
  const ada = await stage.join(first, "Ada");
  await first.stop();
  assert.deepEqual(await closing(ada), { code: 1006, reason: "", wasClean: false });
  await ada.locator("#banner", { hasText: "Connection lost (1006)." }).waitFor();
  assert.ok(await ada.locator("#send").isDisabled());
  assert.deepEqual(await names(ada), []);
  assert.deepEqual(await ada.locator("#people li").allTextContents(), ["Not known without a connection."]);
  assert.equal(await ada.textContent("#count"), "");
  // What cannot be sent is not lost, and is not said to wait.
  await ada.fill("#text", "while away");
  await ada.press("#text", "Enter");
  await ada.locator("#refusal", { hasText: "Not sent: there is no connection." }).waitFor();
  assert.equal(await ada.inputValue("#text"), "while away");
  const second = await stage.server("chat", first.address);
  await connected(ada); // by itself
  await people(ada, "Ada");
  await say(ada, "back again");
  await heard(ada, "back again");
  assert.ok(await ada.locator("#banner").isHidden());
  await second.stop();
  assert.equal((await closing(ada, await ada.evaluate(() => window.sockets.length - 1))).code, 1006);
});

check("close: a page from elsewhere is not let in", async (stage) => {
  const server = await stage.chat();
  const page = await stage.blank();
  assert.deepEqual(await attempt(page, `ws://${server.address}/chat`), {
    events: ["error"],
    close: { code: 1006, reason: "", wasClean: false },
  });
});

/* The echo server */

/** Opens a socket that should fail; its events, in order. */
function attempt(page, url, protocols = []) {
  return page.evaluate(
    async ([url, protocols]) => {
      const socket = new WebSocket(url, protocols);
      const events = [];
      for (const name of ["open", "error"]) socket.addEventListener(name, () => events.push(name));
      const close = await socket.closing;
      return { events, close };
    },
    [url, protocols],
  );
}

const summary = (bytes) => `${bytes.length}:${createHash("sha256").update(bytes).digest("hex")}`;

for (const [what, options, extension] of [
  ["plain", [], ""],
  ["with permessage-deflate", ["--deflate"], "permessage-deflate"],
  ["with permessage-deflate, without takeover", ["--no-takeover"], "no_context_takeover"],
]) {
  check(`echo: messages of all kinds and sizes, ${what}`, async (stage) => {
    const server = await stage.echo(...options);
    const page = await stage.blank();
    const result = await page.evaluate(async (url) => {
      const socket = new WebSocket(url);
      socket.binaryType = "arraybuffer";
      const noise = new Uint8Array(1 << 20);
      for (let at = 0; at < noise.length; at += 65536) crypto.getRandomValues(noise.subarray(at, at + 65536));
      const messages = ["text", "", "Grüße 你好 👩‍🚀 \0 \u{10ffff}", "ä".repeat(1 << 19), "x".repeat(1 << 20)];
      for (const length of [0, 1, 125, 126, 127, 65535, 65536, 1 << 20]) messages.push(noise.slice(0, length));
      await new Promise((resolve) => socket.addEventListener("open", resolve));
      const echoes = [];
      const all = new Promise((resolve) => {
        socket.addEventListener("message", ({ data }) => echoes.push(data) === messages.length && resolve());
      });
      for (const message of messages) socket.send(message);
      await Promise.race([all, socket.closing]);
      const same = (a, b) => {
        if (typeof a === "string" || typeof b === "string") return a === b;
        const bytes = new Uint8Array(b);
        return a.length === bytes.length && a.every((byte, at) => byte === bytes[at]);
      };
      const wrong = messages.flatMap((message, at) => (at < echoes.length && same(message, echoes[at]) ? [] : [at]));
      socket.close(1000, "done");
      return { wrong, count: echoes.length, extensions: socket.extensions, close: await socket.closing };
    }, `ws://${server.address}/`);
    assert.deepEqual(result.wrong, []);
    assert.equal(result.count, 13);
    assert.deepEqual(result.close, { code: 1000, reason: "done", wasClean: true });
    assert.ok(extension ? result.extensions.includes(extension) : result.extensions === "", result.extensions);
  });

  check(`echo: five thousand messages in order, ${what}`, async (stage) => {
    const server = await stage.echo(...options);
    const page = await stage.blank();
    const received = await page.evaluate(async (url) => {
      const socket = new WebSocket(url);
      await new Promise((resolve) => socket.addEventListener("open", resolve));
      const received = [];
      const all = new Promise((resolve) => {
        socket.addEventListener("message", ({ data }) => received.push(data) === 5000 && resolve());
      });
      for (let number = 0; number < 5000; number += 1) socket.send(`number ${number}`);
      await Promise.race([all, socket.closing]);
      return received;
    }, `ws://${server.address}/`);
    assert.deepEqual(received, Array.from({ length: 5000 }, (_, number) => `number ${number}`));
  });
}

check("echo: a Blob comes back as a Blob", async (stage) => {
  const server = await stage.echo("--deflate");
  const page = await stage.blank();
  const bytes = randomBytes(70_000);
  const back = await page.evaluate(
    async ([url, list]) => {
      const socket = new WebSocket(url);
      await new Promise((resolve) => socket.addEventListener("open", resolve));
      socket.send(new Blob([new Uint8Array(list)]));
      const { data } = await new Promise((resolve) => socket.addEventListener("message", resolve));
      return data instanceof Blob && [...new Uint8Array(await data.arrayBuffer())];
    },
    [`ws://${server.address}/`, [...bytes]],
  );
  assert.equal(summary(Buffer.from(back)), summary(bytes));
});

check("echo: the server's favourite subprotocol is chosen", async (stage) => {
  const server = await stage.echo("--subprotocol", "chat.v2", "--subprotocol", "chat.v1");
  const page = await stage.blank();
  const chosen = (protocols) =>
    page.evaluate(
      async ([url, protocols]) => {
        const socket = new WebSocket(url, protocols);
        await Promise.race([new Promise((resolve) => socket.addEventListener("open", resolve)), socket.closing]);
        return [socket.readyState, socket.protocol];
      },
      [`ws://${server.address}/`, protocols],
    );
  assert.deepEqual(await chosen(["chat.v1", "chat.v2"]), [1, "chat.v2"]);
  assert.deepEqual(await chosen("chat.v1"), [1, "chat.v1"]);
  assert.deepEqual(await chosen([]), [1, ""]);
});

check("echo: a subprotocol that the server does not speak fails the connection", async (stage) => {
  const server = await stage.echo("--subprotocol", "chat.v2");
  const page = await stage.blank();
  const { events, close } = await attempt(page, `ws://${server.address}/`, ["chat.v9"]);
  assert.deepEqual(events, ["error"]);
  assert.deepEqual(close, { code: 1006, reason: "", wasClean: false });
});

check("echo: another path than the one served fails the connection", async (stage) => {
  const server = await stage.echo("--path", "/echo");
  const page = await stage.blank();
  assert.equal((await fetch(`http://${server.address}/`)).status, 426);
  const { events, close } = await attempt(page, `ws://${server.address}/other`);
  assert.deepEqual(events, ["error"]);
  assert.deepEqual(close, { code: 1006, reason: "", wasClean: false });
  const open = await page.evaluate(async (url) => {
    const socket = new WebSocket(url);
    return Promise.race([new Promise((resolve) => socket.addEventListener("open", () => resolve(true))), socket.closing]);
  }, `ws://${server.address}/echo?query`);
  assert.equal(open, true);
});

check("echo: a message above the limit is 1009", async (stage) => {
  const server = await stage.echo("--deflate", "--max-message", "1000");
  const page = await stage.blank();
  const close = await page.evaluate(async (url) => {
    const socket = new WebSocket(url);
    await new Promise((resolve) => socket.addEventListener("open", resolve));
    socket.send("x".repeat(1001));
    return socket.closing;
  }, `ws://${server.address}/`);
  assert.equal(close.code, 1009);
  assert.equal(close.wasClean, true);
});

check("echo: 1006 when the server dies", async (stage) => {
  const server = await stage.echo();
  const page = await stage.blank();
  await page.evaluate(async (url) => {
    const socket = new WebSocket(url);
    await new Promise((resolve) => socket.addEventListener("open", resolve));
  }, `ws://${server.address}/`);
  await server.stop();
  assert.deepEqual(await closing(page), { code: 1006, reason: "", wasClean: false });
});

/* How the page looks */

for (const [look, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["narrow-light", { colorScheme: "light", viewport: { width: 360, height: 680 } }],
  ["narrow-dark", { colorScheme: "dark", viewport: { width: 360, height: 680 } }],
]) {
  check(`look: nothing sticks out, ${look}`, async (stage) => {
    const server = await stage.chat();
    const ada = await stage.join(server, "Ada", options);
    const bob = await stage.join(server, "Bob the Builder of Boats", options);
    await stage.join(server, "Élodie", options);
    await say(ada, "Good morning! Has anybody looked at the new frames?");
    await heard(bob, "Good morning! Has anybody looked at the new frames?");
    await say(bob, "Yes.");
    await say(bob, "They are masked, as they should be, every single one of them: I counted twice, and then once more to be sure.");
    await heard(ada, "Yes.");
    await say(ada, "W".repeat(120));
    await say(bob, "مرحبا بالعالم");
    await bob.click("#draw");
    const box = await bob.locator("#canvas").boundingBox();
    const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
    for (const [colour, points] of [
      [2, Array.from({ length: 40 }, (_, i) => [0.1 + i * 0.02, 0.7 + 0.05 * Math.sin(i / 2)])],
      [4, [[0.3, 0.65], [0.7, 0.65], [0.62, 0.8], [0.38, 0.8], [0.3, 0.65]]],
      [1, [[0.5, 0.65], [0.5, 0.2], [0.68, 0.58], [0.5, 0.58]]],
    ]) {
      await bob.locator("#inks input").nth(colour).check();
      await bob.mouse.move(...at(...points[0]));
      await bob.mouse.down();
      for (const point of points.slice(1)) await bob.mouse.move(...at(...point), { steps: 4 });
      await bob.mouse.up();
    }
    await bob.screenshot({ path: screenshot(`${look}-drawing`) });
    await bob.click("text=Send drawing");
    await ada.locator(".bubble img").evaluate((image) => image.decode());
    await ada.setInputFiles("#file", { name: "minutes.txt", mimeType: "text/plain", buffer: Buffer.from("none") });
    await heard(ada, "minutes.txt (4 B)");
    await ada.screenshot({ path: screenshot(look) });
    const assertFits = async () => {
      const [content, room] = await ada.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return [Math.max(scrollWidth, ...[...document.querySelectorAll("body *")]
          .filter((element) => element.checkVisibility() && !element.closest(".unseen"))
          .map((element) => Math.floor(element.getBoundingClientRect().right))), clientWidth];
      });
      assert.ok(content <= room, `${content} pixels in ${room}`);
    };
    await assertFits();
    if (look.startsWith("narrow")) {
      await ada.click("#toggle");
      await ada.locator("#people").waitFor();
      await ada.screenshot({ path: screenshot(`${look}-side`) });
      await assertFits();
      await ada.click("#toggle");
    }
    await server.stop();
    await ada.locator("#banner").waitFor();
    await ada.screenshot({ path: screenshot(`${look}-lost`) });
    await assertFits();
    const nameless = await ada.evaluate(() =>
      [...document.querySelectorAll("button, input:not([hidden]), textarea, canvas")]
        .filter((control) => {
          const label = control.labels?.[0]?.textContent ?? "";
          return `${label}${control.textContent}${control.getAttribute("aria-label") ?? ""}`.trim() === "";
        })
        .map((control) => control.outerHTML));
    assert.deepEqual(nameless, []);
  });
}

process.exitCode = (await runChecks(process.argv.slice(2))) ? 0 : 1;
