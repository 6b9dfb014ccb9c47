// The example `rooms_with_acks` as a browser sees it.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { check, connected, until } from "./harness.mjs";

const screenshot = (name) => fileURLToPath(new URL(`rooms-${name}.png`, import.meta.url));
const start = (stage, ...more) => stage.server("rooms_with_acks", "127.0.0.1:0", ...more);

/** A page that is in the first room, with so many in it. */
async function enter(stage, server, count, options = {}) {
  const page = await stage.page(options);
  await page.goto(`http://${server.address}/`);
  await inside(page, "lobby", count);
  return page;
}

const inside = (page, room, count) =>
  page.locator("#rooms li", { hasText: room }).locator(".count", { hasText: new RegExp(`^${count}$`) }).waitFor();
/** What a page shows of its id, and the id. */
const name = (page) => page.textContent("#me");
const id = (page) => page.getAttribute("#me", "title");
const noted = (page, text) => page.locator(".note", { hasText: text }).first().waitFor();

async function say(page, text, kind = "say") {
  await page.fill("#text", text);
  await page.click(`#${kind}`);
}

async function heard(page, text) {
  const article = page.locator("article:not(.mine)", { hasText: text });
  await article.waitFor();
  assert.equal(await article.locator(".bubble").textContent(), text);
}

/** Waits for what became of one's own message. */
async function status(page, text, how, expected) {
  const line = page.locator("article.mine", { hasText: text }).locator(`.status[data-how=${how}]`);
  await line.waitFor();
  assert.match(await line.textContent(), expected);
}

async function fits(page) {
  const [content, room] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [Math.max(scrollWidth, ...[...document.querySelectorAll("body *")]
      .filter((element) => element.checkVisibility() && !element.closest(".unseen"))
      .map((element) => Math.floor(element.getBoundingClientRect().right))), clientWidth];
  });
  assert.ok(content <= room, `${content} pixels in ${room}`);
}

check("rooms: a message reaches the others in the room, and its sender is told", async (stage) => {
  const server = await start(stage);
  const ada = await enter(stage, server, 1);
  const bob = await enter(stage, server, 2);
  await inside(ada, "lobby", 2);
  await noted(ada, `${await name(bob)} joined lobby.`);
  const text = `<img src=x onerror="alert(1)"> Grüße 你好`;
  await say(ada, text);
  await heard(bob, text);
  await status(ada, text, "good", /reached 1 other$/);
  assert.equal(await bob.locator("#log img").count(), 0);
  // Another room is another matter.
  await bob.fill("#room", "green");
  await bob.click("text=Join");
  await inside(bob, "green", 1);
  await bob.selectOption("#target", "room:green");
  await say(bob, "among ourselves");
  await status(bob, "among ourselves", "good", /reached nobody else$/);
  await bob.click('[aria-label="Leave lobby"]');
  await inside(ada, "lobby", 1);
  await say(ada, "alone?");
  await status(ada, "alone?", "good", /reached nobody else$/);
  assert.equal(await ada.locator("article", { hasText: "among ourselves" }).count(), 0);
});

check("rooms: a question is acknowledged, or its time is over", async (stage) => {
  const server = await start(stage, "1500");
  const ada = await enter(stage, server, 1);
  const bob = await enter(stage, server, 2);
  await inside(ada, "lobby", 2);
  const bobs = await name(bob);
  assert.match(bobs, /^[A-Z][a-z]+ [A-Z][a-z]+ [0-9a-f]{3}$/);
  await ada.selectOption("#target", `id:${await id(bob)}`);
  assert.ok(await ada.locator("#say").isDisabled());
  await say(ada, "Tea?", "ask");
  await heard(bob, "Tea?");
  await status(ada, "Tea?", "good", new RegExp(`answered by ${bobs}`));
  await bob.check("#silent");
  await say(ada, "Sure?", "ask");
  await heard(bob, "Sure?");
  await status(ada, "Sure?", "bad", new RegExp(`in time.*missing: ${bobs}`));
});

check("rooms: a page comes back to its rooms when the server does", async (stage) => {
  const server = await start(stage);
  const ada = await enter(stage, server, 1);
  const bob = await enter(stage, server, 2);
  await ada.fill("#room", "green");
  await ada.click("text=Join");
  await inside(ada, "green", 1);
  const before = await id(ada);
  await server.stop();
  await ada.locator('#state[data-state="closed"]', { hasText: /Connection lost \(1006\); attempt \d+ in [\d.]+ s/ }).waitFor();
  // Who is in a room is not known now.
  const told = ["to be joined again with the connection", "to be joined again with the connection"];
  assert.deepEqual(await ada.locator("#rooms .people").allTextContents(), told);
  assert.deepEqual(await ada.locator("#rooms .count").allTextContents(), ["", ""]);
  assert.deepEqual(await ada.locator("#target option").allTextContents(), ["lobby", "green"]);
  // Said while away: it waits for the connection.
  await ada.selectOption("#target", "room:green");
  await say(ada, "while away");
  await status(ada, "while away", "waits", /^waits for the connection$/);
  await ada.screenshot({ path: screenshot("lost") });
  await stage.server("rooms_with_acks", server.address);
  await connected(ada);
  await connected(bob);
  await inside(ada, "lobby", 2);
  await inside(bob, "lobby", 2);
  await inside(ada, "green", 1);
  assert.notEqual(await id(ada), before);
  await status(ada, "while away", "good", /reached nobody else$/);
  await bob.selectOption("#target", "room:lobby");
  await say(bob, "back again");
  await heard(ada, "back again");
  await status(bob, "back again", "good", /reached 1 other$/);
});

check("rooms: the waits between attempts are random, and longer each time", async (stage) => {
  const server = await start(stage);
  const page = await enter(stage, server, 1);
  await page.evaluate(() => {
    window.announced = [];
    const note = () => window.announced.push(document.getElementById("state").textContent);
    new MutationObserver(note).observe(document.getElementById("state"), { childList: true });
  });
  await server.stop();
  const waits = await until("a third attempt is announced", async () => {
    const announced = await page.evaluate(() => window.announced);
    const found = announced.flatMap((text) => /attempt \d+ in ([\d.]+) s/.exec(text)?.[1] ?? []);
    return found.length >= 3 && found.map(Number);
  });
  for (const [at, longest] of [1, 2, 4].entries()) {
    assert.ok(waits[at] >= longest * 0.5 && waits[at] <= longest * 1.5, String(waits));
  }
});

for (const [look, options] of [
  ["light", {}],
  ["dark", { colorScheme: "dark" }],
  ["narrow", { viewport: { width: 360, height: 680 } }],
]) {
  check(`rooms: look: nothing sticks out, ${look}`, async (stage) => {
    const server = await start(stage, "1500");
    const bob = await enter(stage, server, 1);
    const ada = await enter(stage, server, 2, options);
    await ada.fill("#room", "a-room-with-a-long-name-without-any-space-in-it-to-break-at");
    await ada.click("text=Join");
    await inside(ada, "a-room-with", 1);
    await say(bob, "Good morning! Has anybody looked at the new frames?");
    await heard(ada, "Good morning! Has anybody looked at the new frames?");
    await ada.selectOption("#target", "room:lobby");
    await say(ada, "Yes. They are masked, as they should be, every single one of them: I counted twice, and once more.");
    await say(ada, "W".repeat(90));
    await say(ada, "Coffee, anybody?", "ask");
    await status(ada, "Coffee, anybody?", "good", /answered by/);
    await bob.check("#silent");
    await say(ada, "Really?", "ask");
    await status(ada, "Really?", "bad", /missing/);
    await say(bob, "مرحبا بالعالم");
    await heard(ada, "مرحبا بالعالم");
    await ada.screenshot({ path: screenshot(look) });
    await fits(ada);
    const nameless = await ada.evaluate(() =>
      [...document.querySelectorAll("button, input, select")]
        .filter((control) => {
          const label = control.labels?.[0]?.textContent ?? "";
          return `${label}${control.textContent}${control.getAttribute("aria-label") ?? ""}`.trim() === "";
        })
        .map((control) => control.outerHTML));
    assert.deepEqual(nameless, []);
    await server.stop();
    await ada.locator('#state[data-state="closed"]').waitFor();
    await say(ada, "Is anybody still there?");
    await status(ada, "Is anybody still there?", "waits", /^waits for the connection$/);
    await ada.screenshot({ path: screenshot(`${look}-lost`) });
    await fits(ada);
  });
}
