// oauth4webapi: the token endpoint is a member of the server's metadata. It holds every answer to RFC 6749, and Instagram's to a code has
// no token_type, so a customFetch adds it. Neither have Instagram's errors the standard's member: they arrive as the cause.
import * as oauth from 'oauth4webapi';
import { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, tell, refused } from './told.mjs';

const server = { issuer: IGPROXY, token_endpoint: `${IGPROXY}/oauth/access_token` };
const client = { client_id: CLIENT_ID };
const plain = { [oauth.allowInsecureRequests]: true };

const typed = async (url, options) => {
  const res = await fetch(url, options);
  return res.ok ? Response.json({ token_type: 'bearer', ...(await res.json()) }) : res;
};

const login = async (code, options) => {
  const callback = oauth.validateAuthResponse(server, client, new URLSearchParams({ code }));
  const res = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), callback, REDIRECT_URI, oauth.nopkce, options);
  return oauth.processAuthorizationCodeResponse(server, client, res);
};

const strict = await refused(() => login(CODE, plain));
const short = await login(CODE, { ...plain, [oauth.customFetch]: typed }); // the code is used by now: igproxy has kept its answer
const codeError = await refused(() => login(BAD_CODE, plain));

const get = async (path, token) => {
  const res = await oauth.protectedResourceRequest(token, 'GET', new URL(IGPROXY + path), undefined, null, plain);
  return res.json();
};
const long = await get('/access_token?grant_type=ig_exchange_token', short.access_token);
const me = await get('/me?fields=id,username', long.access_token);
const { error } = await get('/access_token?grant_type=ig_exchange_token', BAD_TOKEN);

tell({
  short: short.access_token,
  long: long.access_token,
  expires_in: long.expires_in,
  username: me.username,
  code_error: `${codeError.name} ${codeError.cause.status} ${(await codeError.cause.json()).error_message}`,
  token_error: `${error.type} ${error.code} ${error.error_subcode}`,
  note: strict.message,
});
