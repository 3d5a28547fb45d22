// passport-instagram: tokenURL is an option. The library's profile call goes to an API that
// Instagram shut down in 2020. So this program turns the call off (skipUserProfile), and reads /me
// with the strategy's own OAuth client.
import { promisify } from 'node:util';
import { Strategy } from 'passport-instagram';
import { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, report, refused } from './shared.mjs';

const strategy = new Strategy(
  {
    clientID: CLIENT_ID,
    clientSecret: 'none',
    callbackURL: REDIRECT_URI,
    tokenURL: `${IGPROXY}/oauth/access_token`,
    skipUserProfile: true,
    state: false,
  },
  (accessToken, refreshToken, params, profile, done) => done(null, { token: accessToken, id: params.user_id }),
);

// callback gives the strategy the request that the browser makes when it returns from the login, as
// passport does in Express.
const callback = (code) =>
  new Promise((resolve, reject) => {
    const attempt = Object.create(strategy);
    Object.assign(attempt, { success: resolve, fail: reject, error: reject });
    attempt.authenticate({ query: { code } }, {});
  });

const user = await callback(CODE);
const codeError = await refused(() => callback(BAD_CODE));

const get = promisify(strategy._oauth2.get.bind(strategy._oauth2));
const exchange = (token) => get(`${IGPROXY}/access_token?grant_type=ig_exchange_token`, token);
const long = JSON.parse(await exchange(user.token));
const me = JSON.parse(await get(`${IGPROXY}/me?fields=id,username`, long.access_token));
const { statusCode, data } = await refused(() => exchange(BAD_TOKEN));

report({
  short: user.token,
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  code_error: `${codeError.name} ${codeError.oauthError.statusCode} ${codeError.oauthError.data}`,
  token_error: `${statusCode} ${JSON.parse(data).error.code} ${JSON.parse(data).error.error_subcode}`,
});
