'use strict';

const { WebSocketServer } = require('ws');

const [port, mode = 'echo'] = process.argv.slice(2);
const each = mode.endsWith('deflate-nct');
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(port),
  backlog: 4096,
  maxPayload: 64 << 20,
  perMessageDeflate: mode.includes('deflate') && {
    threshold: 0,
    serverNoContextTakeover: each,
    clientNoContextTakeover: each,
    zlibDeflateOptions: { level: 6 },
  },
});
server.on('connection', (socket, request) => {
  socket.path = request.url;
  socket.on('error', () => {});
  socket.on('message', (data, binary) => {
    if (!mode.startsWith('bcast') && mode !== 'route') return socket.send(data, { binary });
    for (const client of server.clients) {
      if (mode !== 'route' || client.path === socket.path) client.send(data, { binary });
    }
  });
});
