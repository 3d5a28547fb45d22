// This program calls Meta's URLs with Node's fetch. igproxy intercepts the calls. fetch does not
// report the protocol. But undici, the library behind fetch, publishes each new connection on a
// diagnostics channel, and this program reads the protocol of the connection there.
import { subscribe } from 'node:diagnostics_channel';
import { intercepted } from './intercepted.mjs';

let protocol;
subscribe('undici:client:connected', ({ socket }) => {
  protocol = { h2: 'HTTP/2', 'http/1.1': 'HTTP/1.1' }[socket?.alpnProtocol] ?? protocol;
});

const read = async (res) => {
  if (!res.ok) throw new Error(`${res.status} ${await res.text()}`);
  return res.json();
};

await intercepted({
  get: async (url, params) => read(await fetch(`${url}?${new URLSearchParams(params)}`)),
  post: async (url, params) => read(await fetch(url, { method: 'POST', body: new URLSearchParams(params) })),
  protocol: () => protocol,
});
