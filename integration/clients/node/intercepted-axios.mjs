// This program calls Meta's URLs with axios. igproxy intercepts the calls.
import axios from 'axios';
import { intercepted } from './intercepted.mjs';

await intercepted({
  get: async (url, params) => (await axios.get(url, { params })).data,
  post: async (url, params) => (await axios.post(url, new URLSearchParams(params))).data,
});
