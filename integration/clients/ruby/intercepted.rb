# The method intercepted makes the calls of a program whose URLs cannot be changed.
require 'json'

GRAPH = 'https://graph.instagram.com'.freeze

def intercepted(get, post)
  login = { client_id: ENV.fetch('CLIENT_ID'), client_secret: 'none', grant_type: 'authorization_code',
            redirect_uri: ENV.fetch('REDIRECT_URI'), code: ENV.fetch('CODE') }
  short = JSON.parse(post.call('https://api.instagram.com/oauth/access_token', login)).fetch('access_token')
  exchange = { grant_type: 'ig_exchange_token', client_secret: 'none', access_token: short }
  both = Array.new(2) { Thread.new { JSON.parse(get.call("#{GRAPH}/access_token", exchange)).fetch('access_token') } }
  long = both.map(&:value)
  refresh = { grant_type: 'ig_refresh_token', access_token: ENV.fetch('REFRESH') }
  refreshed = JSON.parse(get.call("#{GRAPH}/refresh_access_token", refresh)).fetch('access_token')
  me = JSON.parse(get.call("#{GRAPH}/me", fields: 'id,username', access_token: long.first))
  puts JSON.generate(short: short, long: long, refreshed: refreshed, user_id: me.fetch('id'))
end
