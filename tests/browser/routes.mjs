// The example `express_like` as a browser sees it.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { assertFits, assertNamed, check, connected, until } from "./harness.mjs";

const screenshot = (name) => fileURLToPath(new URL(`routes-${name}.png`, import.meta.url));
const start = (stage, ...more) => stage.server("express_like", "127.0.0.1:0", ...more);
const shows = (page, id, text) => page.locator(`#${id}`, { hasText: text }).waitFor();
const lines = (page, kind) => page.locator(`#log .${kind}`).allTextContents();

async function open(stage, server, options = {}) {
  const page = await stage.page(options);
  await page.goto(`http://${server.address}/`);
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#send");
}

check("routes: talk, watch and data share a port", async (stage) => {
  const server = await start(stage);
  const ada = await open(stage, server);
  const bob = await open(stage, server);
  await shows(bob, "clients", /^0$/);
  for (const [index, page] of [ada, bob].entries()) {
    await page.click("#toggle");
    await connected(page);
    await shows(bob, "clients", new RegExp(`^${index + 1}$`));
  }
  const text = `<img src=x onerror="alert(1)"> Grüße`;
  await say(ada, text);
  await ada.locator("#log .came", { hasText: text }).waitFor();
  await shows(bob, "messages", /^1$/);
  await ada.check("#all");
  await say(ada, "everybody?");
  for (const page of [ada, bob]) await page.locator("#log .came", { hasText: "everybody?" }).waitFor();
  assert.deepEqual(await lines(bob, "came"), ["everybody?"]);
  await shows(bob, "messages", /^2$/);
  await bob.click("#fetch");
  await shows(bob, "data", '{"clients":2,"messages":2}');
  await ada.click("#toggle");
  await shows(bob, "clients", /^1$/);
  assert.deepEqual(await lines(ada, "note"), ["closed (1000): “the user has left”"]);
});

check("routes: without the key nobody is let in", async (stage) => {
  const server = await start(stage, "--key", "open-sesame");
  const page = await open(stage, server);
  await shows(page, "clients", /^0$/);
  for (const key of ["", "sesame"]) {
    await page.fill("#key", key);
    await page.click("#toggle");
    await until("it is refused", async () => (await page.textContent("#state")) === "Not let in");
    await until("it may be tried again", async () => (await page.textContent("#toggle")) === "Connect");
  }
  // Who gave no key is told that there is one, and not asked for the right one.
  assert.deepEqual(await lines(page, "note"), ["not let in: is the key right?", "not let in: a key is needed"]);
  await page.fill("#key", "open-sesame");
  await page.click("#toggle");
  await connected(page);
  await shows(page, "clients", /^1$/);
});

check("routes: a dead server is what the page says it is", async (stage) => {
  stage.expect(/^Failed to load resource/);
  const server = await start(stage);
  const page = await open(stage, server);
  await page.click("#toggle");
  await connected(page);
  await shows(page, "clients", /^1$/);
  await server.stop();
  await shows(page, "state", /^Connection lost \(1006\)$/);
  for (const id of ["clients", "messages"]) await shows(page, id, /^unknown without a connection$/);
  await page.click("#toggle");
  await shows(page, "state", /^The server does not answer$/);
  await page.click("#fetch");
  await shows(page, "data", /^the server does not answer$/);
  assert.deepEqual(await lines(page, "note"), ["the server does not answer", "connection lost (1006)"]);
});

check("routes: what there is none for is refused", async (stage) => {
  const server = await start(stage);
  const page = await open(stage, server);
  const code = await page.evaluate(async () => (await new WebSocket(`ws://${location.host}/other`).closing).code);
  assert.equal(code, 1006);
  // Nor does a page from elsewhere talk.
  const elsewhere = await stage.blank();
  const other = await elsewhere.evaluate(
    async (address) => (await new WebSocket(`ws://${address}/talk`).closing).code,
    server.address,
  );
  assert.equal(other, 1006);
  assert.deepEqual(await (await fetch(`http://${server.address}/data`)).json(), { clients: 0, messages: 0 });
});

for (const [look, options] of [
  ["light", {}],
  ["dark", { colorScheme: "dark" }],
  ["narrow", { viewport: { width: 360, height: 680 } }],
]) {
  check(`routes: look: nothing sticks out, ${look}`, async (stage) => {
    const server = await start(stage);
    const page = await open(stage, server, options);
    await page.click("#toggle");
    await connected(page);
    await say(page, "Good morning!");
    await say(page, "W".repeat(120));
    await until("both came back", async () => (await lines(page, "came")).length === 2);
    await page.click("#fetch");
    await shows(page, "data", '"messages":2');
    await page.screenshot({ path: screenshot(look) });
    await assertFits(page);
    await assertNamed(page);
    stage.expect(/^Failed to load resource/);
    await server.stop();
    await shows(page, "state", "Connection lost");
    await page.click("#toggle");
    await shows(page, "state", "The server does not answer");
    await page.screenshot({ path: screenshot(`${look}-lost`) });
    await assertFits(page);
  });
}
