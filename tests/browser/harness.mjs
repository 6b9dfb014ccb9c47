// What the checks share: servers and pages that end with the check that started them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

/** How long to wait for anything that should happen at once. */
export const PATIENCE = 20_000;

/** Addresses that pages have in them; `Stage.standIn` says which server answers there. */
const NAMED = ["localhost:3001", "localhost:8080", "www.example.com:80"];

const checks = [];

/** Registers a check: `body` gets a stage, and fails by throwing. */
export function check(name, body) {
  checks.push({ name, body });
}

/** Runs the checks whose names hold one of `words`, all if there are none; whether all passed. */
export async function runChecks(words) {
  const chosen = checks.filter(({ name }) => words.length === 0 || words.some((w) => name.includes(w)));
  const named = new Map();
  for (const name of NAMED) named.set(name, await new Relay().listen());
  const rules = [...named].map(([name, relay]) => `MAP ${name} ${relay.address}`);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      // Certificates that sign themselves, also where workers connect.
      "--ignore-certificate-errors",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      `--host-resolver-rules=${rules}`,
    ],
  });
  console.log(`chromium ${browser.version()}`);
  let passed = 0;
  let failed = 0;
  // One at a time: a page or two keep both ends of a small machine busy.
  for (const { name, body } of chosen) {
    const stage = new Stage(browser, named);
    const start = Date.now();
    const took = () => `${((Date.now() - start) / 1000).toFixed(1)} s`;
    try {
      await within(120_000, "the check did not end", body(stage));
      stage.assertNoComplaints();
      passed += 1;
      console.log(`ok    ${name} (${took()})`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name} (${took()})\n      ${String(error.stack ?? error).replaceAll("\n", "\n      ")}`);
    }
    await stage.clear();
  }
  await browser.close();
  for (const relay of named.values()) relay.close();
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}

/** Resolves when `condition` answers something true, and fails when it never does. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function within(milliseconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(what)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Passes TCP connections on. */
class Relay {
  address;
  fromServer = 0;
  #server;

  /** `to` may change from one connection to the next; without it, they are refused. */
  constructor(to) {
    this.to = to;
    this.#server = createServer((near) => {
      if (!this.to) return near.destroy();
      const [host, port] = this.to.split(":");
      const far = connect(Number(port), host);
      far.on("data", (bytes) => (this.fromServer += bytes.length));
      near.pipe(far).pipe(near);
      for (const [one, other] of [[near, far], [far, near]]) {
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
      }
    });
  }

  async listen() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.address = `127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  close() {
    this.#server.close();
  }
}

class Stage {
  #browser;
  #named;
  #ends = [];
  #complaints = [];
  // That a connection was refused or lost is what some checks are about.
  #expected = [/^WebSocket connection to/];

  constructor(browser, named) {
    this.#browser = browser;
    this.#named = named;
  }

  /** Has a server answer at an address of `NAMED` until the check ends, so that no check needs a port of its own. */
  standIn(name, { address }) {
    const relay = this.#named.get(name);
    relay.to = address;
    this.#ends.push(() => (relay.to = undefined));
  }

  /** Starts an example and waits until it listens. */
  async server(example, ...args) {
    const folder = process.env.PROGRAMS;
    // Those that take options are programs of a member.
    const program = [`${folder}/${example}`, `${folder}/examples/${example}`].find(existsSync);
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    // It may be gone before it has read everything.
    child.stdin.on("error", () => {});
    const exited = once(child, "exit");
    const lines = [];
    createInterface(child.stdout).on("line", (line) => lines.push(line));
    const stop = async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
    };
    this.#ends.push(stop);
    const first = await until(`${example} listens`, () => lines[0] ?? (child.exitCode !== null && "gone"));
    const address = /^listening on \w+:\/\/(.+)$/.exec(first)?.[1];
    if (!address) throw new Error(`${example} did not start: ${first}`);
    return {
      address,
      lines,
      stop,
      tell: (line) => child.stdin.write(`${line}\n`),
      /** Waits for a line that matches. */
      line: (pattern) => until(`${example} prints ${pattern}`, () => lines.find((line) => pattern.test(line))),
    };
  }

  chat() {
    return this.server("chat", "127.0.0.1:0");
  }

  echo(...options) {
    return this.server("echo_server", "127.0.0.1:0", ...options);
  }

  /** A TCP relay that counts the bytes that the server sends. */
  async relay(address) {
    const relay = await new Relay(address).listen();
    this.#ends.push(() => relay.close());
    return relay;
  }

  /** A page of its own browser context; its WebSockets are in `window.sockets`, oldest first. */
  async page(options = {}) {
    const context = await this.#browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
    this.#ends.push(() => context.close());
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    await page.addInitScript(() => {
      window.sockets = [];
      window.WebSocket = class extends WebSocket {
        constructor(...parameters) {
          super(...parameters);
          this.closing = new Promise((resolve) => {
            this.addEventListener("close", ({ code, reason, wasClean }) => resolve({ code, reason, wasClean }));
          });
          window.sockets.push(this);
        }
      };
    });
    page.on("pageerror", (error) => this.#complaints.push(`uncaught in the page: ${error}`));
    page.on("dialog", (dialog) => {
      this.#complaints.push(`the page opened a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("console", (message) => {
      const expected = this.#expected.some((pattern) => pattern.test(message.text()));
      if (message.type() === "error" && !expected) this.#complaints.push(message.text());
    });
    return page;
  }

  /** Errors that pages of this check may print. */
  expect(pattern) {
    this.#expected.push(pattern);
  }

  /** Has something end with the check, after what began later. */
  atEnd(end) {
    this.#ends.push(end);
  }

  /** A page of the chat, joined under this name. */
  async join(server, name, options = {}) {
    const page = await this.page(options);
    await page.addInitScript((name) => localStorage.getItem("name") ?? localStorage.setItem("name", name), name);
    await page.goto(`http://${server.address}/`);
    await connected(page);
    return page;
  }

  /** An empty page with an origin of its own and nothing that limits its connections. */
  async blank() {
    const web = createHttpServer((request, response) => {
      response.setHeader("Content-Type", "text/html");
      response.end('<!doctype html><link rel="icon" href="data:,"><title>blank</title>');
    });
    web.listen(0, "127.0.0.1");
    await once(web, "listening");
    this.#ends.push(() => web.close());
    const page = await this.page();
    await page.goto(`http://127.0.0.1:${web.address().port}/`);
    return page;
  }

  assertNoComplaints() {
    if (this.#complaints.length > 0) throw new Error(this.#complaints.join("\n"));
  }

  async clear() {
    for (const end of this.#ends.reverse()) await end();
  }
}

/** Waits until the page says that it is connected. */
export async function connected(page) {
  await page.locator('#state[data-state="open"]').waitFor();
}

/** Nothing that is seen reaches beyond the width of the page. */
export async function assertFits(page) {
  const [content, room] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [Math.max(scrollWidth, ...[...document.querySelectorAll("body *")]
      .filter((element) => element.checkVisibility() && !element.closest(".unseen"))
      .map((element) => Math.floor(element.getBoundingClientRect().right))), clientWidth];
  });
  if (content > room) throw new Error(`${content} pixels in ${room}`);
}

/** Every control has a name that can be read out. */
export async function assertNamed(page) {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, input:not([hidden]), select, textarea, canvas")]
      .filter((control) => {
        const label = control.labels?.[0]?.textContent ?? "";
        return `${label}${control.textContent}${control.getAttribute("aria-label") ?? ""}`.trim() === "";
      })
      .map((control) => control.outerHTML));
  if (nameless.length > 0) throw new Error(`without a name: ${nameless}`);
}
