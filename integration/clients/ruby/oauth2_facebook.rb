# The gem oauth2 with Facebook: every URL is an option or an argument, as in oauth2.rb. OmniAuth's
# strategy for Facebook is built on this gem, and uses the same options.
require 'json'
require 'oauth2'

base = ENV.fetch('IGPROXY')
options = { token_url: "#{base}/oauth/access_token" }
login = OAuth2::Client.new(ENV.fetch('CLIENT_ID'), 'none', options)
exchange = OAuth2::Client.new(ENV.fetch('CLIENT_ID'), 'none', options.merge(token_method: :get))

def refused
  yield
  abort 'the call did not fail'
rescue OAuth2::Error => e
  error = e.response.parsed['error']
  "#{e.class} #{e.response.status} #{error['code']} #{error['error_subcode']}"
end

extend_token = ->(token) { exchange.get_token(grant_type: 'fb_exchange_token', client_id: ENV.fetch('CLIENT_ID'), fb_exchange_token: token) }

short = login.auth_code.get_token(ENV.fetch('CODE'), redirect_uri: ENV.fetch('REDIRECT_URI'))
long = extend_token.call(short.token)
me = long.get("#{base}/v23.0/me", params: { fields: 'id,name' }).parsed

puts JSON.generate(
  short: short.token,
  long: long.token,
  expires_in: long.expires_in,
  user_id: me['id'],
  code_error: refused { login.auth_code.get_token(ENV.fetch('BAD_CODE'), redirect_uri: ENV.fetch('REDIRECT_URI')) },
  token_error: refused { extend_token.call(ENV.fetch('BAD_TOKEN')) }
)
