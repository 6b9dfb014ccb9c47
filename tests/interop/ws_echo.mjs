// Sends every message back: for tests/deep/differential. The longest message is the argument.
import { WebSocketServer } from "ws";

const sockets = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  maxPayload: Number(process.argv[2]),
  perMessageDeflate: { threshold: 0 },
});
sockets.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  // It is told of every fault; the answer has left already.
  socket.on("error", () => {});
});
sockets.on("listening", () => console.log(sockets.address().port));
