// The page of the example `cluster`: a room with its history and who is there, on whichever node.
"use strict";

import { capital, closing } from "/closing.js";
import { Cluster } from "/cluster.js";

const element = (id) => document.getElementById(id);
const STATES = {
  connecting: "Connecting…",
  linked: "Connected",
  unlinked: "Connected; the other machines cannot be reached, and messages wait",
  closed: "Closed",
};

element("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  element("enter").hidden = true;
  element("talk").hidden = false;
  enter(element("name").value, element("room").value);
});

function enter(name, room) {
  const url = new URL(`/?name=${encodeURIComponent(name)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const cluster = new Cluster(url);
  cluster.onstate = (state) => {
    element("state").textContent = STATES[state];
    element("state").dataset.state = state;
    element("node").textContent = state.endsWith("linked") ? `node ${cluster.welcome.connection.split(".")[0]}` : "";
    if (state !== "linked") element("members").textContent = "not known";
  };
  let wasOpen = false;
  cluster.onclose = (event) => {
    // While it is tried again and again, once is enough.
    if (wasOpen) note(`${capital(closing(event))}.`);
    wasOpen = false;
  };
  const subscription = cluster.subscribe(`room/${room}`, {
    last: 50,
    join: true,
    message: (data, { from }) => write(from, String(data)),
    subscribed: () => (wasOpen = true),
    members: (list) => {
      const names = list.map(({ user }) => user).sort();
      element("members").textContent = [...new Set(names)].join(", ");
    },
    gap: ({ why, from, to }) =>
      note(why === "trimmed" ? `${to - from + 1} messages are no longer kept.` : "Messages may be missing here."),
  });
  element("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = element("text").value;
    element("text").value = "";
    // What comes back as a message is said; until then it waits.
    const waiting = write(name, text, "waits");
    subscription.publish(text).then(
      () => waiting.remove(),
      (error) => {
        waiting.className = "failed";
        waiting.append(` (not sent: ${error.message})`);
      },
    );
  });
  element("text").focus();
}

function write(from, text, kind = "said") {
  const line = document.createElement("p");
  line.className = kind;
  const who = document.createElement("b");
  who.textContent = from;
  line.append(who, text);
  return append(line);
}

function note(text) {
  const line = document.createElement("p");
  line.className = "note";
  line.textContent = text;
  append(line);
}

function append(line) {
  const log = element("log");
  log.append(line);
  log.scrollTop = log.scrollHeight;
  return line;
}
