// Node's fetch with Meta's URLs.
import { intercepted } from './intercepted.mjs';

const read = async (res) => {
  if (!res.ok) throw new Error(`${res.status} ${await res.text()}`);
  return res.json();
};

await intercepted({
  get: async (url, params) => read(await fetch(`${url}?${new URLSearchParams(params)}`)),
  post: async (url, params) => read(await fetch(url, { method: 'POST', body: new URLSearchParams(params) })),
});
