// A client of Node for tests/odd_servers/run: clients.mjs NAME URL...

const PATIENCE = 3000;
const [name, ...urls] = process.argv.slice(2);
const WebSocket = name === 'ws' ? (await import('ws')).default : (await import('undici')).WebSocket;

const outcome = url =>
  new Promise(resolve => {
    const options = name === 'ws' ? [{ handshakeTimeout: PATIENCE }] : [];
    let client, status;
    let isOpen = false;
    const end = text => {
      clearTimeout(timer);
      resolve(text);
      try { name === 'ws' ? client.terminate() : client.close(); } catch {}
    };
    const timer = setTimeout(() => end(isOpen ? 'open, lost' : 'fails'), PATIENCE + 500);
    try { client = new WebSocket(url, ['chat'], ...options); } catch { return end('fails'); }
    client.onopen = () => { isOpen = true; };
    client.onmessage = event => end(`open, ${event.data}`);
    client.onclose = event => end(isOpen ? (event.wasClean ? 'open, closed' : 'open, lost') : status ?? 'fails');
    client.onerror = () => {};
    if (name === 'ws') {
      client.on('unexpected-response', (_, response) => end(String(response.statusCode)));
    }
  });

process.on('uncaughtException', () => {});
for (const url of urls) {
  console.log(await outcome(url));
}
process.exit(0);
