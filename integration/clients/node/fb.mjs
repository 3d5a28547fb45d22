// fb: the library's host is fixed, so detour.mjs sends its requests to igproxy. With an appSecret
// the library adds an appsecret_proof to each call that has a token. igproxy replaces this proof.
import './detour.mjs';
import fb from 'fb';
import { CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, report, refused } from './shared.mjs';

const { Facebook, FacebookApiException } = fb;
const facebook = new Facebook({ appId: CLIENT_ID, appSecret: 'none', version: 'v23.0' });
const app = { client_id: CLIENT_ID, client_secret: 'none' };

const login = (code) => facebook.api('oauth/access_token', { ...app, redirect_uri: REDIRECT_URI, code });
const exchange = (token) => facebook.api('oauth/access_token', 'post', { ...app, grant_type: 'fb_exchange_token', fb_exchange_token: token });

const short = await login(CODE);
const long = await exchange(short.access_token);
const me = await facebook.withAccessToken(long.access_token).api('me', { fields: 'id,name' });
const { data } = await facebook.api('debug_token', { input_token: long.access_token, access_token: `${CLIENT_ID}|none` });
const codeError = await refused(() => login(BAD_CODE));
const tokenError = await refused(() => exchange(BAD_TOKEN));

const text = (error) => {
  const { code, error_subcode } = error.response.error;
  return `${error instanceof FacebookApiException && error.name} ${code} ${error_subcode}`;
};

report({
  short: short.access_token,
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  inspected: `${data.app_id} ${data.is_valid}`,
  code_error: text(codeError),
  token_error: text(tokenError),
});
