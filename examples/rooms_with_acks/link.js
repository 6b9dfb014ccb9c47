// A connection that comes back: rooms, acknowledgements, and what was said while it was away. It knows
// nothing of the page, and can be taken along.
"use strict";

import { capital, closing } from "/closing.js";

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 5000;
const JITTER = 0.5;
const QUEUE_LENGTH = 100;
const PING_MS = 25_000;
const PONG_MS = 20_000;

/** Why an event has no good answer: `answer` is what came with the refusal, if anything did. */
export class AckError extends Error {
  constructor(text, answer = {}) {
    super(text);
    this.answer = answer;
  }
}

/**
 * Events: `open` (detail: our new id), `state` (detail: {state, text}), and each that the server sends (detail:
 * its data). `answers` says, by name, what to answer to an event that wants it.
 */
export class Link extends EventTarget {
  id;
  answers = {};
  ackTimeout = 5000;
  #url;
  #socket;
  #rooms = new Set();
  #number = 0;
  #open = new Map(); // number -> {resolve, reject, timer, text, sent}
  #attempts = 0;
  #retry;
  #pinging;
  #stay = true;

  constructor(url) {
    super();
    this.#url = url;
  }

  get rooms() {
    return [...this.#rooms];
  }

  connect() {
    clearTimeout(this.#retry);
    this.#stay = true;
    this.#tell("state", { state: "connecting", text: "Connecting…" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => socket === this.#socket && this.#hear(JSON.parse(data)));
    socket.addEventListener("close", (event) => socket === this.#socket && this.#closed(event));
  }

  /** Ends the connection for good. */
  close() {
    this.#stay = false;
    clearTimeout(this.#retry);
    this.#socket?.close(1000);
  }

  /**
   * Says an event and resolves with its answer. Without a connection it waits for one, and `sent` is called when it
   * has left. It fails with an AckError when the server refuses it, when no answer comes in time, or when the
   * connection is lost before: then nobody knows whether it arrived, so it is not said twice.
   */
  emit(event, data = {}, { timeout = this.ackTimeout, sent = () => {} } = {}) {
    if (!this.id && this.#waiting().length >= QUEUE_LENGTH) {
      return Promise.reject(new AckError("too much waits for the connection already"));
    }
    const number = this.#number++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(number);
        reject(new AckError(entry.sent ? "no acknowledgement in time" : "not sent: there was no connection in time"));
      }, timeout);
      const text = JSON.stringify({ event, data, ack: number });
      const entry = { resolve, reject, timer, text, tell: sent, sent: false };
      this.#open.set(number, entry);
      if (this.id || event === "join") this.#say(entry);
    });
  }

  /** Enters a room, and again after each loss of the connection until it is left. */
  async join(room) {
    if (!this.id) {
      this.#rooms.add(room);
      return { room };
    }
    const answer = await this.emit("join", { room });
    this.#rooms.add(room);
    this.#tell("room", answer);
    return answer;
  }

  async leave(room) {
    this.#rooms.delete(room);
    if (this.id) await this.emit("leave", { room });
  }

  #waiting() {
    return [...this.#open.values()].filter(({ sent }) => !sent);
  }

  #say(entry) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    entry.sent = true;
    this.#socket.send(entry.text);
    entry.tell();
  }

  #hear({ event, data, ack, error, ...rest }) {
    if (event === "welcome") this.#opened(data);
    else if (event) this.#heard(event, data, ack);
    else {
      const entry = this.#open.get(ack);
      if (!entry) return; // It has come too late.
      this.#open.delete(ack);
      clearTimeout(entry.timer);
      error ? entry.reject(new AckError(error, rest)) : entry.resolve(data);
    }
  }

  async #heard(event, data, ack) {
    this.#tell(event, data);
    if (ack === undefined || !this.answers[event]) return;
    const socket = this.#socket;
    const answer = await this.answers[event](data);
    // `undefined` is no answer: the other side waits until its time is over.
    if (answer !== undefined && socket.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify({ ack, data: answer }));
    }
  }

  #opened({ id, ack_timeout }) {
    this.id = id;
    this.ackTimeout = ack_timeout + 2000; // a question's answer comes after that of the slowest
    this.#attempts = 0;
    this.#tell("open", id);
    this.#tell("state", { state: "open", text: "Connected" });
    // Rooms first: what waits may be for them.
    for (const room of this.#rooms) {
      this.emit("join", { room }).then(
        (answer) => this.#tell("room", answer),
        (error) => this.#tell("lost-room", { room, error: error.message }),
      );
    }
    for (const entry of this.#waiting()) this.#say(entry);
    // A browser cannot ping, and may not notice for long that the other side is gone.
    clearInterval(this.#pinging);
    const socket = this.#socket;
    this.#pinging = setInterval(() => {
      this.emit("ping", {}, { timeout: PONG_MS }).catch(() => this.#gone(socket));
    }, PING_MS);
  }

  #gone(socket) {
    if (socket !== this.#socket || socket.readyState !== WebSocket.OPEN) return;
    // Its closing handshake would wait for who does not answer.
    this.#socket = undefined;
    socket.close();
    this.#closed({ code: 1006, reason: "no answer to a ping" });
  }

  #closed(event) {
    const how = capital(closing(event, this.id !== undefined));
    this.id = undefined;
    clearInterval(this.#pinging);
    for (const [number, entry] of this.#open) {
      if (!entry.sent) continue; // It waits for the next connection, as long as its time lasts.
      this.#open.delete(number);
      clearTimeout(entry.timer);
      entry.reject(new AckError("the connection was lost"));
    }
    // 1008 says that we are not wanted as we are: trying again would not change that.
    if (!this.#stay || event.code === 1008) {
      this.#tell("state", { state: "closed", text: how });
      return;
    }
    // Whoever was connected comes back, but not all at the same moment.
    const longest = Math.min(FIRST_DELAY_MS * 2 ** this.#attempts++, LONGEST_DELAY_MS);
    const delay = longest * (1 - JITTER + 2 * JITTER * Math.random());
    const text = `${how}; attempt ${this.#attempts} in ${(delay / 1000).toFixed(1)} s`;
    this.#tell("state", { state: "closed", text });
    this.#retry = setTimeout(() => this.connect(), delay);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
