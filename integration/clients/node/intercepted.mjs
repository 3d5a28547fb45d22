// The function intercepted makes the calls of a program whose URLs cannot be changed.
const { CLIENT_ID, REDIRECT_URI, CODE, REFRESH } = process.env;

export const intercepted = async ({ get, post, protocol = () => undefined }) => {
  const graph = 'https://graph.instagram.com';
  const login = { client_id: CLIENT_ID, client_secret: 'none', grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code: CODE };
  const short = (await post('https://api.instagram.com/oauth/access_token', login)).access_token;
  const exchange = () => get(`${graph}/access_token`, { grant_type: 'ig_exchange_token', client_secret: 'none', access_token: short });
  const long = (await Promise.all([exchange(), exchange()])).map((answer) => answer.access_token);
  const refreshed = (await get(`${graph}/refresh_access_token`, { grant_type: 'ig_refresh_token', access_token: REFRESH })).access_token;
  const me = await get(`${graph}/me`, { fields: 'id,username', access_token: long[0] });
  console.log(JSON.stringify({ short, long, refreshed, user_id: me.id, protocol: protocol() }));
};
