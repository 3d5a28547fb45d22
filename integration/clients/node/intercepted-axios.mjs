// axios with Meta's URLs.
import axios from 'axios';
import { intercepted } from './intercepted.mjs';

await intercepted({
  get: async (url, params) => (await axios.get(url, { params })).data,
  post: async (url, params) => (await axios.post(url, new URLSearchParams(params))).data,
});
