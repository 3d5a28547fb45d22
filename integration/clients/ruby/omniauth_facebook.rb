# The gem omniauth-oauth2, on which omniauth-facebook is built: the URLs are options. The class
# Facebook does what the strategy of omniauth-facebook does, but calls igproxy. The call that reads
# the user has an appsecret_proof, which the class makes with a placeholder secret. igproxy replaces
# this proof.
require 'json'
require 'openssl'
require 'rack'
require 'omniauth-oauth2'

class Facebook < OmniAuth::Strategies::OAuth2
  BASE = ENV.fetch('IGPROXY')
  option :name, 'facebook'
  option :client_options, { token_url: "#{BASE}/oauth/access_token", authorize_url: 'https://www.facebook.com/dialog/oauth' }
  uid { raw_info['id'] }
  extra { { 'raw_info' => raw_info } }

  def raw_info
    proof = OpenSSL::HMAC.hexdigest(OpenSSL::Digest.new('SHA256'), client.secret, access_token.token)
    @raw_info ||= access_token.get("#{BASE}/v23.0/me", params: { fields: 'id,name', appsecret_proof: proof }).parsed
  end

  def callback_url
    ENV.fetch('REDIRECT_URI')
  end
end

OmniAuth.config.logger = Logger.new(nil)
OmniAuth.config.on_failure = ->(env) { [401, {}, env['omniauth.error']] }

# callback plays Rack's part: it gives the strategy the request of a browser that returns from the
# login. callback returns OmniAuth's data about the user, or the error.
def callback(code)
  app = ->(env) { [200, {}, env['omniauth.auth']] }
  strategy = Facebook.new(app, ENV.fetch('CLIENT_ID'), 'none', provider_ignores_state: true)
  path = "/auth/facebook/callback?#{Rack::Utils.build_query(code: code)}"
  strategy.call(Rack::MockRequest.env_for(path, 'rack.session' => {}))[2]
end

# The gem has no exchange, so this program makes the call with a client of the gem oauth2.
def exchange(token)
  client = OAuth2::Client.new(ENV.fetch('CLIENT_ID'), 'none', token_url: "#{Facebook::BASE}/oauth/access_token", token_method: :get)
  client.get_token(grant_type: 'fb_exchange_token', fb_exchange_token: token)
end

def text(error)
  body = error.response.parsed['error']
  "#{error.class} #{body['code']} #{body['error_subcode']}"
end

user = callback(ENV.fetch('CODE'))
long = exchange(user.credentials.token)
begin
  exchange(ENV.fetch('BAD_TOKEN'))
  abort 'the call did not fail'
rescue OAuth2::Error => e
  token_error = text(e)
end

puts JSON.generate(
  short: user.credentials.token,
  long: long.token,
  expires_in: long.expires_in,
  user_id: user.uid,
  code_error: text(callback(ENV.fetch('BAD_CODE'))),
  token_error: token_error
)
