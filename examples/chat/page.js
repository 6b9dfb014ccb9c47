// The page of the chat example. Whatever comes from others is put in by textContent: it never becomes
// HTML. Pictures are blobs of a few known types, in an <img>, where nothing in them can run.
"use strict";

import { capital, closing } from "/closing.js";

const $ = (id) => document.getElementById(id);
const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const LOG_LENGTH = 400;
const RETRY_MS = [1000, 2000, 4000, 8000, 15000, 30000];

let socket;
let me; // our id, once the server has said welcome
let limits = { name: 24, text: 4000, file: 524288 };
let people = new Map(); // id -> name
let backlog = 0; // how many messages of the past are still to come
let last; // { id, time } of the latest message, to group what follows it
let following = true; // the log is scrolled to its end, and stays there
let scrolled = 0; // how far, when last looked at
let unread = 0;
let attempts = 0;
let retry; // the timer of the countdown to the next attempt
let stay = true; // until the user closes the connection
const traffic = { sent: [0, 0], received: [0, 0] };

/* The connection */

function connect() {
  clearInterval(retry);
  stay = true;
  me = undefined;
  const address = new URL("/chat", location);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  $("address").textContent = address.href;
  setState("connecting", "Connecting…");
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => {
    $("extensions").textContent = socket.extensions || "none";
    say({ type: "join", name: $("name").value });
  });
  socket.addEventListener("message", ({ data }) => {
    const bytes = typeof data === "string" ? new Blob([data]).size : data.byteLength;
    count("received", bytes);
    typeof data === "string" ? hear(JSON.parse(data)) : hearFile(data);
  });
  socket.addEventListener("close", closed);
}

function closed(event) {
  const { code, wasClean } = event;
  const how = closing(event, me !== undefined);
  $("last-close").textContent = `${how}${wasClean || code === 1006 ? "" : ", not clean"}`;
  const isLost = code === 1006;
  setState("closed", !isLost ? "Closed" : me ? "Connection lost" : "No connection");
  // Who is here now is not known any more.
  showPeople(new Map());
  if (me) note(`Disconnected: ${how}.`);
  const title = !stay ? "You closed the connection." : me ? "You are not connected any more." : "You are not connected.";
  $("banner-title").textContent = title;
  $("banner").hidden = false;
  // 1008 says that we are not wanted as we are: trying again would not change that.
  if (!stay || code === 1008) {
    $("banner-detail").textContent = `${capital(how)}.`;
    return;
  }
  const at = Date.now() + RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)];
  const tick = () => {
    const seconds = Math.ceil((at - Date.now()) / 1000);
    $("banner-detail").textContent = `${capital(how)}. Trying again in ${Math.max(seconds, 0)} s.`;
    if (seconds <= 0) connect();
  };
  tick();
  retry = setInterval(tick, 250);
}

function say(message) {
  transmit(JSON.stringify(message));
}

function transmit(data) {
  if (socket.readyState !== WebSocket.OPEN) return false;
  socket.send(data);
  count("sent", typeof data === "string" ? new Blob([data]).size : data.byteLength);
  return true;
}

function hear(message) {
  switch (message.type) {
    case "welcome":
      me = message.id;
      limits = message.limits;
      attempts = 0;
      backlog = message.history;
      clearLog();
      $("log").setAttribute("aria-busy", String(backlog > 0));
      $("name").maxLength = limits.name;
      setState("open", "Connected");
      showPeople(new Map(Object.entries(message.people)));
      keepName(people.get(me));
      $("banner").hidden = true;
      $("refusal").hidden = true;
      if (backlog === 0) note(`You are here as ${people.get(me)}.`);
      break;
    case "joined":
      showPeople(new Map(people).set(message.id, message.name));
      note(`${message.name} joined`);
      break;
    case "renamed":
      showPeople(new Map(people).set(message.id, message.name));
      if (message.id === me) keepName(message.name);
      note(`${message.old} is now ${message.name}`);
      break;
    case "left": {
      const rest = new Map(people);
      rest.delete(message.id);
      showPeople(rest);
      note(`${message.name} left`);
      break;
    }
    case "said": {
      const bubble = element("div", "bubble", message.text);
      bubble.dir = "auto";
      show(message, bubble);
      break;
    }
    case "refused":
      refuse(message.reason);
      if (!me) {
        setState("connecting", "Choose a name");
        $("rename").querySelector("button").disabled = false;
      }
      break;
  }
}

/* Files: the length of the head in two bytes, the head in JSON, the content */

function hearFile(data) {
  const length = new DataView(data).getUint16(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
  const content = new Uint8Array(data, 2 + length);
  const isImage = IMAGES.includes(head.mime);
  const blob = new Blob([content], { type: isImage ? head.mime : "application/octet-stream" });
  const bubble = element("div", "bubble file");
  const link = element("a", "", `${head.file || "file"} (${size(content.length)})`);
  link.href = URL.createObjectURL(blob);
  link.download = head.file || "file";
  link.dir = "auto";
  if (isImage) {
    const image = element("img");
    image.src = link.href;
    image.alt = `Picture from ${head.name}: ${head.file || "untitled"}`;
    image.addEventListener("load", () => following && toEnd());
    image.addEventListener("error", () => image.remove());
    bubble.append(image);
  }
  bubble.append(link);
  show(head, bubble);
}

async function sendFile(blob, file) {
  if (blob.size > limits.file) {
    refuse(`${file} has ${size(blob.size)}; at most ${size(limits.file)} can be sent.`);
    return;
  }
  const head = new TextEncoder().encode(JSON.stringify({ file: file.slice(-100), mime: blob.type.slice(0, 100) }));
  const content = new Uint8Array(await blob.arrayBuffer());
  const message = new Uint8Array(2 + head.length + content.length);
  new DataView(message.buffer).setUint16(0, head.length);
  message.set(head, 2);
  message.set(content, 2 + head.length);
  if (!transmit(message)) refuse("Not sent: there is no connection.");
}

/* What is seen */

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function avatar(name) {
  const made = element("span", "avatar", [...name][0]?.toUpperCase() ?? "?");
  made.setAttribute("aria-hidden", "true");
  return made;
}

function hue(name) {
  // FNV-1a: names that differ little get colours that differ much.
  let hash = 2166136261;
  for (const c of name) hash = Math.imul(hash ^ c.codePointAt(0), 16777619) >>> 0;
  return String(hash % 360);
}

function show(message, bubble) {
  const article = element("article");
  article.style.setProperty("--hue", hue(message.name));
  const mine = message.id === me;
  const more = last?.id === message.id && last.name === message.name && message.time - last.time < 120000;
  article.classList.toggle("mine", mine);
  article.classList.toggle("more", more);
  last = message;
  const by = element("div", "by");
  const time = element("time", "", new Date(message.time).toLocaleTimeString([], { timeStyle: "short" }));
  time.dateTime = new Date(message.time).toISOString();
  by.append(element("bdi", "", mine ? "You" : message.name), time);
  article.append(avatar(message.name), by, bubble);
  append(article);
  if (backlog > 0 && --backlog === 0) {
    note(`You are here as ${people.get(me)}.`);
    $("log").setAttribute("aria-busy", "false");
  } else if (document.hidden) {
    unread += 1;
    showTitle();
  }
}

function note(text) {
  last = undefined;
  const made = element("p", "note", text);
  made.dir = "auto";
  append(made);
}

function append(made) {
  const log = $("log");
  const follows = following || made.classList.contains("mine");
  log.append(made);
  while (log.childElementCount > LOG_LENGTH) drop(log.firstElementChild);
  follows ? toEnd() : ($("newer").hidden = false);
}

function drop(old) {
  for (const link of old.querySelectorAll("a")) URL.revokeObjectURL(link.href);
  old.remove();
}

function clearLog() {
  [...$("log").children].forEach(drop);
  last = undefined;
}

function isAtEnd() {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function toEnd() {
  following = true;
  $("log").scrollTop = $("log").scrollHeight;
  $("newer").hidden = true;
}

function showPeople(map) {
  people = map;
  const isKnown = $("state").dataset.state !== "closed";
  const rows = [...people].map(([id, name]) => {
    const row = element("li");
    row.style.setProperty("--hue", hue(name));
    row.append(avatar(name), element("bdi", "", name));
    if (id === me) row.append(element("small", "", "you"));
    return row;
  });
  if (!isKnown) rows.push(element("li", "unknown", "Not known without a connection."));
  $("people").replaceChildren(...rows);
  $("count").textContent = isKnown ? String(people.size) : "";
  $("toggle-text").textContent = isKnown ? `${people.size} here` : "? here";
}

function setState(state, text) {
  $("state").dataset.state = state;
  $("state-text").textContent = text;
  const open = state === "open";
  for (const id of ["send", "draw", "attach"]) $(id).disabled = !open;
  $("close").querySelector("button").disabled = !open;
  $("rename").querySelector("button").disabled = !open;
  $("reconnect").disabled = state === "connecting";
  if (state === "connecting") $("banner-detail").textContent = "Trying now…";
}

function refuse(reason) {
  $("refusal").textContent = reason;
  $("refusal").hidden = false;
}

function showTitle() {
  document.title = unread > 0 ? `(${unread}) framewire chat` : "framewire chat";
}

function count(direction, bytes) {
  traffic[direction][0] += 1;
  traffic[direction][1] += bytes;
  const [messages, total] = traffic[direction];
  $(direction).textContent = `${messages} ${messages === 1 ? "message" : "messages"}, ${size(total)}`;
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}

/* The name outlives the page, where the browser lets it. */

function keepName(name) {
  $("name").value = name;
  try { localStorage.setItem("name", name); } catch { /* private windows may forbid it */ }
}

function firstName() {
  let name;
  try { name = localStorage.getItem("name"); } catch { /* as above */ }
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  return name || `${pick(["Amber", "Brisk", "Clever", "Early", "Gentle", "Hazel", "Lucky", "Quiet"])} ${
    pick(["Badger", "Crane", "Finch", "Heron", "Lynx", "Marten", "Otter", "Wren"])}`;
}

/* What the user does */

function submitText() {
  const text = $("text").value;
  if (text.trim() === "") return;
  if ([...text].length > limits.text) {
    refuse(`That has ${[...text].length} characters; at most ${limits.text} can be sent.`);
  } else if (socket.readyState !== WebSocket.OPEN) {
    refuse("Not sent: there is no connection. Your message stays here until you send it.");
  } else if (transmit(JSON.stringify({ type: "say", text }))) {
    $("text").value = "";
    $("refusal").hidden = true;
  }
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submitText();
  $("text").focus();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submitText();
  }
});
$("text").addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) {
    event.preventDefault();
    sendFile(file, file.name);
  }
});
$("rename").addEventListener("submit", (event) => {
  event.preventDefault();
  say({ type: me ? "rename" : "join", name: $("name").value });
  $("refusal").hidden = true;
});
$("close").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    socket.close(Number($("code").value), $("reason").value);
    stay = false;
    setState("closing", "Closing…");
  } catch (error) {
    refuse(error.message);
  }
});
$("reconnect").addEventListener("click", connect);
$("newer").addEventListener("click", toEnd);
$("log").addEventListener("scroll", () => {
  // Only a movement upwards is the user's: the log also gets shorter, when the banner comes.
  const { scrollTop } = $("log");
  following = isAtEnd() || (following && scrollTop >= scrolled);
  scrolled = scrollTop;
  if (following) $("newer").hidden = true;
});
new ResizeObserver(() => following && toEnd()).observe($("log"));
$("toggle").addEventListener("click", () => {
  const shown = $("side").classList.toggle("shown");
  $("toggle").setAttribute("aria-expanded", String(shown));
});
$("attach").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) sendFile(file, file.name);
  $("file").value = "";
});
const main = document.querySelector("main");
main.addEventListener("dragover", (event) => {
  event.preventDefault();
  main.classList.add("dropping");
});
main.addEventListener("dragleave", () => main.classList.remove("dropping"));
main.addEventListener("drop", (event) => {
  event.preventDefault();
  main.classList.remove("dropping");
  for (const file of event.dataTransfer.files) sendFile(file, file.name);
});
document.addEventListener("visibilitychange", () => {
  unread = 0;
  showTitle();
});

/* Drawing */

const brush = $("canvas").getContext("2d");

function wipe() {
  brush.fillStyle = "#fff";
  brush.fillRect(0, 0, brush.canvas.width, brush.canvas.height);
}

function place(event) {
  const scale = brush.canvas.width / brush.canvas.clientWidth;
  return [event.offsetX * scale, event.offsetY * scale];
}

for (const ink of document.querySelectorAll("#inks input")) ink.style.setProperty("--chosen", ink.value);
$("draw").addEventListener("click", () => {
  wipe();
  $("pad").returnValue = "";
  $("pad").showModal();
});
$("wipe").addEventListener("click", wipe);
$("canvas").addEventListener("pointerdown", (event) => {
  $("canvas").setPointerCapture(event.pointerId);
  Object.assign(brush, { lineWidth: 5, lineCap: "round", lineJoin: "round" });
  brush.strokeStyle = document.querySelector("#inks input:checked").value;
  brush.beginPath();
  brush.moveTo(...place(event));
  brush.lineTo(...place(event));
  brush.stroke();
});
$("canvas").addEventListener("pointermove", (event) => {
  if (!$("canvas").hasPointerCapture(event.pointerId)) return;
  brush.lineTo(...place(event));
  brush.stroke();
});
$("pad").addEventListener("close", () => {
  if ($("pad").returnValue !== "send") return;
  brush.canvas.toBlob((blob) => blob && sendFile(blob, "drawing.png"), "image/png");
});

$("name").value = firstName();
connect();
