// Opens each URL of its standard input, sends every message back, and tells in the end what came: for
// tests/deep/differential. The longest message is the argument.
import { createInterface } from "node:readline";
import WebSocket from "ws";

const MODULUS = 65521;

function adler32(data) {
  let [a, b] = [1, 0];
  for (const byte of data) {
    a = (a + byte) % MODULUS;
    b = (b + a) % MODULUS;
  }
  return b * 65536 + a;
}

for await (const url of createInterface({ input: process.stdin })) {
  const socket = new WebSocket(url, { maxPayload: Number(process.argv[2]), perMessageDeflate: { threshold: 0 } });
  const told = [];
  socket.on("message", (data, isBinary) => {
    told.push(`${isBinary ? "binary" : "text"}:${data.length}:${adler32(data)}`);
    if (!isBinary && data.toString() === "!close") {
      socket.close(4001, "as told ✓");
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
  // It is told of every fault; the Close has left already.
  socket.on("error", () => {});
  socket.on("close", (code, reason) => {
    console.log([new URL(url).pathname, code, `reason:${reason.toString("hex")}`, ...told].join(" "));
  });
}
