# This program calls Meta's URLs with Faraday. igproxy intercepts the calls.
require 'faraday'
require_relative 'intercepted'

intercepted(->(url, params) { Faraday.get(url, params).body }, ->(url, form) { Faraday.post(url, form).body })
