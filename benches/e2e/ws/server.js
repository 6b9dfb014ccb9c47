'use strict';

const { WebSocketServer } = require('ws');

const [port, mode = 'echo'] = process.argv.slice(2);
const each = mode === 'deflate-nct';
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(port),
  backlog: 4096,
  maxPayload: 64 << 20,
  perMessageDeflate: mode.startsWith('deflate') && {
    threshold: 0,
    serverNoContextTakeover: each,
    clientNoContextTakeover: each,
    zlibDeflateOptions: { level: 6 },
  },
});
server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, binary) => {
    if (mode !== 'bcast') return socket.send(data, { binary });
    for (const client of server.clients) client.send(data, { binary });
  });
});
