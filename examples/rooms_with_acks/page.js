// The page of the rooms example. Whatever comes from others is put in by textContent: it never becomes
// HTML.
"use strict";

import { Link } from "/link.js";

const $ = (id) => document.getElementById(id);
const LOG_LENGTH = 300;
const FIRST_ROOM = "lobby";

const address = new URL("/rooms", location);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const link = new Link(address);
const rooms = new Map(); // name -> {count, members}; without a connection, neither is known

// Ids are for programs. What is shown of one are two words that follow from it, on all pages the same, and some of
// its digits, so that no two are likely to be alike.
const FIRST = "Amber Brisk Calm Clever Early Fair Gentle Hazel Jolly Keen Lucky Mellow Noble Quiet Rapid Sunny".split(" ");
const SECOND = "Badger Crane Dove Finch Gull Hare Heron Ibis Lynx Marten Newt Otter Raven Stork Tern Wren".split(" ");
const nameOf = (id) => `${FIRST[parseInt(id[0], 16)]} ${SECOND[parseInt(id[1], 16)]} ${id.slice(2, 5)}`;

/* What is heard */

link.addEventListener("state", ({ detail }) => {
  $("state").dataset.state = detail.state;
  $("state").textContent = detail.text;
  if (detail.state === "open") return;
  $("me").textContent = "not connected";
  for (const room of rooms.values()) room.members = undefined;
  showRooms();
});
link.addEventListener("open", ({ detail }) => {
  $("me").textContent = nameOf(detail);
  $("me").title = detail;
});
link.addEventListener("room", ({ detail: { room, count, members } }) => {
  rooms.set(room, { count, members: new Set(members) });
  showRooms();
  note(`You are in ${room}, with ${others(count - 1)}.`);
});
link.addEventListener("lost-room", ({ detail: { room, error } }) => {
  rooms.delete(room);
  showRooms();
  note(`Not in ${room} any more: ${error}.`);
});
link.addEventListener("joined", ({ detail }) => moved(detail, "joined"));
link.addEventListener("left", ({ detail }) => moved(detail, "left"));
link.addEventListener("said", ({ detail: { room, from, text } }) => show(from, room, text));
link.addEventListener("asked", ({ detail: { room, from, text } }) => show(from, room ?? "you alone", text, "asks"));

link.answers.asked = () => ($("silent").checked ? undefined : { seen: !document.hidden });

function moved({ room, id, count }, how) {
  const known = rooms.get(room);
  if (!known?.members) return;
  known.count = count;
  how === "joined" ? known.members.add(id) : known.members.delete(id);
  showRooms();
  note(`${nameOf(id)} ${how} ${room}.`);
}

/* What is said */

async function say(kind, target, text) {
  const status = show(link.id ?? "", target.label, text, kind === "ask" ? "asks" : "", true);
  if (!link.id) mark(status, "waits", "waits for the connection");
  try {
    const data = target.id ? { id: target.id, text } : { room: target.room, text };
    const answer = await link.emit(kind, data, { sent: () => mark(status, "waits", "sent, not acknowledged yet") });
    if (kind === "say") mark(status, "good", `✓ reached ${others(answer.reached)}`);
    else mark(status, "good", `✓ ${answered(answer.answers)}`);
  } catch (error) {
    const { answers, missing } = error.answer ?? {};
    const rest = missing ? `; ${answered(answers)}, missing: ${missing.map(nameOf).join(", ")}` : "";
    mark(status, "bad", `✗ ${error.message}${rest}`);
  }
}

function answered(answers) {
  const all = Object.entries(answers);
  if (all.length === 0) return "nobody answered";
  return `answered by ${all.map(([id, { seen }]) => `${nameOf(id)}${seen === false ? " (not looking)" : ""}`).join(", ")}`;
}

function others(count) {
  return count === 0 ? "nobody else" : count === 1 ? "1 other" : `${count} others`;
}

/* What is seen */

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function button(text, label, click) {
  const made = element("button", "small", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", click);
  return made;
}

function show(from, where, text, verb = "", mine = false) {
  const article = element("article", mine ? "mine" : "");
  const by = element("p", "by");
  by.append(element("b", "", mine ? "You" : nameOf(from)), ` ${verb ? `${verb} ` : "→ "}`, element("bdi", "", where));
  const bubble = element("p", "bubble", text);
  bubble.dir = "auto";
  const status = element("p", "status", mine ? "…" : "");
  article.append(by, bubble, status);
  append(article);
  return status;
}

function mark(status, how, text) {
  status.dataset.how = how;
  status.textContent = text;
  $("log").scrollTop = $("log").scrollHeight;
}

function note(text) {
  append(element("p", "note", text));
}

function append(made) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(made);
  while (log.childElementCount > LOG_LENGTH) log.firstElementChild.remove();
  if (atEnd || made.classList.contains("mine")) log.scrollTop = log.scrollHeight;
}

function showRooms() {
  const chosen = $("target").value;
  const targets = [];
  const rows = [...rooms].map(([room, { count, members }]) => {
    const row = element("li");
    const head = element("div", "row");
    const leave = button("Leave", `Leave ${room}`, () => {
      rooms.delete(room);
      showRooms();
      link.leave(room).catch((error) => refuse(error.message));
    });
    head.append(element("bdi", "", room), element("span", "count", members ? String(count) : ""), leave);
    row.append(head);
    const people = element("p", "people");
    for (const id of members ?? []) {
      const name = element("span", id === link.id ? "me" : "", nameOf(id));
      name.title = id;
      people.append(name);
    }
    if (!members) people.append(element("span", "unknown", "to be joined again with the connection"));
    row.append(people);
    targets.push(option(`room:${room}`, room));
    return row;
  });
  const people = new Set([...rooms.values()].flatMap(({ members }) => [...(members ?? [])]));
  people.delete(link.id);
  for (const id of people) targets.push(option(`id:${id}`, `${nameOf(id)} alone`));
  $("rooms").replaceChildren(...rows);
  $("target").replaceChildren(...targets);
  if (targets.some(({ value }) => value === chosen)) $("target").value = chosen;
  targeted();
}

function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

/** One is asked and not told: only a question goes to an id. */
function targeted() {
  const { value } = $("target");
  $("say").disabled = !value.startsWith("room:");
  $("ask").disabled = value === "";
}

function refuse(reason) {
  $("refusal").textContent = reason;
  $("refusal").hidden = false;
}

/* What the user does */

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = $("room").value.trim();
  if (room === "") return;
  $("room").value = "";
  $("refusal").hidden = true;
  link.join(room).catch((error) => refuse(`${room}: ${error.message}`));
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  const { value } = $("target");
  const kind = event.submitter?.value ?? "say";
  if (text === "" || value === "") return;
  const [, what, name] = /^(\w+):(.*)$/s.exec(value);
  const target = what === "id" ? { id: name, label: `${nameOf(name)} alone` } : { room: name, label: name };
  $("text").value = "";
  $("refusal").hidden = true;
  say(kind, target, text);
  $("text").focus();
});
$("target").addEventListener("change", targeted);

link.join(FIRST_ROOM);
link.connect();
