# The gem oauth2: every URL is an option or an argument. This program does not use the option
# "site", because the gem ignores a path in it. The client "exchange" has the options that OmniAuth
# strategies use to get long-lived tokens.
require 'json'
require 'oauth2'

base = ENV.fetch('IGPROXY')
id = ENV.fetch('CLIENT_ID')
login = OAuth2::Client.new(id, nil, token_url: "#{base}/oauth/access_token")
exchange = OAuth2::Client.new(id, nil, token_url: "#{base}/access_token", token_method: :get)

def refused
  yield
  abort 'the call did not fail'
rescue OAuth2::Error => e
  e
end

short = login.auth_code.get_token(ENV.fetch('CODE'), redirect_uri: ENV.fetch('REDIRECT_URI'))
long = exchange.get_token(grant_type: 'ig_exchange_token', access_token: short.token)
me = long.get("#{base}/me", params: { fields: 'id,username' }).parsed

code_error = refused { login.auth_code.get_token(ENV.fetch('BAD_CODE'), redirect_uri: ENV.fetch('REDIRECT_URI')) }
token_error = refused { exchange.get_token(grant_type: 'ig_exchange_token', access_token: ENV.fetch('BAD_TOKEN')) }

puts JSON.generate(
  short: short.token,
  long: long.token,
  expires_in: long.expires_in,
  user_id: me['id'],
  code_error: "#{code_error.class} #{code_error.response.status} #{code_error.response.parsed['error_message']}",
  token_error: "#{token_error.class} #{token_error.response.status} #{token_error.code['code']} #{token_error.code['error_subcode']}"
)
