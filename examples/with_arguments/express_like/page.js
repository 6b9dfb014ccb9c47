// The page of the express_like example: two WebSockets and a plain request to one port. What others say is
// put in by textContent: it never becomes HTML.
"use strict";

import { capital, closing } from "/closing.js";

const $ = (id) => document.getElementById(id);
const LOG_LENGTH = 200;
const RETRY_MS = 1000;

const endpoint = (path) => {
  const address = new URL(path, location);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return address;
};

/* /talk */

let talk;

function setState(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
  const isOpen = state === "open";
  for (const id of ["text", "all", "send"]) $(id).disabled = !isOpen;
  $("toggle").textContent = talk ? "Disconnect" : "Connect";
}

function log(kind, text) {
  const line = document.createElement("li");
  line.className = kind;
  line.textContent = text;
  $("log").prepend(line);
  while ($("log").childElementCount > LOG_LENGTH) $("log").lastElementChild.remove();
}

$("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (talk) return talk.close(1000, "the user has left");
  const address = endpoint("/talk");
  if ($("key").value) address.search = `key=${encodeURIComponent($("key").value)}`;
  talk = new WebSocket(address);
  let opened = false;
  setState("connecting", "Connecting…");
  talk.addEventListener("open", () => {
    opened = true;
    setState("open", "Connected to /talk");
    $("text").focus();
  });
  talk.addEventListener("message", ({ data }) => log("came", data));
  talk.addEventListener("close", async (event) => {
    if (opened) {
      log("note", closing(event));
      leave(event.code === 1006 ? capital(closing(event)) : "Not connected to /talk");
      return;
    }
    // A script is not told the status of a refusal, nor whether there was anybody to refuse it.
    const isThere = await fetch("/data").then(() => true, () => false);
    log("note", !isThere ? "the server does not answer" : address.search ? "not let in: is the key right?" : "not let in: a key is needed");
    leave(isThere ? "Not let in" : "The server does not answer");
  });
});

function leave(text) {
  talk = undefined;
  setState("closed", text);
}

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = `${$("all").checked ? "/all " : ""}${$("text").value}`;
  log("own", text);
  talk.send(text);
  $("text").value = "";
});

/* /watch and /data */

function watch() {
  const socket = new WebSocket(endpoint("/watch"));
  let isOpen = false;
  socket.addEventListener("open", () => (isOpen = true));
  socket.addEventListener("message", ({ data }) => {
    const { clients, messages } = JSON.parse(data);
    $("clients").textContent = clients;
    $("messages").textContent = messages;
  });
  socket.addEventListener("close", () => {
    $("clients").textContent = $("messages").textContent = "unknown without a connection";
    // What was fetched before may not be true any more.
    if (isOpen) $("data").textContent = "not fetched";
    setTimeout(watch, RETRY_MS);
  });
}
watch();

$("fetch").addEventListener("click", async () => {
  const response = await fetch("/data").catch(() => undefined);
  $("data").textContent = response?.ok ? await response.text() : "the server does not answer";
});
