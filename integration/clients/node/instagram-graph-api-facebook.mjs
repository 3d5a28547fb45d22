// instagram-graph-api: the base URL is in the exported object Constants, and can be assigned.
import instagram from 'instagram-graph-api';
import { IGPROXY, CLIENT_ID, SHORT, BAD_TOKEN, report } from './shared.mjs';

instagram.Constants.API_URL = IGPROXY;

// The library writes two slashes after the version in each URL. It also appends
// ?access_token=TOKEN to the URL of the exchange. That URL already has a query, so this text
// becomes part of the last parameter's value. The class Exchange removes one slash. It also adds a
// parameter "unused" at the end, so that the appended text becomes the value of this parameter.
class Exchange extends instagram.GetUserLongLivedTokenRequest {
  url() {
    return `${super.url().slice(1)}&unused=`;
  }
}

class Account extends instagram.GetPageInfoRequest {
  url() {
    return super.url().slice(1);
  }
}

const exchange = async (token, Request = Exchange) => {
  const response = await new Request(token, CLIENT_ID, 'none').withApiVersion('v23.0').execute();
  return response.getData();
};

const unchanged = await exchange(SHORT, instagram.GetUserLongLivedTokenRequest);
const long = await exchange(SHORT);
const { error } = await exchange(BAD_TOKEN);
const me = await new Account(long.access_token, '10158000000000001').withApiVersion('v23.0').execute();

report({
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.getId(),
  token_error: `${error.type} ${error.code} ${error.error_subcode}`,
  note: `without the corrections: ${unchanged.error.code} ${unchanged.error.message.slice(0, 24)}`,
});
