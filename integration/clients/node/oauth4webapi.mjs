// oauth4webapi: the token endpoint is a member of the server's metadata. The library checks every
// answer against RFC 6749, so igproxy adds the token_type that Instagram leaves out. Instagram's
// errors lack the member "error" that the RFC requires. Without this member, the library throws its
// own error, with the response as the cause.
import * as oauth from 'oauth4webapi';
import { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, report, refused } from './shared.mjs';

const server = { issuer: IGPROXY, token_endpoint: `${IGPROXY}/oauth/access_token` };
const client = { client_id: CLIENT_ID };
const plain = { [oauth.allowInsecureRequests]: true };

const login = async (code, options) => {
  const callback = oauth.validateAuthResponse(server, client, new URLSearchParams({ code }));
  const res = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), callback, REDIRECT_URI, oauth.nopkce, options);
  return oauth.processAuthorizationCodeResponse(server, client, res);
};

const short = await login(CODE, plain);
const codeError = await refused(() => login(BAD_CODE, plain));

const get = async (path, token) => {
  const res = await oauth.protectedResourceRequest(token, 'GET', new URL(IGPROXY + path), undefined, null, plain);
  return res.json();
};
const long = await get('/access_token?grant_type=ig_exchange_token', short.access_token);
const me = await get('/me?fields=id,username', long.access_token);
const { error } = await get('/access_token?grant_type=ig_exchange_token', BAD_TOKEN);

report({
  short: short.access_token,
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  code_error: `${codeError.name} ${codeError.cause.status} ${(await codeError.cause.json()).error_message}`,
  token_error: `${error.type} ${error.code} ${error.error_subcode}`,
  note: short.token_type,
});
