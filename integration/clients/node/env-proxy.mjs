// With node --import ./env-proxy.mjs, fetch uses HTTPS_PROXY. From Node.js 22.21 and 24.5 on,
// NODE_USE_ENV_PROXY=1 has the same effect, but only this file can also turn on HTTP/2 (HTTP2=1).
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici';

const allowH2 = process.env.HTTP2 === '1';
setGlobalDispatcher(new EnvHttpProxyAgent({ allowH2, requestTls: { allowH2 } }));
