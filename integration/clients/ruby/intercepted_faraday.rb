# Faraday with Meta's URLs.
require 'faraday'
require_relative 'intercepted'

intercepted(->(url, params) { Faraday.get(url, params).body }, ->(url, form) { Faraday.post(url, form).body })
