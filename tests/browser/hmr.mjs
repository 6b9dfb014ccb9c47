// The example `hmr_channel` as a browser sees it.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { assertFits, assertNamed, check, connected, until } from "./harness.mjs";

const screenshot = (name) => fileURLToPath(new URL(`hmr-${name}.png`, import.meta.url));
const start = (stage, address = "127.0.0.1:0") => stage.server("hmr_channel", address);

async function open(stage, server, options = {}) {
  const page = await stage.page(options);
  await page.goto(`http://${server.address}/`);
  await connected(page);
  return page;
}

const band = (page) => page.evaluate(() => getComputedStyle(document.getElementById("band")).backgroundColor);
const logged = (page, text) => page.locator("#log li", { hasText: text }).first().waitFor();
const shows = (page, id, text) => page.locator(`#${id}`, { hasText: text }).waitFor();

check("hmr: a new style reaches all pages, and none is loaded again", async (stage) => {
  const server = await start(stage);
  const ada = await open(stage, server);
  const bob = await open(stage, server);
  await shows(ada, "count", /^2$/);
  await bob.fill("#typed", "half a sentence");
  const before = await band(bob);
  await ada.click("#restyle");
  for (const page of [ada, bob]) {
    await until("the new style is there", async () => (await band(page)) !== before);
    await until("the old sheet is gone", async () => (await page.locator('link[href^="/hot.css"]').count()) === 1);
  }
  await until("the colours settle", async () => (await band(ada)) === (await band(bob)));
  assert.equal(await bob.inputValue("#typed"), "half a sentence");
  assert.deepEqual(await bob.evaluate(() => window.sockets.map((socket) => [socket.protocol, socket.readyState])), [
    ["vite-hmr", 1],
  ]);
  await bob.context().close();
  await shows(ada, "count", /^1$/);
});

check("hmr: events and calls are answered to who asked", async (stage) => {
  const server = await start(stage);
  const ada = await open(stage, server);
  const bob = await open(stage, server);
  await ada.fill("#typed", `<b>"Grüße"</b>`);
  await ada.click("#say");
  await shows(ada, "hello", `said “<b>"Grüße"</b>”`);
  await ada.click("#invoke");
  await shows(ada, "sum", /^5$/);
  await bob.click("#invoke");
  await shows(bob, "sum", /^5$/);
  assert.equal(await bob.textContent("#hello"), "none");
});

check("hmr: an error covers all pages until an update mends it", async (stage) => {
  const server = await start(stage);
  const ada = await open(stage, server);
  const bob = await open(stage, server);
  await ada.click("#break");
  for (const page of [ada, bob]) await shows(page, "error-text", "a brace too many");
  await bob.click("#error button");
  await bob.locator("#error").waitFor({ state: "hidden" });
  await bob.click("#restyle");
  await ada.locator("#error").waitFor({ state: "hidden" });
});

check("hmr: a full reload loads all pages again", async (stage) => {
  const server = await start(stage);
  const pages = [await open(stage, server), await open(stage, server)];
  for (const page of pages) await page.evaluate(() => (window.mark = true));
  await pages[0].click("#reload");
  for (const page of pages) {
    await page.waitForFunction(() => !window.mark);
    await connected(page);
  }
});

check("hmr: a page comes back by itself when the server does", async (stage) => {
  const server = await start(stage);
  const page = await open(stage, server);
  await page.evaluate(() => (window.mark = true));
  await server.stop();
  await page.locator('#state[data-state="closed"]').waitFor();
  await shows(page, "state", /^Connection lost \(1006\); asking/);
  await shows(page, "count", /^unknown without a connection$/);
  assert.equal(await page.locator("main button:enabled").count(), 0);
  // The new one has another token, which only a page of its own knows.
  await start(stage, server.address);
  await page.waitForFunction(() => !window.mark);
  await connected(page);
});

check("hmr: a page from elsewhere may only ask whether somebody is there", async (stage) => {
  const server = await start(stage);
  const page = await stage.blank();
  const result = await page.evaluate(async (address) => {
    const closing = async (path, ...protocols) => (await new WebSocket(`ws://${address}${path}`, protocols).closing).code;
    return [await closing("/", "vite-hmr"), await closing("/?token=0", "vite-hmr"), await closing("/", "vite-ping")];
  }, server.address);
  assert.deepEqual(result, [1006, 1006, 1000]);
  // What is not the channel's is as if there were none.
  const echo = await page.evaluate(async (address) => {
    const socket = new WebSocket(`ws://${address}/echo`);
    const answer = new Promise((resolve) => socket.addEventListener("message", ({ data }) => resolve(data)));
    socket.addEventListener("open", () => socket.send("hello"));
    return answer;
  }, server.address);
  assert.equal(echo, "hello");
});

for (const [look, options] of [
  ["light", {}],
  ["dark", { colorScheme: "dark" }],
  ["narrow", { viewport: { width: 360, height: 680 } }],
]) {
  check(`hmr: look: nothing sticks out, ${look}`, async (stage) => {
    const server = await start(stage);
    const page = await open(stage, server, options);
    await page.fill("#typed", "W".repeat(60));
    await page.click("#say");
    await page.click("#invoke");
    await page.click("#restyle");
    await page.click("#restyle");
    await logged(page, "vite:invoke");
    await until("both updates", async () => (await page.locator("#log li", { hasText: "css-update" }).count()) === 2);
    await until("one sheet is left", async () => (await page.locator('link[href^="/hot.css"]').count()) === 1);
    await page.screenshot({ path: screenshot(look) });
    await assertFits(page);
    await assertNamed(page);
    await page.click("#break");
    await shows(page, "error-text", "a brace too many");
    await page.screenshot({ path: screenshot(`${look}-error`) });
    await assertFits(page);
    await page.click("#error button");
    await server.stop();
    await page.locator('#state[data-state="closed"]').waitFor();
    await page.screenshot({ path: screenshot(`${look}-lost`) });
    await assertFits(page);
  });
}
