// What the peers in JavaScript share: the settings that `run` gives, and the conversation.

import { readFileSync, readdirSync } from "node:fs";

export const settings = JSON.parse(process.argv[2]);

export const SUBPROTOCOL = "v1.interop";
export const OFFERED = ["v9.other", SUBPROTOCOL];
export const CLIENT_CLOSE = [4001, "the client is done ✓"];
export const SERVER_CLOSE = [4002, "the server is done ✓"];
export const CLIENT_PING = Buffer.from("from the client\0\xff", "latin1");
export const SERVER_PING = "from the server";

/** The messages that are in flight at once. */
export const BURST = Array.from({ length: 50 }, (_, i) => `${i} in flight `.repeat(i * 3));

/** What the client says, in this order. */
export function lines() {
  return readdirSync(settings.messages)
    .sort()
    .map((name) => ({
      text: name.endsWith(".text"),
      pieces: name.includes(".pieces."),
      payload: readFileSync(`${settings.messages}/${name}`),
    }));
}

/** The settings as ws wants them, for which `false` is not the same as nothing said. */
export function deflateOptions() {
  const { deflate } = settings;
  if (!deflate) return false;
  return {
    threshold: 0,
    serverNoContextTakeover: deflate.server_no_context_takeover || undefined,
    clientNoContextTakeover: deflate.client_no_context_takeover || undefined,
    serverMaxWindowBits: deflate.server_max_window_bits,
    clientMaxWindowBits: deflate.client_max_window_bits,
  };
}

/** Three pieces, one of them empty; texts are cut inside a code point. */
export function sendInPieces(socket, payload, binary) {
  const cut = Math.floor(payload.length / 3);
  socket.send(payload.subarray(0, cut), { binary, fin: false });
  socket.send(Buffer.alloc(0), { binary, fin: false });
  socket.send(payload.subarray(cut), { binary, fin: true });
}
