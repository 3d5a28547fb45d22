// instagram-graph-api: the base URL is in the exported object Constants, and can be assigned. The
// library can read data with Instagram's tokens as well as with Facebook's. But it has only
// Facebook's exchange (fb_exchange_token; see instagram-graph-api-facebook.mjs), so this program
// exchanges the token with fetch.
import instagram from 'instagram-graph-api';
import { IGPROXY, SHORT, BAD_TOKEN, report } from './shared.mjs';

instagram.Constants.API_URL = IGPROXY;

// The library requests /v23.0//ID. igproxy would pass that path on unchanged, but the stand-in for
// Instagram has no path with two slashes. So this class removes one of them.
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

report({
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.getId(),
  token_error: `${error.type} ${error.code} ${error.error_subcode}`,
});
