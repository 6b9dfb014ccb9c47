import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { WebSocketServer } from "ws";
import { SERVER_CLOSE, SERVER_PING, SUBPROTOCOL, deflateOptions, sendInPieces, settings } from "./shared.mjs";

const server = settings.certificate
  ? https.createServer({ cert: readFileSync(settings.certificate), key: readFileSync(settings.key) })
  : http.createServer();
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: deflateOptions(),
  handleProtocols: (offered) => offered.has(SUBPROTOCOL) && SUBPROTOCOL,
});
sockets.on("connection", (socket) => {
  let inPieces = false;
  socket.on("message", (data, isBinary) => {
    const command = isBinary ? "" : data.toString();
    if (command === "!pieces") {
      inPieces = true;
    } else if (command === "!ping") {
      socket.ping(SERVER_PING);
    } else if (command === "!close") {
      socket.close(...SERVER_CLOSE);
    } else if (inPieces) {
      inPieces = false;
      sendInPieces(socket, data, isBinary);
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
  socket.on("pong", (payload) => socket.send(`pong: ${payload}`));
  socket.on("error", (error) => console.error(String(error)));
  socket.on("close", (code, reason) => console.log(JSON.stringify({ code, reason: reason.toString() })));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
