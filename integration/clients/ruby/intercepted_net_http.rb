# This program calls Meta's URLs with net/http. igproxy intercepts the calls. net/http uses the
# proxy in http_proxy, even for https URLs.
require 'net/http'
require_relative 'intercepted'

get = ->(url, params) { Net::HTTP.get(URI("#{url}?#{URI.encode_www_form(params)}")) }
intercepted(get, ->(url, form) { Net::HTTP.post_form(URI(url), form).body })
