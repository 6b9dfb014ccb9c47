// The example `cluster`, with a real Redis, as browsers see it. Without redis-server the check passes, unless BROWSER_REQUIRED=1.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { check, until } from "./harness.mjs";

const screenshot = (name) => fileURLToPath(new URL(`cluster-${name}.png`, import.meta.url));

/** Starts a Redis that ends with the check, and may be killed and started again. */
async function redis(stage) {
  const folder = mkdtempSync(join(tmpdir(), "framewire-redis-"));
  const socket = join(folder, "socket");
  let child;
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  const start = () => {
    const options = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "", "--appendonly", "yes"];
    child = spawn("redis-server", options, { stdio: "ignore" });
    return until("Redis listens", () => existsSync(socket));
  };
  await start();
  stage.atEnd(async () => {
    await kill();
    rmSync(folder, { recursive: true });
  });
  return { url: `redis+unix://${socket}`, kill, start };
}

const node = (stage, { url }, name, address = "127.0.0.1:0") =>
  stage.server("cluster", address, "--redis", url, "--name", name);

async function enter(stage, server, name, options = {}) {
  const page = await stage.page(options);
  await page.goto(`http://${server.address}/`);
  await page.fill("#name", name);
  await page.click("#enter button");
  await page.locator('#state[data-state="linked"]').waitFor();
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#composer button");
}

const said = (page) => page.locator("#log .said").allTextContents();
const hears = (page, ...lines) =>
  until(`the page shows ${lines}`, async () => JSON.stringify(await said(page)) === JSON.stringify(lines));
const here = (page, names) => page.locator("#members", { hasText: new RegExp(`^${names}$`) }).waitFor();
const inState = (page, state) => page.locator(`#state[data-state="${state}"]`).waitFor();

check("cluster: pages on two nodes share a room, over the deaths of a node and of Redis", async (stage) => {
  if (spawnSync("redis-server", ["--version"]).error) {
    assert.notEqual(process.env.BROWSER_REQUIRED, "1", "there is no redis-server");
    console.log("      skipped: there is no redis-server");
    return;
  }
  const store = await redis(stage);
  stage.expect(/ERR_CONNECTION_REFUSED/);
  let first = await node(stage, store, "first");
  const second = await node(stage, store, "second");
  const ann = await enter(stage, first, "ann");
  const ben = await enter(stage, second, "ben", { colorScheme: "dark", viewport: { width: 380, height: 720 } });
  await here(ann, "ann, ben");
  await here(ben, "ann, ben");
  await say(ann, "<b>Good</b> morning");
  await hears(ben, "ann<b>Good</b> morning");
  await say(ben, "Grüße 你好");
  await hears(ann, "ann<b>Good</b> morning", "benGrüße 你好");

  // A node dies and comes back: who was there gets what was said meanwhile.
  const { address } = first;
  await first.stop();
  await inState(ann, "connecting");
  await say(ben, "one");
  await say(ben, "two");
  await say(ann, "mine");
  await ann.screenshot({ path: screenshot("lost") });
  first = await node(stage, store, "first", address);
  const lines = ["ann<b>Good</b> morning", "benGrüße 你好", "benone", "bentwo", "annmine"];
  await hears(ann, ...lines);
  await hears(ben, ...lines);

  // So does Redis.
  await store.kill();
  await inState(ben, "unlinked");
  await say(ben, "kept");
  await ben.screenshot({ path: screenshot("unlinked") });
  await store.start();
  await hears(ann, ...lines, "benkept");
  await inState(ben, "linked");

  // Who comes later reads the room.
  const cid = await enter(stage, second, "cid");
  await hears(cid, ...lines, "benkept");
  await here(cid, "ann, ben, cid");
  await ann.close();
  await here(cid, "ben, cid");
  await cid.screenshot({ path: screenshot("room") });
});
