// This module sends HTTPS requests for graph.facebook.com to igproxy. It is for libraries that have
// a fixed host and make their requests with Node's https module.
import http from 'node:http';
import https from 'node:https';
import { IGPROXY } from './shared.mjs';

const { protocol, hostname, host, port, pathname } = new URL(IGPROXY);
const prefix = pathname === '/' ? '' : pathname;
const direct = https.request;

https.request = (options, callback) => {
  if ((options.hostname ?? options.host) !== 'graph.facebook.com') {
    return direct(options, callback);
  }
  const { request } = protocol === 'https:' ? { request: direct } : http;
  const headers = { ...options.headers, host };
  return request({ ...options, protocol, hostname, host: hostname, port, path: prefix + options.path, headers, agent: undefined }, callback);
};
