// The page of the express_like example: two WebSockets and a plain request to one port. What others say is
// put in by textContent: it never becomes HTML.
"use strict";

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
  talk.addEventListener("close", ({ code, reason }) => {
    talk = undefined;
    setState("closed", opened ? "Not connected" : "Not let in");
    // A script is not told the status of a refusal.
    log("note", opened ? `closed: ${code} ${reason}` : "not let in: is the key right?");
  });
});

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
  socket.addEventListener("message", ({ data }) => {
    const { clients, messages } = JSON.parse(data);
    $("clients").textContent = clients;
    $("messages").textContent = messages;
  });
  socket.addEventListener("close", () => {
    $("clients").textContent = $("messages").textContent = "unknown";
    setTimeout(watch, RETRY_MS);
  });
}
watch();

$("fetch").addEventListener("click", async () => {
  const response = await fetch("/data").catch(() => undefined);
  $("data").textContent = response?.ok ? await response.text() : "no answer";
});
