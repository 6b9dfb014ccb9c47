// Pages that Vite serves, with the client that it puts into them, against the example `hmr_channel`: Vite's own
// server gives nothing but files here, and what it has to tell them goes to the example's standard input.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, DevEnvironment } from "vite";
import { check, until } from "./harness.mjs";

const FILES = {
  "index.html": `<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css">
    <title>hot</title><p id="text"></p><p id="hello"></p><script type="module" src="/main.js"></script>`,
  "style.css": "p { color: rgb(1, 2, 3) }",
  "part.js": 'export const text = "first";',
  "main.js": `import { text } from "./part.js";
    const show = (id, text) => (document.getElementById(id).textContent = text);
    show("text", text);
    import.meta.hot.accept("./part.js", (part) => part && show("text", part.text));
    import.meta.hot.on("demo:hello", ({ data }) => show("hello", data));
    window.say = (data) => import.meta.hot.send("demo:hello", data);`,
};

/** A folder of its own, which is gone after the check. */
async function newFolder(stage) {
  const folder = await mkdtemp(join(tmpdir(), "framewire-"));
  stage.atEnd(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function newCertificate(stage) {
  const folder = await newFolder(stage);
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  execFileSync("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(" "),
    ...["-addext", "subjectAltName = IP:127.0.0.1", "-keyout", key, "-out", cert],
  ], { stdio: "ignore" });
  return { cert, key };
}

/** Vite with the files above, and the channel that its pages are sent to. */
async function start(stage, isSecure) {
  const root = await newFolder(stage);
  for (const [name, text] of Object.entries(FILES)) await writeFile(join(root, name), text);
  const files = isSecure ? await newCertificate(stage) : undefined;
  // Vite must know the port before the channel can know the token.
  const relay = await stage.relay();
  const held = {};
  const transport = {
    send: (payload) => held.channel?.tell(JSON.stringify(payload)),
    on() {},
    off() {},
    listen() {},
    close() {},
  };
  const vite = await createServer({
    root,
    configFile: false,
    logLevel: "silent",
    cacheDir: join(root, ".cache"),
    server: {
      host: "127.0.0.1",
      port: 0,
      https: files && { cert: await readFile(files.cert), key: await readFile(files.key) },
      ws: { clientPort: Number(relay.address.split(":")[1]) },
    },
    environments: {
      client: { dev: { createEnvironment: (name, config) => new DevEnvironment(name, config, { hot: true, transport }) } },
    },
  });
  stage.atEnd(() => vite.close());
  await vite.listen();
  const options = ["--token", vite.config.webSocketToken];
  if (files) options.push("--cert", files.cert, "--key", files.key);
  held.startChannel = async () => {
    held.channel = await stage.server("hmr_channel", "127.0.0.1:0", ...options);
    relay.to = held.channel.address;
  };
  await held.startChannel();
  const url = `http${isSecure ? "s" : ""}://127.0.0.1:${vite.httpServer.address().port}/`;
  return Object.assign(held, {
    vite,
    url,
    write: (name, text, seen) => write(join(root, name), text, seen),
  });
}

/**
 * Writes a file and waits for what should follow. Vite's watcher drops a change that comes within 50 ms of another one
 * of the same file, and says nothing later: what does not follow for a while is written again.
 */
async function write(path, text, seen) {
  let isOver = false;
  const over = seen().finally(() => (isOver = true));
  while (!isOver) {
    await writeFile(path, text);
    await Promise.race([over, new Promise((resolve) => setTimeout(resolve, 2_000))]);
  }
  await over;
}

async function open(stage, server) {
  const page = await stage.page({ ignoreHTTPSErrors: true });
  await page.goto(server.url);
  await connected(page);
  return page;
}

/** The channel has let the page in. */
const connected = (page) =>
  page.waitForFunction(() => window.sockets[0]?.readyState === WebSocket.OPEN && window.sockets[0].protocol === "vite-hmr");
const shows = (page, id, text) => page.locator(`#${id}`, { hasText: text }).waitFor();
const colour = (page) => page.evaluate(() => getComputedStyle(document.getElementById("text")).color);
const mark = (page) => page.evaluate(() => (window.mark = true));
const isNew = (page) => page.waitForFunction(() => !window.mark);

for (const [how, isSecure] of [
  ["plain", false],
  ["over TLS", true],
]) {
  check(`vite: updates of styles and modules reach a page, ${how}`, async (stage) => {
    const server = await start(stage, isSecure);
    const page = await open(stage, server);
    const url = await page.evaluate(() => window.sockets[0].url);
    assert.ok(url.startsWith(isSecure ? "wss:" : "ws:") && url.endsWith(`?token=${server.vite.config.webSocketToken}`), url);
    await mark(page);
    await shows(page, "text", /^first$/);
    await server.write("part.js", 'export const text = "second";', () => shows(page, "text", /^second$/));
    await server.write("style.css", "p { color: rgb(4, 5, 6) }", () =>
      until("the new style", async () => (await colour(page)) === "rgb(4, 5, 6)"),
    );
    assert.ok(await page.evaluate(() => window.mark));
  });

  check(`vite: an error is laid over the page until it is mended, ${how}`, async (stage) => {
    stage.expect(/^Failed to load resource|^\[vite\]|^\[hmr\]/);
    const server = await start(stage, isSecure);
    const page = await open(stage, server);
    // The first update after the page was loaded with an error loads it again, so another comes first.
    await server.write("part.js", 'export const text = "second";', () => shows(page, "text", /^second$/));
    await server.write("part.js", "export const text = {;", () => page.locator("vite-error-overlay").waitFor());
    await server.write("part.js", 'export const text = "mended";', () => shows(page, "text", /^mended$/));
    await page.locator("vite-error-overlay").waitFor({ state: "detached" });
  });

  check(`vite: events go both ways, ${how}`, async (stage) => {
    const server = await start(stage, isSecure);
    const page = await open(stage, server);
    await page.evaluate(() => window.say("to the channel"));
    await shows(page, "hello", /^to the channel$/);
    server.vite.environments.client.hot.send("demo:hello", { data: "from Vite" });
    await shows(page, "hello", /^from Vite$/);
  });

  check(`vite: a full reload loads the page again, ${how}`, async (stage) => {
    const server = await start(stage, isSecure);
    const page = await open(stage, server);
    await mark(page);
    await server.write("index.html", FILES["index.html"].replace("<title>hot", "<title>hotter"), () => isNew(page));
    await connected(page);
    assert.equal(await page.title(), "hotter");
  });

  check(`vite: a page comes back when the channel was killed and is there again, ${how}`, async (stage) => {
    const server = await start(stage, isSecure);
    const page = await open(stage, server);
    await mark(page);
    const polls = page.waitForEvent("console", (message) => message.text().includes("Polling for restart"));
    await server.channel.stop();
    await polls;
    await server.startChannel();
    await isNew(page);
    await connected(page);
    await server.write("part.js", 'export const text = "after it";', () => shows(page, "text", /^after it$/));
  });

  check(`vite: a page with another token is not let in, ${how}`, async (stage) => {
    const server = await start(stage, isSecure);
    const page = await open(stage, server);
    const code = await page.evaluate(async () => {
      const { url } = window.sockets[0];
      return (await new WebSocket(url.replace(/token=.*/, "token=other"), "vite-hmr").closing).code;
    });
    assert.equal(code, 1006);
  });
}
