// passport-facebook: tokenURL and profileURL are options. With enableProof the library adds an
// appsecret_proof to its profile call. The library makes this proof with the placeholder in
// clientSecret, so igproxy replaces the proof.
import { promisify } from 'node:util';
import { Strategy } from 'passport-facebook';
import { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, BAD_CODE, BAD_TOKEN, report, refused } from './shared.mjs';

const strategy = new Strategy(
  {
    clientID: CLIENT_ID,
    clientSecret: 'none',
    callbackURL: REDIRECT_URI,
    tokenURL: `${IGPROXY}/oauth/access_token`,
    profileURL: `${IGPROXY}/v23.0/me`,
    enableProof: true,
    state: false,
  },
  (accessToken, refreshToken, profile, done) => done(null, { token: accessToken, id: profile.id }),
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

// The library has no exchange, so this program makes the call with the strategy's own OAuth client.
const get = promisify(strategy._oauth2.get.bind(strategy._oauth2));
const exchange = (token) =>
  get(`${IGPROXY}/oauth/access_token?${new URLSearchParams({ grant_type: 'fb_exchange_token', client_id: CLIENT_ID, fb_exchange_token: token })}`, token);
const long = JSON.parse(await exchange(user.token));
const { statusCode, data } = await refused(() => exchange(BAD_TOKEN));

report({
  short: user.token,
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: user.id,
  code_error: `${codeError.name} ${codeError.code} ${codeError.subcode}`,
  token_error: `${statusCode} ${JSON.parse(data).error.code} ${JSON.parse(data).error.error_subcode}`,
});
