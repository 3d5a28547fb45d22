// axios: the base URL is an option.
import axios from 'axios';
import { IGPROXY, SHORT, BAD_TOKEN, report, refused } from './shared.mjs';

const instagram = axios.create({ baseURL: IGPROXY });
const exchange = (access_token) => instagram.get('/access_token', { params: { grant_type: 'ig_exchange_token', access_token } });

const { data: long } = await exchange(SHORT);
const { data: me } = await instagram.get('/me', { params: { fields: 'id,username', access_token: long.access_token } });
const error = await refused(() => exchange(BAD_TOKEN));

report({
  long: long.access_token,
  expires_in: long.expires_in,
  user_id: me.id,
  token_error: `${error.name} ${error.response.status} ${error.response.data.error.code} ${error.response.data.error.error_subcode}`,
});
