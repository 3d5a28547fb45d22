// instagram-graph-api: the base URL is a constant, but one that can be assigned. It reads with Instagram's tokens as with Facebook's; its
// token request is Facebook's (fb_exchange_token), so the exchange is left to fetch.
import instagram from 'instagram-graph-api';
import { IGPROXY, SHORT, BAD_TOKEN, tell } from './told.mjs';

instagram.Constants.API_URL = IGPROXY;

// It asks for /v23.0//ID. igproxy passes that on as it is; the stand-in Instagram knows no path with two slashes.
class Account extends instagram.GetPageInfoRequest {
  url() {
    return super.url().slice(1);
  }
}

const exchange = async (access_token) => {
  const res = await fetch(`${IGPROXY}/access_token?${new URLSearchParams({ grant_type: 'ig_exchange_token', access_token })}`);
  return res.json();
};

const long = await exchange(SHORT);
const { error } = await exchange(BAD_TOKEN);
const me = await new Account(long.access_token, '17841400000000001').withApiVersion('v23.0').execute();

tell({
  long: long.access_token,
  expires_in: long.expires_in,
  username: me.getUsername(),
  token_error: `${error.type} ${error.code} ${error.error_subcode}`,
});
