// Why a connection has ended, in words: what the pages of the examples say of a CloseEvent.
"use strict";

const WORDS = {
  1000: "closed",
  1001: "the other side went away",
  1002: "protocol error",
  1003: "data of the wrong kind",
  1005: "closed without a code",
  1006: "connection lost",
  1007: "invalid data",
  1008: "not allowed",
  1009: "message too big",
  1010: "an extension is missing",
  1011: "error of the server",
  1012: "the server restarts",
  1013: "try again later",
  1014: "bad gateway",
  1015: "TLS failed",
};

/**
 * `connection lost (1006)`, or `closed (1000): “bye”`. A browser gives 1006 to a connection that was never open as
 * well, and does not tell why.
 */
export function closing({ code, reason }, wasOpen = true) {
  const words = code === 1006 && !wasOpen ? "no connection" : (WORDS[code] ?? "closed by the application");
  return `${words} (${code})${reason ? `: “${reason}”` : ""}`;
}

export function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
