// Node's fetch, as Threads apps use it. METHOD is the HTTP method of the call that sends the code.
// Some apps, such as Postiz, use GET, and Meta's own samples use POST. In both cases, the
// parameters are in the query.
import { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, report } from './shared.mjs';

const call = async (path, params, method = 'GET') => {
  const res = await fetch(`${IGPROXY}${path}?${new URLSearchParams(params)}`, { method });
  return { status: res.status, ...(await res.json()) };
};

const login = (code) =>
  call('/oauth/access_token', { client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, grant_type: 'authorization_code', code }, process.env.METHOD);
const exchange = (access_token) => call('/access_token', { grant_type: 'th_exchange_token', access_token });

const short = await login(CODE);
const long = await exchange(short.access_token);
const me = await call('/v1.0/me', { fields: 'id,username', access_token: long.access_token });
const codeError = await login(BAD_CODE);
const tokenError = await exchange(BAD_TOKEN);

report({
  short: short.access_token,
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  code_error: `${codeError.status} ${codeError.error_message}`,
  token_error: `${tokenError.status} ${tokenError.error.code} ${tokenError.error.error_subcode}`,
});
