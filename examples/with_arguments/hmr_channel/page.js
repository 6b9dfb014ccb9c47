// The page of the hmr_channel example, and a small client of the channel as Vite's is: it hears payloads,
// calls the server, says that it is alive, and when the connection is lost it asks until the server is back
// and loads the page again.
"use strict";

import { capital, closing } from "/closing.js";

const $ = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const HEARTBEAT_MS = 30_000;
const PING_MS = 1000;
const INVOKE_MS = 60_000;
const LOG_LENGTH = 100;

/* The client */

const listeners = new Map(); // event -> functions
const calls = new Map(); // id -> { resolve, reject }
let heartbeat;
let leaving = false;

const address = new URL(meta("hmr-path"), location);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const withToken = new URL(address);
withToken.searchParams.set("token", meta("hmr-token"));
const socket = new WebSocket(withToken, "vite-hmr");

socket.addEventListener("message", ({ data }) => hear(JSON.parse(data)));
let isConnected = false;
socket.addEventListener("close", async (event) => {
  clearInterval(heartbeat);
  tell("vite:ws:disconnect", closing(event, isConnected));
  for (const { reject } of calls.values()) reject(new Error("the connection was lost"));
  calls.clear();
  while (!leaving) {
    if (await answersPing()) return location.reload();
    await new Promise((resolve) => setTimeout(resolve, PING_MS));
  }
});
addEventListener("pagehide", () => (leaving = true));

function hear(payload) {
  log(payload);
  switch (payload.type) {
    case "connected":
      isConnected = true;
      heartbeat = setInterval(() => socket.send('{"type":"ping"}'), HEARTBEAT_MS);
      return tell("vite:ws:connect");
    case "update":
      $("error").close();
      for (const update of payload.updates) if (update.type === "css-update") restyle(update);
      return tell("vite:afterUpdate", payload);
    case "custom":
      return tell(payload.event, payload.data);
    case "full-reload":
      return location.reload();
    case "error":
      return tell("vite:error", payload);
  }
}

function on(event, listener) {
  listeners.set(event, [...(listeners.get(event) ?? []), listener]);
}

function tell(event, data) {
  for (const listener of listeners.get(event) ?? []) listener(data);
}

function send(event, data) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "custom", event, data }));
}

function invoke(name, ...data) {
  const id = crypto.getRandomValues(new Uint32Array(2)).join("-");
  send("vite:invoke", { id: `send:${id}`, name, data });
  return new Promise((resolve, reject) => {
    calls.set(id, { resolve, reject });
    setTimeout(() => calls.delete(id) && reject(new Error("no answer in time")), INVOKE_MS);
  });
}

on("vite:invoke", ({ id, data }) => {
  const call = calls.get(id.replace(/^response:/, ""));
  calls.delete(id.replace(/^response:/, ""));
  if (call && data.error) call.reject(new Error(data.error.message));
  else call?.resolve(data.result);
});

/** A new sheet takes the place of the old one when it is there, so that the page is never bare. */
function restyle({ path, acceptedPath, timestamp }) {
  const sheets = [...document.querySelectorAll('link[rel="stylesheet"]')];
  const old = sheets.filter((sheet) => new URL(sheet.href).pathname === path).at(-1);
  if (!old) return;
  const sheet = old.cloneNode();
  sheet.href = `${acceptedPath}?t=${timestamp}`;
  sheet.addEventListener("load", () => old.remove());
  sheet.addEventListener("error", () => sheet.remove());
  old.after(sheet);
}

function answersPing() {
  return new Promise((resolve) => {
    const ping = new WebSocket(address, "vite-ping");
    ping.addEventListener("open", () => resolve(true));
    ping.addEventListener("error", () => resolve(false));
  });
}

/* The page */

function setState(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
  for (const button of document.querySelectorAll("main button")) button.disabled = state !== "open";
}

function log(payload) {
  const line = document.createElement("li");
  line.textContent = JSON.stringify(payload);
  $("log").prepend(line);
  while ($("log").childElementCount > LOG_LENGTH) $("log").lastElementChild.remove();
}

setState("connecting", "Connecting…");
on("vite:ws:connect", () => setState("open", "Connected"));
on("vite:ws:disconnect", (how) => {
  setState("closed", `${capital(how)}; asking until the server is back…`);
  $("count").textContent = "unknown without a connection";
});
on("vite:error", ({ err }) => {
  $("error-text").textContent = err.message;
  $("error-file").textContent = err.id ?? "";
  if (!$("error").open) $("error").showModal();
});
on("demo:clients", ({ count }) => ($("count").textContent = count));
on("demo:hello", ({ you, data }) => ($("hello").textContent = `you are page ${you} and said “${data}”`));

$("restyle").addEventListener("click", () => send("demo:restyle"));
$("say").addEventListener("click", () => send("demo:hello", $("typed").value || "hello"));
$("break").addEventListener("click", () => send("demo:break"));
$("reload").addEventListener("click", () => send("demo:reload"));
$("invoke").addEventListener("click", async () => {
  $("sum").textContent = await invoke("add", 2, 3).catch((error) => error.message);
});

// A page that was put away and is shown again has no connection any more.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
