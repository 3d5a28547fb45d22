// simple-oauth2: tokenHost and tokenPath are options. The library ignores a path in tokenHost. It
// requires a string as the client secret, but accepts an empty one.
import { AuthorizationCode } from 'simple-oauth2';
import { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, report, refused } from './shared.mjs';

const { origin, pathname } = new URL(`${IGPROXY}/oauth/access_token`);
const login = new AuthorizationCode({
  client: { id: CLIENT_ID, secret: '' },
  auth: { tokenHost: origin, tokenPath: pathname, authorizeHost: 'https://www.instagram.com' },
});

const { token } = await login.getToken({ code: CODE, redirect_uri: REDIRECT_URI });
const codeError = await refused(() => login.getToken({ code: BAD_CODE, redirect_uri: REDIRECT_URI }));

// The library has no method for Instagram's GET requests, so this program makes them with fetch.
const get = async (path, params) => {
  const res = await fetch(`${IGPROXY}${path}?${new URLSearchParams(params)}`);
  return res.json();
};
const long = await get('/access_token', { grant_type: 'ig_exchange_token', access_token: token.access_token });
const me = await get('/me', { fields: 'id,username', access_token: long.access_token });
const { error } = await get('/access_token', { grant_type: 'ig_exchange_token', access_token: BAD_TOKEN });

report({
  short: token.access_token,
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  code_error: `${codeError.output.statusCode} ${codeError.data.payload.error_type} ${codeError.data.payload.error_message}`,
  token_error: `${error.type} ${error.code} ${error.error_subcode}`,
});
