// What NODE_USE_ENV_PROXY=1 does, for fetch in versions of Node.js that do not know it (before
// 22.21 and 24.5): node --import ./env-proxy.mjs.
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici';

const allowH2 = process.env.HTTP2 === '1';
setGlobalDispatcher(new EnvHttpProxyAgent({ allowH2, requestTls: { allowH2 } }));
