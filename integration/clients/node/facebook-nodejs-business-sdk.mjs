// facebook-nodejs-business-sdk: the base URL is FacebookAdsApi.GRAPH. This is a getter, so the
// program redefines it. The library has no login: it only makes calls with a token.
import { createRequire } from 'node:module';
import { IGPROXY, CLIENT_ID, SHORT, BAD_TOKEN, report, refused } from './shared.mjs';

const { FacebookAdsApi, User } = createRequire(import.meta.url)('facebook-nodejs-business-sdk');
Object.defineProperty(FacebookAdsApi, 'GRAPH', { value: IGPROXY });

const as = (token) => new FacebookAdsApi(token, 'en_US', false);
const exchange = (token, method = 'GET') =>
  as(token).call(method, ['oauth', 'access_token'], { grant_type: 'fb_exchange_token', client_id: CLIENT_ID, fb_exchange_token: token });

const long = await exchange(SHORT);
const me = await new User('me', {}, undefined, as(long.access_token)).get(['id', 'name']);
const { data } = await as(`${CLIENT_ID}|none`).call('GET', ['debug_token'], { input_token: long.access_token });
const error = await refused(() => exchange(BAD_TOKEN));
const posted = await exchange(SHORT, 'POST'); // the library puts access_token into the query, and the rest into JSON

report({
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  inspected: `${data.app_id} ${data.is_valid}`,
  token_error: `${error.name} ${error.status} ${error.response.code} ${error.response.error_subcode}`,
  note: `POST: ${posted.access_token === long.access_token ? 'the same token' : 'another token'}`,
});
